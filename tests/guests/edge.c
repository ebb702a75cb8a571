/* edge [KIND]: an edge-triggered loop that takes a short read for the end of what is there, as event loops do. A thousand
   bytes come at once, and nothing after them. Says how many it got, or how many before it had waited two seconds in vain.
   KIND: two (a second epoll watches by edges too), oneshot (the watch is set again after each event), level, or moved (from
   one epoll, by edges, to another). */
#include "guest.h"
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
    const char *kind = argc > 1 ? argv[1] : "";
    char buffer[4096] = {0};
    int ends[2], loop = epoll_create1(0), other = epoll_create1(0);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends)) die("socketpair");
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    if (*kind == 'o') event.events = EPOLLIN | EPOLLONESHOT;
    if (*kind == 'l') event.events = EPOLLIN;
    struct epoll_event watch = event;
    if (*kind == 't') epoll_ctl(other, EPOLL_CTL_ADD, ends[0], &event);
    if (*kind == 'm') {
        epoll_ctl(other, EPOLL_CTL_ADD, ends[0], &event);
        epoll_ctl(other, EPOLL_CTL_DEL, ends[0], NULL);
    }
    epoll_ctl(loop, EPOLL_CTL_ADD, ends[0], &event);
    bare_write(ends[1], buffer, 1000);
    long total = 0;
    while (total < 1000 && epoll_wait(loop, &event, 1, 2000) > 0) {
        long got = read(ends[0], buffer, sizeof buffer);
        if (got > 0) total += got;
        if (*kind == 'o') epoll_ctl(loop, EPOLL_CTL_MOD, ends[0], &watch);
    }
    say("got %ld\n", total);
    return 0;
}
