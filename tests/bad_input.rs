//! Bad input: one clear error that names the place and a fix, the right exit code, the program not started, and
//! nothing left behind.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Place {
        // A strict one would keep the session elsewhere when it is root's.
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        let place = Place { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(place.path("work")).unwrap();
        place
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn launcher(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chaos-exec"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().contains("CHAOS_")) {
            command.env_remove(name);
        }
        command.env("XDG_STATE_HOME", self.path("state")).current_dir(self.path("work"));
        command
    }

    /// Runs with these arguments and checks that it fails as it should.
    fn refuses(&self, args: &[&str], code: i32, message: &str, help: &str) {
        self.check(self.launcher().args(args), code, message, help);
    }

    fn check(&self, command: &mut Command, code: i32, message: &str, help: &str) {
        let shown = format!("{command:?}");
        let Output { status, stdout, stderr } = command.output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("chaos-exec: error: ")).collect();
        assert_eq!(status.code(), Some(code), "{shown}\n{stderr}");
        assert_eq!(errors.len(), 1, "one error: {shown}\n{stderr}");
        assert!(errors[0].contains(message), "'{message}' in: {shown}\n{stderr}");
        let helps: Vec<&str> = stderr.lines().filter(|line| line.starts_with("help: ")).collect();
        assert!(helps.len() == 1 && helps[0].contains(help), "'{help}' in: {shown}\n{stderr}");
        assert!(stdout.is_empty(), "{shown}");
        assert!(!self.path("work/started").exists(), "the program was started: {shown}");
        assert!(!self.path("state").exists(), "something was left: {shown}");
    }
}

/// A command that leaves a mark when it is started.
const TOUCH: [&str; 3] = ["--", "touch", "started"];

fn with_touch<'a>(args: &[&'a str]) -> Vec<&'a str> {
    ["run"].iter().chain(args).chain(&TOUCH).copied().collect()
}

#[test]
fn wrong_options_are_refused_with_the_nearest_right_word() {
    let place = Place::new();
    for (args, message, help) in [
        (&["-f", "raed=EIO"][..], "unknown call `raed`", "`read`"),
        (&["-f", "read=EI0"], "EI0", "EIO"),
        (&["-f", "read=EIO@0.2"], "0.2", "20%"),
        (&["-f", "read=EIO@0"], "0", ""),
        (&["-f", "error calls=read errno=EIO rte=3"], "rte", "rate"),
        (&["-f", "latency calls=read delay=5parsecs"], "parsecs", "ms"),
        (&["-f", "error calls=read errno=EIO size=9..3"], "the range `9..3` is reversed", "write 3..9"),
        (&["-f", "error calls=read errno=EIO size=.."], "has no end", "1MB.."),
        (&["-f", "error calls=read errno=EIO size=big"], "`big` is no size", "a number and one of"),
        (&["-f", "error calls=open,read errno=EIO size=4KB"], "`size` can never match the call `", "leave `size` out"),
        (&["-f", "error calls=read errno=EIO direction=up"], "unknown direction `up`", "in, out"),
        (&["-f", "error calls=write errno=EIO direction=in"], "moves no data in that direction", "writes and sends"),
        (&["-f", "error calls=read errno=EIO caller="], "`caller=` has no value", "leave it out"),
        (&["-f", "error calls=read errno=EIO caller=lib[.so"], "the pattern `lib[.so` is malformed", ""),
        (&["-f", "error calls=read errno=EIO not=read"], "`not` takes a selector here", "not.path=*.log"),
        (&["-f", "error calls=read errno=EIO not.rate=3"], "`rate` is no key of `not`", "takes selectors"),
        (&["-f", "error calls=read errno=EIO not.pth=x"], "unknown key `pth` in `not`", "`path`"),
        (&["-f", "error calls=read errno=EIO not.calls=read"], "leaves out every call", "name fewer"),
        (&["-f", "error calls=read errno=EIO not.path=a not.path=b"], "`path` is given twice", "leave one"),
        (&["--chaos", "netwrok"], "--chaos: unknown preset `netwrok`", "`network`"),
        (&["--chaos", "disk", "--rate", "3"], "--rate: the rate `3` is not between 0 and 1", "3%"),
        (&["--chaos", "disk", "--rate", "-0.1"], "", ""),
        (&["--intensity", "extrem"], "--intensity", "extreme"),
        (&["--rate", "10%", "--intensity", "stress"], "cannot be used with", "--help"),
        (&["--seed", "-1"], "unexpected argument '-1'", "--help"),
        (&["--seed", "1e3"], "--seed: `1e3` is no number", "whole number"),
        (&["--for", "0s"], "--for", ""),
        (&["--timeout", "5x"], "--timeout: unknown unit `x`", "ms"),
        (&["--timeout", "0"], "--timeout", ""),
        (&["--max-faults", "0"], "--max-faults: 0 would never fire", "1"),
        (&["--log-size", "1KB"], "--log-size: this is too small", "--log-size 16MB"),
        (&["--log-size", "64QB"], "--log-size: this unit is unknown", "--log-size 16MB"),
        (&["--log-limit", "1KB"], "--log-limit: this is too small", "from 1MB up"),
        (&["--log-limit", "some"], "--log-limit: this is no size", "--log-limit 16MB"),
        (&["--wait", "forest"], "'forest' for '--wait <WHAT>'", ""),
        (&["--sede", "4"], "'--sede'", "'--seed'"),
        (&["-q", "-v"], "cannot be used with", "--help"),
        (&["--log", "-"], "stdout belongs to the target", "name a file"),
        (
            &["--log", "/nosuch/dir/log"],
            "cannot write /nosuch/dir/log: No such file or directory",
            "directory that can be written",
        ),
        (&["--log", "/"], "it is a directory", "name a file"),
        (&["--out", "/proc/x"], "cannot make the session directory /proc/x", "--out DIR"),
        (&["--engine", "ptrace"], "[possible values: auto, preload, seccomp]", "--help"),
    ] {
        let args = with_touch(args);
        let output = place.launcher().args(&args).output().unwrap();
        // Where the help is not told here, any one line will do, or none.
        if help.is_empty() {
            assert_eq!(output.status.code(), Some(125), "{args:?}");
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert!(stderr.starts_with("chaos-exec: error: ") && stderr.contains(message), "{args:?}\n{stderr}");
            assert!(!place.path("work/started").exists() && !place.path("state").exists(), "{args:?}");
        } else {
            place.refuses(&args, 125, message, help);
        }
    }
}

