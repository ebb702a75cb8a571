//! Orders to a run that goes on which cannot be obeyed: each is one clear error, and the run goes on as before.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::dialogue::{Dialogue, READS, ctl, is_root, order, refused, scene};
use common::{CHAOS, python};
use std::process::Command;

#[test]
fn the_session_is_full_at_some_time_and_says_so() {
    let scene = scene();
    let target = Dialogue::start(&scene, &[], READS);
    let mut added = 0;
    let failed = loop {
        let done = ctl(&scene, &["add", "error calls=pread errno=EIO rate=0"]);
        if !done.status.success() {
            break String::from_utf8(done.stderr).unwrap();
        }
        added += 1;
        assert!(added <= 64);
    };
    assert!(added >= 12, "{added}");
    assert!(failed.contains(&format!("room for {added} rules, and all of it is taken")), "{failed}");
    let done = target.end();
    assert_eq!(done.err.matches("0 fired, 0 delivered").count(), added + 1, "{}", done.story());
}

#[test]
fn nothing_is_enabled_any_more_when_its_limit_is_reached() {
    let scene = scene();
    let run = scene.under(&["pread=EIO"]).options(&["--max-faults", "2"]);
    let mut target = Dialogue::begin(&scene, run, READS);
    assert_eq!(target.ask("[read(), read(), read()]"), "[5, 5, 'ok']");
    order(&scene, &["disable"]);
    refused(&scene, &[&target.session(), "enable"], "the run has had all of its max_faults");
    assert_eq!(target.ask("read()"), "ok");
    target.end();
    let run = scene.under(&["pread=EIO"]).options(&["--for", "1ms"]);
    let mut target = Dialogue::begin(&scene, run, READS);
    assert_eq!(target.ask("read()"), "ok");
    refused(&scene, &[&target.session(), "enable"], "the time that the table gives by `for` has passed");
    target.end();
    let run = scene.under(&["pread=EIO"]).options(&["--log-limit", "1MB"]);
    let mut target = Dialogue::begin(&scene, run, READS);
    assert_eq!(target.ask("[read() for _ in range(20000)][-1]"), "ok");
    refused(&scene, &[&target.session(), "enable"], "injection has ended for good: the log has reached its limit");
    target.end();
}

#[test]
fn orders_that_make_no_sense_change_nothing() {
    let scene = scene();
    let mut target = Dialogue::start(&scene, &["latency name=slow calls=pread delay=1ms", "clock offset=1s"], READS);
    for (args, message) in [
        (&["add", "pread=EOI"][..], "unknown errno"),
        (&["add", "pread=EIO; read=EIO"], "a second spec follows"),
        (&["add", ""], "there is no fault"),
        (&["add", "error calls=pread errno=EIO path=["], "malformed"),
        (&["add", "name=slow pread=EIO"], "unknown key `pread`"),
        (&["add", "error name=slow calls=pread"], "there is a rule `slow` already"),
        (&["add", "signal signal=KILL process=x"], "the launcher's to do"),
        (&["add", "freeze"], "the launcher's to do"),
        (&["add", "exhaust what=memory limit=1MB"], "cannot be added while the program runs"),
        (&["add", "exhaust what=disk limit=1MB"], "cannot be added while the program runs"),
        (&["add"], "required arguments were not provided"),
        (&["inject", "clock offset=1h"], "a clock is off for a whole process"),
        (&["inject", "error calls=pread times=3"], "fires once in the tree"),
        (&["inject", "error calls=pread per=thread"], "fires once in the tree"),
        (&["rm", "slwo"], "did you mean 'slow'?"),
        (&["rm", "0"], "there is no rule '0'"),
        (&["rm", "3"], "there is no rule '3'"),
        (&["rm", "-1"], "unexpected argument"),
        (&["set", "nobody", "rate=1"], "there is no rule 'nobody'"),
        (&["set", "slow"], "required arguments were not provided"),
        (&["set", "slow", "rate"], "has no `=`"),
        (&["set", "slow", "rate="], "has no value"),
        (&["set", "slow", "rate=2"], "rate"),
        (&["set", "slow", "rat=1"], "did you mean `rate`?"),
        (&["set", "slow", "calls=read"], "cannot be changed while the program runs"),
        (&["set", "slow", "path=x"], "cannot be changed while the program runs"),
        (&["set", "slow", "name=x"], "cannot be changed while the program runs"),
        (&["set", "slow", "errno=EIO"], "cannot be changed while the program runs"),
        (&["set", "slow", "not.path=x"], "unknown key"),
        (&["set", "slow", "delay=fast"], "fast"),
        (&["set", "slow", "rate=1", "rate=0"], "twice"),
        (&["set", "slow", "nth=1", "every=2"], "both say which matches fire"),
        (&["set", "slow", "distribution=normal"], "no width"),
        (&["set", "clock-1", "rate=1"], "a clock that changes its error"),
        (&["mark"], "required arguments were not provided"),
        (&["mark", ""], "the mark says nothing"),
        (&["mark", &"long ".repeat(300)], "longer than 900 bytes"),
        (&["ad", "pread=EIO"], "unrecognized subcommand"),
    ] {
        refused(&scene, args, message);
    }
    assert_eq!(target.ask("read()"), "ok");
    let done = target.end();
    assert_eq!(done.lines("mark").len(), 0, "{}", done.story());
    assert_eq!(done.injections().iter().filter(|line| line["rule"] == "slow").count(), 1, "{}", done.story());
}

