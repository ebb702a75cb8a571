/* Makes calls before main (constructor), after it (atexit, destructor), and from a thread key's destructor. */
#include "guest.h"
#include <fcntl.h>
#include <pthread.h>

static void try(const char *when) {
    char byte;
    int fd = open("data.bin", O_RDONLY);
    long got = pread(fd, &byte, 1, 0);
    void *block = malloc(100);
    say("%s %s\n", when, fd < 0 || got != 1 || !block ? name_of(errno) : "ok");
    free(block);
    close(fd);
}

__attribute__((constructor(101))) static void early(void) { try("constructor"); }
__attribute__((destructor(101))) static void late(void) { try("destructor"); }
static void at_exit(void) { try("atexit"); }
static void key_end(void *unused) { (void)unused; try("key"); }

static void *thread(void *unused) {
    pthread_key_t key;
    pthread_key_create(&key, key_end);
    pthread_setspecific(key, &key);
    return unused;
}

int main(void) {
    pthread_t id;
    atexit(at_exit);
    try("main");
    pthread_create(&id, NULL, thread, NULL);
    pthread_join(id, NULL);
    return 0;
}
