//! Faults in the data itself: lost, torn, forged, corrupted; and delays with a shape.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{Done, Scene, guest, program, python};
use serde_json::Value;

fn script(scene: &Scene, faults: &[&str], text: &str) -> Done {
    scene.under(faults).go(&[&python(), "-c", text])
}

/// Why the faults of a run were not injected.
fn reasons(done: &Done) -> Vec<String> {
    done.lines("event").iter().filter_map(|line| line["reason"].as_str().map(str::to_owned)).collect()
}

/// A field of every injection.
fn each<'a>(injections: &'a [Value], field: &str) -> Vec<&'a Value> {
    injections.iter().map(|line| &line[field]).collect()
}

#[test]
fn a_lost_write_says_success_and_moves_the_position() {
    let scene = Scene::new();
    let text = "
import os
fd = os.open('lost', os.O_CREAT | os.O_RDWR)
print(os.write(fd, b'a' * 10), os.lseek(fd, 0, 1), os.fstat(fd).st_size)
print(os.write(fd, b'b' * 10), os.lseek(fd, 0, 1), os.fstat(fd).st_size)
print(os.writev(fd, [b'c' * 5, b'd' * 5]), os.lseek(fd, 0, 1), os.fstat(fd).st_size)
print(os.pwrite(fd, b'e' * 10, 100), os.lseek(fd, 0, 1), os.fstat(fd).st_size)
print(os.pwritev(fd, [b'f' * 10], 200), os.lseek(fd, 0, 1), os.fstat(fd).st_size)
print(os.write(fd, b'g' * 10))
print(os.pread(fd, 100, 0))
";
    let faults = ["drop path=lost calls=write nth=1", "drop path=lost calls=writev,pwrite,pwritev"];
    let done = script(&scene, &faults, text);
    let kept = format!("b'{}bbbbbbbbbb{}gggggggggg'", "\\x00".repeat(10), "\\x00".repeat(10));
    let done = done.said(&format!("10 10 0\n10 20 20\n10 30 20\n10 30 20\n10 30 20\n10\n{kept}"));
    let injections = done.injections();
    assert_eq!(each(&injections, "result"), [10; 4], "{}", done.story());
    assert!(injections.iter().all(|line| line["effect"] == "drop" && line["delivered"] == true), "{}", done.story());
}

#[test]
fn a_lost_record_of_a_log_leaves_no_hole() {
    let scene = Scene::new();
    let text = "
import os
fd = os.open('log', os.O_CREAT | os.O_WRONLY | os.O_APPEND)
for record in (b'1', b'2', b'3'):
    assert os.write(fd, record * 4) == 4
    print(os.lseek(fd, 0, 1))
print(open('log').read())
";
    // The second stands nowhere; the position is what the kernel would tell after it.
    script(&scene, &["drop path=log nth=2"], text).said("4\n8\n8\n11113333");
}

#[test]
fn what_cannot_be_lost_is_not_lost() {
    let scene = Scene::new();
    for (text, reason) in [
        ("a, b = socket.socketpair(); a.send(b'1234'); print(b.recv(9))", "stream or pipe"),
        ("a, b = os.pipe(); os.write(b, b'1234'); print(os.read(a, 9))", "stream or pipe"),
        (
            "a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); a.send(b'1234'); print(b.recv(9))",
            "datagrams of the network",
        ),
        ("print(os.read(os.open('text', 0), 9))", "a read of a file"),
    ] {
        scene.write("text", "1234");
        let done = script(
            &scene,
            &["drop calls=read,write,send,recv"],
            &format!("import os, socket\nopen('text').close()\n{text}"),
        );
        let done = done.said("b'1234'");
        assert!(done.injections().is_empty() && reasons(&done)[0].contains(reason), "{}", done.story());
    }
    let done = script(
        &scene,
        &["drop path=text"],
        "import os\nfd = os.open('text', 0)\ntry: os.write(fd, b'1')\nexcept OSError as error: print(error.errno)",
    );
    assert!(done.said("9").injections().is_empty());
}

