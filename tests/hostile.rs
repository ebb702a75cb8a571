//! Programs that do what breaks shims: they close every descriptor, interrupt, fork from threads, cancel, lock
//! themselves in. Each must end as it ends without us, and faults must still hit.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{Scene, compile, guest, program, python};

/// Rules on all that is intercepted, which never fire: the slow path of each hook is taken.
const ARMED: &[&str] = &[
    "error calls=disk rate=0%",
    "error calls=network rate=0%",
    "error calls=memory rate=0%",
    "error calls=process rate=0%",
];

/// The guest says the same bare, with no rule, and with rules that never fire.
#[track_caller]
fn unharmed(name: &str) {
    let scene = Scene::new();
    let bare = scene.bare().go(&[&guest(name)]).ended(0);
    scene.under(&[]).go(&[&guest(name)]).followed().said(&bare.out);
    scene.under(ARMED).go(&[&guest(name)]).followed().said(&bare.out);
}

#[test]
fn closing_every_descriptor_does_not_disarm_and_loses_nothing_of_theirs() {
    let scene = Scene::new();
    let done = scene.under(&["error calls=read errno=EIO path=data.bin"]).go(&[&guest("closeall")]);
    assert_eq!(done.said("10 10 10 10 10 strange 0").injections().len(), 50);
    unharmed("closeall");
    let script = "
import os
os.closerange(3, 4096)
fd = os.open('data.bin', os.O_RDONLY)
try:
    os.read(fd, 1)
except OSError as error:
    print(error.errno)
";
    let done = scene.under(&["error calls=read errno=EIO path=data.bin"]).go(&[&python(), "-c", script]).said("5");
    assert_eq!(done.injections().len(), 1);
}

#[test]
fn a_storm_of_signals() {
    unharmed("storm");
    let scene = Scene::new();
    let faults = ["pread=EIO@10%", "close=EIO@10%", "malloc=ENOMEM@1%"];
    scene.under(&faults).go(&[&guest("storm")]).said("some failures, strange 0");
}

#[test]
fn threads_that_fork_and_vfork() {
    unharmed("forkers");
    let scene = Scene::new();
    scene.under(&["pread=EIO@30%", "malloc=ENOMEM@5%"]).go(&[&guest("forkers")]).said("bad 0");
}

#[test]
fn cancelled_threads() {
    unharmed("cancel");
    let scene = Scene::new();
    let done = scene.under(&["error calls=read errno=EIO path=data.bin"]).go(&[&guest("cancel")]);
    done.said("cancelled 3 cleaned 3 failed 10");
}

#[test]
fn a_call_that_hangs_by_our_doing_can_be_cancelled_and_interrupted() {
    let scene = Scene::new();
    for fault in ["hang calls=read", "latency calls=read delay=1h"] {
        let done = scene.under(&[fault]).options(&["--timeout", "30s"]).go(&[&guest("blocked"), "cancel"]);
        done.said("cancelled");
    }
    // A handler with SA_RESTART does not end a read; one without does.
    scene.under(&["hang calls=read for=500ms"]).go(&[&guest("blocked"), "restart"]).said("1 0");
    scene.under(&["hang calls=read"]).go(&[&guest("blocked"), "interrupt"]).said("-1 EINTR");
}

#[test]
fn a_program_that_dies_of_an_injected_sigpipe_was_hit() {
    let scene = Scene::new();
    let done = scene.under(&["error calls=write errno=EPIPE"]).go(&[&guest("blocked"), "pipe"]).ended(141);
    let injections = done.injections();
    assert_eq!(injections.len(), 1, "{}", done.story());
    assert_eq!(injections[0]["delivered"], true, "{}", done.story());
}

#[test]
fn bad_pointers_and_empty_buffers_get_what_the_kernel_gives() {
    let scene = Scene::new();
    scene.write("data.bin", [b'x'; 200]);
    let bare = scene.bare().go(&[&guest("blocked"), "pointers"]).ended(0);
    let faults = [
        "error calls=readv,open errno=EIO path=elsewhere",
        "error calls=connect errno=ECONNREFUSED to=unix:/elsewhere",
        "error calls=fork,exec errno=ENOMEM rate=0%",
    ];
    scene.under(&faults).go(&[&guest("blocked"), "pointers"]).said(&bare.out);
    // The first buffer is empty: shortened to it alone, the read would look like the end of the file.
    scene.under(&["short calls=readv path=data.bin keep=50%"]).go(&[&guest("blocked"), "buffers"]).said("50");
}