#[test]
fn wrong_table_files_are_refused_with_their_place() {
    let place = Place::new();
    let file = place.path("work/t.yaml");
    let run = with_touch(&["-t", "t.yaml"]);
    let refused = |text: &[u8], message: &str| {
        fs::write(&file, text).unwrap();
        for args in [&run[..], &["check", "t.yaml"]] {
            let output = place.launcher().args(args).output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(125), "{message}: {stderr}");
            assert!(stderr.starts_with("chaos-exec: error: t.yaml") && stderr.contains(message), "{message}: {stderr}");
            assert!(!place.path("work/started").exists() && !place.path("state").exists());
        }
    };
    refused(b"seed: 42\nfalts: []\n", "t.yaml:2");
    refused(b"faults:\n  - {fault: error, calls: raed, errno: EIO}\n", "t.yaml:2");
    refused(b"faults:\n  - {fault: error, calls: read, errno: EIO, rate: 3}\n", "between 0 and 1");
    refused(b"faults:\n  - {fault: error, calls: read, errno: EIO, nth: 0}\n", "t.yaml:2");
    refused(b"", "empty");
    refused(&[0, 159, 146, 150, 0, 0], "t.yaml");
    refused(&vec![b' '; 3 << 20], "t.yaml");
    fs::remove_file(&file).unwrap();
    let output = place.launcher().args(&run).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("chaos-exec: error: t.yaml: "));
}

#[test]
fn wrong_variables_are_refused() {
    let place = Place::new();
    for (name, value, message) in [
        ("CHAOS_SEDE", "1", "CHAOS_SEDE"),
        ("CHAOS_SEED", "x", "CHAOS_SEED"),
        ("CHAOS_TABLE", "raed=EIO", "CHAOS_TABLE"),
        ("CHAOS_TABLE", "", "CHAOS_TABLE"),
        ("CHAOS_RATE", "2", "CHAOS_RATE"),
    ] {
        let output = place.launcher().env(name, value).args(with_touch(&[])).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(125), "{name}={value}: {stderr}");
        assert!(stderr.starts_with("chaos-exec: error: ") && stderr.contains(message), "{name}={value}: {stderr}");
        assert!(!place.path("work/started").exists() && !place.path("state").exists());
    }
}

