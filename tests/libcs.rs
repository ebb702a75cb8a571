//! One shim for every C library: this glibc, an older one, and musl.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{Done, Scene, compile, compile_by, guest, program, shim};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds a guest against a libc.
struct Libc {
    name: &'static str,
    build: fn(&str) -> String,
}

const LIBCS: [Libc; 3] = [
    Libc { name: "this glibc", build: guest },
    Libc { name: "an older glibc", build: |name| on_old_glibc(name, &[]) },
    Libc { name: "musl", build: |name| on_musl(name, &[]) },
];

fn on_musl(name: &str, flags: &[&str]) -> String {
    compile_by("musl-gcc", name, &format!("{name}.musl"), flags)
}

/// Where `make setup` has unpacked an older glibc.
fn old_glibc() -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("libcs/old");
    assert!(root.exists(), "this test runs an older glibc in {}: call `make setup`", root.display());
    root
}

fn on_old_glibc(name: &str, flags: &[&str]) -> String {
    on_old_glibc_as(name, &format!("{name}.old"), flags)
}

fn on_old_glibc_as(name: &str, output: &str, flags: &[&str]) -> String {
    let root = old_glibc().display().to_string();
    let (objects, libraries) = (format!("{root}/usr/lib/x86_64-linux-gnu"), format!("{root}/lib/x86_64-linux-gnu"));
    let own: [&str; 6] = [
        &format!("--sysroot={root}"),
        &format!("-B{objects}"),
        &format!("-L{objects}"),
        &format!("-L{libraries}"),
        &format!("-Wl,--dynamic-linker={root}/lib64/ld-linux-x86-64.so.2"),
        // The old tag holds for what libc itself loads, too.
        &format!("-Wl,--disable-new-dtags,-rpath,{libraries}"),
    ];
    compile(name, output, &[&own, flags].concat())
}

/// This system's libc, which a guest uses.
fn libc_of(guest: &str) -> String {
    let listed = Command::new("ldd").arg(guest).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    text.split_whitespace().find(|word| word.ends_with("/libc.so.6")).expect("the guest uses libc").to_owned()
}

/// What must not depend on the libc.
fn faults(done: &Done) -> Vec<String> {
    let injections = done.injections();
    let text = ["rule", "lineage", "call", "nth", "errno", "resource", "result"];
    injections.iter().map(|line| text.map(|key| line[key].to_string()).join(" ")).collect()
}

#[test]
fn the_same_seed_gives_the_same_faults() {
    let rules = [
        "error calls=open errno=EMFILE path=data.bin rate=20%",
        "error calls=read errno=EIO path=data.bin rate=30%",
        "error calls=malloc errno=ENOMEM rate=30% times=4 process=guest",
        "error calls=connect errno=ECONNREFUSED rate=40%",
    ];
    let runs = LIBCS.map(|libc| {
        let scene = Scene::new();
        // By the same name: it stands in the log.
        std::fs::copy((libc.build)("libcs"), scene.path("guest")).unwrap();
        let bare = scene.bare().go(&["./guest"]).ended(0);
        assert!(!bare.out.contains("EIO"), "{}", bare.story());
        let done = scene.under(&rules).options(&["--seed", "7"]).go(&["./guest"]).ended(0);
        let log: Vec<String> = faults(&done).iter().map(|line| line.replace(&scene.text(""), "")).collect();
        (libc.name, log, done.out)
    });
    let [(_, log, this), others @ ..] = &runs;
    for place in ["main", "thread", "fork", "execl", "spawned without an environment", "by a shell"] {
        let line = this.lines().find(|line| line.starts_with(place)).unwrap_or_default();
        assert!(line.contains("EIO") && line.contains("ok"), "{place}: {this}");
    }
    for call in ["open", "malloc", "read", "connect"] {
        assert!(log.iter().any(|line| line.contains(call)), "{call}: {log:?}");
    }
    for (name, other_log, other) in others {
        assert_eq!(other, this, "what the program saw on {name}");
        assert_eq!(other_log, log, "the log on {name}");
    }
}

#[test]
fn without_a_launcher() {
    for libc in LIBCS {
        let scene = Scene::new();
        let run = scene.bare().env("LD_PRELOAD", shim()).env("CHAOS_TABLE", "read=EIO@100%");
        let done = run.env("CHAOS_LOG", scene.text("log")).go(&[&(libc.build)("libcs"), "alone"]).ended(0);
        assert_eq!(done.out, format!("alone:{}\n", " EIO".repeat(20)), "{}: {}", libc.name, done.story());
        // Nothing is asked for: nothing happens.
        let done = scene.bare().env("LD_PRELOAD", shim()).go(&[&(libc.build)("libcs"), "alone"]).ended(0);
        assert!(!done.out.contains("EIO"), "{}: {}", libc.name, done.story());
        // Bad input is refused the same way everywhere.
        let run = scene.bare().env("LD_PRELOAD", shim()).env("CHAOS_TABLE", "raed=EIO");
        let done = run.go(&[&(libc.build)("libcs"), "alone"]).ended(125);
        assert!(done.err.contains("raed") && done.err.contains("read"), "{}: {}", libc.name, done.story());
    }
}

