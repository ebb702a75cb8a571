//! What each fault does to a call, as the guest sees it and as the log tells it.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use chaos_table::calls::{CALLS, Call, Failure, Family, FaultKind};
use chaos_table::errno::{eai_name, errno_name};
use common::complaints::Complaints;
use common::{Scene, guest, program, python};

/// The names under which the guest `calls` makes an operation: its symbols, and its system calls by number.
fn ways(call: &Call) -> Vec<String> {
    // `syscall(SYS_vfork)` cannot work in any program: the child spoils the frame on which the parent returns.
    let numbers = call.syscalls().iter().filter(|number| **number != libc::SYS_vfork);
    call.symbols().map(ToString::to_string).chain(numbers.map(|number| format!("#{number}"))).collect()
}

fn error_name(call: &Call, code: i32) -> &'static str {
    if call.fails == Failure::Eai { eai_name(code) } else { errno_name(code) }.unwrap()
}

/// What the guest says when a call failed so.
fn failed_line(call: &Call, way: &str, code: i32) -> String {
    match call.fails {
        Failure::Eai => format!("{way} {code} 0"),
        Failure::Count => format!("{way} 0 {}", error_name(call, code)),
        _ => format!("{way} -1 {}", error_name(call, code)),
    }
}

#[test]
fn every_name_of_every_call_fails_as_told_and_is_logged() {
    let mut complaints = Complaints::default();
    for call in CALLS.iter().filter(|call| call.allows(FaultKind::Error)) {
        let scene = Scene::new();
        let code = call.usual()[0];
        let fault = format!("error calls={} errno={}", call.name(), error_name(call, code));
        let ways = ways(call);
        let mut command = vec![guest("calls")];
        command.extend(ways.clone());
        let done = scene.under(&[&fault]).go(&command.iter().map(String::as_str).collect::<Vec<_>>());
        let wanted: Vec<String> = ways.iter().map(|way| failed_line(call, way, code)).collect();
        complaints.expect(call.name(), done.out.lines().map(str::to_owned).collect(), wanted);
        let injections = done.injections();
        complaints.expect(&format!("{} injections", call.name()), injections.len(), ways.len());
        for line in injections {
            complaints.expect(&format!("{} in the log", call.name()), line["call"].as_str(), Some(call.name()));
            complaints.expect(&format!("{} errno", call.name()), line["errno"].as_str(), Some(error_name(call, code)));
            complaints.expect(&format!("{} delivered", call.name()), line["delivered"].as_bool(), Some(true));
        }
    }
    complaints.none();
}

#[test]
fn every_usual_errno_that_does_not_depend_on_the_moment_is_delivered() {
    let mut complaints = Complaints::default();
    for call in CALLS.iter().filter(|call| call.allows(FaultKind::Error)) {
        let codes: Vec<i32> =
            call.usual().iter().copied().filter(|code| ![libc::EAGAIN, libc::EINTR].contains(code)).collect();
        if codes.is_empty() {
            continue;
        }
        // A file has no connection to reset and no reader to lose: those are a socket's, tested with disconnect.
        let on_file = ["read", "readv", "write", "writev", "close", "sendfile", "splice"].contains(&call.name())
            || call.is_in(Family::Stdio);
        let codes: Vec<i32> = codes
            .into_iter()
            .filter(|code| !on_file || ![libc::ECONNRESET, libc::ETIMEDOUT, libc::EPIPE].contains(code))
            .collect();
        // The guest's fcntl duplicates; a lock's error is none of that.
        let codes: Vec<i32> =
            codes.into_iter().filter(|code| call.name() != "fcntl" || *code != libc::ENOLCK).collect();
        let scene = Scene::new();
        let faults: Vec<String> = codes
            .iter()
            .enumerate()
            .map(|(at, code)| format!("error calls={} errno={} nth={}", call.name(), error_name(call, *code), at + 1))
            .collect();
        let way = &ways(call)[0];
        let mut command = vec![guest("calls")];
        command.extend(codes.iter().map(|_| way.clone()));
        let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
        let done = scene.under(&faults).go(&command.iter().map(String::as_str).collect::<Vec<_>>());
        let wanted: Vec<String> = codes.iter().map(|code| failed_line(call, way, *code)).collect();
        complaints.expect(call.name(), done.out.lines().map(str::to_owned).collect(), wanted);
    }
    complaints.none();
}