#[test]
fn a_lying_sync_syncs_nothing() {
    let scene = Scene::new();
    let text = "
import ctypes, mmap, os
libc = ctypes.CDLL(None, use_errno=True)
fd = os.open('data.bin', os.O_RDWR)
os.fsync(fd)
os.fdatasync(fd)
print(libc.sync_file_range(fd, ctypes.c_long(0), ctypes.c_long(0), 0), libc.syncfs(fd))
with mmap.mmap(fd, 4096) as view: view.flush()
";
    let strace = program("strace", "strace");
    let trace = "--trace=fsync,fdatasync,sync_file_range,syncfs,msync";
    let count = |run: common::Run<'_>| {
        let done = run.go(&[&strace, "-o", "trace", trace, &python(), "-c", text]).said("0 0");
        let made = String::from_utf8(scene.read("trace")).unwrap();
        (made.lines().filter(|line| line.contains("sync")).count(), done)
    };
    assert_eq!(count(scene.bare()).0, 5, "the kernel saw each");
    let faults = ["drop calls=fsync,fdatasync,sync_file_range,syncfs,msync"];
    let (made, done) = count(scene.under(&faults));
    assert_eq!((made, done.injections().len()), (0, 5), "{}", done.story());
}

#[test]
fn a_datagram_is_lost_on_its_way_out_or_in() {
    let scene = Scene::new();
    for call in ["send", "sendto", "sendmsg", "sendmmsg", "write"] {
        let fault = format!("drop calls={call} to=127.0.0.1 nth=2");
        let fault = if call.starts_with("send") { format!("drop calls={call} nth=2") } else { fault };
        let done = scene.under(&[&fault]).go(&[&guest("lost"), call, "recv"]).said("1 3 4 5 EAGAIN");
        assert_eq!(done.injections().len(), 1, "{}", done.story());
    }
    for call in ["recv", "recvfrom", "recvmsg", "read"] {
        let fault = format!("drop calls={call} nth=2");
        let done = scene.under(&[&fault]).go(&[&guest("lost"), "sendto", call]).said("1 3 4 5 EAGAIN");
        assert_eq!(each(&done.injections(), "result"), [4], "{}", done.story());
    }
    // The last one lost: the wait for the next ends at the socket's own limit.
    scene.under(&["drop calls=recv nth=5"]).go(&[&guest("lost"), "sendto", "recv"]).said("1 2 3 4 EAGAIN");
}

#[test]
fn a_torn_write_leaves_its_prefix_and_fails() {
    let scene = Scene::new();
    let text = "
import os
fd = os.open('torn', os.O_CREAT | os.O_RDWR)
os.write(fd, b'x' * 100)
for write in (lambda: os.write(fd, b'a' * 100), lambda: os.writev(fd, [b'b' * 30, b'c' * 30, b'd' * 40]),
              lambda: os.pwrite(fd, b'e' * 100, 500), lambda: os.pwritev(fd, [b'f' * 30, b'g' * 70], 1000)):
    try: print('wrote', write())
    except OSError as error: print(os.strerror(error.errno), os.lseek(fd, 0, 1), os.fstat(fd).st_size)
print(os.pread(fd, 25, 100), os.pread(fd, 60, 1000))
";
    let done = script(&scene, &["torn path=torn after=1 keep=40% errno=ENOSPC:1,EIO:1"], text);
    let lines: Vec<&str> = done.out.lines().collect();
    // The position is where it was: a program that tries again writes over the prefix.
    let ends: Vec<&str> = lines[..4].iter().map(|line| line.split_once("1").unwrap().1).collect();
    assert_eq!(ends, ["00 140", "00 140", "00 540", "00 1040"], "{}", done.story());
    assert_eq!(lines[4], format!("b'{}' b'{}{}'", "b".repeat(25), "f".repeat(30), "g".repeat(10)));
    let injections = done.injections();
    assert_eq!(each(&injections, "result"), [40; 4], "what was written: {}", done.story());
    for line in &injections {
        assert!(["EIO", "ENOSPC"].contains(&line["errno"].as_str().unwrap()), "{line}");
        assert!(line["effect"] == "torn" && line["delivered"] == true, "{line}");
    }
    let done = script(&scene, &["torn path=torn"], text);
    assert!(done.ended(1).err.contains("Errno 5"), "EIO when none is asked for");
}

#[test]
fn a_torn_write_kills_in_the_middle() {
    let scene = Scene::new();
    let text = "
import os
fd = os.open('wal', os.O_CREAT | os.O_WRONLY | os.O_APPEND)
for _ in range(9): os.write(fd, b'r' * 1000)
";
    let done = script(&scene, &["torn path=wal then=kill keep=70% nth=4"], text).ended(137);
    assert_eq!(scene.read("wal").len(), 3700);
    let injections = done.injections();
    assert!(injections.len() == 1 && injections[0]["delivered"] == true, "{}", done.story());
    assert_eq!((&injections[0]["effect"], &injections[0]["result"]), (&"torn, then killed".into(), &700.into()));
}

