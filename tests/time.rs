//! Clocks that are off: every call shows the same wrong time, waits stay as long as they were, and the program goes on.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::complaints::Complaints;
use common::{Done, Scene, guest, program, python};
use std::collections::BTreeMap;

const WALL: [&str; 10] = [
    "REALTIME",
    "REALTIME_COARSE",
    "TAI",
    "time",
    "gettimeofday",
    "timespec_get",
    "ftime",
    "#clock_gettime",
    "#gettimeofday",
    "#time",
];
const STEADY: [&str; 4] = ["MONOTONIC", "MONOTONIC_COARSE", "MONOTONIC_RAW", "BOOTTIME"];
/// Every wait that takes a moment of the wall clock, of the monotonic clock, or a time.
const WAITS: [&str; 31] = [
    "cond_timedwait",
    "cond_timedwait_monotonic",
    "cond_clockwait",
    "mutex_timedlock",
    "mutex_clocklock",
    "rwlock_timedrdlock",
    "rwlock_timedwrlock",
    "rwlock_clockrdlock",
    "rwlock_clockwrlock",
    "timedjoin",
    "clockjoin",
    "cnd_timedwait",
    "mtx_timedlock",
    "sem_timedwait",
    "sem_clockwait",
    "sem_clockwait_monotonic",
    "mq_timedreceive",
    "mq_timedsend",
    "clock_nanosleep",
    "clock_nanosleep_monotonic",
    "clock_nanosleep_relative",
    "nanosleep",
    "usleep",
    "thrd_sleep",
    "timerfd",
    "timer",
    "#futex",
    "#futex_monotonic",
    "#futex_relative",
    "#clock_nanosleep",
    "#timerfd",
];

/// What the guest's lines say: a name, then a number.
fn numbers(done: &Done) -> BTreeMap<String, i64> {
    let number = |line: &str| {
        let mut words = line.split(' ');
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
    };
    done.out.lines().map(|line| number(line).unwrap_or_else(|| panic!("{line}: {}", done.story()))).collect()
}

#[test]
fn all_calls_show_the_same_wrong_time() {
    let mut complaints = Complaints::default();
    for (fault, wall, steady) in [
        ("clock offset=+1h", 3600, 0),
        ("clock offset=-1h", -3600, 0),
        ("clock offset=+300000h", 1_080_000_000, 0),
        ("clock jump=-30s from=0s", -30, 0),
        ("clock offset=+1h clocks=monotonic", 0, 3600),
        ("clock offset=+1h clocks=realtime,monotonic", 3600, 3600),
        ("clock offset=+1h process=other", 0, 0),
        ("clock offset=+1h from=1h", 0, 0),
    ] {
        let scene = Scene::new();
        let done = scene.under(&[fault]).go(&[&guest("clocks"), "show"]).ended(0).followed();
        let shown = numbers(&done);
        for name in WALL {
            complaints.expect(&format!("{fault}: {name}"), shown.get(name).copied(), Some(wall));
        }
        for name in STEADY {
            complaints.expect(&format!("{fault}: {name}"), shown.get(name).copied(), Some(steady));
        }
        complaints.expect(&format!("{fault}: time of the processor"), shown.get("CPU").copied(), Some(0));
    }
    complaints.none();
}

#[test]
fn two_rules_add_up() {
    let scene = Scene::new();
    let done = scene.under(&["clock offset=+1h", "clock offset=-10m"]).go(&[&guest("clocks"), "show"]).ended(0);
    let shown = numbers(&done);
    assert_eq!(WALL.map(|name| shown[name]), [3000; 10], "{}", done.story());
}

#[test]
fn the_log_has_one_injection_for_each_program_image() {
    let scene = Scene::new();
    let dash = program("dash", "dash");
    let date = program("date", "coreutils");
    let line = format!("{date} >/dev/null; {date} >/dev/null; exec {date} +%s");
    let done = scene.under(&["clock offset=+1h"]).go(&[&dash, "-c", &line]).ended(0);
    let injections = done.injections();
    assert_eq!(injections.len(), 3, "{}", done.story());
    for injection in &injections {
        assert_eq!(injection["process"], "date");
        assert_eq!((injection["fault"].as_str(), injection["effect"].as_str()), (Some("clock"), Some("clock +1h")));
        assert_eq!(injection["delivered"], true);
        assert_eq!(injection["result"].as_i64(), Some(3_600_000_000_000), "how far it was off");
    }
    assert!(done.err.contains("3 fired, 3 delivered"), "{}", done.story());
}

