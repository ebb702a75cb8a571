/* A SIGPROF storm: the handler makes calls on which there are rules while the main loop makes them too. */
#include "guest.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/time.h>

static volatile sig_atomic_t signals;
static int fd;

static void handler(int number) {
    (void)number;
    int before = errno;
    char byte;
    signals++;
    if (pread(fd, &byte, 1, 0) < 0 && errno != EIO) _exit(90);
    close(open("data.bin", O_RDONLY));
    errno = before;
}

int main(void) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 200}, {0, 200}};
    fd = open("data.bin", O_RDONLY);
    if (fd < 0) die("data.bin");
    sigaction(SIGPROF, &action, NULL);
    setitimer(ITIMER_PROF, &often, NULL);
    long failed = 0, strange = 0;
    for (long i = 0; i < 200000 || signals < 20; i++) {
        char byte;
        errno = 7777;
        long got = pread(fd, &byte, 1, 0);
        if (got < 0) {
            failed++;
            strange += errno != EIO;
        } else {
            strange += got != 1 || errno != 7777;
        }
        free(malloc(32));
    }
    setitimer(ITIMER_PROF, &(struct itimerval){0}, NULL);
    say("%s failures, strange %ld\n", failed ? "some" : "no", strange);
    return 0;
}
