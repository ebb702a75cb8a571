//! The session and its log: nothing is lost, whatever dies; nothing is left behind in the target.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{Scene, guest, program, python};
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

fn counted(scene: &Scene) -> u64 {
    u64::from_ne_bytes(scene.read("counter")[..8].try_into().unwrap())
}

fn reads(lines: &[serde_json::Value]) -> u64 {
    lines.iter().filter(|line| line["type"] == "injection" && line["call"] == "read").count() as u64
}

#[test]
fn a_process_killed_in_the_middle_of_a_thousand_injections_loses_none() {
    let scene = Scene::new();
    let done = scene.under(&["read=EIO@60%"]).go(&[&guest("thousand"), "counter", "kill"]).ended(137);
    assert_eq!(counted(&scene), 1000);
    assert_eq!(reads(&done.log()), 1000, "{}", done.err);
}

#[test]
fn a_killed_launcher_loses_none_and_disarms_the_tree() {
    let scene = Scene::new();
    let mut running = scene.under(&["read=EIO@60%"]).start(&[&guest("thousand"), "counter"]);
    running.wait_until("a thousand faults have hit", || scene.path("ready").exists());
    running.signal("KILL");
    // The guest ends only when a second has passed without a fault.
    running.wait_until("the guest is disarmed", || scene.path("disarmed").exists());
    let done = running.end();
    assert_eq!(done.code, 137);
    assert!(counted(&scene) >= 1000);
    assert_eq!(reads(&done.log()), counted(&scene));
}

#[test]
fn a_launcher_and_a_target_killed_together_lose_none() {
    let scene = Scene::new();
    let line = format!("{} counter & echo $! >pid; wait", guest("thousand"));
    let mut running = scene.under(&["read=EIO@60%"]).start(&[&program("dash", "dash"), "-c", &line]);
    running.wait_until("a thousand faults have hit", || scene.path("ready").exists());
    let pid = String::from_utf8(scene.read("pid")).unwrap();
    let launcher = running.child.id().to_string();
    assert!(Command::new("kill").args(["-s", "KILL", pid.trim(), &launcher]).status().unwrap().success());
    let done = running.end();
    std::thread::sleep(std::time::Duration::from_millis(100));
    let (seen, logged) = (counted(&scene), reads(&done.log()));
    // The kill may fall between the record and the guest's own count.
    assert!(seen >= 1000 && (logged == seen || logged == seen + 1), "seen {seen}, logged {logged}");
}

#[test]
fn more_faults_than_the_ring_holds_are_all_logged() {
    let scene = Scene::new();
    let done = scene.under(&["read=EIO"]).go(&[&guest("loop"), "15000", "-t", "2", "-p", "2"]);
    let done = done.ended(0);
    let lines = done.injections();
    assert_eq!(lines.len(), 60_000, "{}", done.err);
    let seqs: HashSet<u64> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs.len(), 60_000, "each has a number of its own");
    assert!(lines.iter().all(|line| line["delivered"] == true), "all of them delivered");
}

