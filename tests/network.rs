//! Sockets under faults, as the kernel itself would have them: the same steps are run against what really happens.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{Done, Scene, guest, python};
use std::net::TcpListener;

/// Runs the guest `sockets`: its steps at a place, bare or under a fault.
fn steps(run: common::Run<'_>, place: &str, steps: &str) -> Done {
    let sockets = guest("sockets");
    let words: Vec<&str> = [sockets.as_str(), place].into_iter().chain(steps.split(' ')).collect();
    run.go(&words).ended(0)
}

/// Fails unless a run under a fault said what the kernel did, and its one fault was delivered.
#[track_caller]
fn same(kernel: &Done, injected: Done) -> Done {
    assert!(!kernel.out.is_empty(), "{}", kernel.story());
    assert_eq!(injected.out, kernel.out, "not what the kernel does\n{}", injected.story());
    let log = injected.injections();
    assert!(!log.is_empty() && log[0]["delivered"] == true, "{}", injected.story());
    injected
}

/// A port where somebody listens and one where nobody does, on this address.
fn ports(host: &str) -> (TcpListener, String, String) {
    let open = TcpListener::bind((host, 0)).unwrap();
    let told = open.local_addr().unwrap();
    let closed = std::net::SocketAddr::new(told.ip(), common::server::free_port());
    (open, told.to_string(), closed.to_string())
}

/// An IPv4 place as IPv6 maps it.
fn mapped(place: &str) -> String {
    let (host, port) = place.rsplit_once(':').unwrap();
    format!("[::ffff:{host}]:{port}")
}

/// What programs do with a socket whose connect is under way.
const AFTERMATHS: &[&str] = &[
    "poll error error poll peername recv send connect connect",
    "epoll error epoll recv send",
    "edges edges error edges",
    "select error select",
    "wait connect connect",
    "wait recv recv error send",
    "wait send recv error",
    "wait peername error",
    "wait block connect connect",
];

#[test]
fn a_refused_connect_that_does_not_wait_is_told_as_the_kernel_tells_it() {
    let scene = Scene::new();
    let (_v4, open, closed) = ports("127.0.0.1");
    let (_v6, open_v6, closed_v6) = ports("::1");
    for (open, closed) in [(open.clone(), closed.clone()), (open_v6, closed_v6), (mapped(&open), mapped(&closed))] {
        for aftermath in AFTERMATHS {
            let line = format!("socket nonblock connect {aftermath}");
            let done = same(&steps(scene.bare(), &closed, &line), steps(scene.under(&["refuse"]), &open, &line));
            let first = &done.injections()[0];
            let (errno, peer) = (first["errno"].as_str(), first["resource"].as_str());
            let v4 = open.replace("[::ffff:", "").replace("]:", ":");
            assert_eq!(errno, Some("ECONNREFUSED"), "{}", done.story());
            assert!(peer == Some(&open) || peer == Some(&v4), "the log names the peer that was meant: {first}");
        }
    }
}

#[test]
fn a_refused_connect_that_waits_leaves_the_socket_as_the_kernel_does() {
    let scene = Scene::new();
    let (_listener, open, closed) = ports("127.0.0.1");
    let line = "socket connect poll error peername recv send connect error";
    same(&steps(scene.bare(), &closed, line), steps(scene.under(&["refuse"]), &open, line));
}

#[test]
fn another_errno_of_a_connect_is_told_where_the_kernel_would_tell_it() {
    let scene = Scene::new();
    let (_listener, open, closed) = ports("127.0.0.1");
    // What is told late differs from a refusal by its name alone ...
    for errno in ["ETIMEDOUT", "EHOSTUNREACH", "ECONNRESET"] {
        for aftermath in ["poll error error poll", "wait connect connect", "edges error edges", "wait peername error"] {
            let line = format!("socket nonblock connect {aftermath}");
            let mut kernel = steps(scene.bare(), &closed, &line);
            kernel.out = kernel.out.replace("ECONNREFUSED", errno);
            let fault = format!("error calls=connect errno={errno}");
            same(&kernel, steps(scene.under(&[&fault]), &open, &line));
        }
    }
    // ... what is known without asking anybody is told at once, as for this address without a route.
    let line = "socket nonblock connect poll error peername recv send";
    let kernel = steps(scene.bare(), "255.255.255.255:9", line);
    assert!(kernel.out.starts_with("connect -1 E"), "{}", kernel.story());
    let errno = kernel.out.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned();
    let fault = format!("error calls=connect errno={errno}");
    same(&kernel, steps(scene.under(&[&fault]), &open, line));
}

