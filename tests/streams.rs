//! What moves over connections: cut after some bytes, slowed to a bandwidth, datagrams that reach nobody.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::server::serve;
use common::{Done, Run, Scene, guest, python};
use std::time::Instant;

const PAGE: &[u8] = &[b'x'; 300_000];

fn steps(run: Run<'_>, steps: &str) -> Done {
    let sockets = guest("sockets");
    let words: Vec<&str> = [sockets.as_str(), "127.0.0.1:9"].into_iter().chain(steps.split(' ')).collect();
    run.go(&words).ended(0)
}

#[test]
fn a_connection_is_cut_at_the_very_byte() {
    let scene = Scene::new();
    // The guest's own end is descriptor 4, the other 5; what it writes is ten bytes, what it reads up to 64.
    for (fault, line, wanted) in [
        // A blocking write is cut in its midst; the error comes with the next call, as from the kernel.
        (
            "disconnect after_bytes=25B fd=4",
            "pair write write write write write them.read them.read",
            "write 10 0\nwrite 10 0\nwrite 5 0\nwrite -1 ECONNRESET\nwrite -1 EPIPE\nthem.read 25 0\nthem.read -1 ECONNRESET\n",
        ),
        // What does not wait is shortened, which a stream may do at any time.
        (
            "disconnect after_bytes=25B fd=4",
            "pair nonblock send send send send send them.recv them.recv",
            "send 10 0\nsend 10 0\nsend 5 0\nsend -1 ECONNRESET\nsend -1 EPIPE\nthem.recv 25 0\nthem.recv -1 ECONNRESET\n",
        ),
        (
            "disconnect after_bytes=25B fd=4",
            "pair them.write them.write them.write read read read them.recv",
            "them.write 10 0\nthem.write 10 0\nthem.write 10 0\nread 25 0\nread -1 ECONNRESET\nread 0 0\nthem.recv -1 ECONNRESET\n",
        ),
        // Both directions count.
        (
            "disconnect after_bytes=20B fd=4",
            "pair them.write read write write read",
            "them.write 10 0\nread 10 0\nwrite 10 0\nwrite -1 ECONNRESET\nread 0 0\n",
        ),
        (
            "disconnect mode=end after_bytes=15B fd=4",
            "pair write write write them.read them.read",
            "write 10 0\nwrite 5 0\nwrite -1 EPIPE\nthem.read 15 0\nthem.read 0 0\n",
        ),
        // Looking is not moving.
        (
            "disconnect after_bytes=15B fd=4",
            "pair them.write peek peek read write write",
            "them.write 10 0\npeek 10 0\npeek 10 0\nread 10 0\nwrite 5 0\nwrite -1 ECONNRESET\n",
        ),
    ] {
        let done = steps(scene.under(&[fault]), line);
        assert_eq!(done.out, wanted, "{fault}: {}", done.story());
        let log = done.injections();
        assert!(log.len() == 1 && log[0]["delivered"] == true, "{fault}: {}", done.story());
    }
    // One rule asks each connection once, so that it is let go on if it was not chosen.
    let done = steps(scene.under(&["disconnect after_bytes=25B fd=4 nth=2"]), "pair write write write write write");
    assert_eq!(done.out, "write 10 0\n".repeat(5), "{}", done.story());
    assert!(done.err.contains("1 matched, 0 fired"), "{}", done.story());
}

#[test]
fn a_new_connection_begins_at_zero() {
    let scene = Scene::new();
    let script = "
import socket
server = socket.create_server(('127.0.0.1', 0))
for _ in range(5):
    client = socket.create_connection(server.getsockname())
    peer, _ = server.accept()
    peer.sendall(bytes(1500))
    got = 0
    try:
        while got < 1500:
            got += len(client.recv(4096))
    except ConnectionResetError:
        print('reset after', got)
    client.close()
    peer.close()
";
    let fault = "disconnect after_bytes=1000B calls=recv";
    scene.under(&[fault]).go(&[&python(), "-c", script]).said(&"reset after 1000\n".repeat(5));
}

