//! What every topic needs: a scene (a directory of its own with data in it), guests, runs with an outer time limit, and
//! the log as JSON.

pub mod complaints;
pub mod dialogue;
pub mod handmade;
pub mod server;

use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The launcher under test: cargo's, unless `make dist` asks for the one that it has packed.
pub const CHAOS: &str = match option_env!("CHAOS_EXEC_PACKED") {
    Some(packed) => packed,
    None => env!("CARGO_BIN_EXE_chaos-exec"),
};
const BUILT: &str = env!("CARGO_TARGET_TMPDIR");
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests");
const LIMIT: Duration = Duration::from_secs(60);

/// The path of a program that a test needs. Debian's own comes first: another one may be a version manager's script.
pub fn program(name: &str, package: &str) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    std::iter::once("/usr/bin")
        .chain(path.split(':'))
        .chain(["/usr/sbin", "/sbin", "/bin"])
        .map(|dir| Path::new(dir).join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("this test runs {name}: install the Debian package {package}, or call `make setup`"))
        .display()
        .to_string()
}

/// Debian's Python.
pub fn python() -> String {
    program("python3", "python3")
}

/// The path of the built C guest.
pub fn guest(name: &str) -> String {
    compile(name, name, &[])
}

/// Builds a guest as `output`, with further flags of the compiler.
pub fn compile(name: &str, output: &str, flags: &[&str]) -> String {
    compile_by("cc", name, output, flags)
}

/// As [`compile`], by another compiler.
pub fn compile_by(compiler: &str, name: &str, output: &str, flags: &[&str]) -> String {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _held = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let source = Path::new(SOURCES).join(format!("{name}.c"));
    let built = Path::new(BUILT).join(output);
    let age = |path: &Path| fs::metadata(path).and_then(|data| data.modified());
    // The flags of the compiler stand in this file.
    let this_file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/mod.rs"));
    let headers = fs::read_dir(SOURCES).unwrap().map(|entry| entry.unwrap().path());
    let headers = headers.filter(|path| path.extension() == Some(OsStr::new("h")));
    let parts = headers.chain([source.clone(), this_file.to_owned()]);
    let newest = parts.filter_map(|path| age(&path).ok()).max().unwrap();
    if age(&built).is_ok_and(|built| built > newest) {
        return built.display().to_string();
    }
    let fresh = Path::new(BUILT).join(format!("{output}.{}", std::process::id()));
    let made = Command::new(compiler)
        // Without -fno-builtin the compiler turns realloc(NULL, n) into malloc(n).
        .args(["-O1", "-g", "-w", "-pthread", "-fno-builtin", "-o"])
        .args([&fresh, &source])
        .args(flags)
        .output()
        .unwrap_or_else(|error| panic!("{compiler}: {error}: the tests build C guests with it: call `make setup`"));
    assert!(made.status.success(), "{compiler} {}: {}", source.display(), String::from_utf8_lossy(&made.stderr));
    fs::rename(&fresh, &built).unwrap();
    built.display().to_string()
}

/// As [`guest`], for musl and without a loader, to lie anywhere in memory. musl-gcc does not know how.
pub fn musl_static_pie(name: &str) -> String {
    const MUSL: &str = "/usr/lib/x86_64-linux-musl";
    let part = |file: &str| format!("{MUSL}/{file}");
    let (start, first, libc, last) = (part("rcrt1.o"), part("crti.o"), part("libc.a"), part("crtn.o"));
    let headers = ["-nostdinc", "-isystem", "/usr/include/x86_64-linux-musl", "-fPIE", "-nostdlib", "-static-pie"];
    let parts = [start.as_str(), &first, &libc, "-lgcc", &last];
    compile(name, &format!("{name}-musl-static-pie"), &[&headers[..], &parts].concat())
}

