/* Eight threads fork, and vfork a program, again and again while they allocate and read. */
#include "guest.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>

static int bad;

static void *work(void *unused) {
    (void)unused;
    for (int i = 0; i < 25; i++) {
        char byte;
        int fd = open("data.bin", O_RDONLY);
        pread(fd, &byte, 1, 0);
        void *block = malloc(1000);
        int vforked = i % 2;
        pid_t pid = vforked ? vfork() : fork();
        if (pid == 0) {
            if (vforked) {
                execl("/bin/true", "true", NULL);
                _exit(96);
            }
            free(malloc(100));
            pread(fd, &byte, 1, 0);
            _exit(0);
        }
        int status = -1;
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) __atomic_add_fetch(&bad, 1, __ATOMIC_RELAXED);
        free(block);
        close(fd);
    }
    return NULL;
}

int main(void) {
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) pthread_create(&threads[i], NULL, work, NULL);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    say("bad %d\n", bad);
    return 0;
}