#[test]
fn without_an_errno_the_choice_is_among_the_usual_ones_and_not_always_the_same() {
    let scene = Scene::new();
    let mut command = vec![guest("calls")];
    command.extend((0..60).map(|_| "open".to_owned()));
    let done = scene.under(&["error calls=open"]).go(&command.iter().map(String::as_str).collect::<Vec<_>>()).ended(0);
    let usual = chaos_table::calls::Op::Open.row().usual();
    let mut seen: Vec<&str> = done.out.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(seen.len(), 60, "{}", done.story());
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.iter().all(|name| usual.iter().any(|code| errno_name(*code) == Some(name))), "{seen:?}");
    assert!(seen.len() >= 4, "60 choices among {} errnos gave only {seen:?}", usual.len());
}

#[test]
fn an_error_that_the_kernel_could_not_give_there_is_not_given() {
    let scene = Scene::new();
    // A regular file never says EAGAIN or EINTR; the read succeeds, and nothing is called delivered.
    for errno in ["EAGAIN", "EINTR"] {
        let fault = format!("error calls=read errno={errno}");
        let done = scene.under(&[&fault]).go(&[&guest("loop"), "10"]).said("0.0:");
        assert_eq!(done.injections().len(), 0, "{}", done.story());
    }
}

#[test]
fn what_programs_wake_themselves_up_by_fails_only_as_the_kernel_fails_it() {
    let scene = Scene::new();
    let script = "
import os, select, signal, socket, struct
def tried(what, call):
    try:
        print(what, call())
    except OSError as error:
        print(what, error.strerror)
event = os.eventfd(0, os.EFD_NONBLOCK)
r, w = os.pipe()
us, them = socket.socketpair()
for end in (r, w, us.fileno(), them.fileno()):
    os.set_blocking(end, False)
for what, put, take in [('event', lambda: os.write(event, struct.pack('Q', 1)), lambda: len(os.read(event, 8))),
                        ('pipe', lambda: os.write(w, b'x'), lambda: len(os.read(r, 9))),
                        ('pair', lambda: us.send(b'x'), lambda: len(them.recv(9)))]:
    tried(what, put)
    tried(what, put)
    tried(what, take)
";
    let bare = scene.bare().go(&[&python(), "-c", script]).ended(0);
    assert_eq!(bare.out, "event 8\nevent 8\nevent 8\npipe 1\npipe 1\npipe 2\npair 1\npair 1\npair 2\n");
    for fault in ["error calls=read,write errno=EIO", "error calls=write errno=ENOSPC", "error calls=read errno=EPIPE"]
    {
        let done = scene.under(&[fault]).go(&[&python(), "-c", script]).said(&bare.out);
        assert!(done.injections().is_empty(), "{}", done.story());
    }
    // What is full has something to read: who is told so may count on its reader. An eventfd is never full.
    let again = "Resource temporarily unavailable";
    for engine in ["preload", "seccomp"] {
        let run = scene.under(&["error calls=write,send,sendto errno=EAGAIN"]).options(&["--engine", engine]);
        let expected =
            format!("event 8\nevent 8\nevent 8\npipe 1\npipe {again}\npipe 1\npair 1\npair {again}\npair 1\n");
        run.go(&[&python(), "-c", script]).said(&expected);
    }
}

