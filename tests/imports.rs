//! Nothing that real programs call slips past the table of calls: what the installed programs and their libraries import
//! from libc is held against it.

use chaos_table::calls::Op;
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSymbol};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs that the tests run, and what Debian always has. Their libraries come with them.
const PROGRAMS: &[&str] = &[
    "bash",
    "dash",
    "python3",
    "node",
    "java",
    "git",
    "curl",
    "sqlite3",
    "redis-server",
    "perl",
    "tar",
    "cp",
    "mv",
    "ls",
    "dd",
    "sort",
    "sed",
    "grep",
    "gawk",
    "find",
    "gzip",
    "make",
    "gcc",
    "ld",
    "strace",
];

/// What libc has for the kernel and the table leaves out, by the reason.
const LEFT_OUT: &[(&str, &[&str])] = &[
    (
        "who the process is, and what it may: cannot fail in a program without a bug, or only by its rights",
        &[
            "getpid",
            "getppid",
            "gettid",
            "getuid",
            "geteuid",
            "getgid",
            "getegid",
            "getresuid",
            "getresgid",
            "getgroups",
            "getpgid",
            "getpgrp",
            "getsid",
            "setuid",
            "setgid",
            "seteuid",
            "setegid",
            "setreuid",
            "setregid",
            "setresuid",
            "setresgid",
            "setgroups",
            "setfsuid",
            "setfsgid",
            "setpgid",
            "setsid",
            "umask",
            "capget",
            "capset",
            "prctl",
            "setns",
            "unshare",
            "mount",
            "umount2",
            "sethostname",
            "uname",
            "sysinfo",
            "times",
            "getrusage",
            "getpriority",
            "setpriority",
            "personality",
            "arch_prctl",
            "iopl",
            "ioperm",
        ],
    ),
    (
        "scheduling, which only advises the kernel",
        &[
            "sched_yield",
            "sched_getcpu",
            "sched_getaffinity",
            "sched_setaffinity",
            "sched_getparam",
            "sched_setparam",
            "sched_getscheduler",
            "sched_setscheduler",
            "sched_get_priority_max",
            "sched_get_priority_min",
            "sched_rr_get_interval",
            "pthread_getaffinity_np",
            "pthread_setaffinity_np",
            "getcpu",
            "posix_fadvise",
            "posix_fadvise64",
            "posix_madvise",
            "readahead",
            "mincore",
        ],
    ),
    (
        "locks and conditions between threads: they wait for the program itself",
        &[
            "pthread_barrier_destroy",
            "pthread_barrier_wait",
            "pthread_cond_broadcast",
            "pthread_cond_destroy",
            "pthread_cond_signal",
            "pthread_cond_wait",
            "pthread_mutex_init",
            "pthread_mutex_trylock",
            "pthread_rwlock_rdlock",
            "pthread_rwlock_wrlock",
            "pthread_rwlock_tryrdlock",
            "pthread_rwlock_unlock",
            "sem_post",
        ],
    ),
    (
        "signals and contexts: what happens to a process, not what it asks for",
        &[
            "abort",
            "_exit",
            "pause",
            "sigsuspend",
            "sigtimedwait",
            "sigpending",
            "sigaltstack",
            "pthread_sigmask",
            "getcontext",
            "setcontext",
            "ptrace",
            "process_vm_readv",
            "process_vm_writev",
            "pthread_kill",
        ],
    ),
    (
        "timers of the process and the state of its terminal: they fail on bad arguments, or say that there is no terminal",
        &["alarm", "getitimer", "setitimer", "timer_gettime", "tcgetattr", "tcsetattr"],
    ),
    (
        "what gives back or describes: nothing hangs on its failure",
        &[
            "inotify_rm_watch",
            "shmctl",
            "shmdt",
            "semctl",
            "msgctl",
            "munlock",
            "name_to_handle_at",
            "open_by_handle_at",
            "tcdrain",
        ],
    ),
];

/// What the main files of 18 groups of Debian's programs import (interpreters, git, curl, databases, servers, coreutils,
/// OpenSSL, libstdc++), whether or not they are installed here.
const IMPORTED: &[(&str, &str)] = &[
    (
        "open",
        "open open64 openat openat64 __open_2 __open64_2 __openat_2 creat mkstemp mkstemp64 mkostemp mkostemp64 mkdtemp \
         tmpfile64 memfd_create shm_open",
    ),
    ("read", "read __read_chk pread pread64 readv preadv64 preadv64v2"),
    ("write", "write pwrite pwrite64 writev pwritev pwritev64 pwritev64v2"),
    (
        "descriptors",
        "close close_range dup dup2 dup3 pipe pipe2 fcntl fcntl64 ioctl lseek lseek64 flock lockf64 eventfd",
    ),
    (
        "durability",
        "fsync fdatasync sync_file_range syncfs msync ftruncate ftruncate64 truncate truncate64 fallocate posix_fallocate \
         posix_fallocate64 sendfile sendfile64 splice copy_file_range",
    ),
    (
        "metadata",
        "rename renameat renameat2 unlink unlinkat link symlink mkdir rmdir stat stat64 fstat fstat64 lstat lstat64 fstatat \
         fstatat64 statx __xstat64 __lxstat64 __fxstat64 access faccessat readlink realpath opendir fdopendir readdir \
         readdir64 closedir",
    ),
    (
        "streams",
        "fopen fopen64 fdopen freopen freopen64 fread fread_unlocked fwrite fwrite_unlocked fgets getc fgetc __uflow \
         getdelim __getdelim fputs fputc puts fflush fclose __fprintf_chk __printf_chk __vfprintf_chk",
    ),
    (
        "network",
        "socket connect bind listen accept accept4 recv recvfrom recvmsg recvmmsg send sendto sendmsg sendmmsg shutdown \
         setsockopt getsockopt socketpair getaddrinfo getnameinfo gethostbyname gethostbyname_r",
    ),
    ("readiness", "poll ppoll select pselect epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait"),
    (
        "memory",
        "malloc free realloc calloc reallocarray posix_memalign aligned_alloc memalign strdup mmap mmap64 munmap mremap \
         mprotect madvise",
    ),
    (
        "process",
        "fork vfork execve execv execvp execl execlp execle fexecve posix_spawn posix_spawnp popen system waitpid wait3 \
         wait4 waitid kill pthread_create",
    ),
    (
        "time and chance",
        "time gettimeofday clock_gettime nanosleep clock_nanosleep usleep sleep getrandom getentropy arc4random",
    ),
];

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let dirs = ["/usr/bin", "/usr/sbin"].into_iter().chain(path.split(':'));
    dirs.map(|dir| Path::new(dir).join(program)).find_map(|path| std::fs::canonicalize(path).ok())
}

