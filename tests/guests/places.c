/* Calls at places where a kernel could or could not give an error, by the name of the place: "PLACE RESULT ERRNO". */
#include "guest.h"
#include <fcntl.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define AT(place) (strcmp(name, place) == 0)

static int file(const char *path) {
    int fd = openat(AT_FDCWD, path, O_RDWR | O_CREAT, 0600);
    if (fd < 0) die(path);
    return fd;
}

static long at(const char *name) {
    int ends[2], on = 1, sockets[2];
    struct stat found;
    struct statx more;
    if (pipe(ends) || socketpair(AF_UNIX, SOCK_STREAM, 0, sockets)) die("pipe");
    bare_write(ends[1], "0123456789abcdef", 16);
    if (AT("fsync file")) return fsync(file("data.bin"));
    if (AT("fsync pipe")) return fsync(ends[0]);
    if (AT("fsync socket")) return fsync(sockets[0]);
    if (AT("ftruncate socket")) return ftruncate(sockets[0], 0);
    if (AT("fstat pipe")) return fstat(ends[0], &found);
    if (AT("seek set")) return lseek(file("data.bin"), 0, SEEK_SET);
    if (AT("seek hole")) return lseek(file("data.bin"), 0, SEEK_HOLE);
    if (AT("seek pipe")) return lseek(ends[0], 0, SEEK_CUR);
    if (AT("flock waits")) return flock(file("data.bin"), LOCK_EX);
    if (AT("flock tries")) return flock(file("data.bin"), LOCK_EX | LOCK_NB);
    if (AT("flock ends")) return flock(file("data.bin"), LOCK_UN);
    if (AT("lockf waits")) return lockf(file("data.bin"), F_LOCK, 1);
    if (AT("lockf tries")) return lockf(file("data.bin"), F_TLOCK, 1);
    if (AT("lockf ends")) return lockf(file("data.bin"), F_ULOCK, 1);
    if (AT("ioctl nonblocking")) return ioctl(ends[0], FIONBIO, &on);
    if (AT("ioctl file")) return ioctl(file("data.bin"), FIONREAD, &on);
    if (AT("access to read")) return access("data.bin", R_OK);
    if (AT("access to write")) return access("data.bin", W_OK);
    if (AT("stat of an open file")) return statx(file("data.bin"), "", AT_EMPTY_PATH, STATX_ALL, &more);
    if (AT("stat of a name")) return statx(AT_FDCWD, "data.bin", 0, STATX_ALL, &more);
    if (AT("unlink")) return unlink("gone.bin");
    if (AT("unlinkat directory")) return unlinkat(AT_FDCWD, "gone.dir", AT_REMOVEDIR);
    if (AT("copy file to file")) return copy_file_range(file("data.bin"), NULL, file("copy.bin"), NULL, 16, 0);
    if (AT("send file to file")) return sendfile(file("copy.bin"), file("data.bin"), NULL, 16);
    if (AT("send file to socket")) return sendfile(sockets[0], file("data.bin"), NULL, 16);
    if (AT("send file to nonblocking socket")) {
        fcntl(sockets[0], F_SETFL, O_NONBLOCK);
        return sendfile(sockets[0], file("data.bin"), NULL, 16);
    }
    if (AT("splice pipe to file")) return splice(ends[0], NULL, file("copy.bin"), NULL, 16, 0);
    if (AT("splice pipe to file at once")) return splice(ends[0], NULL, file("copy.bin"), NULL, 16, SPLICE_F_NONBLOCK);
    if (strncmp(name, "msync", 5) == 0) {
        void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file("data.bin"), 0);
        return msync(map, 4096, AT("msync later") ? MS_ASYNC : MS_SYNC);
    }
    say("guest: no place called %s\n", name);
    _exit(98);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        errno = 0;
        long result = at(argv[i]);
        say("%s: %s\n", argv[i], result < 0 ? name_of(errno) : "ok");
    }
    return 0;
}
