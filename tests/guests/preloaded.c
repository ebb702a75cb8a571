/* A library that the user preloads: its constructor runs before or after the shim's. Leaves the name it was built
   with (-DNAME) in an environment-free place: its own exported function, and a line on stderr. */
#include "guest.h"
#include <fcntl.h>

__attribute__((constructor)) static void early(void) {
    char byte;
    int fd = open("data.bin", O_RDONLY);
    long got = fd < 0 ? -1 : pread(fd, &byte, 1, 0);
    void *block = malloc(100);
    bare_write(2, got == 1 && block ? "preloaded ok\n" : "preloaded FAILED\n", got == 1 && block ? 13 : 17);
    free(block);
    if (fd >= 0) close(fd);
}
