/* The calls on files, directories, metadata and durability, for `calls.c`: each leaves the next one what it needs. */
#include <dirent.h>
#include <fcntl.h>
#include <pty.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <signal.h>
#include <utime.h>

#undef fstatat
int __xstat(int, const char *, struct stat *);
int __xstat64(int, const char *, struct stat64 *);
int __lxstat(int, const char *, struct stat *);
int __lxstat64(int, const char *, struct stat64 *);
int __fxstat(int, int, struct stat *);
int __fxstat64(int, int, struct stat64 *);
int __fxstatat(int, int, const char *, struct stat *, int);
int __fxstatat64(int, int, const char *, struct stat64 *, int);
int __xmknod(int, const char *, mode_t, dev_t *);
int __xmknodat(int, int, const char *, mode_t, dev_t *);
ssize_t __readlink_chk(const char *, char *, size_t, size_t);
ssize_t __readlinkat_chk(int, const char *, char *, size_t, size_t);
char *__realpath_chk(const char *, char *, size_t);
char *__getcwd_chk(char *, size_t, size_t);

#define IS(symbol) (strcmp(name, #symbol) == 0)
#define HERE AT_FDCWD

static char fs_text[4096];

static long fs_got(const void *pointer) { return pointer ? 1 : -1; }

/* Calls that report an error code themselves. */
static long fs_code(int result) {
    errno = result;
    return result ? -1 : 0;
}

/* By bare system calls, so that a rule on one call is not met on the way to another. */
static long bare(long number, long a, long b, long c, long d) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = 0;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return result;
}

static int fs_file(void) { return bare(SYS_openat, HERE, (long)"data.bin", O_RDWR, 0); }
static int fs_directory(void) { return bare(SYS_openat, HERE, (long)".", O_RDONLY | O_DIRECTORY, 0); }
static int fs_fresh(void) { return bare(SYS_openat, HERE, (long)"copy.bin", O_RDWR | O_CREAT | O_TRUNC, 0600); }

static void fs_pipe(int ends[2]) {
    bare(SYS_pipe2, (long)ends, 0, 0, 0);
    bare_write(ends[1], "0123456789abcdef", 16);
}

/* A name that is not taken; `made` makes it a file. */
static const char *fresh(void) {
    static char names[4][32];
    static int count;
    char *name = names[count % 4];
    do snprintf(name, 32, "name%d", count++);
    while (bare(SYS_faccessat, HERE, (long)name, F_OK, 0) == 0);
    return name;
}

static const char *made(void) {
    const char *name = fresh();
    bare(SYS_close, bare(SYS_openat, HERE, (long)name, O_RDWR | O_CREAT, 0600), 0, 0, 0);
    return name;
}

static const char *made_directory(void) {
    const char *name = fresh();
    bare(SYS_mkdir, (long)name, 0700, 0, 0);
    return name;
}

static const char *made_link(void) {
    const char *name = fresh();
    bare(SYS_symlink, (long)"data.bin", (long)name, 0, 0);
    return name;
}

static char *template(const char *suffix) {
    snprintf(fs_text, sizeof fs_text, "tmpXXXXXX%s", suffix);
    return fs_text;
}

/* A file with the attribute user.one. */
static const char *attributed(void) {
    bare(SYS_setxattr, (long)"data.bin", (long)"user.one", (long)"1", 1);
    return "data.bin";
}

static void *mapped(void) {
    static void *at;
    if (!at) at = (void *)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fs_file(), 0);
    return at;
}

