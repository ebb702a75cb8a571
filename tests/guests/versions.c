/* versions [LIBRARY]: what glibc keeps two functions of under one name. Says which of the two it got, and whether they
   work together: a condition variable is signalled and waited for, a timer made and set, a name resolved, a script
   without an interpreter spawned. Built with -DFIRST it is bound to the first version of each, GLIBC_2.2.5; as a LIBRARY
   without any version, its part is called there. */
#include "guest.h"
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#ifdef FIRST
#define BIND(name) __asm__(".symver " #name ", " #name "@GLIBC_2.2.5");
BIND(pthread_cond_signal)
BIND(pthread_cond_timedwait)
BIND(timer_create)
BIND(timer_settime)
BIND(realpath)
BIND(posix_spawn)
BIND(posix_spawnp)
#endif

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER, never = PTHREAD_COND_INITIALIZER;
static int ready;

static struct timespec in_ms(long ms) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_nsec += ms * 1000000;
    at.tv_sec += at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    return at;
}

static void *wake(void *unused) {
    pthread_mutex_lock(&mutex);
    ready = 1;
    pthread_cond_signal(&condition);
    pthread_mutex_unlock(&mutex);
    return unused;
}

static void conditions(void) {
    pthread_t thread;
    struct timespec late = in_ms(5000), soon;
    int code = 0;
    pthread_mutex_lock(&mutex);
    if (pthread_create(&thread, NULL, wake, NULL)) die("pthread_create");
    while (!ready && !code) code = pthread_cond_timedwait(&condition, &mutex, &late);
    say("signalled %s\n", name_of(code));
    soon = in_ms(200);
    for (code = 0; !code;) code = pthread_cond_timedwait(&never, &mutex, &soon);
    say("waited %s\n", name_of(code));
    pthread_mutex_unlock(&mutex);
    pthread_join(thread, NULL);
}

static void timers(void) {
    union { timer_t whole; struct { int number, behind; } first; } timer = {.first = {-1, 77}};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct itimerspec set = {.it_value = in_ms(200)};
    sigset_t usr1;
    int got;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigprocmask(SIG_BLOCK, &usr1, NULL);
    if (timer_create(CLOCK_REALTIME, &event, &timer.whole)) {
        say("timer %s\n", name_of(errno));
        return;
    }
    int is_first = timer.first.behind == 77;
    timer_t timed = is_first ? (timer_t)(long)timer.first.number : timer.whole;
    if (timer_settime(timed, TIMER_ABSTIME, &set, NULL)) die("timer_settime");
    say("timer %s %s\n", is_first ? "number" : "pointer", sigwait(&usr1, &got) ? "?" : "expired");
}

static void spawn(int search) {
    char *argv[] = {"script", NULL}, *none[] = {NULL};
    pid_t pid;
    int code = search ? posix_spawnp(&pid, "./script", NULL, NULL, argv, none)
                      : posix_spawn(&pid, "./script", NULL, NULL, argv, none);
    if (!code) waitpid(pid, NULL, 0);
    say("spawned %s\n", name_of(code));
}

int all(void) {
    conditions();
    timers();
    char *path = realpath(".", NULL);
    say("realpath %s\n", path ? "allocates" : name_of(errno));
    spawn(0);
    spawn(1);
    return 0;
}

#ifndef PART
int main(int argc, char **argv) {
    if (argc < 2) return all();
    void *part = dlopen(argv[1], RTLD_NOW);
    if (!part) die(dlerror());
    return ((int (*)(void))dlsym(part, "all"))();
}
#endif
