/* Forks until the user has no more processes. Each child reads a byte and waits for its end; the parent says how many
   there were, how many of them failed, and the limit of descriptors that it was given. */
#include "guest.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

struct counts {
    _Atomic int ready, failed;
};

int main(void) {
    static pid_t children[20000];
    struct counts *counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int made = 0, why = 0;
    while (made < 20000) {
        pid_t child = fork();
        if (child < 0) {
            why = errno;
            break;
        }
        if (child == 0) {
            char byte;
            int fd = open("data.bin", O_RDONLY);
            if (fd < 0 || read(fd, &byte, 1) != 1) counts->failed++;
            counts->ready++;
            for (;;) pause();
        }
        children[made++] = child;
    }
    while (counts->ready < made) usleep(2000);
    for (int i = 0; i < made; i++) kill(children[i], SIGKILL);
    for (int i = 0; i < made; i++) waitpid(children[i], NULL, 0);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    say("%s %d %d %ld\n", name_of(why), made, counts->failed, (long)files.rlim_cur);
    return 0;
}
