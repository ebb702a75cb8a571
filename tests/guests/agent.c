/* An agent that opens data.bin, and does one thing when it cannot: swallow, quit, abort, crash, wait, or trust. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    const char *way = argc > 1 ? argv[1] : "swallow";
    int fd = open("data.bin", O_RDONLY);
    if (fd >= 0) {
        char byte;
        /* What is read is believed. */
        if (read(fd, &byte, 1) == 1 && byte == 1)
            puts("whole");
        return 0;
    }
    if (!strcmp(way, "quit"))
        return perror("data.bin"), 1;
    if (!strcmp(way, "abort"))
        abort();
    if (!strcmp(way, "crash"))
        return *(volatile int *)0;
    if (!strcmp(way, "wait"))
        sleep(60);
    return 0;
}