#[test]
fn opens_and_watches_fail_only_as_what_they_ask_for_can() {
    let scene = Scene::new();
    let script = "
import errno, os, select
def tried(what, call):
    try:
        call()
        print(what, 'went well')
    except OSError as error:
        print(what, errno.errorcode[error.errno])
tried('reading', lambda: os.open('data.bin', os.O_RDONLY))
tried('writing', lambda: os.open('data.bin', os.O_WRONLY))
tried('making', lambda: os.open('data.bin', os.O_RDWR | os.O_CREAT))
tried('alone', lambda: os.open('new.bin', os.O_RDWR | os.O_CREAT | os.O_EXCL))
epoll, (r, w) = select.epoll(), os.pipe()
tried('add', lambda: epoll.register(r, select.EPOLLIN))
epoll.register(w, select.EPOLLOUT)
tried('change', lambda: epoll.modify(w, 0))
tried('remove', lambda: epoll.unregister(w))
";
    let well = |words: &[&str]| words.iter().map(|word| format!("{word} went well\n")).collect::<String>();
    let watches = well(&["add", "change", "remove"]);
    for (errno, at) in [("EROFS", 1), ("ENOSPC", 2), ("EDQUOT", 2), ("EEXIST", 3), ("EACCES", 0)] {
        let fault = format!("error calls=open errno={errno} path=*.bin");
        let expected: String = ["reading", "writing", "making", "alone"]
            .iter()
            .enumerate()
            .map(|(step, word)| if step < at { well(&[word]) } else { format!("{word} {errno}\n") })
            .collect();
        for engine in ["preload", "seccomp"] {
            let run = scene.under(&[&fault]).options(&["--engine", engine]);
            run.go(&[&python(), "-c", script]).said(&(expected.clone() + &watches));
        }
    }
    let opens = well(&["reading", "writing", "making", "alone"]);
    let done = scene.under(&["error calls=epoll_ctl errno=ENOMEM nth=1"]).go(&[&python(), "-c", script]);
    done.said(&(opens.clone() + "add ENOMEM\n" + &well(&["change", "remove"])));
    std::fs::remove_file(scene.path("new.bin")).unwrap();
    let done = scene.under(&["error calls=epoll_ctl errno=ENOSPC nth=3..9"]).go(&[&python(), "-c", script]);
    done.said(&(opens + &watches));
}

#[test]
fn node_wakes_up_whatever_reads_and_writes_fail() {
    let scene = Scene::new();
    let script = scene.write(
        "work.js",
        "const { open } = require('fs').promises;
(async () => {
    let tried = 0;
    for (; tried < 100; tried++) {
        const file = await open('data.bin');
        await file.read(Buffer.alloc(10), 0, 10, null).catch(() => {});
        await file.close();
    }
    console.log('tried', tried);
})();",
    );
    // Its threads tell its loop of each by an eventfd.
    for errno in ["EIO", "EAGAIN"] {
        let fault = format!("error calls=read,write errno={errno} rate=50% not.path=*.js");
        scene.under(&[&fault]).go(&[&program("node", "nodejs"), &script]).said("tried 100");
    }
}

#[test]
fn what_is_left_after_the_other_end_closed_comes_whole() {
    let scene = Scene::new();
    let script = "
import os, socket
r, w = os.pipe()
one, two = socket.socketpair()
for end in (w, one.fileno()):
    os.write(end, b'x' * 3000)
print(len(os.read(r, 4000)), len(two.recv(4000)))
for end in (w, one.fileno()):
    os.write(end, b'x' * 2000)
os.close(w), one.close()
print(len(os.read(r, 4000)), len(two.recv(4000)))
";
    // Of 4000 bytes only 2000 are asked for while the other end is open; of the 3000 left then, none is withheld.
    scene.under(&["short calls=read,recv keep=50%"]).go(&[&python(), "-c", script]).said("2000 2000\n3000 3000");
}

#[test]
fn only_a_call_that_can_wait_is_interrupted() {
    let scene = Scene::new();
    // CPython tries again (PEP 475), so it is the log that tells which of them were hit.
    let script = "
import os, socket, sys
blocking = sys.argv[1] == 'waits'
r, w = os.pipe()
one, two = socket.socketpair()
listener = socket.create_server(('127.0.0.1', 0))
os.set_blocking(r, blocking), os.set_blocking(w, blocking)
for end in (one, two, listener):
    end.setblocking(blocking)
os.write(w, b'x'), os.read(r, 1), one.send(b'x'), two.recv(1)
near = socket.create_connection(listener.getsockname())
listener.accept()[0].close()
";
    let calls = ["accept", "read", "recv", "send", "write"];
    let faults = calls.map(|call| format!("error calls={call} errno=EINTR times=1"));
    let faults = faults.each_ref().map(String::as_str);
    for (word, wanted) in [("waits", &calls[..]), ("does not", &[])] {
        let done = scene.under(&faults).go(&[&python(), "-c", script, word]).ended(0);
        let injections = done.injections();
        let mut hit: Vec<&str> = injections.iter().map(|line| line["call"].as_str().unwrap()).collect();
        hit.sort_unstable();
        assert_eq!(hit, wanted, "{word}: {}", done.story());
    }
}

