//! What a program gets over: the later success of a call that was made to fail, whoever makes it, and nothing else.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use chaos_table::book;
use chaos_table::calls::{CALLS, Call, FaultKind};
use chaos_table::errno::{eai_name, errno_name};
use common::complaints::Complaints;
use common::{Done, Scene, guest, python};
use serde_json::Value;

/// Every peer of this machine stands in for every other.
const ROLES: &str = "roles: {all: [\"127.0.0.0/8\", \"[::1]\", \"unix:**\", localhost, \"*\"]}";
/// Calls that act on something else each time that the guest makes them, so that none of them proves anything about another.
const ON_OTHERS: [&str; 11] =
    ["truncate", "splice", "tee", "vmsplice", "rename", "unlink", "link", "symlink", "mkdir", "rmdir", "mknod"];
/// The same, of a link that is made each time.
const ON_LINKS: [&str; 1] = ["readlink"];
/// Calls after which the guest goes on elsewhere: how they ended is told by tests of their own.
const ELSEWHERE: [&str; 3] = ["exec", "vfork", "fork"];

/// The names under which the guest `calls` makes an operation, as far as they succeed again and again without us.
fn ways_that_succeed(call: &Call) -> Vec<String> {
    let numbers = call.syscalls().iter();
    let ways: Vec<String> =
        call.symbols().map(ToString::to_string).chain(numbers.map(|number| format!("#{number}"))).collect();
    let scene = Scene::new();
    let works = |way: &String| {
        let done = scene.bare().go(&[&guest("calls"), way, way, way]);
        let good = |line: &&str| line.starts_with(&format!("{way} ")) && line.ends_with(" 0");
        done.code == 0 && done.out.lines().filter(good).count() == 3
    };
    ways.into_iter().filter(works).collect()
}

#[test]
fn every_call_that_succeeds_again_is_seen() {
    let mut complaints = Complaints::default();
    let judged = |call: &&Call| {
        call.allows(FaultKind::Error)
            && book::is_visible(call.op)
            && !ON_OTHERS.iter().chain(&ON_LINKS).chain(&ELSEWHERE).any(|name| *name == call.name())
    };
    for call in CALLS.iter().filter(judged) {
        let ways = ways_that_succeed(call);
        if ways.is_empty() {
            continue;
        }
        let scene = Scene::new();
        let code = call.usual()[0];
        let errno = errno_name(code).or(eai_name(code)).unwrap();
        let (name, times) = (call.name(), ways.len());
        let fault = format!("{{fault: error, calls: [{name}], errno: {errno}, every: 2, times: {times}}}");
        let table = scene.write("table.yaml", format!("{ROLES}\nfaults: [{fault}]\n"));
        let mut command = vec![guest("calls")];
        (0..4).for_each(|_| command.extend(ways.clone()));
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let done = scene.under(&[]).options(&["-t", &table, "--gate", "recovery=100%"]).go(&command);
        if done.injections().len() != times || done.code != 0 {
            complaints.expect(name, done.story(), String::new());
        }
    }
    complaints.none();
}

/// How many recoveries the log of a run has.
fn recoveries(done: &Done) -> usize {
    done.lines("recovery").len()
}

/// The injection that a recovery names, and who it was by.
fn first(done: &Done) -> (u64, u64) {
    let one = done.lines("recovery").first().unwrap_or_else(|| panic!("no recovery\n{}", done.story())).clone();
    (one["injection"].as_u64().unwrap(), one["pid"].as_u64().unwrap())
}

fn watched(scene: &Scene, faults: &[&str], way: &[&str]) -> Done {
    let guest = guest("watched");
    scene.under(faults).go(&[&[guest.as_str()], way].concat()).ended(0)
}

