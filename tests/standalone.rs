//! LD_PRELOAD without the launcher: the same table from the environment, one session for the whole tree, and no silent
//! failure.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::complaints::Complaints;
use common::{Done, Run, Scene, guest, program, python, read_log, shim};

/// Sessions that nobody has named lie in the scene.
fn preloaded<'a>(scene: &'a Scene, variables: &[(&str, &str)]) -> Run<'a> {
    let run = scene.bare().env("LD_PRELOAD", shim()).env("TMPDIR", scene.path(""));
    variables.iter().fold(run, |run, (name, value)| run.env(name, value))
}

#[test]
fn a_table_can_be_lines_json_or_a_file() {
    let scene = Scene::new();
    let json = r#"{"faults": [{"fault": "error", "calls": "read", "errno": "EIO", "nth": 3}]}"#;
    scene.write("table.json", json);
    let absolute = scene.text("table.json");
    let at = format!("@{absolute}");
    for table in ["read=EIO@3", "error calls=read errno=EIO nth=3", json, "./table.json", &absolute, &at, "@table.json"]
    {
        let done = preloaded(&scene, &[("CHAOS_TABLE", table)]).go(&[&guest("loop"), "5"]);
        assert_eq!(done.out.trim(), "0.0: EIO@3", "{table}: {}", done.story());
        drop(done.ended(0));
    }
    preloaded(&scene, &[("CHAOS_TABLE", "read=EIO@3; read=ENOSPC@4")])
        .go(&[&guest("loop"), "5"])
        .said("0.0: EIO@3 ENOSPC@4");
}

/// The sessions that lie where `$TMPDIR` says.
fn sessions(scene: &Scene) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(scene.path("")).unwrap().map(|file| file.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|end| end == "session")).collect()
}

#[test]
fn a_session_without_a_name_stays_among_the_temporary_files() {
    let scene = Scene::new();
    preloaded(&scene, &[("CHAOS_TABLE", "read=EIO@2")]).go(&[&guest("loop"), "3"]).said("0.0: EIO@2");
    let [session] = &sessions(&scene)[..] else { panic!("{:?}", sessions(&scene)) };
    assert!(session.file_name().unwrap().to_str().unwrap().starts_with("chaos-exec-"), "{session:?}");
    assert_eq!(read_log(session).iter().filter(|line| line["type"] == "injection").count(), 1);
}

#[test]
fn children_share_one_session_and_one_log() {
    let scene = Scene::new();
    let log = scene.text("session.log");
    let variables = [("CHAOS_TABLE", "error calls=read errno=EIO nth=2..4 per=tree"), ("CHAOS_LOG", log.as_str())];
    preloaded(&scene, &variables).go(&[&guest("loop"), "10", "-p", "4"]).ended(0);
    let injections = |log: &str| read_log(log.as_ref()).into_iter().filter(|line| line["type"] == "injection").count();
    assert_eq!(injections(&log), 3);

    // By exec and with an emptied environment too.
    let log = scene.text("other.log");
    let line = "head -c1 data.bin; env -i head -c1 data.bin; sh -c 'exec head -c1 data.bin'; echo done";
    let table = "error calls=read errno=EIO path=data.bin process=head";
    let variables = [("CHAOS_TABLE", table), ("CHAOS_LOG", log.as_str())];
    preloaded(&scene, &variables).go(&[&program("dash", "dash"), "-c", line]).said("done");
    let log = read_log(log.as_ref());
    let lineages: Vec<&str> =
        log.iter().filter(|line| line["type"] == "injection").map(|line| line["lineage"].as_str().unwrap()).collect();
    assert_eq!(lineages, ["0.1", "0.2", "0.3"], "{log:?}");
}

