//! Where a rule hits: calls and families, paths, peers, processes, descriptors, and what is protected.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::complaints::Complaints;
use common::{Scene, compile, guest, program, python};

/// Reads each file with a bare `os.read` and prints its name and the errno, or `ok`.
const READ_EACH: &str = "
import errno, os, sys
for name in sys.argv[1:]:
    fd = os.open(name, os.O_RDONLY)
    try:
        os.read(fd, 10)
        print(name, 'ok')
    except OSError as error:
        print(name, errno.errorcode[error.errno])
    os.close(fd)
";

/// Opens one file in as many ways as there are, names changing meanwhile, and reads it: prints the ways that failed.
const WAYS: &str = "
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def way(name, fd):
    try:
        os.read(fd, 4)
        print(name, 'ok')
    except OSError:
        print(name, 'EIO')
    os.close(fd)
def openat2(at, path, resolve):
    how = (ctypes.c_uint64 * 3)(os.O_RDONLY, 0, resolve)
    return libc.syscall(437, at, path.encode(), ctypes.byref(how), 24)
here, target = os.getcwd(), 'real/deep/data.bin'
at = os.open('real', os.O_RDONLY)
for turn in '12':
    way('plain' + turn, os.open(target, os.O_RDONLY))
    way('up' + turn, os.open('real/deep/../deep/./data.bin', os.O_RDONLY))
    way('link' + turn, os.open('link/data.bin', os.O_RDONLY))
    way('last' + turn, os.open('last', os.O_RDONLY))
    way('at' + turn, os.open('deep/data.bin', os.O_RDONLY, dir_fd=at))
    way('proc' + turn, os.open(f'/proc/self/fd/{at}/deep/data.bin', os.O_RDONLY))
    way('again' + turn, os.open('/proc/self/fd/%d' % os.open(target, os.O_RDONLY), os.O_RDONLY))
    way('root' + turn, openat2(at, '/deep/data.bin', 0x10))
    os.chdir('real/deep')
    way('cwd' + turn, os.open('data.bin', os.O_RDONLY))
    os.chdir(here)
way('other', os.open('other/data.bin', os.O_RDONLY))
# Another directory under the same name, and the file under another.
os.rename('other', 'kept')
os.symlink('real/deep', 'other')
os.rename('link', 'old')
os.mkdir('link')
open('link/data.bin', 'w').write('more')
way('linked-now', os.open('other/data.bin', os.O_RDONLY))
way('own-now', os.open('link/data.bin', os.O_RDONLY))
fd = os.open('kept/data.bin', os.O_RDONLY)
os.rename('kept/data.bin', 'real/deep/moved.bin')
way('moved-in', fd)
way('no-name', os.open('real/deep', os.O_RDWR | os.O_TMPFILE))
";

#[test]
fn a_descriptor_is_what_the_kernel_opened_whatever_way_led_there() {
    for base in [Scene::new(), Scene::in_memory()] {
        for dir in ["real/deep", "other"] {
            std::fs::create_dir_all(base.path(dir)).unwrap();
            base.write(format!("{dir}/data.bin"), "content");
        }
        std::os::unix::fs::symlink("real/deep", base.path("link")).unwrap();
        std::os::unix::fs::symlink("real/deep/data.bin", base.path("last")).unwrap();
        let rules = ["error calls=read errno=EIO path=real/deep/**", "error calls=open errno=EACCES path=/nowhere/**"];
        let done = base.under(&rules).go(&[&python(), "-c", WAYS]).ended(0);
        let spared: Vec<&str> = done.out.lines().filter(|line| line.ends_with(" ok")).collect();
        // Where it never was in that directory; a write's room there has nothing to be read, and fails all the same.
        assert_eq!(spared, ["other ok", "own-now ok"], "{}", done.story());
        assert_eq!(done.out.lines().count(), 23, "{}", done.story());
    }
}