#[test]
fn the_session_that_runs_is_found_and_of_several_one_must_be_named() {
    let scene = scene();
    refused(&scene, &["mark", "nobody"], "there is no session yet");
    // The first lies where sessions lie; the others are elsewhere.
    let mut first = Dialogue::begin(&scene, scene.chaos().words(&["run", "-f", "pread=EIO@0%", "--"]), READS);
    first.ask("read()");
    order(&scene, &["mark", "alone"]);
    let second = Dialogue::begin(&scene, scene.chaos().words(&["run", "-f", "pread=EIO@0%", "--"]), READS);
    let running = std::fs::read_dir(scene.path("state/chaos-exec")).unwrap().flatten();
    let names: Vec<String> = running
        .filter(|entry| entry.path().is_dir() && !entry.path().is_symlink())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 2);
    let error = refused(&scene, &["mark", "which"], "2 runs go on: ");
    for name in &names {
        assert!(error.contains(name), "{error}");
        order(&scene, &[name, "mark", "this one"]);
    }
    second.end();
    order(&scene, &["mark", "alone again"]);
    first.end();
    refused(&scene, &["mark", "nobody"], "no run of yours goes on");
    refused(&scene, &[&names[0], "mark", "late"], "the run is over");
    assert!(order(&scene, &["status"]).contains("over"));
}

#[test]
fn the_one_of_several_runs_that_goes_on_is_found() {
    let scene = scene();
    let script = "
import os, time
fd = os.open('data.bin', os.O_RDONLY)
try:
    while not os.path.exists('enough'):
        os.pread(fd, 1, 0)
        time.sleep(0.002)
except OSError as error:
    print(error.errno)
";
    let words = ["run", "--runs", "2", "-f", "pread=EIO@0%", "--"];
    let mut running = scene.chaos().words(&words).start(&[&python(), "-c", script]);
    for number in 1..=2 {
        running.wait_until("a run goes on", || ctl(&scene, &["mark", "here"]).status.success());
        let status = order(&scene, &["status"]);
        assert!(status.starts_with(&format!("run-{number}: injecting")), "{status}");
        order(&scene, &["add", &format!("error name=r{number} calls=pread path=data.bin errno=ENOSPC")]);
        let shown = || String::from_utf8(ctl(&scene, &["status"]).stdout).unwrap();
        running.wait_until("it is over", || !shown().contains(&format!("run-{number}: injecting")));
    }
    let done = running.end().said("28\n28");
    assert!(done.err.contains("run 2/2"), "{}", done.story());
    refused(&scene, &["status"], "no run of yours goes on");
    let series = std::fs::read_link(scene.path("state/chaos-exec/latest")).unwrap().join("run-1");
    refused(&scene, &[&series.display().to_string(), "status"], "the run is over, and its mapped file was not kept");
}