/// Builds a Go program in the scene, with or without cgo.
pub fn go(scene: &Scene, name: &str, source: &str, cgo: &str, flags: &[&str]) -> String {
    let source = scene.write(format!("{name}.go"), source);
    let built = scene.text(name);
    let made = Command::new(program("go", "golang-go"))
        .arg("build")
        .args(flags)
        .args(["-o", &built, &source])
        .env("CGO_ENABLED", cgo)
        .env("GOFLAGS", "")
        .env("GO111MODULE", "off")
        .env("GOCACHE", Path::new(BUILT).join("go-cache"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    built
}

/// The shim, as `chaos-exec shim -o` writes it.
pub fn shim() -> String {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| {
        let fresh = Path::new(BUILT).join(format!("shim.{}", std::process::id()));
        let path = Path::new(BUILT).join("libchaos_shim.so");
        let made = Command::new(CHAOS).args(["shim", "-o"]).arg(&fresh).output().unwrap();
        assert!(made.status.success(), "chaos-exec shim: {}", String::from_utf8_lossy(&made.stderr));
        fs::rename(&fresh, &path).unwrap();
        path.display().to_string()
    })
    .clone()
}

/// A directory of its own: the working directory of what runs in it, and home of its sessions.
pub struct Scene {
    dir: TempDir,
    runs: AtomicU32,
}

impl Scene {
    /// A scene with `data.bin`, 4096 bytes of which none is zero.
    pub fn new() -> Scene {
        let scene = Scene::within(&std::env::temp_dir());
        scene.write("data.bin", (0..4096u32).map(|n| (n % 251 + 1) as u8).collect::<Vec<_>>());
        scene
    }

    /// An empty scene in shared memory, which is no disk.
    pub fn in_memory() -> Scene {
        Scene::within(Path::new("/dev/shm"))
    }

    fn within(parent: &Path) -> Scene {
        // What the machine has set must not decide a test; it is the same for all threads.
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        let dir = tempfile::Builder::new().prefix("chaos-test-").tempdir_in(parent).unwrap();
        Scene { dir, runs: AtomicU32::new(0) }
    }

    /// A path in the scene.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as text.
    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes a file of the scene and gives its path.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// Reads a file of the scene.
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Copies a built guest into the scene, for users and roots that cannot reach the build directory.
    pub fn adopt(&self, guest_path: &str, name: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        fs::copy(guest_path, &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    }

    /// Lets every user in.
    pub fn open_to_all(&self) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(self.dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    }

    /// A run under the launcher with these faults, seed 42, and a session directory of its own.
    pub fn under(&self, faults: &[&str]) -> Run<'_> {
        let mut run = self.run(None);
        let session = self.path(format!("session-{}", run.number));
        run.prefix = vec![CHAOS.into(), "run".into(), "--seed".into(), "42".into(), "--out".into(), (&session).into()];
        for fault in faults {
            run.prefix.extend(["--fault".into(), fault.into()]);
        }
        run.session = Some(session);
        run
    }

    /// A run without us.
    pub fn bare(&self) -> Run<'_> {
        self.run(None)
    }

    /// A run of the launcher's other commands.
    pub fn chaos(&self) -> Run<'_> {
        self.run(Some(CHAOS))
    }

    fn run(&self, first: Option<&str>) -> Run<'_> {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        Run {
            scene: self,
            number,
            prefix: first.into_iter().map(Into::into).collect(),
            session: None,
            env: BTreeMap::new(),
            stdin: None,
        }
    }
}

/// A run that is being put together.
pub struct Run<'a> {
    scene: &'a Scene,
    number: u32,
    prefix: Vec<OsString>,
    session: Option<PathBuf>,
    env: BTreeMap<OsString, OsString>,
    stdin: Option<PathBuf>,
}

impl Run<'_> {
    /// Adds options of the launcher; a repeated `--seed` or `--out` replaces ours.
    pub fn options(mut self, options: &[&str]) -> Self {
        for pair in options.chunks(2) {
            if let Some(at) = self.prefix.iter().position(|word| word == pair[0] && pair[0] != "--fault") {
                self.prefix.drain(at..at + 2);
            }
            if pair[0] == "--out" {
                self.session = Some(pair[1].into());
            }
        }
        self.prefix.extend(options.iter().map(Into::into));
        self
    }

    /// Adds words of the command line as they are.
    pub fn words(mut self, words: &[&str]) -> Self {
        self.prefix.extend(words.iter().map(Into::into));
        self
    }

    /// Starts all of it as root: directly, or by sudo, which `make setup` has used already.
    pub fn by_root(mut self) -> Self {
        let id = Command::new("id").arg("-u").output().unwrap();
        if id.stdout != b"0\n" {
            let state = format!("XDG_STATE_HOME={}", self.scene.text("state"));
            let mut prefix: Vec<OsString> = ["sudo", "-n", "env", &state].map(Into::into).to_vec();
            prefix.append(&mut self.prefix);
            self.prefix = prefix;
        }
        self
    }

    /// Sets a variable of the launcher and so of the target.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.as_ref().into(), value.as_ref().into());
        self
    }

    /// What the target reads on stdin; otherwise it is at its end.
    pub fn stdin(mut self, content: &str) -> Self {
        self.stdin = Some(self.scene.write(format!("stdin-{}", self.number), content).into());
        self
    }

    /// Starts the command and leaves it running.
    pub fn start(self, command: &[&str]) -> Running {
        let mut words = self.prefix;
        if self.session.is_some() {
            words.push("--".into());
        }
        words.extend(command.iter().map(Into::into));
        let mut process = Command::new(&words[0]);
        process.args(&words[1..]).current_dir(self.scene.dir.path()).process_group(0);
        // What the machine has set must not decide a test.
        process.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        process.env("XDG_STATE_HOME", self.scene.path("state")).env("HOME", self.scene.dir.path()).env("LC_ALL", "C");
        process.envs(&self.env);
        let out = self.scene.path(format!("stdout-{}", self.number));
        let err = self.scene.path(format!("stderr-{}", self.number));
        process.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
        process.stdin(self.stdin.map_or_else(Stdio::null, |path| fs::File::open(path).unwrap().into()));
        let child = process.spawn().unwrap_or_else(|error| panic!("{words:?}: {error}"));
        Running { child, words, out, err, session: self.session, started: Instant::now() }
    }

    /// Runs the command to its end.
    pub fn go(self, command: &[&str]) -> Done {
        self.start(command).end()
    }
}

