/* What a call that hangs owes its program: cancellation, SA_RESTART, EINTR. And what bad pointers, empty buffers get. */
#include "guest.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

static int ends[2];

static void *reader(void *unused) {
    char byte;
    (void)unused;
    return read(ends[0], &byte, 1) < 0 ? "failed" : "read";
}

static void cancel(void) {
    pthread_t thread;
    void *result;
    pthread_create(&thread, NULL, reader, NULL);
    usleep(100000);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    say(result == PTHREAD_CANCELED ? "cancelled" : "not cancelled");
}

static void handler(int unused) { (void)unused; }

static void interrupt(int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigaction(SIGALRM, &action, NULL);
    /* Again and again: on a busy machine the first may come before the read begins. */
    ualarm(100000, 100000);
    if (bare_write(ends[1], "x", 1) != 1) die("pipe");
    char byte;
    errno = 0;
    ssize_t got = read(ends[0], &byte, 1);
    say("%zd %s", got, name_of(errno));
}

static void pointers(void) {
    void *bad = (void *)16;
    char *none[] = {NULL};
    if (readv(0, bad, 2) < 0) say("readv %s ", name_of(errno));
    if (open(bad, O_RDONLY) < 0) say("open %s ", name_of(errno));
    if (connect(socket(AF_UNIX, SOCK_STREAM, 0), bad, 16) < 0) say("connect %s ", name_of(errno));
    if (execve(bad, none, none) < 0) say("execve %s ", name_of(errno));
    if (execve("/bin/true", none, bad) < 0) say("execve %s ", name_of(errno));
    if (syscall(SYS_clone3, NULL, 0) < 0) say("clone3 %s", name_of(errno));
}

static void buffers(void) {
    char data[100];
    struct iovec list[] = {{data, 0}, {data, 100}};
    int fd = open("data.bin", O_RDONLY);
    say("%zd", readv(fd, list, 2));
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (pipe(ends) < 0) die("pipe");
    if (!strcmp(what, "cancel")) cancel();
    if (!strcmp(what, "restart")) interrupt(SA_RESTART);
    if (!strcmp(what, "interrupt")) interrupt(0);
    if (!strcmp(what, "pointers")) pointers();
    if (!strcmp(what, "buffers")) buffers();
    if (!strcmp(what, "pipe") && close(ends[0]) == 0) say("%zd", write(ends[1], "x", 1));
    return 0;
}
