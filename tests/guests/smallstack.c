/* Forty threads on the smallest stacks make calls on which there are rules. The stack is filled with a pattern first;
   says how many bytes of stack the thread of the deepest reach used: the shim's own share must stay small. */
#include "guest.h"
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sys/mman.h>

static int failed;

static void *work(void *unused) {
    (void)unused;
    char byte;
    for (int i = 0; i < 20; i++) {
        int fd = open("data.bin", O_RDONLY);
        if (fd < 0 || pread(fd, &byte, 1, 0) < 0) __atomic_add_fetch(&failed, 1, __ATOMIC_RELAXED);
        if (fd >= 0) close(fd);
        free(malloc(64));
    }
    return NULL;
}

int main(void) {
    size_t size = PTHREAD_STACK_MIN > 16384 ? PTHREAD_STACK_MIN : 16384, most = 0;
    for (int i = 0; i < 40; i++) {
        pthread_attr_t attributes;
        pthread_t thread;
        unsigned char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(stack, 0xA5, size);
        pthread_attr_init(&attributes);
        if (pthread_attr_setstack(&attributes, stack, size)) die("pthread_attr_setstack");
        if (pthread_create(&thread, &attributes, work, NULL)) die("pthread_create");
        pthread_join(thread, NULL);
        size_t untouched = 0;
        while (untouched < size && stack[untouched] == 0xA5) untouched++;
        if (size - untouched > most) most = size - untouched;
        munmap(stack, size);
    }
    say("%s failures, stack used %zu of %zu\n", failed ? "some" : "no", most, size);
    return 0;
}