#[test]
fn names_that_are_tried_again_are_got_over() {
    let script = "
import os
open('f', 'w').close(); open('g', 'w').close()
def again(call, *arguments):
    for attempt in (1, 2):
        try: return call(*arguments)
        except OSError as error: print(call.__name__, error.errno)
again(os.rename, 'f', 'h'); again(os.link, 'g', 'l'); again(os.symlink, 'g', 's'); again(os.readlink, 's')
again(os.truncate, 'g', 0); again(os.mkdir, 'e'); again(os.mkfifo, 'p'); again(os.rmdir, 'e'); again(os.unlink, 'l')
";
    let scene = Scene::new();
    let calls = ["rename", "link", "symlink", "readlink", "truncate", "mkdir", "mknod", "rmdir", "unlink"];
    let faults = calls.map(|call| format!("error calls={call} errno=EACCES path={} times=1", scene.text("?")));
    let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
    let done = scene.under(&faults).options(&["--gate", "recovery=100%,episodes=9"]).go(&[&python(), "-c", script]);
    assert_eq!(done.injections().len(), 9, "{}", done.story());
    let seen: Vec<Value> = done.lines("recovery").iter().map(|line| line["call"].clone()).collect();
    assert_eq!(seen, calls.map(Value::from), "{}", done.story());
    done.ended(0);
}

#[test]
fn a_connect_that_nobody_waits_for_is_over_when_the_program_learns_of_it() {
    let scene = Scene::new();
    for how in ["option", "again", "send", "peer"] {
        let done = watched(&scene, &["connect=ECONNREFUSED@1..2"], &["later", how]);
        assert!(done.out.ends_with("good\n") && done.injections().len() == 2, "{how}: {}", done.story());
        assert_eq!((recoveries(&done), first(&done).0), (1, 1), "{how}: {}", done.story());
        let attempts = done.lines("attempt");
        assert!(attempts.iter().any(|one| one["errno"] == "EINPROGRESS"), "{how}: {}", done.story());
        assert!(done.err.contains("1 recovered by retry"), "{how}: {}", done.story());
    }
    // Where it never comes about, nothing is got over.
    let done = watched(&scene, &["connect=ECONNREFUSED"], &["later", "option"]);
    assert_eq!(recoveries(&done), 0, "{}", done.story());
}

#[test]
fn sixty_four_at_a_time_are_watched_and_the_next_is_told() {
    let scene = Scene::new();
    for number in 0..70 {
        scene.write(format!("file-{number}"), "x");
    }
    let many = |count: &str| {
        scene.under(&["error calls=open path=file-* errno=EIO nth=1..70"]).go(&[&guest("watched"), "many", count])
    };
    let done = many("64");
    assert_eq!(recoveries(&done), 58, "those of the second round that were not hit again: {}", done.story());
    let done = many("70");
    let unwatched: Vec<Value> = done.lines("event").into_iter().filter(|line| line["event"] == "unwatched").collect();
    assert_eq!((recoveries(&done), unwatched.len()), (64, 6), "{}", done.story());
    assert!(done.err.contains("recovery not measured: some episodes could not be watched"), "{}", done.story());
}

#[test]
fn an_allocation_is_proved_by_one_as_large() {
    let scene = Scene::new();
    let faults = ["error calls=malloc size=1MB.. errno=ENOMEM times=1"];
    let done = watched(&scene, &faults, &["large", "again"]);
    assert!(done.out.starts_with("refused\n") && done.err.contains("1 recovered by retry"), "{}", done.story());
    let done = watched(&scene, &faults, &["large"]);
    assert!(done.out.starts_with("refused\n") && recoveries(&done) == 0, "{}", done.story());
}

#[test]
fn another_process_of_the_tree_may_be_the_one() {
    let scene = Scene::new();
    let done = watched(&scene, &["error calls=open path=data.bin errno=EIO times=1 per=tree"], &["child"]);
    let (injection, pid) = first(&done);
    assert_eq!(injection, 1);
    assert_ne!(Value::from(pid), done.injections()[0]["pid"], "{}", done.story());
}

#[test]
fn what_a_later_success_cannot_prove_is_left_to_checks() {
    let scene = Scene::new();
    let again = "for i in 1 2; do cat data.bin > /dev/null; sync data.bin; done";
    for fault in [
        "corrupt calls=read path=data.bin times=1 per=tree",
        "short calls=read path=data.bin times=1 per=tree",
        "latency calls=read path=data.bin delay=1ms times=1 per=tree",
        "hang calls=read path=data.bin for=5ms times=1 per=tree",
        "drop calls=fsync path=data.bin times=1 per=tree",
        "return calls=fsync path=data.bin value=0 times=1 per=tree",
    ] {
        let done = scene.under(&[fault]).go(&["/bin/sh", "-c", again]);
        assert_eq!(done.injections().len(), 1, "{fault}: {}", done.story());
        assert_eq!((recoveries(&done), done.lines("attempt").len()), (0, 0), "{fault}: {}", done.story());
    }
}