#[test]
fn a_changed_user_keeps_the_log() {
    let scene = Scene::new();
    scene.open_to_all();
    let loop_guest = scene.adopt(&guest("loop"), "loop");
    let setpriv = program("setpriv", "util-linux");
    let change = [&setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", &loop_guest, "10"];
    let done = scene.under(&["read=EIO@3..5"]).by_root().go(&change).said("0.0: EIO@3 EIO@4 EIO@5");
    assert_eq!(done.injections().len(), 3, "{}", done.story());
    assert_eq!(done.lines("escape").len(), 0, "{}", done.story());
    // Without an exec, and with one after it.
    let script = "
import os, sys
def read():
    try:
        os.pread(os.open('data.bin', os.O_RDONLY), 1, 0)
        print('ok', flush=True)
    except OSError as error:
        print(error.errno, flush=True)
read()
os.setgid(65534)
os.setuid(65534)
read()
os.execv(sys.argv[1], ['loop', '2'])
";
    let fault = "error calls=read,pread errno=EIO path=data.bin";
    let command = [&python(), "-c", script, &loop_guest];
    let done = scene.under(&[fault]).by_root().go(&command).said("5\n5\n0.0: EIO@1 EIO@2");
    assert_eq!(done.injections().len(), 4, "{}", done.story());
}

#[test]
fn no_descriptor_is_kept_and_shared_memory_is_not_used() {
    let scene = Scene::new();
    let script = "
import os
print(sorted(os.listdir('/proc/self/fd'), key=int))
maps = open('/proc/self/maps').read()
print('/dev/shm' in maps, 'memfd' in maps)
open('maps', 'w').write(maps)
";
    let bare = scene.bare().go(&[&python(), "-c", script]).ended(0);
    assert!(bare.out.contains("False False"));
    let done = scene.under(&["read=EIO@1000"]).go(&[&python(), "-c", script]).said(&bare.out);
    // The session is mapped all the same, or the test would prove nothing.
    let session = done.session.as_ref().unwrap().display().to_string();
    let maps = String::from_utf8(scene.read("maps")).unwrap();
    assert!(maps.contains(&session), "{maps}");
}

#[test]
fn the_log_has_a_beginning_processes_an_end_and_numbers_in_order() {
    let scene = Scene::new();
    let line = "head -c1 data.bin; head -c1 data.bin; exit 3";
    let done = scene.under(&["error calls=read errno=EIO path=data.bin"]).go(&[&program("dash", "dash"), "-c", line]);
    let done = done.ended(3);
    let log = done.log();
    assert_eq!(log[0]["type"], "start", "{}", done.story());
    assert_eq!(log[0]["seed"], 42, "{}", log[0]);
    assert_eq!(log.last().unwrap()["type"], "end", "{}", done.story());
    assert!(log.iter().filter(|line| line["type"] == "process").count() >= 3, "{}", done.story());
    let injections = done.injections();
    assert_eq!(injections.len(), 2);
    for key in [
        "seq",
        "at_ns",
        "pid",
        "tid",
        "lineage",
        "process",
        "rule",
        "fault",
        "call",
        "errno",
        "resource",
        "nth",
        "requested",
        "result",
        "delivered",
    ] {
        assert!(injections[0].get(key).is_some_and(|value| !value.is_null()), "no {key} in {}", injections[0]);
    }
    assert_eq!(injections[0]["fault"], "error");
    assert_eq!(injections[0]["errno"], "EIO");
    assert_eq!(injections[0]["result"], -1);
    assert!(injections[0]["seq"].as_u64() < injections[1]["seq"].as_u64());
    assert!(injections[0]["at_ns"].as_u64() < injections[1]["at_ns"].as_u64());
}

#[test]
fn the_log_reads_the_same_in_every_format() {
    let scene = Scene::new();
    let done = scene.under(&["read=EIO@3..5"]).go(&[&guest("loop"), "10"]).ended(0);
    let session = done.session.as_ref().unwrap().display().to_string();
    let log = |format: &str| scene.chaos().go(&["log", &session, "--format", format]).ended(0).out;
    assert_eq!(log("text").matches("EIO").count(), 3, "{}", log("text"));
    let csv = log("csv");
    assert_eq!(
        csv.lines().count(),
        1 + log("jsonl").lines().filter(|line| line.contains("\"type\":\"injection\"")).count(),
        "{csv}"
    );
    assert_eq!(csv.matches("EIO").count(), 3, "{csv}");
    assert!(csv.lines().next().unwrap().contains("errno"), "{csv}");
}

#[test]
fn the_last_session_is_found_without_being_named() {
    let scene = Scene::new();
    let go = |fault: &str| {
        scene.chaos().go(&["run", "--seed", "1", "--fault", fault, "--", &guest("loop"), "10"]).ended(0);
    };
    go("read=EIO@1..3");
    go("read=ENOSPC@1..2");
    let done = scene.chaos().go(&["log", "--format", "jsonl"]).ended(0);
    let errnos: Vec<&str> = done.out.split("\"errno\":\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(errnos.iter().filter(|name| **name == "EIO").count(), 0, "{}", done.story());
    let injections = done.out.lines().filter(|line| line.contains("\"type\":\"injection\"")).count();
    assert_eq!(injections, 2, "{}", done.story());
    assert!(scene.path("state/chaos-exec").is_dir());
}

#[test]
fn a_session_is_nobody_elses_business() {
    use std::os::unix::fs::MetadataExt;
    let scene = Scene::new();
    let done = scene.under(&["read=EIO@1"]).go(&[&guest("loop"), "1"]).ended(0);
    let mode = fs::metadata(done.session.as_ref().unwrap()).unwrap().mode();
    assert_eq!(mode & 0o066, 0, "others can list or change the session directory: {mode:o}");
}

#[test]
fn odd_bytes_in_a_path_survive_the_log() {
    use std::os::unix::ffi::OsStrExt;
    let scene = Scene::new();
    for name in [&b"new\nline.bin"[..], b"quote\"back\\slash.bin", b"\xff\xfe.bin", "\u{fc}\u{2192}.bin".as_bytes()] {
        let path = std::ffi::OsStr::from_bytes(name);
        scene.write(path, "content");
        let script = scene.write("odd.sh", [b"exec \"$1\" \"$(cat name)\"".as_slice()].concat());
        scene.write("name", name);
        let done = scene
            .under(&["error calls=read errno=EIO path=*.bin"])
            .go(&[&program("dash", "dash"), &script, &guest("odd")])
            .said("failed 10");
        let injections = done.injections();
        assert_eq!(injections.len(), 10, "{}", done.story());
        let resource = injections[0]["resource"].to_string();
        assert!(resource.contains(".bin"), "{resource}");
        if let Ok(text) = std::str::from_utf8(name) {
            assert!(injections[0]["resource"].as_str().is_some_and(|path| path.ends_with(text)), "{resource}");
        }
    }
}

#[test]
fn a_path_longer_than_a_record_is_cut_and_not_lost() {
    let scene = Scene::new();
    let deep = vec!["d".repeat(200); 8].join("/");
    fs::create_dir_all(scene.path(&deep)).unwrap();
    let file = format!("{deep}/long.bin");
    scene.write(&file, "content");
    let done = scene.under(&["error calls=read errno=EIO path=long.bin"]).go(&[&guest("odd"), &file]).said("failed 10");
    assert_eq!(done.injections().len(), 10, "{}", done.story());
}

#[test]
fn the_shim_is_kept_between_runs_and_used_where_it_is_whole() {
    let scene = Scene::new();
    let line = "stat -c '%i %h' $(sed -n 's/.* \\(\\/.*libchaos_shim.so\\)$/\\1/p' /proc/$$/maps | head -n 1)";
    let seen = || {
        let done = scene.under(&["read=EIO"]).options(&["-q"]).go(&[&program("dash", "dash"), "-c", line]).ended(0);
        let (inode, links) = done.out.trim().split_once(' ').unwrap_or_else(|| panic!("{}", done.story()));
        (inode.parse::<u64>().unwrap(), links.to_owned())
    };
    let kept = || {
        let entries = fs::read_dir(scene.path("state/chaos-exec")).unwrap().map(|entry| entry.unwrap().path());
        let kept: Vec<_> = entries.filter(|path| path.to_string_lossy().contains("/.libchaos_shim-")).collect();
        assert_eq!(kept.len(), 1, "{kept:?}");
        kept[0].clone()
    };
    let (first, links) = seen();
    assert_eq!(links, "2");
    let whole = fs::read(kept()).unwrap();
    assert_eq!(fs::metadata(kept()).unwrap().ino(), first);
    assert_eq!(seen(), (first, "2".into()));
    // Whatever has become of it is made good.
    type Spoil = fn(&Path, &[u8]);
    let spoiled: [Spoil; 7] = [
        |kept, _| fs::write(kept, "").unwrap(),
        |kept, whole| fs::write(kept, &whole[..whole.len() - 1]).unwrap(),
        |kept, whole| fs::write(kept, [whole, b"x"].concat()).unwrap(),
        |kept, whole| fs::write(kept, [&whole[..whole.len() - 1], b"\xff"].concat()).unwrap(),
        |kept, _| fs::set_permissions(kept, fs::Permissions::from_mode(0o600)).unwrap(),
        |kept, _| fs::remove_file(kept).unwrap(),
        |kept, whole| {
            fs::remove_file(kept).unwrap();
            fs::write(kept.with_extension("other"), whole).unwrap();
            symlink(kept.with_extension("other"), kept).unwrap();
        },
    ];
    for (case, spoil) in spoiled.iter().enumerate() {
        let path = kept();
        spoil(&path, &whole);
        seen();
        assert_eq!(fs::read(&path).unwrap(), whole, "{case}");
        let _ = fs::remove_file(path.with_extension("other"));
    }
    // Where none can be kept each run has its own.
    let path = kept();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(seen().1, "1");
}
