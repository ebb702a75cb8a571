//! Event loops: what is withheld from them is announced again, and what can not be announced is not withheld.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::server::serve;
use common::{Scene, compile, go, guest};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// A client of the echo server: sends messages of many sizes and wants every one back.
fn echo(port: u16, seed: usize) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    for round in 0..40 {
        let size = 1 + (seed * 7919 + round * 104_729) % 50_000;
        let message: Vec<u8> = (0..size).map(|at| (at * 31 + round + seed) as u8).collect();
        let mut writer = stream.try_clone().unwrap();
        let sent = message.clone();
        let writing = std::thread::spawn(move || writer.write_all(&sent).unwrap());
        let mut got = vec![0; size];
        stream.read_exact(&mut got).unwrap_or_else(|error| panic!("round {round}, {size} bytes: {error}"));
        writing.join().unwrap();
        assert!(got == message, "round {round}: other bytes came back");
    }
}

/// An echo server under these faults, which four clients talk to.
fn echoes(engine: &str, faults: &[&str]) {
    let scene = Scene::new();
    let mut server = scene.under(faults).options(&["--engine", engine]).start(&[&guest("etecho"), "4"]);
    let out = server.out.clone();
    let port = || std::fs::read_to_string(&out).unwrap_or_default().lines().next().and_then(|line| line.parse().ok());
    server.wait_until("it listens", || port().is_some());
    let port: u16 = port().unwrap();
    let clients: Vec<_> = (0..4).map(|seed| std::thread::spawn(move || echo(port, seed))).collect();
    for client in clients {
        client.join().unwrap();
    }
    let done = server.end().ended(0);
    assert!(done.out.ends_with("done\n"), "{}", done.story());
    let hits = done.injections().iter().filter(|line| line["delivered"] == true).count();
    assert!(hits > 20, "{engine} {faults:?} hit {hits} times");
    let refused = |line: &serde_json::Value| line["reason"].as_str().is_some_and(|reason| reason.contains("edge"));
    assert!(!done.lines("event").iter().any(refused), "{}", done.story());
}

#[test]
fn an_edge_triggered_server_loses_no_wakeup() {
    for faults in [
        &["error calls=recv,send,accept errno=EAGAIN rate=30%"][..],
        &["short calls=recv,send keep=30% rate=50%"],
        &["short calls=recv,send keep=1% rate=20%", "error calls=recv,send,accept errno=EAGAIN rate=20%"],
        &["throttle bandwidth=8MB/s calls=recv,send"],
    ] {
        echoes("preload", faults);
    }
}

#[test]
fn nor_does_one_below_the_supervisor() {
    echoes(
        "seccomp",
        &["short calls=recv,send keep=20% rate=20%", "error calls=recv,send,accept errno=EAGAIN rate=20%"],
    );
    let scene = Scene::new();
    for kind in ["edges", "two", "oneshot", "level", "moved"] {
        for fault in ["short calls=read keep=10% nth=1", "error calls=read errno=EAGAIN nth=1"] {
            let fixed = compile("edge", "edge-static", &["-static"]);
            let done = scene.under(&[fault]).go(&[&fixed, kind]).said("got 1000");
            assert_eq!(done.injections().len(), 1, "{kind}: {}", done.story());
            assert_eq!(done.lines("process")[0]["engine"], "seccomp");
        }
    }
}

/// Reads a page four times, and says how long it was.
const CLIENT: &str = r#"
package main

import ("fmt"; "io"; "net/http"; "os")

func main() {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for round := 0; round < 4; round++ {
		answer, err := client.Get(os.Args[1])
		if err != nil { fmt.Println(err); continue }
		body, err := io.ReadAll(answer.Body)
		fmt.Println(answer.StatusCode, len(body), err)
	}
}
"#;

#[test]
fn go_is_told_again_of_what_was_kept_from_it() {
    let scene = Scene::new();
    let client = go(&scene, "client", CLIENT, "0", &[]);
    let page = serve(&[b'p'; 100_000]);
    let url = format!("http://{page}/");
    let to = page.replace("127.0.0.1", "");
    let faults = [
        format!("error calls=read to={to} errno=EAGAIN rate=40%"),
        format!("short calls=read,write to={to} keep=10% rate=40%"),
    ];
    let done = scene.under(&[&faults[0], &faults[1]]).go(&[&client, &url]);
    let done = done.said(&"200 100000 <nil>\n".repeat(4));
    let hit = |effect: &str| done.injections().iter().filter(|line| line[effect].is_string()).count();
    assert!(hit("errno") > 3 && hit("effect") > 3, "{}", done.story());
    assert!(!done.err.contains("unsuitable"), "{}", done.story());
}

#[test]
fn what_several_epolls_watch_is_left_alone() {
    let scene = Scene::new();
    for (fault, kind) in [("short calls=read keep=10%", "two"), ("error calls=read errno=EAGAIN", "two")] {
        let done = scene.under(&[fault]).go(&[&guest("edge"), kind]).said("got 1000");
        assert!(done.injections().is_empty(), "{}", done.story());
        assert!(done.lines("event")[0]["reason"].as_str().unwrap().contains("edge-triggered"), "{}", done.story());
    }
    // A one-shot watch is set again by its program; a level needs nothing; one that was taken away neither.
    for kind in ["oneshot", "level", "moved"] {
        for fault in ["short calls=read keep=10% nth=1", "error calls=read errno=EAGAIN nth=1"] {
            let done = scene.under(&[fault]).go(&[&guest("edge"), kind]).said("got 1000");
            assert_eq!(done.injections().len(), 1, "{kind}: {}", done.story());
        }
    }
}
