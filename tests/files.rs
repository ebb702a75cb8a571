//! Names, directories, metadata, durability and kernel copies: what selects them, where their errors fit, and what real
//! programs make of them.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use chaos_table::calls::{CALLS, Call, Family, FaultKind, Subject};
use common::complaints::Complaints;
use common::{Done, Scene, guest, program, python};

/// The calls that a file system answers.
fn rows() -> impl Iterator<Item = &'static Call> {
    CALLS.iter().filter(|call| {
        call.is_in(Family::Disk)
            && !call.is_in(Family::Network)
            && matches!(call.subject, Subject::Fd | Subject::Path)
            && call.allows(FaultKind::Error)
            // It acts on the root, which is below no scene.
            && call.name() != "chroot"
    })
}

fn ways(call: &Call) -> Vec<String> {
    let numbers = call.syscalls().iter().map(|number| format!("#{number}"));
    call.symbols().map(ToString::to_string).chain(numbers).collect()
}

fn run(scene: &Scene, faults: &[&str], command: &[&str]) -> Done {
    scene.under(faults).go(command)
}

#[test]
fn a_path_selects_every_call_on_files_and_another_path_none() {
    let mut complaints = Complaints::default();
    for call in rows() {
        let mut command = vec![guest("calls")];
        command.extend(ways(call));
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let code = chaos_table::errno::errno_name(call.usual()[0]).unwrap();
        let other = format!("error calls={} errno={code} path=other*,elsewhere/**", call.name());
        let (scene, bare) = (Scene::new(), Scene::new());
        let done = run(&scene, &[&other], &command);
        complaints.expect(&format!("{} elsewhere", call.name()), done.out.clone(), bare.bare().go(&command).out);
        complaints.expect(&format!("{} elsewhere", call.name()), done.injections().len(), 0);
        let scene = Scene::new();
        let here = scene.text("");
        let here = here.trim_end_matches('/');
        let fault = format!("error calls={} errno={code} path={here},{here}/**", call.name());
        let done = run(&scene, &[&fault], &command);
        let wanted: Vec<String> = ways(call).iter().map(|way| format!("{way} -1 {code}")).collect();
        complaints.expect(&format!("{} here", call.name()), done.out.lines().map(str::to_owned).collect(), wanted);
        let outside = done.injections().into_iter().find(|line| {
            line["resource"].as_str().is_none_or(|resource| !resource.split(" -> ").all(|path| path.starts_with(here)))
        });
        complaints.check(outside.is_none(), || format!("{}: {outside:?}", call.name()));
    }
    complaints.none();
}

