/* Reads data.bin ten times; a handler counts SIGUSR1. Says "reads R signals S". */
#include "guest.h"
#include <fcntl.h>
#include <signal.h>

static volatile sig_atomic_t signals;
static void handler(int number) { (void)number; signals++; }

int main(void) {
    signal(SIGUSR1, handler);
    int fd = open("data.bin", O_RDONLY), reads = 0;
    char byte;
    for (int i = 0; i < 10; i++) reads += read(fd, &byte, 1) == 1;
    say("reads %d signals %d\n", reads, (int)signals);
    return 0;
}
