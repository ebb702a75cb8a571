//! Steering a run from inside, by Node: an addon calls the functions of `chaos.h`, and where there is none, a child does.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::{Scene, compile, program, python};

const SCRIPT: &str = "
const chaos = require(process.argv[1]), fs = require('fs');
const read = () => {
  const fd = fs.openSync('data.bin');
  try { fs.readSync(fd, Buffer.alloc(1)); return 'ok'; } catch (error) { return error.code; } finally { fs.closeSync(fd); }
};
console.log(chaos('mark', 'from node'), chaos('event', 'began'), chaos('metric', 'load', 0.5), read());
console.log(chaos('set', 'rate=100%'), chaos('get', 'rate'), read(), chaos('injections'));
console.log(chaos('disable'), read(), chaos('enable'), read());
console.log(chaos('set', 'rate=0'), read());
console.log(chaos('begin', 'error calls=read path=data.bin errno=EISDIR'), read(), chaos('end'), read());
console.log(chaos('begin', 'open=NOPE'), chaos('error'));
console.log(chaos('recovery_begin', 'db'), chaos('recovery_end', 'db', 1), chaos('fail', 'pay'), chaos('fail', 'other'));
";

#[test]
fn node_calls_every_function_by_an_addon() {
    let scene = Scene::new();
    let node = program("node", "nodejs");
    let addon = compile("addon", "addon.node", &["-shared", "-fPIC"]);
    let faults = ["error calls=read path=data.bin errno=EIO rate=0", "error point=pay errno=ENOSPC"];
    let command = [&node, "-e", SCRIPT, &addon];
    let told = "0 0 0 ok\n0 1 EIO 1\n0 ok 0 EIO\n0 ok\n0 EISDIR 0 ok\n22 unknown effect `NOPE`\n0 0 28 0";
    let done = scene.under(&faults).go(&command).said(told);
    let told = |kind: &str, key: &str, value: &str| done.lines(kind).iter().any(|line| line[key] == value);
    assert!(told("mark", "text", "from node") && told("event", "component", "node"), "{}", done.story());
    // Without the shim the same program does the same and nothing happens.
    let told = "38 38 38 ok\n38 -2 ok 0\n38 ok 38 ok\n38 ok\n38 ok 38 ok\n38 \n38 38 0 0";
    scene.bare().go(&command).said(told);
}

#[test]
fn node_marks_its_own_log_by_a_helper_and_a_tree_shares_one_switch() {
    // Node has no way to call C: a child in Python switches the tree off, and Node, in its event loop, is spared.
    let scene = Scene::new();
    let node = program("node", "nodejs");
    let script = format!(
        "
const fs = require('fs'), {{ spawnSync }} = require('child_process');
const read = () => {{ try {{ fs.readFileSync('data.bin'); return 'ok'; }} catch (error) {{ return error.code; }} }};
const before = read();
const code = 'import ctypes; c = ctypes.CDLL(None); c.chaos_disable(); c.chaos_mark(b\"from python\")';
const done = spawnSync('{}', ['-c', code]);
setTimeout(() => console.log(before, done.status, read()), 10);
",
        python()
    );
    let done = scene.under(&["error calls=read,pread path=data.bin errno=EIO"]).go(&[&node, "-e", &script]);
    let done = done.said("EIO 0 ok");
    let marks = done.lines("mark");
    assert!(marks.iter().any(|mark| mark["text"] == "from python" && mark["process"] == "python3"), "{}", done.story());
}