#[test]
fn errors_are_given_where_a_kernel_could_give_them() {
    // Place, errno, whether it fits.
    let places = [
        ("fsync file", "EIO", true),
        ("fsync pipe", "EIO", false),
        ("fsync socket", "ENOSPC", false),
        ("fsync file", "EAGAIN", false),
        ("ftruncate socket", "EIO", false),
        ("fstat pipe", "EIO", false),
        ("fstat pipe", "ENOMEM", true),
        ("seek set", "ENXIO", false),
        ("seek hole", "ENXIO", true),
        ("seek set", "ESPIPE", false),
        ("flock waits", "EAGAIN", false),
        ("flock waits", "EINTR", true),
        ("flock tries", "EAGAIN", true),
        ("flock tries", "EINTR", false),
        ("flock ends", "ENOLCK", false),
        ("flock waits", "ENOLCK", true),
        ("lockf waits", "EDEADLK", true),
        ("lockf tries", "EDEADLK", false),
        ("lockf waits", "EINTR", false),
        ("lockf tries", "EAGAIN", true),
        ("lockf waits", "EAGAIN", false),
        ("lockf ends", "ENOLCK", false),
        ("ioctl nonblocking", "EIO", false),
        ("ioctl file", "ENOTTY", true),
        ("msync now", "EIO", true),
        ("msync later", "EIO", false),
        ("access to read", "EROFS", false),
        ("access to write", "EROFS", true),
        ("stat of an open file", "ENOENT", false),
        ("stat of an open file", "EIO", true),
        ("stat of a name", "ENOENT", true),
        ("stat of a name", "EINTR", false),
        ("unlink", "ENOTEMPTY", false),
        ("unlinkat directory", "ENOTEMPTY", true),
        ("copy file to file", "ENOSPC", true),
        ("copy file to file", "EPIPE", false),
        ("copy file to file", "EINTR", false),
        ("copy file to file", "EAGAIN", false),
        ("send file to file", "ENOSPC", true),
        ("send file to socket", "ENOSPC", false),
        ("send file to socket", "EIO", true),
        ("send file to socket", "EAGAIN", false),
        ("send file to nonblocking socket", "EAGAIN", true),
        ("send file to socket", "EINTR", true),
        ("splice pipe to file", "EAGAIN", false),
        ("splice pipe to file at once", "EAGAIN", true),
        ("splice pipe to file", "ECONNRESET", false),
    ];
    let mut complaints = Complaints::default();
    for (place, errno, fits) in places {
        let scene = Scene::new();
        scene.write("gone.bin", "");
        std::fs::create_dir(scene.path("gone.dir")).unwrap();
        let call = match place.split(' ').next().unwrap() {
            "seek" => "lseek",
            "copy" => "copy_file_range",
            "send" => "sendfile",
            "unlinkat" => "unlink",
            name => name,
        };
        let fault = format!("error calls={call} errno={errno}");
        let done = run(&scene, &[&fault], &[&guest("places"), place]);
        let wanted = if fits { format!("{place}: {errno}\n") } else { format!("{place}: ok\n") };
        // What fails without us fails as ever.
        let wanted = match (place, fits) {
            ("fsync pipe" | "fsync socket" | "ftruncate socket", false) => format!("{place}: EINVAL\n"),
            _ => wanted,
        };
        complaints.expect(&format!("{place} {errno}"), done.out.clone(), wanted);
        let told = done.lines("event").iter().filter(|line| line["event"] == "unsuitable").count();
        complaints.expect(&format!("{place} {errno} unsuitable"), told, usize::from(!fits));
    }
    complaints.none();
}

#[test]
fn either_name_of_a_rename_and_either_end_of_a_copy_is_matched_and_not_spares_both() {
    let scene = Scene::new();
    let script = "
import os, sys
def attempt(what, call):
    try:
        call()
        print(what, 'ok')
    except OSError as error:
        print(what, os.strerror(error.errno) if error.errno != 28 else 'full')
def copy():
    source, target = os.open('a.src', os.O_RDONLY), os.open('b.dst', os.O_WRONLY | os.O_CREAT)
    try:
        os.copy_file_range(source, target, 10)
    finally:
        os.close(source); os.close(target)
open('a.src', 'w').write('0123456789')
attempt('copy', copy)
attempt('link', lambda: os.link('a.src', 'c.dst'))
attempt('rename', lambda: os.rename('a.src', 'd.dst'))
";
    let script = scene.write("two.py", script);
    let go = |wheres: &str| {
        for name in ["a.src", "b.dst", "c.dst", "d.dst"] {
            let _ = std::fs::remove_file(scene.path(name));
        }
        let fault = format!("error calls=copy_file_range,link,rename errno=ENOSPC {wheres}");
        run(&scene, &[&fault], &[&python(), &script]).ended(0)
    };
    let all = "copy full\nlink full\nrename full\n";
    let none = "copy ok\nlink ok\nrename ok\n";
    for (wheres, wanted) in [
        ("path=*.src", all),
        ("path=*.dst", all),
        ("path=*.other", none),
        ("", all),
        ("not.path=*.src", none),
        ("not.path=*.dst", none),
        ("not.path=*.other", all),
        ("path=*.src not.path=b.dst", "copy ok\nlink full\nrename full\n"),
    ] {
        assert_eq!(go(wheres).out, wanted, "{wheres}");
    }
    let done = go("path=*.dst");
    let resources: Vec<String> =
        done.injections().iter().map(|line| line["resource"].as_str().unwrap().to_owned()).collect();
    let pair = |old: &str, new: &str| format!("{} -> {}", scene.text(old), scene.text(new));
    assert_eq!(resources, [pair("a.src", "b.dst"), pair("a.src", "c.dst"), pair("a.src", "d.dst")]);
}

