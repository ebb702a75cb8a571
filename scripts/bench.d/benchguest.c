// The program that scripts/bench measures. `benchguest MODE ...` prints one number: the smallest batch, in ns a call,
// because on a busy machine noise only ever adds. It pins itself, so that a launcher or tracer above it stays free.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static void die(const char *why) {
    dprintf(2, "benchguest: %s%s%s\n", why, errno ? ": " : "", errno ? strerror(errno) : "");
    _exit(1);
}

// Pins to the index-th allowed core, counted from the last: the first one takes most interrupts.
static void pin(int index) {
    cpu_set_t allowed, one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof allowed, &allowed)) die("sched_getaffinity");
    index %= CPU_COUNT(&allowed);
    for (int core = CPU_SETSIZE - 1; core >= 0; core--)
        if (CPU_ISSET(core, &allowed) && index-- == 0) {
            CPU_SET(core, &one);
            break;
        }
    if (sched_setaffinity(0, sizeof one, &one)) die("sched_setaffinity");
}

static int zero;

static void reads(long n) {
    char byte;
    for (long i = 0; i < n; i++)
        if (read(zero, &byte, 1) != 1) die("read");
}

static void clocks(long n) {
    struct timespec now;
    for (long i = 0; i < n; i++)
        if (clock_gettime(CLOCK_REALTIME, &now)) die("clock_gettime");
}

static void mallocs(long n) {
    for (long i = 0; i < n; i++) {
        void *block = malloc(64);
        if (!block) die("malloc");
        free(block);
    }
}

// Every call must fail, or it is not the failing call that is measured.
static void failing(long n) {
    for (long i = 0; i < n; i++)
        if (malloc(64)) {
            errno = 0;
            die("malloc did not fail");
        }
}

static void forks(long n) {
    for (long i = 0; i < n; i++) {
        pid_t child = fork();
        if (child == 0) _exit(0);
        if (child < 0 || waitpid(child, 0, 0) != child) die("fork");
    }
}

static void spawns(long n) {
    char *argv[] = {"true", 0};
    for (long i = 0; i < n; i++) {
        pid_t child;
        int status;
        if (posix_spawn(&child, "/bin/true", 0, 0, argv, environ)) die("posix_spawn");
        if (waitpid(child, &status, 0) != child || status) die("/bin/true");
    }
}

// Smallest batch; after every `rest` calls a pause, in which a launcher can empty its ring.
static double smallest(void (*work)(long), long calls, long batches, long rest) {
    double best = 1e18;
    work(calls);
    for (long i = 0, made = calls; i < batches; i++) {
        double start = now();
        work(calls);
        double took = now() - start;
        if (took < best) best = took;
        made += calls;
        if (rest && made >= rest) {
            made = 0;
            nanosleep(&(struct timespec){0, 30000000}, 0);
        }
    }
    return best / calls;
}

// Two threads: a batch counts only when the other thread made at least 9 of 10 as many calls meanwhile; otherwise a
// busy machine would show one thread running alone.
enum { STEPS = 20 };
static struct side {
    _Alignas(256) atomic_long done;
    void (*work)(long);
    long calls, batches, kept;
    double best;
    int core;
} sides[2];
static pthread_barrier_t gate;
static atomic_int finished;

static void *side(void *arg) {
    struct side *own = arg, *other = own == sides ? sides + 1 : sides;
    pin(own->core);
    own->best = 1e18;
    own->work(own->calls);
    pthread_barrier_wait(&gate);
    for (long i = 0;; i++) {
        if (i == own->batches) atomic_fetch_add(&finished, 1);
        if (atomic_load(&finished) == 2) break;
        long seen = atomic_load_explicit(&other->done, memory_order_relaxed);
        double start = now();
        for (int step = 0; step < STEPS; step++) {
            own->work(own->calls / STEPS);
            atomic_fetch_add_explicit(&own->done, 1, memory_order_relaxed);
        }
        double took = now() - start;
        seen = atomic_load_explicit(&other->done, memory_order_relaxed) - seen;
        if (seen * 10 >= STEPS * 9) {
            own->kept++;
            if (took < own->best) own->best = took;
        }
    }
    return 0;
}