#[test]
fn what_the_kernel_refuses_for_its_arguments_is_refused_under_every_fault_on_data() {
    let scene = Scene::new();
    let bare = scene.bare().go(&[&guest("refused")]).ended(0);
    assert_eq!(bare.out.matches(" -1 E").count(), 17, "{}", bare.out);
    // What is made in part may be made otherwise.
    let whole = |out: &str| out.split("write half").next().unwrap().replace("write none 0 0\n", "");
    const CALLS: &str = "read,pread,readv,write,pwrite,writev";
    const MESSAGES: &str = "send,recv,sendmsg,recvmsg";
    for engine in ["preload", "seccomp"] {
        for fault in [
            "drop calls=write,writev,pwrite".to_owned(),
            format!("corrupt calls={CALLS},{MESSAGES} zero=1B/1B"),
            format!("corrupt calls={CALLS},{MESSAGES} duplicate=50%"),
            "corrupt calls=write,writev,send,sendmsg duplicate=100%".to_owned(),
            format!("corrupt calls={CALLS},send,recv truncate=25%"),
            format!("short calls={CALLS},send,recv"),
            "torn calls=write,writev,pwrite".to_owned(),
            format!("throttle bandwidth=10MB/s calls={CALLS},{MESSAGES}"),
            "exhaust what=disk limit=1MB".to_owned(),
        ] {
            if engine == "seccomp" && fault.starts_with("exhaust") {
                continue;
            }
            let run = scene.under(&[&fault]).options(&["--engine", engine]);
            let done = run.go(&[&guest("refused")]).ended(0);
            assert_eq!(whole(&done.out), whole(&bare.out), "{}", done.story());
            let refused = |hit: &serde_json::Value| hit["delivered"] == true && hit["result"].as_i64() < Some(0);
            let is_torn = fault.starts_with("torn");
            assert!(is_torn || !done.injections().iter().any(refused), "{}", done.story());
        }
    }
}

#[test]
fn small_stacks() {
    let scene = Scene::new();
    let used = |out: &str| out.split_whitespace().nth(4).and_then(|word| word.parse::<usize>().ok()).unwrap();
    let bare = scene.bare().go(&[&guest("smallstack")]).ended(0);
    for (faults, word) in [(ARMED, "no"), (&["open=EIO@20%", "pread=EIO@20%", "malloc=ENOMEM@20%"][..], "some")] {
        let done = scene.under(faults).go(&[&guest("smallstack")]).ended(0);
        assert!(done.out.starts_with(word), "{}", done.story());
        let ours = used(&done.out).saturating_sub(used(&bare.out));
        assert!(ours <= 6144, "the shim takes {ours} bytes of stack: {}", done.story());
    }
}

#[test]
fn handlers_on_small_stacks_of_their_own() {
    let scene = Scene::new();
    let used = |out: &str| out.split_whitespace().last().and_then(|word| word.parse::<usize>().ok()).unwrap();
    let bare = used(&scene.bare().go(&[&guest("altstack")]).ended(0).out);
    // While nothing fires, what MINSIGSTKSZ leaves beside the kernel's own frame must do.
    for (faults, word, limit) in
        [(&[][..], "no", 0), (ARMED, "no", 1024), (&["open,pread=EIO@20%", "send,recv=ECONNRESET@20%"], "some", 4096)]
    {
        let done = scene.under(faults).go(&[&guest("altstack")]).ended(0);
        assert!(done.out.starts_with(word), "{}", done.story());
        let ours = used(&done.out).saturating_sub(bare);
        assert!(ours <= limit, "the shim takes {ours} bytes of stack: {}", done.story());
    }
}