#[test]
fn no_memory_at_the_hundredth_allocation_ends_a_program_in_its_own_way() {
    let scene = Scene::new();
    let done = scene.under(&["malloc=ENOMEM@100"]).go(&[&guest("oom")]);
    assert_eq!(done.out, "out of memory at 100: ENOMEM\n", "{}", done.story());
    let done = done.ended(3);
    let injections = done.injections();
    assert_eq!(injections.len(), 1);
    assert_eq!((injections[0]["nth"].as_u64(), injections[0]["call"].as_str()), (Some(100), Some("malloc")));
    assert_eq!(injections[0]["requested"].as_u64(), Some(128), "what was asked for is in the log");
}

#[test]
fn memory_runs_out_at_its_limit_and_comes_back_when_freed() {
    let scene = Scene::new();
    let done = scene.under(&["exhaust what=memory limit=1MB"]).go(&[&guest("exhaust"), "memory"]).ended(0);
    let words: Vec<&str> = done.out.split_whitespace().collect();
    let (first, second): (u32, u32) = (words[0].parse().unwrap(), words[2].parse().unwrap());
    assert_eq!(words[1], "ENOMEM", "{}", done.story());
    assert!((13..=16).contains(&first), "16 blocks of 64 KB are a megabyte\n{}", done.story());
    assert_eq!(first, second, "what was freed can be had again\n{}", done.story());
}

#[test]
fn descriptors_run_out_at_their_limit_and_come_back_when_closed() {
    let scene = Scene::new();
    let done = scene.under(&["exhaust what=files limit=20"]).go(&[&guest("exhaust"), "files"]).ended(0);
    // As the kernel does it with the same limit, whatever descriptors this test has inherited.
    let line = format!("ulimit -n 20; exec {} files", guest("exhaust"));
    let kernel = scene.bare().go(&[&program("bash", "bash"), "-c", &line]).ended(0);
    assert!(kernel.out.contains("EMFILE"), "{}", kernel.story());
    done.said(&kernel.out);
}

#[test]
fn a_signal_ends_the_program_or_reaches_its_handler() {
    let scene = Scene::new();
    let done = scene.under(&["signal signal=KILL calls=read path=data.bin nth=3"]).go(&[&guest("signal")]).ended(137);
    let injections = done.injections();
    assert_eq!(injections.len(), 1, "{}", done.story());
    assert_eq!(injections[0]["delivered"].as_bool(), Some(true), "a signal counts as delivered when it is recorded");
    let done = scene.under(&["signal signal=USR1 calls=read path=data.bin nth=3..4"]).go(&[&guest("signal")]);
    done.said("reads 10 signals 2");
    for name in ["TERM", "SIGSEGV", "6"] {
        let code = 128 + chaos_table::errno::signal_by_name(name).unwrap();
        let fault = format!("signal signal={name} calls=read path=data.bin nth=1");
        scene.under(&[&fault]).go(&[&guest("signal")]).ended(code);
    }
}

#[test]
fn exit_ends_the_program_with_its_code() {
    let scene = Scene::new();
    let done = scene.under(&["exit code=7 calls=read path=data.bin nth=2"]).go(&[&guest("signal")]).ended(7);
    assert_eq!(done.out, "");
    assert_eq!(done.injections().len(), 1);
    assert_eq!(done.injections()[0]["delivered"].as_bool(), Some(true));
}

fn milliseconds(out: &str) -> Vec<(u64, String)> {
    out.lines().map(|line| line.split_once(' ').unwrap()).map(|(ms, rest)| (ms.parse().unwrap(), rest.into())).collect()
}