#[test]
fn every_wait_is_as_long_as_it_was() {
    let mut complaints = Complaints::default();
    for fault in ["clock offset=+1h", "clock offset=-1h", "clock offset=+1h clocks=realtime,monotonic"] {
        let scene = Scene::new();
        let mut command = vec![guest("clocks"), "wait".into()];
        command.extend(WAITS.map(str::to_owned));
        let done = scene.under(&[fault]).go(&command.iter().map(String::as_str).collect::<Vec<_>>()).ended(0);
        let took = numbers(&done);
        for way in WAITS {
            let ms = took.get(way).copied();
            // Too soon is a deadline that was taken for past; too late one that lies an hour ahead. The machine is busy.
            complaints.check(ms.is_some_and(|ms| (299..30_000).contains(&ms)), || format!("{fault}: {way} {ms:?} ms"));
        }
        let ends: Vec<&str> = done.out.lines().filter_map(|line| line.rsplit(' ').next()).collect();
        complaints.check(ends.iter().all(|end| ["0", "ETIMEDOUT"].contains(end)), || done.out.clone());
    }
    complaints.none();
}

#[test]
fn a_wait_for_a_fast_or_slow_clock_ends_when_that_shows_its_moment() {
    let scene = Scene::new();
    for (fault, least, most) in [("clock pace=0.1x", 2900, 45_000), ("clock pace=100x", 2, 290)] {
        // A busy machine makes a wait longer, never shorter: the shortest of some counts.
        let waits = ["cond_timedwait", "clock_nanosleep"];
        let rounds = if most < 1000 { 10 } else { 1 };
        let mut command = vec![guest("clocks"), "wait".into()];
        (0..rounds).for_each(|_| command.extend(waits.map(str::to_owned)));
        let done = scene.under(&[fault]).go(&command.iter().map(String::as_str).collect::<Vec<_>>()).ended(0);
        for way in waits {
            let took =
                done.out.lines().filter_map(|line| line.strip_prefix(way)?.split(' ').nth(1)?.parse::<i64>().ok());
            let shortest = took.min().unwrap();
            assert!((least..most).contains(&shortest), "{fault}: {way} {shortest} ms");
        }
        let done = scene.under(&[fault]).go(&[&guest("clocks"), "wait", "nanosleep"]).ended(0);
        assert!(numbers(&done)["nanosleep"] >= 299, "a sleep is no matter of the wall clock: {}", done.story());
    }
}

#[test]
fn no_clock_goes_back_and_all_agree_while_one_is_fast_or_slow() {
    for fault in ["clock pace=3x", "clock pace=0.5x", "clock pace=3x clocks=realtime,monotonic", "clock offset=+1h"] {
        let scene = Scene::new();
        scene.under(&[fault]).go(&[&guest("clocks"), "steady", "500"]).said("ahead ahead together");
    }
}

#[test]
fn the_wall_clock_jumps_there_and_back_but_the_monotonic_one_does_not() {
    let scene = Scene::new();
    let done = scene.under(&["clock jump=-1h period=50ms"]).go(&[&guest("clocks"), "steady", "1000"]).ended(0);
    assert!(done.out.starts_with("back ahead "), "{}", done.story());
}

const PYTHON: &str = "
import os, subprocess, sys, threading, time
begin = time.time()
steady = time.monotonic()
condition = threading.Condition()
with condition:
    assert not condition.wait(0.2)
time.sleep(0.2)
assert not threading.Event().wait(0.2)
lock = threading.Lock(); lock.acquire()
assert not lock.acquire(timeout=0.2)
assert 0.7 < time.monotonic() - steady < 30, 'waits are as long as they were'
assert 0.7 < time.time() - begin < 30, 'and look so'
child = float(subprocess.check_output([sys.executable, '-c', 'import time; print(time.time())']))
assert 0 <= child - begin < 60, 'a child sees the same clock'
pid = os.fork()
if pid == 0:
    os._exit(0 if 0 <= time.time() - begin < 60 else 1)
assert os.waitpid(pid, 0)[1] == 0
open('made', 'w').close()
assert os.stat('made').st_mtime < begin - 3000, 'the kernel stamps files with its own time'
print(int((begin - os.stat('data.bin').st_mtime) / 1800))
";

#[test]
fn python_waits_forks_and_starts_others_under_a_clock_that_is_off() {
    let scene = Scene::new();
    scene.under(&["clock offset=+1h"]).go(&[&python(), "-c", PYTHON]).said("2");
}

const NODE: &str = "
const begin = Date.now(), steady = process.hrtime.bigint();
const real = require('fs').statSync('data.bin').mtimeMs;
setTimeout(() => {
    const took = Number(process.hrtime.bigint() - steady) / 1e6;
    console.log(Math.floor((begin - real) / 1800000), took > 290 && took < 30000, Date.now() - begin < 30000);
}, 300);
";

#[test]
fn a_timer_of_node_is_as_long_as_it_was() {
    let scene = Scene::new();
    let script = scene.write("timer.js", NODE);
    scene.under(&["clock offset=+1h"]).go(&[&program("node", "nodejs"), &script]).said("2 true true");
}

