/* Random traffic. By a seed, pushes data through channels of every kind, in random sizes, by random calls, waiting in
 * random ways, as careful programs do: a call that is interrupted, not ready or short is made again for the rest. Each
 * byte and record that arrives is compared with the one that was sent. Says what arrived, which no fault of the
 * kinds `short`, EINTR and EAGAIN may change, and with "count" how often its calls were interrupted. */
#include "guest.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <termios.h>

enum { PIPE, UNIX, TCP, PTY, STREAMS, PACKETS = STREAMS, DATAGRAMS, UDP, EVENTS, SHARED_PIPE, LOG, KINDS };
static const char *const kinds[] = {"pipe", "unix", "tcp", "pty",         "packets", "datagrams",
                                    "udp",  "events", "shared-pipe", "log"};
enum { BLOCKING, POLL, SELECT, EPOLL, EDGES, EDGES_SHORT, ONE_SHOT, WAYS };
enum { RECORD = 3000, WRITERS = 2 };

static atomic_long interrupted, not_ready, shortened;

static uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static uint64_t draw(uint64_t *state) { return mix((*state)++); }

/* One end of a channel. */
struct end {
    int fd, way, is_socket, epoll, writes;
    uint64_t state;
};

struct channel {
    int kind;
    uint64_t seed, total, arrived;
    struct end in, out[WRITERS];
    int file;
    pthread_t threads[1 + WRITERS];
};

static unsigned char byte_at(const struct channel *c, uint64_t at) { return mix(c->seed + at / 8) >> at % 8 * 8; }

static void wrong(const struct channel *c, const char *what, uint64_t at) {
    say("wrong %s: %s at %llu\n", kinds[c->kind], what, (unsigned long long)at);
    _exit(1);
}

static struct end make_end(uint64_t *state, int fd, int is_socket, int writes) {
    struct end end = {fd, draw(state) % WAYS, is_socket, -1, writes, draw(state)};
    if (end.way == BLOCKING) return end;
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK)) die("O_NONBLOCK");
    if (end.way >= EPOLL) {
        struct epoll_event event = {writes ? EPOLLOUT : EPOLLIN, {.fd = fd}};
        event.events |= end.way == ONE_SHOT ? EPOLLONESHOT : end.way == EPOLL ? 0 : EPOLLET;
        if ((end.epoll = epoll_create1(0)) < 0 || epoll_ctl(end.epoll, EPOLL_CTL_ADD, fd, &event)) die("epoll");
    }
    return end;
}

/* Waits until the end is ready, or may be. */
static void await(struct end *end) {
    for (;;) {
        int done;
        if (end->way == POLL || end->way == BLOCKING) {
            struct pollfd one = {end->fd, end->writes ? POLLOUT : POLLIN, 0};
            done = draw(&end->state) % 2 ? poll(&one, 1, -1) : ppoll(&one, 1, NULL, NULL);
        } else if (end->way == SELECT) {
            fd_set set;
            FD_ZERO(&set);
            FD_SET(end->fd, &set);
            done = select(end->fd + 1, end->writes ? NULL : &set, end->writes ? &set : NULL, NULL, NULL);
        } else {
            struct epoll_event event = {end->writes ? EPOLLOUT : EPOLLIN, {.fd = end->fd}};
            if (end->way == ONE_SHOT) {
                event.events |= EPOLLONESHOT;
                if (epoll_ctl(end->epoll, EPOLL_CTL_MOD, end->fd, &event)) die("EPOLL_CTL_MOD");
            }
            done = draw(&end->state) % 2 ? epoll_wait(end->epoll, &event, 1, -1)
                                         : epoll_pwait(end->epoll, &event, 1, -1, NULL);
        }
        if (done > 0) return;
        if (done == 0 || errno != EINTR) die("waiting");
        interrupted++;
    }
}

/* Whether the call has to be made again, which is waited for. */
static int again(struct end *end, ssize_t result) {
    if (result >= 0) return 0;
    if (errno == EINTR) {
        interrupted++;
    } else if (errno == EAGAIN && end->way != BLOCKING) {
        not_ready++;
        await(end);
    } else {
        die(end->writes ? "sending" : "receiving");
    }
    return 1;
}

/* Cuts a buffer into up to three, one of which may be empty. */
static int cut(struct end *end, char *data, size_t size, struct iovec *parts) {
    size_t first = draw(&end->state) % (size + 1), second = first + draw(&end->state) % (size - first + 1);
    parts[0] = (struct iovec){data, first};
    parts[1] = (struct iovec){data + first, second - first};
    parts[2] = (struct iovec){data + second, size - second};
    return 3;
}

