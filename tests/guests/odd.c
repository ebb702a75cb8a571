/* odd NAME: reads the file of that name, whatever bytes it has, and says how many of ten reads failed. */
#include "guest.h"
#include <fcntl.h>

int main(int argc, char **argv) {
    int fd = open(argv[argc - 1], O_RDONLY), failed = 0;
    char byte;
    if (fd < 0) die("open");
    for (int i = 0; i < 10; i++) failed += read(fd, &byte, 1) < 0;
    say("failed %d\n", failed);
    return 0;
}
