/* Closes every descriptor from 3 on in each way there is, puts a file of its own over the numbers 3 to 60, and goes on
   reading. Says how many of ten reads failed, and whether the own files are still its own. */
#include "guest.h"
#include <fcntl.h>
#include <sys/stat.h>

static int fails(void) {
    int fd = open("data.bin", O_RDONLY), failed = 0;
    char byte;
    for (int i = 0; i < 10; i++) failed += read(fd, &byte, 1) < 0;
    close(fd);
    return failed;
}

int main(void) {
    int before = fails();
    for (int fd = 3; fd < 1024; fd++) close(fd);
    int closed = fails();
    close_range(3, ~0U, 0);
    int ranged = fails();
    closefrom(3);
    int from = fails();
    int own = open("own", O_RDWR | O_CREAT | O_TRUNC, 0600);
    for (int fd = own + 1; fd <= 60; fd++) dup2(own, fd);
    int covered = fails();
    struct stat own_file, now;
    fstat(own, &own_file);
    int strange = own_file.st_size != 0;
    for (int fd = own; fd <= 60; fd++) strange += fstat(fd, &now) || now.st_ino != own_file.st_ino;
    say("%d %d %d %d %d strange %d\n", before, closed, ranged, from, covered, strange);
    return 0;
}
