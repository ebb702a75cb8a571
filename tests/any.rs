//! Any process: static, Go and musl programs under the supervisor, trees of both engines, and places that forbid it.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::server::serve;
use common::{Done, Scene, compile, go, guest, musl_static_pie, program, python};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

const COPIER: &str = r#"
package main

import ("fmt"; "io"; "os")

func main() {
	for round := 0; round < 6; round++ {
		if err := copy(os.Args[1], os.Args[2]); err != nil { fmt.Println(round, err) } else { fmt.Println(round, "copied") }
	}
}

func copy(from, to string) error {
	in, err := os.Open(from)
	if err != nil { return err }
	defer in.Close()
	out, err := os.Create(to)
	if err != nil { return err }
	defer out.Close()
	_, err = io.Copy(struct{ io.Writer }{out}, struct{ io.Reader }{in})
	return err
}
"#;

const CLIENT: &str = r#"
package main

import ("fmt"; "io"; "net/http"; "os")

func main() {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for round := 0; round < 4; round++ {
		answer, err := client.Get(os.Args[1])
		if err != nil { fmt.Println(round, err); continue }
		body, err := io.ReadAll(answer.Body)
		fmt.Println(round, answer.StatusCode, len(body), err)
	}
}
"#;

/// Reads a file, then starts what its other arguments say.
const STARTER: &str = r#"
package main

import ("fmt"; "os"; "os/exec")

func main() {
	data, err := os.ReadFile(os.Args[1])
	fmt.Println("go", len(data), err)
	if len(os.Args) > 2 {
		child := exec.Command(os.Args[2], os.Args[3:]...)
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if err := child.Run(); err != nil { fmt.Println("go", err) }
	}
}
"#;

/// The engines of each process, by its lineage and name; the last image counts.
fn engines(done: &Done) -> BTreeMap<String, String> {
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let lines = done.lines("process");
    lines.iter().map(|line| (text(line, "lineage") + " " + &text(line, "process"), text(line, "engine"))).collect()
}

fn all_under(done: &Done, engine: &str) {
    let engines = engines(done);
    assert!(!engines.is_empty() && engines.values().all(|found| found == engine), "{engines:?}\n{}", done.story());
    assert_eq!(done.lines("escape").len(), 0, "{}", done.story());
}

#[test]
fn a_static_go_program_copies_files_until_its_calls_fail() {
    let scene = Scene::new();
    let copier = go(&scene, "copier", COPIER, "0", &[]);
    let (from, to) = (scene.text("data.bin"), scene.text("copy"));
    let bare = scene.bare().go(&[&copier, &from, &to]).ended(0);
    assert_eq!(bare.out.matches("copied").count(), 6);
    // Nothing fires: it cannot tell.
    let done = scene.under(&["error calls=read,write,open errno=EIO path=/nowhere/*"]).go(&[&copier, &from, &to]);
    let done = done.said(&bare.out);
    all_under(&done, "seccomp");
    assert!(done.err.contains("coverage: 1 process: 1 under the supervisor"), "{}", done.story());

    let faults =
        ["error calls=open errno=EACCES path=data.bin nth=2", "error calls=write errno=ENOSPC path=copy nth=3"];
    let done = scene.under(&faults).go(&[&copier, &from, &to]).ended(0);
    let lines: Vec<&str> = done.out.lines().collect();
    assert!(
        lines[1].ends_with("permission denied") && lines[3].ends_with("no space left on device"),
        "{}",
        done.story()
    );
    assert_eq!((done.out.matches("copied").count(), done.injections().len()), (4, 2), "{}", done.story());
    all_under(&done, "seccomp");
}

#[test]
fn a_static_go_client_is_refused() {
    let scene = Scene::new();
    let client = go(&scene, "client", CLIENT, "0", &[]);
    let address = serve(b"a page");
    let url = format!("http://{address}/");
    let done = scene.under(&["connect=ECONNREFUSED@2"]).go(&[&client, &url]).ended(0);
    let lines: Vec<&str> = done.out.lines().collect();
    assert!(lines[1].ends_with("connection refused"), "{}", done.story());
    assert!([0, 2, 3].iter().all(|round| lines[*round].contains(" 200 ")), "{}", done.story());
    let injections = done.injections();
    assert_eq!((injections.len(), injections[0]["resource"].as_str()), (1, Some(address.as_str())), "{}", done.story());
}