fn hit(scene: &Scene, fault: &str, files: &[&str]) -> Vec<String> {
    let python = python();
    let mut command = vec![python.as_str(), "-c", READ_EACH];
    command.extend(files);
    let done = scene.under(&[fault]).go(&command).ended(0);
    done.out.lines().filter(|line| line.ends_with("EIO")).map(|line| line.split(' ').next().unwrap().into()).collect()
}

#[test]
fn paths_are_matched_by_name_by_directory_and_from_the_root() {
    let scene = Scene::new();
    std::fs::create_dir_all(scene.path("data/deep")).unwrap();
    for file in ["a.db", "b.txt", "data/c.db", "data/deep/d.db", "we ird.db", "x[1].db"] {
        scene.write(file, "content");
    }
    std::os::unix::fs::symlink(scene.path("data/c.db"), scene.path("link.txt")).unwrap();
    let files = ["a.db", "b.txt", "data/c.db", "data/deep/d.db", "link.txt"];
    let mut complaints = Complaints::default();
    let root = scene.path("").display().to_string();
    let cases: &[(String, &[&str])] = &[
        ("*.db".into(), &["a.db", "data/c.db", "data/deep/d.db", "link.txt"]),
        ("a.db".into(), &["a.db"]),
        ("data/*".into(), &["data/c.db", "link.txt"]),
        ("data/**".into(), &["data/c.db", "data/deep/d.db", "link.txt"]),
        ("./a.db".into(), &["a.db"]),
        (format!("{root}data/c.db"), &["data/c.db", "link.txt"]),
        (format!("{root}**/*.db"), &["a.db", "data/c.db", "data/deep/d.db", "link.txt"]),
        ("/nowhere/**".into(), &[]),
        ("*.{txt,none}".into(), &["b.txt"]),
        ("?.db".into(), &["a.db", "data/c.db", "data/deep/d.db", "link.txt"]),
    ];
    for (path, wanted) in cases {
        let got = hit(&scene, &format!("error calls=read errno=EIO path=\"{path}\""), &files);
        complaints.expect(path, got, wanted.iter().map(ToString::to_string).collect());
    }
    let got = hit(&scene, "error calls=read errno=EIO path=\"we ird.db\"", &["we ird.db", "a.db"]);
    complaints.expect("a space in the name", got.len(), 1);
    complaints.none();
}

#[test]
fn a_directory_or_stream_over_an_open_descriptor_has_its_path() {
    let scene = Scene::new();
    std::fs::create_dir_all(scene.path("kept")).unwrap();
    // os.scandir of a descriptor is fdopendir; os.fdopen is CPython's own, so fdopen is asked of libc.
    let script = "
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
libc.fdopen.restype = ctypes.c_void_p
for name in ['kept', 'data.bin']:
    fd = os.open(name, os.O_RDONLY)
    try:
        fine = os.listdir(fd) is not None if name == 'kept' else libc.fdopen(fd, b'r') is not None
        print(name, 'ok' if fine else errno.errorcode[ctypes.get_errno()])
    except OSError as error:
        print(name, errno.errorcode[error.errno])
";
    let faults = |path: &str| format!("error calls=fdopendir,fdopen errno=ENOMEM path={path}");
    let run = |path: &str| scene.under(&[&faults(path)]).go(&[&python(), "-c", script]);
    run("/nowhere/**").said("kept ok\ndata.bin ok");
    run("kept").said("kept ENOMEM\ndata.bin ok");
    let done = run("data.bin").said("kept ok\ndata.bin ENOMEM");
    assert_eq!(done.injections()[0]["resource"].as_str(), scene.path("data.bin").to_str(), "{}", done.story());
}

#[test]
fn the_resource_in_the_log_is_the_kernels_path() {
    let scene = Scene::new();
    std::os::unix::fs::symlink(scene.path("data.bin"), scene.path("link.bin")).unwrap();
    let done = scene.under(&["read=EIO"]).go(&[&guest("loop"), "1", "-f", "link.bin"]).ended(0);
    let real = std::fs::canonicalize(scene.path("data.bin")).unwrap();
    assert_eq!(done.injections()[0]["resource"].as_str(), real.to_str(), "{}", done.story());
}