/// A run on its way.
pub struct Running {
    /// The launcher, or the bare program.
    pub child: Child,
    words: Vec<OsString>,
    /// Where its stdout goes.
    pub out: PathBuf,
    err: PathBuf,
    session: Option<PathBuf>,
    started: Instant,
}

impl Running {
    /// Waits until the condition holds.
    pub fn wait_until(&mut self, what: &str, condition: impl Fn() -> bool) {
        while !condition() {
            if self.started.elapsed() > LIMIT {
                self.kill_all();
                panic!("{:?}: waited in vain until {what}; stderr: {}", self.words, lossy(&self.err));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the log has an injection, which may still be going on.
    pub fn wait_until_hit(&mut self) {
        let session = self.session.clone().expect("a run under the launcher");
        let hit = move || log_text(&session).is_ok_and(|text| text.contains("\"type\":\"injection\""));
        self.wait_until("a fault has hit", hit);
    }

    /// Sends a signal to the launcher alone.
    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap().success());
    }

    fn kill_all(&mut self) {
        // The group is ours alone: `process_group(0)` made it.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-s", "KILL", "--", &group]).status();
        let _ = self.child.wait();
    }

    /// Waits for its end, at most a minute.
    pub fn end(mut self) -> Done {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if self.started.elapsed() > LIMIT {
                self.kill_all();
                panic!(
                    "{:?}: still running after {LIMIT:?}\nstdout: {}\nstderr: {}",
                    self.words,
                    lossy(&self.out),
                    lossy(&self.err)
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        Done {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            out: lossy(&self.out),
            err: lossy(&self.err),
            words: self.words,
            session: self.session,
        }
    }
}

fn lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// What a run left behind.
#[derive(Debug)]
pub struct Done {
    /// Exit code; 128 + N after a signal.
    pub code: i32,
    /// stdout.
    pub out: String,
    /// stderr.
    pub err: String,
    words: Vec<OsString>,
    /// The session directory, for a run under the launcher.
    pub session: Option<PathBuf>,
}

impl Done {
    /// Fails the test unless the run ended with this code.
    #[track_caller]
    pub fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code\n{}", self.story());
        self
    }

    /// Fails the test unless a shell found that the command could not be started.
    #[track_caller]
    pub fn refused(self) -> Self {
        assert!(matches!(self.code, 126 | 127), "could be started\n{}", self.story());
        self
    }

    /// Fails the test unless the run ended well with this on stdout.
    #[track_caller]
    pub fn said(self, expected: &str) -> Self {
        assert_eq!(self.out.trim_end(), expected.trim_end(), "stdout\n{}", self.story());
        self.ended(0)
    }

    /// Fails the test unless the program came under the table at all, without which an unharmed program proves nothing.
    #[track_caller]
    pub fn followed(self) -> Self {
        assert!(!self.lines("process").is_empty(), "never came under the table\n{}", self.story());
        self
    }

    /// Everything, for the message of a failed assertion.
    pub fn story(&self) -> String {
        let mut text =
            format!("{:?}\nended with {}\nstdout: {}\nstderr: {}", self.words, self.code, self.out, self.err);
        if let Some(session) = &self.session {
            text += "\nlog: ";
            text += &excerpt(&log_text(session).unwrap_or_else(|error| error));
        }
        text
    }

    /// The log's lines.
    pub fn log(&self) -> Vec<Value> {
        read_log(self.session.as_ref().expect("a run under the launcher"))
    }

    /// The log's lines of one type.
    pub fn lines(&self, kind: &str) -> Vec<Value> {
        self.log().into_iter().filter(|line| line["type"] == kind).collect()
    }

    /// What was injected.
    pub fn injections(&self) -> Vec<Value> {
        self.lines("injection")
    }
}

/// The beginning and the end of a text that may be long.
fn excerpt(text: &str) -> String {
    const EACH: usize = 1500;
    let count = text.chars().count();
    if count <= 2 * EACH {
        return text.to_owned();
    }
    let head: String = text.chars().take(EACH).collect();
    let tail: String = text.chars().skip(count - EACH).collect();
    format!("{head}\n ... \n{tail}")
}

fn log_text(session: &Path) -> Result<String, String> {
    let read = Command::new(CHAOS).arg("log").arg(session).args(["--format", "jsonl"]).output().unwrap();
    if read.status.success() {
        String::from_utf8(read.stdout).map_err(|error| format!("the log is no UTF-8: {error}"))
    } else {
        Err(format!("chaos-exec log {}: {}", session.display(), String::from_utf8_lossy(&read.stderr)))
    }
}

/// The log of a session directory or session file, a JSON value a line.
#[track_caller]
pub fn read_log(session: &Path) -> Vec<Value> {
    let text = log_text(session).unwrap_or_else(|error| panic!("{error}"));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}
