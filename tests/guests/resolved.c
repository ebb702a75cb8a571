/* Its function is chosen by a resolver, which the loader calls while it still relocates, before any constructor, ours
   among them, and which makes calls itself. Says how many calls failed later. */
#include "guest.h"
#include <fcntl.h>

static int seven(void) { return 7; }

/* What is called here may not be bound yet, but for what the compiler puts in place. */
static int (*choose(void))(void) {
    char byte = 0;
    bare_write(2, &byte, 0);
    return seven;
}

int chosen(void) __attribute__((ifunc("choose")));

int main(void) {
    int failed = 0;
    for (int i = 0; i < 50; i++) {
        char byte;
        int fd = open("data.bin", O_RDONLY);
        failed += fd < 0;
        failed += fd >= 0 && pread(fd, &byte, 1, 0) < 0;
        close(fd);
    }
    say("chose %d failed %d\n", chosen(), failed);
    return 0;
}