#[test]
fn static_c_programs_of_every_sort_are_hit_as_dynamic_ones_are() {
    let scene = Scene::new();
    let data = scene.text("data.bin");
    let fault = "error calls=read errno=EIO path=data.bin nth=2";
    let programs =
        [guest("wrappers"), compile("wrappers", "wrappers-static", &["-static"]), musl_static_pie("wrappers")];
    let rounds = |path: &str| scene.under(&[fault]).go(&[path, &data, "3"]).ended(0);
    let expected = rounds(&programs[0]);
    assert!(expected.out.contains("1 open 0/0 read -1/5"), "{}", expected.story());
    all_under(&expected, "preload");
    for path in &programs[1..] {
        let done = rounds(path);
        assert_eq!(done.out, expected.out, "{}", done.story());
        assert_eq!(done.injections().len(), 1, "{}", done.story());
        all_under(&done, "seccomp");
    }
    let busybox = program("busybox", "busybox-static");
    let done = scene.under(&["open=ENOENT@1"]).go(&[&busybox, "cat", &data]).ended(1);
    assert!(done.err.contains("No such file or directory"), "{}", done.story());
}

/// What was injected, as far as both engines can tell the same.
fn told(done: &Done) -> Vec<String> {
    let keys = ["rule", "fault", "call", "errno", "effect", "resource", "nth", "requested", "result", "lineage"];
    let line = |line: &Value| keys.map(|key| line[key].to_string()).join(" ");
    done.injections().iter().map(line).collect()
}

#[test]
fn the_same_table_and_seed_give_the_same_faults_dynamic_and_static() {
    let scene = Scene::new();
    let data = scene.text("data.bin");
    let table = scene.write(
        "table.yaml",
        "arm: exec
faults:
  - {fault: error, path: 'data.bin*', rate: 15%,
     calls: [open, read, pread, readv, fstat, write, fsync, ftruncate, rename, unlink, mkdir, rmdir]}
  - {fault: short, calls: [read, write], path: 'data.bin*', rate: 20%}
  - {fault: error, calls: fstat, errno: EIO, path: data.bin, nth: 4}
  - {fault: error, calls: mkdir, errno: {ENOSPC: 3, EDQUOT: 1}, every: 5, after: 2}
",
    );
    let dynamic = guest("wrappers");
    let fixed = compile("wrappers", "wrappers-static", &["-static"]);
    for seed in ["1", "77"] {
        let run = |path: &str| scene.under(&[]).options(&["--seed", seed, "--table", &table]).go(&[path, &data, "40"]);
        let (one, other) = (run(&dynamic).ended(0), run(&fixed).ended(0));
        assert!(one.injections().len() > 50, "{}", one.story());
        assert_eq!(one.out, other.out, "seed {seed}: {}", other.story());
        assert_eq!(told(&one), told(&other), "seed {seed}");
        all_under(&one, "preload");
        all_under(&other, "seccomp");
    }
}