#[test]
fn a_peer_that_never_answers_is_given_up_by_the_kernel_itself() {
    let scene = Scene::new();
    let (_listener, open, closed) = ports("127.0.0.1");
    for line in [
        "socket nonblock connect connect peername poll wait error error poll recv send connect",
        "socket nonblock connect edges wait edges error",
        "socket connect poll error recv send",
    ] {
        // The kernel's own: nothing comes in, and TCP is told to be impatient.
        let kernel = steps(scene.bare(), &closed, &line.replace("socket", "socket deafen1000"));
        assert!(kernel.out.contains("ETIMEDOUT"), "{}", kernel.story());
        let done = same(&kernel, steps(scene.under(&["unreachable times=1"]), &open, line));
        assert_eq!(done.injections()[0]["errno"], "ETIMEDOUT", "{}", done.story());
    }
    let line = "socket nonblock connect poll wait error";
    let done = steps(scene.under(&["unreachable errno=EHOSTUNREACH delay=1s"]), &open, line);
    assert_eq!(done.out, "connect -1 EINPROGRESS\npoll 0 0\nwait 1 201d\nerror EHOSTUNREACH\n", "{}", done.story());
    let done = steps(scene.under(&["unreachable errno=ENETUNREACH"]), &open, "socket nonblock connect poll error");
    assert_eq!(done.out, "connect -1 ENETUNREACH\npoll 1 14\nerror 0\n", "{}", done.story());
}

#[test]
fn a_socket_whose_connect_was_made_to_fail_can_be_connected_again() {
    let scene = Scene::new();
    let (_listener, open, _) = ports("127.0.0.1");
    for fault in ["refuse times=1", "unreachable times=1", "error calls=connect errno=EHOSTUNREACH times=1"] {
        let done = steps(
            scene.under(&[fault]),
            &open,
            "socket nonblock connect wait error connect connect wait error peername send",
        );
        let last: Vec<&str> = done.out.lines().skip(4).collect();
        assert_eq!(
            last,
            ["connect -1 EINPROGRESS", "wait 1 4", "error 0", "peername 0 0", "send 10 0"],
            "{}",
            done.story()
        );
        let done = steps(scene.under(&[fault]), &open, "socket connect connect peername send");
        assert!(done.out.ends_with("connect 0 0\npeername 0 0\nsend 10 0\n"), "{}", done.story());
    }
}

#[test]
fn a_hung_connect_ends_at_the_timeout_of_its_socket_and_goes_on() {
    let scene = Scene::new();
    let (_listener, open, closed) = ports("127.0.0.1");
    let line = "socket timeout connect poll peername connect";
    let kernel = steps(scene.bare(), &closed, &line.replace("socket", "socket deafen60000"));
    assert!(kernel.out.starts_with("connect -1 EINPROGRESS"), "{}", kernel.story());
    same(&kernel, steps(scene.under(&["hang calls=connect"]), &open, line));
}

/// Both ends of a connection, this one with a timeout of 200 ms; what each call gave, and whether it took 150 ms to 1 s.
const PATIENT: &str = "
import os, socket, struct, sys, time
us, them = socket.socketpair()
for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
    us.setsockopt(socket.SOL_SOCKET, option, struct.pack('ll', 0, 200000))
def tried(call):
    start = time.monotonic()
    try:
        result = call()
    except OSError as error:
        result = os.strerror(error.errno)
    took = time.monotonic() - start
    print(result, 'at once' if took < 0.15 else 'its own time' if took < 1 else 'long')
them.send(b'abc')
tried(lambda: us.recv(9))
tried(lambda: us.recv(9))
tried(lambda: us.recv(9, socket.MSG_DONTWAIT))
tried(lambda: us.send(b'abc'))
os.dup2(us.fileno(), 77)
tried(lambda: os.close(77))
";