#[test]
fn a_descriptor_is_what_the_kernel_says_it_is_now() {
    // fclose, opendir and getaddrinfo close and open descriptors where no hook sees it.
    let scene = Scene::new();
    scene.write("hit.db", "content");
    scene.write("safe.txt", "content");
    let script = "
import errno, fcntl, os, ctypes
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
libc.fclose.argtypes = libc.fileno.argtypes = [ctypes.c_void_p]
def read(fd, what):
    try:
        os.pread(fd, 5, 0)
        print(what, 'ok')
    except OSError as error:
        print(what, errno.errorcode[error.errno])
fd = os.open('hit.db', os.O_RDONLY)
read(fd, 'opened')
read(os.dup(fd), 'dup')
read(fcntl.fcntl(fd, fcntl.F_DUPFD, 50), 'F_DUPFD')
os.dup2(os.open('safe.txt', os.O_RDONLY), fd)
read(fd, 'covered by dup2')
stream = libc.fopen(b'hit.db', b'r')
number = libc.fileno(stream)
read(number, 'fopen')
libc.fclose(stream)
again = os.open('safe.txt', os.O_RDONLY)
assert again == number
read(again, 'same number after fclose')
stream = libc.fopen(b'safe.txt', b'r')
number = libc.fileno(stream)
read(number, 'safe by fopen')
libc.fclose(stream)
again = os.open('hit.db', os.O_RDONLY)
assert again == number
read(again, 'hit after fclose')
directory = os.open('.', os.O_RDONLY)
read(os.open('hit.db', os.O_RDONLY, dir_fd=directory), 'openat')
os.rename('hit.db', 'moved.txt')
read(again, 'renamed away')
";
    let done = scene.under(&["error calls=pread errno=EIO path=*.db"]).go(&[&python(), "-c", script]);
    done.said(
        "opened EIO\ndup EIO\nF_DUPFD EIO\ncovered by dup2 ok\nfopen EIO\nsame number after fclose ok\n\
         safe by fopen ok\nhit after fclose EIO\nopenat EIO\nrenamed away ok",
    );
}

#[test]
fn a_descriptor_that_came_by_exec_or_message_is_known_too() {
    let scene = Scene::new();
    scene.write("hit.db", "content");
    let script = "
import errno, os, socket, sys
def read(fd, what):
    try:
        os.pread(fd, 5, 0)
        print(what, 'ok', flush=True)
    except OSError as error:
        print(what, errno.errorcode[error.errno], flush=True)
if len(sys.argv) > 1:
    read(int(sys.argv[1]), 'inherited')
    left, right = socket.socketpair()
    socket.send_fds(left, [b'x'], [int(sys.argv[1])])
    _, fds, _, _ = socket.recv_fds(right, 1, 1)
    read(fds[0], 'received')
else:
    fd = os.open('hit.db', os.O_RDONLY)
    os.set_inheritable(fd, True)
    os.execv(sys.executable, [sys.executable, 'script.py', str(fd)])
";
    scene.write("script.py", script);
    let done = scene.under(&["error calls=pread errno=EIO path=*.db"]).go(&[&python(), "script.py"]);
    done.said("inherited EIO\nreceived EIO");
}

