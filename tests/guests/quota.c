/* quota DIR: fills the files of a directory by every call that grows one, and empties them by every call that gives room
   back. Says what each step gave: a count, or its errno. */
#define _GNU_SOURCE
#include "guest.h"
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define BLOCK 4096

static char data[64 * BLOCK];

static void told(const char *what, long result) {
    if (result < 0) say("%s %s\n", what, name_of(errno));
    else say("%s %ld\n", what, result);
}

static int at(const char *name, int flags) {
    int fd = open(name, O_CREAT | O_RDWR | flags, 0600);
    if (fd < 0) die(name);
    return fd;
}

/* Writes blocks until there is no more room. */
static void fill(const char *what, int fd, size_t each) {
    long sum = 0, n;
    while ((n = write(fd, data, each)) > 0) sum += n;
    int error = errno;
    say("%s %ld %s\n", what, sum, n < 0 ? name_of(error) : "0");
}

int main(int argc, char **argv) {
    if (argc < 2 || chdir(argv[1]) != 0) die("chdir");
    memset(data, 'x', sizeof data);
    int a = at("a", 0);
    told("whole", write(a, data, 10 * BLOCK));
    told("small", write(a, data, 100));
    fill("fill", a, 7 * BLOCK);
    told("overwrite", pwrite(a, data, 20 * BLOCK, 0));
    told("beyond", pwrite(a, data, BLOCK, 1000 * BLOCK));
    told("ftruncate", ftruncate(a, 8 * BLOCK));
    struct iovec parts[2] = {{data, 3 * BLOCK}, {data, 3 * BLOCK}};
    lseek(a, 0, SEEK_END);
    told("writev", writev(a, parts, 2));
    told("pwritev", pwritev(a, parts, 2, 14 * BLOCK));
    int b = at("b", O_APPEND);
    fill("append", b, 5000);
    told("unlink", unlink("a"));
    told("nameless", write(b, data, BLOCK));
    close(a);
    fill("closed", b, 3 * BLOCK);
    close(b);
    b = at("b", O_TRUNC);
    told("emptied", write(b, data, 30 * BLOCK));
    int c = at("c", 0);
    fill("third", c, 2 * BLOCK);
    told("rename", rename("c", "b"));
    close(b);
    int d = at("d", 0);
    told("fallocate", fallocate(d, 0, 0, 20 * BLOCK));
    told("within", write(d, data, 20 * BLOCK));
    told("too much", fallocate(d, 0, 20 * BLOCK, 60 * BLOCK));
    told("punch", fallocate(d, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * BLOCK, 8 * BLOCK));
    fill("rest", d, 4 * BLOCK);
    told("into the hole", pwrite(d, data, 10 * BLOCK, 3 * BLOCK));
    close(c);
    told("unlink", unlink("b"));
    int e = at("e", 0);
    off_t from = 0;
    told("sendfile", sendfile(e, d, &from, 16 * BLOCK));
    told("again", sendfile(e, d, &from, 16 * BLOCK));
    told("offset", from);
    from = 0;
    told("copy", copy_file_range(d, &from, e, NULL, 64 * BLOCK, 0));
    told("offset", from);
    told("truncate", truncate("d", BLOCK));
    fill("last", e, 9 * BLOCK);
    struct stat stat;
    for (const char *name = "abcde"; *name; name++) {
        char path[2] = {*name, 0};
        if (lstat(path, &stat) == 0) told(path, stat.st_size);
    }
    return 0;
}
