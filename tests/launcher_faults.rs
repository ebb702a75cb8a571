//! What the launcher does by itself, processes that stand still, and processes and threads that run out.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{Done, Scene, guest, program, python};
use serde_json::Value;
use std::time::{Duration, Instant};

/// The one injection of a run.
#[track_caller]
fn only(done: &Done) -> Value {
    let mut all = done.injections();
    assert_eq!(all.len(), 1, "{}", done.story());
    all.remove(0)
}

/// Whether a process stands still, as the kernel says.
fn stands_still(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
}

#[test]
fn a_program_asleep_dies_of_a_signal_that_the_launcher_sends() {
    let scene = Scene::new();
    let sleep = program("sleep", "coreutils");
    for (fault, code, name) in [
        ("signal", 128 + libc::SIGKILL, "SIGKILL"),
        ("signal signal=TERM from=200ms", 128 + libc::SIGTERM, "SIGTERM"),
        ("signal signal=34 from=1ms", 128 + 34, "34"),
    ] {
        let done = scene.under(&[fault]).go(&[&sleep, "1000"]).ended(code);
        let injection = only(&done);
        assert_eq!((injection["fault"].as_str(), injection["call"].as_str()), (Some("signal"), Some("launcher")));
        assert!(injection["effect"].as_str().unwrap().contains(name), "{}", done.story());
        assert_eq!((injection["delivered"].as_bool(), injection["resource"].as_str()), (Some(true), Some("sleep")));
        assert_eq!(injection["pid"], done.lines("process")[0]["pid"], "it names whom it hit");
        assert_eq!((injection["process"].as_str(), injection["lineage"].as_str()), (Some("sleep"), Some("0")));
        assert!(injection["at_ns"].as_u64().unwrap() >= if fault.contains("200ms") { 200_000_000 } else { 0 });
        assert!(done.err.contains("1 fired, 1 delivered"), "{}", done.story());
    }
}

#[test]
fn a_signal_waits_for_a_process_that_matches_and_leaves_the_others_alone() {
    let scene = Scene::new();
    let bash = program("bash", "bash");
    let line = "/bin/true; /bin/true; sleep 1000; echo $?";
    let fault = "signal signal=TERM process=sleep";
    let done = scene.under(&[fault]).go(&[&bash, "-c", line]).said("143");
    // The log may know the process by what it was before exec; the resource is what it was when it was hit.
    assert_eq!(only(&done)["resource"], "sleep");
    let done =
        scene.under(&["signal signal=TERM process=nobody"]).go(&[&bash, "-c", "sleep 0.3; echo well"]).said("well");
    assert!(done.injections().is_empty());
    assert!(done.err.contains("no process matched"), "{}", done.story());
}