#[test]
fn a_command_that_cannot_be_run_is_126_and_one_that_is_not_there_127() {
    let place = Place::new();
    fs::write(place.path("work/plain"), "no program").unwrap();
    fs::write(place.path("work/bad"), "#!/nosuch/interpreter\n").unwrap();
    fs::set_permissions(place.path("work/bad"), fs::Permissions::from_mode(0o755)).unwrap();
    for (command, code, message, help) in [
        ("nosuch", 127, "cannot find the command 'nosuch': it is not in PATH", "spelling"),
        ("./nosuch", 127, "there is no such file", "spelling"),
        ("./plain/x", 127, "there is no such file", "spelling"),
        ("./plain", 126, "it is not executable", "chmod +x ./plain"),
        ("/", 126, "it is a directory", "program"),
        ("./bad", 126, "its interpreter is missing", "program"),
    ] {
        place.refuses(&["run", "--", command], code, message, help);
        place.refuses(&["run", "--out", "out", "--log", "log", "--", command], code, message, help);
        assert!(!place.path("work/out").exists() && !place.path("work/log").exists(), "{command}");
    }
    place.refuses(&["run"], 125, "<CMD>", "--help");
    place.refuses(&["run", "--", ""], 125, "the command is empty", "--");
}

#[test]
fn a_launcher_under_another_is_refused_as_it_would_inject_nothing() {
    let place = Place::new();
    let inner = with_touch(&["-f", "open=EIO", "--out", "inner"]);
    let mut command = place.launcher();
    command.args(["run", "-q", "--out", "outer", "--", env!("CARGO_BIN_EXE_chaos-exec")]).args(inner);
    let Output { status, stderr, .. } = command.output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(125), "{stderr}");
    assert!(stderr.starts_with("chaos-exec: error: this chaos-exec runs under another one"), "{stderr}");
    assert!(!place.path("work/started").exists() && !place.path("work/inner").exists());
}

#[test]
fn a_directory_that_holds_a_session_is_not_used_again() {
    let place = Place::new();
    let run = ["run", "-q", "--out", "s", "--", "true"];
    assert!(place.launcher().args(run).status().unwrap().success());
    let before = fs::read(place.path("work/s/session.json")).unwrap();
    fs::remove_dir_all(place.path("state")).unwrap();
    place.refuses(&["run", "--out", "s", "--", "touch", "started"], 125, "already holds a session", "--out DIR");
    assert_eq!(fs::read(place.path("work/s/session.json")).unwrap(), before);
}

#[test]
fn a_directory_that_is_full_is_said_to_be() {
    let place = Place::new();
    fs::create_dir(place.path("small")).unwrap();
    let script = "mount -t tmpfs -o size=3m tmpfs ../small && \"$0\" run --out ../small/s -- touch started; \
                  code=$?; ls -A ../small >&2; exit $code";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_chaos-exec")]);
    command.env("XDG_STATE_HOME", place.path("state")).current_dir(place.path("work"));
    let output = command.output().expect("unshare is part of every Debian");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(output.status.code(), Some(125), "{stderr}");
    assert!(lines[0].contains("is full: a session needs 4194304 bytes"), "{stderr}");
    assert!(lines[1].starts_with("help: ") && lines[1].contains("--log-size"), "{stderr}");
    assert_eq!(lines.len(), 2, "nothing is left in the directory: {stderr}");
    assert!(!place.path("work/started").exists());
}

