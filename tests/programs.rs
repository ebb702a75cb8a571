//! Real programs under real faults: they report what the fault says, and what loses nothing changes nothing.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::complaints::Complaints;
use common::server::serve;
use common::{Scene, program, python};
use std::collections::BTreeMap;
use std::path::Path;

const SHORT: &[&str] = &["short calls=read,write,pread,pwrite,readv,writev keep=50% rate=50%"];

#[test]
fn refused_connections_are_reported_as_such() {
    let scene = Scene::new();
    let server = serve(b"hello\n");
    let url = format!("http://{server}/");
    let refused = &["connect=ECONNREFUSED"][..];

    let curl = program("curl", "curl");
    scene.bare().go(&[&curl, "-sS", &url]).said("hello");
    let done = scene.under(refused).go(&[&curl, "-sSv", &url]).ended(7);
    assert!(done.err.contains("Connection refused"), "{}", done.story());
    assert_eq!(done.injections().len(), 1, "{}", done.story());
    assert!(done.injections()[0]["resource"].as_str().is_some_and(|peer| peer.contains(&server)), "{}", done.story());

    let script = "
import sys, urllib.request, urllib.error
try:
    print(urllib.request.urlopen(sys.argv[1]).read())
except urllib.error.URLError as error:
    print(error.reason)
";
    scene.under(refused).go(&[&python(), "-c", script, &url]).said("[Errno 111] Connection refused");

    let script = "
require('http').get(process.argv[2], (answer) => console.log(answer.statusCode)).on('error', (e) => console.log(e.code));
";
    let script = scene.write("get.js", script);
    let node = program("node", "nodejs");
    scene.bare().go(&[&node, &script, &url]).said("200");
    scene.under(refused).go(&[&node, &script, &url]).said("ECONNREFUSED");
}

#[test]
fn a_third_of_refused_connections_is_survived_by_retrying() {
    let scene = Scene::new();
    let client = format!("{}/scripts/demo_client.py", env!("CARGO_MANIFEST_DIR"));
    let done = scene.under(&["connect=ECONNREFUSED@30%"]).go(&[&python(), &client]).ended(0);
    let attempts: usize = done.out.split_whitespace().rev().nth(1).unwrap().parse().unwrap();
    assert_eq!(attempts - 20, done.injections().len(), "each fault costs one attempt: {}", done.story());
    assert!(done.injections().len() >= 3, "{}", done.story());
}

#[test]
fn unknown_hosts_are_reported_as_such() {
    let scene = Scene::new();
    let server = serve(b"hello\n");
    let port = server.rsplit(':').next().unwrap().to_owned();
    let script = "
import socket, sys
try:
    socket.create_connection(('localhost', int(sys.argv[1])))
    print('connected')
except socket.gaierror as error:
    print(error)
";
    let go = |fault: &[&str]| scene.under(fault).go(&[&python(), "-c", script, &port]);
    go(&[]).said("connected");
    go(&["dns"]).said("[Errno -2] Name or service not known");
    go(&["dns answer=try-again"]).said("[Errno -3] Temporary failure in name resolution");
    go(&["dns to=other.example"]).said("connected");

    let script = "require('dns').lookup('localhost', (error, address) => console.log(error ? error.code : address));";
    let script = scene.write("lookup.js", script);
    let node = program("node", "nodejs");
    scene.under(&["dns"]).go(&[&node, &script]).said("ENOTFOUND");
    scene.under(&["dns answer=try-again"]).go(&[&node, &script]).said("EAI_AGAIN");

    // curl looks localhost up by itself, so another name; the log shows that it was us who did not find it.
    let done =
        scene.under(&["dns to=*.example"]).go(&[&program("curl", "curl"), "-sS", "http://chaos.example/"]).ended(6);
    assert!(done.err.contains("Could not resolve host: chaos.example"), "{}", done.story());
    assert!(done.injections().iter().any(|line| line["resource"] == "chaos.example"), "{}", done.story());
}

/// Every file below a directory with its content.
fn contents(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
    files
}

/// A tree of files of all sizes, the same each time.
fn plant(scene: &Scene, name: &str) {
    std::fs::create_dir_all(scene.path(name).join("deep/er")).unwrap();
    for (at, size) in [0usize, 1, 511, 512, 4096, 10_000, 70_000, 1_000_000].into_iter().enumerate() {
        let content: Vec<u8> = (0..size).map(|n| (n * (at + 3) % 251) as u8).collect();
        scene.write(format!("{name}/{}f{at}.bin", if at % 2 == 0 { "deep/er/" } else { "" }), content);
    }
}