#[test]
fn seccomps_strict_mode() {
    unharmed("strict");
    // A rule with a path may have to ask the kernel, but only where it could fire.
    let scene = Scene::new();
    scene.under(&["error calls=write errno=EIO path=*.db"]).go(&[&guest("strict")]).said("strict read 100");
    scene.under(&["read=EIO@1000"]).go(&[&guest("strict")]).said("strict read 100");
}

#[test]
fn calls_before_main_and_after_it() {
    unharmed("edges");
    let scene = Scene::new();
    let early = compile("preloaded", "early.so", &["-shared", "-fPIC"]);
    for faults in [&[][..], ARMED, &["pread=EIO", "malloc=ENOMEM"]] {
        let done = scene.under(faults).env("LD_PRELOAD", &early).go(&["/bin/true"]).ended(0);
        assert!(done.err.contains("preloaded ok"), "{}", done.story());
    }
}

#[test]
fn errno_is_left_alone_by_calls_that_succeed() {
    unharmed("sentinel");
    let scene = Scene::new();
    // Delays and short calls succeed, too.
    let faults = ["latency calls=read,open,close,malloc,fork,wait,send delay=1us", "short calls=pread,pwrite keep=50%"];
    scene.under(&faults).go(&[&guest("sentinel")]).said("touched 0");
}

#[test]
fn a_child_that_shares_our_memory() {
    unharmed("sharedvm");
    let scene = Scene::new();
    let done = scene.under(&["pread=EIO@100%"]).go(&[&guest("sharedvm")]).ended(0);
    assert!(done.out.starts_with("before 10 child status 0 after 10"), "{}", done.story());
    // The first who asks for anything is not the fork child, but what that has made of its memory.
    for _ in 0..10 {
        let done = scene.under(&["pread=EIO@100%"]).go(&[&guest("sharedvm"), "fork"]).ended(0);
        let (pid, rest) = done.out.split_once(' ').unwrap();
        assert!(rest.starts_with("before 0 child status 0 after 10"), "{}", done.story());
        let pid: u64 = pid.parse().unwrap();
        assert!(done.lines("process").iter().any(|line| line["pid"] == pid), "{}", done.story());
        let hits = done.injections();
        let own = hits.iter().filter(|hit| hit["pid"] == pid).count();
        assert_eq!((hits.len(), own), (20, 10), "{}", done.story());
    }
}

#[test]
fn a_changed_root() {
    let scene = Scene::new();
    let root = scene.path("root");
    std::fs::create_dir_all(&root).unwrap();
    let fixed = compile("probe", "probe-static", &["-static"]);
    scene.write("root/data.bin", "content");
    scene.adopt(&fixed, "root/probe");
    let jail = scene.adopt(&guest("jail"), "jail");
    // There is no /proc in the jail to ask what a descriptor is, so the rule must be one that need not know.
    let table = scene.write("any.yaml", "protect: none\nfaults:\n  - {fault: error, calls: read, errno: EIO}\n");
    let run = scene.under(&[]).options(&["--table", &table]).by_root();
    let done = run.go(&[&jail, root.to_str().unwrap(), "/probe"]).ended(0);
    // The jailed process itself stays under the table; its child cannot, and runs without a complaint of the loader.
    assert!(done.out.contains("failed 10 child 0") && done.out.contains("probe 2 0"), "{}", done.story());
    assert!(!done.err.contains("ld.so"), "{}", done.story());
    assert_eq!(done.lines("escape").len(), 1, "{}", done.story());
}

#[test]
fn limits_on_memory_and_files() {
    let scene = Scene::new();
    let bash = program("bash", "bash");
    let loop_guest = guest("loop");
    for limit in ["-v 60000", "-n 8", "-f 0", "-s 256", "-d 40000"] {
        // Through a pipe: no file may grow under `-f 0`, and stdout is one.
        let line = format!("(ulimit {limit}; exec {loop_guest} 10) | cat");
        let done = scene.under(&["read=EIO@2..3"]).go(&[&bash, "-c", &line]);
        done.said("0.0: EIO@2 EIO@3");
    }
    // The limit is there before the launcher itself.
    let line = format!("ulimit -n 32; exec {} run --seed 1 -q -f read=EIO@2 -- {loop_guest} 3", common::CHAOS);
    scene.bare().go(&[&bash, "-c", &line]).said("0.0: EIO@2");
}

