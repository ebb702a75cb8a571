//! The seccomp engine: programs that no shim reaches have the same faults, and the same log.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{CHAOS, Done, Run, Scene, compile, compile_by, guest, program, python};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A guest without a dynamic loader.
fn fixed(name: &str) -> String {
    compile(name, &format!("{name}-static"), &["-static"])
}

/// A guest of Go's, without cgo.
fn of_go(name: &str) -> String {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("go-{name}"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/guests/go/{name}.go"));
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache");
    let fresh = out.with_extension(std::process::id().to_string());
    let made = Command::new(program("go", "golang-go"))
        .args(["build", "-o"])
        .args([&fresh, &source])
        .env("CGO_ENABLED", "0")
        .env("GO111MODULE", "off")
        .env("GOFLAGS", "")
        .env("GOCACHE", cache)
        .output()
        .unwrap();
    assert!(made.status.success(), "go build {name}: {}", String::from_utf8_lossy(&made.stderr));
    std::fs::rename(&fresh, &out).unwrap();
    out.display().to_string()
}

/// A run under the engine.
fn under<'a>(scene: &'a Scene, faults: &[&str]) -> Run<'a> {
    scene.under(faults).options(&["--engine", "seccomp"])
}

/// What has to be the same under either engine.
fn faults(done: &Done) -> Vec<String> {
    let part = |line: &serde_json::Value| {
        ["lineage", "rule", "call", "nth", "errno", "effect", "requested", "result", "resource"]
            .map(|key| line[key].to_string())
            .join(" ")
    };
    let mut list: Vec<String> = done.injections().iter().map(part).collect();
    list.sort();
    list
}

#[test]
fn a_static_programs_call_fails_as_the_log_says() {
    let scene = Scene::new();
    let done = under(&scene, &["read=EIO@3"]).go(&[&fixed("loop"), "10"]).said("0.0: EIO@3");
    let injections = done.injections();
    assert_eq!(injections.len(), 1, "{}", done.story());
    let one = &injections[0];
    assert_eq!((&one["call"], &one["errno"], &one["nth"]), (&"read".into(), &"EIO".into(), &3.into()));
    assert_eq!(one["resource"], scene.text("data.bin"));
    assert_eq!(one["delivered"], true);
    let processes = done.lines("process");
    assert_eq!(processes.len(), 1, "{}", done.story());
    assert_eq!((&processes[0]["lineage"], &processes[0]["process"]), (&"0".into(), &"loop-static".into()));
}

#[test]
fn the_same_seed_gives_the_same_faults_static_and_dynamic() {
    let table = "
seed: 7
arm: exec
faults:
  - {fault: error, calls: [open], rate: 10%}
  - {fault: error, calls: [read, write], errno: EIO, rate: 20%}
  - {fault: short, calls: [write, read], keep: 50%, rate: 20%}
  - {fault: error, calls: fsync, every: 7}
";
    let go = |engine: &str, guest: &str| {
        let scene = Scene::new();
        let table = scene.write("table.yaml", table);
        let run = scene.under(&[]).options(&["--engine", engine, "--table", &table, "--seed", "7"]);
        let done = run.go(&[guest]).ended(0);
        let faults: Vec<String> = faults(&done).iter().map(|line| line.replace(&scene.text(""), "")).collect();
        (faults, done.out)
    };
    let dynamic = go("preload", &guest("plain"));
    assert!(dynamic.0.len() > 40, "{dynamic:?}");
    assert_eq!(dynamic, go("seccomp", &fixed("plain")), "static");
    assert_eq!(dynamic, go("seccomp", &guest("plain")), "dynamic, under the engine");
    let musl = compile_by("musl-gcc", "plain", "plain-musl", &["-static"]);
    assert_eq!(dynamic, go("seccomp", &musl), "static, of musl");
    let pie = compile_by("musl-gcc", "plain", "plain-musl-pie", &["-static-pie", "-fPIE"]);
    assert_eq!(dynamic, go("seccomp", &pie), "static-pie, of musl");
}

