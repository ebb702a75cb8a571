/* An edge-triggered loop that takes a short read for the end of what is there, as event loops do. A thousand bytes come
   at once, and nothing after them. Says how many it got, or how many before it had waited two seconds in vain. */
#include "guest.h"
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

int main(void) {
    char buffer[4096] = {0};
    int ends[2], loop = epoll_create1(0);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends)) die("socketpair");
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    epoll_ctl(loop, EPOLL_CTL_ADD, ends[0], &event);
    bare_write(ends[1], buffer, 1000);
    long total = 0;
    while (total < 1000 && epoll_wait(loop, &event, 1, 2000) > 0) {
        long got = read(ends[0], buffer, sizeof buffer);
        if (got > 0) total += got;
    }
    say("got %ld\n", total);
    return 0;
}
