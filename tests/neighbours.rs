//! Libraries that interpose as well, beside the shim: in the launcher's order and by hand in both. Each must do its work,
//! and faults must hit.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{Done, Run, Scene, compile, guest, program, shim};
use std::os::unix::fs::MetadataExt;

/// Never fires, though every allocation and read is put to it.
const NEVER: &str = "error calls=pread,malloc errno=ENOMEM nth=900000000";
/// Hits seven of ten.
const SEVEN: &str = "error calls=pread errno=EIO nth=3..9";

/// The path of a library that Debian installs.
fn library(name: &str, package: &str) -> String {
    let path = format!("/usr/lib/x86_64-linux-gnu/{name}");
    assert!(std::path::Path::new(&path).exists(), "this test preloads {name}: install {package}, or call `make setup`");
    path
}

fn with<'a>(run: Run<'a>, variables: &[(&str, &str)]) -> Run<'a> {
    variables.iter().fold(run, |run, (name, value)| run.env(name, value))
}

/// The guest `hello` beside a neighbour, under the launcher and by hand in both orders.
fn beside(neighbour: &str, variables: &[(&str, &str)], hello: &str) {
    let scene = Scene::new();
    let (ours, guest) = (shim(), guest("hello"));
    let said = |failed: u32, preload: &str| format!("{hello}, {failed} failed, LD_PRELOAD {preload}");
    with(scene.bare().env("LD_PRELOAD", neighbour), variables).go(&[&guest]).said(&said(0, neighbour));
    for (fault, failed) in [(NEVER, 0), (SEVEN, 7)] {
        let done = with(scene.under(&[fault]).env("LD_PRELOAD", neighbour), variables).go(&[&guest]);
        assert_eq!(done.said(&said(failed, neighbour)).followed().injections().len(), failed as usize);
        for order in [format!("{ours}:{neighbour}"), format!("{neighbour}:{ours}"), format!("{neighbour} {ours}")] {
            let log = scene.text("by-hand.session");
            let run = scene.bare().env("LD_PRELOAD", &order).env("CHAOS_TABLE", fault).env("CHAOS_LOG", &log);
            let done = with(run, variables).go(&[&guest]).said(&said(failed, neighbour));
            assert!(done.err.is_empty(), "{order}: {}", done.story());
            std::fs::remove_file(&log).unwrap();
        }
    }
}

#[test]
fn jemalloc() {
    let year = program("date", "coreutils");
    let year = Scene::new().bare().go(&[&year, "-u", "+%Y"]).out;
    beside(&library("libjemalloc.so.2", "libjemalloc2"), &[], &format!("another allocator, year {}", year.trim()));
}

#[test]
fn faketime() {
    let faketime = library("faketime/libfaketime.so.1", "libfaketime");
    beside(&faketime, &[("FAKETIME", "2012-03-04 05:06:07")], "libc's allocator, year 2012");
}

