/* What a descriptor is follows what made it, and what its file is called now. */
#include "guest.h"
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static void reads(const char *what, int fd) {
    char data[8];
    errno = 0;
    long n = read(fd, data, sizeof data);
    say("%s %s\n", what, n < 0 ? name_of(errno) : "ok");
}

/* Closes as libc does inside itself: unseen. */
static void unseen_close(int fd) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"((long)SYS_close), "D"((long)fd) : "rcx", "r11", "memory");
}

int main(void) {
    char template[] = "tmpXXXXXX";
    int fd = open("data.bin", O_RDONLY);
    reads("data.bin", fd);
    unseen_close(fd);
    if (memfd_create("guest", 0) != fd) die("memfd_create");
    reads("memfd", fd);
    unseen_close(fd);
    fd = open("data.bin", O_RDONLY);
    reads("data.bin", fd);
    unseen_close(fd);
    if (eventfd(1, 0) != fd) die("eventfd");
    reads("eventfd", fd);
    unseen_close(fd);
    if (mkstemp(template) != fd) die("mkstemp");
    reads("template", fd);
    /* An open file that gets a name which a rule has, and loses it again. */
    if (rename(template, "other/data.bin")) die("rename");
    reads("renamed", fd);
    if (rename("other", "else")) die("rename");
    reads("moved", fd);
    if (rename("else/data.bin", "plain.bin")) die("rename");
    reads("renamed again", fd);
    return 0;
}
