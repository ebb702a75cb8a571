//! `to` by name in static and Go programs, which look names up themselves: over DNS, and in /etc/hosts. In a network of
//! their own, with a server of DNS that knows a few names.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{CHAOS, Done, Scene, compile_by, go, program, python};

const DIALS: &str = r#"
package main

import ("errors"; "fmt"; "net"; "os"; "syscall"; "time")

func main() {
	for at := 1; at+1 < len(os.Args); at += 2 {
		dialer := net.Dialer{Timeout: 5 * time.Second}
		connection, err := dialer.Dial("tcp4", os.Args[at]+":"+os.Args[at+1])
		var errno syscall.Errno
		switch {
		case err == nil: connection.Close(); fmt.Printf("%s: 0\n", os.Args[at])
		case errors.As(err, &errno): fmt.Printf("%s: %s\n", os.Args[at], map[syscall.Errno]string{syscall.ECONNREFUSED: "ECONNREFUSED", syscall.ECONNRESET: "ECONNRESET", syscall.ENETUNREACH: "ENETUNREACH"}[errno])
		default: fmt.Printf("%s: not found\n", os.Args[at])
		}
	}
}
"#;

/// Brings the loopback up, answers look-ups (those with `tcp` over TCP only), listens on every address, and runs the rest of its arguments.
const WORLD: &str = r#"
import fcntl, socket, struct, subprocess, sys, threading
lo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(lo, 0x8914, struct.pack('16sh14x', b'lo', 0x49))
names = {'api.example': '127.0.0.9', 'other.example': '127.0.0.8', 'tcp.example': '127.0.0.7'}
def answer(query, over_tcp):
    end = query.index(b'\0', 12)
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode()); at += 1 + query[at]
    name, kind = '.'.join(labels), query[end + 1:end + 3]
    address = names.get(name.lower())
    cut = name.startswith('tcp') and not over_tcp
    found = address and kind == b'\0\1' and not cut
    flags = (0x8380 if cut else 0x8180) if address else 0x8183
    head = query[:2] + struct.pack('>5H', flags, 1, 1 if found else 0, 0, 0) + query[12:end + 5]
    return head + (b'\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4' + socket.inet_aton(address) if found else b'')
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(('127.0.0.1', 53))
tcp = socket.create_server(('127.0.0.1', 53))
web = socket.create_server(('0.0.0.0', 8080), backlog=50)
def serve_udp():
    while True:
        query, to = udp.recvfrom(600)
        udp.sendto(answer(query, False), to)
def serve_tcp():
    while True:
        client, _ = tcp.accept()
        query = client.recv(600)[2:]
        data = answer(query, True)
        client.sendall(struct.pack('>H', len(data)) + data); client.close()
for serve in serve_udp, serve_tcp: threading.Thread(target=serve, daemon=True).start()
sys.exit(subprocess.run(sys.argv[1:]).returncode)
"#;

/// Runs a command under rules, in such a world.
fn in_the_world(scene: &Scene, rules: &[&str], command: &[&str]) -> Done {
    let world = scene.write("world.py", WORLD);
    let (resolv, hosts) = (scene.text("resolv.conf"), scene.text("hosts"));
    scene.write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n");
    scene.write("hosts", "127.0.0.1 localhost\n127.0.0.6 local.example alias.example # a comment\n");
    let line = format!(
        "mount --bind {resolv} /etc/resolv.conf && mount --bind {hosts} /etc/hosts && exec {} {world} {CHAOS} run \
         --seed 1 --out {} -f '{}' -- {}",
        python(),
        scene.text("session"),
        rules.join("' -f '"),
        command.join(" ")
    );
    let _ = std::fs::remove_dir_all(scene.text("session"));
    let unshare = program("unshare", "util-linux");
    let rest = [unshare.as_str(), "--mount", "--net", "sh", "-c", &line];
    let as_user = [&rest[..1], &["--user", "--map-root-user"], &rest[1..]].concat();
    let done = scene.bare().go(&as_user);
    if done.out.is_empty() { scene.bare().by_root().go(&rest) } else { done }
}

#[test]
fn a_name_matches_what_dns_or_etc_hosts_told_the_program() {
    let scene = Scene::new();
    let dials = [
        go(&scene, "dials", DIALS, "0", &["-tags", "netgo"]),
        compile_by("musl-gcc", "dials", "dials-musl", &["-static"]),
        compile_by("gcc", "dials", "dials-static", &["-static", "-w"]),
    ];
    let to = |host: &str, errno: &str| format!("error calls=connect to={host} errno={errno}");
    let rules = [to("api.example", "ECONNREFUSED"), to("tcp.*", "ECONNRESET"), to("local.example:8080", "ENETUNREACH")];
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    for guest in &dials {
        let mut command = vec![guest.as_str()];
        let mut expected = String::new();
        for (host, told) in [
            ("127.0.0.9", "0"),
            ("api.example", "ECONNREFUSED"),
            ("other.example", "0"),
            ("tcp.example", "ECONNRESET"),
            ("local.example", "ENETUNREACH"),
            // What had no name above has one now.
            ("127.0.0.9", "ECONNREFUSED"),
        ] {
            // musl's resolver of Debian 12 does not ask over TCP.
            if host != "tcp.example" || !guest.ends_with("musl") {
                command.extend([host, "8080"]);
                expected += &format!("{host}: {told}\n");
            }
        }
        let done = in_the_world(&scene, &rules, &command).ended(0);
        assert_eq!(done.out, expected, "{guest}: {}", done.story());
    }
}
