//! Real programs whose files, directories and disks fail: each says what the kernel would have made it say.

#[expect(dead_code, reason = "each topic uses its part of the helpers")]
mod common;

use common::complaints::Complaints;
use common::{Scene, program, python};

/// A scene with a file `a`, a directory `d` with a file in it, and an archive of that.
fn scene() -> Scene {
    let scene = Scene::new();
    scene.write("a", "hello\n");
    std::fs::create_dir(scene.path("d")).unwrap();
    scene.write("d/f", "file\n");
    scene.bare().go(&[&program("tar", "tar"), "-cf", "d.tar", "d"]).ended(0);
    scene
}

#[test]
fn coreutils_say_what_failed() {
    // Fault, command, exit code, what stderr says.
    let cases: &[(&str, &str, i32, &str)] = &[
        ("rename=EACCES", "mv a b", 1, "cannot move 'a' to 'b': Permission denied"),
        ("unlink=EBUSY", "rm a", 1, "cannot remove 'a': Device or resource busy"),
        ("unlink=EPERM", "rm -r d", 1, "cannot remove 'd/f': Operation not permitted"),
        ("rmdir=ENOTEMPTY", "rmdir d", 1, "failed to remove 'd': Directory not empty"),
        ("mkdir=ENOSPC", "mkdir x", 1, "No space left on device"),
        ("mkdir=EROFS@2", "mkdir -p x/y", 1, "Read-only file system"),
        ("link=EMLINK", "ln a c", 1, "failed to create hard link"),
        ("symlink=EDQUOT", "ln -s a c", 1, "failed to create symbolic link 'c': Disk quota exceeded"),
        ("copy_file_range=EIO", "cp a c", 1, "error copying 'a' to 'c': Input/output error"),
        ("copy_file_range=ENOSPC", "cp a c", 1, "No space left on device"),
        ("ioctl=EOPNOTSUPP", "cp --reflink=always a c", 1, "failed to clone 'c' from 'a': Operation not supported"),
        ("stat=EACCES", "stat a", 1, "cannot statx 'a': Permission denied"),
        ("statfs=EIO", "df .", 1, "Input/output error"),
        ("fstat=EIO", "cat a", 1, "a: Input/output error"),
        ("opendir=EACCES", "ls d", 2, "cannot open directory 'd': Permission denied"),
        ("ftruncate=EFBIG", "truncate -s 10 a", 1, "failed to truncate 'a' at 10 bytes: File too large"),
        (
            "error calls=fsync errno=EIO fd=1",
            "dd if=a of=z conv=fsync status=none",
            1,
            "fsync failed for 'z': Input/output error",
        ),
        ("fdatasync=EIO", "sync -d a", 1, "error syncing 'a': Input/output error"),
        ("fsync=ENOSPC", "sync a", 1, "error syncing 'a': No space left on device"),
        ("syncfs=EIO", "sync -f a", 1, "error syncing 'a': Input/output error"),
        ("chmod=EPERM", "chmod 600 a", 1, "changing permissions of 'a': Operation not permitted"),
        ("mknod=EDQUOT", "mkfifo p", 1, "cannot create fifo 'p': Disk quota exceeded"),
        ("readlink=EIO", "readlink -v a", 1, "a: Input/output error"),
        // Where a program has another way, it takes it.
        ("rename=EXDEV", "mv a b", 0, ""),
        ("copy_file_range=EXDEV", "cp a c", 0, ""),
        ("copy_file_range=EOPNOTSUPP", "cp a c", 0, ""),
        ("copy_file_range=ENOSYS", "cp a c", 0, ""),
    ];
    let mut complaints = Complaints::default();
    for (fault, command, code, says) in cases {
        let scene = scene();
        let words: Vec<&str> = command.split(' ').collect();
        let tool = program(words[0], "coreutils");
        let command: Vec<&str> = std::iter::once(tool.as_str()).chain(words[1..].iter().copied()).collect();
        let done = scene.under(&[fault]).options(&["-q"]).go(&command);
        complaints.expect(&format!("{fault} {command:?}"), done.code, *code);
        complaints.check(done.err.contains(says), || format!("{fault} {command:?}: {}", done.err));
        complaints.check(!done.injections().is_empty(), || format!("{fault} {command:?}: nothing fired"));
        if *code == 0 {
            let made = std::fs::read(scene.path(command.last().unwrap())).unwrap_or_default();
            complaints.expect(&format!("{fault} {command:?}"), made, b"hello\n".to_vec());
        }
    }
    complaints.none();
}

