/* A little of everything, in one thread and by calls that every libc makes the same way, so that the same seed must give
   the same faults whatever the libc. Then what is inherited: a thread, forks, execs. */
#include "guest.h"
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

extern char **environ;

static void reads(const char *who, int times) {
    int fd = -1;
    for (int i = 0; i < 100 && fd < 0; i++) fd = open("data.bin", O_RDONLY);
    say("%s:", who);
    for (int i = 0; i < times; i++) {
        char byte;
        ssize_t got = read(fd, &byte, 1);
        say(" %s", got == 1 ? "ok" : name_of(errno));
    }
    say("\n");
    close(fd);
}

static void *thread(void *unused) {
    (void)unused;
    reads("thread", 20);
    return NULL;
}

static void calls(void) {
    say("open:");
    for (int i = 0; i < 20; i++) {
        int fd = open("data.bin", O_RDONLY);
        say(" %s", fd >= 0 ? "ok" : name_of(errno));
        if (fd >= 0) close(fd);
    }
    say("\nmalloc:");
    for (int i = 0; i < 20; i++) {
        void *memory = malloc(100 + i);
        say(" %s", memory ? "ok" : name_of(errno));
        free(memory);
    }
    say("\nconnect:");
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "nobody"};
    for (int i = 0; i < 10; i++) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        connect(fd, (void *)&address, sizeof address);
        say(" %s", name_of(errno));
        close(fd);
    }
    say("\n");
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "environment")) {
        for (char **entry = environ; *entry; entry++) say("%s\n", *entry);
        return 0;
    }
    if (argc > 1) {
        reads(argv[1], 20);
        return 0;
    }
    calls();
    reads("main", 20);
    pthread_t other;
    if (pthread_create(&other, NULL, thread, NULL) || pthread_join(other, NULL)) die("pthread_create");
    pid_t child = fork();
    if (!child) {
        reads("fork", 20);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    child = vfork();
    if (!child) {
        execl(argv[0], argv[0], "execl", (char *)NULL);
        _exit(127);
    }
    waitpid(child, NULL, 0);
    char *none[] = {NULL}, *arguments[] = {argv[0], "spawned without an environment", NULL};
    if (posix_spawn(&child, argv[0], NULL, NULL, arguments, none)) die("posix_spawn");
    waitpid(child, NULL, 0);
    char line[4096];
    snprintf(line, sizeof line, "'%s' 'by a shell'", argv[0]);
    return system(line);
}
