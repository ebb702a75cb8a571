//! What this kernel and this place allow: whether each engine works here, and what to do where it does not.

use crate::preload;
use crate::session::Session;
use crate::trial::{self, Extras, Refused, Step};
use serde::Serialize;
use std::fs;
use std::path::Path;

/// What stands in the way, and how to put it right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

/// What works here.
#[derive(Debug)]
pub struct Ability {
    /// The kernel's release.
    pub kernel: String,
    /// Where we are.
    pub place: Place,
    /// The shim: a place for it and the session.
    pub preload: Result<(), Problem>,
    /// The supervisor.
    pub seccomp: Result<Extras, Problem>,
}

/// What the kernel says about this process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Place {
    /// `Seccomp` of /proc/self/status: 0 none, 1 strict, 2 filters.
    pub seccomp: Option<u32>,
    /// How many filters there are.
    pub filters: Option<u32>,
    /// Whether rights can no longer be gained: setuid programs run without theirs.
    pub no_new_privs: Option<bool>,
    /// Yama's limit on who may look into another process; none where Yama is absent.
    pub ptrace_scope: Option<u32>,
    /// What sort of container this looks like; good for advice alone, as images of machines are made of containers.
    #[serde(skip)]
    pub container: Option<&'static str>,
}

/// Whether a supervisor can be put over a program here.
///
/// # Errors
/// Why not, and what to do about it.
pub fn seccomp() -> Result<(), Problem> {
    trial::supervisor().map(drop).map_err(|refused| explain(refused, &Place::here()))
}

impl Ability {
    /// Tries what can be tried.
    #[must_use]
    pub fn here() -> Ability {
        let place = Place::here();
        Ability {
            kernel: nix::sys::utsname::uname()
                .map(|name| name.release().to_string_lossy().into_owned())
                .unwrap_or_default(),
            preload: preload(),
            seccomp: trial::supervisor().map_err(|refused| explain(refused, &place)),
            place,
        }
    }
}

impl Place {
    fn here() -> Place {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|value| value.trim().parse::<u32>().ok())
        };
        let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok();
        Place {
            seccomp: number("Seccomp"),
            filters: number("Seccomp_filters"),
            no_new_privs: number("NoNewPrivs").map(|value| value != 0),
            ptrace_scope: scope.and_then(|text| text.trim().parse().ok()),
            container: container(),
        }
    }

    /// Whether somebody outside has put a filter over us.
    fn is_filtered(&self) -> bool {
        self.seccomp.is_some_and(|mode| mode != 0)
    }

    /// How to lift a filter of seccomp in this sort of container.
    fn unconfined(&self) -> String {
        match self.container {
            Some("docker" | "podman") => "start the container with --security-opt seccomp=unconfined".into(),
            Some("kubernetes") => {
                "give the pod securityContext: {seccompProfile: {type: Unconfined}}, or a profile that allows it".into()
            }
            _ => "run chaos-exec outside of that sandbox, or allow it there: docker and podman take \
                  --security-opt seccomp=unconfined, systemd an entry in SystemCallFilter="
                .into(),
        }
    }
}

fn container() -> Option<&'static str> {
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return Some("kubernetes");
    }
    [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")]
        .into_iter()
        .find(|(mark, _)| Path::new(mark).exists())
        .map(|(_, name)| name)
}

/// Whether there is a place for shim and session, and nobody's shim already.
fn preload() -> Result<(), Problem> {
    let place = || Session::create(None, preload::SHIM, None).map(drop);
    preload::refuse_to_nest().and_then(|()| place()).map_err(|failure| Problem {
        what: failure.message,
        fix: failure.help.unwrap_or_else(|| "give `run` another place with --out DIR".into()),
    })
}