#[test]
fn peers_are_matched_by_address_network_port_and_name() {
    let scene = Scene::new();
    let places = [
        "127.0.0.1:9",
        "127.0.0.1:10",
        "127.9.0.1:9",
        "[::1]:9",
        "[::ffff:127.0.0.1]:9",
        "unix:gone.sock",
        "unix:other.sock",
        "name:localhost:10",
    ];
    let cases: &[(&str, &[&str])] = &[
        ("127.0.0.1", &["127.0.0.1:9", "127.0.0.1:10", "[::ffff:127.0.0.1]:9", "name:localhost:10"]),
        ("127.0.0.1:10", &["127.0.0.1:10", "name:localhost:10"]),
        (":9", &["127.0.0.1:9", "127.9.0.1:9", "[::1]:9", "[::ffff:127.0.0.1]:9"]),
        ("127.9.0.0/16", &["127.9.0.1:9"]),
        ("127.0.0.0/8:9", &["127.0.0.1:9", "127.9.0.1:9", "[::ffff:127.0.0.1]:9"]),
        ("[::1]:9", &["[::1]:9"]),
        ("::1", &["[::1]:9"]),
        ("unix:*gone.sock", &["unix:gone.sock"]),
        ("unix:*", &["unix:gone.sock", "unix:other.sock"]),
        ("10.0.0.0/8", &[]),
        (":9,unix:*other.sock", &["127.0.0.1:9", "127.9.0.1:9", "[::1]:9", "[::ffff:127.0.0.1]:9", "unix:other.sock"]),
    ];
    let mut complaints = Complaints::default();
    let peers = guest("peers");
    let mut command = vec![peers.as_str()];
    command.extend(places);
    for (to, wanted) in cases {
        // The machine itself answers ECONNREFUSED or ENOENT: only what was hit says EACCES.
        let fault = format!("error calls=connect errno=EACCES to={to}");
        let done = scene.under(&[&fault]).go(&command).ended(0);
        let got: Vec<&str> =
            done.out.lines().filter(|line| line.ends_with("EACCES")).map(|l| l.split(' ').next().unwrap()).collect();
        complaints.expect(to, got, wanted.to_vec());
    }
    complaints.none();
}

#[test]
fn a_name_that_was_looked_up_is_remembered_for_the_connect() {
    let scene = Scene::new();
    let fault = "error calls=connect errno=ENETUNREACH to=localhost:10";
    let done = scene.under(&[fault]).go(&[&guest("peers"), "name:localhost:10", "name:localhost:11", "127.9.0.1:10"]);
    done.said("name:localhost:10 ENETUNREACH\nname:localhost:11 ECONNREFUSED\n127.9.0.1:10 ECONNREFUSED");
    let fault = "error calls=connect errno=ENETUNREACH to=local*";
    scene.under(&[fault]).go(&[&guest("peers"), "name:localhost:11"]).said("name:localhost:11 ENETUNREACH");
    let fault = "error calls=connect errno=ENETUNREACH to=api.example.com";
    scene.under(&[fault]).go(&[&guest("peers"), "name:localhost:11"]).said("name:localhost:11 ECONNREFUSED");
}

#[test]
fn refuse_needs_no_calls_and_hits_only_its_peer() {
    let scene = Scene::new();
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = |listener: &std::net::TcpListener| listener.local_addr().unwrap().to_string();
    let fault = format!("refuse to={}", place(&server));
    let done = scene.under(&[&fault]).go(&[&guest("peers"), &place(&server), &place(&other)]);
    let done = done.said(&format!("{} ECONNREFUSED\n{} 0", place(&server), place(&other)));
    let injections = done.injections();
    assert_eq!(injections.len(), 1);
    assert_eq!(injections[0]["fault"].as_str(), Some("refuse"));
    assert!(injections[0]["resource"].as_str().is_some_and(|peer| peer.contains(&place(&server))), "{injections:?}");
}

#[test]
fn families_are_decided_by_what_the_descriptor_is() {
    let scene = Scene::new();
    // `read` is a call of both families; everything else is named away, so that the program can get that far.
    let script = "
import errno, os, socket
file = os.open('data.bin', os.O_RDWR)
left, right = socket.socketpair()
reader, writer = os.pipe()
right.send(b'hello')
os.write(writer, b'hello')
for what, fd in (('file', file), ('socket', left.fileno()), ('pipe', reader)):
    print(what, len(os.read(fd, 5)))
";
    for (family, wanted) in [("disk", "file 1\nsocket 5\npipe 5"), ("network", "file 5\nsocket 1\npipe 5")] {
        let fault = format!("short calls={family} keep=20%");
        scene.under(&[&fault]).go(&[&python(), "-c", script]).said(wanted);
    }
}

