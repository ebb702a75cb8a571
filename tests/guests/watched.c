/* Agents that meet faults and do something about them; each prints what came of it. The first argument says which. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void pause_ms(int ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&time, NULL);
}

static int opens(const char *path) {
    int fd = open(path, O_RDONLY);
    if (fd >= 0) close(fd);
    return fd >= 0;
}

/* A listener on a port of its own, which the kernel serves by its backlog. */
static struct sockaddr_in server(int *fd) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    *fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(*fd, (void *)&address, sizeof address) || listen(*fd, 64) || getsockname(*fd, (void *)&address, &size))
        exit(97);
    return address;
}

/* A connect that does not wait; 1 when it came about. `how`: what tells the program. */
static int connects_later(struct sockaddr_in *to, const char *how) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), error = 0;
    socklen_t size = sizeof error;
    if (connect(fd, (void *)to, sizeof *to) && errno != EINPROGRESS) return close(fd), 0;
    struct pollfd one = {fd, POLLOUT, 0};
    poll(&one, 1, 5000);
    int good;
    if (!strcmp(how, "again")) good = connect(fd, (void *)to, sizeof *to) == 0 || errno == EISCONN;
    else if (!strcmp(how, "send")) good = send(fd, "x", 1, MSG_NOSIGNAL) == 1;
    else if (!strcmp(how, "peer")) good = getpeername(fd, (void *)&(struct sockaddr_in){0}, &(socklen_t){16}) == 0;
    else good = getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
    close(fd);
    return good;
}

int main(int argc, char **argv) {
    const char *way = argv[1], *more = argc > 2 ? argv[2] : "";
    int good = 0;
    if (!strcmp(way, "later")) {
        int listener;
        struct sockaddr_in address = server(&listener);
        for (int i = 0; i < 5 && !good; i++) good = connects_later(&address, more);
    } else if (!strcmp(way, "many")) {
        /* So many files, each tried once, then once more. */
        char name[32];
        for (int round = 0; round < 2; round++)
            for (int i = 0; i < atoi(more); i++) {
                snprintf(name, sizeof name, "file-%d", i);
                good += opens(name);
            }
    } else if (!strcmp(way, "large")) {
        /* A large block, small ones, then the large one again. */
        void *block = malloc(1 << 20);
        for (int i = 0; i < 10; i++) free(malloc(100));
        puts(block ? "at once" : "refused");
        fflush(stdout);
        if (!block && *more) block = malloc(1 << 20);
        good = block != NULL;
    } else if (!strcmp(way, "signal")) {
        signal(SIGUSR1, SIG_IGN);
        good = opens("data.bin") + opens("data.bin");
    } else if (!strcmp(way, "child")) {
        good = opens("data.bin");
        if (!good && fork() == 0) _exit(opens("data.bin") ? 0 : 1);
        int status = 1;
        wait(&status);
        good = good || status == 0;
    } else if (!strcmp(way, "breaker")) {
        /* Opens after three failures, probes after 300 ms, and goes on as before. */
        for (int failures = 0, calls = 0; calls < 6;) {
            if (opens("data.bin")) failures = 0, calls++;
            else failures++;
            pause_ms(failures >= 3 ? 300 : 10);
        }
        good = 1;
    } else if (!strcmp(way, "backoff")) {
        for (int i = 0, ms = 20; i < 8 && !good; i++, ms *= 2) {
            good = opens("data.bin");
            if (!good) pause_ms(ms);
        }
    } else if (!strcmp(way, "busy")) {
        for (int i = 0; i < 1000 && !good; i++) good = opens("data.bin");
    } else if (!strcmp(way, "limited")) {
        for (int i = 0; i < 12 && !good; i++, pause_ms(100)) good = opens("data.bin");
    } else if (!strcmp(way, "missing")) {
        /* The file comes only after a while: what fails in between fails by itself. */
        for (int i = 0; i < 6 && !good; i++, pause_ms(20)) {
            good = opens("missing");
            if (i == 3) close(creat("missing", 0600));
        }
    } else if (!strcmp(way, "patience")) {
        /* Reads with a timeout of its own. */
        int pair[2];
        struct timeval time = {0, 200000};
        char byte;
        socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
        setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
        send(pair[1], "x", 1, 0);
        for (int i = 0; i < 3 && !good; i++) good = recv(pair[0], &byte, 1, 0) == 1;
    }
    puts(good ? "good" : "bad");
    return 0;
}
