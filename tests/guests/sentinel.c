/* Sets errno to a sentinel before calls that succeed, with rules on all of them that never fire; says which touched it. */
#include "guest.h"
#include <dirent.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/wait.h>

static int touched;

#define KEEP(call)                                                       \
    do {                                                                 \
        errno = 7777;                                                    \
        call;                                                            \
        if (errno != 7777) { say("touched by %s: %d\n", #call, errno); touched++; } \
    } while (0)

static void *idle(void *unused) { return unused; }

int main(void) {
    char buffer[16];
    int fd, ends[2], pair[2];
    void *block;
    pid_t pid;
    pthread_t thread;
    for (int round = 0; round < 3; round++) {
        KEEP(fd = open("data.bin", O_RDWR));
        KEEP((void)!read(fd, buffer, 16));
        KEEP((void)!pread(fd, buffer, 16, 0));
        KEEP((void)!pwrite(fd, buffer, 16, 0));
        KEEP(fcntl(fd, F_GETFD));
        KEEP(dup2(fd, 100));
        KEEP(close(100));
        KEEP(close(fd));
        KEEP((void)!pipe(ends));
        KEEP((void)!write(ends[1], "x", 1));
        KEEP((void)!read(ends[0], buffer, 1));
        KEEP(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
        KEEP(send(pair[0], "x", 1, 0));
        KEEP(recv(pair[1], buffer, 1, 0));
        KEEP(block = malloc(100));
        KEEP(block = realloc(block, 200));
        KEEP(free(block));
        KEEP(block = calloc(3, 30));
        KEEP(free(block));
        KEEP((void)!posix_memalign(&block, 64, 64));
        KEEP(free(block));
        KEEP(pid = fork());
        if (pid == 0) _exit(0);
        KEEP(waitpid(pid, NULL, 0));
        KEEP(pid = vfork());
        if (pid == 0) _exit(0);
        KEEP(waitpid(pid, NULL, 0));
        KEEP(pthread_create(&thread, NULL, idle, NULL));
        KEEP(pthread_join(thread, NULL));
        for (int end = 0; end < 2; end++) close(ends[end]), close(pair[end]);
    }
    say("touched %d\n", touched);
    return 0;
}