#[test]
fn a_tree_of_both_engines_is_hit_once_a_call_and_every_process_has_its_place() {
    let scene = Scene::new();
    let starter = go(&scene, "starter", STARTER, "0", &[]);
    let (python, bash) = (python(), program("bash", "bash"));
    let data = scene.text("data.bin");
    let read = "import sys
for _ in range(3):
    try:
        print('python', len(open(sys.argv[1], 'rb').read()))
    except OSError as error:
        print('python', error.strerror)";
    let script = scene.write("read.py", read);
    let fault = "error calls=open errno=EACCES path=data.bin nth=1";

    // bash starts Go, and Go starts python.
    let line = format!("{starter} {data} {python} {script} {data}; exit $?");
    let done = scene.under(&[fault]).go(&[&bash, "-c", &line]).ended(0);
    let python_said = "python Permission denied\npython 4096\npython 4096\n";
    assert!(done.out.contains("go 0 open") && done.out.ends_with(python_said), "{}", done.story());
    assert_eq!(done.injections().len(), 2, "{}", done.story());
    let found = engines(&done);
    let of = |name: &str| found.get(name).map(String::as_str);
    assert_eq!((of("0 bash"), of("0.1 starter")), (Some("preload"), Some("seccomp")), "{}", done.story());
    // Which of Go's threads makes the child is Go's affair, and part of its lineage.
    let python_is = found.iter().find(|(who, _)| who.ends_with(" python3")).map(|(_, engine)| engine.as_str());
    assert_eq!(python_is, Some("both"), "{}", done.story());
    assert!(done.err.contains("1 under the shim, 1 under the supervisor, 1 under the supervisor and the shim"));
    assert_eq!(done.lines("escape").len(), 0, "{}", done.story());

    // The other way round: python starts Go, by each of its ways, and Go starts bash.
    let start = format!(
        "import os, subprocess, sys
print(subprocess.run(['{starter}', '{data}', '{bash}', '-c', 'echo bash; exec cat {data} | wc -c'], capture_output=True, text=True).stdout)
os.waitpid(os.posix_spawn('{starter}', ['go', '{data}'], os.environ), 0)
os.waitpid(os.posix_spawnp('{starter}', ['go', '{data}'], {{}}), 0)
sys.stdout.flush()
os.system('{starter} {data}')
os.execv('{starter}', ['go', '{data}'])"
    );
    let done = scene.under(&[fault]).go(&[&python, "-c", &start]).ended(0);
    assert_eq!(done.out.matches("go 0 open").count(), 5, "{}", done.story());
    assert!(done.out.contains("bash"), "{}", done.story());
    assert_eq!(done.lines("escape").len(), 0, "{}", done.story());
    let hit = |line: &Value| line["lineage"].as_str().filter(|_| line["process"] == "starter").map(str::to_owned);
    let lineages: Vec<String> = done.injections().iter().filter_map(hit).collect();
    assert_eq!(lineages, ["0.1", "0.2", "0.3", "0.4.1", "0"], "{}", done.story());
}

#[test]
fn below_the_supervisor_the_shim_has_what_is_no_system_call() {
    let scene = Scene::new();
    let busybox = program("busybox", "busybox-static");
    let ask = "import socket
for _ in range(2):
    try:
        socket.getaddrinfo('localhost', 80)
        print('found')
    except OSError as error:
        print(error.errno == socket.EAI_NONAME)";
    let line = format!("{} -c \"$ASK\"; exit $?", python());
    let run = scene.under(&["dns nth=1"]).env("ASK", ask);
    let done = run.go(&[&busybox, "sh", "-c", &line]).ended(0);
    assert_eq!(done.out, "True\nfound\n", "{}", done.story());
    let injections = done.injections();
    assert_eq!((injections.len(), &injections[0]["call"]), (1, &Value::from("getaddrinfo")), "{}", done.story());
    assert_eq!(engines(&done).get("0.1 python3").map(String::as_str), Some("both"), "{}", done.story());
    // What the supervisor has is not the shim's as well: one match a call.
    let copy = "import os\nfd = os.open('data.bin', os.O_RDONLY)\nfor _ in range(4):\n    try:\n        print(len(os.pread(fd, 5, 0)))\n    except OSError as error:\n        print(error.strerror)";
    let run = scene.under(&["error calls=pread errno=EIO path=data.bin nth=2"]).env("ASK", copy);
    let done = run.go(&[&busybox, "sh", "-c", &line]).ended(0);
    assert_eq!(done.out, "5\nInput/output error\n5\n5\n", "{}", done.story());
    assert!(done.err.contains("error-1  4 matched, 1 fired, 1 delivered"), "{}", done.story());
}

