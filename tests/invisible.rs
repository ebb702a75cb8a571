//! When no fault fires, a program cannot tell that we are there: output, exit code, descriptors and environment, its
//! own and its children's.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::complaints::Complaints;
use common::{Scene, guest, program, python};

/// Rules on everything that is intercepted, none of which ever fires.
const NEVER: &[&str] = &[
    "error calls=disk rate=0%",
    "error calls=network rate=0%",
    "error calls=memory rate=0%",
    "error calls=process rate=0%",
    "error calls=stdio rate=0%",
    "latency calls=read,write,connect,malloc delay=1s rate=0%",
];

/// Runs the command bare twice, to know that it is the same each time, then with no rule and with rules that never fire.
#[track_caller]
fn invisible(scene: &Scene, command: &[&str]) {
    let stdin = "first line\nsecond line\n";
    let bare = scene.bare().stdin(stdin).go(command);
    let again = scene.bare().stdin(stdin).go(command);
    let mut complaints = Complaints::default();
    complaints.same_text("not the same twice when bare: stdout", &again.out, &bare.out);
    complaints.same_text("not the same twice when bare: stderr", &again.err, &bare.err);
    complaints.none();
    assert!(!bare.out.is_empty(), "says nothing that could be compared: {}", bare.story());
    let mut complaints = Complaints::default();
    for (name, faults) in [("no rule", &[][..]), ("rules that never fire", NEVER)] {
        // -q: the summary goes to stderr, where it is ours and not the target's.
        let done = scene.under(faults).options(&["-q", "--wait", "root"]).stdin(stdin).go(command).followed();
        complaints.same_text(&format!("{name}: stdout"), &done.out, &bare.out);
        complaints.same_text(&format!("{name}: stderr"), &done.err, &bare.err);
        complaints.expect(&format!("{name}: exit code"), done.code, bare.code);
        complaints.expect(&format!("{name}: injections"), done.injections().len(), 0);
    }
    complaints.none();
}

#[test]
fn to_python() {
    let scene = Scene::new();
    let script = "
import os, subprocess, sys
print(sorted(os.environ.items()), os.listdir('/proc/self/fd'), sys.argv, sys.stdin.read())
print(subprocess.run(['env'], capture_output=True, text=True).stdout)
print(subprocess.run(['ls', '/proc/self/fd'], capture_output=True, text=True).stdout)
print(subprocess.run('env; echo oops >&2; exit 9', shell=True, env={'A': 'b'}, capture_output=True, text=True))
print([os.read(os.open('data.bin', os.O_RDONLY), 10)])
os.environ['NEW'] = 'one'
print(subprocess.run(['env'], capture_output=True, text=True).stdout)
sys.exit('to stderr')
";
    invisible(&scene, &[&python(), "-c", script]);
    invisible(&scene, &[&python(), "-c", "print('before', flush=True); 1 / 0"]);
}

#[test]
fn to_the_kernel_once_the_program_runs() {
    let scene = Scene::new();
    let script = "
import os, select, socket, threading, time
os.chdir('.')
for _ in range(20):
    fd = os.open('data.bin', os.O_RDWR)
    os.pread(fd, 10, 0), os.read(fd, 10), os.pwrite(fd, b'x', 0), os.fsync(fd), os.dup2(fd, 50), os.close(fd)
    us, them = socket.socketpair()
    us.send(b'x'), select.select([them], [], [], 1), them.recv(1), us.close(), them.close()
    os.stat('data.bin'), os.listdir('.'), time.sleep(0), time.time(), open('data.bin', 'rb').read(10)
    thread = threading.Thread(target=os.getcwd)
    thread.start(), thread.join()
    bytearray(1 << 20)
os.chdir('.')
";
    // In sandboxes one system call more can be the death of a program.
    let calls = |run: common::Run<'_>| {
        run.go(&[&program("strace", "strace"), "-o", "trace", &python(), "-c", script]).ended(0);
        let trace = String::from_utf8(scene.read("trace")).unwrap();
        let between = trace.split("chdir(\".\")").nth(1).unwrap_or_default().to_owned();
        let names = between.lines().skip(1).map(|line| line.split('(').next().unwrap().to_owned());
        // How often threads wait for each other is a matter of the moment.
        names.filter(|name| !["futex", "madvise"].contains(&name.as_str())).collect::<Vec<_>>()
    };
    let bare = calls(scene.bare());
    assert!(bare.len() > 300, "{bare:?}");
    for faults in [&[][..], &["error calls=fork,exec,connect rate=0%"]] {
        assert_eq!(calls(scene.under(faults)), bare, "{faults:?}");
    }
}

#[test]
fn to_node() {
    let scene = Scene::new();
    let script = "
const fs = require('fs');
const { execFileSync, spawnSync } = require('child_process');
console.log(Object.entries(process.env).sort(), fs.readdirSync('/proc/self/fd').length);
console.log(fs.readFileSync('data.bin').length, fs.readFileSync(0, 'utf8'));
console.log(execFileSync('env').toString());
console.log(execFileSync('ls', ['/proc/self/fd']).toString());
console.log(spawnSync('env', [], { env: { A: 'b' } }).stdout.toString());
fs.writeFileSync('out.txt', 'written');
console.error('to stderr');
process.exit(4);
";
    let script = scene.write("script.js", script);
    invisible(&scene, &[&program("node", "nodejs"), &script]);
}