#[test]
fn what_cannot_be_torn_is_not_torn() {
    let scene = Scene::new();
    for (text, fault, reason) in [
        ("os.write(b, b'1' * 4096)", "torn calls=write then=kill", "PIPE_BUF"),
        ("os.write(b, b'1' * 5000)", "torn calls=write", "tells how much"),
        ("os.write(os.eventfd(0), b'12345678')", "torn calls=write", "only writes to files"),
        ("os.write(os.open('one', os.O_CREAT | os.O_WRONLY), b'1')", "torn", "one byte"),
    ] {
        // A file of its own shows that the program is at work.
        let text = format!("import os\nopen('data.bin').close()\na, b = os.pipe()\n{text}");
        let done = script(&scene, &[fault], &text).ended(0);
        assert!(done.injections().is_empty() && reasons(&done)[0].contains(reason), "{}", done.story());
    }
    let big = "import os\nopen('data.bin').close()\na, b = os.pipe()\nos.write(b, b'1' * 6000)";
    script(&scene, &["torn calls=write then=kill"], big).ended(137);
}

#[test]
fn a_forged_return_makes_no_call() {
    let scene = Scene::new();
    let text = "
import os
fd = os.open('forged', os.O_CREAT | os.O_RDWR)
print(os.write(fd, b'1234'), os.fstat(fd).st_size)
try: os.fsync(fd)
except OSError as error: print(error.errno)
print(os.pread(fd, 10, 0))
os.unlink('forged')
print(os.path.exists('forged'))
";
    let faults = [
        "return calls=write path=forged value=3",
        "return calls=fsync value=-1 errno=EDQUOT",
        "return calls=pread path=forged value=0",
        "return calls=unlink path=forged value=0",
    ];
    let done = script(&scene, &faults, text).said("3 0\n122\nb''\nTrue");
    let injections = done.injections();
    assert_eq!(each(&injections, "result"), [3, -1, 0, 0], "{}", done.story());
    assert!(each(&injections, "effect").iter().all(|effect| **effect == "return"), "{}", done.story());
    assert_eq!(injections[1]["errno"], "EDQUOT");
    // More than was asked for would send the program beyond its buffer.
    let read = "import os\nprint(len(os.read(os.open('data.bin', 0), 10)))";
    let done = script(&scene, &["return calls=read path=data.bin value=11"], read).said("10");
    assert!(reasons(&done)[0].contains("more bytes than were asked for"), "{}", done.story());
    let done = scene.under(&["return calls=malloc value=0 nth=100"]).go(&[&guest("oom")]).ended(3);
    assert_eq!(done.out, "out of memory at 100: ENOMEM\n");
    let done = scene.under(&["return calls=posix_memalign value=12"]).go(&[&guest("calls"), "posix_memalign"]);
    done.said("posix_memalign -1 ENOMEM");
}

/// Runs of equal bytes: (byte, how many).
fn runs(data: &[u8]) -> Vec<(u8, usize)> {
    let mut runs: Vec<(u8, usize)> = Vec::new();
    for byte in data {
        match runs.last_mut() {
            Some((last, count)) if last == byte => *count += 1,
            _ => runs.push((*byte, 1)),
        }
    }
    runs
}

const TRANSFER: &str = "
import os, sys
data = open('data.bin', 'rb').read()
fd = os.open('to.bin', os.O_CREAT | os.O_RDWR | os.O_TRUNC)
how = sys.argv[1]
if how == 'write': n = os.write(fd, data)
if how == 'pwrite': n = os.pwrite(fd, data, 0)
if how == 'writev': n = os.writev(fd, [data[:10], data[10:2000], data[2000:]])
if how == 'read':
    got = os.read(os.open('data.bin', 0), 4096)
    n = len(got)
if how == 'readv':
    parts = [bytearray(10), bytearray(1990), bytearray(2096)]
    n = os.readv(os.open('data.bin', 0), parts)
    got = b''.join(parts)[:n]
if how.startswith('read'): os.pwrite(fd, got, 0)
print(n, os.lseek(fd, 0, 1))
";

fn corrupted(how: &str, fault: &str) -> (Vec<u8>, Vec<u8>, String, Value) {
    let scene = Scene::new();
    let call = how.trim_end_matches('v');
    let path = if how.starts_with("read") { "data.bin" } else { "to.bin" };
    let calls = if how.ends_with('v') { how } else { call };
    // Python reads the file by itself first.
    let nth = if how == "read" { "nth=3" } else { "" };
    let fault = format!("corrupt calls={calls} path={path} {fault} {nth}");
    let done = scene.under(&[&fault]).go(&[&python(), "-c", TRANSFER, how]).ended(0);
    let mut injections = done.injections();
    assert_eq!(injections.len(), 1, "{}", done.story());
    (scene.read("data.bin"), scene.read("to.bin"), done.out.trim().to_owned(), injections.remove(0))
}

