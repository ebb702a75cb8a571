use super::*;
use crate::sys;
use chaos_table::quantities::{Bandwidth, Bytes, Rate};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::SigSet;
use std::os::fd::OwnedFd;

const HOST: &str = "25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
";

fn named(places: Result<Vec<PathBuf>, String>) -> Vec<String> {
    places.unwrap().iter().map(|place| place.display().to_string()).collect()
}

#[test]
fn places_are_the_own_cgroup_and_those_around_it() {
    assert_eq!(
        named(places_of("0::/user.slice/a.scope\n", HOST)),
        ["/sys/fs/cgroup/user.slice/a.scope", "/sys/fs/cgroup/user.slice", "/sys/fs/cgroup"]
    );
    assert_eq!(named(places_of("4:memory:/x\n0::/\n", HOST)), ["/sys/fs/cgroup/"]);
    // A container that is shown its own part of the host's: nothing outside of it.
    let part = "30 25 0:26 /docker/1 /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
    assert_eq!(named(places_of("0::/docker/1/job", part)), ["/sys/fs/cgroup/job", "/sys/fs/cgroup"]);
    // Beside the old one.
    let both = "30 25 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n31 25 0:27 / /sys/fs/cgroup/my\\040own rw - cgroup2 c rw\n";
    assert_eq!(named(places_of("2:memory:/a\n0::/b\n", both)).first().unwrap(), "/sys/fs/cgroup/my own/b");
}

#[test]
fn what_is_no_place_is_told() {
    let none = "there is no cgroup v2 here";
    for (cgroup, mounts, why) in [
        ("4:memory:/x\n", HOST, none),
        ("", HOST, none),
        ("0::/\n", "25 1 8:1 / / rw - ext4 /dev/sda1 rw\n", none),
        ("0::/\n", "", none),
        ("0::/\n", "cgroup2 - nonsense\n - cgroup2 \n", none),
        ("0::/../outside\n", HOST, "the cgroup /../outside of this process is mounted nowhere"),
        ("0::/other\n", "30 25 0:26 /docker/1 /x rw - cgroup2 c rw\n", "the cgroup /other of this process"),
    ] {
        let said = places_of(cgroup, mounts).unwrap_err();
        assert!(said.contains(why), "{cgroup} {mounts}: {said}");
    }
}

/// A directory with the files of a cgroup.
fn looks_like_one(within: &Path, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let dir = within.join(name);
    fs::create_dir_all(&dir).unwrap();
    files.iter().for_each(|(file, text)| fs::write(dir.join(file), text).unwrap());
    dir
}

fn memory(bytes: u64) -> Vec<Setting> {
    settings(&Limit { memory: Some(Bytes(bytes)), ..Limit::default() }, Path::new("/")).unwrap()
}

#[test]
fn why_no_place_will_do_is_told_of_the_one_that_comes_nearest() {
    let temp = tempfile::tempdir().unwrap();
    let bare = looks_like_one(temp.path(), "bare", &[("cgroup.controllers", "cpu pids\n"), (MEMBERS, "")]);
    let no_right = looks_like_one(temp.path(), "no-right", &[("cgroup.controllers", "cpu memory\n")]);
    let why = |places: &[&PathBuf]| {
        let places: Vec<PathBuf> = places.iter().map(|place| (*place).clone()).collect();
        Confines::among(&places, &memory(1 << 30)).unwrap_err()
    };
    assert_eq!(why(&[&bare]), "cgroup v2 has no controller memory here (cgroup v1 may have it)");
    assert!(why(&[&no_right]).starts_with("cannot write to /"), "{}", why(&[&no_right]));
    assert!(why(&[&bare, &no_right, &bare]).contains("no-right"), "{}", why(&[&bare, &no_right, &bare]));
    assert_eq!(why(&[]), "there is no cgroup v2 here");

    // A plain directory gets no `memory.max`, so what is made in it is no cgroup, and is gone again.
    let files = [("cgroup.controllers", "cpu memory\n"), ("cgroup.subtree_control", "cpu"), (MEMBERS, "")];
    let plain = looks_like_one(temp.path(), "plain", &files);
    assert!(why(&[&plain]).contains("no cgroup can be made in"), "{}", why(&[&plain]));
    assert_eq!(fs::read_to_string(plain.join("cgroup.subtree_control")).unwrap(), "+memory", "it was asked for");
    assert!(fs::read_dir(&plain).unwrap().flatten().all(|entry| entry.path().is_file()));
}