#[test]
fn processes_that_start_at_once_with_one_log_do_not_lose_each_others_faults() {
    let scene = Scene::new();
    let log = scene.text("session.log");
    let variables = [("CHAOS_TABLE", "read=EIO"), ("CHAOS_LOG", log.as_str())];
    let loop_guest = guest("loop");
    let running: Vec<_> = (0..8).map(|_| preloaded(&scene, &variables).start(&[&loop_guest, "100"])).collect();
    for run in running {
        assert_eq!(run.end().ended(0).out.matches("EIO").count(), 100);
    }
    let injections = read_log(log.as_ref()).into_iter().filter(|line| line["type"] == "injection").count();
    assert_eq!(injections, 800);
}

#[test]
fn the_target_does_not_see_our_variables() {
    let scene = Scene::new();
    let env = program("env", "coreutils");
    let bare = || scene.bare().env("A", "b").env("TMPDIR", scene.path(""));
    let alone = bare().go(&[&env, "-0"]).ended(0);
    let variables = [("CHAOS_TABLE", "read=EIO@3"), ("CHAOS_SEED", "1"), ("A", "b")];
    preloaded(&scene, &variables).go(&[&env, "-0"]).said(&alone.out);
    let line = "env; env -i env";
    let bash = program("bash", "bash");
    let alone = bare().go(&[&bash, "-c", line]).ended(0);
    preloaded(&scene, &variables).go(&[&bash, "-c", line]).said(&alone.out);
}

#[test]
fn nothing_configured_passes_through_in_silence() {
    let scene = Scene::new();
    let script = "
import os, subprocess
print(sorted(os.listdir('/proc/self/fd')), sorted(os.environ))
print(subprocess.run(['env'], capture_output=True, text=True).stdout)
os.read(os.open('data.bin', os.O_RDONLY), 1)
";
    let command = [&python(), "-c", script];
    // What the user preloads stays visible to the user: with nothing to do, we do nothing.
    let with_other = |variables: &[(&str, &str)]| preloaded(&scene, variables).go(&command).ended(0);
    let silent = with_other(&[]);
    assert_eq!(silent.err, "", "{}", silent.story());
    let bare = scene.bare().env("TMPDIR", scene.path("")).go(&command).ended(0);
    let without_preload = |text: &str| {
        let lines: Vec<String> = text
            .lines()
            .filter(|line| !line.starts_with("LD_PRELOAD="))
            .map(|l| l.replace("'LD_PRELOAD', ", ""))
            .collect();
        lines.join("\n")
    };
    assert_eq!(without_preload(&silent.out), without_preload(&bare.out));
    assert!(!scene.path("state").exists() && sessions(&scene).is_empty(), "a session was made for nothing");
    let off = with_other(&[("CHAOS_TABLE", "read=EIO"), ("CHAOS_ENABLED", "false")]);
    assert_eq!(off.err, "", "{}", off.story());
    let empty = with_other(&[("CHAOS_SEED", "3")]);
    assert_eq!(empty.err, "", "{}", empty.story());
}

/// One line that says what is wrong, exit 125, and the program never started.
fn refused(complaints: &mut Complaints, what: &str, done: &Done, hint: &str) {
    complaints.expect(&format!("{what}: exit code"), done.code, 125);
    complaints.expect(&format!("{what}: the program ran"), done.out.as_str(), "");
    complaints.expect(&format!("{what}: lines on stderr, {}", done.err), done.err.lines().count(), 1);
    complaints.check(done.err.contains(hint), || format!("{what}: no {hint:?} in {}", done.err));
    complaints.check(done.err.contains("chaos"), || format!("{what}: says not who speaks: {}", done.err));
}

