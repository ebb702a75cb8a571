//! Real programs whose connects and look-ups fail: each says what it says when the kernel or a name server fails them.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::complaints::Complaints;
use common::{Done, Scene, program, python};
use std::net::TcpListener;

/// Clients, blocking and event-driven: a name and a command in which PORT stands for the port.
fn clients(scene: &Scene) -> Vec<(&'static str, Vec<String>)> {
    let words = |line: &[&str]| line.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let url = "http://127.0.0.1:PORT/";
    let node = "
const port = +process.argv[2];
const fail = name => error => console.log(name, error.code, error.syscall);
require('net').connect(port, '127.0.0.1').on('error', fail('net'));
require('http').get({port, host: '127.0.0.1'}).on('error', fail('http'));
";
    let asyncio = "
import asyncio, errno, socket, sys
port = int(sys.argv[1])
async def main():
    try: await asyncio.open_connection('127.0.0.1', port)
    except OSError as error: print(errno.errorcode[error.errno])
asyncio.run(main())
timed = socket.socket()
timed.settimeout(20)
print(errno.errorcode[timed.connect_ex(('127.0.0.1', port))])
";
    scene.write("client.js", node);
    scene.write("client.py", asyncio);
    vec![
        ("node", words(&[&program("node", "nodejs"), "client.js", "PORT"])),
        ("asyncio", words(&[&python(), "client.py", "PORT"])),
        ("java", words(&[&program("java", "default-jdk-headless"), &scene.write("Nio.java", JAVA), "PORT"])),
        ("curl", words(&[&program("curl", "curl"), "-sS", url])),
        ("git", words(&[&program("git", "git"), "ls-remote", url])),
        ("redis-cli", words(&[&program("redis-cli", "redis-tools"), "-p", "PORT", "ping"])),
    ]
}

