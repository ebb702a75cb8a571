/* Reads a pipe twice; its only byte comes after 300 ms, and a signal before it, whose handler restarts calls. */
#include "guest.h"
#include <sys/wait.h>

static volatile sig_atomic_t signals;

static void handler(int number) {
    (void)number;
    signals++;
}

int main(void) {
    int ends[2];
    char byte;
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    if (pipe(ends)) die("pipe");
    pid_t parent = getpid();
    if (fork() == 0) {
        usleep(150000);
        kill(parent, SIGUSR1);
        usleep(150000);
        _exit(write(ends[1], "x", 1) == 1 ? 0 : 1);
    }
    for (int i = 0; i < 2; i++) {
        long n = read(ends[0], &byte, 1);
        if (n < 0) printf("read -1 %s\n", name_of(errno));
        else printf("read %ld\n", n);
    }
    printf("signals %d\n", (int)signals);
    while (wait(NULL) > 0) { }
    return 0;
}