#[test]
fn a_wrong_table_or_variable_ends_the_program_before_it_starts() {
    let scene = Scene::new();
    scene.write("table.yaml", "faults: [{fault: error}]\n");
    scene.write("broken.json", "{\"faults\": [");
    scene.write("empty.json", "");
    scene.write("binary.json", [0u8, 159, 146, 150, 255]);
    let mut complaints = Complaints::default();
    for (name, value, hint) in [
        ("CHAOS_TABLE", "raed=EIO", "read"),
        ("CHAOS_TABLE", "read=EIOO", "EIO"),
        ("CHAOS_TABLE", "read=EIO@0.2", "%"),
        ("CHAOS_TABLE", "read=EIO@120%", "120"),
        ("CHAOS_TABLE", "read=EIO@0", "0"),
        ("CHAOS_TABLE", "error calls=read errno=EIO pth=x", "path"),
        ("CHAOS_TABLE", "latency calls=read delay=5lightyears", "lightyears"),
        ("CHAOS_TABLE", "malloc=short", "malloc"),
        ("CHAOS_TABLE", "{\"faults\": [", "CHAOS_TABLE"),
        ("CHAOS_TABLE", "{\"fault\": []}", "faults"),
        ("CHAOS_TABLE", "./table.yaml", "chaos-exec check --json"),
        ("CHAOS_TABLE", "./broken.json", "broken.json"),
        ("CHAOS_TABLE", "./empty.json", "empty.json"),
        ("CHAOS_TABLE", "./binary.json", "binary.json"),
        ("CHAOS_TABLE", "./missing.json", "missing.json"),
        ("CHAOS_TABLE", "/etc", "/etc"),
        ("CHAOS_SEED", "many", "CHAOS_SEED"),
        ("CHAOS_SEED", "-1", "CHAOS_SEED"),
        ("CHAOS_RATE", "2", "CHAOS_RATE"),
        ("CHAOS_ENABLED", "perhaps", "CHAOS_ENABLED"),
        ("CHAOS_TYPES", "weather", "weather"),
        ("CHAOS_DURATION", "soon", "CHAOS_DURATION"),
        ("CHAOS_LOG", "/nowhere/at/all.log", "/nowhere/at"),
        ("CHAOS_TABEL", "read=EIO", "CHAOS_TABLE"),
        ("CHAOS_CRASH_PROBABILITY", "often", "CHAOS_CRASH_PROBABILITY"),
        ("CHAOS_DELAY_MS", "-5", "CHAOS_DELAY_MS"),
    ] {
        let mut variables = vec![(name, value)];
        if name != "CHAOS_TABLE" {
            variables.push(("CHAOS_TABLE", "read=EIO@3"));
        }
        let done = preloaded(&scene, &variables).go(&[&guest("loop"), "5"]);
        refused(&mut complaints, &format!("{name}={value}"), &done, hint);
    }
    complaints.none();
}

#[test]
fn a_log_that_is_no_session_is_refused_and_left_as_it_is() {
    let scene = Scene::new();
    let log = scene.write("precious.txt", "not a session");
    let done = preloaded(&scene, &[("CHAOS_TABLE", "read=EIO"), ("CHAOS_LOG", &log)]).go(&[&guest("loop"), "5"]);
    let mut complaints = Complaints::default();
    refused(&mut complaints, "precious.txt", &done, "precious.txt");
    complaints.none();
    assert_eq!(scene.read("precious.txt"), b"not a session");
}

#[test]
fn a_session_of_another_version_is_refused_by_shim_and_log() {
    let scene = Scene::new();
    let session = scene.path("other.session").display().to_string();
    let variables = [("CHAOS_TABLE", "read=EIO@1"), ("CHAOS_LOG", session.as_str()), ("CHAOS_SEED", "1")];
    preloaded(&scene, &variables).go(&[&guest("loop"), "5"]).ended(0);
    let mut bytes = std::fs::read(&session).unwrap();
    // Behind the magic number stands the version of the layout.
    bytes[8..12].copy_from_slice(&99u32.to_le_bytes());
    std::fs::write(&session, bytes).unwrap();
    let mut complaints = Complaints::default();
    let done = preloaded(&scene, &variables).go(&[&guest("loop"), "5"]);
    refused(&mut complaints, "the shim", &done, "version 99");
    complaints.none();
    // A child that finds it so runs on without faults.
    let child = [("_CHAOS_SESSION", session.as_str()), ("_CHAOS_LINEAGE", "0.1,0,1,-,-")];
    preloaded(&scene, &child).go(&[&guest("loop"), "5"]).ended(0);
    let log = scene.bare().go(&[env!("CARGO_BIN_EXE_chaos-exec"), "log", &session]).ended(125);
    assert!(log.err.contains("version 99"), "{}", log.err);
}

