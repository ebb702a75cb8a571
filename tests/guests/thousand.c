/* thousand COUNTER [kill]: reads data.bin for ever and counts each failed read in the file COUNTER (mapped, so that it
   outlives us). After a thousand failures it kills itself if told to, or else says so and goes on until a second has
   passed without a failure: then it says "disarmed" and ends. */
#include "guest.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>

int main(int argc, char **argv) {
    int counter_fd = open(argv[1], O_RDWR | O_CREAT, 0666);
    if (counter_fd < 0 || ftruncate(counter_fd, 4096)) die(argv[1]);
    volatile long *seen = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, counter_fd, 0);
    int fd = open("data.bin", O_RDONLY);
    if (fd < 0 || seen == MAP_FAILED) die("data.bin");
    long long last = now_ns();
    for (;;) {
        char byte;
        if (read(fd, &byte, 1) < 0) {
            last = now_ns();
            if (++*seen == 1000) {
                if (argc > 2) kill(getpid(), SIGKILL);
                int ready = open("ready", O_WRONLY | O_CREAT, 0600);
                bare_write(ready, "ready\n", 6);
                close(ready);
            }
        }
        lseek(fd, 0, SEEK_SET);
        if (*seen > 1000) usleep(1000);
        if (now_ns() - last > 1000000000LL) {
            int done = open("disarmed", O_WRONLY | O_CREAT, 0600);
            close(done);
            return 0;
        }
    }
}