static ssize_t put(struct end *end, char *data, size_t size) {
    struct iovec parts[3];
    switch (draw(&end->state) % (end->is_socket ? 5 : 2)) {
    case 0: return write(end->fd, data, size);
    case 1: return writev(end->fd, parts, cut(end, data, size, parts));
    case 2: return send(end->fd, data, size, MSG_NOSIGNAL);
    case 3: return sendto(end->fd, data, size, 0, NULL, 0);
    }
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = cut(end, data, size, parts)};
    return sendmsg(end->fd, &message, 0);
}

static ssize_t take(struct end *end, char *data, size_t size) {
    struct iovec parts[3];
    switch (draw(&end->state) % (end->is_socket ? 6 : 2)) {
    case 0: return read(end->fd, data, size);
    case 1: return readv(end->fd, parts, cut(end, data, size, parts));
    case 2: return recv(end->fd, data, size, 0);
    case 3: return recvfrom(end->fd, data, size, 0, NULL, NULL);
    case 4: {
        /* What was looked at comes again. */
        ssize_t seen = recv(end->fd, data, size, MSG_PEEK);
        if (seen <= 0) return seen;
        char *copy = malloc(seen);
        memcpy(copy, data, seen);
        ssize_t got;
        while ((got = recv(end->fd, data, seen, MSG_DONTWAIT)) < 0 && (errno == EINTR || errno == EAGAIN))
            *(errno == EINTR ? &interrupted : &not_ready) += 1;
        if (got > seen || (got > 0 && memcmp(copy, data, got))) say("wrong: a look at the data\n"), _exit(1);
        free(copy);
        return got;
    }
    }
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = cut(end, data, size, parts)};
    return recvmsg(end->fd, &message, 0);
}

/* A size from 1 to `most`, small ones as often as large ones. */
static size_t some(struct end *end, size_t most) {
    size_t limit = (size_t)1 << draw(&end->state) % 17;
    return 1 + draw(&end->state) % (limit < most ? limit : most);
}

static void send_stream(struct channel *c, struct end *end) {
    char *data = malloc(1 << 16);
    for (uint64_t at = 0; at < c->total;) {
        size_t size = some(end, 1 << 16);
        if (size > c->total - at) size = c->total - at;
        ssize_t sent;
        if (c->kind != PTY && draw(&end->state) % 8 == 0) {
            off_t from = at;
            sent = sendfile(end->fd, c->file, &from, size);
            if (sent > 0 && from != (off_t)at + sent) wrong(c, "sendfile's offset", at);
        } else {
            for (size_t i = 0; i < size; i++) data[i] = byte_at(c, at + i);
            sent = put(end, data, size);
        }
        if (again(end, sent)) continue;
        at += sent;
        if ((size_t)sent < size) {
            shortened++;
            if (end->way == EDGES_SHORT) await(end);
        }
    }
    free(data);
}

static void receive_stream(struct channel *c) {
    struct end *end = &c->in;
    char *data = malloc(1 << 16);
    if (end->way != BLOCKING) await(end);
    while (c->arrived < c->total) {
        size_t size = some(end, 1 << 16);
        ssize_t got = take(end, data, size);
        if (again(end, got)) continue;
        if (got == 0) wrong(c, "an early end", c->arrived);
        for (ssize_t i = 0; i < got; i++)
            if ((unsigned char)data[i] != byte_at(c, c->arrived + i)) wrong(c, "byte", c->arrived + i);
        c->arrived += got;
        /* epoll(7): who gets less than it asked for has all there was, and waits for the next edge. */
        if ((size_t)got < size && end->way == EDGES_SHORT && c->arrived < c->total) await(end);
    }
    free(data);
}

/* A record: who wrote it, its number, its size, and bytes that follow from these. */
struct head {
    uint32_t writer, number, size, check;
};

static size_t fill(struct channel *c, char *data, uint32_t writer, uint32_t number) {
    struct head head = {writer, number, sizeof head + mix(c->seed ^ number << 8 ^ writer) % (RECORD - sizeof head), 0};
    head.check = mix(head.writer ^ (uint64_t)head.number << 32 ^ head.size);
    memcpy(data, &head, sizeof head);
    for (size_t i = sizeof head; i < head.size; i++) data[i] = byte_at(c, (uint64_t)number * RECORD + i + writer);
    return head.size;
}

/* Each writer's records come whole and in order. The size of the one that was checked. */
static size_t check(struct channel *c, const char *data, size_t size, uint32_t *next) {
    struct head head;
    if (size < sizeof head) wrong(c, "half a head", c->arrived);
    memcpy(&head, data, sizeof head);
    if (head.writer >= WRITERS || head.check != (uint32_t)mix(head.writer ^ (uint64_t)head.number << 32 ^ head.size))
        wrong(c, "head", c->arrived);
    if (head.size > size || head.number != next[head.writer]++) wrong(c, "size or order", c->arrived);
    char expected[RECORD];
    fill(c, expected, head.writer, head.number);
    if (memcmp(expected, data, head.size)) wrong(c, "record", c->arrived);
    c->arrived++;
    return head.size;
}