const JAVA: &str = "
import java.util.concurrent.*;
import java.util.concurrent.locks.*;
public class Waits {
    public static void main(String[] given) throws Exception {
        long begin = System.currentTimeMillis(), steady = System.nanoTime();
        Thread.sleep(100);
        Object lock = new Object();
        synchronized (lock) { lock.wait(100); }
        LockSupport.parkNanos(100_000_000L);
        LockSupport.parkUntil(System.currentTimeMillis() + 100);
        new LinkedBlockingQueue<String>().poll(100, TimeUnit.MILLISECONDS);
        ScheduledExecutorService later = Executors.newScheduledThreadPool(1);
        later.schedule(() -> 1, 100, TimeUnit.MILLISECONDS).get();
        later.shutdownNow();
        long took = (System.nanoTime() - steady) / 1_000_000;
        long file = new java.io.File(\"data.bin\").lastModified();
        System.out.println((begin - file) / 1_800_000 + \" \" + (took > 500 && took < 40_000));
    }
}
";

#[test]
fn waits_of_a_jvm_are_as_long_as_they_were() {
    let scene = Scene::new();
    let source = scene.write("Waits.java", JAVA);
    let java = program("java", "default-jdk-headless");
    scene.under(&["clock offset=+1h"]).go(&[&java, "-Xint", "-XX:TieredStopAtLevel=1", &source]).said("2 true");
}

#[test]
fn bash_and_timeout_and_date_work_under_a_clock_that_is_off() {
    let scene = Scene::new();
    let line = "s=$SECONDS; sleep 0.2; timeout 0.3 sleep 30; echo $? $(( $(date +%s) - EPOCHSECONDS < 30 )) \
                $(( (EPOCHSECONDS - $(stat -c %Y data.bin)) / 1800 )); printf '%(%Y)T\\n' -1 >/dev/null";
    scene.under(&["clock offset=+2h"]).go(&[&program("bash", "bash"), "-c", line]).said("124 1 4");
}

#[test]
fn a_sleep_that_is_interrupted_tells_the_rest_and_comes_to_its_end() {
    let scene = Scene::new();
    let guest = guest("sleeps");
    for command in [&[guest.as_str()][..], &[&guest, "thrd"]] {
        let done = scene.under(&["nanosleep,clock_nanosleep=EINTR@1"]).go(command).ended(0);
        let words: Vec<&str> = done.out.split_whitespace().collect();
        let rest: u64 = words[1].parse().unwrap();
        assert_eq!((words[0], words[2]), ("EINTR", "0"), "{}", done.story());
        assert!((1..=200).contains(&rest), "half of 400 ms is slept, the rest is told: {}", done.story());
        let took: u64 = words[3].parse().unwrap();
        assert!((399..30_000).contains(&took), "{}", done.story());
        assert_eq!(done.injections().len(), 1, "{}", done.story());
    }
}

#[test]
fn random_numbers_fail_only_as_the_kernel_could_fail_them() {
    let scene = Scene::new();
    let random = |fault: &str, script: &str| {
        let script =
            format!("import os\ntry:\n    print(len({script}))\nexcept OSError as error:\n    print(error.errno)");
        scene.under(&[fault]).go(&[&python(), "-c", &script]).ended(0)
    };
    let done = random("getrandom=EAGAIN", "os.getrandom(16)");
    assert_eq!((done.out.trim(), done.injections().len()), ("16", 0), "{}", done.story());
    random("getrandom=EAGAIN", "os.getrandom(16, os.GRND_NONBLOCK)").said(&libc::EAGAIN.to_string());
    let done = random("getrandom=EINTR", "os.getrandom(256)");
    assert_eq!((done.out.trim(), done.injections().len()), ("256", 0), "{}", done.story());
    random("getrandom=EINTR@1", "os.getrandom(257)").said("257");
    random("getrandom=short:50%", "os.getrandom(1000)").said("500");
    random("getrandom=short:1%", "os.getrandom(1000)").said("256");
    random("getrandom=ENOSYS", "os.getrandom(16)").said(&libc::ENOSYS.to_string());
}

#[test]
fn without_a_launcher_the_clock_is_off_all_the_same() {
    let scene = Scene::new();
    let session = scene.text("alone.session");
    let run = scene.bare().env("LD_PRELOAD", common::shim()).env("CHAOS_LOG", &session);
    let done = run.env("CHAOS_TABLE", "clock offset=-1h").go(&[&guest("clocks"), "show"]).ended(0);
    assert_eq!(WALL.map(|name| numbers(&done)[name]), [-3600; 10], "{}", done.story());
    let log = common::read_log(session.as_ref());
    assert_eq!(log.iter().filter(|line| line["fault"] == "clock").count(), 1);
}

#[test]
fn max_faults_and_a_disabled_table_leave_the_clock_alone() {
    let scene = Scene::new();
    let faults = ["clock offset=+1h", "clock offset=+1m"];
    let done = scene.under(&faults).options(&["--max-faults", "1"]).go(&[&guest("clocks"), "show"]).ended(0);
    assert_eq!((numbers(&done)["time"], done.injections().len()), (3600, 1), "{}", done.story());
    let done = scene.under(&faults).env("CHAOS_ENABLED", "0").go(&[&guest("clocks"), "show"]).ended(0);
    assert_eq!((numbers(&done)["time"], done.injections().len()), (0, 0), "{}", done.story());
}
