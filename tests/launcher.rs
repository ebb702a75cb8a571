//! The launcher around its target: what goes in and out, signals, ends, and the session that is left.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    /// `chaos-exec ARGS`, in an environment of its own.
    fn launcher(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chaos-exec"));
        let ours = |name: &str| name.contains("CHAOS_") || name == "LD_PRELOAD";
        for (name, _) in std::env::vars_os().filter(|(name, _)| ours(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        command.args(args).env("XDG_STATE_HOME", self.dir.path().join("state")).current_dir(self.dir.path());
        command
    }

    /// `chaos-exec run ARGS -- sh -c SCRIPT`
    fn sh(&self, args: &[&str], script: &str) -> Command {
        self.launcher(&[&["run"], args, &["--", "sh", "-c", script]].concat())
    }

    /// The latest session; a run points to it just after its target has started.
    fn latest(&self) -> PathBuf {
        let link = self.dir.path().join("state/chaos-exec/latest");
        let start = Instant::now();
        while !link.exists() && start.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(5));
        }
        fs::canonicalize(link).unwrap()
    }

    fn meta(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.latest().join("session.json")).unwrap()).unwrap()
    }
}

fn out(mut command: Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Starts and waits for the line `ready` on stdout; gives back the rest of it.
fn start(command: &mut Command) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (child, lines)
}

fn kill(target: &str, signal: &str) {
    assert!(Command::new("kill").args([signal, "--", target]).status().unwrap().success());
}

#[test]
fn stdout_stdin_and_exit_code_are_the_targets() {
    let place = Place::new();
    let (code, stdout, stderr) = out(place.sh(&["-q"], "cat; echo err >&2; exit 42"));
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (42, "", "err\n"));
    let mut child = place.sh(&["-q"], "cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"through").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"through");
    // Without `--`, options after the command are the command's.
    let (code, stdout, _) = out(place.launcher(&["run", "-q", "echo", "-n", "-q", "--seed"]));
    assert_eq!((code, stdout.as_str()), (0, "-q --seed"));
}

#[test]
fn a_signal_that_ends_the_target_is_128_and_its_number() {
    let place = Place::new();
    for signal in [1, 6, 9, 11, 15, 35] {
        // Started with it ignored, as by nohup, the shell would ignore it too.
        let mut command = Command::new("env");
        command.args(["--default-signal", env!("CARGO_BIN_EXE_chaos-exec"), "run", "--", "sh", "-c"]);
        command.arg(format!("kill -{signal} $$")).env("XDG_STATE_HOME", place.dir.path().join("state"));
        let (code, _, stderr) = out(command);
        assert_eq!(code, 128 + signal);
        assert!(stderr.contains("killed by"), "{stderr}");
    }
}

