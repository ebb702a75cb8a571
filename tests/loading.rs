//! Shims that the loader does not take: what becomes of the program, and who says so.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::complaints::Complaints;
use common::dialogue::is_root;
use common::{CHAOS, Scene, compile, guest, program, python, shim};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The ways in which a shim's file comes to be none, beside being away.
const WAYS: [&str; 6] = ["empty", "text", "short", "class", "machine", "directory"];

/// Puts what the loader refuses where a shim should be.
fn spoil(path: &Path, way: &str) {
    let mut bytes = fs::read(shim()).unwrap();
    match way {
        "empty" => bytes.clear(),
        "text" => bytes = b"no library at all\n".repeat(100),
        "short" => bytes.truncate(100),
        // A 32-bit one, and one for ARM.
        "class" => bytes[4] = 1,
        "machine" => bytes[18] = 183,
        "half" => bytes.truncate(bytes.len() / 2),
        _ => return fs::create_dir(path).unwrap(),
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn without_a_launcher_the_loader_complains_and_no_session_says_that_nothing_was_tested() {
    let scene = Scene::new();
    for way in ["missing", "with space", "with:colon", "unreadable"].iter().chain(&WAYS) {
        let path = scene.path(format!("{way}.so"));
        match *way {
            "missing" => {}
            "with space" | "with:colon" | "unreadable" => drop(fs::copy(shim(), &path).unwrap()),
            way => spoil(&path, way),
        }
        let log = scene.text(&format!("{way}.session"));
        let preload = format!("LD_PRELOAD={}", path.display());
        let mut command = vec![program("env", "coreutils"), preload, scene.adopt(&guest("loop"), "loop"), "2".into()];
        if *way == "unreadable" {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
            if is_root() {
                scene.open_to_all();
                let user = ["setpriv", "--reuid=64124", "--regid=64124", "--clear-groups"].map(str::to_owned);
                command = [&user[..], &command].concat();
            }
        }
        let run = scene.bare().env("CHAOS_TABLE", "read=EIO").env("CHAOS_LOG", &log);
        let done = run.go(&command.iter().map(String::as_str).collect::<Vec<_>>()).ended(0);
        assert!(done.out == "0.0:\n" && done.err.contains("cannot be preloaded"), "{way}: {}", done.story());
        let told = scene.chaos().go(&["log", &log]).ended(125);
        assert!(told.err.starts_with("chaos-exec: error: there is no session at "), "{way}: {}", told.story());
        assert!(told.err.contains("help: "), "{way}: {}", told.story());
    }
}

#[test]
fn a_shim_that_is_spoiled_while_the_run_goes_on_leaves_programs_that_escape_with_their_reason() {
    let mut complaints = Complaints::default();
    for way in ["missing", "half"].iter().chain(&WAYS) {
        let scene = Scene::new();
        let gone = scene.path("gone.so");
        if *way != "missing" {
            spoil(&gone, way);
        }
        let line = format!(
            "{0} 2; shim=$(grep -m1 -o '/[^ ]*libchaos_shim.so' /proc/self/maps); /bin/rm $shim; \
             [ -e gone.so ] && LD_PRELOAD= /bin/mv gone.so $shim; {0} 3",
            guest("loop")
        );
        let rule = "error calls=read path=data.bin errno=EIO nth=2";
        let done = scene.under(&[rule]).go(&[&program("bash", "bash"), "-c", &line]);
        // The first one is hit; the second one runs as if nobody were there, and without a complaint of the loader.
        complaints.expect(way, done.out.as_str(), "0.0: EIO@2\n0.0:\n");
        complaints.check(!done.err.contains("ld.so"), || format!("{way}: {}", done.story()));
        let reason = match *way {
            "missing" => "the shim cannot be opened from there (chroot, or another user)",
            _ => "the shim's file was changed or cut short",
        };
        let escapes = done.lines("escape");
        let told = escapes.iter().any(|one| one["reason"] == reason && one["program"].as_str() == Some(&guest("loop")));
        complaints.check(told && done.err.contains(reason), || format!("{way}: {escapes:?} {}", done.story()));
    }
    complaints.none();
}

/// Runs a line as root of a mount namespace of its own.
fn in_own_mounts(scene: &Scene, line: &str) -> common::Done {
    let bash = program("bash", "bash");
    let unshare = program("unshare", "util-linux");
    let done = scene.bare().go(&[&unshare, "--user", "--map-root-user", "--mount", &bash, "-c", line]);
    if done.err.contains("unshare") {
        scene.bare().by_root().go(&[&unshare, "--mount", &bash, "-c", line])
    } else {
        done
    }
}

#[test]
fn from_a_mount_that_runs_nothing_the_launcher_takes_its_shim_elsewhere_or_says_that_it_cannot() {
    let scene = Scene::new();
    fs::create_dir(scene.path("still")).unwrap();
    let still = format!("mount -t tmpfs -o noexec none {}", scene.text("still"));
    let run = format!("{CHAOS} run --seed 1 -f read=EIO@2 --out {} -- {} 3", scene.text("still/s"), guest("loop"));
    let done = in_own_mounts(&scene, &format!("{still}; {run}")).said("0.0: EIO@2");
    assert!(done.err.contains("1 fired, 1 delivered") && !done.err.contains("ld.so"), "{}", done.story());
    // And where there is no other place.
    let all = ["/tmp", "/var/tmp"].map(|place| format!("mount -t tmpfs -o noexec none {place}"));
    let copies = format!("mount -t tmpfs none /mnt && cp {CHAOS} {} /mnt", guest("loop"));
    let line = format!(
        "{copies}; {}; {}; mkdir /tmp/s; cd /tmp; /mnt/chaos-exec run --out /tmp/s/s -- /bin/touch started; \
         code=$?; ls -A /tmp /tmp/s; exit $code",
        all[0], all[1]
    );
    let done = in_own_mounts(&scene, &line).ended(125);
    assert!(done.err.contains("is no place for the shim, and neither is /tmp nor /var/tmp"), "{}", done.story());
    assert!(done.err.contains("not mounted noexec") && done.err.lines().count() == 2, "{}", done.story());
    assert_eq!(done.out, "/tmp:\ns\n\n/tmp/s:\n", "nothing is left");
    // Without a launcher the loader says it.
    let line = format!(
        "{still}; cp {} {}; LD_PRELOAD={1} CHAOS_TABLE=read=EIO {2} 2",
        shim(),
        scene.text("still/shim.so"),
        guest("loop")
    );
    let done = in_own_mounts(&scene, &line).ended(0);
    assert!(done.out == "0.0:\n" && done.err.contains("cannot be preloaded"), "{}", done.story());
}

#[test]
fn a_library_that_binds_its_own_names_first_finds_libc_before_the_shim() {
    let scene = Scene::new();
    let library = compile("caller", "libcaller.so", &["-shared", "-fPIC"]);
    // A library is bound once, so each way has a copy of its own.
    for way in ["bound", "deep"] {
        scene.adopt(&library, &format!("{way}.so"));
    }
    let script = "
import ctypes, os
fd = os.open('data.bin', os.O_RDONLY)
print(ctypes.CDLL('./bound.so', mode=os.RTLD_NOW).pread_for_me(fd))
print(ctypes.CDLL('./deep.so', mode=os.RTLD_NOW | os.RTLD_DEEPBIND).pread_for_me(fd))
";
    let done = scene.under(&["error calls=pread path=data.bin errno=EIO"]).go(&[&python(), "-c", script]);
    assert_eq!(done.said("-1\n9").injections().len(), 1);
    // Nobody can see it coming from outside, but that it may.
    let told = scene.chaos().go(&["doctor", &python()]).ended(0);
    assert!(told.out.contains("RTLD_DEEPBIND"), "{}", told.story());
    let told = scene.chaos().go(&["doctor", &guest("loop")]).ended(0);
    assert!(!told.out.contains("RTLD_DEEPBIND"), "{}", told.story());
}
