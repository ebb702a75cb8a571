/* sockets PLACE STEP...: does what the steps say with a socket (`us`) and says what each gave. PLACE is A.B.C.D:PORT or
   [V6]:PORT, whom `connect` calls; `pair` and `unixpair` make a connection within this process instead, whose other end
   is worked on by steps that begin with `them.`. One and the same list of steps is run against what the kernel really
   does and against a fault, so every line must tell all that a program could see. */
#include "guest.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>

static struct sockaddr_storage place;
static socklen_t place_size;
static int ends[2] = {-1, -1}, loop = -1;

static void find_place(char *text) {
    char *port = strrchr(text, ':');
    *port++ = 0;
    if (text[0] == '[') {
        struct sockaddr_in6 *v6 = (void *)&place;
        text[strlen(text) - 1] = 0;
        *v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(atoi(port))};
        if (inet_pton(AF_INET6, text + 1, &v6->sin6_addr) != 1) die(text);
        place_size = sizeof *v6;
    } else {
        struct sockaddr_in *v4 = (void *)&place;
        *v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(port))};
        if (inet_pton(AF_INET, text, &v4->sin_addr) != 1) die(text);
        place_size = sizeof *v4;
    }
}

static void tcp_pair(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int server = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(server, (void *)&address, size) || listen(server, 1)) die("listen");
    getsockname(server, (void *)&address, &size);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(ends[0], (void *)&address, size)) die("connect");
    ends[1] = accept(server, NULL, NULL);
    close(server);
}

static void told(const char *step, long result) { say("%s %ld %s\n", step, result, result < 0 ? name_of(errno) : "0"); }

/* Kernel's ETIMEDOUT without a network: what comes in is dropped, and the kernel's patience is short. */
static void deafen(int fd, int ms) {
    struct sock_filter nothing = {BPF_RET | BPF_K, 0, 0, 0};
    struct sock_fprog program = {1, &nothing};
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program)) die("filter");
    if (setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms)) die("patience");
}

static int readiness(const char *step, const char *is, int fd) {
    if (strcmp(is, "poll") == 0 || strcmp(is, "wait") == 0) {
        struct pollfd item = {fd, POLLIN | POLLOUT | POLLRDHUP, 0};
        int count = poll(&item, 1, is[0] == 'p' ? 100 : 20000);
        say("%s %d %x\n", step, count, item.revents);
    } else if (strcmp(is, "epoll") == 0 || strcmp(is, "edges") == 0) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | (is[1] == 'd' ? EPOLLET : 0)}, got = {0};
        if (loop < 0) {
            loop = epoll_create1(0);
            epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
        }
        int count = epoll_wait(loop, &got, 1, 100);
        say("%s %d %x\n", step, count, got.events);
    } else if (strcmp(is, "select") == 0) {
        fd_set in, out, odd;
        FD_ZERO(&in); FD_ZERO(&out); FD_ZERO(&odd);
        FD_SET(fd, &in); FD_SET(fd, &out); FD_SET(fd, &odd);
        struct timeval time = {0, 100000};
        int count = select(fd + 1, &in, &out, &odd, &time);
        say("%s %d %d%d%d\n", step, count, !!FD_ISSET(fd, &in), !!FD_ISSET(fd, &out), !!FD_ISSET(fd, &odd));
    } else {
        return 0;
    }
    return 1;
}

static void act(const char *step, const char *is, int *at) {
    char room[64];
    int fd = *at, value = -1;
    socklen_t size = sizeof value;
    struct sockaddr_storage name;
    socklen_t name_size = sizeof name;
    struct linger at_once = {1, 0};
    if (readiness(step, is, fd)) return;
    if (strcmp(is, "socket") == 0) *at = socket(place.ss_family, SOCK_STREAM, 0);
    else if (strcmp(is, "nonblock") == 0) fcntl(fd, F_SETFL, O_NONBLOCK);
    else if (strcmp(is, "block") == 0) fcntl(fd, F_SETFL, 0);
    else if (strcmp(is, "timeout") == 0) {
        struct timeval time = {0, 200000};
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
    } else if (strncmp(is, "deafen", 6) == 0) deafen(fd, atoi(is + 6));
    else if (strcmp(is, "connect") == 0) told(step, connect(fd, (void *)&place, place_size));
    else if (strcmp(is, "pair") == 0) tcp_pair();
    else if (strcmp(is, "unixpair") == 0) socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    else if (strcmp(is, "packets") == 0) socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends);
    else if (strcmp(is, "reset") == 0) {
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close(fd);
    } else if (strcmp(is, "error") == 0) {
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &size)) die("SO_ERROR");
        say("%s %s\n", step, name_of(value));
    } else if (strcmp(is, "peername") == 0) told(step, getpeername(fd, (void *)&name, &name_size));
    else if (strcmp(is, "shutdown") == 0) told(step, shutdown(fd, SHUT_RDWR));
    else if (strcmp(is, "recv") == 0) told(step, recv(fd, room, sizeof room, MSG_DONTWAIT));
    else if (strcmp(is, "peek") == 0) told(step, recv(fd, room, sizeof room, MSG_DONTWAIT | MSG_PEEK));
    else if (strcmp(is, "read") == 0) told(step, read(fd, room, sizeof room));
    else if (strcmp(is, "send") == 0) told(step, send(fd, "0123456789", 10, MSG_NOSIGNAL | MSG_DONTWAIT));
    else if (strcmp(is, "write") == 0) told(step, write(fd, "0123456789", 10));
    else if (strcmp(is, "close") == 0) { close(fd); loop = -1; }
    else die(step);
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    find_place(argv[1]);
    for (int i = 2; i < argc; i++) {
        int theirs = strncmp(argv[i], "them.", 5) == 0;
        act(argv[i], argv[i] + (theirs ? 5 : 0), &ends[theirs]);
    }
    return 0;
}