#[test]
fn a_link_is_one_path_and_where_it_leads_another() {
    let scene = Scene::new();
    let script = "
import os
if not os.path.lexists('way.link'):
    os.symlink('data.bin', 'way.link')
for name in ('stat', 'lstat', 'readlink', 'access'):
    try:
        getattr(os, name)(*(['way.link', os.R_OK] if name == 'access' else ['way.link']))
        print(name, end=' ')
    except OSError:
        pass
try:
    os.unlink('way.link')
    print('unlink')
except OSError:
    print()
";
    let script = scene.write("link.py", script);
    let go = |path: &str| {
        let fault = format!("error calls=stat,readlink,unlink errno=EIO path={path}");
        run(&scene, &[&fault], &[&python(), &script]).ended(0).out
    };
    assert_eq!(go("data.bin"), "lstat readlink access unlink\n");
    assert_eq!(go("way.link"), "stat access \n");
}

#[test]
fn what_a_descriptor_is_follows_what_made_it_and_what_it_is_called() {
    let scene = Scene::new();
    std::fs::create_dir(scene.path("other")).unwrap();
    let fault = format!("error calls=read errno=EIO path=data.bin not.path={}", scene.text("else/**"));
    run(&scene, &[&fault], &[&guest("names")])
        .said("data.bin EIO\nmemfd ok\ndata.bin EIO\neventfd ok\ntemplate ok\nrenamed EIO\nmoved ok\nrenamed again ok");
}

#[test]
fn the_end_of_a_directory_is_no_error_and_an_error_is_no_end() {
    let scene = Scene::new();
    std::fs::create_dir(scene.path("tree")).unwrap();
    for name in ["a", "b", "c"] {
        scene.write(format!("tree/{name}"), "");
    }
    let perl = program("perl", "perl");
    let script = "opendir(D, 'tree') or die; $! = 0; @all = sort grep { !/^\\./ } readdir D; print qq(@all ), $!+0;";
    run(&scene, &["readdir=EIO@1000"], &[&perl, "-e", script]).said("a b c 0");
    run(&scene, &["error calls=readdir errno=EIO path=tree nth=1"], &[&perl, "-e", script]).said(" 5");
    let script = "
import os
try:
    print(sorted(os.listdir('tree')))
except OSError as error:
    print(error)
";
    run(&scene, &["readdir=EIO@4"], &[&python(), "-c", script]).said("[Errno 5] Input/output error: 'tree'");
    run(&scene, &["error calls=readdir errno=EIO path=other"], &[&python(), "-c", script]).said("['a', 'b', 'c']");
    let ls = program("ls", "coreutils");
    let done = run(&scene, &["error calls=readdir errno=EIO path=tree after=2"], &[&ls, "tree"]).ended(2);
    assert!(done.err.contains("reading directory 'tree': Input/output error"), "{}", done.story());
}

#[test]
fn shortened_copies_lose_nothing() {
    let scene = Scene::new();
    let content: Vec<u8> = (0..700_000u32).map(|n| (n * 7 % 251) as u8).collect();
    scene.write("source.bin", &content);
    let script = "
import os, shutil, socket, threading
source = os.open('source.bin', os.O_RDONLY)
def target(name):
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
def whole(step):
    while step():
        pass
out = target('ranges.bin')
whole(lambda: os.copy_file_range(source, out, 1 << 30))
os.lseek(source, 0, os.SEEK_SET)
out = target('sent.bin')
whole(lambda: os.sendfile(out, source, None, 1 << 30))
shutil.copyfile('source.bin', 'shutil.bin')
os.lseek(source, 0, os.SEEK_SET)
one, other = socket.socketpair()
got = []
def drain():
    while data := other.recv(65536):
        got.append(data)
reader = threading.Thread(target=drain)
reader.start()
whole(lambda: os.sendfile(one.fileno(), source, None, 1 << 30))
one.close(); reader.join()
open('socket.bin', 'wb').write(b''.join(got))
";
    let script = scene.write("copies.py", script);
    let fault = "short calls=copy_file_range,sendfile path=source.bin keep=30%";
    let done = run(&scene, &[fault], &[&python(), &script]).ended(0);
    assert!(done.injections().len() > 12, "{}", done.story());
    assert!(done.injections().iter().all(|line| line["result"].as_i64() > Some(0)), "{}", done.story());
    for name in ["ranges.bin", "sent.bin", "shutil.bin", "socket.bin"] {
        assert!(scene.read(name) == content, "{name} differs");
    }
    let cp = program("cp", "coreutils");
    let done = run(&scene, &["short calls=copy_file_range keep=50%"], &[&cp, "source.bin", "cp.bin"]);
    let done = done.ended(0);
    assert!(scene.read("cp.bin") == content, "cp differs");
    assert!(done.injections().len() > 5, "cp copies by copy_file_range: {}", done.story());
}

