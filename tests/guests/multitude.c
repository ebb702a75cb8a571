/* Five thousand threads at a time, on the smallest stacks. Says how many calls there were and how many failed. */
#include "guest.h"
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

enum { COUNT = 5000 };
static pthread_t threads[COUNT];
static pthread_barrier_t all_there;
static atomic_int calls, failed;

static void *work(void *unused) {
    pthread_barrier_wait(&all_there);
    int fd = open("data.bin", O_RDONLY);
    for (int i = 0; i < 3; i++) {
        char byte;
        calls++;
        failed += pread(fd, &byte, 1, 0) < 0;
    }
    close(fd);
    return unused;
}

int main(void) {
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, PTHREAD_STACK_MIN);
    pthread_barrier_init(&all_there, NULL, COUNT);
    for (int i = 0; i < COUNT; i++)
        if ((errno = pthread_create(&threads[i], &small, work, NULL))) die("pthread_create");
    for (int i = 0; i < COUNT; i++) pthread_join(threads[i], NULL);
    say("calls %d failed %d\n", calls, failed);
    return 0;
}
