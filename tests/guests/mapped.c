/* mapped WAY: maps blocks of a megabyte by one WAY until it cannot, gives half of them back, and tries again. Says how many
 * it got, the error, and how many again. WAY: mmap, protect (reserved first, then made writable), brk, remap, shared. */
#include "guest.h"
#include <sys/mman.h>

#define BLOCK (1L << 20)
#define MOST 64
static char *blocks[MOST];
static char *reserved;

static int get(const char *way, int index) {
    int flags = MAP_ANONYMOUS | (strcmp(way, "shared") == 0 ? MAP_SHARED : MAP_PRIVATE);
    if (strcmp(way, "brk") == 0) return sbrk(BLOCK) != (void *)-1;
    if (strcmp(way, "protect") == 0) return mprotect(reserved + index * BLOCK, BLOCK, PROT_READ | PROT_WRITE) == 0;
    if (strcmp(way, "remap") == 0) {
        char *grown = mremap(reserved, (index + 1) * BLOCK, (index + 2) * BLOCK, MREMAP_MAYMOVE);
        if (grown == MAP_FAILED) return 0;
        reserved = grown;
        return 1;
    }
    blocks[index] = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, flags, -1, 0);
    return blocks[index] != MAP_FAILED;
}

static void give_back(const char *way, int from, int to) {
    long size = (to - from) * BLOCK;
    if (strcmp(way, "brk") == 0) sbrk(-size);
    else if (strcmp(way, "protect") == 0) mprotect(reserved + from * BLOCK, size, PROT_NONE);
    else if (strcmp(way, "remap") == 0) reserved = mremap(reserved, (to + 1) * BLOCK, (from + 1) * BLOCK, 0);
    else for (int i = from; i < to; i++) munmap(blocks[i], BLOCK);
}

static int all(const char *way, int from) {
    for (int i = from; i < MOST; i++) if (!get(way, i)) return i;
    return MOST;
}

int main(int argc, char **argv) {
    /* What is only reserved costs nothing. */
    long size = strcmp(argv[1], "remap") == 0 ? BLOCK : 1L << 32;
    reserved = mmap(NULL, size, size == BLOCK ? PROT_READ | PROT_WRITE : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (argc != 2 || reserved == MAP_FAILED) die("reserve");
    int first = all(argv[1], 0), error = errno;
    give_back(argv[1], first / 2, first);
    int second = all(argv[1], first / 2);
    say("%d %s %d\n", first, first == MOST ? "0" : name_of(error), second);
    return 0;
}