#[test]
fn threads_and_processes_are_numbered_as_shims_number_them() {
    for workers in [&["-t", "6"][..], &["-p", "4", "-t", "2"]] {
        let scene = Scene::new();
        let command = |guest: String| {
            [&[guest, "40".into()][..], &workers.iter().map(|w| (*w).into()).collect::<Vec<String>>()].concat()
        };
        let go = |engine: &str, guest: String| {
            let words = command(guest);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let faults = ["error calls=read rate=20% path=data.bin"];
            let done = scene.under(&faults).options(&["--engine", engine]).go(&words).ended(0);
            let mut out: Vec<String> = done.out.lines().map(str::to_owned).collect();
            out.sort();
            (self::faults(&done), out)
        };
        let by_shim = go("preload", guest("loop"));
        assert!(by_shim.0.len() > 5);
        assert_eq!(by_shim, go("seccomp", fixed("loop")), "{workers:?}");
    }
}

#[test]
fn every_fault_does_what_it_says() {
    let each = fixed("each");
    // The lines that differ from an undisturbed run.
    for (spec, code, expected) in [
        ("open=EMFILE", 0, &["open -1 EMFILE", "write -1 EBADF"][..]),
        ("error calls=open errno=EACCES path=each.*", 0, &["open -1 EACCES"]),
        ("corrupt calls=read", 0, &["read 64 0", "changed 1"]),
        ("corrupt calls=write", 0, &["write 64 0", "changed 1"]),
        ("short calls=read keep=50%", 0, &["read 32 0"]),
        ("short calls=write keep=25%", 0, &["write 16 0", "read 16 0"]),
        ("drop calls=write", 0, &["write 64 0", "read 0 0"]),
        ("torn calls=write keep=50%", 0, &["write -1 EIO", "read 32 0"]),
        ("write=ENOSPC", 0, &["write -1 ENOSPC", "read 0 0"]),
        ("return calls=read value=3", 0, &["read 3 0"]),
        ("fsync=EIO", 0, &["fsync -1 EIO"]),
        ("drop calls=fsync", 0, &["fsync 0 0"]),
        ("fork=EAGAIN", 0, &["fork -1 EAGAIN"]),
        ("brk=ENOMEM", 0, &["sbrk -1 ENOMEM", "mmap 0 0"]),
        ("mmap=ENOMEM", 0, &["sbrk 0 0", "mmap -1 ENOMEM"]),
        ("exhaust what=memory limit=600KB", 0, &["sbrk -1 ENOMEM", "mmap -1 ENOMEM"]),
        ("exhaust what=files limit=3", 0, &["open -1 EMFILE"]),
        ("exhaust what=processes limit=1", 0, &["fork -1 EAGAIN"]),
        ("signal calls=fsync signal=KILL", 137, &["read 64 0"]),
        ("signal calls=fsync signal=TERM", 143, &["read 64 0"]),
        ("exit calls=fsync code=9", 9, &["read 64 0"]),
        ("torn calls=write keep=50% then=kill", 137, &["open 0 0"]),
    ] {
        let scene = Scene::new();
        let done = under(&scene, &[spec]).go(&[&each]).ended(code);
        for line in expected {
            assert!(done.out.lines().any(|told| told == *line), "{spec}: {line}\n{}", done.story());
        }
        assert!(done.injections().iter().all(|one| one["delivered"] == true), "{spec}\n{}", done.story());
        assert!(!done.injections().is_empty(), "{spec}\n{}", done.story());
    }
}

