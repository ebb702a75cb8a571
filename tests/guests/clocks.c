/* show: for each way to read a clock, by how many whole seconds it is ahead of what the kernel says, asked past libc.
   wait WAY...: waits 300 ms until a moment of a clock and says for how many true milliseconds, and the result.
   steady MS: reads all clocks for so long; says whether any went back, and whether readings of one clock disagree. */
#include "guest.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timeb.h>
#include <sys/timerfd.h>
#include <threads.h>

int ftime(struct timeb *);

/* What the kernel says, past libc and the vDSO. */
static int64_t truth(clockid_t clock) {
    struct timespec now;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"((long)SYS_clock_gettime), "D"((long)clock), "S"(&now) : "rcx", "r11", "memory");
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int64_t ns(struct timespec time) { return time.tv_sec * 1000000000LL + time.tv_nsec; }

static void ahead(const char *name, int64_t shown, clockid_t clock) {
    /* Readings lie a little apart, coarse ones a tick. */
    double seconds = (shown - truth(clock)) / 1e9;
    say("%s %ld\n", name, (long)(seconds < 0 ? seconds - 0.5 : seconds + 0.5));
}

/* `time` counts the seconds of the coarse clock: the kernel's must not pass to the next meanwhile. */
static void seconds_ahead(const char *name, int raw) {
    int64_t before, after;
    time_t shown, told;
    do {
        before = truth(CLOCK_REALTIME_COARSE) / 1000000000;
        shown = raw ? syscall(SYS_time, &told) : time(&told);
        after = truth(CLOCK_REALTIME_COARSE) / 1000000000;
    } while (before != after);
    say("%s %ld\n", name, told == shown ? (long)(shown - before) : -1);
}

static void show(void) {
    struct timespec now;
    struct timeval time_of_day;
    struct timeb old;
    const struct { const char *name; clockid_t clock; } clocks[] = {
        {"REALTIME", CLOCK_REALTIME}, {"REALTIME_COARSE", CLOCK_REALTIME_COARSE}, {"TAI", CLOCK_TAI},
        {"MONOTONIC", CLOCK_MONOTONIC}, {"MONOTONIC_COARSE", CLOCK_MONOTONIC_COARSE},
        {"MONOTONIC_RAW", CLOCK_MONOTONIC_RAW}, {"BOOTTIME", CLOCK_BOOTTIME},
        {"CPU", CLOCK_PROCESS_CPUTIME_ID},
    };
    for (size_t i = 0; i < sizeof clocks / sizeof *clocks; i++) {
        clock_gettime(clocks[i].clock, &now);
        ahead(clocks[i].name, ns(now), clocks[i].clock);
    }
    seconds_ahead("time", 0);
    gettimeofday(&time_of_day, NULL);
    ahead("gettimeofday", time_of_day.tv_sec * 1000000000LL + time_of_day.tv_usec * 1000, CLOCK_REALTIME);
    timespec_get(&now, TIME_UTC);
    ahead("timespec_get", ns(now), CLOCK_REALTIME);
    ftime(&old);
    ahead("ftime", old.time * 1000000000LL + old.millitm * 1000000LL, CLOCK_REALTIME);
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    ahead("#clock_gettime", ns(now), CLOCK_REALTIME);
    syscall(SYS_gettimeofday, &time_of_day, NULL);
    ahead("#gettimeofday", time_of_day.tv_sec * 1000000000LL + time_of_day.tv_usec * 1000, CLOCK_REALTIME);
    seconds_ahead("#time", 1);
}

static struct timespec moment(clockid_t clock) {
    struct timespec at;
    clock_gettime(clock, &at);
    at.tv_nsec += 300000000;
    if (at.tv_nsec >= 1000000000) { at.tv_sec++; at.tv_nsec -= 1000000000; }
    return at;
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, held = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static mtx_t held_too;

static void *holder(void *argument) {
    pthread_mutex_lock(&held);
    pthread_rwlock_wrlock(&lock);
    mtx_lock(&held_too);
    *(volatile int *)argument = 1;
    for (;;) pause();
}

static mqd_t queue(int full) {
    struct mq_attr attributes = {.mq_maxmsg = 1, .mq_msgsize = 8};
    mqd_t made = mq_open("/chaos-clocks", O_RDWR | O_CREAT, 0600, &attributes);
    if (made < 0) die("mq_open");
    mq_unlink("/chaos-clocks");
    if (full) mq_send(made, "x", 1, 0);
    return made;
}

static int fails(int result) { return result < 0 ? errno : result; }

static int wait_on(const char *way, pthread_t other) {
    const clockid_t wall = CLOCK_REALTIME, mono = CLOCK_MONOTONIC;
    pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
    pthread_condattr_t attributes;
    cnd_t condition;
    sem_t semaphore;
    char text[8];
    uint64_t expired;
    unsigned word = 0;
    struct itimerspec set = {0};
    struct timespec relative = {.tv_nsec = 300000000}, at = moment(wall), steady = moment(mono);
    sem_init(&semaphore, 0, 0);
    cnd_init(&condition);
    pthread_mutex_lock(&mutex);
#define IS(name) if (strcmp(way, #name) == 0)
#define RAW(name) if (strcmp(way, "#" #name) == 0)
    IS(cond_timedwait) return pthread_cond_timedwait(&cond, &mutex, &at);
    IS(cond_timedwait_monotonic) {
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, mono);
        pthread_cond_init(&cond, &attributes);
        return pthread_cond_timedwait(&cond, &mutex, &steady);
    }
    IS(cond_clockwait) return pthread_cond_clockwait(&cond, &mutex, wall, &at);
    IS(mutex_timedlock) return pthread_mutex_timedlock(&held, &at);
    IS(mutex_clocklock) return pthread_mutex_clocklock(&held, wall, &at);
    IS(rwlock_timedrdlock) return pthread_rwlock_timedrdlock(&lock, &at);
    IS(rwlock_timedwrlock) return pthread_rwlock_timedwrlock(&lock, &at);
    IS(rwlock_clockrdlock) return pthread_rwlock_clockrdlock(&lock, wall, &at);
    IS(rwlock_clockwrlock) return pthread_rwlock_clockwrlock(&lock, wall, &at);
    IS(timedjoin) return pthread_timedjoin_np(other, NULL, &at);
    IS(clockjoin) return pthread_clockjoin_np(other, NULL, wall, &at);
    IS(cnd_timedwait) return cnd_timedwait(&condition, (mtx_t *)&mutex, &at) == thrd_timedout ? ETIMEDOUT : -1;
    IS(mtx_timedlock) return mtx_timedlock(&held_too, &at) == thrd_timedout ? ETIMEDOUT : -1;
    IS(sem_timedwait) return fails(sem_timedwait(&semaphore, &at));
    IS(sem_clockwait) return fails(sem_clockwait(&semaphore, wall, &at));
    IS(sem_clockwait_monotonic) return fails(sem_clockwait(&semaphore, mono, &steady));
    IS(mq_timedreceive) return fails(mq_timedreceive(queue(0), text, 8, NULL, &at));
    IS(mq_timedsend) return fails(mq_timedsend(queue(1), text, 1, 0, &at));
    IS(clock_nanosleep) return clock_nanosleep(wall, TIMER_ABSTIME, &at, NULL);
    IS(clock_nanosleep_monotonic) return clock_nanosleep(mono, TIMER_ABSTIME, &steady, NULL);
    IS(clock_nanosleep_relative) return clock_nanosleep(wall, 0, &relative, NULL);
    IS(nanosleep) return fails(nanosleep(&relative, NULL));
    IS(usleep) return fails(usleep(300000));
    IS(thrd_sleep) return thrd_sleep(&relative, NULL);
    IS(timerfd) {
        int timer = timerfd_create(wall, 0);
        set.it_value = at;
        timerfd_settime(timer, TFD_TIMER_ABSTIME, &set, NULL);
        return read(timer, &expired, 8) == 8 ? 0 : errno;
    }
    IS(timer) {
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
        timer_t timer;
        sigset_t usr1;
        int got;
        if (timer_create(wall, &event, &timer)) return errno;
        set.it_value = at;
        if (timer_settime(timer, TIMER_ABSTIME, &set, NULL)) return errno;
        sigemptyset(&usr1);
        sigaddset(&usr1, SIGUSR1);
        return sigwait(&usr1, &got);
    }
    RAW(futex) return fails(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &at, NULL, ~0u));
    RAW(futex_monotonic) return fails(syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, 0, &steady, NULL, ~0u));
    RAW(futex_relative) return fails(syscall(SYS_futex, &word, FUTEX_WAIT, 0, &relative, NULL, 0));
    RAW(clock_nanosleep) return fails(syscall(SYS_clock_nanosleep, wall, TIMER_ABSTIME, &at, NULL));
    RAW(timerfd) {
        int timer = timerfd_create(wall, 0);
        set.it_value = at;
        syscall(SYS_timerfd_settime, timer, TFD_TIMER_ABSTIME, &set, NULL);
        return read(timer, &expired, 8) == 8 ? 0 : errno;
    }
    say("guest: does not know how to wait by %s\n", way);
    _exit(98);
}