#[test]
fn a_rate_is_about_connections() {
    let scene = Scene::new();
    let place = serve(PAGE);
    let script = format!(
        "
import urllib.request, http.client
cut = 0
for _ in range(60):
    try:
        whole = urllib.request.urlopen('http://{place}/').read()
        assert len(whole) == {}
    except (http.client.IncompleteRead, ConnectionResetError):
        cut += 1
print(cut)
",
        PAGE.len()
    );
    for mode in ["reset", "end"] {
        let fault = format!("disconnect mode={mode} after_bytes=100KB rate=50%");
        let done = scene.under(&[&fault]).go(&[&python(), "-c", &script]).ended(0);
        let cut: usize = done.out.trim().parse().unwrap();
        assert!((15..=45).contains(&cut), "{cut} of 60");
        assert_eq!(done.injections().len(), cut, "{}", done.story());
    }
}

#[test]
fn a_throttled_transfer_takes_its_time_and_loses_nothing() {
    let scene = Scene::new();
    let place = serve(PAGE);
    let (host, port) = place.split_once(':').unwrap();
    let blocking = format!("import urllib.request; print(len(urllib.request.urlopen('http://{place}/').read()))");
    let looping = format!(
        "
import asyncio
async def main():
    reader, writer = await asyncio.open_connection('{host}', {port})
    writer.write(b'GET / HTTP/1.0\\r\\n\\r\\n')
    print(len((await reader.read()).split(b'\\r\\n\\r\\n')[1]))
asyncio.run(main())
"
    );
    for script in [blocking, looping] {
        // 300 KB at 200 KB/s.
        let started = Instant::now();
        let done = scene.under(&["throttle bandwidth=200KB/s"]).go(&[&python(), "-c", &script]).said("300000");
        assert!(started.elapsed().as_millis() >= 1400, "{:?}", started.elapsed());
        let log = done.injections();
        let told: u64 = log.iter().filter_map(|line| line["result"].as_u64()).sum();
        assert!(told >= 300_000, "each delayed call is in the log: {told}");
        assert!(log.iter().all(|line| line["effect"] == "throttle"), "{}", done.story());
    }
    // What is throttled by name may be a file.
    let started = Instant::now();
    scene.write("from.bin", vec![1; 100_000]);
    scene.under(&["throttle bandwidth=100KB/s calls=read"]).go(&[&guest("copy"), "from.bin", "to.bin"]).ended(0);
    assert!(started.elapsed().as_millis() >= 900 && scene.read("to.bin") == vec![1; 100_000]);
}

#[test]
fn a_datagram_to_nobody_says_so_as_the_kernel_would() {
    let scene = Scene::new();
    let script = "
import errno, socket
sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sink.bind(('127.0.0.1', 0))
here = sink.getsockname()
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def told(name, call):
    try: print(name, call())
    except OSError as error: print(name, errno.errorcode[error.errno])
told('sendto', lambda: udp.sendto(b'x', here))
told('sendmsg', lambda: udp.sendmsg([b'x'], [], 0, here))
told('connect', lambda: udp.connect(here))
told('send', lambda: udp.send(b'x'))
one, other = socket.socketpair()
told('stream', lambda: one.send(b'x'))
";
    let calls = "calls=sendto,sendmsg,connect,send";
    for (errno, wanted) in [
        ("", "sendto EHOSTUNREACH\nsendmsg EHOSTUNREACH\nconnect EHOSTUNREACH\nsend EDESTADDRREQ\nstream 1"),
        (
            " errno=ENETUNREACH",
            "sendto ENETUNREACH\nsendmsg ENETUNREACH\nconnect ENETUNREACH\nsend EDESTADDRREQ\nstream 1",
        ),
        (" errno=ETIMEDOUT", "sendto 1\nsendmsg 1\nconnect None\nsend 1\nstream 1"),
    ] {
        // The last two calls: nobody was connected to, so the kernel's own answer; and a stream that has its peer.
        let fault = format!("unreachable {calls}{errno} nth=1..3");
        scene.under(&[&fault]).go(&[&python(), "-c", script]).said(wanted);
    }
}