#[test]
fn a_process_that_was_ended_has_to_come_back() {
    let scene = Scene::new();
    let faults = ["signal calls=read path=data.bin signal=KILL nth=1 per=tree"];
    // Another program that reads the same does not bring it back, nor does one that was there before.
    let script =
        "cat data.bin > /dev/null; head -c 9 data.bin > /dev/null; sleep 0.05; cat data.bin > /dev/null; exit 0";
    let done = scene.under(&faults).go(&["/bin/bash", "-c", script]).ended(0);
    let line = done.lines("recovery").first().cloned().unwrap_or_default();
    assert_eq!((recoveries(&done), &line["process"]), (1, &"cat".into()), "{}", done.story());
    assert!(done.err.contains("1 restarted; recovery 100%"), "{}", done.story());
    // A signal that the process lives through: the call itself comes good, the next time.
    let done = watched(&scene, &["signal calls=open path=data.bin signal=USR1 times=1"], &["signal"]);
    assert!(done.err.contains("1 recovered by retry"), "{}", done.story());
}

#[test]
fn a_vfork_and_an_exec_that_fail_are_got_over_by_the_next() {
    let script = "
import os, subprocess
try:
    if os.fork() == 0: os._exit(0)
except OSError as error: print(error.errno)
for attempt in range(3):
    try: subprocess.run(['/bin/true'], check=True); break
    except OSError as error: print(error.errno)
";
    let scene = Scene::new();
    // A fork that failed, and the vfork that did not; a vfork that failed, and CPython's own fork in its place.
    for fault in ["fork=EAGAIN@1", "vfork=EAGAIN@1", "exec=EIO@1"] {
        let done = scene.under(&[fault]).go(&[&python(), "-c", script]).ended(0);
        assert_eq!((done.injections().len(), recoveries(&done)), (1, 1), "{fault}: {}", done.story());
    }
    let done =
        scene.under(&["exec=EIO@1"]).go(&["/bin/bash", "-c", "shopt -s execfail; exec /bin/true; exec /bin/true"]);
    assert_eq!((done.injections().len(), recoveries(&done)), (1, 1), "{}", done.story());
}

#[test]
fn what_fails_by_itself_meanwhile_is_an_attempt_and_no_recovery() {
    let scene = Scene::new();
    let done = watched(&scene, &["error calls=open path=missing errno=EIO times=1"], &["missing"]);
    let attempts: Vec<Value> = done.lines("attempt").iter().map(|one| one["errno"].clone()).collect();
    assert_eq!((&attempts[..3], recoveries(&done)), (&["ENOENT"; 3].map(Value::from)[..], 1), "{}", done.story());
}

#[test]
fn recoveries_are_seen_without_the_launcher_too() {
    let scene = Scene::new();
    let log = scene.text("alone.session");
    let run = scene.bare().env("LD_PRELOAD", common::shim()).env("CHAOS_LOG", &log);
    let done = run.env("CHAOS_TABLE", "open=EIO@1..3").go(&[&guest("watched"), "backoff"]).ended(0);
    assert_eq!(done.out, "good\n");
    let lines = common::read_log(std::path::Path::new(&log));
    let recovery = lines.iter().find(|line| line["type"] == "recovery").unwrap();
    assert_eq!((&recovery["injection"], &recovery["call"]), (&1.into(), &"open".into()));
}

#[test]
fn injection_that_is_switched_off_does_not_stop_the_watching() {
    let scene = Scene::new();
    let script = "
import os, time
open('begun', 'w').close()
while True:
    try: open('data.bin').close(); break
    except OSError: time.sleep(0.01)
";
    let mut running = scene.under(&["error calls=open path=data.bin errno=EIO"]).start(&[&python(), "-c", script]);
    running.wait_until("it has begun", || scene.path("begun").exists());
    std::thread::sleep(std::time::Duration::from_millis(100));
    scene.chaos().go(&["ctl", &scene.text("session-0"), "disable"]).ended(0);
    let done = running.end().ended(0);
    assert_eq!(recoveries(&done), 1, "{}", done.story());
}
