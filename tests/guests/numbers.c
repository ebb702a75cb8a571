/* Reads data.bin between numbers from the program's own generators, and prints only the numbers. */
#include "guest.h"
#include <fcntl.h>

int main(void) {
    int fd = open("data.bin", O_RDONLY);
    char byte;
    srand(7);
    for (int i = 0; i < 5; i++) {
        if (read(fd, &byte, 1) < 0) lseek(fd, 0, SEEK_SET);
        say("%d ", rand());
    }
    srandom(8);
    for (int i = 0; i < 5; i++) {
        if (read(fd, &byte, 1) < 0) lseek(fd, 0, SEEK_SET);
        say("%ld ", random());
    }
    srand48(9);
    for (int i = 0; i < 5; i++) {
        if (read(fd, &byte, 1) < 0) lseek(fd, 0, SEEK_SET);
        say("%ld ", lrand48());
    }
    say("\n");
    return 0;
}