#[test]
fn the_environment_is_the_one_that_was_given() {
    for libc in LIBCS {
        let scene = Scene::new();
        let command = [&*(libc.build)("libcs"), "environment"];
        let bare = scene.bare().env("LD_PRELOAD", "").go(&command).ended(0);
        scene.under(&["read=EIO@10%"]).env("LD_PRELOAD", "").go(&command).followed().said(&bare.out);
    }
}

/// Guests that do what breaks shims end as they end without us.
#[test]
fn hostile_programs_cannot_tell() {
    const ARMED: &[&str] = &[
        "error calls=disk rate=0%",
        "error calls=network rate=0%",
        "error calls=memory rate=0%",
        "error calls=process rate=0%",
    ];
    for libc in LIBCS {
        for name in ["cancel", "edges", "forkers", "jump", "sentinel", "sharedvm", "shells", "storm"] {
            let built = (libc.build)(name);
            let scene = Scene::new();
            let bare = scene.bare().go(&[&built]).ended(0);
            scene.under(&[]).go(&[&built]).followed().said(&bare.out);
            scene.under(ARMED).go(&[&built]).followed().said(&bare.out);
        }
    }
}

#[test]
fn cancelled_threads_clean_up_and_later_calls_are_hit() {
    for libc in LIBCS {
        let scene = Scene::new();
        let done = scene.under(&["error calls=read errno=EIO path=data.bin"]).go(&[&(libc.build)("cancel")]);
        done.said("cancelled 3 cleaned 3 failed 10");
        let hang = scene.under(&["hang calls=read"]).options(&["--timeout", "30s"]);
        hang.go(&[&(libc.build)("blocked"), "cancel"]).said("cancelled");
        scene.under(&["hang calls=read"]).go(&[&(libc.build)("blocked"), "interrupt"]).said("-1 EINTR");
    }
}

/// Where the shim keeps what it has to find: address and size of a section.
fn slots() -> [String; 2] {
    let sections = Command::new(program("readelf", "binutils")).args(["-SW", &shim()]).output().unwrap();
    let sections = String::from_utf8(sections.stdout).unwrap();
    let line = sections.lines().find_map(|line| line.split_once(" chaos_slots ")).expect("a section of slots").1;
    let words: Vec<&str> = line.split_whitespace().collect();
    [words[1], words[3]].map(|number| format!("0x{number}"))
}

#[test]
fn the_real_functions_are_those_that_dlsym_finds() {
    let [address, size] = slots();
    let next: [fn() -> String; 3] = [
        || compile("next", "next.so", &["-shared", "-fPIC"]),
        || on_old_glibc("next", &["-shared", "-fPIC", "-ldl"]),
        || on_musl("next", &["-shared", "-fPIC"]),
    ];
    let guests: [fn() -> String; 3] =
        [|| guest("slots"), || on_old_glibc("slots", &["-ldl"]), || on_musl("slots", &[])];
    for (next, slots) in next.into_iter().zip(guests) {
        let scene = Scene::new();
        // Not into the launcher, which has another libc.
        let preload = format!("LD_PRELOAD={}", next());
        let command: [&str; 5] = [&program("env", "coreutils"), &preload, &slots(), &address, &size];
        let done = scene.under(&["read=EIO@0%"]).go(&command).followed();
        let count = u32::from_str_radix(&size[2..], 16).unwrap() / 16;
        done.said(&format!("of {count}: wrong 0"));
    }
}

#[test]
fn a_stream_fails_where_the_libc_would_ask_the_kernel() {
    let fault = "error calls=fwrite,fputs,putc,fprintf errno=ENOSPC path=out.txt";
    for libc in LIBCS {
        let scene = Scene::new();
        let stdio = (libc.build)("stdio");
        for (call, buffers) in [
            ("fwrite", &["usual", "small", "none", "lines"][..]),
            ("fputs", &["usual", "lines"]),
            ("fprintf", &["usual", "small", "none"]),
            ("putc", &["usual", "small", "none", "lines"]),
        ] {
            for buffer in buffers {
                let kernel = scene.bare().go(&[&stdio, "until", buffer, call, "/dev/full"]).ended(0);
                assert!(kernel.out.starts_with("failed at "), "{}", kernel.story());
                scene.under(&[fault]).go(&[&stdio, "until", buffer, call, "out.txt"]).said(&kernel.out);
            }
        }
    }
}

