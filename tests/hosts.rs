//! Programs that are built or behave unlike others: the shim neither harms them nor loses a fault in them.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{Scene, compile, guest};

/// Rules on all that is intercepted, which never fire: the slow path of each hook is taken.
const ARMED: &[&str] = &[
    "error calls=disk rate=0%",
    "error calls=network rate=0%",
    "error calls=memory rate=0%",
    "error calls=process rate=0%",
    "error calls=time rate=0%",
    "error calls=stdio rate=0%",
    "error calls=poll,select,epoll_wait,fcntl,epoll_ctl rate=0%",
];

/// The guest says the same bare and under rules that never fire, and under these faults as many calls failed as the log
/// has.
#[track_caller]
fn meets_its_faults_alone(guest: &str, faults: &[&str]) {
    let scene = Scene::new();
    let bare = scene.bare().go(&[guest]).ended(0);
    assert!(bare.out.trim_end().ends_with("failed 0"), "{}", bare.story());
    scene.under(ARMED).go(&[guest]).followed().said(&bare.out);
    let done = scene.under(faults).go(&[guest]).ended(0);
    let injections = done.injections();
    assert!(!injections.is_empty() && injections.iter().all(|hit| hit["delivered"] == true), "{}", done.story());
    let failed = format!("failed {}", injections.len());
    assert!(done.out.trim_end().ends_with(&failed), "the log has {}: {}", injections.len(), done.story());
}

#[test]
fn coroutines_that_change_stacks_between_calls() {
    meets_its_faults_alone(&guest("coroutines"), &["open=EMFILE@5%", "malloc=ENOMEM@5%"]);
    meets_its_faults_alone(&guest("coroutines"), &["pread=EIO@30%"]);
}

#[test]
fn libraries_that_come_and_go_and_a_second_libc() {
    meets_its_faults_alone(&guest("modules"), &["pread=EIO@10%", "malloc=ENOMEM@5%"]);
}

#[test]
fn an_allocator_and_a_read_of_the_programs_own_stay_in_use() {
    let scene = Scene::new();
    for faults in [&[][..], ARMED, &["malloc=ENOMEM", "pread=EIO@10%"]] {
        let done = scene.under(faults).go(&[&guest("own")]).followed().ended(0);
        let hits = done.injections();
        // What the program calls within itself, libc's wrapper of system calls apart, is not to be had from without.
        let failed = hits.len();
        assert_eq!(done.out, format!("allocations own reads 100 failed {failed}\n"), "{}", done.story());
        assert!(hits.iter().all(|hit| hit["call"] == "pread"), "{}", done.story());
    }
}

#[test]
fn five_thousand_threads_on_the_smallest_stacks() {
    meets_its_faults_alone(&guest("multitude"), &["pread=EIO@10%"]);
}

#[test]
fn functions_that_the_loader_has_chosen_and_binding_before_main() {
    let faults = ["pread=EIO@10%"];
    meets_its_faults_alone(&compile("resolved", "resolved-now", &["-Wl,-z,now,-z,relro"]), &faults);
    meets_its_faults_alone(&compile("resolved", "resolved-lazy", &["-Wl,-z,lazy", "-no-pie"]), &faults);
    meets_its_faults_alone(&compile("resolved", "resolved-static-pie", &["-static-pie"]), &faults);
}

#[test]
fn every_call_that_can_be_cancelled_still_can() {
    let scene = Scene::new();
    let fresh = || _ = std::fs::remove_file(scene.path("fifo"));
    let bare = scene.bare().go(&[&guest("cancelall")]).ended(0);
    assert_eq!(bare.out.matches(" cancelled, cleaned 1\n").count(), 47, "{}", bare.story());
    // Blocked by us, too; below fprintf and fscanf lies a frame that cannot be unwound.
    const HANG: &str = "hang calls=readv,writev,recvfrom,recvmsg,recvmmsg,sendto,sendmsg,sendmmsg,accept,select,epoll_wait,wait,splice,fread,fgets,getc,getline,fwrite,fputs,putc";
    const LATE: &str = "latency calls=disk,network,time,stdio,poll,select,epoll_wait,wait,system delay=1ms";
    for (faults, at_least) in [(ARMED, 0), (&[LATE][..], 47), (&[HANG], 20), (&["pread=EIO fd=0..99"], 10)] {
        fresh();
        let done = scene.under(faults).go(&[&guest("cancelall"), "count"]).ended(0);
        let failed = if faults.iter().any(|fault| fault.starts_with("pread")) { 10 } else { 0 };
        assert_eq!(done.out, format!("{}failed {failed}\n", bare.out), "{}", done.story());
        assert!(done.injections().len() >= at_least, "{}", done.story());
    }
}