#[test]
fn what_takes_time_takes_it_and_delays_nobody_else() {
    for (spec, least) in [
        ("latency calls=fsync delay=300ms", 0.3),
        ("hang calls=read for=300ms", 0.3),
        ("freeze calls=fsync for=300ms", 0.3),
        ("throttle calls=write rate=100% bandwidth=160B/s", 0.4),
    ] {
        let scene = Scene::new();
        let begun = std::time::Instant::now();
        let done = under(&scene, &[spec]).go(&[&fixed("each")]).ended(0);
        assert!(begun.elapsed() >= Duration::from_secs_f64(least), "{spec}");
        assert!(done.out.contains("read 64 0\n") && done.out.contains("write 64 0\n"), "{spec}\n{}", done.story());
        assert_eq!(done.injections()[0]["delivered"], true, "{spec}\n{}", done.story());
    }
    // Six threads that each wait ten times 50 ms wait together.
    let scene = Scene::new();
    let delays = ["latency calls=read delay=50ms path=data.bin"];
    let done = under(&scene, &delays).go(&[&fixed("loop"), "10", "-t", "6"]).ended(0);
    let mut begun: Vec<u64> = done.injections().iter().map(|hit| hit["at_ns"].as_u64().unwrap()).collect();
    assert_eq!(begun.len(), 60, "{}", done.story());
    begun.sort_unstable();
    // One after the other, none would begin within 50 ms of the one before.
    let together = begun.windows(2).filter(|pair| pair[1] - pair[0] < 40_000_000).count();
    assert!(together > 30, "{together}: {}", done.story());
}

#[test]
fn a_handler_ends_a_hang_where_the_kernel_could() {
    let scene = Scene::new();
    let done = under(&scene, &["hang calls=read"]).go(&[&fixed("alarmed")]).said("-1 EINTR 1");
    assert_eq!(done.injections()[0]["delivered"], true);
}

#[test]
fn selectors_see_paths_sizes_descriptors_and_programs() {
    let scene = Scene::new();
    std::os::unix::fs::symlink(scene.path("data.bin"), scene.path("link.txt")).unwrap();
    let lines = |faults: &[&str], command: &[&str]| {
        let done = under(&scene, faults).go(command).ended(0);
        (done.injections().len(), done.out)
    };
    let looped = fixed("loop");
    let loops = [looped.as_str(), "5", "-f", "link.txt"];
    assert_eq!(lines(&["error calls=read errno=EIO path=**/data.bin"], &loops).0, 5, "links are followed");
    assert_eq!(lines(&["error calls=read errno=EIO path=other.*"], &loops).0, 0);
    assert_eq!(lines(&["error calls=read errno=EIO size=1"], &loops).0, 5);
    assert_eq!(lines(&["error calls=read errno=EIO size=2.."], &loops).0, 0);
    assert_eq!(lines(&["error calls=read errno=EIO fd=3"], &loops).0, 5);
    assert_eq!(lines(&["error calls=read errno=EIO fd=4.."], &loops).0, 0);
    assert_eq!(lines(&["error calls=read errno=EIO process=loop-*"], &loops).0, 5);
    assert_eq!(lines(&["error calls=read errno=EIO process=other"], &loops).0, 0);
    assert_eq!(lines(&["error calls=read errno=EIO not.path=data.bin"], &loops).0, 0);
}

#[test]
fn peers_are_told_apart() {
    let script = "
import errno, os, socket
def name(code): return errno.errorcode.get(code, code)
server = socket.create_server(('127.0.0.1', 0))
port = server.getsockname()[1]
def attempt(family, address):
    s = socket.socket(family, socket.SOCK_STREAM)
    return name(s.connect_ex(address)) or 'ok'
print('v4', attempt(socket.AF_INET, ('127.0.0.1', port)))
print('mapped', attempt(socket.AF_INET6, ('::ffff:127.0.0.1', port)))
unix = socket.socket(socket.AF_UNIX); unix.bind('here.sock'); unix.listen()
print('unix', attempt(socket.AF_UNIX, 'here.sock'))
";
    let said = |rule: &str| {
        let scene = Scene::new();
        under(&scene, &[rule]).go(&[&python(), "-c", script]).ended(0).out
    };
    assert_eq!(said("refuse to=127.0.0.0/8"), "v4 ECONNREFUSED\nmapped ECONNREFUSED\nunix ok\n");
    assert_eq!(said("refuse to=unix:here.sock"), "v4 ok\nmapped ok\nunix ECONNREFUSED\n");
    assert_eq!(said("refuse to=10.0.0.0/8"), "v4 ok\nmapped ok\nunix ok\n");
}