#[test]
fn the_seed_is_the_variable() {
    let scene = Scene::new();
    let go = |name: &str, seed: &str| {
        let variables = [("CHAOS_TABLE", "read=EIO@30%"), (name, seed)];
        preloaded(&scene, &variables).go(&[&guest("loop"), "60"]).ended(0).out
    };
    assert_eq!(go("CHAOS_SEED", "7"), go("CHAOS_SEED", "7"));
    assert_eq!(go("CHAOS_SEED", "7"), go("CHAOS_RANDOM_SEED", "7"));
    assert_ne!(go("CHAOS_SEED", "7"), go("CHAOS_SEED", "8"));
    // And the same as under the launcher.
    let done = scene.under(&["read=EIO@30%"]).options(&["--seed", "7"]).go(&[&guest("loop"), "60"]).ended(0);
    assert_eq!(done.out, go("CHAOS_SEED", "7"));
}

#[test]
fn each_variable_of_its_own_is_a_rule() {
    let scene = Scene::new();
    let reading =
        "import os; fd = os.open('data.bin', os.O_RDONLY); [os.pread(fd, 64, 0) for _ in range(20)]; print('end')";
    let go = |variables: &[(&str, &str)]| preloaded(&scene, variables).go(&[&python(), "-c", reading]);
    go(&[("CHAOS_CRASH_PROBABILITY", "1")]).ended(137);
    go(&[("CHAOS_CRASH_PROBABILITY", "0")]).said("end");
    let log = |name: &str, variables: &[(&str, &str)]| {
        let path = scene.text(name);
        let mut all = variables.to_vec();
        all.push(("CHAOS_LOG", &path));
        drop(go(&all).ended(0));
        let lines = read_log(path.as_ref());
        lines.into_iter().filter(|line| line["type"] == "injection").map(|l| l["fault"].to_string()).collect::<Vec<_>>()
    };
    let delays = log("delay", &[("CHAOS_DELAY_MS", "1"), ("CHAOS_DELAY_PROBABILITY", "1")]);
    assert!(!delays.is_empty() && delays.iter().all(|fault| fault == "\"latency\""), "{delays:?}");
    let corruptions = log("corrupt", &[("CHAOS_CORRUPTION_PROBABILITY", "1")]);
    assert!(!corruptions.is_empty() && corruptions.iter().all(|fault| fault == "\"corrupt\""), "{corruptions:?}");
}

#[test]
fn presets_come_by_variable_too() {
    let scene = Scene::new();
    let log = scene.text("session.log");
    let script = "
for i in range(40):
    try:
        open('own.txt', 'w').write('x' * 100)
    except OSError:
        pass
";
    let variables = [("CHAOS_TYPES", "disk"), ("CHAOS_RATE", "0.5"), ("CHAOS_SEED", "3"), ("CHAOS_LOG", &log)];
    preloaded(&scene, &variables).go(&[&python(), "-c", script]).ended(0);
    let injections = read_log(log.as_ref()).into_iter().filter(|line| line["type"] == "injection").count();
    assert!(injections > 5, "{injections}");
}

#[test]
fn the_launcher_reads_the_variables_and_its_options_win() {
    let scene = Scene::new();
    let under = |options: &[&str]| {
        scene.under(&[]).options(options).env("CHAOS_TABLE", "read=EIO@1").go(&[&guest("loop"), "3"])
    };
    under(&[]).said("0.0: EIO@1");
    under(&["--fault", "read=ENOSPC@2"]).said("0.0: EIO@1 ENOSPC@2");
    let go = |run: Run| run.go(&[&guest("loop"), "60"]).ended(0).out;
    let by_option = go(scene.under(&["read=EIO@30%"]).options(&["--seed", "9"]));
    assert_eq!(go(scene.under(&["read=EIO@30%"]).options(&["--seed", "9"]).env("CHAOS_SEED", "5")), by_option);
}
