//! Steering a run that goes on from outside: what `chaos-exec ctl` adds, changes and takes away, and what it refuses.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::dialogue::{Dialogue, READS, ctl, order, refused, scene};
use common::{CHAOS, guest, python, read_log};
use std::process::Command;

#[test]
fn a_rule_is_added_changed_and_taken_away() {
    let scene = scene();
    let mut target = Dialogue::start(&scene, &["pread=ENOSPC@0%"], READS);
    assert_eq!(target.ask("read()"), "ok");
    let said = order(&scene, &["add", "error name=late calls=pread path=data.bin errno=EIO"]);
    assert_eq!(said, "late (rule 2) is in force\n");
    assert_eq!(target.ask("[read(), in_thread(read), read_other()]"), "[5, 5, 'ok']");
    order(&scene, &["set", "late", "rate=0"]);
    assert_eq!(target.ask("[read() for _ in range(9)].count('ok')"), "9");
    order(&scene, &["set", "2", "rate=100%", "errno=EDQUOT", "times=2"]);
    assert_eq!(target.ask("[read() for _ in range(4)]"), "[122, 122, 'ok', 'ok']");
    order(&scene, &["set", "late", "times=100", "every=2", "errno=EIO"]);
    assert_eq!(target.ask("sorted(str(read()) for _ in range(4))"), "['5', '5', 'ok', 'ok']");
    order(&scene, &["set", "late", "nth=1000..", "times=100"]);
    assert_eq!(target.ask("read()"), "ok");
    order(&scene, &["rm", "late"]);
    assert_eq!(target.ask("[read() for _ in range(9)].count('ok')"), "9");
    // The first rule, too, is changed and taken away.
    order(&scene, &["set", "error-1", "rate=1"]);
    assert_eq!(target.ask("[read(), read_other()]"), "[28, 28]");
    order(&scene, &["rm", "1"]);
    assert_eq!(target.ask("[read(), read_other()]"), "['ok', 'ok']");
    let status = order(&scene, &["status"]);
    assert!(status.contains("1  error-1  ") && status.contains("2  late  "), "{status}");
    assert_eq!(status.matches("removed").count(), 2, "{status}");

    let done = target.end();
    assert!(done.err.contains("late") && done.err.contains("6 fired, 6 delivered"), "{}", done.story());
    let of_late = done.injections().into_iter().filter(|line| line["rule"] == "late").count();
    assert_eq!(of_late, 6, "{}", done.story());
    assert!(done.err.contains("(but for the 8 changes that were made while it ran)"), "{}", done.story());
    let marks: Vec<String> = done.lines("mark").iter().map(|mark| mark["text"].as_str().unwrap().into()).collect();
    assert_eq!(marks[0], "ctl: add late: error name=late calls=pread path=data.bin errno=EIO");
    assert_eq!(marks[1], "ctl: set late rate=0");
    assert_eq!(marks[5], "ctl: rm late");
    let report = scene.chaos().go(&["report", &done.session.unwrap().display().to_string(), "-o", "r.json"]).ended(0);
    let report: serde_json::Value = serde_json::from_slice(&scene.read("r.json")).expect(&report.err);
    let rules = report["rules"].as_array().unwrap();
    let late = rules.iter().find(|rule| rule["name"] == "late").unwrap_or_else(|| panic!("{report}"));
    assert_eq!((late["fired"].as_u64(), late["delivered"].as_u64()), (Some(6), Some(6)));
    assert!(late["matched"].as_u64() >= Some(20), "{late}");
}