#[test]
fn limits_are_written_as_the_kernel_reads_them() {
    let processors = std::thread::available_parallelism().unwrap().get();
    let limit = Limit { memory: Some(Bytes(640 << 20)), cpu: Some(Rate(0.5)), disk: None };
    let lines: Vec<String> = settings(&limit, Path::new("/")).unwrap().into_iter().map(|own| own.line).collect();
    assert_eq!(lines, ["671088640".to_owned(), format!("{} 100000", processors * 50_000)]);
    // The kernel takes no less than a millisecond.
    let least = Limit { cpu: Some(Rate(0.01 / processors as f64)), ..Limit::default() };
    assert_eq!(settings(&least, Path::new("/")).unwrap()[0].line, "1000 100000");
    let disk = Limit { disk: Some(Bandwidth(1 << 20)), ..Limit::default() };
    let why = settings(&disk, Path::new("/proc")).unwrap_err();
    assert_eq!(why, "/proc is on no disk of its own");
    assert_eq!(limit.to_string(), "memory 640MB, cpu 50%");
}

#[test]
fn only_what_is_held_by_nobody_is_taken_away() {
    let temp = tempfile::tempdir().unwrap();
    let confines = Confines { parent: temp.path().to_owned(), settings: Vec::new() };
    let mut held = confines.make("run-1").unwrap();
    let path = held.path().to_owned();
    remove_if_dead(&path);
    assert!(path.is_dir());
    assert!(confines.make("run-1").is_err(), "it is there already");
    // A copy of the runner, as runs are, leaves it alone.
    held.maker = 1;
    drop(held);
    assert!(path.is_dir());
    remove_if_dead(&path);
    assert!(!path.exists());
    let again = confines.make("run-1").unwrap();
    fs::create_dir(again.path().join("own-of-the-target")).unwrap();
    drop(again);
    assert!(!path.exists());
}

/// Does `work` where there is a cgroup v2 that only this thread sees; says why it was not done.
fn with_cgroups(work: impl FnOnce(&Path) + Send) {
    std::thread::scope(|scope| {
        let done = scope.spawn(|| {
            let temp = tempfile::tempdir().unwrap();
            let mount =
                |fstype: &str, at: &Path, flags| nix::mount::mount(Some("none"), at, Some(fstype), flags, None::<&str>);
            let made = unshare(CloneFlags::CLONE_NEWNS)
                .and_then(|()| mount("", Path::new("/"), nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE))
                .and_then(|()| mount("cgroup2", temp.path(), nix::mount::MsFlags::empty()));
            if let Err(errno) = made {
                eprintln!("not tested: no cgroup v2 can be mounted here: {errno}");
                return;
            }
            work(temp.path());
            let _ = nix::mount::umount(temp.path());
        });
        done.join().unwrap();
    });
}

#[test]
fn what_is_started_in_a_cgroup_ends_with_it() {
    with_cgroups(|mount| {
        let cgroup = fs::read_to_string("/proc/self/cgroup").unwrap();
        let mounts = format!("1 1 0:1 / {} rw - cgroup2 none rw\n", mount.display());
        let parent = places_of(&cgroup, &mounts).unwrap()[0].clone();
        let confines = Confines { parent, settings: Vec::new() };
        let group = confines.make("test-of-members").unwrap();
        let members = OwnedFd::from(fs::OpenOptions::new().write(true).open(group.path().join(MEMBERS)).unwrap());
        let setting = sys::Setting { group: Some(&members), ..sys::Setting::default() };
        let words = [c"sh", c"-c", c"sleep 100 & sleep 100"].map(std::ffi::CStr::to_owned);
        let pid = sys::spawn(c"/bin/sh", &words, &sys::environment(), &SigSet::empty(), &setting, None, None).unwrap();
        let is_in = || fs::read_to_string(group.path().join(MEMBERS)).unwrap().lines().count();
        let start = Instant::now();
        while is_in() < 2 {
            assert!(start.elapsed() < Duration::from_secs(20), "{} in it", is_in());
            std::thread::sleep(Duration::from_millis(5));
        }
        let of_child = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert!(of_child.contains("test-of-members"), "{of_child}");
        let path = group.path().to_owned();
        drop(group);
        assert!(!path.exists());
        let status = nix::sys::wait::waitpid(Pid::from_raw(pid), None).unwrap();
        assert!(matches!(status, nix::sys::wait::WaitStatus::Signaled(_, Signal::SIGKILL, _)), "{status:?}");

        // A process that cannot be put into its cgroup is not started.
        let nowhere = OwnedFd::from(File::open("/dev/null").unwrap());
        let setting = sys::Setting { group: Some(&nowhere), ..sys::Setting::default() };
        let refused = sys::spawn(c"/bin/sh", &words, &[], &SigSet::empty(), &setting, None, None);
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EBADF));
    });
}
