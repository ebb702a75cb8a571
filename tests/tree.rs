//! The process tree: whatever a program starts, and however, stays under the table; what cannot is an escape.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::complaints::Complaints;
use common::{Scene, compile, guest, program, python};

const READ_FAILS: &str = "error calls=read errno=EIO path=data.bin";

#[test]
fn every_form_of_exec_and_spawn_keeps_the_child_under_the_table() {
    let scene = Scene::new();
    let (launch, probe, data) = (guest("launch"), guest("probe"), scene.text("data.bin"));
    let mut complaints = Complaints::default();
    let forms: &[(&str, &str)] = &[
        ("execve", "0"),
        ("0:execve", "0"),
        ("execv", "3"),
        ("execvp", "0"),
        ("execvpe", "1"),
        ("0:execvpe", "1"),
        ("execl", "0"),
        ("execl", "1"),
        ("execl", "20"),
        ("execlp", "0"),
        ("execlp", "20"),
        ("execle", "0"),
        ("0:execle", "0"),
        ("0:execle", "1"),
        ("0:execle", "20"),
        ("fexecve", "0"),
        ("0:fexecve", "2"),
        ("execveat", "0"),
        ("0:execveat", "0"),
        ("0:execveat-fd", "1"),
        ("syscall", "0"),
        ("0:syscall", "0"),
        ("fork+execve", "0"),
        ("0:fork+execl", "20"),
        ("vfork+execve", "0"),
        ("0:vfork+execve", "0"),
        ("posix_spawn", "0"),
        ("0:posix_spawn", "20"),
        ("posix_spawnp", "0"),
        ("0:posix_spawnp", "0"),
        ("system", "0"),
        ("popen", "0"),
    ];
    for (form, extra) in forms {
        let command = [launch.as_str(), form, extra, &probe, &data];
        // The bare run shows the environment that the child was given; under the table it must look the same.
        let bare = scene.bare().env("MARK", "here").go(&command);
        let done = scene.under(&[READ_FAILS]).env("MARK", "here").go(&command);
        let wanted = bare.out.replacen(" 0\n", " EIO\n", 1);
        complaints.expect(&format!("{form} {extra}"), done.out.clone(), wanted);
        complaints.expect(&format!("{form} {extra}: stderr"), done.err.contains("ld.so"), false);
        complaints.expect(&format!("{form} {extra}: injections"), done.injections().len(), 1);
    }
    complaints.none();
}

#[test]
fn lineage_tells_who_started_whom() {
    let scene = Scene::new();
    let line = "head -c1 data.bin; head -c1 data.bin; sh -c 'head -c1 data.bin; :'; :";
    let done = scene
        .under(&["error calls=read errno=EIO path=data.bin process=head"])
        .env("PATH", "/usr/bin:/bin")
        .go(&[&program("dash", "dash"), "-c", line])
        .ended(0);
    let lineages: Vec<String> =
        done.injections().iter().map(|line| line["lineage"].as_str().unwrap_or("?").to_owned()).collect();
    assert_eq!(lineages, ["0.1", "0.2", "0.3.1"], "{}", done.story());
    assert!(done.lines("process").iter().any(|line| line["lineage"] == "0"), "{}", done.story());
}

#[test]
fn a_shells_pipelines_and_substitutions_are_followed() {
    let scene = Scene::new();
    let line = "head -c5 data.bin | wc -c; x=$(head -c5 data.bin); (exec head -c5 data.bin); cat <(head -c5 data.bin)";
    let done = scene.under(&["error calls=read errno=EIO path=data.bin process=head"]).go(&[
        &program("bash", "bash"),
        "-c",
        line,
    ]);
    assert_eq!(done.injections().len(), 4, "{}", done.story());
}

