//! What static and Go programs get over: the supervisor follows the calls that prove it, and only those.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::server::serve;
use common::{Done, Scene, compile, go, guest};

/// A guest of [`watched`](../tests/guests/watched.c), without a dynamic loader.
fn below(scene: &Scene, faults: &[&str], way: &[&str]) -> Done {
    let fixed = compile("watched", "watched-static", &["-static"]);
    scene.under(faults).go(&[&[fixed.as_str()], way].concat()).ended(0)
}

fn above(scene: &Scene, faults: &[&str], way: &[&str]) -> Done {
    scene.under(faults).go(&[&[guest("watched").as_str()], way].concat()).ended(0)
}

/// Recoveries and attempts, as far as both engines can tell the same.
fn told(done: &Done) -> Vec<String> {
    let keys = ["type", "call", "errno", "number", "tries"];
    let lines = done.lines("recovery").into_iter().chain(done.lines("attempt"));
    lines.map(|line| keys.map(|key| line[key].to_string()).join(" ")).collect()
}

#[test]
fn a_static_program_that_tries_again_is_seen_as_a_dynamic_one_is() {
    let faults: [(&[&str], &[&str], usize); 8] = [
        (&["error calls=open path=data.bin errno=EIO nth=1..3"], &["backoff"], 1),
        (&["error calls=open path=data.bin errno=EIO nth=1..3"], &["busy"], 1),
        (&["error calls=open path=data.bin errno=EIO nth=1..3"], &["breaker"], 1),
        (&["error calls=open path=missing errno=EIO times=1"], &["missing"], 1),
        (&["error calls=open path=data.bin errno=EIO times=1 per=tree"], &["child"], 1),
        (&["connect=ECONNREFUSED@1..2"], &["later", "option"], 1),
        (&["connect=ECONNREFUSED"], &["later", "option"], 0),
        (&["recv=EAGAIN@1"], &["patience"], 1),
    ];
    for (faults, way, recoveries) in faults {
        let scenes = [Scene::new(), Scene::new()];
        let (one, other) = (above(&scenes[0], faults, way), below(&scenes[1], faults, way));
        assert_eq!(other.lines("recovery").len(), recoveries, "{way:?}: {}", other.story());
        assert_eq!(told(&one), told(&other), "{way:?}: {}\n{}", one.story(), other.story());
        assert_eq!(one.out, other.out, "{way:?}");
        assert_eq!(other.lines("process")[0]["engine"], "seccomp");
        let verdict = if recoveries == 1 { "1 recovered by retry; recovery 100%" } else { "recovery 0%" };
        assert!(other.err.contains(verdict), "{way:?}: {}", other.story());
        assert!(!other.err.contains("not measured"), "{way:?}: {}", other.story());
    }
}

#[test]
fn reads_and_writes_and_what_blocks_are_followed_to_their_end() {
    let fixed = compile("loop", "loop-static", &["-static"]);
    let scene = Scene::new();
    let done = scene.under(&["error calls=read path=data.bin errno=EIO every=5"]).go(&[&fixed, "42", "-t", "4"]);
    let done = done.ended(0);
    assert_eq!(done.injections().len(), 33, "{}", done.story());
    assert!(done.err.contains("recovery 100%"), "{}", done.story());
    // A call that waits for its data, with signals coming in all the while.
    let fixed = compile("waits", "waits-static", &["-static"]);
    let done = scene.under(&["error calls=read errno=EINTR fd=3 nth=1"]).go(&[&fixed]).ended(0);
    assert_eq!(done.out, "read -1 EINTR\nread 1\nsignals 1\n", "{}", done.story());
    assert!(done.err.contains("1 recovered by retry"), "{}", done.story());
    let ttr = done.lines("recovery")[0]["at_ns"].as_u64().unwrap() - done.injections()[0]["at_ns"].as_u64().unwrap();
    assert!(ttr > 250_000_000, "{ttr}: {}", done.story());
}