#[test]
fn a_connection_that_sendfile_loses_stays_lost() {
    let scene = Scene::new();
    let script = "
import os, socket
one, other = socket.socketpair()
source = os.open('data.bin', os.O_RDONLY)
for attempt in (lambda: os.sendfile(one.fileno(), source, 0, 10), lambda: one.send(b'x')):
    try:
        print(attempt())
    except OSError as error:
        print(error.strerror)
";
    run(&scene, &["disconnect calls=sendfile nth=1"], &[&python(), "-c", script])
        .said("Connection reset by peer\nBroken pipe");
    run(&scene, &["sendfile=EPIPE"], &[&python(), "-c", script]).said("Broken pipe\nBroken pipe");
    // Who has not asked to be spared gets SIGPIPE as well.
    let script = format!("import signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL){script}");
    run(&scene, &["sendfile=EPIPE"], &[&python(), "-c", &script]).ended(128 + libc::SIGPIPE);
}

#[test]
fn calls_that_make_descriptors_run_out_of_them_as_under_a_limit() {
    let scene = Scene::new();
    let script = "
import ctypes, os, tempfile
libc = ctypes.CDLL(None)
kept = []
def fill(make):
    count = 0
    try:
        while count < 1000:
            kept.append(make())
            count += 1
    except OSError as error:
        print(count, error.errno, end=' ')
    while kept:
        os.close(kept.pop())
for make in (lambda: os.eventfd(0), lambda: os.memfd_create('x'), lambda: tempfile.mkstemp(dir='.')[0]):
    fill(make)
";
    let script = scene.write("fill.py", script);
    let done = run(&scene, &["exhaust what=files limit=20"], &[&python(), &script]).ended(0);
    let line = format!("ulimit -n 20; exec {} {script}", python());
    let kernel = scene.bare().go(&[&program("bash", "bash"), "-c", &line]).ended(0);
    assert!(kernel.out.contains("24"), "{}", kernel.story());
    done.said(&kernel.out);
}

#[test]
fn a_ring_that_rules_cannot_see_into_is_told_as_an_escape_once() {
    let scene = Scene::new();
    let command = [&guest("calls"), "#425", "#425"];
    let bare = scene.bare().go(&command);
    if bare.out.contains("-1") {
        eprintln!("this kernel gives no io_uring here ({}): nothing to see", bare.out.trim());
        return;
    }
    let escapes = |faults: &[&str]| {
        let done = run(&scene, faults, &command).said(&bare.out);
        done.lines("escape").iter().filter(|line| line["reason"].as_str().unwrap().starts_with("io_uring")).count()
    };
    assert_eq!(escapes(&["error calls=read errno=EIO path=none"]), 1);
    assert_eq!(escapes(&["connect=ECONNREFUSED"]), 1);
    assert_eq!(escapes(&["malloc=ENOMEM@100000"]), 0, "a ring makes no allocation");
    let done = run(&scene, &["io_uring_setup=ENOSYS", "read=EIO"], &command).said("#425 -1 ENOSYS\n#425 -1 ENOSYS");
    assert_eq!(done.lines("escape").len(), 0, "{}", done.story());
}
