//! `exhaust` of disk: a quota behaves as a file system of that size would.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{Done, Scene, compile, guest, musl_static_pie, program, python};

const FILLER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/filler.py");

/// A command that ends in the name of a directory, `small`, on a tmpfs of this size, without us. A mount of its own needs
/// root, or a user namespace.
fn on_tmpfs(scene: &Scene, size: &str, command: &str) -> Done {
    std::fs::create_dir(scene.path("small")).unwrap();
    let line = format!("mount -t tmpfs -o size={size} tmpfs small || exit 97; exec {command}");
    let unshare = program("unshare", "util-linux");
    let done = scene.bare().go(&[&unshare, "--user", "--map-root-user", "--mount", "sh", "-c", &line]);
    let done = if done.code == 0 { done } else { scene.bare().by_root().go(&[&unshare, "--mount", "sh", "-c", &line]) };
    assert_eq!(done.code, 0, "this test mounts a tmpfs, as root or in a user namespace\n{}", done.story());
    done
}

/// Every ENOSPC of the kernel came from a quota as well, and its log has them all.
#[track_caller]
fn agrees(kernel: &Done, done: &Done) {
    let differ = kernel.out.lines().zip(done.out.lines()).find(|(kernel, ours)| kernel != ours);
    assert!(kernel.out == done.out, "first difference, the kernel first: {differ:?}\n{}", done.story());
    let injections = done.injections();
    let refused = injections.iter().filter(|line| line["errno"] == "ENOSPC").count();
    assert_eq!(refused, kernel.out.matches("ENOSPC").count(), "each ENOSPC is in the log\n{}", done.story());
    assert!(injections.iter().any(|line| line["effect"] == "short"), "so is the write that crosses the limit");
}

#[test]
fn a_quota_agrees_with_a_tmpfs_of_that_size() {
    for seed in ["1", "2", "3", "4"] {
        let scene = Scene::new();
        let kernel = on_tmpfs(&scene, "256k", &format!("{} {FILLER} small {seed} 300", python()));
        let full = kernel.out.matches("ENOSPC").count();
        assert!(full > 20, "the course meets the end of the disk: {full}\n{}", kernel.story());
        for engine in ["preload", "seccomp"] {
            std::fs::create_dir(scene.path(engine)).unwrap();
            let quota = format!("exhaust what=disk limit=256KB path={engine}/**");
            let run = scene.under(&[&quota]).options(&["--engine", engine]);
            agrees(&kernel, &run.go(&[&python(), FILLER, engine, seed, "300"]));
        }
    }
}

#[test]
fn a_static_program_meets_the_end_of_the_disk_where_a_dynamic_one_does() {
    let scene = Scene::new();
    let (dynamic, fixed) = (guest("quota"), compile("quota", "quota-static", &["-static"]));
    let kernel = on_tmpfs(&scene, "256k", &format!("{dynamic} small"));
    assert!(kernel.out.matches("ENOSPC").count() >= 8, "{}", kernel.story());
    for (name, guest) in [("dynamic", dynamic), ("static", fixed), ("musl", musl_static_pie("quota"))] {
        std::fs::create_dir(scene.path(name)).unwrap();
        let quota = format!("exhaust what=disk limit=256KB path={name}/**");
        let done = scene.under(&[&quota]).go(&[&guest, name]).ended(0);
        agrees(&kernel, &done);
        let engine = if name == "dynamic" { "preload" } else { "seccomp" };
        assert_eq!(done.lines("process")[0]["engine"], engine, "{}", done.story());
    }
}

#[test]
fn a_quota_is_shared_by_what_is_static_and_what_is_not() {
    let scene = Scene::new();
    let busybox = program("busybox", "busybox-static");
    let line = format!(
        "{busybox} dd if=/dev/zero of=one bs=10000 count=4 2>/dev/null; dd if=/dev/zero of=two bs=65536 count=1 status=none
         wc -c < two; {busybox} rm one; dd if=/dev/zero of=two bs=65536 count=1 status=none; wc -c < two
         rm two; {busybox} dd if=/dev/zero of=three bs=100000 count=1 2>/dev/null; wc -c < three"
    );
    let quota = "exhaust what=disk limit=64KB path=*";
    let done = scene.under(&[quota]).go(&[&program("bash", "bash"), "-c", &line]);
    // Ten blocks of sixteen, then six; sixteen when the others have gone.
    assert_eq!(done.out, "24576\n65536\n65536\n", "{}", done.story());
}

