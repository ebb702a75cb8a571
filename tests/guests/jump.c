/* A signal handler that jumps out of whatever it interrupts, our code among it; rules must hit afterwards as before. */
#include "guest.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>

static sigjmp_buf start;
static volatile int jumps;

static void handler(int unused) {
    (void)unused;
    jumps++;
    siglongjmp(start, 1);
}

int main(void) {
    struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
    int file = open("data.bin", O_RDONLY), failed = 0;
    char byte;
    signal(SIGALRM, handler);
    // Not before there is a place to jump to.
    if (!sigsetjmp(start, 1)) setitimer(ITIMER_REAL, &often, NULL);
    while (jumps < 2000) {
        int other = open("data.bin", O_RDONLY);
        if (other > file) close(other);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    for (int i = 0; i < 100; i++) failed += pread(file, &byte, 1, 0) < 0;
    say("failed %d", failed);
    return 0;
}
