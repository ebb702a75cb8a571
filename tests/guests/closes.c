/* Opens and closes data.bin a hundred times and says how often close failed, and the highest descriptor it ever got. */
#include "guest.h"
#include <fcntl.h>

int main(void) {
    int failed = 0, highest = 0;
    for (int i = 0; i < 100; i++) {
        int fd = open("data.bin", O_RDONLY);
        if (fd > highest) highest = fd;
        failed += close(fd) < 0;
    }
    say("failed %d highest %d\n", failed, highest);
    return 0;
}