static long fs_named(const char *name) {
    if (IS(rename)) return rename(made(), fresh());
    if (IS(renameat)) return renameat(HERE, made(), HERE, fresh());
    if (IS(renameat2)) return renameat2(HERE, made(), HERE, fresh(), RENAME_NOREPLACE);
    if (IS(unlink)) return unlink(made());
    if (IS(unlinkat)) return unlinkat(HERE, made(), 0);
    if (IS(remove)) return remove(made());
    if (IS(link)) return link(made(), fresh());
    if (IS(linkat)) return linkat(HERE, made(), HERE, fresh(), 0);
    if (IS(symlink)) return symlink("data.bin", fresh());
    if (IS(symlinkat)) return symlinkat("data.bin", HERE, fresh());
    if (IS(mkdir)) return mkdir(fresh(), 0700);
    if (IS(mkdirat)) return mkdirat(HERE, fresh(), 0700);
    if (IS(rmdir)) return rmdir(made_directory());
    dev_t none = 0;
    if (IS(mknod)) return mknod(fresh(), S_IFREG | 0600, none);
    if (IS(mknodat)) return mknodat(HERE, fresh(), S_IFREG | 0600, none);
    if (IS(__xmknod)) return __xmknod(0, fresh(), S_IFREG | 0600, &none);
    if (IS(__xmknodat)) return __xmknodat(0, HERE, fresh(), S_IFREG | 0600, &none);
    if (IS(mkfifo)) return mkfifo(fresh(), 0600);
    if (IS(mkfifoat)) return mkfifoat(HERE, fresh(), 0600);
    if (IS(readlink)) return readlink(made_link(), fs_text, 100);
    if (IS(readlinkat)) return readlinkat(HERE, made_link(), fs_text, 100);
    if (IS(__readlink_chk)) return __readlink_chk(made_link(), fs_text, 100, sizeof fs_text);
    if (IS(__readlinkat_chk)) return __readlinkat_chk(HERE, made_link(), fs_text, 100, sizeof fs_text);
    if (IS(realpath)) return fs_got(realpath(made_link(), fs_text));
    if (IS(__realpath_chk)) return fs_got(__realpath_chk(made_link(), fs_text, sizeof fs_text));
    if (IS(canonicalize_file_name)) return fs_got(canonicalize_file_name(made_link()));
    if (IS(chdir)) return chdir(".");
    if (IS(fchdir)) return fchdir(fs_directory());
    if (IS(chroot)) return chroot("/");
    if (IS(getcwd)) return fs_got(getcwd(fs_text, sizeof fs_text));
    if (IS(__getcwd_chk)) return fs_got(__getcwd_chk(fs_text, 4000, sizeof fs_text));
    if (IS(get_current_dir_name)) return fs_got(get_current_dir_name());
    if (IS(inotify_add_watch)) return inotify_add_watch(inotify_init1(0), "data.bin", IN_OPEN);
    if (IS(mkstemp)) return mkstemp(template(""));
    if (IS(mkstemp64)) return mkstemp64(template(""));
    if (IS(mkostemp)) return mkostemp(template(""), O_CLOEXEC);
    if (IS(mkostemp64)) return mkostemp64(template(""), O_CLOEXEC);
    if (IS(mkstemps)) return mkstemps(template(".x"), 2);
    if (IS(mkstemps64)) return mkstemps64(template(".x"), 2);
    if (IS(mkostemps)) return mkostemps(template(".x"), 2, O_CLOEXEC);
    if (IS(mkostemps64)) return mkostemps64(template(".x"), 2, O_CLOEXEC);
    if (IS(mkdtemp)) return fs_got(mkdtemp(template("")));
    if (IS(truncate)) return truncate(made(), 100);
    if (IS(truncate64)) return truncate64(made(), 100);
    return -2;
}

static long fs_directories(const char *name) {
    DIR *here;
    struct dirent one, *found;
    struct dirent64 one64, *found64;
    struct dirent **list;
    struct dirent64 **list64;
    int count = -2;
    if (strncmp(name, "readdir", 7) == 0) {
        here = fdopendir(fs_directory());
        if (!here) die("fdopendir");
    }
    if (IS(readdir)) return fs_got(readdir(here));
    if (IS(readdir64)) return fs_got(readdir64(here));
    if (IS(readdir_r)) return fs_code(readdir_r(here, &one, &found));
    if (IS(readdir64_r)) return fs_code(readdir64_r(here, &one64, &found64));
    if (IS(getdents64)) return getdents64(fs_directory(), fs_text, sizeof fs_text) > 0 ? 1 : -1;
    if (IS(scandir)) count = scandir(".", &list, NULL, alphasort);
    if (IS(scandir64)) count = scandir64(".", &list64, NULL, NULL);
    if (IS(scandirat)) count = scandirat(HERE, ".", &list, NULL, alphasort);
    if (IS(scandirat64)) count = scandirat64(HERE, ".", &list64, NULL, NULL);
    return count > 0 ? 1 : count;
}

