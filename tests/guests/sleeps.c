/* [thrd]: sleeps 400 ms by nanosleep, or by thrd_sleep, then for the rest as long as that was interrupted. Says how the
   first ended, the rest in ms, how the second ended, and how long both took in ms. */
#include "guest.h"
#include <threads.h>

static int by_threads;

/* 0 or an errno; 1000 for what is none. */
static int nap(const struct timespec *request, struct timespec *rest) {
    if (!by_threads) return nanosleep(request, rest) ? errno : 0;
    int result = thrd_sleep(request, rest);
    return result == -1 ? EINTR : result ? 1000 : 0;
}

int main(int argc, char **argv) {
    by_threads = argc > 1;
    struct timespec request = {.tv_nsec = 400000000}, rest = {0};
    long long start = now_ns();
    int first = nap(&request, &rest);
    int second = first ? nap(&rest, NULL) : 0;
    say("%s %ld %s %lld\n", name_of(first), rest.tv_nsec / 1000000, name_of(second), (now_ns() - start) / 1000000);
    return 0;
}
