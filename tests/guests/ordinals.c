/* THREADS READS: so many threads of threads.h, one after the other, each reading a byte so often; says which reads of
   each failed. */
#include "guest.h"
#include <fcntl.h>
#include <threads.h>

static int reads;

static int work(void *number) {
    char failed[200] = "", byte;
    int fd = open("data.bin", O_RDONLY);
    for (int i = 0; i < reads && i < 190; i++) failed[i] = read(fd, &byte, 1) < 0 ? 'x' : '.';
    say("%ld %s\n", (long)number, failed);
    return 0;
}

int main(int argc, char **argv) {
    reads = atoi(argv[2]);
    for (long i = 0; i < atoi(argv[1]); i++) {
        thrd_t thread;
        if (thrd_create(&thread, work, (void *)i) != thrd_success) die("thrd_create");
        thrd_join(thread, NULL);
    }
    return 0;
}
