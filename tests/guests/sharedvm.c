/* [fork]: a clone(CLONE_VM) child, which shares our memory and our TLS, makes calls; ours must be hit afterwards as
   before. With an argument a fork child, which has made no call itself, does so; it says its pid first. */
#include "guest.h"
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

static int fails(void) {
    int fd = open("data.bin", O_RDONLY), failed = 0;
    char byte;
    for (int i = 0; i < 10; i++) failed += pread(fd, &byte, 1, 0) < 0;
    close(fd);
    return failed;
}

static int in_child;
static int child(void *unused) { (void)unused; in_child = fails(); return 0; }

int main(int argc, char **argv) {
    (void)argv;
    int before = argc > 1 ? 0 : fails();
    if (argc > 1 && fork()) return wait(NULL) < 0;
    char *stack = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pid_t pid = clone(child, stack + 65536, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    int status = -1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) die("clone");
    if (argc > 1) say("%d ", getpid());
    say("before %d child status %d after %d\n", before, status, fails());
    return in_child < 0;
}