#[test]
fn every_process_and_thread_of_the_tree_takes_it_up() {
    // The first rule is about nobody, so that these processes had nothing to look at.
    for first in ["error calls=pread errno=EIO process=nobody", "write=EIO@0%"] {
        let scene = scene();
        let mut target = Dialogue::start(
            &scene,
            &[first],
            &format!(
                "{READS}
# A child by fork and one by exec, and a thread, all of which live before the rule does.
import sys
def serve(asked, answers):
    while os.read(asked, 1):
        os.write(answers, (str(read()) + '\\n').encode())
ends = []
for kind in ('fork', 'exec'):
    (asked, ask), (answers, answer) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ask)
        if kind == 'fork':
            serve(asked, answer)
            os._exit(0)
        code = 'import os, sys\\nfd = os.open(\"data.bin\", os.O_RDONLY)\\n'
        code += 'while os.read(int(sys.argv[1]), 1):\\n'
        code += '  try: os.pread(fd, 1, 0); said = \"ok\"\\n'
        code += '  except OSError as error: said = error.errno\\n'
        code += '  os.write(int(sys.argv[2]), (str(said) + \"\\\\n\").encode())'
        os.set_inheritable(asked, True)
        os.set_inheritable(answer, True)
        os.execv(sys.executable, [sys.executable, '-c', code, str(asked), str(answer)])
    os.close(asked)
    ends.append((ask, answers))
def of_children():
    said = []
    for ask, answers in ends:
        os.write(ask, b'?')
        said.append(os.read(answers, 9).decode().strip())
    return said
import queue
asks, said = queue.Queue(), queue.Queue()
def forever():
    while asks.get():
        said.put(read())
threading.Thread(target=forever, daemon=True).start()
def of_thread():
    asks.put(1)
    return said.get()
def of_new():
    code = 'import os; os.pread(os.open(\"data.bin\", os.O_RDONLY), 1, 0)'
    return subprocess.run([sys.executable, '-c', code], stderr=subprocess.DEVNULL).returncode
"
            ),
        );
        assert_eq!(target.ask("[read(), of_thread(), *of_children(), of_new()]"), "['ok', 'ok', 'ok', 'ok', 0]");
        order(&scene, &["add", "error calls=pread path=data.bin errno=EIO"]);
        assert_eq!(target.ask("[read(), of_thread(), *of_children(), of_new()]"), "[5, 5, '5', '5', 1]", "{first}");
        order(&scene, &["disable"]);
        assert_eq!(target.ask("[read(), of_thread(), *of_children(), of_new()]"), "['ok', 'ok', 'ok', 'ok', 0]");
        order(&scene, &["enable"]);
        assert_eq!(target.ask("[read(), of_thread(), *of_children()]"), "[5, 5, '5', '5']");
        let done = target.end();
        let pids: std::collections::BTreeSet<u64> =
            done.injections().iter().filter_map(|line| line["pid"].as_u64()).collect();
        assert_eq!(pids.len(), 4, "{}", done.story());
    }
}

#[test]
fn a_node_server_that_waits_in_epoll_is_hit_at_its_next_request() {
    let scene = scene();
    let node = common::program("node", "nodejs");
    let server = "
const http = require('http'), fs = require('fs');
http.createServer((request, response) => fs.readFile('data.bin', (error) => {
  response.statusCode = error ? 500 : 200;
  response.end(error ? error.code : 'fine');
})).listen(0, '127.0.0.1', function () { fs.writeFileSync('port.part', String(this.address().port)); fs.renameSync('port.part', 'port'); });
";
    let mut running = scene.under(&["write=ENOSPC@0%"]).start(&[&node, "-e", server]);
    running.wait_until("the server listens", || scene.path("port").exists());
    let port = String::from_utf8(scene.read("port")).unwrap();
    let get = || {
        use std::io::{Read, Write};
        let mut peer = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        peer.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut said = String::new();
        peer.read_to_string(&mut said).unwrap();
        said.rsplit("\r\n").next().unwrap_or_default().to_owned()
    };
    let session = scene.text("session-0");
    assert_eq!(get(), "fine");
    order(&scene, &[&session, "add", "error calls=read,pread path=data.bin errno=EIO"]);
    assert_eq!([get(), get()], ["EIO", "EIO"]);
    order(&scene, &[&session, "rm", "error-2"]);
    assert_eq!(get(), "fine");
    order(&scene, &[&session, "inject", "error calls=open path=data.bin errno=EACCES"]);
    assert_eq!([get(), get()], ["EACCES", "fine"]);
    running.signal("TERM");
    running.end().ended(143);
}

#[test]
fn a_one_off_fault_fires_once_and_the_same_one_again_fires_once_more() {
    let scene = scene();
    let mut target = Dialogue::start(&scene, &[], READS);
    for round in 1..=3 {
        let said = order(&scene, &["inject", "error calls=pread path=data.bin errno=EIO"]);
        assert!(said.starts_with("inject-1 (rule 1) fires at the next call that matches"), "{said}");
        assert_eq!(target.ask("[read(), read(), in_thread(read)]"), "[5, 'ok', 'ok']", "round {round}");
    }
    order(&scene, &["inject", "error name=full calls=pread errno=ENOSPC"]);
    order(&scene, &["disable"]);
    assert_eq!(target.ask("read()"), "ok");
    let said = order(&scene, &["inject", "error name=full calls=pread errno=ENOSPC"]);
    assert!(said.contains("once `chaos-exec ctl enable` is given"), "{said}");
    order(&scene, &["enable"]);
    assert_eq!(target.ask("[read(), read(), read()]"), "[28, 28, 'ok']");
    let done = target.end();
    assert_eq!(done.injections().len(), 5, "{}", done.story());
}

