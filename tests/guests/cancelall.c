/* Cancels a thread that blocks in each call that is a cancellation point, its cleanup handler must run; then, again and
   again, threads that make all sorts of calls which do not block. Says what became of each. */
#include "guest.h"
#include <fcntl.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <threads.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/mman.h>

static int empty[2], full[2], pair[2], listener, epoll, file, cleaned;
static FILE *reads, *writes;
static char bytes[1 << 16];
static struct iovec vector = {bytes, sizeof bytes};
static struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
static struct mmsghdr messages = {.msg_hdr = {.msg_iov = &vector, .msg_iovlen = 1}};
static sem_t semaphore;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;

static struct timespec in_an_hour(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec += 3600;
    return now;
}

static void unlocks(void *unused) {
    (void)unused;
    pthread_mutex_unlock(&mutex);
}

static void wait_on_condition(void) {
    struct timespec late = in_an_hour();
    pthread_mutex_lock(&mutex);
    pthread_cleanup_push(unlocks, NULL);
    pthread_cond_timedwait(&condition, &mutex, &late);
    pthread_cleanup_pop(1);
}

static void wait_on_semaphore(void) {
    struct timespec late = in_an_hour();
    sem_timedwait(&semaphore, &late);
}

static void until_late(void) {
    struct timespec late = in_an_hour();
    clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &late, NULL);
}

static void lock(void) {
    struct flock whole = {.l_type = F_WRLCK};
    fcntl(file, F_SETLKW, &whole);
}

#define CALL(name, call) \
    static void name(void) { (void)!(call); }
CALL(do_read, read(empty[0], bytes, 10))
CALL(do_readv, readv(empty[0], &vector, 1))
CALL(do_write, write(full[1], bytes, 10))
CALL(do_writev, writev(full[1], &vector, 1))
CALL(do_recv, recv(pair[0], bytes, 10, 0))
CALL(do_recvfrom, recvfrom(pair[0], bytes, 10, 0, NULL, NULL))
CALL(do_recvmsg, recvmsg(pair[0], &message, 0))
CALL(do_recvmmsg, recvmmsg(pair[0], &messages, 1, 0, NULL))
CALL(do_send, send(pair[1], bytes, sizeof bytes, 0))
CALL(do_sendto, sendto(pair[1], bytes, sizeof bytes, 0, NULL, 0))
CALL(do_sendmsg, sendmsg(pair[1], &message, 0))
CALL(do_sendmmsg, sendmmsg(pair[1], &messages, 1, 0))
CALL(do_accept, accept(listener, NULL, NULL))
CALL(do_accept4, accept4(listener, NULL, NULL, 0))
CALL(do_poll, poll(NULL, 0, -1))
CALL(do_ppoll, ppoll(NULL, 0, NULL, NULL))
CALL(do_select, select(0, NULL, NULL, NULL, NULL))
CALL(do_pselect, pselect(0, NULL, NULL, NULL, NULL, NULL))
CALL(do_epoll_wait, epoll_wait(epoll, &(struct epoll_event){0}, 1, -1))
CALL(do_epoll_pwait, epoll_pwait(epoll, &(struct epoll_event){0}, 1, -1, NULL))
CALL(do_nanosleep, nanosleep(&(struct timespec){3600, 0}, NULL))
CALL(do_clock_nanosleep, clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){3600, 0}, NULL))
CALL(do_sleep, sleep(3600))
CALL(do_usleep, usleep(900000))
CALL(do_thrd_sleep, thrd_sleep(&(struct timespec){3600, 0}, NULL))
CALL(do_waitpid, waitpid(-1, NULL, 0))
CALL(do_wait, wait(NULL))
CALL(do_wait4, wait4(-1, NULL, 0, NULL))
CALL(do_waitid, waitid(P_ALL, 0, &(siginfo_t){0}, WEXITED))
CALL(do_fread, fread(bytes, 1, 10, reads))
CALL(do_fgets, fgets(bytes, 10, reads))
CALL(do_getc, getc(reads))
CALL(do_getline, getline(&(char *){NULL}, &(size_t){0}, reads))
CALL(do_fscanf, fscanf(reads, "%s", bytes))
CALL(do_fwrite, fwrite(bytes, 1, 10, writes))
CALL(do_fputs, fputs("line\n", writes))
CALL(do_fputc, fputc('x', writes))
CALL(do_fprintf, fprintf(writes, "%d and %s", 1, "two"))
CALL(do_splice, splice(empty[0], NULL, full[1], NULL, 10, 0))
CALL(do_open, open("fifo", O_RDONLY))
CALL(do_creat, creat("fifo", 0600))
CALL(do_fopen, fopen("fifo", "r"))
CALL(do_system, system("exec sleep 600"))