#[test]
fn short_calls_change_nothing_for_cp_and_tar() {
    let scene = Scene::new();
    plant(&scene, "tree");
    let original: Vec<Vec<u8>> = contents(&scene.path("tree")).into_values().collect();
    let (cp, tar) = (program("cp", "coreutils"), program("tar", "tar"));
    scene.under(SHORT).go(&[&cp, "-r", "tree", "copied"]).ended(0);
    assert!(contents(&scene.path("copied")).into_values().collect::<Vec<_>>() == original, "cp");
    // GNU tar takes a short read of a file that it archives for the file's end ("File shrank by ..."), so here only its
    // writes are short; what it reads back is short both ways.
    let short_writes = "short calls=write,pwrite,writev keep=50% rate=50%";
    let done = scene.under(&[short_writes]).go(&[&tar, "-cf", "tree.tar", "tree"]).ended(0);
    assert!(done.injections().len() > 20, "{}", done.err);
    scene.bare().go(&[&tar, "-cf", "bare.tar", "tree"]).ended(0);
    assert!(scene.read("tree.tar") == scene.read("bare.tar"), "the archive differs");
    std::fs::create_dir(scene.path("out")).unwrap();
    let done = scene.under(SHORT).go(&[&tar, "-xf", "tree.tar", "-C", "out"]).ended(0);
    assert!(done.injections().len() > 20, "{}", done.err);
    assert!(contents(&scene.path("out/tree")).into_values().collect::<Vec<_>>() == original, "tar -x");
}

#[test]
fn short_calls_change_nothing_for_a_git_clone() {
    let scene = Scene::new();
    plant(&scene, "one");
    let git = program("git", "git");
    let line = format!(
        "set -e; {git} init -q -b main one; cd one; {git} add .; {git} -c user.name=a -c user.email=a@b commit -q -m first; \
         seq 1 3000 >more; {git} add .; {git} -c user.name=a -c user.email=a@b commit -q -m second"
    );
    let bash = program("bash", "bash");
    scene.bare().go(&[&bash, "-c", &line]).ended(0);
    let done = scene.under(SHORT).go(&[&git, "clone", "--no-local", "-q", "one", "two"]).ended(0);
    assert!(done.injections().len() > 20, "{}", done.err);
    scene.bare().go(&[&git, "-C", "two", "fsck", "--full", "--strict"]).ended(0);
    let line = format!(
        "for d in one two; do (cd $d; {git} rev-parse HEAD; {git} status --short; cat $(git ls-files) | cksum); done | sort | uniq -c"
    );
    let done = scene.bare().go(&[&bash, "-c", &line]).ended(0);
    assert!(done.out.lines().count() == 2 && done.out.lines().all(|line| line.trim().starts_with('2')), "{}", done.out);
}

#[test]
fn short_calls_change_nothing_for_sqlite() {
    let scene = Scene::new();
    let sqlite = program("sqlite3", "sqlite3");
    let sql = "pragma journal_mode=wal; create table t(n integer primary key, s text); with recursive c(n) as (select 1 \
               union all select n+1 from c where n < 5000) insert into t select n, hex(n * n) from c; update t set \
               s = s || n where n % 3 = 0; delete from t where n % 7 = 0; pragma integrity_check; \
               select count(*), sum(n), sum(length(s)) from t;";
    let bare = scene.bare().go(&[&sqlite, "bare.db", sql]).ended(0);
    let done = scene.under(SHORT).go(&[&sqlite, "chaos.db", sql]).said(&bare.out);
    assert!(done.injections().len() > 20, "{}", done.err);
    scene.bare().go(&[&sqlite, "chaos.db", "pragma integrity_check;"]).said("ok");
}

#[test]
fn chaos_on_the_disk_hits_a_programs_own_files_and_not_its_boot() {
    let scene = Scene::new();
    let python_script = "
import json, os, email.message, urllib.request, sqlite3, ctypes
failed = 0
for i in range(60):
    try:
        with open('own.txt', 'w') as file:
            file.write('x' * 5000)
        with open('own.txt') as file:
            assert len(file.read()) in (0, 5000)
    except OSError:
        failed += 1
import xml.dom.minidom, unittest, asyncio
print('failed', failed)
";
    let node_script = "
const fs = require('fs');
let failed = 0;
for (let i = 0; i < 60; i++) {
  try { fs.writeFileSync('own.txt', 'x'.repeat(5000)); fs.readFileSync('own.txt'); } catch (error) { failed++; }
}
const later = [require('http'), require('zlib'), require('crypto')];
console.log('failed', failed);
";
    let (python, node) = (python(), program("node", "nodejs"));
    let python_script = scene.write("own.py", python_script);
    let node_script = scene.write("own.js", node_script);
    let mut complaints = Complaints::default();
    for (program, script) in [(&python, &python_script), (&node, &node_script)] {
        let mut runs = 0;
        for seed in ["1", "2", "3", "4", "5", "6"] {
            let run = scene.under(&[]).options(&["--chaos", "disk", "--rate", "30%", "--seed", seed]);
            let done = run.go(&[program, script]);
            let what = format!("{program} seed {seed}");
            // The script itself is one of the program's own files: it may fail to be read, and only that.
            let own_script = done.injections().iter().any(|line| line["resource"] == script.as_str());
            if !own_script {
                complaints.check(done.out.starts_with("failed "), || format!("{what}: {}", done.story()));
                complaints.check(done.out != "failed 0\n", || format!("{what}: nothing failed"));
                runs += usize::from(done.code == 0);
            }
            for line in done.injections() {
                let resource = line["resource"].as_str().unwrap_or("").to_owned();
                // Node looks for a package.json in every directory above the script; libraries read their settings in
                // /etc when the program first uses them, which is no boot either.
                let scene_dir = scene.path("").display().to_string();
                let own = resource.starts_with(scene_dir.trim_end_matches('/'))
                    // Paths are made absolute by looking at each directory on the way.
                    || scene_dir.starts_with(&format!("{resource}/"))
                    || resource.ends_with("package.json")
                    || resource.starts_with("/etc/");
                complaints.check(own, || format!("{what}: {line}"));
            }
        }
        complaints.check(runs > 0, || format!("{program}: the script could never be read"));
    }
    complaints.none();
}