#[test]
fn an_empty_environment_does_not_shake_us_off() {
    let scene = Scene::new();
    let (probe, data) = (guest("probe"), scene.text("data.bin"));
    let env = program("env", "coreutils");
    scene.under(&[READ_FAILS]).go(&[&env, "-i", &probe, &data]).said("probe 2 EIO");
    let command = [env.as_str(), "-i", &env, "-i", "ONE=1", &env, &probe, &data];
    scene.under(&[READ_FAILS]).go(&command).said("probe 2 EIO\nenv ONE=1");

    let script = "
import subprocess, sys
for options in ({}, {'env': {}}, {'env': {'A': 'b'}, 'close_fds': False}, {'env': {}, 'start_new_session': True}):
    print(subprocess.run([sys.argv[1], sys.argv[2]], capture_output=True, text=True, **options).stdout.splitlines()[0])
print(subprocess.run(sys.argv[1] + ' ' + sys.argv[2], shell=True, env={}, capture_output=True, text=True).stdout.splitlines()[0])
";
    scene
        .under(&[READ_FAILS])
        .go(&[&python(), "-c", script, &probe, &data])
        .said("probe 2 EIO\nprobe 2 EIO\nprobe 2 EIO\nprobe 2 EIO\nprobe 2 EIO");

    let script = "
const { spawnSync, execFileSync, execSync } = require('child_process');
const [probe, data] = process.argv.slice(-2);
const first = (text) => text.toString().split('\\n')[0];
console.log(first(spawnSync(probe, [data], { env: {} }).stdout));
console.log(first(execFileSync(probe, [data], { env: { A: 'b' } })));
console.log(first(execSync(probe + ' ' + data, { env: {} })));
";
    let script = scene.write("spawn.js", script);
    scene
        .under(&[READ_FAILS])
        .go(&[&program("node", "nodejs"), &script, &probe, &data])
        .said("probe 2 EIO\nprobe 2 EIO\nprobe 2 EIO");
}

#[test]
fn the_target_sees_the_environment_that_it_was_given() {
    let scene = Scene::new();
    let env = program("env", "coreutils");
    let bare = scene.bare().env("Z", "1").env("EMPTY", "").go(&[&env, "-0"]).ended(0);
    scene.under(&[READ_FAILS]).env("Z", "1").env("EMPTY", "").go(&[&env, "-0"]).followed().said(&bare.out);
    // The root of the tree and a grandchild, by a shell that reads `environ` itself.
    let line = "export -p; sh -c 'export -p'";
    let bash = program("bash", "bash");
    let bare = scene.bare().go(&[&bash, "-c", line]).ended(0);
    scene.under(&[READ_FAILS]).go(&[&bash, "-c", line]).said(&bare.out);
}

#[test]
fn a_users_own_preload_entries_stay_in_their_order_and_visible() {
    let scene = Scene::new();
    let first = compile("preloaded", "first.so", &["-shared", "-fPIC"]);
    let second = compile("preloaded", "second.so", &["-shared", "-fPIC"]);
    let (probe, data) = (guest("probe"), scene.text("data.bin"));
    let mut complaints = Complaints::default();
    for value in
        [first.clone(), format!("{first}:{second}"), format!("{second} {first}"), format!(":{first}::"), String::new()]
    {
        let script = scene.write("run.sh", format!("export LD_PRELOAD='{value}'; exec {probe} {data}"));
        let sh = program("dash", "dash");
        let bare = scene.bare().go(&[&sh, &script]).ended(0);
        let done = scene.under(&[READ_FAILS]).go(&[&sh, &script]).ended(0);
        complaints.expect(&value, done.out.clone(), bare.out.replacen(" 0\n", " EIO\n", 1));
        // The libraries are loaded, and their constructors say the same.
        let lines = |text: &str| text.lines().filter(|line| line.starts_with("preloaded")).count();
        complaints.expect(&format!("{value}: constructors"), lines(&done.err), lines(&bare.err));
    }
    complaints.none();
    // Set before the launcher starts, too.
    let done = scene.under(&[READ_FAILS]).env("LD_PRELOAD", &first).go(&[&probe, &data]).ended(0);
    assert!(
        done.out.starts_with("probe 2 EIO") && done.out.contains(&format!("env LD_PRELOAD={first}\n")),
        "{}",
        done.story()
    );
}