#[test]
fn to_java() {
    let scene = Scene::new();
    let source = r#"
import java.io.*;
import java.nio.file.*;
import java.util.*;
public class Main {
    static void print(String... command) throws Exception {
        Process process = new ProcessBuilder(command).start();
        System.out.println(new String(process.getInputStream().readAllBytes()) + process.waitFor());
    }
    public static void main(String[] arguments) throws Exception {
        System.out.println(new TreeMap<>(System.getenv()));
        System.out.println(new File("/proc/self/fd").list().length);
        System.out.println(Files.readAllBytes(Path.of("data.bin")).length);
        print("env");
        print("ls", "/proc/self/fd");
        System.err.println("to stderr");
        System.exit(6);
    }
}
"#;
    scene.write("Main.java", source);
    scene.bare().go(&[&program("javac", "default-jdk-headless"), "Main.java"]).ended(0);
    invisible(&scene, &[&program("java", "default-jdk-headless"), "-cp", ".", "Main"]);
}

#[test]
fn to_git() {
    let scene = Scene::new();
    let git = program("git", "git");
    let line = format!(
        "set -e; export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z' \
         GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b; \
         rm -rf one two; {git} init -q -b main one; cp data.bin one/; {git} -C one add .; \
         {git} -C one commit -q -m first; {git} clone --no-local -q one two; {git} -C two log --stat; \
         {git} -C two -c alias.see='!env; ls /proc/self/fd' see; {git} -C two show nothing"
    );
    invisible(&scene, &[&program("bash", "bash"), "-c", &line]);
}

#[test]
fn to_curl() {
    let scene = Scene::new();
    let server = common::server::serve(b"hello from the server\n");
    let line = format!(
        "curl -sS http://{server}/ http://{server}/two; curl -sS file://$PWD/data.bin | cksum; curl -sS ftp:///nonsense; \
         exec curl -s http://127.0.0.1:1/"
    );
    let _ = program("curl", "curl");
    invisible(&scene, &[&program("bash", "bash"), "-c", &line]);
}

#[test]
fn to_sqlite() {
    let scene = Scene::new();
    let line = "rm -f a.db; sqlite3 a.db 'create table t(n); with recursive c(n) as (select 1 union all select n+1 from c \
                where n < 2000) insert into t select n from c; select count(*), sum(n) from t;' '.shell env' \
                '.shell ls /proc/self/fd' 'select nothing;'";
    let _ = program("sqlite3", "sqlite3");
    invisible(&scene, &[&program("bash", "bash"), "-c", line]);
}

#[test]
fn to_redis() {
    let scene = Scene::new();
    let (server, client) = (program("redis-server", "redis-server"), program("redis-cli", "redis-tools"));
    let line = format!(
        "{server} --port 0 --unixsocket $PWD/r.sock --logfile redis.log --appendonly yes --save '' >/dev/null & \
         for i in $(seq 500); do [ -S r.sock ] && break; sleep 0.02; done; \
         cli() {{ {client} -s $PWD/r.sock \"$@\"; }}; \
         cli set key value; cli get key; cli incr n; cli eval 'return redis.call(\"get\", \"n\")' 0; ls -l /proc/$!/fd | grep -vc socket:; \
         cli flushall; cli shutdown nosave; wait $!; echo server $?; rm -rf appendonlydir"
    );
    invisible(&scene, &[&program("bash", "bash"), "-c", &line]);
}

#[test]
fn to_bash_pipelines() {
    let scene = Scene::new();
    let line = "export A=b; env | sort; ls /proc/self/fd | tr '\\n' ' '; cat | sort -r | uniq -c; \
                seq 1 1000 | awk '{ s += $1 } END { print s }'; x=$(printf '%s' \"$(cat data.bin | wc -c)\"); echo $x; \
                (exec 7<data.bin; head -c 3 <&7 | od -c); diff <(echo a) <(echo b); trap 'echo bye' EXIT; ulimit -n; \
                echo to stderr >&2; umask; exit 5";
    invisible(&scene, &[&program("bash", "bash"), "-c", line]);
    invisible(&scene, &[&program("dash", "dash"), "-c", "env; ls /proc/self/fd; kill -SEGV $$"]);
}

#[test]
fn to_tools_that_look_at_themselves() {
    let scene = Scene::new();
    // Signal masks and dispositions, limits, and whether there is a controlling group of our own making.
    let script = "
import resource, signal
status = open('/proc/self/status').read()
print([line for line in status.splitlines() if line.startswith(('SigP', 'SigB', 'SigI', 'SigC', 'Shd', 'NoNewPrivs', 'Seccomp', 'Cap', 'Umask', 'Threads', 'FDSize'))])
print(resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE))
print(signal.getsignal(signal.SIGPIPE), signal.getitimer(signal.ITIMER_REAL))
";
    invisible(&scene, &[&python(), "-c", script]);
}

#[test]
fn to_every_intercepted_call() {
    let scene = Scene::new();
    let names: Vec<&str> = chaos_table::calls::CALLS
        .iter()
        .filter(|call| call.name() != "exec" && call.allows(chaos_table::calls::FaultKind::Error))
        .flat_map(chaos_table::calls::Call::symbols)
        // daemon ends the process that calls it.
        .filter(|symbol| !symbol.starts_with("wait") && *symbol != "daemon")
        .collect();
    let calls = guest("calls");
    let command: Vec<&str> = std::iter::once(calls.as_str()).chain(names).collect();
    invisible(&scene, &command);
}