static double both(void (*work)(long), long calls, long batches) {
    pthread_t threads[2];
    pthread_barrier_init(&gate, 0, 2);
    for (int i = 0; i < 2; i++) {
        sides[i].work = work, sides[i].calls = calls, sides[i].batches = batches, sides[i].core = i;
        if (pthread_create(&threads[i], 0, side, &sides[i])) die("pthread_create");
    }
    for (int i = 0; i < 2; i++) pthread_join(threads[i], 0);
    errno = 0;
    if (!sides[0].kept || !sides[1].kept) die("the two threads never ran side by side");
    return (sides[0].best + sides[1].best) / 2 / (calls / STEPS * STEPS);
}

// KB of memory that is this process's alone: anonymous pages of private mappings. (Private_Dirty also counts pages of a
// file that is not yet written back, such as a shim that was just unpacked.)
static double private_memory(void) {
    static char text[1 << 20];
    mallocs(1000), reads(1000);
    int fd = open("/proc/self/smaps", O_RDONLY);
    ssize_t length = 0, got;
    while ((got = read(fd, text + length, sizeof text - 1 - length)) > 0) length += got;
    long sum = 0, size;
    char flags[5];
    int own = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(0, "\n")) {
        if (sscanf(line, "%*x-%*x %4s", flags) == 1 && strlen(flags) == 4) own = flags[3] == 'p';
        if (own && sscanf(line, "Anonymous: %ld", &size) == 1) sum += size;
    }
    return sum;
}

static void start(char **argv) {
    pid_t child;
    int status;
    if ((errno = posix_spawnp(&child, argv[0], 0, 0, argv, environ))) die(argv[0]);
    if (waitpid(child, &status, 0) != child || status) die("the command failed");
}

// CPU ms (user and system) of a command and all its children, least of some runs.
static double cpu(long runs, char **argv) {
    double best = 1e18;
    for (long i = 0; i < runs; i++) {
        struct rusage a, b;
        getrusage(RUSAGE_CHILDREN, &a);
        start(argv);
        getrusage(RUSAGE_CHILDREN, &b);
        double took = (b.ru_utime.tv_sec + b.ru_stime.tv_sec - a.ru_utime.tv_sec - a.ru_stime.tv_sec) * 1e3 +
                      (b.ru_utime.tv_usec + b.ru_stime.tv_usec - a.ru_utime.tv_usec - a.ru_stime.tv_usec) / 1e3;
        if (took < best) best = took;
    }
    return best;
}

static double wall(long runs, char **argv) {
    double best = 1e18;
    for (long i = 0; i < runs; i++) {
        double from = now();
        start(argv);
        if (now() - from < best) best = now() - from;
    }
    return best / 1e6;
}

// Largest memory in KB of a command or its children; this small parent does not count, a big one would.
static double largest(char **argv) {
    struct rusage usage;
    start(argv);
    getrusage(RUSAGE_CHILDREN, &usage);
    return usage.ru_maxrss;
}

int main(int argc, char **argv) {
    if (argc < 3) die("MODE COUNT ...");
    const char *mode = argv[1];
    long calls = atol(argv[2]), batches = argc > 3 ? atol(argv[3]) : 0;
    zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    if (strcmp(mode, "cpu") && strcmp(mode, "wall") && strcmp(mode, "largest") && strncmp(mode, "two-", 4)) pin(0);
    double result = -1;
    if (!strcmp(mode, "read")) result = smallest(reads, calls, batches, 0);
    if (!strcmp(mode, "clock")) result = smallest(clocks, calls, batches, 0);
    if (!strcmp(mode, "malloc")) result = smallest(mallocs, calls, batches, 0);
    if (!strcmp(mode, "failing")) result = smallest(failing, calls, batches, 20000);
    if (!strcmp(mode, "fork")) result = smallest(forks, calls, batches, 0);
    if (!strcmp(mode, "spawn")) result = smallest(spawns, calls, batches, 0);
    if (!strcmp(mode, "two-read")) result = both(reads, calls, batches);
    if (!strcmp(mode, "two-malloc")) result = both(mallocs, calls, batches);
    if (!strcmp(mode, "memory")) result = private_memory();
    if (!strcmp(mode, "cpu")) result = cpu(calls, argv + 3);
    if (!strcmp(mode, "wall")) result = wall(calls, argv + 3);
    if (!strcmp(mode, "largest")) result = largest(argv + 3);
    errno = EINVAL;
    if (result < 0) die(mode);
    dprintf(1, "%.4f\n", result);
    return 0;
}