#[test]
fn a_session_that_does_not_fit_where_it_belongs_stays_where_it_was_and_is_found() {
    let place = Place::new();
    fs::create_dir(place.path("sm all")).unwrap();
    // No place for a shim, so that the session lies elsewhere until the run is over; and too small for it then.
    let script = "mount -t tmpfs -o size=3m tmpfs '../sm all' && \"$0\" run -q -f open=EIO --out '../sm all/s' -- cat ../data; \
                  echo $?; ls '../sm all/s'; \"$0\" log '../sm all/s' --format jsonl; \
                  rm -r \"$(dirname \"$(sed -n 's/.*\"session_file\": \"\\(.*\\)\".*/\\1/p' '../sm all/s/session.json')\")\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_chaos-exec")]);
    command.env("XDG_STATE_HOME", place.path("state")).current_dir(place.path("work"));
    fs::write(place.path("data"), "data").unwrap();
    let output = command.output().expect("unshare is part of every Debian");
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(out.starts_with("1\n") && err.contains("cat: ../data: Input/output error"), "{out}{err}");
    assert!(!out.contains("\nsession\n") && out.contains("\nsession.json\n"), "{out}{err}");
    assert!(out.contains("\"type\":\"injection\"") && out.contains("\"type\":\"end\""), "{out}{err}");
}

/// A session that has been made by a run, for spoiling.
fn session(place: &Place) -> std::path::PathBuf {
    assert!(place.launcher().args(["run", "-q", "--out", "s", "--", "true"]).status().unwrap().success());
    let meta: serde_json::Value =
        serde_json::from_slice(&fs::read(place.path("work/s/session.json")).unwrap()).unwrap();
    place.path("work/s").join(meta["session_file"].as_str().unwrap())
}

fn log_fails(place: &Place, session: &Path, message: &str) {
    let output = place.launcher().arg("log").arg(session).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(125), "{message}: {stderr}");
    assert!(stderr.starts_with("chaos-exec: error: ") && stderr.contains(message), "{message}: {stderr}");
    assert_eq!(stderr.lines().count(), 2, "{stderr}");
}

#[test]
fn a_session_that_is_none_or_is_damaged_is_refused() {
    let place = Place::new();
    let file = session(&place);
    let whole = fs::read(&file).unwrap();
    log_fails(&place, &place.path("nosuch"), "there is no session at");
    log_fails(&place, Path::new("nosuch"), "there is no session 'nosuch'");
    log_fails(&place, Path::new("/etc/passwd"), "it is not a chaos-exec session");
    log_fails(&place, &place.path("work"), "holds no session");
    log_fails(&place, Path::new("/dev/null"), "cannot be read");

    let spoil = |change: &dyn Fn(&mut Vec<u8>), message: &str| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        fs::write(&file, &bytes).unwrap();
        log_fails(&place, &file, message);
        log_fails(&place, &place.path("work/s"), message);
    };
    spoil(&|bytes| bytes.truncate(5000), "it is cut short: 5000 bytes of 4194304");
    spoil(&|bytes| bytes.truncate(100), "it is not a chaos-exec session");
    spoil(&Vec::clear, "it is not a chaos-exec session");
    spoil(&|bytes| bytes[0] ^= 1, "it is not a chaos-exec session");
    spoil(&|bytes| bytes[8] = 99, "it has layout version 99, this build reads");
    spoil(&|bytes| bytes[48..120].fill(0xff), "its layout is damaged");
    // `head` and `tail`, see the layout of the header.
    let head = std::mem::offset_of!(chaos_table::session::Header, head);
    let tail = std::mem::offset_of!(chaos_table::session::Header, tail);
    spoil(&|bytes| bytes[head..head + 8].fill(0xff), "its ring is damaged");
    spoil(&|bytes| bytes[tail..tail + 8].fill(0x7f), "its ring is damaged");
}

#[test]
fn any_spoiled_byte_of_a_session_ends_in_an_error_or_a_log_and_never_in_a_panic() {
    let place = Place::new();
    let file = session(&place);
    let whole = fs::read(&file).unwrap();
    for seed in 0..40usize {
        let mut bytes = whole.clone();
        for spot in 0..40 {
            let at = (seed * 7919 + spot * 104_729) % if spot % 2 == 0 { 1024 } else { bytes.len() };
            bytes[at] = (seed * 31 + spot * 17) as u8;
        }
        fs::write(&file, &bytes).unwrap();
        let output = place.launcher().args(["log", "s", "--format", "jsonl"]).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(matches!(output.status.code(), Some(0 | 125)), "seed {seed}: {:?} {stderr}", output.status);
        assert!(!stderr.contains("panicked"), "seed {seed}: {stderr}");
    }
}