#[test]
fn python_raises_what_each_call_failed_with() {
    let script = "
import fcntl, os, sys
here = os.open('.', os.O_RDONLY)
fd = os.open('a', os.O_RDWR)
calls = {
    'rename': lambda: os.rename('a', 'b'), 'renameat': lambda: os.rename('a', 'b', src_dir_fd=here),
    'unlink': lambda: os.unlink('a'), 'unlinkat': lambda: os.unlink('a', dir_fd=here),
    'link': lambda: os.link('a', 'l'), 'symlink': lambda: os.symlink('a', 's'), 'mkdir': lambda: os.mkdir('m'),
    'rmdir': lambda: os.rmdir('d'), 'mkfifo': lambda: os.mkfifo('p'), 'stat': lambda: os.stat('a'),
    'lstat': lambda: os.lstat('a'), 'fstat': lambda: os.fstat(fd), 'statvfs': lambda: os.statvfs('a'),
    'chmod': lambda: os.chmod('a', 0o600), 'fchmod': lambda: os.fchmod(fd, 0o600), 'chown': lambda: os.chown('a', -1, -1),
    'utimensat': lambda: os.utime('a'), 'futimens': lambda: os.utime(fd), 'truncate': lambda: os.truncate('a', 1),
    'ftruncate': lambda: os.ftruncate(fd, 1), 'fsync': lambda: os.fsync(fd), 'fdatasync': lambda: os.fdatasync(fd),
    'posix_fallocate': lambda: os.posix_fallocate(fd, 0, 100), 'readdir': lambda: os.listdir('d'),
    'opendir': lambda: os.listdir('d'), 'fdopendir': lambda: os.listdir(here), 'chdir': lambda: os.chdir('d'),
    'fchdir': lambda: os.chdir(here), 'getcwd': os.getcwd, 'sendfile': lambda: os.sendfile(fd, os.open('d/f', 0), 0, 2),
    'copy_file_range': lambda: os.copy_file_range(os.open('d/f', 0), fd, 2), 'getxattr': lambda: os.getxattr('a', 'user.x'),
    'setxattr': lambda: os.setxattr('a', 'user.x', b''), 'listxattr': lambda: os.listxattr('a'),
    'removexattr': lambda: os.removexattr('a', 'user.x'), 'memfd_create': lambda: os.memfd_create('m'),
    'eventfd': lambda: os.eventfd(0), 'flock': lambda: fcntl.flock(fd, fcntl.LOCK_EX),
}
try:
    calls[sys.argv[1]]()
    print('ok')
except OSError as error:
    print(error.errno)
";
    let table = script.split("calls = {").nth(1).unwrap().split("\n}").next().unwrap();
    let names: Vec<&str> =
        table.split('\'').skip(1).step_by(2).filter(|name| table.contains(&format!("'{name}': "))).collect();
    assert!(names.len() > 35, "{names:?}");
    let mut complaints = Complaints::default();
    for name in names {
        let scene = scene();
        let script = scene.write("os.py", script);
        let row = chaos_table::calls::Op::by_symbol(name).unwrap().row();
        let errno = chaos_table::errno::errno_name(row.usual()[0]).unwrap();
        // The interpreter itself lists the script's directory.
        let place = if name == "readdir" { "path=d" } else { "" };
        let done = scene.under(&[&format!("error calls={name} errno={errno} {place}")]).go(&[&python(), &script, name]);
        complaints.expect(name, done.out.trim_end().to_owned(), row.usual()[0].to_string());
    }
    complaints.none();
}

