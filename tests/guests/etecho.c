/* etecho CONNECTIONS: an echo server on edge-triggered epoll, as event-driven runtimes write it: what read or wrote less than it
   asked for, or was told EAGAIN, is taken for not ready until the next event. Says its port on the first line, and ends
   when so many connections have come and gone. */
#include "guest.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { ROOM = 1 << 16, MOST = 256 };
struct connection { int readable, writable, ended; long from, to; char data[ROOM]; };
static struct connection *connections[MOST];
static int loop;

static void watch(int fd, unsigned events) {
    struct epoll_event event = {.events = events | EPOLLET, .data.fd = fd};
    if (epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
}

static void welcome(int server) {
    for (;;) {
        int fd = accept4(server, NULL, NULL, SOCK_NONBLOCK);
        if (fd < 0 && errno == EAGAIN) return;
        if (fd < 0 || fd >= MOST) die("accept");
        connections[fd] = calloc(1, sizeof(struct connection));
        watch(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
    }
}

/* Moves what can be moved; true when the connection is over. */
static int serve(int fd, struct connection *c) {
    for (;;) {
        if (c->from == c->to) {
            if (c->ended) return 1;
            if (!c->readable) return 0;
            long got = recv(fd, c->data, ROOM, 0);
            if (got < 0 && errno != EAGAIN) return 1;
            if (got < ROOM) c->readable = 0;
            if (got == 0) c->ended = 1;
            c->from = 0;
            c->to = got < 0 ? 0 : got;
        } else {
            if (!c->writable) return 0;
            long sent = send(fd, c->data + c->from, c->to - c->from, MSG_NOSIGNAL);
            if (sent < 0 && errno != EAGAIN) return 1;
            if (sent < c->to - c->from) c->writable = 0;
            if (sent > 0) c->from += sent;
        }
    }
}

int main(int argc, char **argv) {
    int left = atoi(argv[1]);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int server = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(server, (void *)&address, size) || listen(server, 64)) die("listen");
    getsockname(server, (void *)&address, &size);
    say("%d\n", ntohs(address.sin_port));
    loop = epoll_create1(0);
    watch(server, EPOLLIN);
    while (left > 0) {
        struct epoll_event events[16];
        int count = epoll_wait(loop, events, 16, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == server) { welcome(server); continue; }
            struct connection *c = connections[fd];
            if (events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) c->readable = 1;
            if (events[i].events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) c->writable = 1;
            if (serve(fd, c)) { close(fd); free(c); left--; }
        }
    }
    say("done\n");
    return 0;
}
