/* A library that makes a call for its user: who made it is what `caller` tells. */
#include <unistd.h>

int pread_for_me(int fd) {
    char buffer[9];
    return pread(fd, buffer, sizeof buffer, 0);
}