#[test]
fn a_connect_that_nobody_waits_for_fails_later() {
    let script = "
import errno, select, socket
server = socket.create_server(('127.0.0.1', 0))
s = socket.socket(); s.setblocking(False)
print(errno.errorcode[s.connect_ex(server.getsockname())])
select.select([], [s], [], 10)
print(errno.errorcode[s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)])
";
    for errno in ["ECONNREFUSED", "ETIMEDOUT"] {
        let scene = Scene::new();
        let rule = format!("connect={errno}");
        under(&scene, &[&rule]).go(&[&python(), "-c", script]).said(&format!("EINPROGRESS\n{errno}"));
    }
}

#[test]
fn a_connection_that_is_reset_stays_so() {
    let script = "
import errno, socket
server = socket.create_server(('127.0.0.1', 0))
s = socket.create_connection(server.getsockname()); other, _ = server.accept()
def name(call):
    try: return repr(call())
    except OSError as error: return errno.errorcode[error.errno]
other.sendall(b'hello')
print(name(lambda: s.recv(5)), name(lambda: s.send(b'x')))
try: print(repr(other.recv(9)))
except OSError as error: print(errno.errorcode[error.errno])
";
    let scene = Scene::new();
    let done = under(&scene, &["disconnect calls=recv,recvfrom"]).go(&[&python(), "-c", script]).ended(0);
    assert_eq!(done.out, "ECONNRESET EPIPE\nECONNRESET\n", "{}", done.story());
}

#[test]
fn a_mixed_tree_is_one_tree() {
    let scene = Scene::new();
    let line =
        format!("{} 3; {} -c 'open(\"data.bin\",\"rb\").read()' 2>&1 | tail -n 1; echo end", fixed("loop"), python());
    let rules = ["error calls=read errno=EIO path=**/data.bin"];
    let done = under(&scene, &rules).go(&[&program("bash", "bash"), "-c", &line]).ended(0);
    assert!(done.out.contains("EIO@1 EIO@2 EIO@3") && done.out.contains("OSError: [Errno 5]"), "{}", done.story());
    let lineages: Vec<String> = done.injections().iter().map(|one| one["lineage"].to_string()).collect();
    assert!(lineages.contains(&"\"0.1\"".to_owned()) && lineages.len() >= 4, "{lineages:?}");
}

#[test]
fn go_programs_meet_their_faults() {
    let (client, copier) = (of_go("client"), of_go("copier"));
    let scene = Scene::new();
    let done = under(&scene, &[]).go(&[&client]).said("ok 200 bad map[]");
    assert_eq!(done.injections().len(), 0);
    let done = under(&scene, &["connect=ECONNREFUSED@30%"]).go(&[&client]).ended(0);
    let hit = done.injections().len();
    assert!((20..100).contains(&hit), "{}", done.story());
    assert_eq!(done.out.trim(), format!("ok {} bad map[connection refused:{hit}]", 200 - hit), "{}", done.story());
    under(&scene, &["read=latency:5ms@30%"]).go(&[&client]).said("ok 200 bad map[]");

    let data: Vec<u8> = (0..300_000u32).map(|n| (n * 7 % 251) as u8).collect();
    scene.write("from", &data);
    let done = under(&scene, &["short calls=read,write rate=50%"]).go(&[&copier, "from", "to"]).said("300000 <nil>");
    assert!(done.injections().len() > 50, "{}", done.story());
    assert!(scene.read("to") == data, "no byte is lost");
    let done = under(&scene, &["read=EIO@20"]).go(&[&copier, "from", "to"]).ended(1);
    assert_eq!(done.out.trim(), format!("{} read from: input/output error", 19 * 4096), "{}", done.story());
}

#[test]
fn busybox_and_its_shell_are_reached() {
    let scene = Scene::new();
    let busybox = program("busybox", "busybox-static");
    let line = "for i in 1 2 3 4 5 6; do md5sum data.bin >/dev/null 2>&1 || echo failed $i; done";
    let done = under(&scene, &["read=EIO@50%"]).go(&[&busybox, "sh", "-c", line]).ended(0);
    let failed = done.out.lines().count();
    assert!((1..6).contains(&failed), "{}", done.story());
    assert_eq!(done.injections().len(), failed, "{}", done.story());
}