#[test]
fn a_signal_without_calls_can_come_again() {
    let scene = Scene::new();
    let script = "
import signal, time
seen = 0
def handler(*_):
    global seen
    seen += 1
signal.signal(signal.SIGUSR1, handler)
open('ready', 'w').close()
end = time.monotonic() + 50
while seen < 3 and time.monotonic() < end:
    time.sleep(0.05)
print(seen >= 3)
";
    // What comes before Python has its handler is ignored.
    let script = script.replace("USR1", "URG");
    scene.under(&["signal signal=URG period=50ms"]).go(&[&python(), "-c", &script]).said("True");
    let fault = "signal signal=URG period=50ms times=3";
    let done = scene.under(&[fault]).go(&[&program("sleep", "coreutils"), "2"]).ended(0);
    let numbers: Vec<_> = done.injections().iter().map(|line| line["nth"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn max_faults_and_the_end_of_the_window_hold_for_the_launcher_too() {
    let scene = Scene::new();
    let sleep = program("sleep", "coreutils");
    let fault = "signal signal=URG period=20ms";
    let done = scene.under(&[fault]).options(&["--max-faults", "2"]).go(&[&sleep, "1"]).ended(0);
    assert_eq!(done.injections().len(), 2, "{}", done.story());
    let done = scene.under(&["signal from=300ms"]).options(&["--for", "100ms"]).go(&[&sleep, "0.6"]).ended(0);
    assert!(done.injections().is_empty(), "{}", done.story());
    let done = scene.under(&["signal"]).env("CHAOS_ENABLED", "0").go(&[&sleep, "0.2"]).ended(0);
    assert!(done.injections().is_empty(), "{}", done.story());
}

#[test]
fn a_static_program_is_hit_as_well() {
    let scene = Scene::new();
    let still = common::compile("rests", "rests-static", &["-static"]);
    let done = scene.under(&["signal signal=TERM"]).go(&[&still]).ended(128 + libc::SIGTERM);
    assert_eq!(only(&done)["delivered"], true);
}

#[test]
fn a_process_stands_still_at_a_call_and_goes_on() {
    let scene = Scene::new();
    let start = Instant::now();
    let done = scene.under(&["read=freeze:700ms@2"]).go(&[&guest("timed"), "3"]).ended(0);
    let took: Vec<u64> = done.out.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
    assert!(took[1] >= 699 && start.elapsed() < Duration::from_secs(50), "{}", done.story());
    assert!(done.out.lines().all(|line| line.ends_with(" 1 0")), "the calls go on: {}", done.story());
    let injection = only(&done);
    assert_eq!(
        (injection["effect"].as_str(), injection["requested"].as_u64()),
        (Some("freeze 700ms"), Some(700_000_000))
    );
    assert_eq!(injection["delivered"], true);
}

#[test]
fn every_thread_stands_still_and_so_often() {
    let scene = Scene::new();
    // Freezes far shorter than a tick of the launcher: none may be lost, and the program must end.
    let done = scene.under(&["read=freeze:1us"]).go(&[&guest("loop"), "20", "-t", "4"]).ended(0);
    assert!(done.injections().len() >= 80, "{}", done.injections().len());
    assert!(done.injections().iter().all(|line| line["delivered"] == true), "{}", done.story());
}

#[test]
fn a_frozen_process_needs_no_launcher_to_go_on() {
    let scene = Scene::new();
    let run = scene.bare().env("LD_PRELOAD", common::shim()).env("CHAOS_LOG", scene.text("alone"));
    let done = run.env("CHAOS_TABLE", "read=freeze:300ms@1").go(&[&guest("timed"), "1"]).ended(0);
    let took: u64 = done.out.split(' ').next().unwrap().parse().unwrap();
    assert!(took >= 299, "{}", done.story());
}

#[test]
fn without_a_launcher_what_only_it_could_do_is_an_error() {
    let scene = Scene::new();
    for table in ["signal", "freeze for=1s", "read=EIO@1; signal signal=TERM from=1s"] {
        let run = scene.bare().env("LD_PRELOAD", common::shim()).env("CHAOS_LOG", scene.text("alone"));
        let done = run.env("CHAOS_TABLE", table).go(&[&guest("timed"), "1"]).ended(125);
        assert!(done.err.contains("-1 has no calls, so only a launcher could do it"), "{}", done.story());
        assert!(done.err.contains("chaos-exec run"), "{}", done.story());
    }
}

#[test]
fn the_launcher_freezes_the_tree_and_lets_it_go_on() {
    let scene = Scene::new();
    let line = "sleep 2 & sleep 2 & wait; echo over";
    let done = scene.under(&["freeze from=1s for=1500ms"]).go(&[&program("bash", "bash"), "-c", line]).said("over");
    let injections = done.injections();
    assert_eq!(injections.len(), 3, "the shell and both that it started: {}", done.story());
    assert!(injections.iter().all(|line| line["delivered"] == true && line["effect"] == "freeze 1s 500ms"));
    let end = done.lines("end").remove(0);
    assert!(end["at_ns"].as_u64().unwrap() >= 2_500_000_000, "{}", done.story());
    assert_eq!(end["survivors"], 0);
}

#[test]
fn nothing_stays_stopped_when_the_run_ends_or_the_launcher_is_killed() {
    let scene = Scene::new();
    let lazy = scene.adopt(&program("sleep", "coreutils"), "lazy");
    let line = format!("echo $$ > pid.new; mv pid.new pid; exec {lazy} 300");
    let dash = program("dash", "dash");
    // The root ends while its child is frozen; the child survives, awake.
    let stopped = "for i in $(seq 900); do grep -q ') T ' /proc/$(cat pid)/stat && exit 7; sleep 0.05; done";
    let child = format!("{dash} -c '{line}' & while [ ! -e pid ]; do sleep 0.05; done; {stopped}");
    let started = Instant::now();
    let faults = scene.under(&["freeze process=lazy for=500s"]).go(&[&dash, "-c", &child]).ended(7);
    assert!(started.elapsed() < Duration::from_secs(50));
    let pid = String::from_utf8(scene.read("pid")).unwrap().trim().to_owned();
    let woken = !stands_still(&pid);
    let _ = std::process::Command::new("kill").args(["-s", "KILL", &pid]).status();
    assert!(woken, "{}", faults.story());
    assert!(faults.injections().iter().any(|line| line["delivered"] == true), "{}", faults.story());

    let scene = Scene::new();
    let lazy = scene.adopt(&program("sleep", "coreutils"), "lazy");
    let line = format!("echo $$ > pid.new; mv pid.new pid; exec {lazy} 300");
    let mut running = scene.under(&["freeze process=lazy for=500s"]).start(&[&dash, "-c", &line]);
    let pid = || std::fs::read_to_string(scene.path("pid")).unwrap_or_default().trim().to_owned();
    running.wait_until("it stands still", || !pid().is_empty() && stands_still(&pid()));
    running.signal("KILL");
    let pid = pid();
    running.wait_until("it goes on", || !stands_still(&pid));
    let _ = std::process::Command::new("kill").args(["-s", "KILL", &pid]).status();
    running.end();
}

#[test]
fn a_timeout_ends_a_tree_that_stands_still() {
    let scene = Scene::new();
    let run = scene.under(&["freeze for=500s"]).options(&["--timeout", "1s"]);
    run.go(&[&program("sleep", "coreutils"), "1000"]).ended(124);
}

/// Runs a command as a user that has no other process, under the kernel's own limit.
fn under_the_kernels_limit(scene: &Scene, limit: u32, command: &[&str]) -> String {
    scene.open_to_all();
    let copy = scene.adopt(command[0], "crowd");
    let limited = format!("ulimit -u {limit}; exec \"$0\" \"$@\"");
    // A number that no account has, so that nothing else counts.
    let mut line = vec!["setpriv", "--reuid=64123", "--regid=64123", "--clear-groups", "bash", "-c", &limited, &copy];
    line.extend(&command[1..]);
    scene.bare().by_root().go(&line).ended(0).out
}

#[test]
fn processes_and_threads_run_out_where_the_kernels_own_limit_would_end_them() {
    for command in [
        ["processes", "fork"].as_slice(),
        &["processes", "fork", "spawn", "vfork"],
        &["threads", "pthread_create"],
        &["threads", "pthread_create", "thrd_create"],
        &["zombies"],
    ] {
        let scene = Scene::new();
        let guest = guest("crowd");
        let whole: Vec<&str> = std::iter::once(guest.as_str()).chain(command.iter().copied()).collect();
        let wanted = under_the_kernels_limit(&scene, 7, &whole);
        assert!(wanted.starts_with("6 EAGAIN"), "the oracle itself: {wanted}");
        let what = if command[0] == "threads" { "threads" } else { "processes" };
        let fault = format!("exhaust what={what} limit=7");
        let done = scene.under(&[&fault]).go(&whole).ended(0);
        assert_eq!(done.out, wanted, "{command:?}: {}", done.story());
        let injection = only(&done);
        assert_eq!((injection["errno"].as_str(), injection["delivered"].as_bool()), (Some("EAGAIN"), Some(true)));
    }
}

#[test]
fn a_shell_and_python_meet_a_tree_that_is_full() {
    let scene = Scene::new();
    let script = "
import subprocess
made = []
try:
    for n in range(20):
        made.append(subprocess.Popen(['sleep', '100']))
except BlockingIOError as error:
    print(len(made), error.errno)
for one in made:
    one.kill(); one.wait()
print(subprocess.run(['true']).returncode)
";
    let done = scene.under(&["exhaust what=processes limit=5"]).go(&[&python(), "-c", script]);
    done.said(&format!("4 {}\n0", libc::EAGAIN));
    let threads = "
import threading
made = 0
gate = threading.Event()
try:
    for n in range(50):
        threading.Thread(target=gate.wait, daemon=True).start()
        made += 1
except RuntimeError as error:
    print(made, error)
gate.set()
";
    let done = scene.under(&["pthread_create=exhaust:8"]).go(&[&python(), "-c", threads]);
    done.said("7 can't start new thread");
}

#[test]
fn threads_of_threads_h_have_an_ordinal_of_their_own() {
    let scene = Scene::new();
    let go =
        || scene.under(&["error calls=read rate=30% per=thread"]).go(&[&guest("ordinals"), "6", "30"]).ended(0).out;
    let (one, again) = (go(), go());
    assert_eq!(one, again, "the same seed gives the same faults");
    let streams: std::collections::BTreeSet<&str> = one.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    assert!(streams.len() >= 5, "each thread draws its own: {one}");
}

#[test]
fn check_says_what_the_launcher_will_do() {
    let scene = Scene::new();
    for (fault, words) in [
        ("signal signal=TERM from=5s", "send SIGTERM by the launcher, to the first process, from 5s, once"),
        (
            "signal process=worker period=2s times=3",
            "send SIGKILL by the launcher, in process worker, from 0s, every 2s, 3 times",
        ),
        ("freeze for=2s from=1s", "stand still for 2s by the launcher, to the whole tree, from 1s, once"),
        ("read=freeze", "stand still for 1s at read"),
        ("clock offset=-90s", "put the wall clock off by -1m 30s"),
        ("clock jump=+1h period=2s rate=25%", "jumping by +1h for 2s and back at gettimeofday,"),
        ("clock pace=1.5x clocks=realtime,monotonic", "put the wall and monotonic clocks 1.5 times as fast"),
        ("exhaust what=processes limit=9", "run out of processes at 9 at fork, vfork, spawn, system, popen"),
    ] {
        let done = scene.chaos().go(&["check", "-f", fault]).ended(0);
        assert!(done.out.contains(words), "{fault}: {}", done.story());
    }
}
