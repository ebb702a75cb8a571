//! The same seed gives the same faults, another seed others, and the target's own random numbers stay its own.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{Done, Scene, guest, program, python};

/// What has to be the same: rule, lineage, number of the match, and effect, whatever order the log has.
fn faults(done: &Done) -> Vec<String> {
    let mut list: Vec<String> = done
        .injections()
        .iter()
        .map(|line| format!("{} {} {} {} {}", line["rule"], line["lineage"], line["call"], line["nth"], line["errno"]))
        .collect();
    assert!(list.len() > 5, "too few faults to compare: {}", done.story());
    list.sort();
    list
}

/// The output of a guest whose workers speak in any order.
fn sorted(out: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    lines
}

#[track_caller]
fn same_for_same_seed(rules: &[&str], command: &[&str]) {
    let scene = Scene::new();
    let go = |seed: &str| scene.under(rules).options(&["--seed", seed]).go(command).ended(0);
    let (one, again, other) = (go("7"), go("7"), go("8"));
    assert_eq!(faults(&one), faults(&again), "the same seed");
    assert_eq!(sorted(&one.out), sorted(&again.out), "the same seed, as the guest saw it");
    assert_ne!(sorted(&one.out), sorted(&other.out), "another seed");
}

const SOME: &str = "error calls=read rate=20% path=data.bin";

#[test]
fn of_one_thread() {
    same_for_same_seed(&[SOME], &[&guest("loop"), "100"]);
    same_for_same_seed(&[SOME, "read=ENOSPC@15%"], &[&guest("loop"), "100"]);
}

#[test]
fn of_many_threads_however_they_interleave() {
    for _ in 0..3 {
        same_for_same_seed(&[SOME], &[&guest("loop"), "60", "-t", "6"]);
        let some = "error calls=read errno=EIO rate=30% after=3 per=thread";
        same_for_same_seed(&[some], &[&guest("loop"), "60", "-t", "6"]);
    }
}

#[test]
fn of_a_tree() {
    same_for_same_seed(&[SOME], &[&guest("loop"), "40", "-p", "5", "-t", "2"]);
    let line = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do head -c $i data.bin >/dev/null 2>&1; echo $i $?; done";
    same_for_same_seed(&["read=EIO@50%"], &[&program("dash", "dash"), "-c", line]);
}

#[test]
fn of_a_python_program() {
    let script = "
import os, subprocess, threading
def work(n):
    out = []
    fd = os.open('data.bin', os.O_RDONLY)
    for i in range(40):
        try:
            os.pread(fd, 1, 0)
        except OSError as error:
            out.append((i, error.errno))
    os.write(1, f'{n} {out}\\n'.encode())
work('main')
threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
";
    same_for_same_seed(&["error calls=pread rate=25%"], &[&python(), "-c", script]);
}

#[test]
fn processes_and_threads_have_streams_of_their_own() {
    let scene = Scene::new();
    for arguments in [["-t", "4"], ["-p", "4"]] {
        let done = scene.under(&["read=EIO@30%"]).go(&[&guest("loop"), "60", arguments[0], arguments[1]]).ended(0);
        let mut hits: Vec<&str> = done.out.lines().map(|line| line.split_once(':').unwrap().1).collect();
        hits.sort_unstable();
        hits.dedup();
        assert_eq!(hits.len(), 4, "siblings must not fail in step: {}", done.story());
    }
}

#[test]
fn the_draws_of_a_rule_do_not_depend_on_its_rate() {
    // One draw a match whatever the rate: what fails at 20 % fails at 40 % too.
    let scene = Scene::new();
    let hits = |rate: &str| {
        let fault = format!("read=EIO@{rate}");
        let out = scene.under(&[&fault]).go(&[&guest("loop"), "200"]).ended(0).out;
        out.split_whitespace().skip(1).map(str::to_owned).collect::<std::collections::HashSet<_>>()
    };
    let (few, many) = (hits("20%"), hits("40%"));
    assert!(!few.is_empty() && few.is_subset(&many) && few.len() < many.len(), "{few:?}\n{many:?}");
}

#[test]
fn a_random_seed_is_printed_and_repeats_the_run() {
    let scene = Scene::new();
    let session = scene.text("first");
    let first =
        scene.chaos().go(&["run", "--out", &session, "--fault", "read=EIO@20%", "--", &guest("loop"), "100"]).ended(0);
    let at = first.err.find("seed").unwrap_or_else(|| panic!("no seed on stderr: {}", first.err));
    let digits = first.err[at..].trim_start_matches(|c: char| !c.is_ascii_digit());
    let seed: String = digits.chars().take_while(char::is_ascii_digit).collect();
    let again = scene.under(&["read=EIO@20%"]).options(&["--seed", &seed]).go(&[&guest("loop"), "100"]);
    again.said(&first.out);
}

#[test]
fn the_targets_own_random_numbers_are_untouched() {
    let scene = Scene::new();
    let numbers = guest("numbers");
    let bare = scene.bare().go(&[&numbers]).ended(0);
    let done = scene.under(&["read=EIO@50%", "malloc=ENOMEM@1000000"]).go(&[&numbers]).said(&bare.out);
    assert!(!done.injections().is_empty());
    let script = "
import os, random
random.seed(3)
for _ in range(5):
    try:
        os.read(os.open('data.bin', os.O_RDONLY), 1)
    except OSError:
        pass
    print(random.random())
";
    let bare = scene.bare().go(&[&python(), "-c", script]).ended(0);
    scene.under(&["read=EIO@50%"]).go(&[&python(), "-c", script]).said(&bare.out);
}