static long fs_metadata(const char *name) {
    struct stat one;
    struct stat64 one64;
    struct statx onex;
    struct statfs fs;
    struct statfs64 fs64;
    struct statvfs vfs;
    struct statvfs64 vfs64;
    if (IS(stat)) return stat("data.bin", &one);
    if (IS(stat64)) return stat64("data.bin", &one64);
    if (IS(lstat)) return lstat("data.bin", &one);
    if (IS(lstat64)) return lstat64("data.bin", &one64);
    if (IS(fstatat)) return fstatat(HERE, "data.bin", &one, 0);
    if (IS(fstatat64)) return fstatat64(HERE, "data.bin", &one64, AT_SYMLINK_NOFOLLOW);
    if (IS(statx)) return statx(HERE, "data.bin", 0, STATX_ALL, &onex);
    if (IS(__xstat)) return __xstat(1, "data.bin", &one);
    if (IS(__xstat64)) return __xstat64(1, "data.bin", &one64);
    if (IS(__lxstat)) return __lxstat(1, "data.bin", &one);
    if (IS(__lxstat64)) return __lxstat64(1, "data.bin", &one64);
    if (IS(__fxstatat)) return __fxstatat(1, HERE, "data.bin", &one, 0);
    if (IS(__fxstatat64)) return __fxstatat64(1, HERE, "data.bin", &one64, 0);
    if (IS(fstat)) return fstat(fs_file(), &one);
    if (IS(fstat64)) return fstat64(fs_file(), &one64);
    if (IS(__fxstat)) return __fxstat(1, fs_file(), &one);
    if (IS(__fxstat64)) return __fxstat64(1, fs_file(), &one64);
    if (IS(statfs)) return statfs("data.bin", &fs);
    if (IS(statfs64)) return statfs64("data.bin", &fs64);
    if (IS(statvfs)) return statvfs("data.bin", &vfs);
    if (IS(statvfs64)) return statvfs64("data.bin", &vfs64);
    if (IS(fstatfs)) return fstatfs(fs_file(), &fs);
    if (IS(fstatfs64)) return fstatfs64(fs_file(), &fs64);
    if (IS(fstatvfs)) return fstatvfs(fs_file(), &vfs);
    if (IS(fstatvfs64)) return fstatvfs64(fs_file(), &vfs64);
    if (IS(access)) return access("data.bin", R_OK | W_OK);
    if (IS(faccessat)) return faccessat(HERE, "data.bin", W_OK, 0);
    if (IS(eaccess)) return eaccess("data.bin", R_OK);
    if (IS(euidaccess)) return euidaccess("data.bin", R_OK);
    if (IS(chmod)) return chmod("data.bin", 0600);
    if (IS(lchmod)) return lchmod("data.bin", 0600);
    if (IS(fchmodat)) return fchmodat(HERE, "data.bin", 0600, 0);
    if (IS(fchmod)) return fchmod(fs_file(), 0600);
    if (IS(chown)) return chown("data.bin", -1, -1);
    if (IS(lchown)) return lchown("data.bin", -1, -1);
    if (IS(fchownat)) return fchownat(HERE, "data.bin", -1, -1, 0);
    if (IS(fchown)) return fchown(fs_file(), -1, -1);
    if (IS(utimensat)) return utimensat(HERE, "data.bin", NULL, 0);
    if (IS(utime)) return utime("data.bin", NULL);
    if (IS(utimes)) return utimes("data.bin", NULL);
    if (IS(lutimes)) return lutimes("data.bin", NULL);
    if (IS(futimesat)) return futimesat(HERE, "data.bin", NULL);
    if (IS(futimens)) return futimens(fs_file(), NULL);
    if (IS(futimes)) return futimes(fs_file(), NULL);
    if (IS(getxattr)) return getxattr(attributed(), "user.one", fs_text, 10);
    if (IS(lgetxattr)) return lgetxattr(attributed(), "user.one", fs_text, 10);
    if (IS(fgetxattr)) return attributed(), fgetxattr(fs_file(), "user.one", fs_text, 10);
    if (IS(setxattr)) return setxattr("data.bin", "user.two", "2", 1, 0);
    if (IS(lsetxattr)) return lsetxattr("data.bin", "user.two", "2", 1, 0);
    if (IS(fsetxattr)) return fsetxattr(fs_file(), "user.two", "2", 1, 0);
    if (IS(listxattr)) return listxattr("data.bin", fs_text, 100);
    if (IS(llistxattr)) return llistxattr("data.bin", fs_text, 100);
    if (IS(flistxattr)) return flistxattr(fs_file(), fs_text, 100);
    if (IS(removexattr)) return removexattr(attributed(), "user.one");
    if (IS(lremovexattr)) return lremovexattr(attributed(), "user.one");
    if (IS(fremovexattr)) return attributed(), fremovexattr(fs_file(), "user.one");
    return -2;
}

