//! True to the kernel: random traffic arrives as it does bare, whatever is short, interrupted or not ready.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{Scene, compile};

const STREAMS: &str = "read,write,readv,writev,send,sendto,recv,recvfrom,sendfile,pread,pwrite";
const MESSAGES: &str = "sendmsg,recvmsg";
const WAITS: &str = "poll,select,epoll_wait";

fn faults() -> [Vec<String>; 4] {
    let short = |keep, rate| format!("short calls={STREAMS} keep={keep} rate={rate}");
    let interrupted = |rate| format!("error errno=EINTR calls={STREAMS},{MESSAGES},{WAITS} rate={rate}");
    let not_ready = |rate| format!("error errno=EAGAIN calls={STREAMS},{MESSAGES} rate={rate}");
    [
        vec![short("10%", "60%")],
        vec![interrupted("40%")],
        vec![not_ready("50%")],
        vec![short("50%", "30%"), interrupted("15%"), not_ready("15%")],
    ]
}

/// Runs the guest with some seeds bare and under each set of faults.
fn same_as_bare(seeds: std::ops::Range<u32>, guest: &str, engine: &str) {
    let scene = Scene::new();
    for faults in faults() {
        let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
        let mut hits = 0;
        for seed in seeds.clone() {
            let seed = seed.to_string();
            let bare = scene.bare().go(&[guest, &seed]).ended(0);
            let run = scene.under(&faults).options(&["--seed", &seed, "--engine", engine]);
            let done = run.go(&[guest, &seed, "count"]).ended(0);
            let delivered: Vec<_> =
                done.injections().into_iter().filter(|injection| injection["delivered"] == true).collect();
            // The guest has no other signals, so each EINTR that it met is one of ours, and it met all of them.
            let interrupted = delivered.iter().filter(|injection| injection["errno"] == "EINTR").count();
            assert_eq!(done.out, format!("{}interrupted {interrupted}\n", bare.out), "{faults:?}: {}", done.story());
            hits += delivered.len();
        }
        assert!(hits > 50, "{faults:?} hit {hits} times");
    }
}

#[test]
fn random_traffic_is_the_same_under_the_shim() {
    same_as_bare(1..7, &compile("flow", "flow", &["-lutil"]), "preload");
}

#[test]
fn random_traffic_is_the_same_under_the_supervisor() {
    same_as_bare(7..9, &compile("flow", "flow-static", &["-static", "-lutil"]), "seccomp");
}
