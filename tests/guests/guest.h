/* What every guest needs. It speaks by a bare system call, so that no rule of a test can touch its report. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static inline long bare_write(int fd, const void *data, size_t size) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(1L), "D"((long)fd), "S"(data), "d"(size) : "rcx", "r11", "memory");
    return result;
}

__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...) {
    char line[4096];
    int before = errno;
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    bare_write(1, line, (size_t)(size < (int)sizeof line ? size : (int)sizeof line - 1));
    errno = before;
}

__attribute__((noreturn)) static inline void die(const char *what) {
    say("guest: %s: %s\n", what, strerror(errno));
    _exit(99);
}

/* The name of an errno; "0" for none. Where libc cannot tell, of those that guests meet on other libcs. */
static inline const char *name_of(int number) {
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 32)
    const char *name = number ? strerrorname_np(number) : "0";
    return name ? name : "?";
#else
#define NAME(name) case name: return #name;
    switch (number) {
    case 0: return "0";
    NAME(EPERM) NAME(ENOENT) NAME(EINTR) NAME(EIO) NAME(EBADF) NAME(EAGAIN) NAME(ENOMEM) NAME(EACCES) NAME(EFAULT)
    NAME(EEXIST) NAME(ENOTDIR) NAME(EISDIR) NAME(EINVAL) NAME(ENFILE) NAME(EMFILE) NAME(ENOSPC) NAME(ESPIPE)
    NAME(EROFS) NAME(EPIPE) NAME(ENOSYS) NAME(ENETUNREACH) NAME(ECONNABORTED) NAME(ECONNRESET) NAME(ENOBUFS)
    NAME(ENOTCONN) NAME(ETIMEDOUT) NAME(ECONNREFUSED) NAME(ENOEXEC) NAME(EHOSTUNREACH) NAME(EINPROGRESS) NAME(EDQUOT)
    }
#undef NAME
    return "?";
#endif
}

static inline long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}