#[test]
fn a_static_shell_that_libc_starts_by_itself_is_an_escape() {
    let scene = Scene::new();
    let (chaos, out, python) = (common::CHAOS, scene.text("session"), python());
    let busybox = program("busybox", "busybox-static");
    // The first starts inside libc. The second by an exec that the shim sees.
    let start = "import os, subprocess; os.system('cat data.bin | wc -c'); subprocess.run('cat data.bin', shell=True)";
    let fault = "error calls=open path=data.bin errno=EIO";
    let line = format!(
        "mount --bind {busybox} $(readlink -f /bin/sh) || exit 97
         exec {chaos} run --out {out} -f '{fault}' -- {python} -c \"{start}\""
    );
    let (unshare, bash) = (program("unshare", "util-linux"), program("bash", "bash"));
    let done = scene.bare().go(&[&unshare, "--user", "--map-root-user", "--mount", &bash, "-c", &line]);
    let alone = [unshare.as_str(), "--mount", &bash, "-c", &line];
    let done = if done.code == 97 { scene.bare().by_root().go(&alone) } else { done }.ended(0);
    assert!(done.out == "4096\n" && done.err.contains("Input/output error"), "{}", done.story());
    let escapes: Vec<Value> =
        common::read_log(scene.path("session").as_path()).into_iter().filter(|line| line["type"] == "escape").collect();
    assert_eq!(escapes.len(), 1, "{escapes:?}");
    assert_eq!((&escapes[0]["program"], &escapes[0]["reason"]), (&"/bin/sh".into(), &"static program".into()));
    assert!(done.err.contains("1 escaped (static program)"), "{}", done.story());
}

