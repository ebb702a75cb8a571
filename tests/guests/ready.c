/* ready HOW TIMEOUT_MS [KIND]: waits for a pipe with HOW (poll, ppoll, select, pselect, epoll_wait, epoll_pwait, epoll_pwait2, raw)
   and says "RESULT ERRNO MS LEFT": what the call gave, how long it took, and what it left in what it was given (revents, or
   the set's bit). A byte is in the pipe unless KIND is empty. `signal`: SIGALRM, with SA_RESTART, comes after 300 ms; `masked`: it
   is let through only by the mask of the call. */
#include "guest.h"
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>

static void handle(int unused) { (void)unused; }

int main(int argc, char **argv) {
    const char *how = argv[1], *kind = argc > 3 ? argv[3] : "";
    int ms = atoi(argv[2]), ends[2], left = -1;
    if (pipe(ends)) die("pipe");
    if (strcmp(kind, "empty")) bare_write(ends[1], "x", 1);
    sigset_t none, *mask = NULL;
    sigemptyset(&none);
    if (*kind == 's' || *kind == 'm') {
        struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
        sigaction(SIGALRM, &action, NULL);
        if (*kind == 'm') {
            sigset_t alarm_only = none;
            sigaddset(&alarm_only, SIGALRM);
            sigprocmask(SIG_BLOCK, &alarm_only, NULL);
            mask = &none;
        }
    }
    struct timespec time = {ms / 1000, ms % 1000 * 1000000L}, *spec = ms < 0 ? NULL : &time;
    struct timeval value = {ms / 1000, ms % 1000 * 1000L};
    struct pollfd item = {ends[0], POLLIN, 0x55};
    struct epoll_event event = {.events = EPOLLIN};
    fd_set set;
    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    int loop = epoll_create1(0), count = ends[0] + 1;
    epoll_ctl(loop, EPOLL_CTL_ADD, ends[0], &event);
    errno = 0;
    long long start = now_ns();
    struct itimerval soon = {.it_value.tv_usec = *kind == 's' || *kind == 'm' ? 300000 : 0};
    setitimer(ITIMER_REAL, &soon, NULL);
    long result = -2;
    if (!strcmp(how, "poll")) result = poll(&item, 1, ms);
    if (!strcmp(how, "ppoll")) result = ppoll(&item, 1, spec, mask);
    if (!strcmp(how, "raw")) result = syscall(SYS_poll, &item, 1, ms);
    if (!strcmp(how, "select")) result = select(count, &set, NULL, NULL, ms < 0 ? NULL : &value);
    if (!strcmp(how, "pselect")) result = pselect(count, &set, NULL, NULL, spec, mask);
    if (!strcmp(how, "epoll_wait")) result = epoll_wait(loop, &event, 1, ms);
    if (!strcmp(how, "epoll_pwait")) result = epoll_pwait(loop, &event, 1, ms, mask);
    if (!strcmp(how, "epoll_pwait2")) result = epoll_pwait2(loop, &event, 1, spec, mask);
    long long took = (now_ns() - start) / 1000000;
    int error = errno;
    if (strstr(how, "select")) left = !!FD_ISSET(ends[0], &set);
    else if (how[0] != 'e') left = item.revents;
    say("%ld %s %lld %d\n", result, result < 0 ? name_of(error) : "0", took, left);
    return 0;
}
