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

/* The name of an errno; "0" for none. */
static inline const char *name_of(int number) {
    const char *name = number ? strerrorname_np(number) : "0";
    return name ? name : "?";
}

static inline long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}