#[test]
fn a_delay_ends_at_the_timeout_of_its_socket_as_a_slow_peer_does() {
    let scene = Scene::new();
    let again = "Resource temporarily unavailable";
    for engine in ["preload", "seccomp"] {
        let run = |fault: &str| scene.under(&[fault]).options(&["--engine", engine]).go(&[&python(), "-c", PATIENT]);
        // Nothing was taken: it is there for the second call.
        let done = run("latency calls=recv,recvfrom delay=5s nth=1");
        done.said(&format!("{again} its own time\nb'abc' at once\n{again} at once\n3 at once\nNone at once"));
        let done = run("latency calls=send,sendto delay=5s");
        done.said(&format!(
            "b'abc' at once\n{again} its own time\n{again} at once\n{again} its own time\nNone at once"
        ));
        // A delay that is shorter than the timeout only delays; close has no timeout.
        let done = run("latency calls=recv,recvfrom delay=160ms nth=1");
        let out = done.out.clone();
        assert!(out.starts_with("b'abc' its own time\n"), "{}", done.story());
        let hits = done.injections();
        assert!(hits.iter().all(|hit| hit["delivered"] == true && hit["result"] == 0), "{}", done.story());
        let done = run("latency calls=close delay=300ms fd=77").ended(0);
        assert!(done.out.ends_with("\nNone its own time\n"), "{}", done.story());
    }
    // A failure that the program has to get over, and did.
    let scene = Scene::new();
    let done = scene.under(&["latency calls=recv,recvfrom delay=5s nth=1"]).go(&[&python(), "-c", PATIENT]).ended(0);
    let hits = done.injections();
    assert_eq!((hits[0]["requested"].as_u64(), hits[0]["result"].as_i64()), (Some(5_000_000_000), Some(-1)));
    assert_eq!(done.lines("recovery").len(), 1, "{}", done.story());
}

#[test]
fn an_interrupted_connect_has_begun() {
    let scene = Scene::new();
    let (_listener, open, closed) = ports("127.0.0.1");
    let fault = "error calls=connect errno=EINTR nth=1";
    let done = steps(scene.under(&[fault]), &open, "socket connect wait error connect peername send");
    assert_eq!(
        done.out,
        "connect -1 EINTR\nwait 1 4\nerror 0\nconnect -1 EISCONN\npeername 0 0\nsend 10 0\n",
        "{}",
        done.story()
    );
    // What fails by itself is not interrupted; what does not wait is not either.
    let done = steps(scene.under(&[fault]), &closed, "socket connect");
    assert_eq!(done.out, "connect -1 ECONNREFUSED\n", "{}", done.story());
    let done = steps(scene.under(&[fault]), &open, "socket nonblock connect");
    assert_eq!(done.out, "connect -1 EINPROGRESS\n", "{}", done.story());
    assert!(done.injections().is_empty() && done.lines("event")[0]["event"] == "unsuitable", "{}", done.story());
}

#[test]
fn a_reset_is_what_both_sides_see_when_the_kernel_resets() {
    let scene = Scene::new();
    let place = "127.0.0.1:9";
    for aftermath in
        ["recv recv poll send error peername shutdown", "send recv poll error", "read read write", "epoll recv epoll"]
    {
        let kernel = steps(scene.bare(), place, &format!("pair them.reset {aftermath}"));
        let mut words: Vec<&str> = aftermath.split(' ').collect();
        // The call that is hit is the first that takes data; readiness before it comes from the kernel alone.
        let is_hit = |word: &&str| ["recv", "send", "read", "write"].contains(word);
        let at = words.iter().position(is_hit).unwrap();
        let skipped = words.drain(..at).count();
        let truth: Vec<&str> = kernel.out.lines().skip(skipped).collect();
        let line = format!("pair {}", words.join(" "));
        let done = steps(scene.under(&["disconnect times=1"]), place, &line);
        assert_eq!(done.out.lines().collect::<Vec<_>>(), truth, "{aftermath}: {}", done.story());
        assert_eq!(done.injections().len(), 1, "{}", done.story());
    }
    // The peer gets a real RST.
    let theirs = "them.recv them.recv them.poll them.send them.error them.peername";
    let kernel = steps(scene.bare(), place, &format!("pair reset {theirs}"));
    let done = steps(scene.under(&["disconnect times=1"]), place, &format!("pair recv {theirs}"));
    assert_eq!(done.out.strip_prefix("recv -1 ECONNRESET\n"), Some(kernel.out.as_str()), "{}", done.story());
}