#[test]
fn a_process_selector_hits_only_that_program() {
    let scene = Scene::new();
    let cat = program("cat", "coreutils");
    let head = program("head", "coreutils");
    let line = format!("{cat} data.bin >/dev/null; {head} -c 5 data.bin >/dev/null; echo done");
    let done = scene.under(&["error calls=read errno=EIO path=data.bin process=head"]).go(&[
        &program("bash", "bash"),
        "-c",
        &line,
    ]);
    let done = done.said("done");
    assert!(done.err.contains("head:") && !done.err.contains("cat:"), "{}", done.story());
    assert_eq!(done.injections().len(), 1, "{}", done.story());
    let done = scene.under(&["error calls=read errno=EIO path=data.bin process=nobody"]).go(&[
        &program("bash", "bash"),
        "-c",
        &line,
    ]);
    assert_eq!(done.said("done").injections().len(), 0);
}

#[test]
fn standard_descriptors_are_left_alone_unless_named() {
    let scene = Scene::new();
    let script = "
import errno, os
try:
    print(os.read(0, 5).decode())
except OSError as error:
    print(errno.errorcode[error.errno])
";
    let go = |fault: &str| scene.under(&[fault]).stdin("hello world").go(&[&python(), "-c", script]);
    go("read=EIO").said("hello");
    go("error calls=read errno=EIO path=\"stdin-*\"").said("hello");
    go("error calls=read errno=EIO fd=0").said("EIO");
    go("error calls=read errno=EIO fd=7").said("hello");
}

#[test]
fn system_files_are_protected_unless_the_rule_names_them() {
    let scene = Scene::new();
    let files = ["data.bin", "/proc/self/status", "/dev/null", "/sys/kernel/uevent_seqnum"];
    assert_eq!(hit(&scene, "read=EIO", &files), ["data.bin"]);
    assert_eq!(hit(&scene, "error calls=read errno=EIO path=/proc/**", &files), ["/proc/self/status"]);
    assert_eq!(hit(&scene, "error calls=read errno=EIO path=/dev/null", &files), ["/dev/null"]);
    let table = scene.write("bare.yaml", "protect: none\nfaults:\n  - {fault: error, calls: pread, errno: EIO}\n");
    let script = "
import os
for name in ('/proc/self/status', 'data.bin'):
    try:
        os.pread(os.open(name, os.O_RDONLY), 1, 0)
        print('ok')
    except OSError as error:
        print(error.errno)
";
    scene.under(&[]).options(&["--table", &table]).go(&[&python(), "-c", script]).said("5\n5");
}

#[test]
fn a_users_own_globs_can_be_protected() {
    let scene = Scene::new();
    scene.write("keep.txt", "content");
    let table = "protect: [\"*.txt\"]\nfaults:\n  - {fault: error, calls: read, errno: EIO}\n";
    let table = scene.write("own.yaml", table);
    let loop_guest = guest("loop");
    let under = || scene.under(&[]).options(&["--table", &table]);
    under().go(&[&loop_guest, "2", "-f", "keep.txt"]).said("0.0:");
    under().go(&[&loop_guest, "2"]).said("0.0: EIO@1 EIO@2");
}

#[test]
fn names_are_not_found_or_not_found_yet() {
    let scene = Scene::new();
    let peers = guest("peers");
    let go = |fault: &str| scene.under(&[fault]).go(&[&peers, "name:localhost:10"]);
    go("getaddrinfo=EAI_NONAME").said("name:localhost:10 lookup -2");
    go("getaddrinfo=EAI_AGAIN").said("name:localhost:10 lookup -3");
    go("dns to=localhost").said("name:localhost:10 lookup -2");
    go("dns to=example.org").said("name:localhost:10 ECONNREFUSED");
    let done = go("dns");
    assert_eq!(done.injections()[0]["resource"].as_str(), Some("localhost"), "{}", done.story());
}

/// Makes calls of several sizes in both directions on a file and says which failed.
const SIZES: &str = "
import ctypes, os
fd = os.open('data.bin', os.O_RDWR)
def tell(what, call):
    try:
        call()
    except OSError as error:
        print(what, error.errno)
for size in (1, 100, 4096, 5000):
    tell(f'read{size}', lambda: os.pread(fd, size, 0))
    tell(f'write{size}', lambda: os.pwrite(fd, b'x' * size, 0))