static long fs_durable(const char *name) {
    int ends[2], more[2];
    struct iovec part = {fs_text, 16};
    if (IS(fsync)) return fsync(fs_file());
    if (IS(fdatasync)) return fdatasync(fs_file());
    if (IS(sync_file_range)) return sync_file_range(fs_file(), 0, 0, SYNC_FILE_RANGE_WRITE);
    if (IS(syncfs)) return syncfs(fs_file());
    if (IS(sync)) return sync(), 0;
    if (IS(msync)) return msync(mapped(), 4096, MS_SYNC | MS_INVALIDATE);
    if (IS(ftruncate)) return ftruncate(fs_fresh(), 100);
    if (IS(ftruncate64)) return ftruncate64(fs_fresh(), 100);
    if (IS(fallocate)) return fallocate(fs_fresh(), 0, 0, 100);
    if (IS(fallocate64)) return fallocate64(fs_fresh(), 0, 0, 100);
    if (IS(posix_fallocate)) return fs_code(posix_fallocate(fs_fresh(), 0, 100));
    if (IS(posix_fallocate64)) return fs_code(posix_fallocate64(fs_fresh(), 0, 100));
    if (IS(lseek)) return lseek(fs_file(), 0, SEEK_DATA);
    if (IS(lseek64)) return lseek64(fs_file(), 0, SEEK_DATA);
    if (IS(flock)) return flock(fs_file(), LOCK_SH);
    if (IS(lockf)) return lockf(fs_file(), F_LOCK, 10);
    if (IS(lockf64)) return lockf64(fs_file(), F_LOCK, 10);
    if (IS(ioctl)) return ioctl(fs_file(), FIONREAD, &ends[0]);
    if (IS(sendfile)) return sendfile(fs_fresh(), fs_file(), NULL, 100);
    if (IS(sendfile64)) return sendfile64(fs_fresh(), fs_file(), NULL, 100);
    if (IS(copy_file_range)) return copy_file_range(fs_file(), NULL, fs_fresh(), NULL, 100, 0);
    if (IS(splice)) return fs_pipe(ends), splice(ends[0], NULL, fs_fresh(), NULL, 16, 0);
    if (IS(tee)) return fs_pipe(ends), fs_pipe(more), tee(ends[0], more[1], 16, 0);
    if (IS(vmsplice)) return fs_pipe(ends), vmsplice(ends[1], &part, 1, 0);
    return -2;
}

/* A shared memory object of this process's own, and the file that it is. */
static char shared[64] = "/dev/shm";

static const char *shared_name(void) {
    snprintf(shared, sizeof shared, "/dev/shm/chaos-exec-guest-%d", (int)getpid());
    return shared + strlen("/dev/shm");
}

static long shared_opened(void) {
    long fd = shm_open(shared_name(), O_RDWR | O_CREAT, 0600);
    bare(SYS_unlink, (long)shared, 0, 0, 0);
    return fd;
}

static long shared_unlinked(void) {
    const char *name = shared_name();
    bare(SYS_close, bare(SYS_openat, HERE, (long)shared, O_RDWR | O_CREAT, 0600), 0, 0, 0);
    long result = shm_unlink(name);
    bare(SYS_unlink, (long)shared, 0, 0, 0);
    return result;
}