#[test]
fn a_program_that_gives_up_has_not_recovered() {
    let scene = Scene::new();
    let fixed = compile("loop", "loop-static", &["-static"]);
    let done = scene.under(&["error calls=read path=data.bin errno=EIO"]).go(&[&fixed, "5"]).ended(0);
    assert_eq!(done.lines("recovery").len(), 0, "{}", done.story());
    assert!(done.err.contains("recovery 0%"), "{}", done.story());
}

const CLIENT: &str = r#"
package main

import ("fmt"; "io"; "net/http"; "os"; "time")

func main() {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for try := 1; try <= 6; try++ {
		answer, err := client.Get(os.Args[1])
		if err == nil { io.ReadAll(answer.Body); fmt.Println("good at", try); return }
		time.Sleep(20 * time.Millisecond)
	}
	fmt.Println("gave up")
}
"#;

#[test]
fn a_go_client_that_tries_again_has_recovered_and_one_that_gives_up_has_not() {
    let scene = Scene::new();
    let client = go(&scene, "again", CLIENT, "0", &[]);
    let address = serve(b"a page");
    let url = format!("http://{address}/");
    let done = scene.under(&["connect=ECONNREFUSED@1..2"]).go(&[&client, &url]).said("good at 3");
    let recoveries = done.lines("recovery");
    assert_eq!((recoveries.len(), recoveries[0]["resource"].as_str()), (1, Some(address.as_str())), "{}", done.story());
    assert!(done.err.contains("1 recovered by retry; recovery 100%"), "{}", done.story());
    let ttr = recoveries[0]["at_ns"].as_u64().unwrap() - done.injections()[0]["at_ns"].as_u64().unwrap();
    assert!(ttr >= 40_000_000, "two pauses of 20 ms lie between: {ttr}");
    let done = scene.under(&["connect=ECONNREFUSED"]).go(&[&client, &url]).said("gave up");
    assert_eq!(done.lines("recovery").len(), 0, "{}", done.story());
}

#[test]
fn a_process_that_somebody_traces_is_not_measured_and_says_so() {
    let scene = Scene::new();
    let fixed = compile("loop", "loop-static", &["-static"]);
    let rule = ["error calls=read path=data.bin errno=EIO nth=2"];
    let done = scene.under(&rule).options(&["--backtraces"]).go(&[&fixed, "5"]).ended(0);
    let unwatched = done.lines("event").iter().filter(|line| line["event"] == "unwatched").count();
    assert_eq!((done.lines("recovery").len(), unwatched), (0, 1), "{}", done.story());
    assert!(done.err.contains("not measured"), "{}", done.story());
}

/// Serves three connections, one after the other.
const SERVER: &str = "
import socket, sys
listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))
for _ in range(3):
    connection, _ = listener.accept()
    try:
        print(len(connection.recv(10)))
    except OSError as error:
        print(error.errno)
    connection.close()
";

#[test]
fn a_server_recovers_with_its_next_client_as_that_comes_to_the_same_port() {
    use std::io::{Read, Write};
    for engine in ["preload", "seccomp"] {
        let scene = Scene::new();
        let port = common::server::free_port();
        let fault = "error calls=recv errno=ETIMEDOUT nth=1";
        let run = scene.under(&[fault]).options(&["--engine", engine]);
        let server = run.start(&[&common::python(), "-c", SERVER, &port.to_string()]);
        for _ in 0..3 {
            let begun = std::time::Instant::now();
            let mut client = loop {
                match std::net::TcpStream::connect(("127.0.0.1", port)) {
                    Ok(client) => break client,
                    Err(error) => assert!(begun.elapsed().as_secs() < 30, "{error}"),
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            };
            let _ = client.write_all(b"hello");
            let _ = client.read_to_end(&mut Vec::new());
        }
        let done = server.end().said("110\n5\n5");
        let (injections, recoveries) = (done.injections(), done.lines("recovery"));
        let here = serde_json::Value::from(format!("127.0.0.1:{port}"));
        assert_eq!((injections.len(), &injections[0]["resource"]), (1, &here), "{engine}: {}", done.story());
        assert_eq!((recoveries.len(), &recoveries[0]["resource"]), (1, &here), "{engine}: {}", done.story());
        assert!(done.err.contains("1 recovered by retry; recovery 100%"), "{engine}: {}", done.story());
    }
}