#[test]
fn the_crossing_write_is_shortened_and_the_next_fails() {
    let scene = Scene::new();
    let script = "
import os
fd = os.open('big', os.O_CREAT | os.O_WRONLY)
print(os.write(fd, b'1' * 80_000), os.write(fd, b'2' * 30_000))
try: os.write(fd, b'3' * 10)
except OSError as error: print(error.errno)
print(os.pwrite(fd, b'4' * 80_000, 0), os.fstat(fd).st_size)
";
    // 98304 bytes are 24 blocks; overwriting costs nothing.
    let done = scene.under(&["exhaust what=disk limit=96KB"]).go(&[&python(), "-c", script]);
    let done = done.said("80000 18304\n28\n80000 98304");
    let injections = done.injections();
    assert_eq!(injections.len(), 2, "{}", done.story());
    assert_eq!((&injections[0]["effect"], &injections[0]["result"]), (&"short".into(), &18304.into()));
    assert_eq!((&injections[1]["errno"], &injections[1]["result"]), (&"ENOSPC".into(), &(-1).into()));
}

#[test]
fn processes_share_the_quota_and_others_paths_do_not_count() {
    let scene = Scene::new();
    std::fs::create_dir(scene.path("disk")).unwrap();
    let line = "
fill() { dd if=/dev/zero of=$1 bs=$2 count=1 status=none; }
fill disk/a 40000; fill disk/b 40000; fill elsewhere 400000
rm disk/a
fill disk/c 40000
wc -c disk/b disk/c elsewhere
";
    let done = scene.under(&["exhaust what=disk limit=64KB path=disk/**"]).go(&[&program("bash", "bash"), "-c", line]);
    let sizes: Vec<&str> = done.out.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(sizes[..3], ["24576", "40000", "400000"], "{}", done.story());
    assert!(done.err.contains("No space left on device"), "{}", done.story());
}

#[test]
fn what_a_dead_process_held_without_a_name_is_given_back() {
    let scene = Scene::new();
    let script = "
import os, sys
def fill(name):
    fd = os.open(name, os.O_CREAT | os.O_WRONLY)
    os.unlink(name)
    print(os.write(fd, b'1' * 65536), flush=True)
    return fd
child = os.fork()
if child == 0:
    fill('first')
    os._exit(0)
os.waitpid(child, 0)
kept = fill('second')
try: os.write(os.open('third', os.O_CREAT | os.O_WRONLY), b'1')
except OSError as error: print(error.errno)
os.close(kept)
print(os.write(os.open('third', os.O_CREAT | os.O_WRONLY), b'1'))
";
    scene.under(&["exhaust what=disk limit=64KB"]).go(&[&python(), "-c", script]).said("65536\n65536\n28\n1");
}

#[test]
fn without_a_path_the_program_s_own_files_count_and_the_system_s_do_not() {
    let scene = Scene::new();
    let script = "
import os
os.write(os.open('/dev/shm/chaos-quota-' + str(os.getpid()), os.O_CREAT | os.O_WRONLY), b'1' * 50_000)
os.unlink('/dev/shm/chaos-quota-' + str(os.getpid()))
os.write(1, b'x' * 20)
print(os.write(os.open('mine', os.O_CREAT | os.O_WRONLY), b'1' * 50_000))
";
    let done = scene.under(&["exhaust what=disk limit=16KB"]).go(&[&python(), "-c", script]).ended(0);
    assert!(done.out.ends_with("16384\n"), "{}", done.story());
}

#[test]
fn a_quota_that_fires_at_times_lets_the_rest_pass() {
    let scene = Scene::new();
    let script = "
import os
fd = os.open('big', os.O_CREAT | os.O_WRONLY)
def wrote():
    try: return os.write(fd, b'1' * 8192)
    except OSError as error: return error.errno
print([wrote() for _ in range(5)])
";
    // The third is the first that crosses; after two refusals the disk is as large as it is.
    let done = scene.under(&["exhaust what=disk limit=16KB times=2"]).go(&[&python(), "-c", script]);
    done.said("[8192, 8192, 28, 28, 8192]");
}

