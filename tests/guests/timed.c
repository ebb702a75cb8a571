/* timed CALLS: reads a byte of data.bin so often and says for each call how many milliseconds it took, its result and
   its errno. */
#include "guest.h"
#include <fcntl.h>

int main(int argc, char **argv) {
    int fd = open("data.bin", O_RDONLY);
    if (fd < 0) die("data.bin");
    for (int i = 0; i < (argc > 1 ? atoi(argv[1]) : 1); i++) {
        char byte;
        errno = 0;
        long long start = now_ns();
        long result = read(fd, &byte, 1);
        say("%lld %ld %s\n", (now_ns() - start) / 1000000, result, name_of(errno));
    }
    return 0;
}