#[test]
fn latency_delays_the_call_and_lets_it_go_on() {
    let scene = Scene::new();
    let done = scene.under(&["latency calls=read delay=120ms nth=2"]).go(&[&guest("timed"), "3"]).ended(0);
    let times = milliseconds(&done.out);
    assert!(times[1].0 >= 120, "{}", done.story());
    assert!(times.iter().all(|(_, rest)| rest == "1 0"), "the read itself succeeds: {}", done.story());
    let injections = done.injections();
    assert_eq!(injections.len(), 1);
    assert_eq!(injections[0]["requested"].as_u64(), Some(120_000_000), "ns of the delay");
    assert_eq!(injections[0]["delivered"].as_bool(), Some(true));
    let done = scene.under(&["read=latency:60ms"]).go(&[&guest("timed"), "2"]).ended(0);
    assert!(milliseconds(&done.out).iter().all(|(ms, _)| *ms >= 60), "{}", done.story());
}

#[test]
fn jitter_spreads_the_delay_within_its_bounds() {
    let scene = Scene::new();
    let done = scene.under(&["latency calls=read delay=10ms jitter=5ms"]).go(&[&guest("timed"), "20"]).ended(0);
    assert!(milliseconds(&done.out).iter().all(|(ms, _)| *ms >= 5), "{}", done.story());
    let mut delays: Vec<u64> =
        done.injections().iter().map(|line| line["requested"].as_u64().unwrap_or_else(|| panic!("{line}"))).collect();
    assert!(delays.iter().all(|ns| (5_000_000..=15_000_000).contains(ns)), "{delays:?}");
    delays.sort_unstable();
    delays.dedup();
    assert!(delays.len() > 10, "{delays:?}");
}

#[test]
fn a_normal_delay_lies_around_its_middle() {
    let scene = Scene::new();
    let fault = "latency calls=read delay=4ms jitter=1ms distribution=normal";
    let done = scene.under(&[fault]).go(&[&guest("timed"), "100"]).ended(0);
    let delays: Vec<u64> = done.injections().iter().map(|line| line["requested"].as_u64().unwrap()).collect();
    assert_eq!(delays.len(), 100);
    let mean = delays.iter().sum::<u64>() / 100;
    assert!((3_500_000..=4_500_000).contains(&mean), "{mean}");
    let within = delays.iter().filter(|ns| (3_000_000..=5_000_000).contains(*ns)).count();
    assert!((50..=85).contains(&within), "about 68 of 100 lie within one deviation: {within}");
}

#[test]
fn a_hang_is_released_at_its_end_and_the_call_goes_on() {
    let scene = Scene::new();
    let done = scene.under(&["hang calls=read for=1s nth=1"]).go(&[&guest("timed"), "2"]).ended(0);
    let times = milliseconds(&done.out);
    assert!(times[0].0 >= 500, "{}", done.story());
    assert!(times.iter().all(|(_, rest)| rest == "1 0"), "{}", done.story());
    let injections = done.injections();
    assert_eq!(injections.len(), 1, "{}", done.story());
    assert_eq!(injections[0]["delivered"].as_bool(), Some(true), "{}", done.story());
}

#[test]
fn a_hang_without_end_lasts_until_the_timeout_ends_the_tree() {
    let scene = Scene::new();
    let done =
        scene.under(&["hang calls=read nth=1"]).options(&["--timeout", "2s"]).go(&[&guest("timed"), "1"]).ended(124);
    assert_eq!(done.injections().len(), 1, "{}", done.story());
}