#[test]
fn what_cannot_be_followed_is_an_escape_with_its_reason() {
    let scene = Scene::new();
    let data = scene.text("data.bin");
    let line = |child: &str| format!("{child} {data}; echo \"child $?\"");
    let sh = program("dash", "dash");
    let escapes = |child: &str| {
        // With an engine that reaches it, a static program is no escape: see tests/any.rs.
        let run = scene.under(&[READ_FAILS]).options(&["--engine", "preload"]);
        let done = run.go(&[&sh, "-c", &line(child)]).ended(0);
        assert!(done.out.contains("child 0") && done.out.contains("probe 2 0"), "{}", done.story());
        let escapes = done.lines("escape");
        assert_eq!(escapes.len(), 1, "{}", done.story());
        escapes[0]["reason"].as_str().unwrap_or_else(|| panic!("{}", escapes[0])).to_lowercase()
    };
    let fixed = compile("probe", "probe-static", &["-static"]);
    assert!(escapes(&fixed).contains("static"));

    // A setuid program of root's, started by root, is not privileged; so another user starts it.
    let owned = scene.adopt(&guest("probe"), "probe-setuid");
    assert!(std::process::Command::new("chmod").args(["4755", &owned]).status().unwrap().success());
    scene.open_to_all();
    let setpriv = program("setpriv", "util-linux");
    let child = format!("{setpriv} --reuid=65534 --clear-groups {sh} -c '{owned} {data}; exit $?'");
    let done = scene.under(&[READ_FAILS]).go(&[&sh, "-c", &child]).ended(0);
    assert!(done.out.contains("probe 2 0"), "{}", done.story());
    assert!(!done.err.contains("ld.so"), "{}", done.story());
    let escapes = done.lines("escape");
    assert!(
        escapes.iter().any(|line| line["reason"].as_str().is_some_and(|reason| reason.contains("setuid"))),
        "{}",
        done.story()
    );
}

