//! Steering a run whose programs are under the supervisor: what is added, changed and taken away while they run.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::dialogue::{self, Dialogue, READS, ctl, order};
use common::{Scene, compile};

/// More of them, which say `ok` or the errno.
const MORE: &str = "
def sync():
    return attempt(lambda: os.fsync(fd))
def in_child(call):
    child = os.fork()
    if child == 0:
        os._exit(0 if call() == 'ok' else call())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
";

fn calls() -> String {
    format!("{READS}{MORE}")
}

fn below<'a>(scene: &'a Scene, faults: &[&str]) -> Dialogue<'a> {
    Dialogue::begin(scene, scene.under(faults).options(&["--engine", "seccomp"]), &calls())
}

#[test]
fn a_rule_whose_calls_the_filter_has_is_added_changed_and_taken_away() {
    let scene = dialogue::scene();
    let mut target = below(&scene, &["pread=ENOSPC@0%"]);
    assert_eq!(target.ask("[read(), in_thread(read)]"), "['ok', 'ok']");
    let said = order(&scene, &["add", "error name=late calls=pread path=data.bin errno=EIO"]);
    assert_eq!(said, "late (rule 2) is in force\n");
    assert_eq!(target.ask("[read(), in_thread(read), in_child(read)]"), "[5, 5, 5]");
    order(&scene, &["set", "late", "rate=0"]);
    assert_eq!(target.ask("[read() for _ in range(9)].count('ok')"), "9");
    order(&scene, &["set", "2", "rate=100%", "errno=EDQUOT", "times=2"]);
    assert_eq!(target.ask("[read() for _ in range(4)]"), "[122, 122, 'ok', 'ok']");
    order(&scene, &["set", "1", "rate=100%"]);
    assert_eq!(target.ask("read()"), "28");
    order(&scene, &["disable"]);
    assert_eq!(target.ask("read()"), "ok");
    order(&scene, &["enable"]);
    assert_eq!(target.ask("read()"), "28");
    order(&scene, &["rm", "1"]);
    assert_eq!(target.ask("read()"), "ok");
    order(&scene, &["inject", "error calls=pread errno=EIO"]);
    assert_eq!(target.ask("[read(), read()]"), "[5, 'ok']");
    let done = target.end();
    let rules: Vec<String> = done.injections().iter().map(|one| one["rule"].to_string()).collect();
    assert_eq!(rules.iter().filter(|rule| *rule == "\"late\"").count(), 6, "{}", done.story());
    assert!(done.injections().iter().all(|one| one["delivered"] == true), "{}", done.story());
}

#[test]
fn of_a_call_that_the_filter_lets_pass_it_says_so() {
    let scene = dialogue::scene();
    let mut target = below(&scene, &["pread=ENOSPC@0%"]);
    let done = ctl(&scene, &["add", "error name=late calls=fsync,pread errno=EIO"]);
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("late: programs under the supervisor that run already do not see it at fsync"), "{said}");
    assert!(said.contains("a rule on it from the start") && !said.contains("pread"), "{said}");
    assert_eq!(target.ask("[sync(), read()]"), "['ok', 5]");
    target.end();
    // Where no program is under the supervisor nothing is said.
    let scene = dialogue::scene();
    let mut target = Dialogue::start(&scene, &["pread=ENOSPC@0%"], &calls());
    let done = ctl(&scene, &["add", "error name=late calls=fsync errno=EIO"]);
    assert_eq!(String::from_utf8(done.stderr).unwrap(), "");
    assert_eq!(target.ask("sync()"), "5");
    target.end();
}

#[test]
fn a_static_program_that_starts_later_has_what_was_added_before() {
    let scene = dialogue::scene();
    let fixed = compile("wrappers", "wrappers-static", &["-static"]);
    let mut target = Dialogue::start(&scene, &["pread=ENOSPC@0%"], &calls());
    order(&scene, &["add", "error calls=read path=data.bin errno=EIO nth=2"]);
    let ask =
        format!("__import__('subprocess').run(['{fixed}', 'data.bin', '3'], capture_output=True, text=True).stdout");
    let said = target.ask(&ask);
    assert!(said.contains("1 open 0/0 read -1/5") && said.contains("2 open 0/0 read 64/0"), "{said}");
    target.end();
}