#[test]
fn corrupt_zeroes_ranges_of_what_is_read_and_written() {
    for how in ["write", "pwrite", "writev", "read", "readv"] {
        let (from, to, _, injection) = corrupted(how, "zero=100B/1KB");
        assert_eq!((to.len(), &injection["effect"]), (4096, &"zero".into()), "{injection}");
        for (index, block) in to.chunks(1024).enumerate() {
            let zeroed: Vec<_> = runs(block).into_iter().filter(|(byte, _)| *byte == 0).collect();
            assert_eq!(zeroed, [(0, 100)], "{how}, block {index}: one range, and no zero elsewhere");
        }
        let changed = from.iter().zip(&to).filter(|(a, b)| a != b).count();
        assert_eq!(changed, 400, "{how}");
    }
}

#[test]
fn corrupt_repeats_a_part_over_what_follows_it() {
    for how in ["write", "writev", "read", "readv"] {
        let (from, to, out, injection) = corrupted(how, "duplicate=10%");
        assert!(out.starts_with("4096"), "{injection}");
        let first = from.iter().zip(&to).position(|(a, b)| a != b).unwrap();
        // The data repeats itself after 251 bytes, so the first byte that differs is the first that was overwritten.
        assert_eq!(to[first..first + 409], from[first - 409..first], "{how}");
        assert_eq!((&to[..first], &to[first + 409..]), (&from[..first], &from[first + 409..]), "{how}");
    }
}

#[test]
fn corrupt_writes_all_of_it_twice() {
    for how in ["write", "writev"] {
        let (from, to, out, _) = corrupted(how, "duplicate=100%");
        assert_eq!((out.as_str(), to), ("4096 8192", [&from[..], &from[..]].concat()), "{how}");
    }
}

#[test]
fn corrupt_cuts_off_the_end() {
    for how in ["read", "readv"] {
        let (from, to, out, injection) = corrupted(how, "truncate=25%");
        assert_eq!((out.as_str(), &injection["result"]), ("3072 0", &3072.into()), "{injection}");
        assert_eq!(to, from[..3072], "{how}");
    }
    for (how, position) in [("write", "4096 4096"), ("writev", "4096 4096"), ("pwrite", "4096 0")] {
        let (from, to, out, injection) = corrupted(how, "truncate=25%");
        assert_eq!(out, position, "{how}: the program is told that all was written: {injection}");
        assert_eq!(to, from[..3072], "{how}");
    }
}

#[test]
fn corrupt_reaches_messages() {
    let scene = Scene::new();
    let text = "
open('data.bin').close()
import socket
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
print(a.sendmsg([b'1' * 10, b'2' * 10]), b.recvmsg(50)[0], a.sendmsg([b'3' * 20]), b.recvmsg(50)[0])
";
    let cut = script(&scene, &["corrupt calls=sendmsg truncate=30% nth=1"], text);
    cut.said(&format!("20 b'11111111112222' 20 b'{}'", "3".repeat(20)));
    let zero = script(&scene, &["corrupt calls=recvmsg zero=20B nth=2"], text);
    zero.said(&format!("20 b'11111111112222222222' 20 b'{}'", "\\x00".repeat(20)));
    let twice = "
open('data.bin').close()
import socket
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
b.bind(('127.0.0.1', 0))
b.settimeout(5)
print(a.sendto(b'once', b.getsockname()), b.recv(9), b.recv(9))
";
    script(&scene, &["corrupt calls=sendto duplicate=100%"], twice).said("4 b'once' b'once'");
}

fn delays(fault: &str) -> Vec<u64> {
    let scene = Scene::new();
    let done = scene.under(&[fault]).go(&[&guest("timed"), "200"]).ended(0);
    let mut delays: Vec<u64> = done.injections().iter().map(|line| line["requested"].as_u64().unwrap()).collect();
    assert_eq!(delays.len(), 200, "{}", done.story());
    delays.sort_unstable();
    delays
}