#[test]
fn short_reads_and_writes_lose_nothing() {
    let scene = Scene::new();
    let data: Vec<u8> = (0..300_000u32).map(|n| (n * 7 % 253) as u8).collect();
    scene.write("from.bin", &data);
    for keep in ["1%", "50%", "99%"] {
        let fault = format!("short calls=read,write keep={keep} rate=50%");
        let done = scene.under(&[&fault]).go(&[&guest("copy"), "from.bin", "to.bin"]).ended(0);
        assert!(scene.read("to.bin") == data, "keep={keep}: the copy differs\n{}", done.err);
        let words: Vec<u32> = done.out.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        assert!(words[0] > 10 && words[1] > 10, "{}", done.out);
        for line in done.injections() {
            // Where the whole request would have got no more, nothing was cut off, so nothing was delivered.
            let (asked, got) = (line["requested"].as_i64().unwrap(), line["result"].as_i64());
            let cut = got.is_some_and(|got| 0 < got && got < asked);
            assert_eq!(line["delivered"] == true, cut, "delivered is some, not all and not nothing: {line}");
        }
    }
}

#[test]
fn what_cannot_be_short_is_not_shortened() {
    let scene = Scene::new();
    let bare = scene.bare().go(&[&guest("kinds")]).ended(0);
    std::fs::remove_file(scene.path("appears")).unwrap();
    scene.under(&["short calls=read,write,send,recv keep=10%"]).go(&[&guest("kinds")]).said(&bare.out);
    // What eventfd, inotify, timerfd and signalfd tell is no data, either; in datagrams and pipes there is some.
    for how in ["flip=1bit/1B", "zero=1B/1B", "duplicate=50%", "truncate=50%"] {
        std::fs::remove_file(scene.path("appears")).unwrap();
        let done = scene.under(&[&format!("corrupt calls=read {how}")]).go(&[&guest("kinds")]).said(&bare.out);
        assert!(done.injections().is_empty(), "{}", done.story());
    }
}

#[test]
fn an_edge_triggered_loop_loses_no_wakeup() {
    let scene = Scene::new();
    for fault in ["short calls=read keep=10% nth=1", "error calls=read errno=EAGAIN nth=1"] {
        let done = scene.under(&[fault]).go(&[&guest("edge")]).said("got 1000");
        assert!(done.injections()[0]["delivered"] == true, "{}", done.story());
    }
}

fn flipped(left: &[u8], right: &[u8]) -> Vec<usize> {
    assert_eq!(left.len(), right.len());
    let bits =
        |at: usize| (0..8).filter(move |bit| (left[at] ^ right[at]) >> bit & 1 == 1).map(move |bit| at * 8 + bit);
    (0..left.len()).flat_map(bits).collect()
}

#[test]
fn corrupt_flips_exactly_the_promised_bits_of_what_is_read() {
    let scene = Scene::new();
    let data: Vec<u8> = (0..4096 * 10u32).map(|n| (n % 255) as u8).collect();
    scene.write("from.bin", &data);
    // The copy reads in blocks of 4 KB: one bit of each.
    let done =
        scene.under(&["corrupt calls=read path=from.bin flip=1bit/4KB"]).go(&[&guest("copy"), "from.bin", "to.bin"]);
    let copy = scene.read("to.bin");
    assert!(scene.read("from.bin") == data, "the file itself stays as it was");
    let bits = flipped(&data, &copy);
    assert_eq!(bits.len(), 10, "{bits:?}\n{}", done.story());
    let blocks: Vec<usize> = bits.iter().map(|bit| bit / 8 / 4096).collect();
    assert_eq!(blocks, (0..10).collect::<Vec<_>>(), "one in each block");
    let within: std::collections::HashSet<usize> = bits.iter().map(|bit| bit % (4096 * 8)).collect();
    assert!(within.len() > 3, "not always the same place: {bits:?}");
}

#[test]
fn corrupt_flips_what_is_written_but_not_the_buffer_of_the_program() {
    let scene = Scene::new();
    let script = "
import os
data = bytearray(b'\\x55') * 4096
fd = os.open('written.bin', os.O_CREAT | os.O_WRONLY)
assert os.write(fd, data) == 4096
assert data == bytearray(b'\\x55') * 4096, 'the program sees its own buffer changed'
";
    let fault = "corrupt calls=write path=written.bin flip=3bit";
    scene.under(&[fault]).go(&[&python(), "-c", script]).ended(0);
    let bits = flipped(&[0x55; 4096], &scene.read("written.bin"));
    assert_eq!(bits.len(), 3, "{bits:?}");
}

