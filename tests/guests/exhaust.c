/* exhaust files: opens data.bin until it fails, closes half, opens again. exhaust memory: allocates 64 KB blocks until
   it fails, frees all, allocates again. Says how far each round came. */
#include "guest.h"
#include <fcntl.h>

#define MOST 5000

static int fds[MOST];
static void *blocks[MOST];

static int open_all(int from) {
    for (int i = from; i < MOST; i++) {
        fds[i] = open("data.bin", O_RDONLY);
        if (fds[i] < 0) return i;
    }
    return MOST;
}

static int allocate_all(int from) {
    for (int i = from; i < MOST; i++) {
        blocks[i] = malloc(65536);
        if (!blocks[i]) return i;
    }
    return MOST;
}

int main(int argc, char **argv) {
    int memory = argc > 1 && strcmp(argv[1], "memory") == 0;
    int first = memory ? allocate_all(0) : open_all(0);
    int error = errno;
    int half = first / 2;
    for (int i = half; i < first; i++) {
        if (memory) free(blocks[i]);
        else close(fds[i]);
    }
    int second = memory ? allocate_all(half) : open_all(half);
    say("%d %s %d\n", first, name_of(error), second);
    return 0;
}