const JAVA: &str = "
import java.net.*;
import java.nio.channels.*;
class Nio {
    public static void main(String[] words) throws Exception {
        int port = Integer.parseInt(words[0]);
        try {
            SocketChannel channel = SocketChannel.open();
            channel.configureBlocking(false);
            System.out.println(\"at once \" + channel.connect(new InetSocketAddress(\"127.0.0.1\", port)));
            Selector selector = Selector.open();
            channel.register(selector, SelectionKey.OP_CONNECT);
            System.out.println(\"ready \" + selector.select(20000));
            System.out.println(\"finished \" + channel.finishConnect());
        } catch (Exception error) { System.out.println(error); }
        try { new Socket(\"127.0.0.1\", port); } catch (Exception error) { System.out.println(error); }
    }
}
";

fn go(run: common::Run<'_>, command: &[String], port: u16) -> Done {
    let words: Vec<String> = command.iter().map(|word| word.replace("PORT", &port.to_string())).collect();
    run.options(&[]).go(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What a program said, without what differs from run to run: ports and times, and what the launcher adds.
fn told(done: &Done, port: u16) -> String {
    let text = format!("{}\n{}", done.out, done.err).replace(&port.to_string(), "PORT");
    let lines = text.lines().filter(|line| !line.starts_with("chaos-exec:"));
    let plain = |line: &str| {
        let line = line.replace(" 0 ms", " N ms").replace(" 1 ms", " N ms");
        let words = line.split(' ').map(|word| if word.parse::<u32>().is_ok_and(|n| n > 1) { "N" } else { word });
        words.collect::<Vec<_>>().join(" ")
    };
    format!("{} {}", done.code, lines.map(plain).collect::<Vec<_>>().join("\n").trim())
}

#[test]
fn programs_see_a_refusal_as_from_the_kernel() {
    let scene = Scene::new();
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = open.local_addr().unwrap().port();
    let closed = common::server::free_port();
    let mut complaints = Complaints::default();
    for (name, command) in clients(&scene) {
        let kernel = go(scene.bare(), &command, closed);
        let done = go(scene.under(&["refuse"]), &command, port);
        complaints.expect(name, told(&done, port), told(&kernel, closed));
        complaints.check(!done.injections().is_empty(), || format!("{name}: nothing was injected\n{}", done.story()));
    }
    complaints.none();
}

#[test]
fn programs_see_a_peer_that_never_answers() {
    let scene = Scene::new();
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = open.local_addr().unwrap().port();
    let mut complaints = Complaints::default();
    for (errno, words) in [
        ("ETIMEDOUT", ["ETIMEDOUT", "timed out", "curl: (28)", "Failed to connect"]),
        ("EHOSTUNREACH", ["EHOSTUNREACH", "No route to host", "curl: (7)", "Failed to connect"]),
    ] {
        for (name, command) in clients(&scene) {
            let done = go(scene.under(&[&format!("unreachable errno={errno}")]), &command, port);
            let told = told(&done, port);
            complaints.check(words.iter().any(|word| told.contains(word)), || format!("{name} {errno}: {told}"));
            let log = done.injections();
            let all = log.iter().all(|line| line["delivered"] == true && line["errno"] == errno);
            complaints.check(!log.is_empty() && all, || format!("{name} {errno}: {log:?}"));
        }
    }
    complaints.none();
}

#[test]
fn an_event_loop_can_lose_patience_with_a_peer_that_never_answers() {
    let scene = Scene::new();
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = open.local_addr().unwrap().to_string();
    let started = std::time::Instant::now();
    let curl = program("curl", "curl");
    let url = format!("http://{place}/");
    let done = scene.under(&["unreachable delay=90s"]).go(&[&curl, "-sS", "--connect-timeout", "1", &url]).ended(28);
    assert!(done.err.contains("time"), "{}", done.story());
    assert!(started.elapsed().as_secs() < 60, "its own timeout ended it");
}

#[test]
fn look_ups_fail_in_the_words_of_each_interface() {
    let scene = Scene::new();
    let script = "
import socket
def told(name, call):
    try: print(name, call())
    except (OSError, UnicodeError) as error: print(name, type(error).__name__, error.args[0])
told('info', lambda: len(socket.getaddrinfo('localhost', 80)) > 0)
told('host', lambda: socket.gethostbyname_ex('localhost')[0])
told('address', lambda: socket.gethostbyaddr('127.0.0.1')[0])
told('name', lambda: socket.getnameinfo(('127.0.0.1', 80), socket.NI_NUMERICSERV))
told('insisting', lambda: socket.getnameinfo(('127.0.0.1', 80), socket.NI_NAMEREQD | socket.NI_NUMERICSERV))
";
    let calls = "calls=gethostbyname,gethostbyaddr,getnameinfo";
    for (answer, wanted) in [
        ("not-found", "info True\nhost herror 1\naddress herror 1\nname ('127.0.0.1', '80')\ninsisting gaierror -2"),
        ("try-again", "info True\nhost herror 2\naddress herror 2\nname gaierror -3\ninsisting gaierror -3"),
    ] {
        let done = scene.under(&[&format!("dns {calls} answer={answer}")]).go(&[&python(), "-c", script]).said(wanted);
        assert_eq!(done.injections().len(), 4, "{}", done.story());
    }
    // By default look-ups of names alone; Python makes three of its own of addresses, which ask nobody.
    let done = scene.under(&["dns"]).go(&[&python(), "-c", script]).ended(0);
    assert!(done.out.starts_with("info gaierror -2\nhost gaierror -2\n"), "{}", done.story());
    assert_eq!(done.injections().len(), 2, "{}", done.story());
    assert_eq!(done.lines("event")[0]["reason"], "an address needs no look-up", "{}", done.story());
    let node = "require('dns').lookup('localhost', error => console.log(error.code))";
    for (answer, code) in [("not-found", "ENOTFOUND"), ("try-again", "EAI_AGAIN")] {
        let fault = format!("dns answer={answer}");
        scene.under(&[&fault]).go(&[&program("node", "nodejs"), "-e", node]).said(code);
    }
}

#[test]
fn a_host_found_by_the_old_look_up_is_known_by_its_name() {
    let scene = Scene::new();
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = open.local_addr().unwrap().port();
    let script = format!(
        "
import socket
address = socket.gethostbyname_ex('localhost')[2][0]
print(socket.socket().connect_ex((address, {port})))
"
    );
    scene.under(&[&format!("refuse to=localhost:{port}")]).go(&[&python(), "-c", &script]).said("111");
    scene.under(&["refuse to=elsewhere.example"]).go(&[&python(), "-c", &script]).said("0");
}