#[test]
fn dd_and_tar_and_cp_meet_a_full_disk() {
    let scene = Scene::new();
    let dd = program("dd", "coreutils");
    // dd writes to its standard output, which counts where the path is named.
    let quota = "exhaust what=disk limit=1MB path=*";
    let done = scene.under(&[quota]).go(&[&dd, "if=/dev/zero", "of=dd.out", "bs=100000", "count=20"]).ended(1);
    assert!(done.err.contains("No space left on device"), "{}", done.story());
    assert_eq!(scene.read("dd.out").len(), 1 << 20, "to the last byte");
    scene.write("from.bin", vec![7u8; 3_000_000]);
    let done = scene.under(&[quota]).go(&[&program("cp", "coreutils"), "from.bin", "copied.bin"]).ended(1);
    assert!(done.err.contains("No space left on device"), "{}", done.story());
    assert_eq!(scene.read("copied.bin").len(), 1 << 20);
    let done = scene.under(&[quota]).go(&[&program("tar", "tar"), "-cf", "all.tar", "from.bin"]).ended(2);
    assert!(done.err.contains("Wrote only 4096 of 10240 bytes"), "{}", done.story());
    assert_eq!(scene.read("all.tar").len(), 1 << 20);
}

#[test]
fn git_survives_a_disk_that_fills_while_it_commits() {
    let scene = Scene::new();
    let git = program("git", "git");
    std::fs::create_dir(scene.path("repo")).unwrap();
    let bare = |args: &[&str]| {
        let identity = ["-C", "repo", "-c", "user.name=t", "-c", "user.email=t@example.com"];
        let command: Vec<&str> = std::iter::once(git.as_str()).chain(identity).chain(args.iter().copied()).collect();
        scene.bare().go(&command).ended(0)
    };
    bare(&["init", "-q"]);
    scene.write("repo/one", "one");
    bare(&["add", "."]);
    bare(&["commit", "-qm", "one"]);
    let noise: Vec<u8> = (0..300_000u64).map(|n| chaos_table::decide::mix(n) as u8).collect();
    scene.write("repo/two", noise);
    let done = scene.under(&["exhaust what=disk limit=100KB path=repo/**"]).go(&[&git, "-C", "repo", "add", "two"]);
    assert!(done.code != 0 && done.err.contains("No space left"), "{}", done.story());
    bare(&["fsck", "--strict"]);
    bare(&["add", "two"]);
    bare(&["commit", "-qm", "two"]);
    bare(&["fsck", "--strict"]);
}

#[test]
fn redis_refuses_writes_when_its_log_finds_no_room() {
    let scene = Scene::new();
    let server = program("redis-server", "redis-server");
    let client = program("redis-cli", "redis-tools");
    let socket = scene.text("redis.sock");
    let options = [
        server.as_str(),
        "--port",
        "0",
        "--unixsocket",
        &socket,
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--save",
        "",
        "--daemonize",
        "no",
    ];
    let mut running = scene.under(&["exhaust what=disk limit=64KB path=appendonlydir/*.incr.aof"]).start(&options);
    running.wait_until("redis listens", || std::path::Path::new(&socket).exists());
    let ask = |words: &[&str]| {
        let command: Vec<&str> = [client.as_str(), "-s", &socket].iter().chain(words).copied().collect();
        scene.bare().go(&command)
    };
    let value = "v".repeat(10_000);
    let answers: Vec<String> = (0..10).map(|n| ask(&["set", &format!("key{n}"), &value]).out).collect();
    assert_eq!(answers.iter().filter(|answer| answer.starts_with("OK")).count(), 6, "{answers:?}");
    ask(&["shutdown", "nosave"]);
    let done = running.end();
    assert!(
        done.injections().iter().any(|line| line["errno"] == "ENOSPC" || line["effect"] == "short"),
        "{}",
        done.story()
    );
}
