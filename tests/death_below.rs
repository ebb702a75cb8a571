//! Death and load under the supervisor: users without a process left, calls whose caller is killed, signals in storms.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{CHAOS, Scene, compile, go, program};
use std::time::Duration;

#[test]
fn a_user_who_has_no_process_left_is_followed_to_the_last_one() {
    let scene = Scene::new();
    scene.open_to_all();
    let guest = scene.adopt(&compile("bomb", "bomb-static", &["-static"]), "bomb");
    let chaos = scene.adopt(CHAOS, "chaos");
    let out = scene.text("session");
    // More processes than the launcher has descriptors at first.
    let line = format!(
        "ulimit -S -n 256; ulimit -u 700; exec {chaos} run --out {out} \
         -f 'error calls=read path=data.bin errno=EIO nth=1' -- {guest}"
    );
    let user = ["--reuid=64321", "--regid=64321", "--clear-groups", "--bounding-set=-all"];
    let setpriv = program("setpriv", "util-linux");
    let bash = program("bash", "bash");
    let done = scene.bare().go(&[&[setpriv.as_str()], &user[..], &[&bash, "-c", &line]].concat()).ended(0);
    let words: Vec<&str> = done.out.split_whitespace().collect();
    let made: usize = words[1].parse().unwrap();
    assert!(made > 400, "{}", done.story());
    // Each of them had its fault, and none saw that the launcher has raised a limit of its own.
    assert_eq!(words, ["EAGAIN", words[1], words[1], "256"], "{}", done.story());
    assert!(done.err.contains(&format!("{made} fired, {made} delivered")), "{}", done.story());
}

#[test]
fn a_caller_that_is_killed_while_it_is_held_leaves_nothing_behind() {
    let scene = Scene::new();
    let fixed = compile("loop", "loop-static", &["-static"]);
    for rule in ["hang calls=read path=data.bin", "latency calls=read path=data.bin delay=30s", "read=latency:30s"] {
        let line = format!("{fixed} 3 & echo $! > pid; wait $!; echo $?; {fixed} 0");
        let mut running = scene.under(&[rule]).start(&[&program("dash", "dash"), "-c", &line]);
        running.wait_until_hit();
        let pid = String::from_utf8(scene.read("pid")).unwrap();
        assert!(std::process::Command::new("kill").args(["-s", "KILL", pid.trim()]).status().unwrap().success());
        let killed = std::time::Instant::now();
        let done = running.end().ended(0);
        assert!(done.out.starts_with("137\n"), "{rule}: {}", done.story());
        // Half of what the delay would have taken.
        assert!(killed.elapsed() < Duration::from_secs(15), "{rule}: {}", done.story());
        assert!(done.err.contains("1 fired, "), "{rule}: {}", done.story());
    }
}

#[test]
fn what_the_supervisor_needs_starts_with_the_first_whom_it_takes_in_and_ends_with_the_last() {
    let scene = Scene::new();
    let fixed = compile("loop", "loop-static", &["-static"]);
    let look = "sed -n 's/Threads:[^0-9]*//p' /proc/$PPID/status; cat /proc/$PPID/task/*/children; echo";
    let line = format!("{look}; {fixed} 1; {look}; (sleep 0.3; {fixed} 1) &");
    let fault = "error calls=read path=data.bin errno=EIO";
    let done = scene.under(&[fault]).words(&["--wait", "tree"]).go(&[&program("dash", "dash"), "-c", &line]).ended(0);
    let lines: Vec<&str> = done.out.lines().collect();
    let [threads, children, fault, threads_then, children_then, last] = lines[..] else { panic!("{}", done.story()) };
    assert_eq!((threads, fault, last), ("1", "0.0: EIO@1", "0.0: EIO@1"), "{}", done.story());
    assert!(threads_then.parse::<u32>().unwrap() >= 3, "{}", done.story());
    // The shell, and then the process that outlives the launcher if it must. The run has ended without waiting for it.
    let [shell] = children.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{}", done.story()) };
    let heirs: Vec<&str> = children_then.split_whitespace().filter(|pid| *pid != shell).collect();
    assert_eq!(heirs.len(), 1, "{}", done.story());
    assert!(!std::path::Path::new(&format!("/proc/{}", heirs[0])).exists(), "{}", done.story());
    assert!(done.err.contains("2 fired, 2 delivered") && !done.err.contains("chaos-heir"), "{}", done.story());
}

#[test]
fn a_run_that_is_ended_by_its_time_does_not_count_what_outlives_it() {
    let scene = Scene::new();
    let fixed = compile("loop", "loop-static", &["-static"]);
    let line = format!("{fixed} 1; sleep 30");
    let run = scene.under(&["error calls=read path=data.bin errno=EIO"]).options(&["--timeout", "2s"]);
    let done = run.go(&[&program("dash", "dash"), "-c", &line]).ended(124);
    assert!(done.err.contains("1 fired, 1 delivered") && !done.err.contains("still run"), "{}", done.story());
    let end = &done.lines("end")[0];
    assert_eq!(end["survivors"], 0, "{}", done.story());
}

/// Reads while the scheduler of Go interrupts it by signals, which it does to whatever runs for more than 10 ms.
const BUSY: &str = r#"
package main

import ("fmt"; "os"; "runtime"; "sync")

func main() {
	stop := make(chan bool)
	for i := 0; i < 4; i++ { go func() { n := 0; for { select { case <-stop: return; default: for j := 0; j < 1000000; j++ { n += j } } } }() }
	var group sync.WaitGroup
	var lock sync.Mutex
	good, bad := 0, map[string]int{}
	for i := 0; i < 4; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			file, err := os.Open("data.bin")
			if err != nil { panic(err) }
			for j := 0; j < 50; j++ {
				_, err := file.ReadAt(make([]byte, 8), 0)
				lock.Lock()
				if err == nil { good++ } else { bad[err.Error()]++ }
				lock.Unlock()
				runtime.GC()
			}
		}()
	}
	group.Wait()
	close(stop)
	fmt.Println(good, bad)
}
"#;

#[test]
fn the_signals_by_which_go_interrupts_itself_lose_no_call() {
    let scene = Scene::new();
    let busy = go(&scene, "busy", BUSY, "0", &[]);
    // With calls that wait, that fail, and that are followed to their end for it.
    let rules = ["latency calls=pread delay=1ms rate=20%", "error calls=pread path=data.bin errno=EIO rate=20%"];
    let done = scene.under(&rules).go(&[&busy]).ended(0);
    let failed = done.injections().iter().filter(|one| one["errno"] == "EIO").count();
    assert!(failed > 15, "{}", done.story());
    let expected = format!("{} map[read data.bin: input/output error:{failed}]\n", 200 - failed);
    assert_eq!(done.out, expected, "{}", done.story());
    assert!(done.lines("recovery").len() > 5 && !done.err.contains("not measured"), "{}", done.story());
}