#[test]
fn a_program_without_address_space_goes_on_without_faults_and_the_report_says_so() {
    let scene = Scene::new();
    // Enough for the program and the shim, too little for the session of 8 MB.
    let line = format!("(ulimit -v 9000; {0} 3; exec {0} 3); {0} 3", guest("loop"));
    let run = scene.under(&["read=EIO@2"]).options(&["--log-size", "8MB"]);
    let done = run.go(&[&program("bash", "bash"), "-c", &line]).said("0.0:\n0.0:\n0.0: EIO@2");
    assert!(done.err.contains(" 2 times a program went without faults: no address space"), "{}", done.story());
    let done = scene.under(&["read=EIO@2"]).go(&[&guest("loop"), "3"]).said("0.0: EIO@2");
    assert!(!done.err.contains("went without"), "{}", done.story());
}

#[test]
fn a_program_with_too_little_address_space_for_the_shim_escapes_and_the_loader_does_not_complain() {
    let scene = Scene::new();
    let (bash, loop_guest) = (program("bash", "bash"), guest("loop"));
    let mut runs = 0;
    for limit in (3400..5800).step_by(200) {
        let line = format!("(ulimit -v {limit}; exec {loop_guest} 3)");
        if scene.bare().go(&[&bash, "-c", &line]).code != 0 {
            continue;
        }
        runs += 1;
        let done = scene.under(&["read=EIO@2"]).go(&[&bash, "-c", &line]).said("0.0:");
        assert!(!done.err.contains("ld.so"), "{}", done.story());
        let told = "1 escaped (too little address space for the shim (ulimit -v))";
        assert!(done.err.contains(told), "{limit}: {}", done.story());
    }
    assert!(runs > 2, "{runs}");
}

#[test]
fn a_read_only_root() {
    let scene = Scene::new();
    let (bash, loop_guest) = (program("bash", "bash"), guest("loop"));
    // All is read-only but the place of the session, and /dev/shm is full.
    let outer = format!(
        "mount --rbind {0} {0} && mount --bind / / && mount -o remount,ro,bind / && cd {0} && \
         umount -q -l /dev/shm; mount -t tmpfs -o ro,size=4k none /dev/shm; exec {1} run -q --seed 1 --out {0}/session -f read=EIO@2..3 -- \
         {bash} -c '{loop_guest} 4; (echo x > /new) 2>/dev/null || echo read-only; {loop_guest} 4'",
        scene.text(""),
        common::CHAOS,
    );
    let done = scene.bare().by_root().go(&["unshare", "--mount", &bash, "-c", &outer]);
    done.said("0.0: EIO@2 EIO@3\nread-only\n0.0: EIO@2 EIO@3");
}

#[test]
fn what_a_target_writes_over_the_session_is_told_and_harms_nobody() {
    let scene = Scene::new();
    let script = scene.write("spoil.py", SPOIL);
    for (what, start, length) in [
        ("zero", 0, 1024),
        ("zero", 0, 1 << 22),
        ("ones", 0, 1 << 22),
        ("random", 0, 1 << 22),
        ("random", 4096, 1 << 22),
    ] {
        let (start, length) = (format!("{start}"), format!("{length}"));
        let python = python();
        let command: [&str; 5] = [&python, &script, what, &start, &length];
        let done = scene.under(&["pread=EIO@50%"]).go(&command);
        assert!(done.out.starts_with("child 0, all done"), "{}", done.story());
        let told = ["wrote over the session", "was damaged while"].iter().any(|text| done.err.contains(text));
        assert!(told && !done.err.contains("panicked"), "{}", done.story());
        done.ended(0);
    }
    let done = scene.under(&["pread=EIO@50%"]).go(&[&python(), &script, "zero", "0", "0"]).ended(0);
    assert!(!done.err.contains("over the session"), "{}", done.story());
}

