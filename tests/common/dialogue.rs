//! A Python program that answers questions while it runs, and the orders that are given to its run meanwhile.

use super::{CHAOS, Done, Run, Running, Scene, python};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// A target that evaluates what it is asked.
pub struct Dialogue<'a> {
    scene: &'a Scene,
    /// `None` once it has been waited for.
    running: Option<Running>,
    id: u32,
    step: u32,
}

const LISTEN: &str = "
import os as _os, time as _time
_step = 0
while True:
    _name = f'ask.{_id}.{_step}'
    while not _os.path.exists(_name):
        _time.sleep(0.003)
    with open(_name) as _file:
        _question = _file.read()
    if _question == 'end':
        break
    _answer = str(eval(_question))
    with open(f'part.{_id}', 'w') as _file:
        _file.write(_answer)
    _os.rename(f'part.{_id}', f'answer.{_id}.{_step}')
    _step += 1
_os._exit(0)
";

/// Definitions for a target: functions that say `ok` or the errno.
pub const READS: &str = "
import threading, subprocess, socket, time
fd = os.open('data.bin', os.O_RDONLY)
other = os.open('other.bin', os.O_RDONLY)
def attempt(call):
    try:
        call()
        return 'ok'
    except OSError as error:
        return error.errno
def read():
    return attempt(lambda: os.pread(fd, 1, 0))
def read_other():
    return attempt(lambda: os.pread(other, 1, 0))
def in_thread(call):
    found = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]
";

/// A scene with the files that [`READS`] opens.
pub fn scene() -> Scene {
    let scene = Scene::new();
    scene.write("other.bin", "other");
    scene
}

impl<'a> Dialogue<'a> {
    /// Starts a target under these faults, with these definitions; its session is `session-N` of the scene.
    pub fn start(scene: &'a Scene, faults: &[&str], definitions: &str) -> Dialogue<'a> {
        Dialogue::begin(scene, scene.under(faults), definitions)
    }

    /// As a part of this run.
    pub fn begin(scene: &'a Scene, run: Run<'_>, definitions: &str) -> Dialogue<'a> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let id = NUMBER.fetch_add(1, Ordering::Relaxed);
        let script = format!("_id = {id}\nimport os\n{definitions}\n{LISTEN}");
        let mut target = Dialogue { scene, running: Some(run.start(&[&python(), "-c", &script])), id, step: 0 };
        assert_eq!(target.ask("1"), "1");
        target
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    fn running_mut(&mut self) -> &mut Running {
        self.running.as_mut().unwrap()
    }

    /// Its session directory.
    pub fn session(&self) -> String {
        self.running().session.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    }

    /// What an expression is worth to the target.
    #[track_caller]
    pub fn ask(&mut self, question: &str) -> String {
        self.ask_without_waiting(question);
        self.answer()
    }

    /// Asks, and looks for the answer later.
    pub fn ask_without_waiting(&mut self, question: &str) {
        let part = self.scene.write(format!("ask-part.{}", self.id), question);
        std::fs::rename(part, self.scene.path(format!("ask.{}.{}", self.id, self.step))).unwrap();
    }

    /// The answer to what was asked.
    #[track_caller]
    pub fn answer(&mut self) -> String {
        let name = format!("answer.{}.{}", self.id, self.step);
        let place = self.scene.path(&name);
        self.running_mut().wait_until("an answer", || place.exists());
        self.step += 1;
        String::from_utf8(self.scene.read(&name)).unwrap()
    }

    /// Waits until the condition holds.
    pub fn wait_until(&mut self, what: &str, condition: impl Fn() -> bool) {
        self.running_mut().wait_until(what, condition);
    }

    /// Kills the launcher alone.
    pub fn kill_launcher(&self) {
        self.running().signal("KILL");
    }

    /// Lets the target end, whose launcher is gone.
    pub fn forget(mut self) {
        self.ask_without_waiting("end");
        let _ = self.running.take().map(Running::end);
    }

    /// Lets the target end, and gives what the run left.
    #[track_caller]
    pub fn end(mut self) -> Done {
        self.ask_without_waiting("end");
        self.running.take().unwrap().end().ended(0)
    }
}

impl Drop for Dialogue<'_> {
    /// A test that failed leaves nothing running.
    fn drop(&mut self) {
        if let Some(running) = &mut self.running {
            running.kill_all();
        }
    }
}

/// Gives an order to a run of the scene.
pub fn ctl(scene: &Scene, args: &[&str]) -> Output {
    let mut command = Command::new(CHAOS);
    command.arg("ctl");
    // The session is named where several could be meant: the only run of most tests is the scene's first.
    let first = scene.path("session-0");
    let word = args.first().copied().unwrap_or_default();
    if ORDERS.contains(&word) && first.exists() {
        command.arg(first);
    }
    command.args(args).current_dir(scene.path("")).env("XDG_STATE_HOME", scene.path("state"));
    command.output().unwrap()
}

const ORDERS: [&str; 11] = ["status", "arm", "enable", "disable", "add", "rm", "set", "mark", "inject", "ad", ""];

/// An order that is obeyed; what it says.
#[track_caller]
pub fn order(scene: &Scene, args: &[&str]) -> String {
    let done = ctl(scene, args);
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// An order that is refused with one error; its text.
#[track_caller]
pub fn refused(scene: &Scene, args: &[&str], message: &str) -> String {
    let done = ctl(scene, args);
    let errors = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(125), "{args:?}: {errors}");
    assert!(errors.starts_with("chaos-exec: error: ") && errors.contains(message), "{args:?}: {errors}");
    assert_eq!(errors.matches("error: ").count(), 1, "{args:?}: {errors}");
    assert!(done.stdout.is_empty(), "{args:?}");
    errors
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    Path::new("/proc/self").metadata().is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
}