#[test]
fn threads_are_hit_wherever_they_come_from() {
    let scene = Scene::new();
    let script = "
import os, threading, concurrent.futures
hits = []
def work(_=None):
    fd = os.open('data.bin', os.O_RDONLY)
    try:
        os.read(fd, 1)
    except OSError:
        hits.append(1)
threads = [threading.Thread(target=work) for _ in range(5)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    list(pool.map(work, range(5)))
print(len(hits))
";
    let done = scene.under(&[READ_FAILS]).go(&[&python(), "-c", script]).said("10");
    let tids: std::collections::HashSet<u64> =
        done.injections().iter().map(|line| line["tid"].as_u64().unwrap()).collect();
    assert!(tids.len() >= 6, "{}", done.story());
}

#[test]
fn a_failing_spawn_is_the_programs_to_handle() {
    let scene = Scene::new();
    let script = "
import subprocess
for _ in range(3):
    try:
        print(subprocess.run(['/bin/echo', 'hello'], capture_output=True, text=True).stdout.strip())
    except OSError as error:
        print(type(error).__name__)
";
    // Each child's exec is the first of its process: count over the tree.
    let fault = "error calls=exec errno=ENOENT process=python3* nth=2 per=tree";
    scene.under(&[fault]).go(&[&python(), "-c", script]).said("hello\nFileNotFoundError\nhello");
    // CPython tries fork when vfork has failed.
    let fault = "error calls=fork,vfork errno=EAGAIN nth=2..3";
    scene.under(&[fault]).go(&[&python(), "-c", script]).said("hello\nBlockingIOError\nhello");
}

#[test]
fn survivors_of_the_first_process_are_disarmed_unless_waited_for() {
    let scene = Scene::new();
    let line = format!("({} 600 -s 5000 >own.txt; echo >over) & :", guest("loop"));
    let sh = program("dash", "dash");
    let over = || scene.path("over").exists();
    let hits = || String::from_utf8(scene.read("own.txt")).unwrap().matches("EIO").count();

    let waited = scene.under(&["read=EIO@50%"]).options(&["--wait", "tree"]).go(&[&sh, "-c", &line]).ended(0);
    assert!(over(), "--wait tree did not wait");
    assert!(hits() > 200, "{}", hits());
    assert_eq!(waited.injections().len(), hits());

    std::fs::remove_file(scene.path("over")).unwrap();
    let left = scene.under(&["read=EIO@50%"]).options(&["--wait", "root"]).go(&[&sh, "-c", &line]).ended(0);
    assert!(!over(), "--wait root waited for more");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !over() {
        assert!(std::time::Instant::now() < deadline, "the survivor did not end");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // What it saw is in the log, and it saw little: the end of the run disarmed it.
    assert_eq!(left.injections().len(), hits());
    assert!(hits() < 200, "{}", hits());
}

#[test]
fn each_terminal_has_a_place_of_its_own() {
    let scene = Scene::new();
    let script = "
import os, pty
for _ in range(2):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv('/bin/true', ['true'])
    os.waitpid(pid, 0)
";
    let done = scene.under(&[]).go(&[&python(), "-c", script]).ended(0);
    let lineages: Vec<_> = done
        .lines("process")
        .iter()
        .filter(|line| line["process"] == "true")
        .map(|line| line["lineage"].clone())
        .collect();
    assert_eq!(lineages, ["0.1", "0.2"], "{}", done.story());
}

#[test]
fn a_program_that_execs_itself_on_and_on_keeps_its_place() {
    let scene = Scene::new();
    let script = scene.write("again.sh", "[ $1 -gt 2500 ] && exit 7; exec /bin/sh again.sh $(($1 + 1))");
    let done = scene.under(&[]).go(&["/bin/sh", &script, "0"]).ended(7);
    assert_eq!(done.lines("escape").len(), 0, "{}", done.story());
}

#[test]
fn children_see_the_chaos_variables_that_their_program_gave_them() {
    let scene = Scene::new();
    let script = "import subprocess; subprocess.run(['env'], env={'CHAOS_MONKEY': '1', 'CHAOS_SEED': '5'})";
    scene.under(&["read=EIO@0%"]).go(&[&python(), "-c", script]).said("CHAOS_MONKEY=1\nCHAOS_SEED=5");
}

/// What is learnt of a program is kept for the next process: it must be forgotten when the file is another, and never
/// taken for that of another name.
#[test]
fn what_is_kept_of_a_program_is_true_of_its_file_and_name_alone() {
    let scene = Scene::new();
    let probe = scene.adopt(&guest("probe"), "first-name");
    let second = scene.path("second-name");
    std::fs::hard_link(&probe, &second).unwrap();
    let link = scene.path("link");
    std::os::unix::fs::symlink("second-name", &link).unwrap();
    let script = scene.write("script", format!("#!{probe}\n"));
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let fixed = scene.adopt(&compile("probe", "probe-static", &["-static"]), "static-probe");
    // A file that has just been changed is not kept: its next change may show the same time.
    std::thread::sleep(std::time::Duration::from_millis(3200));

    let [second, link] = [second, link].map(|path| path.display().to_string());
    let each = format!("for p in {probe} {second} {link} {script} ./first-name; do $p data.bin || exit 9; done");
    let line = format!("{each}; {each}; mv {fixed} {second}; {second} data.bin");
    let sh = program("dash", "dash");
    scene.text("data.bin");
    let run = scene.under(&["read=EIO@0%"]).options(&["--engine", "preload"]);
    let done = run.go(&[&sh, "-c", &line]).ended(0);

    let probe = std::fs::canonicalize(&probe).unwrap().display().to_string();
    let folder = probe.trim_end_matches("first-name");
    let executables: Vec<String> = done
        .lines("process")
        .iter()
        .skip(1)
        .map(|line| line["executable"].as_str().unwrap_or("?").replace(folder, ""))
        .collect();
    let round = ["first-name", "second-name", "second-name", "first-name", "first-name"];
    assert_eq!(executables[..10], [round, round].concat(), "{}", done.story());
    let escapes = done.lines("escape");
    assert_eq!(escapes.len(), 1, "{}", done.story());
    assert!(escapes[0]["reason"].as_str().is_some_and(|reason| reason.contains("static")), "{}", done.story());

    let files = std::fs::read_dir(done.session.as_ref().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let session = files
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"session-")));
    let page = std::fs::read(session.expect("the session file")).unwrap();
    let kept = String::from_utf8_lossy(&page[..4096]);
    assert_eq!(kept.matches(&probe).count(), 2, "by its name and by the script's: {kept:?}");
}