fn faking(run: Run<'_>) -> Run<'_> {
    run.env("FAKEROOTDONTTRYCHOWN", "1")
}

#[test]
fn fakeroot() {
    let scene = Scene::new();
    let (fakeroot, bash) = (program("fakeroot", "fakeroot"), program("bash", "bash"));
    let line = "touch owned; chown 33:44 owned; stat -c '%u %g' owned; id -u; head -c 3 data.bin | wc -c";
    // FAKEROOTDONTTRYCHOWN: root, who could, does not really give the file away either.
    let check = |done: Done| {
        let done = done.said("33 44\n0\n3");
        let real = std::fs::metadata(scene.path("owned")).unwrap().uid();
        assert_eq!(real, std::fs::metadata(scene.path("")).unwrap().uid(), "{}", done.story());
        done
    };
    check(faking(scene.bare()).go(&[&fakeroot, &bash, "-c", line]));
    for faults in [&[][..], &[NEVER, "error calls=process nth=900000000"]] {
        check(faking(scene.under(faults)).go(&[&fakeroot, &bash, "-c", line])).followed();
    }
    // The launcher inside, and both orders by hand.
    let inside = format!("{} run -q --seed 1 -f '{NEVER}' -- {bash} -c \"{line}\"", common::CHAOS);
    check(faking(scene.bare()).go(&[&fakeroot, &bash, "-c", &inside]));
    for order in ["$OURS:$LD_PRELOAD", "$LD_PRELOAD:$OURS"] {
        let by_hand =
            format!("LD_PRELOAD={order} CHAOS_TABLE='{NEVER}' CHAOS_LOG=$PWD/by-hand exec {bash} -c \"{line}\"");
        check(faking(scene.bare()).env("OURS", shim()).go(&[&fakeroot, &bash, "-c", &by_hand]));
        assert!(scene.path("by-hand").exists(), "never came under the table");
        std::fs::remove_file(scene.path("by-hand")).unwrap();
    }
    let done =
        faking(scene.under(&["error calls=open,fopen errno=EIO path=data.bin"])).go(&[&fakeroot, &bash, "-c", line]);
    assert!(done.out.starts_with("33 44\n0\n0"), "{}", done.story());
}

/// The guest `hello` with AddressSanitizer in it.
fn sanitized() -> String {
    compile("hello", "hello-asan", &["-fsanitize=address"])
}

#[test]
fn address_sanitizer_is_loaded_first_by_the_launcher() {
    let scene = Scene::new();
    let (guest, bash) = (sanitized(), program("bash", "bash"));
    let bare = scene.bare().go(&[&guest]).ended(0).out;
    assert!(bare.ends_with("0 failed, LD_PRELOAD unset\n"), "{bare}");
    let hit = bare.replace("0 failed", "7 failed");
    // Started by the launcher, by exec, by a shell, by a script's first line; none of them sees what we preload.
    let script = scene.write("script", format!("#!{guest}\n"));
    scene.bare().go(&["/bin/chmod", "755", &script]).ended(0);
    let by_shell = format!("{guest}; (exec {guest}); {script}");
    let spawned = format!("import os; os.waitpid(os.posix_spawn('{guest}', ['hello'], os.environ), 0)");
    let python = common::python();
    for (fault, wanted) in [(NEVER, &bare), (SEVEN, &hit)] {
        scene.under(&[fault]).go(&[&guest]).followed().said(wanted);
        scene.under(&[fault]).go(&[&bash, "-c", &by_shell]).said(&wanted.repeat(3));
        scene.under(&[fault]).go(&[&python, "-c", &spawned]).said(wanted);
    }
    scene.under(&[NEVER]).go(&[&script]).followed().said(&bare);
    // It still finds what it is there for.
    let done = scene.under(&[NEVER]).go(&[&guest, "overflow"]).ended(1);
    assert!(done.err.contains("heap-buffer-overflow"), "{}", done.story());
}

#[test]
fn address_sanitizer_that_the_user_preloads_stays_first_and_visible() {
    let scene = Scene::new();
    let (guest, plain) = (sanitized(), guest("hello"));
    let asan = scene.bare().go(&["/usr/bin/gcc", "-print-file-name=libasan.so"]).ended(0).out;
    let asan = std::fs::canonicalize(asan.trim()).unwrap().display().to_string();
    for guest in [&guest, &plain] {
        let bare = scene.bare().env("LD_PRELOAD", &asan).go(&[guest]).ended(0).out;
        assert!(bare.ends_with(&format!("LD_PRELOAD {asan}\n")), "{bare}");
        let hit = bare.replace("0 failed", "7 failed");
        scene.under(&[NEVER]).env("LD_PRELOAD", &asan).go(&[guest]).followed().said(&bare);
        scene.under(&[SEVEN]).env("LD_PRELOAD", &asan).go(&[guest]).said(&hit);
        let log = scene.text("by-hand.session");
        let order = format!("{asan}:{}", shim());
        let by_hand = scene.bare().env("LD_PRELOAD", &order).env("CHAOS_TABLE", SEVEN).env("CHAOS_LOG", &log);
        by_hand.go(&[guest]).said(&hit);
        std::fs::remove_file(&log).unwrap();
    }
}

#[test]
fn other_sanitizers() {
    let scene = Scene::new();
    for (name, flag) in [
        ("hello-ubsan", "-fsanitize=undefined"),
        ("hello-lsan", "-fsanitize=leak"),
        ("hello-tsan", "-fsanitize=thread"),
    ] {
        let guest = compile("hello", name, &[flag]);
        let bare = scene.bare().go(&[&guest]).ended(0).out;
        scene.under(&[NEVER]).go(&[&guest]).followed().said(&bare);
        scene.under(&[SEVEN]).go(&[&guest]).said(&bare.replace("0 failed", "7 failed"));
    }
}