#[test]
fn a_log_that_is_cut_is_printed_as_far_as_it_goes() {
    let place = Place::new();
    session(&place);
    let log = place.path("work/s/log.bin");
    OpenOptions::new()
        .append(true)
        .open(&log)
        .map(|mut file| std::io::Write::write_all(&mut file, &[7; 64]))
        .unwrap()
        .unwrap();
    let output = place.launcher().args(["log", "s", "--format", "jsonl"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8(output.stderr).unwrap().contains("1 damaged place of its log was left out"));
    assert!(output.stdout.starts_with(b"{\"type\":\"start\""));
}

#[test]
fn wrong_faults_of_the_network_are_refused() {
    let place = Place::new();
    for (spec, message, help) in [
        ("throttle", "throttle says not how fast", "bandwidth=64KB/s"),
        ("throttle bandwidth=64KB", "the bandwidth `64KB` is not per second", "64KB/s"),
        ("throttle bandwidth=0B/s", "nothing would ever move", "1B/s"),
        ("throttle bandwidth=64QB/s", "unknown unit `QB` in the bandwidth", "KB"),
        ("throttle bandwidth=64/s", "the bandwidth `64` has no unit", "KB"),
        ("throttle bandwidth=fast/s", "`fast` is no bandwidth", "a number"),
        ("throttle bandwidth=-1KB/s", "`-1KB` is no bandwidth", "a number"),
        ("throttle bandwidth=99999999999TB/s", "too large", "2^64"),
        ("throttle rate=64KB/s", "`64KB/s` is no rate", "bandwidth"),
        ("throttle bandwith=64KB/s", "`bandwith`", "`bandwidth`"),
        ("throttle bandwidth=1KB/s calls=connect", "throttle does not fit the call `connect`", "read"),
        ("throttle bandwidth=1KB/s mode=end", "`mode` is a parameter of disconnect, not of throttle", "bandwidth"),
        ("latency calls=read bandwidth=1KB/s", "`bandwidth` is a parameter of throttle", "delay"),
        ("disconnect after_bytes=0B", "the size `0B` is zero", "1B"),
        ("disconnect after_bytes=64", "the size `64` has no unit", "KB"),
        ("disconnect after_bytes=many", "`many` is no size", "a number"),
        ("disconnect after_byte=1KB", "`after_byte`", "`after_bytes`"),
        ("disconnect delay=1s", "`delay` is a parameter of latency and unreachable", "after_bytes"),
        ("refuse after_bytes=1KB", "`after_bytes` is a parameter of disconnect", "no parameters"),
        ("unreachable errno=EIO", "EIO does not say that a peer is unreachable", "EHOSTUNREACH"),
        ("unreachable errno=EAI_AGAIN", "EAI_AGAIN does not say", "EHOSTUNREACH"),
        ("unreachable errno=ETIMEDOUT,EHOSTUNREACH", "unreachable has one errno", "a fault of each"),
        ("unreachable errno=EHOSTUNREACHABLE", "EHOSTUNREACHABLE", "EHOSTUNREACH"),
        ("unreachable calls=recv", "unreachable does not fit the call `recv`", "connect"),
        ("unreachable delay=5", "has no unit", "ms"),
        ("connect=unreachable:EIO", "EIO does not say that a peer is unreachable", "EHOSTUNREACH"),
        ("read=throttle:1MB", "not per second", "1MB/s"),
        ("connect=unreachabel", "unknown effect `unreachabel`", "unreachable"),
        ("hang calls=poll to=:80", "`to` can never match the call `poll`", "leave `to` out"),
        ("short calls=select", "short does not fit the call `select`", "read"),
        ("error calls=gethostbyname errno=EIO", "`gethostbyname` fails with EAI_ codes", "EAI_AGAIN"),
        ("error calls=poll errno=EAI_AGAIN", "EAI_ codes are for look-ups of names, not for `poll`", "EIO"),
        ("dns calls=connect", "dns does not fit the call `connect`", "getaddrinfo"),
        ("error calls=epol_wait", "unknown call `epol_wait`", "`epoll_wait`"),
        ("exhaust what=files limit=10 calls=epoll_wait", "exhaust does not fit the call `epoll_wait`", "open"),
    ] {
        place.refuses(&with_touch(&["-f", spec]), 125, message, help);
    }
}
