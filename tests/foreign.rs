//! CPython's own tests, as a judge that knows nothing of us: they pass under rules that never fire, when calls are
//! interrupted, and when transfers are short. `make soak` runs all of them, and others.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use chaos_table::calls::{CALLS, Call, Family, FaultKind};
use common::{Scene, python};

/// Groups of modules, with what takes long and waits for clocks left out.
const GROUPS: [&[&str]; 5] = [
    &["test_os", "test_fileio", "test_mmap", "test_tempfile", "test_posix", "test_fcntl", "test_epoll"],
    &["test_eintr"],
    &["-i", "*interrupted_*", "-i", "*deadlock*", "test_io"],
    &["-i", "*timeout*", "-i", "*interrupt*", "test_selectors"],
    &["-i", "*timeout*", "-i", "*_dead", "-i", "*repeated*", "test_subprocess"],
];

fn names(which: impl Fn(&Call) -> bool) -> String {
    let names: Vec<&str> = CALLS.iter().filter(|call| which(call)).map(Call::name).collect();
    names.join(",")
}

/// Every group passes with these faults; `fires`: some of them were delivered, else none.
#[track_caller]
fn passes(faults: &[&str], fires: bool) {
    let modules = std::path::Path::new("/usr/lib/python3.11/test/test_os.py");
    assert!(modules.exists(), "this test runs CPython's own: install libpython3.11-testsuite, or call `make setup`");
    let mut injected = 0;
    for group in GROUPS {
        let scene = Scene::new();
        let python = python();
        let command: Vec<&str> = [&python, "-m", "test"].into_iter().chain(group.iter().copied()).collect();
        let done = scene.under(faults).options(&["-q", "--wait", "root"]).go(&command).followed();
        if done.code != 0 {
            let bare = scene.bare().go(&command);
            panic!("exit code {}, bare {}\n{}", done.code, bare.code, done.story());
        }
        injected += done.injections().len();
    }
    assert_eq!(injected > 0, fires, "{injected} injections");
}

#[test]
fn cpython_passes_under_rules_that_never_fire() {
    let idle = |(_, family): &(&str, Family)| {
        let calls = names(|call| call.is_in(*family) && call.allows(FaultKind::Error));
        (!calls.is_empty()).then(|| format!("error calls={calls} nth=900000000000"))
    };
    let faults: Vec<String> = Family::ALL
        .iter()
        .filter_map(idle)
        .chain(["error calls=disk path=/nowhere/**".into(), "exhaust what=memory limit=16000000TB".into()])
        .collect();
    passes(&faults.iter().map(String::as_str).collect::<Vec<_>>(), false);
}

#[test]
fn cpython_passes_when_calls_are_interrupted() {
    let calls = names(|call| call.usual().contains(&libc::EINTR) && call.allows(FaultKind::Error));
    passes(&[&format!("error calls={calls} errno=EINTR rate=20%")], true);
}

#[test]
fn cpython_passes_when_transfers_are_short() {
    // No kernel splits a few bytes on an idle stream, and many a case counts them after a single call.
    let calls = names(|call| call.allows(FaultKind::Short));
    passes(&[&format!("short calls={calls} size=256.. keep=50% rate=20%")], true);
}
