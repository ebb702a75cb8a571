//! `doctor` on real programs of every kind, and on what is none.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{Done, Scene, compile, compile_by, go, guest, program};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

fn examine(scene: &Scene, words: &[&str]) -> (Value, Done) {
    let words = [&["doctor", "--json"], words].concat();
    let done = scene.chaos().go(&words);
    let value = serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}\n{}", done.story()));
    (value, done)
}

fn kinds(value: &Value) -> Vec<String> {
    let steps = value["program"].as_array().unwrap();
    steps.iter().map(|step| step["words"].as_str().unwrap().to_owned()).collect()
}

fn script(scene: &Scene, name: &str, text: &str) -> String {
    let path = scene.write(name, text);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

const HELLO_GO: &str = "package main\nimport \"fmt\"\nfunc main() { fmt.Println(\"hello\") }\n";
const CGO: &str = "package main\n// #include <stdlib.h>\nimport \"C\"\nfunc main() { C.rand() }\n";

#[test]
fn every_kind_of_program_has_its_engine() {
    let scene = Scene::new();
    for (path, kind, engine) in [
        (guest("rests"), "dynamic, glibc".to_owned(), "preload"),
        (compile_by("musl-gcc", "rests", "rests-musl", &[]), "dynamic, musl".into(), "preload"),
        (compile("rests", "rests-static", &["-static"]), "static".into(), "seccomp"),
        (common::musl_static_pie("rests"), "static-pie".into(), "seccomp"),
        ("/bin/busybox".to_owned(), "static".into(), "seccomp"),
        ("/lib64/ld-linux-x86-64.so.2".to_owned(), "the dynamic loader".into(), "preload"),
        (go(&scene, "plain", HELLO_GO, "0", &[]), "static, Go (go".into(), "seccomp"),
        (go(&scene, "stripped", HELLO_GO, "0", &["-ldflags=-s -w -buildid="]), "static, Go (go".into(), "seccomp"),
        (go(&scene, "cgo", CGO, "1", &[]), "dynamic, glibc, Go (go".into(), "seccomp"),
    ] {
        let (value, done) = examine(&scene, &[&path]);
        assert!(kinds(&value)[0].starts_with(&kind), "{kind}: {}", done.story());
        assert_eq!(value["engine"], engine, "{}", done.story());
        assert_eq!(value["program"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn scripts_lead_to_what_runs_in_the_end() {
    let scene = Scene::new();
    let python = common::python();
    let inner = script(&scene, "inner", &format!("#!{python} -I\n"));
    let outer = script(&scene, "outer", &format!("#!{inner}\n"));
    let by_env = script(&scene, "by-env", "#!/usr/bin/env -S LANG=C -u HOME busybox sh\n");
    let text = script(&scene, "text", "echo hello\n");
    for (path, expected, engine) in [
        (&outer, &["script", "script", "dynamic, glibc"][..], "preload"),
        (&by_env, &["script", "dynamic, glibc", "static"], "seccomp"),
        (&text, &["text without #!", "dynamic, glibc"], "preload"),
    ] {
        let (value, done) = examine(&scene, &[path]);
        let found = kinds(&value);
        assert_eq!(found.len(), expected.len(), "{}", done.story());
        assert!(found.iter().zip(expected).all(|(found, kind)| found.starts_with(kind)), "{}", done.story());
        assert_eq!(value["engine"], engine, "{}", done.story());
    }
    // env as the command itself.
    let (value, _) = examine(&scene, &["env", "A=1", "/bin/busybox", "true"]);
    assert_eq!(value["engine"], "seccomp");
}

#[test]
fn what_cannot_be_covered_says_why_and_exits_1() {
    let scene = Scene::new();
    let loops = scene.text("loops");
    script(&scene, "loops", &format!("#!{loops}\n"));
    let missing = script(&scene, "missing", "#!/no/such/interpreter\n");
    let mut foreign = std::fs::read(guest("rests")).unwrap();
    foreign[18] = 183;
    let foreign = script(&scene, "foreign", "").also(|path| std::fs::write(path, &foreign).unwrap());
    for (path, what, fix) in [
        (&loops, "more than 4 deep", "first line"),
        (&missing, "its interpreter /no/such/interpreter is missing", "installed"),
        (&foreign, "is for arm64", "build it for x86-64"),
    ] {
        let (value, done) = examine(&scene, &[path]);
        assert_eq!((done.code, &value["covered"]), (1, &Value::Bool(false)), "{}", done.story());
        let problem = &value["problems"][0];
        assert!(problem["what"].as_str().unwrap().contains(what), "{}", done.story());
        assert!(problem["fix"].as_str().unwrap().contains(fix), "{}", done.story());
        let text = scene.chaos().go(&["doctor", path]).ended(1);
        assert!(text.out.contains(what) && text.out.contains("fix: "), "{}", text.story());
        // The kernel agrees that it cannot be started.
        scene.bare().go(&[&program("dash", "dash"), "-c", &format!("{path} 2>/dev/null; exit $?")]).refused();
    }
}

#[test]
fn a_program_that_is_cut_off_is_what_the_kernel_makes_of_it() {
    let scene = Scene::new();
    let whole = std::fs::read(guest("rests")).unwrap();
    // In its header, in those of its segments, and behind them: for execve this is a program, though it will crash.
    for (length, kind) in
        [(20, "text without #!"), (60, "text without #!"), (200, "text without #!"), (3000, "dynamic, glibc")]
    {
        let path =
            script(&scene, &format!("cut-{length}"), "").also(|path| std::fs::write(path, &whole[..length]).unwrap());
        let (value, done) = examine(&scene, &[&path]);
        assert!(kinds(&value)[0].starts_with(kind), "{length}: {}", done.story());
        let python = common::python();
        let tried = scene.bare().go(&[&python, "-c", "import os, sys; os.execv(sys.argv[1], sys.argv[1:])", &path]);
        assert_eq!(tried.err.contains("Exec format error"), kind.starts_with("text"), "{length}: {}", tried.story());
    }
}

#[test]
fn setuid_programs_and_those_with_capabilities_are_out_of_reach_of_who_gains_by_them() {
    let scene = Scene::new();
    scene.open_to_all();
    let setuid = scene.adopt(&guest("rests"), "setuid");
    let capable = scene.adopt(&guest("rests"), "capable");
    assert!(Command::new("chmod").args(["4755", &setuid]).status().unwrap().success());
    let setcap = Command::new("setcap").args(["cap_net_raw+ep", &capable]).status();
    let capable = setcap.is_ok_and(|status| status.success()).then_some(capable);
    let setpriv = program("setpriv", "util-linux");
    let other = [&setpriv, "--reuid=65534", "--clear-groups", "env"].map(str::to_owned);
    let state = format!("XDG_STATE_HOME={}", scene.text(""));
    for (path, what) in [(Some(setuid), "is setuid"), (capable, "has file capabilities")] {
        let Some(path) = path else { continue };
        let words: Vec<&str> =
            other.iter().map(String::as_str).chain([state.as_str(), common::CHAOS, "doctor", &path]).collect();
        let done = scene.bare().go(&words).ended(1);
        assert!(done.out.contains(what) && done.out.contains("engine    none"), "{}", done.story());
        // Who gives up rights for good gains none, and so is covered.
        let words = [&[setpriv.as_str(), "--no-new-privs"], &words[1..]].concat();
        let done = scene.bare().go(&words).ended(0);
        assert!(done.out.contains("engine    preload"), "{}", done.story());
        // To its own user it gives nothing.
        examine(&scene, &[&path]).1.ended(0);
    }
}

#[test]
fn rules_that_could_not_fire_in_this_program_are_named() {
    let scene = Scene::new();
    let quiet = guest("rests");
    let fires = |value: &Value, rule: usize| value["rules"][rule]["fires"].as_str().unwrap().to_owned();
    let faults = ["-f", "nanosleep=EINTR", "-f", "connect=ECONNREFUSED", "-f", "signal signal=TERM from=1h"];
    let (value, done) = examine(&scene, &[&faults[..], &[&quiet]].concat());
    let found: Vec<String> = (0..3).map(|rule| fires(&value, rule)).collect();
    assert_eq!(found[1..], ["no", "yes"], "{}", done.story());
    done.ended(0);

    // Alone, that rule can do nothing; in a static program no rule on what is libc's own can.
    let done = scene.chaos().go(&["doctor", "-f", "connect=ECONNREFUSED", &quiet]).ended(1);
    assert!(done.out.contains("CANNOT FIRE: connect: nothing in the program imports it"), "{}", done.story());
    let busybox = ["-f", "malloc=ENOMEM", "-f", "getaddrinfo=EAI_AGAIN", "-f", "openat=ENOENT", "/bin/busybox"];
    let (value, done) = examine(&scene, &busybox);
    assert_eq!([0, 1, 2].map(|rule| fires(&value, rule)), ["no", "no", "yes"], "{}", done.story());

    // What python does not import itself, its extensions may.
    let (value, done) = examine(&scene, &["-f", "mlock=ENOMEM", "-f", "read=EIO", &common::python()]);
    assert_eq!([0, 1].map(|rule| fires(&value, rule)), ["perhaps", "yes"], "{}", done.story());
    let (value, _) = examine(&scene, &["-f", "error calls=read errno=EIO process=other", &common::python()]);
    assert_eq!(fires(&value, 0), "perhaps");
}

#[test]
fn a_sandbox_that_forbids_seccomp_is_told_with_the_way_out() {
    let scene = Scene::new();
    let jail = guest("jailed");
    let (value, _) = examine(&scene, &["/bin/busybox"]);
    assert_eq!(value["engines"]["seccomp"]["works"], true, "this machine allows a supervisor: {value}");
    assert_eq!(value["place"]["seccomp"], 0);
    for (how, what) in [
        ("errno", "refuses seccomp(2) (EPERM)"),
        ("kill", "kills who asks for it (SIGSYS)"),
        ("prctl", "refuses prctl(PR_SET_NO_NEW_PRIVS) (EPERM)"),
        ("pidfd", "pidfd_getfd is refused (EPERM)"),
        ("memory", "process_vm_readv is refused (EPERM)"),
        ("listener", "another supervisor listens"),
    ] {
        let done = scene.bare().go(&[&jail, how, common::CHAOS, "doctor", "/bin/busybox"]).ended(1);
        assert!(done.out.contains(what) && done.out.contains("fix: "), "{how}: {}", done.story());
        // What the shim reaches needs no supervisor, and says what goes without.
        let done = scene.bare().go(&[&jail, how, common::CHAOS, "doctor", &guest("rests")]).ended(0);
        assert!(done.out.contains("seccomp does not work") && done.out.contains(what), "{how}: {}", done.story());
        assert!(done.out.contains("children that are static, or Go"), "{how}: {}", done.story());
    }
}

#[test]
fn wrong_words_get_one_error_with_a_fix() {
    let scene = Scene::new();
    let data = scene.text("data.bin");
    for (words, code, message, help) in [
        (&["nosuch"][..], 127, "cannot find the command 'nosuch': it is not in PATH", "check its spelling"),
        (&["./nosuch"], 127, "there is no such file", "check its spelling"),
        (&["/"], 126, "it is a directory", "name a program"),
        (&["/dev/null"], 126, "it is no ordinary file", "name a program"),
        (&[&data], 126, "it is not executable", "chmod +x"),
        (&[""], 125, "the command is empty", "name a program after --"),
        (&[], 125, "required arguments were not provided: <CMD>...", "--help"),
        (&["--jsom", "ls"], 125, "unexpected argument '--jsom'", "--json"),
        (&["-f", "raed=EIO", "ls"], 125, "unknown call `raed`", "`read`"),
        (&["-t", "nosuch.yaml", "ls"], 125, "nosuch.yaml", ""),
    ] {
        let done = scene.chaos().go(&[&["doctor"], words].concat()).ended(code);
        let lines: Vec<&str> = done.err.lines().collect();
        assert!(lines.len() == 2 && done.out.is_empty(), "{}", done.story());
        assert!(lines[0].contains(message) && lines[1].contains(help), "{words:?}: {}", done.story());
    }
}

/// What follows a value, on its way.
trait Also: Sized {
    fn also(self, act: impl FnOnce(&Self)) -> Self {
        act(&self);
        self
    }
}

impl Also for String {}
