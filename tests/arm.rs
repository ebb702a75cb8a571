//! When injection begins: every form of `arm`, and what `chaos-exec ctl` changes while a run goes on.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{CHAOS, Running, Scene, program, python};
use std::process::{Command, Output};

/// Reads a byte of data.bin whenever it is told to by a line on stdin, and says whether that worked.
const ASKED: &str = "
import os, sys
fd = os.open('data.bin', os.O_RDONLY)
def read():
    try:
        os.pread(fd, 1, 0)
        return 'ok'
    except OSError as error:
        return error.errno
";

fn asked(steps: &str) -> String {
    format!("{ASKED}{steps}")
}

const RULE: &str = "faults: [{fault: error, calls: pread, path: data.bin, errno: EIO}]";

fn scene(arm: &str) -> Scene {
    let scene = Scene::new();
    scene.write("t.yaml", format!("arm: {arm}\n{RULE}\n"));
    scene.write("go.txt", "go");
    scene.write("stay.txt", "stay");
    scene
}

#[test]
fn a_path_arms_when_it_is_opened_and_not_before() {
    let scene = scene("{path: \"go.*\"}");
    let script = asked(
        "
print(read())
open('stay.txt').close()
print(read())
try:
    open('go.missing')
except FileNotFoundError:
    print(read())
open('go.txt').close()
print(read())
",
    );
    let done = scene.under(&[]).options(&["-t", "t.yaml"]).go(&[&python(), "-c", &script]).ended(0);
    assert_eq!(done.out, "ok\nok\nok\n5\n", "{}", done.story());
    let marks = done.lines("mark");
    assert_eq!(marks.len(), 1, "{}", done.story());
    let opened = std::fs::canonicalize(scene.path("go.txt")).unwrap();
    assert_eq!(marks[0]["text"], format!("armed: opened {}", opened.display()));
}

#[test]
fn the_sign_of_one_process_arms_the_whole_tree() {
    // The shell's cat opens the path; the Python beside it, that runs all along, is hit.
    let scene = scene("{path: go.txt}");
    let script = asked(
        "
import subprocess
print(read())
subprocess.run(['cat', 'stay.txt'], stdout=subprocess.DEVNULL)
print(read())
subprocess.run(['cat', 'go.txt'], stdout=subprocess.DEVNULL)
print(read())
",
    );
    let done = scene.under(&[]).options(&["-t", "t.yaml"]).go(&[&python(), "-c", &script]).ended(0);
    assert_eq!(done.out, "ok\nok\n5\n", "{}", done.story());
}

#[test]
fn a_port_arms_when_somebody_listens_on_it() {
    let free = common::server::free_port();
    let scene = scene(&format!("{{listen: {free}}}"));
    let script = asked(&format!(
        "
import socket
print(read())
other = socket.create_server(('127.0.0.1', 0))
print(read())
server = socket.create_server(('127.0.0.1', {free}))
print(read())
"
    ));
    let done = scene.under(&[]).options(&["-t", "t.yaml"]).go(&[&python(), "-c", &script]).ended(0);
    assert_eq!(done.out, "ok\nok\n5\n", "{}", done.story());
    assert_eq!(done.lines("mark")[0]["text"], format!("armed: listening on port {free}"));
}

#[test]
fn windows_count_from_the_sign() {
    let scene = Scene::new();
    scene.write("go.txt", "go");
    scene.write(
        "t.yaml",
        "arm: {path: go.txt}\nfor: 300ms\nfaults: [{fault: error, calls: pread, path: data.bin, errno: EIO}]\n",
    );
    let script = asked(
        "
import time
time.sleep(0.5)
open('go.txt').close()
print(read())
deadline = time.monotonic() + 30
while read() != 'ok' and time.monotonic() < deadline:
    time.sleep(0.02)
print(read())
",
    );
    let done = scene.under(&[]).options(&["-t", "t.yaml"]).go(&[&python(), "-c", &script]).ended(0);
    assert_eq!(done.out, "5\nok\n", "{}", done.story());
}

#[test]
fn a_sign_arms_without_the_launcher_too() {
    let scene = Scene::new();
    scene.write("go.txt", "go");
    let table = r#"{"arm": {"path": "go.txt"}, "faults": ["error calls=pread path=data.bin errno=EIO"]}"#;
    let script = asked("print(read())\nopen('go.txt').close()\nprint(read())\n");
    let done = scene
        .bare()
        .env("LD_PRELOAD", common::shim())
        .env("CHAOS_TABLE", table)
        .env("CHAOS_LOG", scene.path("log.session"))
        .go(&[&python(), "-c", &script])
        .ended(0);
    assert_eq!(done.out, "ok\n5\n", "{}", done.story());
}

