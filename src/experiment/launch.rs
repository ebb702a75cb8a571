//! Starts one process of a run: its words, its place, its outputs, and an environment under which the shim finds the
//! session.

use super::cgroup::MEMBERS;
use super::crew::Ground;
use super::file::{Scalar, Target};
use super::stage::Stage;
use crate::choice::needs_supervisor;
use crate::command::{Command, exec_failed};
use crate::error::{Context, Failure, Result};
use crate::preload;
use crate::sys::{self, Setting};
use chaos_table::decide::{combine, mix};
use chaos_table::env::{LINEAGE, METRICS};
use nix::sys::signal::SigSet;
use std::ffi::{CString, OsString};
use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A process that is to be started.
pub struct Launch<'a> {
    /// The run.
    pub stage: &'a Stage,
    /// Where the session is.
    pub ground: &'a Ground,
    /// The signal mask that the launcher was started with.
    pub mask: &'a SigSet,
    /// What it is.
    pub target: &'a Target,
    /// Its own name.
    pub name: &'a str,
    /// Which instance of the target it is.
    pub instance: u32,
    /// Which process of the run it is, and how often it has been started: its place in the tree.
    pub place: (usize, u32),
}

impl Launch<'_> {
    /// Starts it; its pid.
    ///
    /// # Errors
    /// When there is no such program, or its place or files are not there.
    pub fn go(&self) -> Result<i32> {
        let Launch { stage, ground, target, name, .. } = self;
        let mut arguments: Vec<OsString> = target.command.all.iter().map(|word| self.words(word).into()).collect();
        if target.command.bare {
            arguments.splice(0..0, ["/bin/sh", "-c"].map(OsString::from));
        }
        let cwd = target.cwd.as_deref().map(|cwd| ground.work_dir.join(self.words(cwd)));
        let cwd = cwd.unwrap_or_else(|| ground.work_dir.clone());
        if !cwd.is_dir() {
            return Err(Failure::new(format!("its cwd {} is no directory", cwd.display())));
        }
        let mut command = find(arguments.clone(), &ground.work_dir, &cwd)?;
        if needs_supervisor(&command.program) {
            // A shell is under the shim, which hands such a program over.
            arguments.splice(0..0, ["/bin/sh", "-c", "exec \"$0\" \"$@\""].map(OsString::from));
            command = find(arguments, &ground.work_dir, &cwd)?;
        }
        let environment = self.environment(&command);
        let output = |stream: &str| {
            let path = stage.outputs.join(format!("{name}.{stream}"));
            let file = OpenOptions::new().create(true).append(true).open(&path);
            file.cannot(format_args!("write {}", path.display()))
        };
        let stdin = target.stdin.as_deref().map(|path| ground.work_dir.join(self.words(path)));
        let stdin = stdin.unwrap_or_else(|| PathBuf::from("/dev/null"));
        let stdin = File::open(&stdin).cannot(format_args!("read {}", stdin.display()))?;
        let (stdin, out, err) = (stdin.into(), output("stdout")?.into(), output("stderr")?.into());
        let cwd = CString::new(cwd.as_os_str().as_encoded_bytes()).cannot("use its cwd")?;
        let group = stage.group.as_ref().map(|group| OpenOptions::new().write(true).open(group.join(MEMBERS)));
        let group = group.transpose().cannot("put it into the cgroup of its run")?.map(OwnedFd::from);
        let (outputs, cwd) = ([Some(&out), Some(&err)], Some(cwd.as_c_str()));
        let setting = Setting { stdin: Some(&stdin), outputs, cwd, group: group.as_ref() };
        let (program, argv) = command.c_strings()?;
        let started = sys::spawn(&program, &argv, &environment, self.mask, &setting, None, None);
        started.map_err(|error| exec_failed(&command.path, &error))
    }

    /// A text with what is filled in last.
    fn words(&self, text: &str) -> String {
        let text = text.replace("${instance}", &self.instance.to_string()).replace("${target}", &self.target.name);
        // Its own path, for a target that is chaos-exec itself.
        let own = std::env::current_exe().unwrap_or_default();
        text.replace("${chaos}", &own.to_string_lossy())
    }

    fn environment(&self, command: &Command) -> Vec<CString> {
        let is = |entry: &CString, name: &str| {
            entry.as_bytes().strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
        };
        let own = [
            ("TMPDIR".to_owned(), Some(Scalar(self.stage.tmp.display().to_string()))),
            (METRICS.to_owned(), Some(Scalar(self.stage.metrics().display().to_string()))),
        ];
        let mut all = sys::environment();
        for (name, value) in own.iter().map(|(name, value)| (name, value)).chain(&self.target.env) {
            all.retain(|entry| !is(entry, name));
            if let Some(Scalar(value)) = value {
                all.extend(CString::new(format!("{name}={}", self.words(value))));
            }
        }
        let Ground { shim, session, seed, .. } = self.ground;
        let mut all = preload::target_environment(&all, shim, session, command.program.first_library().as_ref(), None);
        let (which, starts) = self.place;
        if which > 0 || starts > 0 {
            // Else each would draw what the first one draws, and a new start what the last one drew.
            let hash = combine(mix(*seed), combine(which as u64, u64::from(starts)));
            all.extend(CString::new(format!("{LINEAGE}={which},{hash:016x},0,-,-")));
        }
        all
    }
}

/// The program, found from where the run is or from where the target is, with a path that holds in both.
fn find(arguments: Vec<OsString>, work_dir: &Path, cwd: &Path) -> Result<Command> {
    let mut command = Command::find(&arguments).or_else(|failure| {
        let Some(program) = arguments.first().filter(|name| name.to_string_lossy().contains('/')) else {
            return Err(failure);
        };
        let mut there = arguments.clone();
        there[0] = cwd.join(program).into();
        Command::find(&there)
    })?;
    if !command.path.is_absolute() && command.path.components().count() > 1 {
        command.path = work_dir.join(&command.path);
    }
    command.arguments = arguments;
    Ok(command)
}