/// What a refusal means here.
fn explain(refused: Refused, place: &Place) -> Problem {
    let Refused { step, code } = refused;
    let errno = chaos_table::errno::errno_name(code).map_or_else(|| format!("error {code}"), str::to_owned);
    let problem = |what: String, fix: String| Problem { what, fix };
    let filtered = place.is_filtered();
    match (step, code) {
        (Step::Child, _) => problem(
            format!("cannot start a child to try it: {errno}"),
            "free a process and some descriptors: see `ulimit -u` and `ulimit -n`".into(),
        ),
        (Step::Install, libc::EBUSY) => problem(
            "another supervisor listens to this process already (EBUSY), and the kernel allows one".into(),
            "run chaos-exec outside of it: of LXD, sysbox, an outer chaos-exec, or whatever else handles its system calls"
                .into(),
        ),
        (Step::Killed, signal) => {
            let by = chaos_table::errno::signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned);
            problem(format!("the filter of this sandbox kills who asks for it ({by})"), place.unconfined())
        }
        (Step::GiveUpRights | Step::Install, _) if filtered => {
            let call = if step == Step::Install { "seccomp(2)" } else { "prctl(PR_SET_NO_NEW_PRIVS)" };
            problem(format!("the filter of this sandbox refuses {call} ({errno})"), place.unconfined())
        }
        (Step::Install, libc::ENOSYS | libc::EINVAL) => problem(
            format!("this kernel has no seccomp user notification ({errno})"),
            "use Linux 5.6 or later with CONFIG_SECCOMP_FILTER; gVisor and WSL 1 have none".into(),
        ),
        (Step::GiveUpRights | Step::Install, _) => problem(
            format!("the kernel refuses a filter ({errno})"),
            "see whether a security module forbids seccomp here".into(),
        ),
        (Step::TakeListener, libc::ENOSYS) if !filtered => {
            problem("this kernel has no pidfd_getfd".into(), "use Linux 5.6 or later".into())
        }
        (Step::TakeListener | Step::ReadMemory, _) if place.ptrace_scope.is_some_and(|scope| scope >= 2) => problem(
            format!("Yama lets no process look into its own child ({errno})"),
            "set kernel.yama.ptrace_scope to 1 (sysctl), or start chaos-exec with CAP_SYS_PTRACE".into(),
        ),
        (Step::TakeListener | Step::ReadMemory, _) => {
            let call = if step == Step::TakeListener { "pidfd_getfd" } else { "process_vm_readv" };
            let fix = match place.container {
                Some("docker" | "podman") => "start the container with --cap-add SYS_PTRACE".into(),
                Some("kubernetes") => "give the pod capabilities: {add: [SYS_PTRACE]}".into(),
                _ => format!("allow {call} (with CAP_SYS_PTRACE, docker and podman do)"),
            };
            problem(format!("{call} is refused ({errno})"), fix)
        }
        (Step::Notify, _) => problem(
            "the kernel takes the filter, but tells its listener nothing".into(),
            "use a Linux kernel of 5.6 or later, not an emulation of one".into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_reason_and_a_fix() {
        let bare = Place::default();
        let sandbox = Place { seccomp: Some(2), ..Place::default() };
        let docker = Place { container: Some("docker"), ..sandbox.clone() };
        let yama = Place { ptrace_scope: Some(2), ..Place::default() };
        for (step, code, place, what, fix) in [
            (Step::Child, libc::EAGAIN, &bare, "EAGAIN", "ulimit -u"),
            (Step::GiveUpRights, libc::EPERM, &docker, "prctl(PR_SET_NO_NEW_PRIVS) (EPERM)", "seccomp=unconfined"),
            (Step::Install, libc::EBUSY, &bare, "another supervisor", "outside of it"),
            (Step::Install, libc::EBUSY, &docker, "another supervisor", "outside of it"),
            (Step::Install, libc::ENOSYS, &bare, "no seccomp user notification", "5.6"),
            (Step::Install, libc::EPERM, &sandbox, "refuses seccomp(2) (EPERM)", "SystemCallFilter="),
            (Step::Install, libc::EACCES, &bare, "EACCES", "security module"),
            (Step::Killed, libc::SIGSYS, &docker, "SIGSYS", "seccomp=unconfined"),
            (Step::TakeListener, libc::ENOSYS, &bare, "pidfd_getfd", "5.6"),
            (Step::TakeListener, libc::EPERM, &yama, "Yama", "ptrace_scope"),
            (Step::TakeListener, libc::EPERM, &docker, "pidfd_getfd is refused (EPERM)", "--cap-add SYS_PTRACE"),
            (Step::ReadMemory, libc::EPERM, &bare, "process_vm_readv is refused (EPERM)", "CAP_SYS_PTRACE"),
            (Step::Notify, 0, &bare, "tells its listener nothing", "5.6"),
        ] {
            let problem = explain(Refused { step, code }, place);
            assert!(problem.what.contains(what) && problem.fix.contains(fix), "{step:?} {code}: {problem:?}");
        }
    }
}
