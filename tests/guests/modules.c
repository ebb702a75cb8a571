/* Loads and unloads libraries, one that is not there and copies of libc in namespaces of their own among them, while four
   threads make calls on which there are rules. Says how many of these failed. */
#include "guest.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

static atomic_int failed, loaded, missed;

static void *work(void *unused) {
    for (int i = 0; i < 1000; i++) {
        char byte;
        int fd = open("data.bin", O_RDONLY);
        failed += fd < 0;
        failed += fd >= 0 && pread(fd, &byte, 1, 0) < 0;
        close(fd);
        void *memory = malloc(64);
        failed += memory == NULL;
        free(memory);
    }
    return unused;
}

int main(void) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, work, NULL);
    for (int i = 0; i < 100; i++) {
        void *library = dlopen("libanl.so.1", RTLD_NOW | RTLD_LOCAL);
        loaded += library && dlsym(library, "getaddrinfo_a");
        missed += !dlopen("libnone.so", RTLD_NOW);
        if (library) dlclose(library);
    }
    /* A libc of its own, which no shim is in front of: its calls and its memory are its own. */
    for (int i = 0; i < 8; i++) {
        void *libc = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW);
        if (!libc) die(dlerror());
        int (*its_open)(const char *, int) = dlsym(libc, "open");
        ssize_t (*its_read)(int, void *, size_t) = dlsym(libc, "read");
        void *(*its_malloc)(size_t) = dlsym(libc, "malloc");
        char byte;
        int fd = its_open("data.bin", O_RDONLY);
        if (fd < 0 || its_read(fd, &byte, 1) != 1 || !its_malloc(100)) die("the other libc");
        close(fd);
        if (i % 2) dlclose(libc);
    }
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    say("loaded %d missed %d failed %d\n", loaded, missed, failed);
    return 0;
}