#[test]
fn it_needs_no_rights() {
    let scene = Scene::new();
    scene.open_to_all();
    let fixed = scene.adopt(&compile("wrappers", "wrappers-static", &["-static"]), "fixed");
    let chaos = scene.adopt(common::CHAOS, "chaos");
    let out = scene.text("session");
    let setpriv = program("setpriv", "util-linux");
    let rest = format!("{fixed} data.bin 3; exit $?");
    let fault = "error calls=read errno=EIO path=data.bin nth=2";
    for command in [&[fixed.as_str(), "data.bin", "3"][..], &["dash", "-c", &rest]] {
        let words =
            ["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", &chaos, "run", "--out", &out];
        let words = [&[setpriv.as_str()], &words[..], &["-f", fault, "--"], command].concat();
        let done = scene.bare().go(&words).ended(0);
        assert!(
            done.out.contains("1 open 0/0 read -1/5") && done.err.contains("1 under the supervisor"),
            "{}",
            done.story()
        );
        assert!(!done.err.contains("escaped"), "{}", done.story());
        std::fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn where_seccomp_is_forbidden_auto_says_so_and_uses_the_shim_alone() {
    let scene = Scene::new();
    let (jail, dynamic) = (guest("jailed"), guest("wrappers"));
    let fixed = compile("wrappers", "wrappers-static", &["-static"]);
    let fault = "error calls=read errno=EIO path=data.bin nth=2";
    let out = scene.text("session");
    for (how, why) in [("errno", "EPERM"), ("prctl", "EPERM"), ("listener", "another supervisor")] {
        let run = |words: &[&str]| {
            let _ = std::fs::remove_dir_all(&out);
            let words = [&[jail.as_str(), how, common::CHAOS, "run", "-f", fault, "--out", &out], words].concat();
            scene.bare().go(&words)
        };
        // The program itself: a warning with the way out, and it runs as it is.
        let done = run(&["--", &fixed, "data.bin", "3"]).ended(0);
        assert!(
            done.err.contains("the supervisor, which would, cannot: ") && done.err.contains(why),
            "{how}: {}",
            done.story()
        );
        assert!(done.out.contains("1 open 0/0 read 64/0"), "{how}: {}", done.story());
        // A child: it runs as it is, the others are hit, and the summary tells.
        let line = format!("{fixed} data.bin 3 >fixed.txt; {dynamic} data.bin 3");
        let done = run(&["--", "dash", "-c", &line]).ended(0);
        assert!(done.out.contains("1 open 0/0 read -1/5"), "{how}: {}", done.story());
        assert!(String::from_utf8(scene.read("fixed.txt")).unwrap().contains("1 open 0/0 read 64/0"), "{how}");
        assert!(done.err.contains("1 escaped (static or Go program: "), "{how}: {}", done.story());
        // Asked for by name, it is an error.
        let done = run(&["--engine", "seccomp", "--", &fixed, "data.bin", "3"]).ended(125);
        assert!(
            done.err.contains("--engine seccomp cannot work: ") && done.err.contains("help: "),
            "{how}: {}",
            done.story()
        );
    }
}

#[test]
fn the_shim_alone_lets_static_children_go_and_says_so() {
    let scene = Scene::new();
    let fixed = compile("wrappers", "wrappers-static", &["-static"]);
    let line = format!("{fixed} data.bin 1; exit $?");
    let run = scene.under(&["read=EIO@1"]).options(&["--engine", "preload"]);
    let done = run.go(&[&program("dash", "dash"), "-c", &line]).ended(0);
    assert!(done.out.contains("read 64/0"), "{}", done.story());
    assert!(
        done.err.contains("coverage: 2 processes: 1 under the shim, 1 escaped (static program)"),
        "{}",
        done.story()
    );
    let report = Command::new(common::CHAOS).arg("report").arg(done.session.as_ref().unwrap()).output().unwrap();
    let report = String::from_utf8(report.stdout).unwrap();
    assert!(report.contains("1 escaped (static program)") && report.contains("neither hit nor counted"), "{report}");
}

#[test]
fn on_kernels_that_can_less_it_does_the_same() {
    let scene = Scene::new();
    let jail = guest("jailed");
    let fixed = compile("wrappers", "wrappers-static", &["-static"]);
    let copier = go(&scene, "copier", COPIER, "0", &[]);
    let data = scene.text("data.bin");
    std::os::unix::fs::symlink(&data, scene.path("link")).unwrap();
    let out = scene.text("session");
    let run = |how: &str, faults: &[&str], command: &[&str]| {
        let _ = std::fs::remove_dir_all(&out);
        let faults: Vec<&str> = faults.iter().flat_map(|fault| ["-f", fault]).collect();
        let start = [jail.as_str(), how, common::CHAOS, "run", "--out", &out];
        scene.bare().go(&[&start[..], &faults, &["--"], command].concat())
    };
    let read = ["error calls=read errno=EIO path=data.bin nth=2"];
    for how in ["old", "ptrace"] {
        let done = run(how, &read, &[&fixed, "link", "3"]).ended(0);
        assert!(done.out.contains("1 open 0/0 read -1/5"), "{how}: {}", done.story());
        // Signals of Go's may interrupt a call that is being answered: it is made again.
        let faults = ["latency calls=read,write delay=2ms", "error calls=open errno=EACCES path=data.bin nth=2"];
        let done = run(how, &faults, &[&copier, &data, &scene.text("copy")]).ended(0);
        assert!(done.out.contains("1 open") && done.out.matches("copied").count() == 5, "{how}: {}", done.story());
        // What somebody gets over is seen by ptrace alone.
        let verdict = if how == "old" { "1 recovered by retry; recovery 100%" } else { "recovery not measured" };
        assert!(done.err.contains(verdict), "{how}: {}", done.story());
    }
}

#[test]
fn a_static_program_that_is_started_by_a_descriptor_is_handed_over() {
    let scene = Scene::new();
    let fixed = compile("wrappers", "wrappers-static", &["-static"]);
    let starter = guest("bydescriptor");
    let run = |how: &str| {
        let run = scene.under(&["error calls=read errno=EIO path=data.bin nth=2"]);
        run.go(&[&starter, how, &fixed, "data.bin", "3"]).ended(0)
    };
    for how in ["fexecve", "empty", "path", "below"] {
        let done = run(how);
        assert!(done.out.contains("1 open 0/0 read -1/5"), "{how}: {}", done.story());
        all_under_in_the_end(&done, "seccomp");
    }
    // Where no path leads to it, it escapes, and is told.
    let done = run("memory");
    assert!(done.out.contains("1 open 0/0 read 64/0"), "{}", done.story());
    assert!(done.err.contains("1 escaped (static program)"), "{}", done.story());
}

/// The last image of the one process has this engine, and nothing escaped.
fn all_under_in_the_end(done: &Done, engine: &str) {
    assert_eq!(
        done.lines("process").last().map(|line| line["engine"].clone()),
        Some(engine.into()),
        "{}",
        done.story()
    );
    assert_eq!(done.lines("escape").len(), 0, "{}", done.story());
}
