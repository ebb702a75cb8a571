/* Reads a pipe that has a byte, while an alarm with a handler comes after half a second: "RESULT ERRNO HANDLED". */
#include "guest.h"
#include <signal.h>
#include <sys/time.h>

static volatile int handled;
static void on(int signal) { handled++; }

int main(void) {
    struct sigaction action = {.sa_handler = on};
    struct itimerval soon = {.it_value = {.tv_usec = 500000}};
    int ends[2];
    char byte;
    sigaction(SIGALRM, &action, NULL);
    if (pipe(ends) || write(ends[1], "x", 1) != 1 || setitimer(ITIMER_REAL, &soon, NULL)) die("set up");
    long n = read(ends[0], &byte, 1);
    say("%ld %s %d\n", n, n < 0 ? name_of(errno) : "0", handled);
    return 0;
}