/// The shared objects that the loader would bring with a file.
fn libraries(file: &Path) -> Vec<PathBuf> {
    let listed = Command::new("ldd").arg(file).output().expect("ldd comes with libc");
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    paths.filter_map(|path| std::fs::canonicalize(path).ok()).collect()
}

/// Names of the symbols that a file takes from elsewhere.
fn imports(file: &Path) -> Vec<String> {
    let Ok(bytes) = std::fs::read(file) else { return Vec::new() };
    let Ok(elf) = ElfFile64::<object::Endianness>::parse(bytes.as_slice()) else { return Vec::new() };
    let names = elf
        .dynamic_symbols()
        .filter(ObjectSymbol::is_undefined)
        .filter_map(|symbol| symbol.name().ok().map(str::to_owned));
    names.collect()
}

/// The functions of libc that hold a `syscall` instruction themselves.
fn that_enter_the_kernel(libc: &Path) -> BTreeSet<String> {
    let bytes = std::fs::read(libc).unwrap();
    let elf = ElfFile64::<object::Endianness>::parse(bytes.as_slice()).unwrap();
    let text = elf.section_by_name(".text").unwrap();
    let (start, code) = (text.address(), text.data().unwrap());
    let holds = |address: u64, size: u64| {
        let first = address.checked_sub(start).unwrap_or(u64::MAX) as usize;
        let body = code.get(first..first.saturating_add(size as usize)).unwrap_or(&[]);
        body.windows(2).any(|pair| pair == [0x0f, 0x05])
    };
    let defined =
        elf.dynamic_symbols().filter(|symbol| symbol.is_definition() && holds(symbol.address(), symbol.size()));
    defined.filter_map(|symbol| symbol.name().ok().map(str::to_owned)).collect()
}

#[test]
fn every_import_that_enters_the_kernel_is_in_the_table_or_left_out_for_a_reason() {
    let mut files = BTreeSet::new();
    for program in PROGRAMS.iter().filter_map(|program| find(program)) {
        files.extend(libraries(&program));
        files.insert(program);
    }
    assert!(files.len() > 30, "only {} files were found", files.len());
    let libc = files.iter().find(|file| file.ends_with("libc.so.6")).expect("some program uses libc").clone();
    let enters = that_enter_the_kernel(&libc);
    assert!(enters.len() > 200 && enters.contains("read"), "{} functions of libc enter the kernel", enters.len());
    let own = |file: &Path| file == libc || file.to_string_lossy().contains("/ld-linux");
    let mut importers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files.iter().filter(|file| !own(file)) {
        for name in imports(file) {
            let importer = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            importers.entry(name).or_default().insert(importer);
        }
    }
    let left_out: BTreeSet<&str> = LEFT_OUT.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let gaps: Vec<String> = importers
        .iter()
        .filter(|(name, _)| enters.contains(*name) && Op::by_symbol(name).is_none())
        .filter(|(name, _)| !left_out.contains(name.as_str()) && *name != "syscall")
        .map(|(name, by)| format!("{name}, by {}", by.iter().take(3).cloned().collect::<Vec<_>>().join(" ")))
        .collect();
    assert!(gaps.is_empty(), "neither in the table of calls nor left out:\n{}", gaps.join("\n"));
    let both: Vec<&&str> = left_out.iter().filter(|name| Op::by_symbol(name).is_some()).collect();
    assert!(both.is_empty(), "in the table of calls and left out: {both:?}");
}

#[test]
fn what_real_programs_are_known_to_import_is_in_the_table() {
    let gaps: Vec<String> = IMPORTED
        .iter()
        .flat_map(|(area, names)| names.split_whitespace().map(move |name| (area, name)))
        .filter(|(_, name)| Op::by_symbol(name).is_none())
        .map(|(area, name)| format!("{area}: {name}"))
        .collect();
    assert!(gaps.is_empty(), "not in the table of calls:\n{}", gaps.join("\n"));
}
