/* A signal handler on a stack of its own makes calls on which there are rules. Says how many bytes of that stack were
   used, which a program that is careful with it has counted out. */
#include "guest.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/socket.h>

static int failed;

static void handler(int number) {
    (void)number;
    int before = errno;
    char byte;
    int fd = open("data.bin", O_RDONLY), ends[2];
    failed += fd < 0 || pread(fd, &byte, 1, 0) != 1;
    if (fd >= 0) close(fd);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0) {
        failed += send(ends[0], "x", 1, 0) != 1 || recv(ends[1], &byte, 1, MSG_DONTWAIT) != 1;
        close(ends[0]);
        close(ends[1]);
    }
    errno = before;
}

int main(void) {
    static unsigned char memory[65536];
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    stack_t stack = {.ss_sp = memory, .ss_size = sizeof memory};
    if (sigaltstack(&stack, NULL) || sigaction(SIGUSR1, &action, NULL)) die("sigaltstack");
    memset(memory, 0xA5, sizeof memory);
    for (int i = 0; i < 20; i++) raise(SIGUSR1);
    size_t untouched = 0;
    while (untouched < sizeof memory && memory[untouched] == 0xA5) untouched++;
    say("%s failures, stack used %zu\n", failed ? "some" : "no", sizeof memory - untouched);
    return 0;
}