static long fs_descriptors(const char *name) {
    sigset_t set;
    sigemptyset(&set);
    if (IS(eventfd)) return eventfd(1, EFD_CLOEXEC);
    if (IS(signalfd)) return signalfd(-1, &set, 0);
    int ends[2];
    if (IS(openpty)) return openpty(&ends[0], &ends[1], NULL, NULL, NULL);
    if (IS(posix_openpt)) return posix_openpt(O_RDWR);
    if (IS(getpt)) return getpt();
    if (IS(timerfd_create)) return timerfd_create(CLOCK_MONOTONIC, 0);
    if (IS(inotify_init)) return inotify_init();
    if (IS(inotify_init1)) return inotify_init1(0);
    if (IS(memfd_create)) return memfd_create("guest", 0);
    if (IS(shm_open)) return shared_opened();
    if (IS(shm_unlink)) return shared_unlinked();
    if (IS(tmpfile)) return fs_got(tmpfile());
    if (IS(tmpfile64)) return fs_got(tmpfile64());
    return -2;
}

static long fs_call(const char *name) {
    long result = fs_named(name);
    if (result == -2) result = fs_directories(name);
    if (result == -2) result = fs_metadata(name);
    if (result == -2) result = fs_durable(name);
    if (result == -2) result = fs_descriptors(name);
    return result;
}