#[test]
fn what_hangs_goes_on_when_it_is_switched_off_or_its_rule_taken_away() {
    for orders in [&["disable"][..], &["rm", "hang-1"], &["rm", "1"]] {
        let scene = scene();
        let mut target = Dialogue::start(&scene, &["hang calls=pread path=data.bin"], READS);
        target.ask_without_waiting("read()");
        let session = scene.path("session-0");
        target.wait_until("it hangs", || !injected(&session).is_empty());
        order(&scene, orders);
        assert_eq!(target.answer(), "ok", "{orders:?}");
        target.end();
    }
}

fn injected(session: &std::path::Path) -> Vec<serde_json::Value> {
    read_log(session).into_iter().filter(|line| line["type"] == "injection").collect()
}

#[test]
fn a_rule_on_names_and_one_on_descriptors_begin_to_follow_both() {
    let scene = scene();
    let mut target = Dialogue::start(
        &scene,
        &[],
        &format!(
            "{READS}
server = socket.create_server(('127.0.0.1', 0))
port = server.getsockname()[1]
def connect(host):
    def call():
        socket.create_connection((host, port)).close()
    return attempt(call)
"
        ),
    );
    assert_eq!(target.ask("[connect('localhost'), connect('127.0.0.1')]"), "['ok', 'ok']");
    let added = ctl(&scene, &["add", "refuse to=localhost"]);
    assert!(added.status.success());
    let warned = String::from_utf8(added.stderr).unwrap();
    assert!(warned.contains("match from their next look-up on"), "{warned}");
    assert_eq!(target.ask("connect('localhost')"), "111");
    order(&scene, &["rm", "refuse-1"]);
    order(&scene, &["add", "refuse to=127.0.0.1"]);
    assert_eq!(target.ask("connect('127.0.0.1')"), "111");
    order(&scene, &["rm", "refuse-2"]);
    // What a descriptor is was remembered without the rule that comes now.
    order(&scene, &["add", "error calls=pread path=other.bin errno=EIO"]);
    assert_eq!(target.ask("[read(), read_other()]"), "['ok', 5]");
    order(&scene, &["add", "error calls=pread path=data.bin errno=ENOSPC caller=python*"]);
    assert_eq!(target.ask("[read(), read_other()]"), "[28, 5]");
    assert_eq!(target.ask("[os.close(other), os.dup2(fd, other), read_other()][2]"), "28");
    target.end();
}

#[test]
fn memory_threads_and_clocks_fail_by_rules_that_came_later() {
    let scene = scene();
    let mut target = Dialogue::start(
        &scene,
        &[],
        &format!(
            "{READS}
def allocate():
    try:
        return len(bytearray(50_000_000)) > 0
    except MemoryError:
        return 'no memory'
def ahead():
    return round((time.time() - float(subprocess.run(['date', '+%s.%N'], env={{'LD_PRELOAD': ''}}, stdout=subprocess.PIPE).stdout)) / 3600)
def make_thread():
    try:
        in_thread(read)
        return 'ok'
    except RuntimeError:
        return 'no thread'
"
        ),
    );
    assert_eq!(target.ask("[allocate(), make_thread()]"), "[True, 'ok']");
    order(&scene, &["add", "error calls=memory errno=ENOMEM size=10MB.."]);
    assert_eq!(target.ask("allocate()"), "no memory");
    order(&scene, &["rm", "error-1"]);
    order(&scene, &["add", "exhaust what=threads limit=1"]);
    assert_eq!(target.ask("[allocate(), make_thread()]"), "[True, 'no thread']");
    order(&scene, &["rm", "exhaust-1"]);
    let before: f64 = target.ask("time.time()").parse().unwrap();
    order(&scene, &["add", "clock offset=+1h"]);
    let after: f64 = target.ask("time.time()").parse().unwrap();
    assert!((3600.0..3660.0).contains(&(after - before)), "{before} {after}");
    order(&scene, &["rm", "clock-1"]);
    let back: f64 = target.ask("time.time()").parse().unwrap();
    assert!((0.0..60.0).contains(&(back - before)), "{before} {back}");
    // A monotonic clock never goes back, whatever is switched off.
    let before: f64 = target.ask("time.monotonic()").parse().unwrap();
    order(&scene, &["add", "clock offset=+1h clocks=monotonic"]);
    let ahead: f64 = target.ask("time.monotonic()").parse().unwrap();
    assert!((3600.0..3660.0).contains(&(ahead - before)), "{before} {ahead}");
    order(&scene, &["disable"]);
    let later: f64 = target.ask("time.monotonic()").parse().unwrap();
    assert!(later >= ahead, "{ahead} {later}");
    refused(&scene, &["rm", "clock-2"], "never goes back");
    target.end();
}