/* In each round every clock is read twice in every way. */
static void steady(int milliseconds) {
    const int64_t end = truth(CLOCK_MONOTONIC) + milliseconds * 1000000LL;
    int64_t last = 0, last_steady = 0, rounds = 0;
    int back = 0, steady_back = 0, apart = 0;
    do {
        struct timespec wall, mono;
        struct timeval day;
        clock_gettime(CLOCK_REALTIME, &wall);
        gettimeofday(&day, NULL);
        clock_gettime(CLOCK_MONOTONIC, &mono);
        int64_t between = day.tv_sec * 1000000000LL + day.tv_usec * 1000;
        if (ns(wall) < last) back++;
        /* Microseconds are cut off; a jump between the two is far longer than the machine may be busy. */
        int64_t distance = between - ns(wall);
        if (distance < -1000 || distance > 5000000000LL) apart++;
        if (ns(mono) < last_steady) steady_back++;
        last = ns(wall);
        last_steady = ns(mono);
        rounds++;
    } while (truth(CLOCK_MONOTONIC) < end);
    say("%s %s %s\n", back ? "back" : "ahead", steady_back ? "back" : "ahead", apart ? "apart" : "together");
}

int main(int argc, char **argv) {
    volatile int ready = 0;
    pthread_t other;
    sigset_t usr1;
    if (argc > 1 && strcmp(argv[1], "show") == 0) return show(), 0;
    if (argc > 2 && strcmp(argv[1], "steady") == 0) return steady(atoi(argv[2])), 0;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    mtx_init(&held_too, mtx_timed);
    pthread_create(&other, NULL, holder, (void *)&ready);
    while (!ready) usleep(1000);
    for (int i = 2; i < argc; i++) {
        int64_t start = truth(CLOCK_MONOTONIC);
        int result = wait_on(argv[i], other);
        pthread_mutex_unlock(&mutex);
        int64_t took = (truth(CLOCK_MONOTONIC) - start) / 1000000;
        say("%s %lld %s\n", argv[i], (long long)took, name_of(result));
    }
    _exit(0);
}
