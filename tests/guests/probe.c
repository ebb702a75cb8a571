/* Reads data.bin at the absolute path given first and says "probe ARGC ERRNO", then its environment, a variable a
   line. */
#include "guest.h"
#include <fcntl.h>

extern char **environ;

int main(int argc, char **argv) {
    char byte;
    int fd = open(argv[1], O_RDONLY);
    if (fd < 0) die(argv[1]);
    errno = 0;
    long got = read(fd, &byte, 1);
    say("probe %d %s\n", argc, got < 0 ? name_of(errno) : "0");
    for (char **variable = environ; *variable; variable++) say("env %s\n", *variable);
    return 0;
}