static const struct {
    const char *name;
    void (*call)(void);
} calls[] = {
    {"read", do_read},         {"readv", do_readv},
    {"write", do_write},       {"writev", do_writev},
    {"recv", do_recv},         {"recvfrom", do_recvfrom},
    {"recvmsg", do_recvmsg},   {"recvmmsg", do_recvmmsg},
    {"send", do_send},         {"sendto", do_sendto},
    {"sendmsg", do_sendmsg},   {"sendmmsg", do_sendmmsg},
    {"accept", do_accept},     {"accept4", do_accept4},
    {"poll", do_poll},         {"ppoll", do_ppoll},
    {"select", do_select},     {"pselect", do_pselect},
    {"epoll_wait", do_epoll_wait}, {"epoll_pwait", do_epoll_pwait},
    {"nanosleep", do_nanosleep}, {"clock_nanosleep", do_clock_nanosleep},
    {"sleep", do_sleep},       {"usleep", do_usleep},
    {"thrd_sleep", do_thrd_sleep},
    {"absolute", until_late},  {"sem_timedwait", wait_on_semaphore},
    {"cond_timedwait", wait_on_condition}, {"fcntl", lock},
    {"waitpid", do_waitpid},   {"wait", do_wait},
    {"wait4", do_wait4},       {"waitid", do_waitid},
    {"splice", do_splice},     {"open", do_open},
    {"creat", do_creat},       {"fopen", do_fopen},
    {"fread", do_fread},       {"fgets", do_fgets},
    {"getc", do_getc},         {"getline", do_getline},
    {"fscanf", do_fscanf},     {"fwrite", do_fwrite},
    {"fputs", do_fputs},       {"fputc", do_fputc},
    {"fprintf", do_fprintf},   {"system", do_system},
};

static void cleanup(void *unused) {
    (void)unused;
    cleaned++;
}

static void *block(void *call) {
    pthread_cleanup_push(cleanup, NULL);
    ((void (*)(void))call)();
    pthread_cleanup_pop(0);
    return NULL;
}

static void *all_sorts(void *unused) {
    pthread_cleanup_push(cleanup, NULL);
    for (;;) {
        char some[64];
        int fd = open("data.bin", O_RDONLY), ends[2] = {-1, -1};
        (void)!pread(fd, some, sizeof some, 0);
        (void)!read(fd, some, sizeof some);
        close(fd);
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0) {
            send(ends[0], "abc", 3, MSG_NOSIGNAL);
            (void)!write(ends[0], "abc", 3);
            recv(ends[1], some, 2, MSG_DONTWAIT);
            poll(&(struct pollfd){ends[1], POLLIN, 0}, 1, 0);
        }
        close(ends[0]);
        close(ends[1]);
        free(malloc(100));
        nanosleep(&(struct timespec){0, 1000}, NULL);
        pthread_testcancel();
    }
    pthread_cleanup_pop(0);
    return unused;
}

int main(int count, char **words) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    signal(SIGPIPE, SIG_IGN);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    if (pipe(empty) || pipe(full) || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || bind(listener, (void *)&here, sizeof here))
        die("set up");
    if (listen(listener, 1) || (epoll = epoll_create1(0)) < 0 || mkfifo("fifo", 0600)) die("set up");
    while (send(pair[1], bytes, sizeof bytes, MSG_DONTWAIT) > 0) {}
    fcntl(full[1], F_SETFL, O_NONBLOCK);
    while (write(full[1], bytes, sizeof bytes) > 0) {}
    fcntl(full[1], F_SETFL, 0);
    /* What is sent the other way is not there either. */
    int other[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, other)) die("set up");
    pair[0] = other[0];
    reads = fdopen(empty[0], "r");
    writes = fdopen(full[1], "w");
    setvbuf(writes, NULL, _IONBF, 0);
    sem_init(&semaphore, 0, 0);
    file = open("data.bin", O_RDWR);
    int held[2];
    if (pipe(held)) die("set up");
    pid_t child = fork();
    if (child == 0) {
        struct flock whole = {.l_type = F_WRLCK};
        fcntl(file, F_SETLK, &whole);
        bare_write(held[1], "x", 1);
        for (;;) pause();
    }
    char byte;
    while (syscall(0, held[0], &byte, 1) != 1) {}
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        pthread_t thread;
        void *result = NULL;
        cleaned = 0;
        pthread_create(&thread, NULL, block, (void *)calls[i].call);
        syscall(35, &(struct timespec){0, 5000000}, NULL);
        pthread_cancel(thread);
        pthread_join(thread, &result);
        say("%s %s, cleaned %d\n", calls[i].name, result == PTHREAD_CANCELED ? "cancelled" : "returned", cleaned);
    }
    int ended = 0;
    cleaned = 0;
    for (int i = 0; i < 100; i++) {
        pthread_t thread;
        void *result = NULL;
        pthread_create(&thread, NULL, all_sorts, NULL);
        syscall(35, &(struct timespec){0, i * 20000}, NULL);
        pthread_cancel(thread);
        pthread_join(thread, &result);
        ended += result == PTHREAD_CANCELED;
    }
    say("all sorts cancelled %d cleaned %s\n", ended, cleaned > 50 ? "most" : "few");
    kill(child, SIGKILL);
    int fd = open("data.bin", O_RDONLY), failed = 0;
    for (int i = 0; i < 10; i++) failed += pread(fd, &byte, 1, 0) < 0;
    if (count > 1) say("failed %d\n", failed);
    _exit(0);
}
