/* Reads from things that are no plain files, with room for more than one item, and says what each read gave. A short
   read of these would lose data or be refused. */
#include "guest.h"
#include <fcntl.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <signal.h>

int main(void) {
    char buffer[4096];
    int event = eventfd(5, 0);
    say("eventfd %ld\n", (long)read(event, buffer, 8));

    int watch = inotify_init();
    inotify_add_watch(watch, ".", IN_CREATE);
    close(open("appears", O_CREAT | O_WRONLY, 0600));
    say("inotify %d\n", read(watch, buffer, sizeof buffer) >= 16);

    struct itimerspec soon = {.it_value.tv_nsec = 1000};
    int timer = timerfd_create(CLOCK_MONOTONIC, 0);
    timerfd_settime(timer, 0, &soon, NULL);
    say("timerfd %ld\n", (long)read(timer, buffer, 8));

    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int signals = signalfd(-1, &set, 0);
    raise(SIGUSR1);
    say("signalfd %d\n", read(signals, buffer, sizeof buffer) == sizeof(struct signalfd_siginfo));

    int pair[2];
    socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
    say("datagram sent %ld\n", (long)send(pair[0], "0123456789", 10, 0));
    say("datagram got %ld\n", (long)recv(pair[1], buffer, sizeof buffer, 0));

    int ends[2];
    if (pipe(ends)) die("pipe");
    say("pipe %ld\n", (long)write(ends[1], buffer, 512));
    return 0;
}