/// Builds a guest, by its name, as an output, with flags.
type Build = fn(&str, &str, &[&str]) -> String;

/// The guest as it calls what glibc has two of: bound to the default versions, to the first ones, and, from a library, to
/// none, for which the first one is taken.
fn bound(build: Build) -> [Vec<String>; 3] {
    let plain = build("versions", "versions", &["-ldl", "-lrt"]);
    let first = build("versions", "versions.first", &["-DFIRST", "-ldl", "-lrt"]);
    let part = build("versions", "versions.so", &["-DPART", "-shared", "-fPIC", "-nodefaultlibs"]);
    [vec![plain.clone()], vec![first], vec![plain, part]]
}

/// What a guest said on a bare run.
fn said_bare(scene: &Scene, command: &[&str]) -> String {
    scene.bare().go(command).ended(0).out
}

const GLIBCS: [Build; 2] = [compile, |name, output, flags| on_old_glibc_as(name, &format!("{output}.old"), flags)];

#[test]
fn each_program_gets_the_version_that_it_is_bound_to() {
    let wanted = [
        ["timer pointer", "realpath allocates", "spawned ENOEXEC"],
        ["timer number", "realpath EINVAL", "spawned 0"],
        ["timer number", "realpath EINVAL", "spawned 0"],
    ];
    for build in GLIBCS {
        for (command, wanted) in bound(build).iter().zip(wanted) {
            let scene = Scene::new();
            std::fs::set_permissions(scene.write("script", "true\n"), PermissionsExt::from_mode(0o755)).unwrap();
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            let bare = said_bare(&scene, &command);
            assert!(wanted.iter().all(|line| bare.contains(line)), "{command:?}: {bare}");
            let armed = ["timedwait=latency:1ms@0%", "realpath,spawn,timer_create=EAGAIN@0%"];
            // An hour ahead: the waits last as long as they did.
            for faults in [&[][..], &armed, &["clock offset=+1h"]] {
                scene.under(faults).go(&command).followed().said(&bare);
            }
            let failing = ["timer_create=EAGAIN", "realpath=EIO", "spawn=ENOMEM"];
            let done = scene.under(&failing).go(&command);
            done.said("signalled 0\nwaited ETIMEDOUT\ntimer EAGAIN\nrealpath EIO\nspawned ENOMEM\nspawned ENOMEM");
        }
    }
}

/// The names that a library defines, with the versions and addresses of each.
fn versions_in(library: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let command = ["-D", "--defined-only", "--with-symbol-versions", "--format=posix", library];
    let listed = Command::new(program("nm", "binutils")).args(command).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let mut found: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for line in String::from_utf8(listed.stdout).unwrap().lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (name, version) = words[0].split_once('@').unwrap_or((words[0], ""));
        let of_name = found.entry(name.to_owned()).or_default();
        of_name.insert(version.trim_start_matches('@').to_owned(), words[2].to_owned());
    }
    found
}

#[test]
fn a_name_that_stands_for_several_functions_is_exported_in_all_its_versions() {
    let exported = versions_in(&shim());
    let ours = libc_of(&guest("hello"));
    let old = old_glibc().join("lib/x86_64-linux-gnu").display().to_string();
    let libraries = [ours, format!("{old}/libc.so.6"), format!("{old}/libpthread.so.0"), format!("{old}/librt.so.1")];
    let mut several = BTreeSet::new();
    for library in &libraries {
        for (name, versions) in versions_in(library) {
            let functions: BTreeSet<&String> = versions.values().collect();
            let Some(own) = exported.get(&name).filter(|_| functions.len() > 1) else { continue };
            let missing: Vec<_> = versions.keys().filter(|version| !own.contains_key(*version)).collect();
            assert!(missing.is_empty(), "{library}: {name} is {versions:?}, and the shim lacks {missing:?}");
            several.insert(name);
        }
    }
    assert!(several.contains("pthread_cond_timedwait") && several.contains("timer_create"), "{several:?}");
    let versioned = exported.iter().filter(|(_, versions)| !versions.contains_key(""));
    assert_eq!(versioned.map(|(name, _)| name.clone()).collect::<BTreeSet<_>>(), several);
}

#[test]
fn the_shim_asks_for_nothing_that_a_libc_may_lack() {
    let check = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/check-shim");
    let done = Command::new(check).arg(shim()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    // It does fail: what was built for this machine's libc alone is refused.
    let done = Command::new(check).arg(guest("libcs")).output().unwrap();
    let complaint = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success() && complaint.contains("GLIBC_2.34"), "{complaint}");
}