#[test]
fn other_ways_to_lose_a_connection_are_lasting_too() {
    let scene = Scene::new();
    let place = "127.0.0.1:9";
    for (fault, line, wanted) in [
        (
            "error calls=recv errno=ETIMEDOUT times=1",
            "pair recv recv send",
            "recv -1 ETIMEDOUT\nrecv 0 0\nsend -1 EPIPE\n",
        ),
        (
            "error calls=send errno=EPIPE times=1",
            "pair send send recv poll",
            "send -1 EPIPE\nsend -1 EPIPE\nrecv 0 0\npoll 1 2015\n",
        ),
        (
            "error calls=getpeername errno=ENOTCONN times=1",
            "pair peername recv recv",
            "peername -1 ENOTCONN\nrecv -1 ECONNRESET\nrecv 0 0\n",
        ),
        (
            "error calls=shutdown errno=ENOTCONN times=1",
            "pair shutdown them.recv",
            "shutdown -1 ENOTCONN\nthem.recv -1 ECONNRESET\n",
        ),
        (
            "disconnect mode=end times=1",
            "pair recv recv send poll them.recv",
            "recv 0 0\nrecv 0 0\nsend -1 EPIPE\npoll 1 2015\nthem.recv 0 0\n",
        ),
        (
            "disconnect times=1",
            "unixpair recv recv send them.recv",
            "recv -1 ECONNRESET\nrecv 0 0\nsend -1 EPIPE\nthem.recv 0 0\n",
        ),
        (
            "disconnect times=1",
            "packets recv recv send them.recv",
            "recv -1 ECONNRESET\nrecv 0 0\nsend -1 EPIPE\nthem.recv 0 0\n",
        ),
    ] {
        let done = steps(scene.under(&[fault]), place, line);
        assert_eq!(done.out, wanted, "{fault}: {}", done.story());
        assert_eq!(done.injections().len(), 1, "{fault}: {}", done.story());
    }
}

#[test]
fn what_no_kernel_does_to_a_socket_is_not_done() {
    let scene = Scene::new();
    let (_listener, open, _) = ports("127.0.0.1");
    for (fault, place, line) in [
        ("disconnect", open.as_str(), "socket send"),
        ("error calls=send errno=ECONNRESET", &open, "socket send"),
        ("error calls=recv errno=ETIMEDOUT", &open, "unixpair recv"),
        ("error calls=recv errno=EINTR", &open, "pair recv"),
        ("error calls=getpeername errno=ENOTCONN", &open, "unixpair peername"),
        ("error calls=shutdown errno=ENOTCONN", &open, "unixpair shutdown"),
        ("error calls=getsockopt errno=ENOPROTOOPT", &open, "pair error"),
        ("refuse", &open, "socket nonblock connect wait connect error"),
        ("hang calls=connect", &open, "socket nonblock connect wait error"),
        ("short calls=recv", &open, "packets them.send recv"),
        ("corrupt calls=recv", &open, "pair them.send peek"),
    ] {
        // Of several connects the first is let through, so that the second finds the socket connected.
        let nth = if line.matches("connect").count() > 1 { " nth=2" } else { "" };
        let kernel = steps(scene.bare(), place, line);
        let done = steps(scene.under(&[&format!("{fault}{nth}")]), place, line);
        assert_eq!(done.out, kernel.out, "{fault}: {}", done.story());
        assert!(done.injections().is_empty(), "{fault}: {}", done.story());
        assert_eq!(done.lines("event").len(), 1, "{fault}: it says why not: {}", done.story());
    }
}

const WAITS: &[&str] = &["poll", "ppoll", "raw", "select", "pselect", "epoll_wait", "epoll_pwait", "epoll_pwait2"];
const CALLS: &str = "poll,select,epoll_wait";