#[test]
fn node_throws_what_each_call_failed_with() {
    let scene = scene();
    let script = "
const fs = require('fs');
const calls = {
  rename: () => fs.renameSync('a', 'b'), mkdir: () => fs.mkdirSync('m'), stat: () => fs.statSync('a'),
  fstat: () => fs.fstatSync(fs.openSync('a')), fsync: () => fs.fsyncSync(fs.openSync('a', 'r+')),
  readdir: () => fs.readdirSync('d'), mkdtemp: () => fs.mkdtempSync('t'), unlink: () => fs.unlinkSync('a'),
  access: () => fs.accessSync('a'), utimes: () => fs.utimesSync('a', 1, 1), truncate: () => fs.truncateSync('a', 1),
  symlink: () => fs.symlinkSync('a', 's'), realpath: () => fs.realpathSync.native('d'), statfs: () => fs.statfsSync('a'),
};
const said = [];
for (const [name, call] of Object.entries(calls)) {
  try { call(); said.push(name + ' ok'); } catch (error) { said.push(name + ' ' + error.code); }
}
console.log(said.join('\\n'));
";
    let script = scene.write("fs.js", script);
    let node = program("node", "nodejs");
    let calls = "rename,mkdir,stat,fstat,fsync,readdir,opendir,scandir,mkdtemp,unlink,access,utimensat,ftruncate,symlink,\
                 realpath,statfs";
    let faults: Vec<String> = ["a", "b", "m", "d", "t*", "s"]
        .iter()
        .map(|path| format!("error calls={calls} errno=EIO path={path}"))
        .collect();
    let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
    let names = "rename mkdir stat fstat fsync readdir mkdtemp unlink access utimes truncate symlink realpath statfs";
    let failed: Vec<String> = names.split(' ').map(|name| format!("{name} EIO")).collect();
    scene.under(&faults).go(&[&node, &script]).said(&failed.join("\n"));
}

#[test]
fn a_disk_that_does_not_keep_what_it_said_stops_sqlite_without_damage() {
    let scene = Scene::new();
    let sqlite = program("sqlite3", "sqlite3");
    let make = "create table t(n); insert into t values (1), (2);";
    scene.bare().go(&[&sqlite, "a.db", make]).ended(0);
    let insert = "insert into t select n + 10 from t;";
    for fault in
        ["fdatasync=EIO", "fdatasync,fsync=ENOSPC", "unlink=EIO", "error calls=unlink errno=EACCES path=*-journal"]
    {
        let done = scene.under(&[fault]).go(&[&sqlite, "a.db", insert]);
        assert!(done.code != 0 && done.err.contains("I/O error"), "{fault}: {}", done.story());
        assert!(!done.injections().is_empty(), "{fault}: {}", done.story());
        scene.bare().go(&[&sqlite, "a.db", "pragma integrity_check; select sum(n) from t;"]).said("ok\n3");
    }
    let truncating = format!("pragma journal_mode=truncate; {insert} {insert}");
    let done = scene.under(&["ftruncate=EIO"]).go(&[&sqlite, "a.db", &truncating]);
    assert!(done.code != 0 && done.err.contains("I/O error"), "{}", done.story());
    scene.bare().go(&[&sqlite, "a.db", "pragma integrity_check;"]).said("ok");
}

#[test]
fn git_keeps_its_repository_whole_when_names_cannot_be_changed() {
    let scene = Scene::new();
    let git = program("git", "git");
    let bash = program("bash", "bash");
    let setup = format!(
        "{git} init -q -b main r && cd r && {git} config user.email a@b && {git} config user.name a && \
                         echo one >f && {git} add f && {git} commit -qm one && echo two >f && {git} add f"
    );
    scene.bare().go(&[&bash, "-c", &setup]).ended(0);
    let commit = ["-C", "r", "-c", "core.fsync=all", "commit", "-qm", "two"];
    let command: Vec<&str> = std::iter::once(git.as_str()).chain(commit).collect();
    for (fault, says) in [
        ("error calls=rename errno=ENOSPC path=*.lock", "unable to write new"),
        ("error calls=fsync errno=EIO path=*.lock", "fsync error on"),
        ("link,rename=EIO", "unable to"),
    ] {
        let done = scene.under(&[fault]).go(&command).ended(128);
        assert!(done.err.contains(says), "{fault}: {}", done.story());
        assert!(!done.injections().is_empty(), "{fault}: {}", done.story());
        let check = format!("rm -f r/.git/*.lock; {git} -C r fsck --full --strict && {git} -C r log --format=%s");
        let log = scene.bare().go(&[&bash, "-c", &check]).ended(0);
        assert!(log.out.lines().any(|line| line == "one"), "{fault}: {}", log.story());
    }
}