static void send_records(struct channel *c, struct end *end, uint32_t writer) {
    char data[RECORD];
    for (uint32_t number = 0; number < c->total;) {
        size_t size = fill(c, data, writer, number);
        ssize_t sent = put(end, data, size);
        if (again(end, sent)) continue;
        if ((size_t)sent != size) wrong(c, "a record in parts", number);
        number++;
    }
}

static void receive_records(struct channel *c) {
    char data[RECORD];
    uint32_t next[WRITERS] = {0};
    struct end *end = &c->in;
    if (end->way != BLOCKING) await(end);
    while (c->arrived < c->total) {
        ssize_t got = take(end, data, sizeof data);
        if (again(end, got)) continue;
        if (check(c, data, got, next) != (size_t)got) wrong(c, "too much", c->arrived);
    }
}

/* Records of several writers in one pipe, where only their sizes tell them apart. */
static void receive_shared(struct channel *c) {
    char *data = malloc(1 << 16);
    size_t have = 0;
    uint32_t next[WRITERS] = {0};
    struct end *end = &c->in;
    if (end->way != BLOCKING) await(end);
    while (c->arrived < c->total * WRITERS) {
        size_t size = some(end, (1 << 16) - have);
        ssize_t got = take(end, data + have, size);
        if (again(end, got)) continue;
        have += got;
        size_t at = 0;
        struct head head;
        while (have - at >= sizeof head && (memcpy(&head, data + at, sizeof head), head.size <= have - at))
            at += check(c, data + at, have - at, next);
        memmove(data, data + at, have -= at);
        if ((size_t)got < size && end->way == EDGES_SHORT && c->arrived < c->total * WRITERS) await(end);
    }
    free(data);
}

static void send_events(struct channel *c, struct end *end) {
    for (uint64_t sent = 0; sent < c->total;) {
        uint64_t one = 1 + sent % 5;
        if (one > c->total - sent) one = c->total - sent;
        ssize_t result = write(end->fd, &one, sizeof one);
        if (again(end, result)) continue;
        if (result != sizeof one) wrong(c, "a count in parts", sent);
        sent += one;
    }
}

static void receive_events(struct channel *c) {
    struct end *end = &c->in;
    if (end->way != BLOCKING) await(end);
    while (c->arrived < c->total) {
        uint64_t count;
        ssize_t got = read(end->fd, &count, sizeof count);
        if (again(end, got)) continue;
        if (got != sizeof count || count == 0) wrong(c, "count", c->arrived);
        c->arrived += count;
    }
}

static void *receive(void *data) {
    struct channel *c = data;
    if (c->kind < STREAMS) receive_stream(c);
    else if (c->kind == EVENTS) receive_events(c);
    else if (c->kind == SHARED_PIPE) receive_shared(c);
    else receive_records(c);
    return NULL;
}

static void *send_first(void *data) {
    struct channel *c = data;
    if (c->kind < STREAMS) send_stream(c, &c->out[0]);
    else if (c->kind == EVENTS) send_events(c, &c->out[0]);
    else send_records(c, &c->out[0], 0);
    return NULL;
}

static void *send_second(void *data) {
    struct channel *c = data;
    send_records(c, &c->out[1], 1);
    return NULL;
}

/* A file of the stream's bytes, for sendfile. */
static int source(struct channel *c) {
    char name[] = "flow-XXXXXX";
    int fd = mkstemp(name);
    if (fd < 0 || unlink(name)) die("mkstemp");
    char data[4096];
    for (uint64_t at = 0; at < c->total; at += sizeof data) {
        for (size_t i = 0; i < sizeof data; i++) data[i] = byte_at(c, at + i);
        for (size_t done = 0; done < sizeof data;) {
            ssize_t wrote = pwrite(fd, data + done, sizeof data - done, at + done);
            if (wrote < 0 && errno != EINTR) die("pwrite");
            if (wrote > 0) done += wrote;
        }
    }
    return fd;
}

