/* Plain system-call wrappers in one thread, whose results depend on nothing but the calls: "CALL INDEX RESULT ERRNO". In
   rounds: here, in a child, in another child. */
#include "guest.h"
#include <fcntl.h>
#include <sys/wait.h>

static void told(const char *call, int index, long result) {
    say("%s %d %ld %s\n", call, index, result, result < 0 ? name_of(errno) : "0");
}

static void work(void) {
    char bytes[64];
    for (int i = 0; i < 30; i++) {
        int fd = open("plain.out", O_RDWR | O_CREAT, 0600);
        told("open", i, fd < 0 ? -1 : 0);
        if (fd < 0) continue;
        memset(bytes, i, sizeof bytes);
        told("write", i, write(fd, bytes, sizeof bytes));
        lseek(fd, 0, SEEK_SET);
        told("read", i, read(fd, bytes, 48));
        told("fsync", i, fsync(fd));
        close(fd);
    }
}

int main(void) {
    work();
    for (int round = 0; round < 2; round++) {
        if (fork() == 0) {
            work();
            _exit(0);
        }
        wait(NULL);
    }
    return 0;
}
