/* For the guest of all calls: clocks, sleeps, deadlines, random numbers, signals and limits. */
#include <mqueue.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <threads.h>

/* Random numbers, or a message. */
static char drawn[16];

static long time_call(const char *name) {
    struct timespec now = {0}, bad = {.tv_nsec = -1}, moment = {.tv_nsec = 1000};
    struct timeval bad_too = {.tv_usec = -1};
    struct rlimit limit;
    struct sigevent event = {.sigev_notify = SIGEV_NONE};
    struct mq_attr attributes = {.mq_maxmsg = 1, .mq_msgsize = 8};
    timer_t timer;
    sem_t semaphore;
    mqd_t queue;
    sem_init(&semaphore, 0, 1);
    if (IS(clock_gettime)) return clock_gettime(CLOCK_BOOTTIME, &now);
    if (IS(clock_getres)) return clock_getres(CLOCK_BOOTTIME, &now);
    /* Root could set the clock: asked for with what the kernel refuses. */
    if (IS(clock_settime)) return clock_settime(CLOCK_REALTIME, &bad);
    if (IS(settimeofday)) return settimeofday(&bad_too, NULL);
    if (IS(nanosleep)) return nanosleep(&moment, NULL);
    if (IS(usleep)) return usleep(1);
    if (IS(thrd_sleep)) {
        int result = thrd_sleep(&moment, NULL);
        // It has no errno of its own.
        errno = result == -1 ? EINTR : result ? EINVAL : 0;
        return result ? -1 : 0;
    }
    if (IS(clock_nanosleep)) {
        errno = clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
        return errno ? -1 : 0;
    }
    if (IS(timer_create)) return timer_create(CLOCK_MONOTONIC, &event, &timer);
    if (IS(sem_timedwait)) return sem_timedwait(&semaphore, &moment);
    if (IS(sem_clockwait)) return sem_clockwait(&semaphore, CLOCK_MONOTONIC, &moment);
    if (strncmp(name, "mq_", 3) == 0) {
        queue = mq_open("/chaos-calls", O_RDWR | O_CREAT, 0600, &attributes);
        if (queue < 0) die("mq_open");
        mq_unlink("/chaos-calls");
    }
    if (IS(mq_timedsend)) return mq_timedsend(queue, drawn, 1, 0, &moment);
    if (IS(mq_timedreceive)) return mq_timedreceive(queue, drawn, 8, NULL, &moment);
    if (IS(getrandom)) return getrandom(drawn, 16, GRND_NONBLOCK);
    if (IS(getentropy)) return getentropy(drawn, 16);
    if (IS(kill)) return kill(getpid(), 0);
    if (IS(killpg)) return killpg(getpgrp(), 0);
    if (IS(tgkill)) return tgkill(getpid(), gettid(), 0);
    getrlimit(RLIMIT_CORE, &limit);
    if (IS(setrlimit)) return setrlimit(RLIMIT_CORE, &limit);
    if (IS(setrlimit64)) return setrlimit64(RLIMIT_CORE, (void *)&limit);
    if (IS(prlimit)) return prlimit(0, RLIMIT_CORE, &limit, NULL);
    if (IS(prlimit64)) return prlimit64(0, RLIMIT_CORE, (void *)&limit, NULL);
    return -2;
}

static long numbered_time_call(long number) {
    struct timespec now, bad = {.tv_nsec = -1}, moment = {.tv_nsec = 1000};
    struct timeval bad_too = {.tv_usec = -1};
    struct rlimit limit = {0};
    struct sigevent event = {.sigev_notify = SIGEV_NONE};
    int timer;
    switch (number) {
    case SYS_clock_gettime: return syscall(number, CLOCK_BOOTTIME, &now);
    case SYS_clock_getres: return syscall(number, CLOCK_BOOTTIME, &now);
    case SYS_clock_settime: return syscall(number, CLOCK_REALTIME, &bad);
    case SYS_settimeofday: return syscall(number, &bad_too, NULL);
    case SYS_nanosleep: return syscall(number, &moment, NULL);
    case SYS_clock_nanosleep: return syscall(number, CLOCK_MONOTONIC, 0, &moment, NULL);
    case SYS_timer_create: return syscall(number, CLOCK_MONOTONIC, &event, &timer);
    case SYS_mq_timedsend: return syscall(number, -1, drawn, 1, 0, &moment);
    case SYS_mq_timedreceive: return syscall(number, -1, drawn, 8, NULL, &moment);
    case SYS_getrandom: return syscall(number, drawn, 16, GRND_NONBLOCK);
    case SYS_kill: return syscall(number, getpid(), 0);
    case SYS_tkill: return syscall(number, gettid(), 0);
    case SYS_tgkill: return syscall(number, getpid(), gettid(), 0);
    case SYS_setrlimit: return syscall(number, RLIMIT_CORE, &limit);
    case SYS_prlimit64: return syscall(number, 0, RLIMIT_CORE, &limit, NULL);
    default: return -2;
    }
}