#[test]
fn delays_have_the_shape_that_they_are_asked_for() {
    let us = |ns: u64| ns / 1000;
    let fixed = delays("latency calls=read delay=1ms");
    assert_eq!((fixed[0], fixed[199]), (1_000_000, 1_000_000));
    let uniform = delays("latency calls=read delay=2ms jitter=1ms");
    assert!(us(uniform[0]) >= 1000 && us(uniform[199]) <= 3000, "{uniform:?}");
    for quarter in 1..4u64 {
        // A quarter of all in each quarter of the range.
        let below = uniform.iter().filter(|ns| us(**ns) < 1000 + quarter * 500).count() as u64;
        assert!(below.abs_diff(quarter * 50) < 25, "{below} of 200 below quarter {quarter}");
    }
    let normal = delays("latency calls=read delay=2ms jitter=200us distribution=normal");
    let within = normal.iter().filter(|ns| us(**ns).abs_diff(2000) <= 200).count();
    assert!((115..=158).contains(&within), "about 137 of 200 lie within one deviation: {within}");
    let pareto = delays("latency calls=read delay=1ms jitter=300us distribution=pareto");
    let beyond = |rank: usize| us(pareto[rank] - 1_000_000);
    assert!(us(pareto[0]) >= 1000, "the delay is the least: {pareto:?}");
    assert!((80..=170).contains(&beyond(100)), "half lie below 0.41 of the jitter: {}", beyond(100));
    assert!(beyond(195) > 900, "the tail is long: {}", beyond(195));
}

#[test]
fn a_fault_heals_after_its_times_and_after_its_window() {
    let scene = Scene::new();
    let text = "
import os, time
fd = os.open('data.bin', 0)
def failed():
    try: os.pread(fd, 1, 0)
    except OSError: return 1
    return 0
print([failed() for _ in range(6)])
";
    script(&scene, &["error calls=pread path=data.bin errno=EIO times=3"], text).said("[1, 1, 1, 0, 0, 0]");
    let window = "
import os, time
fd = os.open('data.bin', 0)
failures, deadline = 0, time.monotonic() + 40
while time.monotonic() < deadline:
    try: os.pread(fd, 1, 0)
    except OSError: failures += 1
    else:
        if failures: break
    time.sleep(0.01)
print('failed, then healed' if failures and time.monotonic() < deadline else failures)
";
    script(&scene, &["error calls=pread path=data.bin errno=EIO from=0s for=3s"], window).said("failed, then healed");
}

#[test]
fn sqlite_finds_out_that_writes_were_lost() {
    let scene = Scene::new();
    let sqlite = program("sqlite3", "sqlite3");
    let make = "CREATE TABLE t (a, b); CREATE INDEX i ON t (b);";
    let fill = "PRAGMA synchronous=FULL; BEGIN; \
        WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < 3000) \
        INSERT INTO t SELECT v, hex(randomblob(100)) FROM n; COMMIT;";
    let check = |name: &str| scene.bare().go(&[&sqlite, name, "PRAGMA integrity_check"]);
    for name in ["good.db", "lost.db", "lied.db"] {
        scene.bare().go(&[&sqlite, name, make]).ended(0);
    }
    scene.bare().go(&[&sqlite, "good.db", fill]).ended(0);
    check("good.db").said("ok");
    let done = scene.under(&["drop path=lost.db rate=20%"]).go(&[&sqlite, "lost.db", fill]).ended(0);
    assert!(done.injections().len() > 5, "{}", done.story());
    let checked = check("lost.db");
    assert!(checked.out.trim() != "ok", "sqlite believes in a file with holes\n{}", checked.story());
    // A lying sync alone harms nobody while the machine stays up.
    let done = scene.under(&["drop calls=fsync,fdatasync"]).go(&[&sqlite, "lied.db", fill]).ended(0);
    assert!(done.injections().len() > 2, "{}", done.story());
    check("lied.db").said("ok");
}

#[test]
fn sqlite_recovers_from_a_torn_write_and_a_kill() {
    let scene = Scene::new();
    let sqlite = program("sqlite3", "sqlite3");
    let start = "CREATE TABLE t (a); INSERT INTO t SELECT value FROM generate_series(1, 2000)";
    scene.bare().go(&[&sqlite, "t.db", start]).ended(0);
    for nth in 1..=4 {
        let fault = format!("torn path=t.db* then=kill keep=50% nth={nth}");
        let done = scene.under(&[&fault]).go(&[&sqlite, "t.db", "UPDATE t SET a = a + 1000000"]);
        assert_eq!(done.injections().len(), 1, "{}", done.story());
        done.ended(137);
        let checked = scene.bare().go(&[&sqlite, "t.db", "PRAGMA integrity_check; SELECT count(*), max(a) FROM t"]);
        checked.said("ok\n2000|2000");
    }
}