static void pair_of(int kind, int *fds) {
    struct sockaddr_in here = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof here;
    int one = 1;
    switch (kind) {
    case PIPE:
    case SHARED_PIPE:
        if (pipe(fds)) die("pipe");
        return;
    case UNIX:
    case PACKETS:
    case DATAGRAMS:
        if (socketpair(AF_UNIX, kind == UNIX ? SOCK_STREAM : kind == PACKETS ? SOCK_SEQPACKET : SOCK_DGRAM, 0, fds))
            die("socketpair");
        return;
    case PTY:
        if (openpty(&fds[0], &fds[1], NULL, NULL, NULL)) die("openpty");
        struct termios raw;
        tcgetattr(fds[1], &raw);
        cfmakeraw(&raw);
        tcsetattr(fds[1], TCSANOW, &raw);
        return;
    case UDP:
        fds[0] = socket(AF_INET, SOCK_DGRAM, 0);
        fds[1] = socket(AF_INET, SOCK_DGRAM, 0);
        if (bind(fds[0], (void *)&here, size) || getsockname(fds[0], (void *)&here, &size)) die("bind");
        if (connect(fds[1], (void *)&here, size)) die("connect");
        return;
    case EVENTS:
        if ((fds[0] = eventfd(0, 0)) < 0 || (fds[1] = dup(fds[0])) < 0) die("eventfd");
        return;
    }
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (void *)&here, size) || listen(listener, 1)) die("listen");
    if (getsockname(listener, (void *)&here, &size)) die("getsockname");
    fds[1] = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fds[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fds[1], (void *)&here, size) || (fds[0] = accept(listener, NULL, NULL)) < 0) die("accept");
    close(listener);
}

/* Records appended to one file by two descriptors, read back by random calls. */
static void log_file(struct channel *c, uint64_t *state) {
    char name[] = "flow-XXXXXX";
    int first = mkstemp(name);
    for (int i = 0; i < WRITERS; i++) {
        int fd = open(name, O_WRONLY | O_APPEND);
        if (fd < 0) die("open");
        c->out[i] = (struct end){fd, BLOCKING, 0, -1, 1, draw(state)};
    }
    pthread_create(&c->threads[1], NULL, send_first, c);
    pthread_create(&c->threads[2], NULL, send_second, c);
    pthread_join(c->threads[1], NULL);
    pthread_join(c->threads[2], NULL);
    c->in = (struct end){first, BLOCKING, 0, -1, 0, draw(state)};
    receive_shared(c);
    unlink(name);
}

int main(int count, char **words) {
    uint64_t state = mix(strtoull(words[1], NULL, 10));
    enum { CHANNELS = 6 };
    static struct channel channels[CHANNELS];
    signal(SIGPIPE, SIG_IGN);
    alarm(40);
    for (int i = 0; i < CHANNELS; i++) {
        struct channel *c = &channels[i];
        c->kind = draw(&state) % KINDS;
        c->seed = draw(&state);
        c->total = c->kind < STREAMS ? 1 + draw(&state) % 300000 : c->kind == UDP ? 40 : 1 + draw(&state) % 200;
        if (c->kind == LOG) {
            log_file(c, &state);
            continue;
        }
        int fds[2];
        pair_of(c->kind, fds);
        int is_socket = c->kind == UNIX || c->kind == TCP || (c->kind >= PACKETS && c->kind <= UDP);
        c->file = c->kind < PTY ? source(c) : -1;
        /* Both ends of an eventfd are one open file, and so is its O_NONBLOCK. */
        c->in = make_end(&state, fds[0], is_socket, 0);
        c->out[0] = make_end(&state, fds[1], is_socket, 1);
        if (c->kind == EVENTS && (c->in.way == BLOCKING) != (c->out[0].way == BLOCKING))
            (c->in.way == BLOCKING ? &c->in : &c->out[0])->way = POLL;
        /* Two writers share one end by two descriptors. */
        if (c->kind == SHARED_PIPE) {
            c->out[1] = c->out[0];
            c->out[1].state = draw(&state);
            if (c->out[0].way >= EPOLL) c->out[0].way = c->out[1].way = POLL;
        }
        pthread_create(&c->threads[0], NULL, receive, c);
        pthread_create(&c->threads[1], NULL, send_first, c);
        if (c->kind == SHARED_PIPE) pthread_create(&c->threads[2], NULL, send_second, c);
    }
    for (int i = 0; i < CHANNELS; i++) {
        struct channel *c = &channels[i];
        for (int j = 0; j < 1 + WRITERS && c->kind != LOG; j++)
            if (c->threads[j]) pthread_join(c->threads[j], NULL);
        say("%s %llu of %llu\n", kinds[c->kind], (unsigned long long)c->arrived, (unsigned long long)c->total);
    }
    if (count > 2) say("interrupted %ld\n", (long)interrupted);
    if (getenv("FLOW_TELL"))
        fprintf(stderr, "interrupted %ld not ready %ld short %ld\n", (long)interrupted, (long)not_ready, (long)shortened);
    return 0;
}