/// The guest reads once every 20 ms and says by ENOSYS that nobody answers for it any more.
#[test]
fn a_tree_goes_on_without_faults_when_its_launcher_is_killed() {
    for rule in ["read=EIO@50%", "hang calls=read nth=5"] {
        let scene = Scene::new();
        let out = scene.path("guest.out");
        let line = format!("exec {} 100 -s 20000 > guest.out", fixed("loop"));
        let mut running = under(&scene, &[rule]).start(&[&program("dash", "dash"), "-c", &line]);
        running.wait_until_hit();
        running.signal("KILL");
        running
            .wait_until("the guest has ended", || std::fs::read_to_string(&out).is_ok_and(|text| text.ends_with('\n')));
        let text = std::fs::read_to_string(&out).unwrap();
        assert!(text.starts_with("0.0:") && !text.contains("ENOSYS"), "{text}");
        let done = running.end();
        assert_eq!(done.code, 137);
    }
}

#[test]
fn survivors_go_on_without_faults() {
    let scene = Scene::new();
    let its_name = "grep -q loop-static /proc/$!/comm";
    let line = format!("{} 60 -s 20000 > guest.out & until {its_name}; do sleep 0.02; done; sleep 0.2", fixed("loop"));
    let done = under(&scene, &["read=EIO@50%"]).go(&[&program("dash", "dash"), "-c", &line]).ended(0);
    assert!(done.err.contains("still running, disarmed: loop-static"), "{}", done.story());
    let begun = std::time::Instant::now();
    while !std::fs::read_to_string(scene.path("guest.out")).is_ok_and(|text| text.ends_with('\n')) {
        assert!(begun.elapsed() < Duration::from_secs(30), "the survivor has not ended");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!String::from_utf8(scene.read("guest.out")).unwrap().contains("ENOSYS"));
}

#[test]
fn any_user_may_use_it() {
    let scene = Scene::new();
    scene.open_to_all();
    let guest = scene.adopt(&fixed("loop"), "guest");
    let chaos = scene.adopt(CHAOS, "chaos");
    let done = scene.bare().go(&[
        &program("setpriv", "util-linux"),
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        &chaos,
        "run",
        "--engine",
        "seccomp",
        "-f",
        "read=EIO@2",
        "--",
        &guest,
        "3",
    ]);
    assert_eq!(done.out, "0.0: EIO@2\n", "{}", done.story());
}

#[test]
fn where_it_is_not_allowed_one_line_says_so() {
    let scene = Scene::new();
    let inner = scene.text("inner");
    let command = [CHAOS, "run", "--engine", "seccomp", "--out", &inner, "--", "true"];
    let done = under(&scene, &[]).go(&command).ended(125);
    assert!(done.err.contains("--engine seccomp cannot work: another supervisor listens"), "{}", done.story());
}

#[test]
fn what_it_cannot_do_is_said() {
    let scene = Scene::new();
    for (rule, why) in [
        ("malloc=ENOMEM", "cannot happen under the seccomp engine: malloc is code of the program's own"),
        ("clock offset=1h", "cannot happen under the seccomp engine: programs read clocks from the vDSO"),
        ("read,fread=EIO@9", "happens in part under the seccomp engine: fread is code"),
        ("close=EIO", "a close that fails has closed all the same"),
    ] {
        let done = under(&scene, &[rule]).go(&[&fixed("each")]);
        assert!(done.err.contains(why), "{rule}\n{}", done.story());
    }
}

#[test]
fn thousands_of_threads_and_processes_are_followed() {
    let scene = Scene::new();
    let done = under(&scene, &["error calls=read errno=EIO rate=50% path=data.bin"]);
    let done = done.go(&[&fixed("loop"), "3", "-p", "60", "-t", "20"]).ended(0);
    assert_eq!(done.lines("process").len(), 61, "{}", done.story());
    assert_eq!(done.out.lines().count(), 1200, "{}", done.story());
    let hit = done.injections().len();
    assert!((1500..2100).contains(&hit), "{hit}");
}
