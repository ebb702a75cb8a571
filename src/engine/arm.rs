//! When faults begin in a process: past its loader, and for known runtimes past their boot.

use super::decode::{Call, Target};
use super::kernel::{self, Asked};
use super::peers::Address;
use super::places;
use super::rules::Rules;
use super::shared::Shared;
use super::there::There;
use super::tree::{Armed, Process};
use chaos_table::decide::{Peer, last_component};
use chaos_table::matching::Matching;
use chaos_table::record::{Record, kind};
use chaos_table::rule::{arm, bytes_of};
use chaos_table::runtimes;
use std::fs;
use std::sync::Arc;

const OPENS: [i64; 4] = [libc::SYS_open, libc::SYS_openat, libc::SYS_openat2, libc::SYS_creat];

/// Whether faults happen to a process that makes this call; learns it from the call.
pub fn is_armed(process: &mut Process, asked: &Asked, pid: u32, rules: &Rules) -> bool {
    if matches!(process.armed, Armed::Unknown | Armed::Loading) {
        process.armed = if is_in_loader(pid, asked.ip) {
            Armed::Loading
        } else if rules.plan.header.arm == arm::MAIN && boots(process) && rules.are_on(chaos_table::calls::Op::Open) {
            Armed::Booting
        } else {
            Armed::Yes
        };
    }
    if process.armed == Armed::Booting && is_sign(process, asked, pid, rules) {
        process.armed = Armed::Yes;
    }
    process.armed == Armed::Yes
}

/// Rules about memory that a call must not be put to, since the code before main asks: libc gives up without memory there,
/// and Go's runtime too. That ends with the first call that is about anything else, or with the protection of what was
/// relocated, which comes last.
pub fn spared_memory(process: &mut Process, asked: &Asked, rules: &Rules) -> u64 {
    const MEMORY: [i64; 5] = [libc::SYS_mmap, libc::SYS_brk, libc::SYS_mremap, libc::SYS_munmap, libc::SYS_madvise];
    if process.is_past_start || rules.plan.header.arm == arm::EXEC {
        return 0;
    }
    process.is_past_start = !MEMORY.contains(&asked.nr);
    rules.plan.header.memory
}

/// Whether a process is a runtime that boots before its program begins.
fn boots(process: &Process) -> bool {
    [&process.program[..], last_component(&process.executable)]
        .into_iter()
        .any(|name| runtimes::of_program(name).is_some())
}

/// Whether a call comes from the dynamic loader, which no shim sees either. musl's loader is its libc.
fn is_in_loader(pid: u32, ip: u64) -> bool {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let line = maps.lines().find(|line| {
        let mut ends = line.split(['-', ' ']).take(2).map(|end| u64::from_str_radix(end, 16).unwrap_or(0));
        matches!((ends.next(), ends.next()), (Some(first), Some(end)) if (first..end).contains(&ip))
    });
    let name = line.and_then(|line| line.rsplit('/').next()).unwrap_or_default();
    (name.starts_with("ld-") || name == "ld.so") && !name.starts_with("ld-musl")
}

/// Whether a call shows that the program behind a runtime is at work.
fn is_sign(process: &Process, asked: &Asked, pid: u32, rules: &Rules) -> bool {
    if matches!(asked.nr, libc::SYS_connect | libc::SYS_listen) {
        return true;
    }
    let Target::Path(name) = Call::of(asked, false).target else { return false };
    if !OPENS.contains(&asked.nr) {
        return false;
    }
    let Some(path) = places::path(process.dir(pid), pid, asked.tid, name) else { return false };
    let header = &rules.plan.header;
    let matching = Matching {
        rules: &rules.plan.rules,
        patterns: rules.patterns(),
        protect: header.protect,
        work_dir: header.work_dir,
        executable: &process.executable,
    };
    // Runtimes look where they are: that is no sign.
    !matching.is_protected(&path) && path != bytes_of(&rules.plan.text, header.work_dir)
}

/// Arms the tree when a call is the sign that it waits for: the opening of a path, or the listening on a port.
pub fn look_for_sign(asked: &Asked, pid: u32, process: &Process, shared: &Shared, rules: &Rules) {
    let header = &rules.plan.header;
    let what = match header.arm {
        arm::PATH if OPENS.contains(&asked.nr) => {
            let Target::Path(name) = Call::of(asked, false).target else { return };
            let Some(path) = places::path(process.dir(pid), pid, asked.tid, name) else { return };
            let there = [format!("/proc/{pid}/root").into_bytes(), path.clone()].concat();
            let is_there = fs::metadata(std::ffi::OsString::from(String::from_utf8_lossy(&there).into_owned())).is_ok();
            let matches = rules.patterns().path(header.arm_paths, &path);
            // One that is about to be made counts as well.
            let makes = Call::of(asked, false).flags & libc::O_CREAT != 0;
            (matches && (is_there || makes)).then(|| [b"armed: opened ".as_slice(), &path].concat())
        }
        arm::LISTEN if asked.nr == libc::SYS_listen => {
            let pidfd = Arc::clone(&process.pidfd);
            let socket = There::new(pid, &pidfd).borrow(asked.args[0] as i32);
            let address =
                Address::new(socket.and_then(|socket| kernel::socket_address(&socket, true)).unwrap_or_default());
            match address.peer() {
                Peer::V4(_, port) | Peer::V6(_, port)
                    if (header.arm_port_first..=header.arm_port_last).contains(&port.into()) =>
                {
                    Some(format!("armed: listening on port {port}").into_bytes())
                }
                _ => None,
            }
        }
        _ => None,
    };
    if let Some(text) = what {
        let mark = Record { kind: kind::MARK, pid, tid: asked.tid, process: process.image, ..Record::default() };
        shared.publish(mark, &text);
        shared.arm(rules.planned());
    }
}
