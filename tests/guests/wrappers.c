// One thread, and nothing but plain wrappers of system calls: what each comes to, a line a round.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char line[512];
static void say(const char *call, long result) {
    int failed = result < 0 ? errno : 0;
    snprintf(line + strlen(line), sizeof line - strlen(line), " %s %ld/%d", call, result, failed);
}

int main(int argc, char **argv) {
    char buffer[64], out[256], other[256];
    int rounds = atoi(argv[2]);
    snprintf(out, sizeof out, "%s.out", argv[1]);
    snprintf(other, sizeof other, "%s.other", argv[1]);
    for (int round = 0; round < rounds; round++) {
        line[0] = 0;
        int fd = open(argv[1], O_RDONLY);
        say("open", fd < 0 ? -1 : 0);
        if (fd >= 0) {
            say("read", read(fd, buffer, sizeof buffer));
            say("pread", pread(fd, buffer, 10, 5));
            struct iovec parts[2] = {{buffer, 8}, {buffer + 8, 8}};
            say("readv", readv(fd, parts, 2));
            struct stat about;
            say("fstat", fstat(fd, &about));
            say("close", close(fd));
        }
        fd = open(out, O_CREAT | O_RDWR | O_TRUNC, 0600);
        if (fd >= 0) {
            say("write", write(fd, buffer, 32));
            say("fsync", fsync(fd));
            say("ftruncate", ftruncate(fd, 5));
            close(fd);
        }
        say("rename", rename(out, other));
        say("unlink", unlink(other));
        say("mkdir", mkdir(other, 0700));
        say("rmdir", rmdir(other));
        // Whoever wants to hit this must name its descriptor.
        dprintf(1, "%d%s\n", round, line);
    }
    return 0;
}