os.close(fd)
";

fn failed(scene: &Scene, fault: &str, script: &str) -> Vec<String> {
    let done = scene.under(&[fault]).go(&[&python(), "-c", script]).ended(0);
    done.out.lines().filter_map(|line| line.strip_suffix(" 5")).map(str::to_owned).collect()
}

#[test]
fn sizes_and_directions_are_selected() {
    let scene = Scene::new();
    let mut complaints = Complaints::default();
    for (selectors, wanted) in [
        ("size=100", "read100 write100"),
        ("size=100..4096", "read100 write100 read4096 write4096"),
        ("size=4KB..", "read4096 write4096 read5000 write5000"),
        ("size=..99", "read1 write1"),
        ("direction=in", "read1 read100 read4096 read5000"),
        ("direction=out size=5000", "write5000"),
        ("not.size=2..4999", "read1 write1 read5000 write5000"),
        ("not.direction=in not.size=..100", "write4096 write5000"),
        ("not.calls=pwrite size=1", "read1"),
        ("not.path=*.txt size=1", "read1 write1"),
        ("not.path=*.bin", ""),
        ("not.process=python*", ""),
        ("not.fd=0..100", ""),
        ("not.fd=100.. size=1", "read1 write1"),
    ] {
        let calls = if selectors.starts_with("direction") { "disk" } else { "pread,pwrite" };
        let got = failed(&scene, &format!("error calls={calls} errno=EIO path=data.* {selectors}"), SIZES);
        complaints.expect(selectors, got.join(" "), wanted.to_owned());
    }
    complaints.none();
}

#[test]
fn callers_are_told_by_the_module_that_makes_the_call() {
    let scene = Scene::new();
    // The same call from the interpreter and from a library that is loaded while it runs.
    let library = compile("caller", "libcaller.so", &["-shared", "-fPIC"]);
    let script = format!(
        "
import ctypes, os
fd = os.open('data.bin', os.O_RDONLY)
library = ctypes.CDLL('{library}', use_errno=True)
def tell(what, call):
    try:
        print(what, call() and ctypes.get_errno())
    except OSError as error:
        print(what, error.errno)
tell('interpreter', lambda: len(os.pread(fd, 9, 0)) - 9)
tell('library', lambda: library.pread_for_me(fd) < 0)
"
    );
    let mut complaints = Complaints::default();
    for (selector, wanted) in [
        ("caller=libcaller.so", "library"),
        ("caller=python3*", "interpreter"),
        ("caller=**/libcaller.*", "library"),
        ("caller=\"{libcaller.so,python*}\"", "interpreter library"),
        ("caller=libnothing.so", ""),
        ("not.caller=libcaller.so", "interpreter"),
        ("not.caller=libnothing.so", "interpreter library"),
        ("caller=libcaller.so not.caller=lib*", ""),
    ] {
        let got = failed(&scene, &format!("error calls=pread errno=EIO path=data.bin {selector}"), &script);
        complaints.expect(selector, got.join(" "), wanted.to_owned());
    }
    complaints.none();
}

#[test]
fn not_reads_the_same_in_a_file_as_in_one_line() {
    let scene = Scene::new();
    scene.write("t.yaml", "faults: [{fault: error, calls: [pread, pwrite], errno: EIO, path: data.bin, not: {direction: out, size: 1..99}}]");
    let done = scene.under(&[]).options(&["-t", "t.yaml"]).go(&[&python(), "-c", SIZES]).ended(0);
    assert_eq!(done.out, "read100 5\nread4096 5\nread5000 5\n");
    let to = "error calls=connect errno=ECONNREFUSED not.to=:1";
    let script = "
import socket
for port in (1, 2):
    try:
        socket.create_connection(('127.0.0.1', port))
    except OSError as error:
        print(port, error.errno)
";
    let done = scene.under(&[to]).go(&[&python(), "-c", script]).ended(0);
    assert_eq!(done.injections().len(), 1, "{}", done.story());
    assert_eq!(done.injections()[0]["resource"], "127.0.0.1:2");
}