/// What the guest `ready` said: result, errno, ms, what was left in its arguments.
fn said(done: &Done) -> (i64, String, u64, i64) {
    let words: Vec<&str> = done.out.split_whitespace().collect();
    assert_eq!(words.len(), 4, "{}", done.story());
    (words[0].parse().unwrap(), words[1].to_owned(), words[2].parse().unwrap(), words[3].parse().unwrap())
}

#[test]
fn a_hung_wait_ends_at_its_own_timeout_with_nothing_ready() {
    let scene = Scene::new();
    let ready = guest("ready");
    for how in WAITS {
        let kernel = said(&scene.bare().go(&[&ready, how, "300", "empty"]).ended(0));
        let done = scene.under(&[&format!("hang calls={CALLS}")]).go(&[&ready, how, "300"]).ended(0);
        let hung = said(&done);
        assert_eq!((hung.0, &hung.1, hung.3), (kernel.0, &kernel.1, kernel.3), "{}", done.story());
        assert!(hung.2 >= 300, "{}", done.story());
        let log = done.injections();
        assert!(log.len() == 1 && log[0]["delivered"] == true && log[0]["result"] == 0, "{}", done.story());
    }
}

#[test]
fn a_hang_that_is_shorter_than_the_wait_leaves_it_the_rest() {
    let scene = Scene::new();
    let ready = guest("ready");
    for how in WAITS {
        let fault = format!("hang calls={CALLS} for=400ms");
        let done = scene.under(&[&fault]).go(&[&ready, how, "60000"]).ended(0);
        let (result, _, ms, _) = said(&done);
        assert!(result == 1 && ms >= 400, "what is ready is told afterwards: {}", done.story());
        let done = scene.under(&[&format!("latency calls={CALLS} delay=300ms")]).go(&[&ready, how, "10"]).ended(0);
        assert!(said(&done).0 == 1 && said(&done).2 >= 300, "{}", done.story());
    }
}

#[test]
fn a_hang_counts_against_the_patience_of_the_wait() {
    let scene = Scene::new();
    let fault = format!("hang calls={CALLS} for=2s");
    let ready = guest("ready");
    let running: Vec<_> =
        WAITS.iter().map(|how| scene.under(&[&fault]).start(&[&ready, how, "4000", "empty"])).collect();
    for run in running {
        let done = run.end().ended(0);
        let (result, _, ms, _) = said(&done);
        assert!(result == 0 && (4000..6000).contains(&ms), "as long as was asked for: {}", done.story());
    }
}

#[test]
fn a_handler_ends_a_hung_wait_as_it_ends_a_real_one() {
    let scene = Scene::new();
    let ready = guest("ready");
    for how in WAITS {
        let kinds: &[&str] = if how.starts_with('p') && *how != "poll" || how.contains("pwait") {
            &["signal", "masked"]
        } else {
            &["signal"]
        };
        for kind in kinds {
            let done = scene.under(&[&format!("hang calls={CALLS}")]).go(&[&ready, how, "-1", kind]).ended(0);
            let (result, errno, ms, _) = said(&done);
            assert!(result == -1 && errno == "EINTR" && ms >= 300, "{how} {kind}: {}", done.story());
        }
    }
}

#[test]
fn a_wait_that_does_not_wait_neither_hangs_nor_is_interrupted() {
    let scene = Scene::new();
    let ready = guest("ready");
    for fault in ["hang", "error errno=EINTR"] {
        for how in WAITS {
            let done = scene.under(&[&format!("{fault} calls={CALLS}")]).go(&[&ready, how, "0"]).ended(0);
            assert_eq!(said(&done).0, 1, "{}", done.story());
            assert!(done.injections().is_empty() && done.lines("event").len() == 1, "{}", done.story());
        }
    }
}

#[test]
fn a_hung_wait_can_be_cancelled() {
    let scene = Scene::new();
    let cancel = guest("cancelwait");
    let done = scene.under(&[&format!("hang calls={CALLS}")]).go(&[&cancel]).ended(0);
    assert_eq!(done.out, "poll cancelled\nselect cancelled\nepoll_wait cancelled\n", "{}", done.story());
}