#[test]
fn a_script_without_an_interpreter_line_is_run_by_sh() {
    let place = Place::new();
    let script = place.dir.path().join("script");
    fs::write(&script, "echo $0 $#; exit 5\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let (code, stdout, _) = out(place.launcher(&["run", "-q", "./script", "a", "b"]));
    assert_eq!((code, stdout.as_str()), (5, "./script 2\n"));
}

#[test]
fn the_target_has_the_signals_and_descriptors_that_the_launcher_was_started_with() {
    let place = Place::new();
    let show = "grep -E 'Sig(Blk|Ign|Cgt)' /proc/self/status; ls -l /proc/self/fd | sed 's/.* \\([0-9]* -> [^:[]*\\).*/\\1/; s/[0-9]*$//; s,/proc/[0-9]*,/proc/PID,'";
    let bare = ["trap '' PIPE CHLD HUP; SHOW <&-", "trap '' USR1; SHOW 2>&-", "SHOW", "SHOW 5<&0"];
    for wrapper in bare {
        let run = |prefix: &str| {
            let script = wrapper.replace("SHOW", &format!("{prefix} sh -c \"$SHOW\""));
            let mut sh = Command::new("sh");
            sh.arg("-c").arg(script).env("SHOW", show).env("LAUNCHER", env!("CARGO_BIN_EXE_chaos-exec"));
            sh.env("XDG_STATE_HOME", place.dir.path().join("state")).stdin(Stdio::null());
            out(sh)
        };
        let (with, without) = (run("$LAUNCHER run -q --"), run(""));
        assert_eq!(with.1, without.1, "{wrapper}");
        assert!(with.1.contains("SigBlk"), "{with:?}");
    }
}

#[test]
fn the_target_has_the_environment_that_the_launcher_was_started_with() {
    let place = Place::new();
    let bare = |mut command: Command| {
        command.env("Z", "1").env("A", "with space").env("LD_PRELOAD", "libm.so.6");
        out(command).1
    };
    let with = bare(place.launcher(&["run", "-q", "--", "env"]));
    let mut env = Command::new("env");
    env.env("XDG_STATE_HOME", place.dir.path().join("state")).current_dir(place.dir.path());
    assert_eq!(with, bare(env));
}

#[test]
fn a_signal_sent_to_the_launcher_reaches_the_target_once() {
    let place = Place::new();
    let script =
        "n=0; trap 'n=$((n+1)); echo got' TERM; echo ready; for i in 1 2 3 4 5 6 7 8; do sleep 0.1; done; exit $n";
    let mut command = place.sh(&["-q"], script);
    let (mut child, mut rest) = start(&mut command);
    kill(&child.id().to_string(), "-TERM");
    let mut lines = String::new();
    rest.read_to_string(&mut lines).unwrap();
    assert_eq!((child.wait().unwrap().code(), lines.as_str()), (Some(1), "got\n"));
}

#[test]
fn a_signal_that_the_tree_sends_to_its_own_group_is_not_sent_again() {
    let place = Place::new();
    let script = "n=0; trap 'n=$((n+1))' USR1; kill -USR1 0; for i in 1 2 3 4 5; do sleep 0.1; done; exit $n";
    let mut command = place.sh(&["-q"], script);
    command.process_group(0);
    assert_eq!(out(command).0, 1);
}

#[test]
fn a_timeout_ends_the_whole_tree() {
    let place = Place::new();
    // A time that nobody else on the machine sleeps.
    let sleep = format!("sleep 61.{}", std::process::id());
    let script = format!("trap '' TERM; setsid sh -c 'trap \"\" TERM; {sleep}' & ({sleep} &) ; kill -STOP $$");
    let (code, _, stderr) = out(place.sh(&["--timeout", "300ms"], &script));
    assert_eq!(code, 124, "{stderr}");
    assert!(stderr.contains("ended by --timeout") && !stderr.contains("still running"), "{stderr}");
    let left = Command::new("pgrep").args(["-f", &sleep]).output().unwrap();
    assert!(left.stdout.is_empty(), "{}", String::from_utf8_lossy(&left.stdout));
}

#[test]
fn a_tree_that_ends_at_term_is_not_waited_for() {
    let place = Place::new();
    // A busy machine may be slow, but not each time.
    let quick = || {
        let start = Instant::now();
        assert_eq!(out(place.sh(&["-q", "--timeout", "200ms"], "sleep 62 & sleep 62")).0, 124);
        start.elapsed() < Duration::from_millis(1900)
    };
    assert!((0..5).any(|_| quick()), "the grace is for those that need it");
}

#[test]
fn a_run_ends_with_its_root_or_with_its_tree() {
    let place = Place::new();
    let mut command = place.sh(&[], "sleep 300 & echo $! >pid");
    command.stdout(Stdio::null());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    // The survivor holds stderr open, so only the line is waited for.
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("still running, disarmed: s")), "survivors are listed");
    child.wait().unwrap();
    // It lives: kill would fail otherwise.
    kill(fs::read_to_string(place.dir.path().join("pid")).unwrap().trim(), "-KILL");
    assert_eq!(place.meta()["end"]["survivors"].as_u64().map(|count| count > 0), Some(true));

    let (code, stdout, _) = out(place.sh(&["-q", "--wait", "tree"], "(sleep 0.5; echo late) & echo early"));
    assert_eq!((code, stdout.as_str()), (0, "early\nlate\n"));
}

#[test]
fn a_killed_launcher_leaves_a_readable_session_and_a_disarmed_tree() {
    let place = Place::new();
    let mut command = place.sh(&["-q", "--seed", "7"], "echo ready; exec sleep 300");
    let (mut child, _) = start(command.process_group(0));
    let meta = place.meta();
    let session = fs::File::open(place.latest().join(meta["session_file"].as_str().unwrap())).unwrap();
    let word = || {
        let mut word = [0; 4];
        session.read_exact_at(&mut word, 512).unwrap();
        u32::from_le_bytes(word)
    };
    assert_eq!(word() & !0x8000_0000, child.id(), "the launcher's main thread holds the lock");
    child.kill().unwrap();
    child.wait().unwrap();
    kill(&format!("-{}", child.id()), "-KILL");
    assert_eq!(word() & 0x4000_0000, 0x4000_0000, "FUTEX_OWNER_DIED");
    let (code, stdout, stderr) = out(place.launcher(&["log", "--format", "jsonl"]));
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("\"seed\":7") && !stdout.contains("\"type\":\"end\""), "{stdout}");
}