static long fs_numbered(long number) {
    static struct stat one;
    static struct statx onex;
    static struct statfs fs;
    unsigned long set = 0;
    int ends[2], more[2];
    struct iovec part = {fs_text, 16};
    char ring[120] = {0};
    switch (number) {
    case SYS_rename: return syscall(number, made(), fresh());
    case SYS_renameat: return syscall(number, HERE, made(), HERE, fresh());
    case SYS_renameat2: return syscall(number, HERE, made(), HERE, fresh(), 0);
    case SYS_unlink: return syscall(number, made());
    case SYS_unlinkat: return syscall(number, HERE, made(), 0);
    case SYS_link: return syscall(number, made(), fresh());
    case SYS_linkat: return syscall(number, HERE, made(), HERE, fresh(), 0);
    case SYS_symlink: return syscall(number, "data.bin", fresh());
    case SYS_symlinkat: return syscall(number, "data.bin", HERE, fresh());
    case SYS_mkdir: return syscall(number, fresh(), 0700);
    case SYS_mkdirat: return syscall(number, HERE, fresh(), 0700);
    case SYS_rmdir: return syscall(number, made_directory());
    case SYS_mknod: return syscall(number, fresh(), S_IFREG | 0600, 0);
    case SYS_mknodat: return syscall(number, HERE, fresh(), S_IFREG | 0600, 0);
    case SYS_readlink: return syscall(number, made_link(), fs_text, 100);
    case SYS_readlinkat: return syscall(number, HERE, made_link(), fs_text, 100);
    case SYS_chdir: return syscall(number, ".");
    case SYS_fchdir: return syscall(number, fs_directory());
    case SYS_chroot: return syscall(number, "/");
    case SYS_getcwd: return syscall(number, fs_text, sizeof fs_text) > 0 ? 1 : -1;
    case SYS_inotify_add_watch: return syscall(number, inotify_init1(0), "data.bin", IN_OPEN);
    case SYS_truncate: return syscall(number, made(), 100);
    case SYS_getdents: return syscall(number, fs_directory(), fs_text, sizeof fs_text) > 0 ? 1 : -1;
    case SYS_getdents64: return syscall(number, fs_directory(), fs_text, sizeof fs_text) > 0 ? 1 : -1;
    case SYS_stat: return syscall(number, "data.bin", &one);
    case SYS_lstat: return syscall(number, "data.bin", &one);
    case SYS_newfstatat: return syscall(number, HERE, "data.bin", &one, 0);
    case SYS_statx: return syscall(number, HERE, "data.bin", 0, STATX_ALL, &onex);
    case SYS_fstat: return syscall(number, fs_file(), &one);
    case SYS_statfs: return syscall(number, "data.bin", &fs);
    case SYS_fstatfs: return syscall(number, fs_file(), &fs);
    case SYS_access: return syscall(number, "data.bin", R_OK);
    case SYS_faccessat: return syscall(number, HERE, "data.bin", W_OK);
    case SYS_faccessat2: return syscall(number, HERE, "data.bin", W_OK, 0);
    case SYS_chmod: return syscall(number, "data.bin", 0600);
    case SYS_fchmodat: return syscall(number, HERE, "data.bin", 0600);
    case 452: return syscall(number, HERE, "data.bin", 0600, 0);
    case SYS_fchmod: return syscall(number, fs_file(), 0600);
    case SYS_chown: return syscall(number, "data.bin", -1, -1);
    case SYS_lchown: return syscall(number, "data.bin", -1, -1);
    case SYS_fchownat: return syscall(number, HERE, "data.bin", -1, -1, 0);
    case SYS_fchown: return syscall(number, fs_file(), -1, -1);
    case SYS_utimensat: return syscall(number, HERE, "data.bin", NULL, 0);
    case SYS_utime: return syscall(number, "data.bin", NULL);
    case SYS_utimes: return syscall(number, "data.bin", NULL);
    case SYS_futimesat: return syscall(number, HERE, "data.bin", NULL);
    case SYS_getxattr: return syscall(number, attributed(), "user.one", fs_text, 10);
    case SYS_lgetxattr: return syscall(number, attributed(), "user.one", fs_text, 10);
    case SYS_fgetxattr: return attributed(), syscall(number, fs_file(), "user.one", fs_text, 10);
    case SYS_setxattr: return syscall(number, "data.bin", "user.two", "2", 1, 0);
    case SYS_lsetxattr: return syscall(number, "data.bin", "user.two", "2", 1, 0);
    case SYS_fsetxattr: return syscall(number, fs_file(), "user.two", "2", 1, 0);
    case SYS_listxattr: return syscall(number, "data.bin", fs_text, 100);
    case SYS_llistxattr: return syscall(number, "data.bin", fs_text, 100);
    case SYS_flistxattr: return syscall(number, fs_file(), fs_text, 100);
    case SYS_removexattr: return syscall(number, attributed(), "user.one");
    case SYS_lremovexattr: return syscall(number, attributed(), "user.one");
    case SYS_fremovexattr: return attributed(), syscall(number, fs_file(), "user.one");
    case SYS_fsync: return syscall(number, fs_file());
    case SYS_fdatasync: return syscall(number, fs_file());
    case SYS_sync_file_range: return syscall(number, fs_file(), 0L, 0L, SYNC_FILE_RANGE_WRITE);
    case SYS_syncfs: return syscall(number, fs_file());
    case SYS_sync: return syscall(number);
    case SYS_msync: return syscall(number, mapped(), 4096, MS_SYNC | MS_INVALIDATE);
    case SYS_ftruncate: return syscall(number, fs_fresh(), 100L);
    case SYS_fallocate: return syscall(number, fs_fresh(), 0, 0L, 100L);
    case SYS_lseek: return syscall(number, fs_file(), 0L, SEEK_DATA);
    case SYS_flock: return syscall(number, fs_file(), LOCK_SH);
    case SYS_ioctl: return syscall(number, fs_file(), FIONREAD, &ends[0]);
    case SYS_sendfile: return syscall(number, fs_fresh(), fs_file(), NULL, 100L);
    case SYS_copy_file_range: return syscall(number, fs_file(), NULL, fs_fresh(), NULL, 100L, 0);
    case SYS_splice: return fs_pipe(ends), syscall(number, ends[0], NULL, fs_fresh(), NULL, 16L, 0);
    case SYS_tee: return fs_pipe(ends), fs_pipe(more), syscall(number, ends[0], more[1], 16L, 0);
    case SYS_vmsplice: return fs_pipe(ends), syscall(number, ends[1], &part, 1L, 0);
    case SYS_eventfd: return syscall(number, 1);
    case SYS_eventfd2: return syscall(number, 1, 0);
    case SYS_signalfd: return syscall(number, -1, &set, sizeof set);
    case SYS_signalfd4: return syscall(number, -1, &set, sizeof set, 0);
    case SYS_timerfd_create: return syscall(number, CLOCK_MONOTONIC, 0);
    case SYS_inotify_init: return syscall(number);
    case SYS_inotify_init1: return syscall(number, 0);
    case SYS_memfd_create: return syscall(number, "guest", 0);
    case SYS_io_uring_setup: return syscall(number, 4, ring);
    default: return -2;
    }
}