#[test]
fn windows_of_a_rule_that_comes_later_begin_then() {
    let scene = scene();
    let mut target = Dialogue::start(&scene, &[], READS);
    order(&scene, &["add", "error name=soon calls=pread errno=EIO from=1h"]);
    order(&scene, &["add", "error name=long calls=pread errno=ENOSPC for=1h"]);
    assert_eq!(target.ask("read()"), "28");
    order(&scene, &["set", "long", "for=1ms"]);
    assert_eq!(target.ask("[time.sleep(0.1), read()][1]"), "ok");
    order(&scene, &["set", "soon", "from=0s"]);
    assert_eq!(target.ask("[time.sleep(0.1), read()][1]"), "5");
    target.end();
}

#[test]
fn many_orders_at_once_lose_none() {
    let scene = scene();
    let mut target = Dialogue::start(
        &scene,
        &["write=EIO@0%"],
        &format!(
            "{READS}\nfor _ in range(3):\n    threading.Thread(target=lambda: [read() for _ in iter(int, 1)], daemon=True).start()\n"
        ),
    );
    let orders: Vec<_> = (0..12)
        .map(|number| {
            let spec = format!("error name=r{number} calls=pread path=data.bin errno=EIO rate=1%");
            Command::new(CHAOS)
                .args(["ctl", &scene.text("session-0"), "add", &spec])
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for order in orders {
        assert!(order.wait_with_output().unwrap().status.success());
    }
    let status = order(&scene, &["status"]);
    for number in 0..12 {
        assert!(status.contains(&format!("  r{number}  ")), "{status}");
    }
    assert_eq!(status.lines().count(), 14, "{status}");
    target.ask("[read() for _ in range(2000)].count('ok')");
    let done = target.end();
    let named: std::collections::BTreeSet<String> =
        done.injections().iter().map(|line| line["rule"].as_str().unwrap().to_owned()).collect();
    assert_eq!(named.len(), 12, "{named:?}");
}

#[test]
fn a_run_without_the_launcher_is_steered_by_its_file() {
    let scene = scene();
    let mut running = scene
        .bare()
        .env("LD_PRELOAD", common::shim())
        .env("CHAOS_TABLE", "pread=EIO@0%")
        .env("CHAOS_LOG", scene.path("log.session"))
        .start(&[
            &python(),
            "-c",
            "
import os, time
fd = os.open('data.bin', os.O_RDONLY)
for step in range(2):
    while not os.path.exists(f'go.{step}'):
        time.sleep(0.005)
    try:
        os.pread(fd, 1, 0)
        print('ok', flush=True)
    except OSError as error:
        print(error.errno, flush=True)
",
        ]);
    let file = scene.text("log.session");
    running.wait_until("the session is there", || scene.path("log.session").exists());
    running.wait_until("the program has begun", || ctl(&scene, &[&file, "status"]).status.success());
    running.wait_until("it takes orders", || ctl(&scene, &[&file, "add", "pread=ENOSPC"]).status.success());
    scene.write("go.0", "");
    running.wait_until("it has read", || !scene.read("stdout-0").is_empty());
    refused(&scene, &[&file, "add", "signal process=x"], "there is no launcher");
    order(&scene, &[&file, "disable"]);
    scene.write("go.1", "");
    let done = running.end().said("28\nok");
    assert!(done.err.is_empty(), "{}", done.err);
    let log = read_log(&scene.path("log.session"));
    assert!(log.iter().any(|line| line["type"] == "injection" && line["rule"] == "error-2"), "{log:?}");
    refused(&scene, &[&file, "enable"], "no process of the session is left");
}

#[test]
fn a_c_program_in_a_loop_sees_marks_and_rules() {
    let scene = scene();
    let run = scene.under(&["nanosleep=EINTR@0%"]);
    let mut running = run.start(&[&guest("loop"), "-p", "2", "-t", "2", "-s", "2000", "100000"]);
    let session = scene.text("session-0");
    running.wait_until("it runs", || {
        ctl(&scene, &[&session, "status"]).status.success() && scene.path("session-0/log.bin").exists()
    });
    running.wait_until("it takes orders", || ctl(&scene, &[&session, "mark", "load", "begins"]).status.success());
    order(&scene, &[&session, "add", "exit name=end calls=read path=data.bin code=9"]);
    let done = running.end().ended(0);
    let ended = done.injections().iter().filter(|line| line["rule"] == "end").count();
    assert!((2..=4).contains(&ended), "two processes of two threads: {}", done.story());
    assert!(done.lines("mark").iter().any(|mark| mark["text"] == "load begins"), "{}", done.story());
}