#[test]
fn the_session_is_private_and_found_by_directory_id_and_latest() {
    let place = Place::new();
    assert_eq!(out(place.sh(&["-q"], "exit 3")).0, 3);
    let dir = place.latest();
    let mode = |name: &str| fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o077;
    let meta = place.meta();
    for name in ["session.json", "log.bin", meta["session_file"].as_str().unwrap()] {
        assert_eq!(mode(name), 0, "{name}");
    }
    // Started by root, a target that becomes somebody else must get through, and see nothing.
    assert_eq!(mode("") & 0o066, 0);
    let id = dir.file_name().unwrap().to_str().unwrap();
    let logs = [&["log"][..], &["log", id], &["log", dir.to_str().unwrap()]].map(|args| out(place.launcher(args)));
    assert!(logs.iter().all(|log| log.0 == 0 && log.1 == logs[0].1 && log.1.contains("exit 3")), "{logs:?}");
    assert!(!dir.join("libchaos_shim.so").exists(), "the shim is not kept");
}

#[test]
fn a_session_directory_whose_path_the_loader_would_split_works() {
    let place = Place::new();
    let (code, stdout, stderr) = out(place.sh(&["--out", "with space:and colon"], "echo fine"));
    assert_eq!((code, stdout.as_str()), (0, "fine\n"), "{stderr}");
    assert!(!stderr.contains("cannot be preloaded"), "{stderr}");
    let (code, stdout, _) = out(place.launcher(&["log", "with space:and colon"]));
    assert!(code == 0 && stdout.contains("exit 0"), "{stdout}");
    assert!(place.dir.path().join("with space:and colon/session").exists(), "it is brought home at the end");
}