#[test]
fn a_program_on_the_command_line_shows_itself_by_what_it_does() {
    let (perl, node) = (program("perl", "perl"), program("node", "nodejs"));
    let scene = Scene::new();
    let python = python();
    for (command, fault, code) in [
        (&[&*python, "-c", "import os; os.fork()"][..], "fork=EAGAIN", 1),
        (&[&python, "-c", "import subprocess; subprocess.run('true')"], "fork,vfork=EAGAIN", 1),
        (&[&python, "-c", "import socket; socket.socket()"], "socket=EMFILE", 1),
        (&[&python, "-c", "import socket; socket.gethostbyname('localhost')"], "dns", 1),
        (&[&python, "-c", "print('hello')"], "error calls=write errno=ENOSPC fd=1", 120),
        (&[&python, "-"], "error calls=stdio,read errno=EIO fd=0 nth=2", 0),
        (&[&python, "-c", "import time; time.sleep(0.01)"], "signal calls=clock_nanosleep signal=KILL", 137),
        (&[&perl, "-e", "system('true') == -1 and exit 7"], "fork,vfork=ENOMEM", 7),
        (&[&perl, "-e", "print 'x'; close(STDOUT) or exit 7"], "error calls=write errno=ENOSPC fd=1", 7),
        (&[&node, "-e", "process.exit(child_process.spawnSync('true').error ? 7 : 0)"], "fork,spawn=EAGAIN", 7),
        (
            &[&node, "-e", "require('net').connect(9, '127.0.0.1').on('error', () => process.exit(7))"],
            "socket=EMFILE",
            7,
        ),
    ] {
        let done = scene.under(&[fault]).stdin("pass\n").go(command).ended(code);
        assert!(!done.injections().is_empty(), "{fault}: {}", done.story());
    }
}

/// Python is left out: a program on its command line is armed by where it looks for a build of itself (README, Limits).
#[test]
fn a_boot_is_no_sign() {
    let scene = Scene::new();
    for command in [
        &[&*program("perl", "perl"), "-e", "1"][..],
        &[&program("node", "nodejs"), "-e", "0"],
        &[&program("java", "default-jdk-headless"), "-version"],
    ] {
        let faults = ["error calls=disk,network rate=100%", "memory=ENOMEM", "error calls=process,stdio rate=100%"];
        let done = scene.under(&faults).options(&["--fault", "latency calls=time delay=1us"]).go(command).ended(0);
        assert!(done.injections().is_empty(), "{}", done.story());
    }
}

fn ctl(scene: &Scene, args: &[&str]) -> Output {
    Command::new(CHAOS).arg("ctl").args(args).env("XDG_STATE_HOME", scene.path("state")).output().unwrap()
}

fn orders(scene: &Scene, session: &str, order: &str) -> String {
    let done = ctl(scene, &[session, order]);
    assert!(done.status.success(), "{order}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Tells the target to read, by a file that it waits for, and gives its answer.
fn answer(scene: &Scene, running: &mut Running, step: u32) -> String {
    scene.write(format!("ask.{step}"), "");
    let answer = scene.path(format!("answer.{step}"));
    running.wait_until("an answer", || answer.exists());
    String::from_utf8(scene.read(&format!("answer.{step}"))).unwrap()
}

const WAITS: &str = "
import time
for step in range(5):
    while not os.path.exists(f'ask.{step}'):
        time.sleep(0.005)
    answer = str(read())
    with open('part', 'w') as file:
        file.write(answer)
    os.rename('part', f'answer.{step}')
";

#[test]
fn ctl_arms_disables_and_enables_a_run_that_goes_on() {
    let scene = scene("ctl");
    let script = asked(WAITS);
    let session = scene.text("session");
    let mut running = scene.under(&[]).options(&["-t", "t.yaml", "--out", &session]).start(&[&python(), "-c", &script]);
    assert_eq!(answer(&scene, &mut running, 0), "ok");
    assert!(orders(&scene, &session, "status").contains("waiting to be armed"));
    orders(&scene, &session, "arm");
    assert_eq!(answer(&scene, &mut running, 1), "5");
    assert!(orders(&scene, &session, "status").contains("injecting"));
    orders(&scene, &session, "disable");
    assert_eq!(answer(&scene, &mut running, 2), "ok");
    assert!(orders(&scene, &session, "status").contains("disabled"));
    orders(&scene, &session, "enable");
    assert_eq!(answer(&scene, &mut running, 3), "5");
    orders(&scene, &session, "arm");
    assert_eq!(answer(&scene, &mut running, 4), "5");
    running.end().ended(0);
    assert!(orders(&scene, &session, "status").contains("over"));
    for order in ["arm", "enable", "disable"] {
        let refused = ctl(&scene, &[&session, order]);
        assert_eq!(refused.status.code(), Some(125));
        let errors = String::from_utf8(refused.stderr).unwrap();
        assert!(errors.starts_with("chaos-exec: error: the run is over"), "{errors}");
    }
}

#[test]
fn orders_to_nobody_are_refused() {
    let scene = Scene::new();
    for (args, message) in [
        (&["status"][..], "there is no session yet"),
        (&["nothing", "arm"], "there is no session 'nothing'"),
        (&["./nothing", "arm"], "there is no session at ./nothing"),
        (&["data.bin", "arm"], "cannot be read"),
        (&["amr"], ""),
        (&[], ""),
    ] {
        let done = Command::new(CHAOS)
            .arg("ctl")
            .args(args)
            .current_dir(scene.path(""))
            .env("XDG_STATE_HOME", scene.path("state"))
            .output()
            .unwrap();
        let errors = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(125), "{args:?}: {errors}");
        assert!(errors.contains(message), "{args:?}: {errors}");
    }
}

#[test]
fn a_runtime_that_shows_nothing_is_said_to_be_never_armed() {
    let scene = Scene::new();
    let perl = program("perl", "perl");
    let done = scene.under(&["malloc=ENOMEM"]).go(&[&perl, "-e", "$x = 'x' x 100000"]).ended(0);
    assert!(done.err.contains("1 program of a language runtime showed nothing of its own"), "{}", done.story());
    let done = scene.under(&["openat,open=ENOENT@9"]).go(&[&perl, "-e", "open(F, '<', 'data.bin')"]).ended(0);
    assert!(done.err.contains("NOTHING FIRED") && !done.err.contains("never armed"), "{}", done.story());
}
