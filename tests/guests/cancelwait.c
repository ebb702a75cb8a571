/* Cancels threads that wait for readiness without end, and says of each that it was cancelled. */
#include "guest.h"
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/select.h>

static void *in_poll(void *unused) { poll(NULL, 0, -1); return unused; }
static void *in_select(void *unused) { select(0, NULL, NULL, NULL, NULL); return unused; }
static void *in_epoll(void *unused) {
    struct epoll_event event;
    epoll_wait(epoll_create1(0), &event, 1, -1);
    return unused;
}

static void cancel(const char *name, void *(*body)(void *)) {
    pthread_t thread;
    void *result = NULL;
    pthread_create(&thread, NULL, body, NULL);
    usleep(100000);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    say("%s %s\n", name, result == PTHREAD_CANCELED ? "cancelled" : "returned");
}

int main(void) {
    cancel("poll", in_poll);
    cancel("select", in_select);
    cancel("epoll_wait", in_epoll);
    return 0;
}