#[test]
fn java_boots_and_meets_the_fault_in_its_own_code() {
    let scene = Scene::new();
    let source = r#"
import java.io.*;
import java.net.*;
public class Main {
    public static void main(String[] arguments) throws Exception {
        for (int i = 0; i < 2; i++) {
            try (FileInputStream in = new FileInputStream("data.bin")) {
                System.out.println(in.read());
            } catch (IOException error) {
                System.out.println(error.getMessage());
            }
        }
        try (Socket socket = new Socket("127.0.0.1", Integer.parseInt(arguments[0]))) {
            System.out.println("connected");
        } catch (ConnectException error) {
            System.out.println(error.getMessage());
        }
        Thread[] threads = new Thread[20];
        for (int i = 0; i < threads.length; i++) {
            threads[i] = new Thread(null, () -> new File("data.bin").length(), "small", 128 * 1024);
            threads[i].start();
        }
        for (Thread thread : threads) thread.join();
        System.out.println(new Process[] { new ProcessBuilder("true").start() }[0].waitFor());
    }
}
"#;
    scene.write("Main.java", source);
    scene.bare().go(&[&program("javac", "default-jdk-headless"), "Main.java"]).ended(0);
    let server = serve(b"");
    let port = server.rsplit(':').next().unwrap();
    let java = program("java", "default-jdk-headless");
    let command = [java.as_str(), "-cp", ".", "Main", port];
    scene.under(&[]).go(&command).said("1\n1\nconnected\n0");
    // Java connects by ::ffff:127.0.0.1, which a rule for 127.0.0.1 must match.
    let faults = ["error calls=read errno=EIO path=data.bin nth=1", "refuse to=127.0.0.1"];
    scene.under(&faults).go(&command).said("Input/output error\n1\nConnection refused\n0");
    scene
        .under(&["read=EIO@100%"])
        .go(&["/bin/sh", "-c", "exec \"$0\" -version 2>&1 | head -1 | cut -c1-7", &java])
        .said("openjdk");
}

#[test]
fn a_full_disk_makes_redis_say_so() {
    let scene = Scene::new();
    let (server, client) = (program("redis-server", "redis-server"), program("redis-cli", "redis-tools"));
    let line = format!(
        "{server} --port 0 --unixsocket $PWD/r.sock --logfile redis.log --appendonly yes --appendfsync everysec --save '' >/dev/null & \
         for i in $(seq 500); do [ -S r.sock ] && break; sleep 0.02; done; \
         {client} -s $PWD/r.sock set key one; sleep 0.2; {client} -s $PWD/r.sock set key two; \
         {client} -s $PWD/r.sock shutdown nosave; wait"
    );
    let fault = "error calls=write errno=ENOSPC path=*.aof after=1 process=redis-server";
    let done = scene.under(&[fault]).go(&[&program("bash", "bash"), "-c", &line]);
    let log = String::from_utf8_lossy(&scene.read("redis.log")).into_owned();
    assert!(log.contains("No space left on device"), "{log}\n{}", done.story());
    assert!(!done.injections().is_empty(), "{}", done.story());
}

#[test]
fn faults_on_sqlite_are_errors_and_no_damage() {
    let scene = Scene::new();
    let sqlite = program("sqlite3", "sqlite3");
    scene.bare().go(&[&sqlite, "a.db", "create table t(n); insert into t values (1), (2);"]).ended(0);
    let insert = "insert into t select n + 10 from t;";
    let done = scene.under(&["error calls=pwrite errno=EIO path=*.db"]).go(&[&sqlite, "a.db", insert]);
    assert!(done.code != 0 && done.err.contains("I/O error"), "{}", done.story());
    let done = scene.under(&["error calls=pwrite errno=ENOSPC path=*-journal"]).go(&[&sqlite, "a.db", insert]);
    assert!(done.code != 0 && done.err.contains("full"), "{}", done.story());
    scene.bare().go(&[&sqlite, "a.db", "pragma integrity_check; select sum(n) from t;"]).said("ok\n3");
}
