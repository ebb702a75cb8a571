/* bydescriptor HOW PROGRAM ARGUMENT...: becomes the program, by way of a descriptor of it or of its directory. */
#include "guest.h"
#include <fcntl.h>
#include <libgen.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

extern char **environ;

int main(int argc, char **argv) {
    const char *how = argc > 2 ? argv[1] : "";
    char *program = argc > 2 ? argv[2] : "";
    char name[4096];
    int fd = open(program, O_PATH | O_CLOEXEC);
    if (!strcmp(how, "fexecve")) fexecve(fd, argv + 2, environ);
    if (!strcmp(how, "empty")) execveat(fd, "", argv + 2, environ, AT_EMPTY_PATH);
    if (!strcmp(how, "path")) execveat(AT_FDCWD, program, argv + 2, environ, 0);
    if (!strcmp(how, "below")) {
        snprintf(name, sizeof name, "%s", program);
        int dir = open(dirname(name), O_PATH | O_DIRECTORY | O_CLOEXEC);
        execveat(dir, strrchr(program, '/') + 1, argv + 2, environ, 0);
    }
    if (!strcmp(how, "memory")) {
        /* It has no path at all. */
        struct stat stat;
        int from = open(program, O_RDONLY), file = memfd_create("guest", MFD_CLOEXEC);
        if (fstat(from, &stat) || sendfile(file, from, NULL, (size_t)stat.st_size) != stat.st_size) die("sendfile");
        fexecve(file, argv + 2, environ);
    }
    die(how);
}
