/* ahead STEP...: makes calls and says of each whether it failed, '1', or not, '0': "main: 0010...". rN, pN, vN: so many
   read, pread, readv of /dev/zero; wN: write to /dev/null; zN: read of a descriptor that was /dev/zero and is another
   file now; mN: malloc; cN: clock_gettime; F, B, T: 300 reads by a fork child, by one that no library has seen, by a
   thread, which is waited for; iN: so many reads while a timer's handler reads as well; u: makes ./waits and waits until
   ./go is there; K: kills
   itself. */
#include "guest.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>

static int zero, null, other;
static char results[1 << 16];
static size_t done;

static int call(char kind) {
    char byte = 1;
    struct iovec part = {&byte, 1};
    struct timespec now;
    switch (kind) {
    case 'r': return read(zero, &byte, 1) < 0;
    case 'p': return pread(zero, &byte, 1, 0) < 0;
    case 'v': return readv(zero, &part, 1) < 0;
    case 'w': return write(null, &byte, 1) < 0;
    case 'z': return read(other, &byte, 1) < 0;
    case 'c': return clock_gettime(CLOCK_MONOTONIC, &now) < 0;
    case 'm': {
        void *volatile block = malloc(50);
        int failed = block == NULL;
        free(block);
        return failed;
    }
    }
    _exit(98);
}

static void make(char kind, long count) {
    for (long i = 0; i < count && done < sizeof results - 1; i++) results[done++] = call(kind) ? '1' : '0';
}

static void tell(const char *who) {
    results[done] = 0;
    bare_write(1, who, strlen(who));
    bare_write(1, ": ", 2);
    bare_write(1, results, done);
    bare_write(1, "\n", 1);
}

static void child(long pid, const char *who) {
    if (pid < 0) die("fork");
    if (pid > 0) {
        waitpid((pid_t)pid, NULL, 0);
        return;
    }
    done = 0;
    make('r', 300);
    tell(who);
    _exit(0);
}

static long unseen_fork(void) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(57L) : "rcx", "r11", "memory");
    return result;
}

static void *thread(void *argument) {
    char *mine = argument;
    for (int i = 0; i < 300; i++) mine[i] = call('r') ? '1' : '0';
    return NULL;
}

static void on_timer(int number) {
    (void)number;
    char byte;
    int before = errno;
    if (read(zero, &byte, 1) < 0) errno = before;
}

int main(int argc, char **argv) {
    zero = open("/dev/zero", O_RDONLY);
    null = open("/dev/null", O_WRONLY);
    other = open("/dev/zero", O_RDONLY);
    if (zero < 0 || null < 0 || other < 0) die("open");
    char byte;
    read(other, &byte, 1);
    int file = open("data.bin", O_RDONLY);
    if (file < 0 || dup2(file, other) < 0) die("data.bin");
    for (int i = 1; i < argc; i++) {
        char kind = argv[i][0];
        long count = atol(argv[i] + 1);
        if (kind == 'F') child(fork(), "fork");
        else if (kind == 'B') child(unseen_fork(), "unseen");
        else if (kind == 'T') {
            char mine[301] = {0};
            pthread_t made;
            if (pthread_create(&made, NULL, thread, mine)) die("thread");
            pthread_join(made, NULL);
            say("thread: %s\n", mine);
        } else if (kind == 'i') {
            struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
            signal(SIGALRM, on_timer);
            setitimer(ITIMER_REAL, &often, NULL);
            for (long n = 0; n < count; n++) call('r');
            setitimer(ITIMER_REAL, &never, NULL);
        } else if (kind == 'u') {
            struct stat found;
            close(open("waits", O_CREAT | O_WRONLY, 0600));
            while (stat("go", &found)) usleep(1000);
        } else if (kind == 'K') kill(getpid(), SIGKILL);
        else make(kind, count);
    }
    tell("main");
    return 0;
}