#[test]
fn what_does_not_wait_or_lock_does_not_fail_so() {
    let scene = Scene::new();
    let script = "
import fcntl, os
child = os.fork()
if child == 0: os._exit(0)
while os.waitpid(child, os.WNOHANG) == (0, 0): pass
with open('data.bin', 'rb') as file:
    print(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE, fcntl.fcntl(file, fcntl.F_GETFD))
";
    let faults = ["error calls=wait errno=EINTR", "error calls=fcntl errno=EMFILE,EAGAIN,EINTR,ENOLCK"];
    let done = scene.under(&faults).go(&[&python(), "-c", script]).said("0 1");
    assert!(done.injections().is_empty() && done.lines("event").len() == 2, "{}", done.story());
}

#[test]
fn a_failing_close_has_closed() {
    let scene = Scene::new();
    let done = scene.under(&["close=EIO"]).go(&[&guest("closes")]).said("failed 100 highest 3");
    assert_eq!(done.injections().len(), 100);
}

#[test]
fn a_reset_connection_stays_reset() {
    let scene = Scene::new();
    for kind in ["unix", "tcp"] {
        let done = scene.under(&["disconnect calls=send nth=3"]).go(&[&guest("stream"), kind]).ended(0);
        let lines: Vec<Vec<&str>> = done.out.lines().map(|line| line.split(' ').collect()).collect();
        assert_eq!(lines.len(), 8, "{}", done.story());
        for (at, line) in lines.iter().enumerate() {
            if at < 2 {
                assert_eq!(line[1..], ["16", "0", "16", "0"], "{kind}: {}", done.story());
            } else {
                assert_eq!(line[1], "-1", "{kind}: {}", done.story());
                assert!(["ECONNRESET", "EPIPE"].contains(&line[2]), "{kind}: {}", done.story());
                assert_ne!(line[3], "16", "{kind}: nothing arrives any more: {}", done.story());
            }
        }
        assert_eq!(done.injections().len(), 1, "{}", done.story());
    }
}

#[test]
fn a_connection_that_ends_silently_stays_at_its_end() {
    let scene = Scene::new();
    for kind in ["unix", "tcp"] {
        let done = scene.under(&["disconnect calls=recv mode=end nth=3"]).go(&[&guest("stream"), kind]).ended(0);
        let got: Vec<&str> = done.out.lines().map(|line| line.split(' ').nth(3).unwrap()).collect();
        assert_eq!(got[..3], ["16", "16", "0"], "{kind}: {}", done.story());
        // Over TCP the kernel answers what the peer still sends with a reset.
        assert!(got[3..].iter().all(|got| ["0", "-1"].contains(got)), "{kind}: {}", done.story());
    }
}

#[test]
fn a_broken_pipe_raises_its_signal() {
    let scene = Scene::new();
    let fault = "error calls=send errno=EPIPE nth=2";
    scene.under(&[fault]).go(&[&guest("stream"), "unix", "default"]).ended(141);
    let ignoring = scene.under(&[fault]).go(&[&guest("stream"), "unix"]).ended(0);
    assert!(ignoring.out.contains("2 -1 EPIPE"), "{}", ignoring.story());
}

#[test]
fn rates_hit_about_as_often_as_they_say() {
    let scene = Scene::new();
    for (rate, low, high) in [("0%", 0, 0), ("10%", 130, 280), ("50%", 900, 1100), ("100%", 2000, 2000)] {
        let fault = format!("read=EIO@{rate}");
        let done = scene.under(&[&fault]).go(&[&guest("loop"), "2000"]).ended(0);
        let hits = done.injections().len();
        assert!((low..=high).contains(&hits), "{rate} of 2000 gave {hits}");
    }
}

#[test]
fn a_creating_open_keeps_the_mode_that_it_was_given() {
    let scene = Scene::new();
    let script = "
import os
os.umask(0)
for name, mode in (('a', 0o600), ('b', 0o755), ('c', 0o7)):
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, mode))
    print(oct(os.stat(name).st_mode & 0o7777))
";
    scene.under(&["open=EIO@1000"]).go(&[&python(), "-c", script]).said("0o600\n0o755\n0o7");
}
