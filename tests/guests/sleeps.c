/* Sleeps 400 ms by nanosleep, then for the rest as long as that was interrupted. Says how the first ended, the rest in
   ms, how the second ended, and how long both took in ms. */
#include "guest.h"

int main(void) {
    struct timespec request = {.tv_nsec = 400000000}, rest = {0};
    long long start = now_ns();
    int first = nanosleep(&request, &rest) ? errno : 0;
    int second = first && nanosleep(&rest, NULL) ? errno : 0;
    say("%s %ld %s %lld\n", name_of(first), rest.tv_nsec / 1000000, name_of(second), (now_ns() - start) / 1000000);
    return 0;
}