#[test]
fn tar_says_what_it_could_not_restore() {
    let tar = program("tar", "tar");
    for (fault, command, says) in [
        ("mkdir=ENOSPC", "-xf d.tar -C out", "d: Cannot mkdir: No space left on device"),
        ("utimensat,futimens=EPERM", "-xf d.tar -C out", "d/f: Cannot utime: Operation not permitted"),
        ("chmod,fchmod=EPERM", "-xpf d.tar -C out", "d/f: Cannot change mode to"),
        ("error calls=stat,fstat errno=EIO path=f", "-cf again.tar d", "d/f: Cannot stat: Input/output error"),
        (
            "error calls=opendir,fdopendir,open errno=EACCES path=d",
            "-cf again.tar d",
            "d: Cannot open: Permission denied",
        ),
    ] {
        let scene = scene();
        std::fs::create_dir(scene.path("out")).unwrap();
        let command: Vec<&str> = std::iter::once(tar.as_str()).chain(command.split(' ')).collect();
        let done = scene.under(&[fault]).go(&command).ended(2);
        assert!(done.err.contains(says), "{fault}: {}", done.story());
    }
}

#[test]
fn a_lock_that_somebody_holds_is_waited_for_or_refused() {
    let scene = scene();
    let flock = program("flock", "util-linux");
    let wait = [flock.as_str(), "a", "echo", "held"];
    let tries = [flock.as_str(), "-n", "a", "echo", "held"];
    scene.under(&["flock=EAGAIN"]).go(&tries).ended(1);
    scene.under(&["flock=EAGAIN"]).go(&wait).said("held");
    let started = std::time::Instant::now();
    let done = scene.under(&["flock=hang:300ms"]).go(&wait).said("held");
    assert!(
        started.elapsed() >= std::time::Duration::from_millis(300) && done.injections().len() == 1,
        "{}",
        done.story()
    );
    let done = scene.under(&["flock=hang:20s"]).go(&tries).said("held");
    assert_eq!(done.injections().len(), 0, "who only tries does not wait: {}", done.story());
    // The wait for a lock, and for nothing else of a file's, ends with a signal.
    scene.under(&["flock=hang:20s"]).go(&[&flock, "-w", "0.2", "a", "echo", "held"]).ended(1);
}

#[test]
fn runtimes_boot_whatever_fails_on_the_disk() {
    let scene = Scene::new();
    let mut complaints = Complaints::default();
    for fault in
        ["disk=EIO", "disk=EACCES", "disk=ENOENT", "stat,fstat,access,readlink,realpath=ENOMEM", "getcwd=ENOENT"]
    {
        for (command, package) in [
            ("python3 -c print(1)", "python3"),
            ("node -p 1", "nodejs"),
            ("perl -e print(1)", "perl"),
            ("ruby -e print(1)", "ruby"),
            ("java -version", "default-jdk-headless"),
        ] {
            let words: Vec<&str> = command.split(' ').collect();
            // Ruby is no runtime of every test machine.
            if words[0] == "ruby" && !std::path::Path::new("/usr/bin/ruby").exists() {
                continue;
            }
            let runtime = program(words[0], package);
            let command: Vec<&str> = std::iter::once(runtime.as_str()).chain(words[1..].iter().copied()).collect();
            let done = scene.under(&[fault]).go(&command).followed();
            complaints.check(done.code == 0, || format!("{fault}: {}", done.story()));
        }
    }
    complaints.none();
}

#[test]
fn node_does_without_a_ring_that_cannot_be_set_up() {
    let scene = scene();
    let script = "
const fs = require('fs');
fs.stat('a', (error) => { console.log(error ? error.code : 'ok'); });
";
    let script = scene.write("ring.js", script);
    let node = program("node", "nodejs");
    let go = |faults: &[&str]| scene.under(faults).env("UV_USE_IO_URING", "1").go(&[&node, &script]).ended(0);
    let fault = "error calls=stat errno=EIO path=a";
    let rings = |done: &common::Done| {
        done.lines("escape").iter().filter(|line| line["reason"].as_str().unwrap().starts_with("io_uring")).count()
    };
    // Older and newer builds of node, and some kernels, set up none: then there is nothing to escape by.
    let with = go(&[fault]);
    assert!(with.out == "EIO\n" || rings(&with) == 1, "{}", with.story());
    let without = go(&[fault, "io_uring_setup=ENOSYS"]);
    assert_eq!((without.out.as_str(), rings(&without)), ("EIO\n", 0), "{}", without.story());
}