/// Writes over the session, then goes on: reads, and a child.
const SPOIL: &str = "
import os, sys
how, start, length = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
path = next(line.split()[-1] for line in open('/proc/self/maps') if '/session-' in line)
with open(path, 'r+b') as file:
    length = min(length, os.path.getsize(path) - start)
    file.seek(start)
    file.write({'random': os.urandom(length), 'zero': bytes(length), 'ones': b'\\xff' * length}[how])
failed = 0
for _ in range(200):
    fd = os.open('data.bin', os.O_RDONLY)
    try:
        os.pread(fd, 10, 0)
    except OSError:
        failed += 1
    os.close(fd)
pid = os.fork()
if pid == 0:
    os._exit(0)
print(f'child {os.waitpid(pid, 0)[1]}, all done, {failed} failed')
";

#[test]
fn a_target_that_spoils_the_session_spoils_only_its_own_log() {
    let scene = Scene::new();
    let script = "
import glob, os, re
maps = open('/proc/self/maps').read()
path = next(line.split()[-1] for line in maps.splitlines() if '/session-' in line)
with open(path, 'r+b') as file:
    size = os.fstat(file.fileno()).st_size
    file.seek(4096)
    file.write(os.urandom(size - 4096))
print('spoiled', flush=True)
";
    let done = scene.under(&["error calls=pread errno=EIO"]).go(&[&python(), "-c", script]);
    // It spoiled itself, so it may end in any way; the launcher may not.
    assert!(done.out.contains("spoiled"), "{}", done.story());
    assert!(!done.err.contains("panicked"), "{}", done.err);
    let session = done.session.as_ref().unwrap();
    let log = scene.chaos().go(&["log", session.to_str().unwrap()]);
    assert!(!log.err.contains("panicked") && log.code <= 125, "{}", log.story());
    let cut = script
        .replace("file.write(os.urandom(size - 4096))", "pass")
        .replace("print('spoiled', flush=True)", "os.truncate(path, 100); print('spoiled', flush=True); os._exit(0)");
    let done = scene.under(&["error calls=pread errno=EIO"]).go(&[&python(), "-c", &cut]);
    assert!(!done.err.contains("panicked"), "{}", done.err);
    assert!(done.code != 134 && done.code != 101, "the launcher crashed: {}", done.story());
}

#[test]
fn a_handler_that_jumps_out_of_our_code_does_not_end_injection() {
    let scene = Scene::new();
    scene.write("data.bin", [b'x'; 200]);
    let faults = ["error calls=pread errno=EIO path=data.bin", "error calls=open errno=EIO path=elsewhere"];
    scene.under(&faults).go(&[&guest("jump")]).said("failed 100");
}

#[test]
fn two_shells_at_a_time_leave_no_trace_in_the_environment() {
    unharmed("shells");
}

#[test]
fn a_fault_in_a_busy_loop_fills_no_disk() {
    // It reads until that works, which at every match it never would.
    let scene = Scene::new();
    let script = "
import os
fd = os.open('data.bin', os.O_RDONLY)
while True:
    try:
        os.read(fd, 1)
        break
    except OSError:
        pass
print('done')
";
    let run = scene.under(&["error calls=read path=data.bin errno=EIO"]).options(&["--log-limit", "1MB"]);
    let done = run.go(&[&python(), "-c", script]).said("done");
    assert!(done.err.contains("the log reached 1048576 bytes"), "{}", done.story());
    let size = std::fs::metadata(done.session.as_ref().unwrap().join("log.bin")).unwrap().len();
    // What the ring still held comes on top.
    assert!((1 << 20..8 << 20).contains(&size), "{size}");
    assert_eq!(done.injections().len() as u64, done.injections().last().unwrap()["nth"].as_u64().unwrap());
    // Every report says it afterwards, too.
    for form in ["md", "json", "html", "xml", "sarif"] {
        let name = scene.text(&format!("r.{form}"));
        let session = done.session.as_ref().unwrap().display().to_string();
        scene.chaos().go(&["report", &session, "-o", &name]).ended(0);
        let text = String::from_utf8(scene.read(&name)).unwrap();
        let end = "nothing was injected from then on";
        assert!(text.contains("the log reached 1048576 bytes after ") && text.contains(end), "{form}: {text}");
    }
}