#[test]
fn a_session_that_is_gone_foreign_or_damaged_is_one_clear_error() {
    let scene = scene();
    let mut target = Dialogue::start(&scene, &["pread=EIO@0%"], READS);
    target.ask("read()");
    let session = scene.path("session-0");
    let meta: serde_json::Value = serde_json::from_slice(&scene.read("session-0/session.json")).unwrap();
    let mapped = session.join(meta["session_file"].as_str().unwrap());
    let whole = std::fs::read(&mapped).unwrap();
    let copy = |name: &str, bytes: &[u8]| scene.write(name, bytes);
    let changed = |at: usize, with: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + with.len()].copy_from_slice(with);
        bytes
    };
    for (path, message) in [
        (copy("none", b""), "not a chaos-exec session"),
        (copy("cut", &whole[..100_000]), "cut short"),
        (copy("other-version", &changed(8, &9u32.to_ne_bytes())), "layout version 9"),
        (copy("no-magic", &changed(0, b"X")), "not a chaos-exec session"),
        // Where the areas are stands from byte 48 on.
        (copy("layout", &changed(48, &[0xff; 40])), "layout is damaged"),
        (scene.text("nothing/there"), "there is no session at"),
        ("20200101T000000Z-none".into(), "there is no session '20200101T000000Z-none'"),
        (scene.path("").display().to_string(), "holds no session"),
    ] {
        refused(&scene, &[&path, "add", "read=EIO"], message);
        refused(&scene, &[&path, "mark", "x"], message);
    }
    if is_root() {
        // Somebody else may neither look at it nor change it.
        for args in [&["status"][..], &["disable"]] {
            let done = Command::new("setpriv")
                .args([
                    "--reuid=65534",
                    "--regid=65534",
                    "--clear-groups",
                    CHAOS,
                    "ctl",
                    &session.display().to_string(),
                ])
                .args(args)
                .output()
                .unwrap();
            let errors = String::from_utf8(done.stderr).unwrap();
            assert_eq!(done.status.code(), Some(125), "{errors}");
            assert!(errors.contains("belongs to another user (uid 0)"), "{errors}");
        }
    }
    // Nothing of all that has reached the run.
    assert_eq!(target.ask("read()"), "ok");
    let orphan = Dialogue::start(&scene, &["pread=EIO@0%"], READS);
    orphan.kill_launcher();
    refused(&scene, &[&orphan.session(), "enable"], "the launcher of the run was killed");
    orphan.forget();
    target.end();
}

#[test]
fn a_spoiled_session_ends_no_order_but_with_an_error() {
    // Every word of the head of a live session is spoiled in turn; whatever ctl then says, it says it in a line and ends.
    let scene = scene();
    let mut target = Dialogue::start(&scene, &["pread=EIO@0%"], READS);
    target.ask("read()");
    let mapped = std::fs::read_dir(scene.path("session-0"))
        .unwrap()
        .flatten()
        .find(|entry| {
            entry.file_name().to_string_lossy().starts_with("session") && entry.metadata().unwrap().len() > 1 << 20
        })
        .unwrap()
        .path();
    let whole = std::fs::read(&mapped).unwrap();
    let plan = u32::from_ne_bytes(whole[48..52].try_into().unwrap()) as usize;
    let places = (0..512).step_by(24).chain((plan..plan + 192).step_by(8));
    for at in places {
        let mut bytes = whole.clone();
        bytes[at..at + 8].copy_from_slice(&[0xee; 8]);
        let path = scene.write("spoiled", &bytes);
        for args in [
            &["status"][..],
            &["add", "read=EIO path=x"],
            &["set", "1", "rate=1"],
            &["rm", "error-1"],
            &["enable"],
            &["arm"],
        ] {
            let done = ctl(&scene, &[&[path.as_str()], args].concat());
            let errors = String::from_utf8_lossy(&done.stderr).into_owned();
            assert!(matches!(done.status.code(), Some(0 | 125)), "byte {at}, {args:?}: {:?} {errors}", done.status);
            assert!(!errors.contains("panicked"), "byte {at}, {args:?}: {errors}");
        }
    }
    target.end();
}