#[test]
fn the_json_lines_file_appears_complete_at_the_end() {
    let place = Place::new();
    let (code, ..) = out(place.sh(&["-q", "--seed", "9", "--log", "run.jsonl"], "test ! -e run.jsonl"));
    assert_eq!(code, 0, "nothing half-written while it runs");
    let text = fs::read_to_string(place.dir.path().join("run.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["type"], &lines[0]["seed"]), (&"start".into(), &9.into()));
    assert_eq!((&lines[lines.len() - 1]["type"], &lines[lines.len() - 1]["exit_code"]), (&"end".into(), &0.into()));
}

/// A file put in the place of /dev/null would take it from the whole machine.
#[test]
fn a_log_or_a_shim_that_goes_to_a_device_is_written_there_and_leaves_it_alone() {
    let place = Place::new();
    let full = place.dir.path().join("full");
    // A link, so that a failing test costs the link and not the device.
    std::os::unix::fs::symlink("/dev/full", &full).unwrap();
    for args in
        [&["run", "-q", "--log", "full", "--", "true"][..], &["log", "-o", "full"], &["shim", "-o", "full"], &["log"]]
    {
        let mut command = place.launcher(args);
        command.stdout(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
        let (code, _, err) = out(command);
        assert!(code == 125 && err.contains("No space left on device"), "{args:?} {code} {err}");
        assert!(full.is_symlink(), "{args:?}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let place = Place::new();
    assert_eq!(out(place.sh(&["-q"], "true")).0, 0);
    let formats = ["text", "jsonl", "csv"].map(|format| vec!["log", "--format", format]);
    let others = [vec!["list", "calls"], vec!["check", "-f", "dns"], vec!["completions", "bash"], vec!["man"]];
    for args in formats.into_iter().chain(others) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = place.launcher(&args);
        command.stdout(writer);
        let (code, _, err) = out(command);
        assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
    }
}

#[test]
fn nothing_fired_is_said_loudly_and_the_command_repeats_the_run() {
    let place = Place::new();
    let (_, _, stderr) = out(place.sh(&["-f", "connect=ECONNREFUSED@5"], "echo 'it'\\''s'"));
    assert!(stderr.contains("no call matched"), "{stderr}");
    assert!(stderr.contains("NOTHING FIRED") || stderr.contains("NEVER CAME UP"), "{stderr}");
    let seed = place.meta()["seed"].as_u64().unwrap();
    let again = stderr.lines().find_map(|line| line.split_once("was random): chaos-exec ")).unwrap().1;
    assert!(again.contains(&format!("--seed {seed} ")), "{again}");
    let mut repeat = Command::new("sh");
    repeat.arg("-c").arg(format!("{} {again}", env!("CARGO_BIN_EXE_chaos-exec")));
    repeat.env("XDG_STATE_HOME", place.dir.path().join("state"));
    let (code, stdout, stderr) = out(repeat);
    assert_eq!((code, stdout.as_str()), (0, "it's\n"), "{stderr}");
    assert!(!stderr.contains("was random"));
}

#[test]
fn a_run_that_was_switched_off_says_so() {
    let place = Place::new();
    let mut command = place.sh(&["-f", "open=EIO"], ": </dev/null");
    command.env("CHAOS_ENABLED", "0");
    let (code, _, err) = out(command);
    assert!(code == 0 && err.contains("switched off") && !err.contains("no call matched"), "{err}");
}

#[test]
fn a_static_target_is_warned_of() {
    let place = Place::new();
    let source = place.dir.path().join("hello.c");
    fs::write(&source, "int main(void) { return 9; }\n").unwrap();
    let built = Command::new("cc").args(["-static", "-o", "hello", "hello.c"]).current_dir(place.dir.path()).status();
    assert!(built.unwrap().success());
    let (code, _, stderr) = out(place.launcher(&["run", "--engine", "preload", "./hello"]));
    assert_eq!(code, 9);
    let warning = "warning: ./hello is statically linked, so the shim cannot reach it; --engine auto has one that does";
    assert!(stderr.contains(warning) && stderr.contains("NEVER CAME UP"), "{stderr}");
}

#[test]
fn lists_come_from_the_code_and_read_as_json() {
    let place = Place::new();
    for what in ["calls", "faults", "presets", "runtimes"] {
        let (code, text, _) = out(place.launcher(&["list", what]));
        assert!(code == 0 && !text.is_empty());
        let (_, json, _) = out(place.launcher(&["list", what, "--json"]));
        let list: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
        for entry in &list {
            assert!(text.contains(entry["name"].as_str().unwrap()));
        }
        assert_eq!(
            list.len(),
            match what {
                "calls" => chaos_table::calls::CALLS.len(),
                "faults" => chaos_table::calls::FaultKind::ALL.len(),
                "presets" => chaos_table::presets::PRESETS.len(),
                _ => chaos_table::runtimes::RUNTIMES.len(),
            }
        );
    }
}

#[test]
fn check_says_what_a_table_will_do_and_gives_the_json_that_the_shim_reads() {
    let place = Place::new();
    fs::write(
        place.dir.path().join("t.yaml"),
        "seed: 42\nfaults:\n  - {name: slow, fault: latency, calls: connect, delay: 200ms, jitter: 50ms, to: '10.0.0.0/8:5432'}\n  - 'read=EIO@10%'\n",
    )
    .unwrap();
    let (code, text, stderr) = out(place.launcher(&["check", "t.yaml"]));
    assert_eq!(code, 0, "{stderr}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].contains("seed 42"));
    assert_eq!(lines[1], "slow: delay by 200ms +/- 50ms at connect, to 10.0.0.0/8:5432, every match");
    assert!(lines[2].contains("fail with EIO at read, 10% of the matches"), "{text}");
    let (_, json, _) = out(place.launcher(&["check", "t.yaml", "--json"]));
    let table = chaos_table::schema::Table::from_json(&json, "check").unwrap();
    assert_eq!((table.seed, table.faults.len()), (Some(42), 2));
}

#[test]
fn the_shim_the_manual_and_the_completions_are_written() {
    let place = Place::new();
    assert_eq!(out(place.launcher(&["shim", "-o", "shim.so"])).0, 0);
    assert!(fs::read(place.dir.path().join("shim.so")).unwrap().starts_with(b"\x7fELF"));
    let (code, manual, _) = out(place.launcher(&["man"]));
    assert!(code == 0 && manual.contains("\\-\\-max\\-faults"));
    for shell in ["bash", "zsh", "fish"] {
        let (code, text, _) = out(place.launcher(&["completions", shell]));
        assert!(code == 0 && text.contains("max-faults"), "{shell}");
    }
}
