/* processes | threads [WAYS...]: makes as many as it gets, at most 60, one by each way in turn, and says how many and
   with which error it ended. zombies: processes that end at once and are not waited for; then they are, and one more is
   made. */
#include "guest.h"
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <threads.h>

enum { MOST = 60 };
static char *sleep_argv[] = {"sleep", "100", NULL};
extern char **environ;

static void *rest(void *argument) {
    for (;;) pause();
}

static int thread(const char *way) {
    pthread_t new;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    if (strcmp(way, "thrd_create") == 0) return thrd_create(&new, (thrd_start_t)rest, NULL) == thrd_error ? EAGAIN : 0;
    return pthread_create(&new, &small, rest, NULL);
}

static pid_t made[MOST];

static int process(const char *way, int at, int ends) {
    pid_t pid = -1;
    if (strcmp(way, "spawn") == 0) {
        int code = posix_spawn(&pid, "/bin/sleep", NULL, NULL, sleep_argv, environ);
        if (code) return code;
    } else if (strcmp(way, "vfork") == 0) {
        pid = vfork();
        if (pid == 0) { execv("/bin/sleep", sleep_argv); _exit(1); }
    } else {
        pid = fork();
        if (pid == 0) { if (ends) _exit(0); rest(NULL); }
    }
    if (pid < 0) return errno;
    made[at] = pid;
    return 0;
}

int main(int argc, char **argv) {
    int threads = strcmp(argv[1], "threads") == 0, zombies = strcmp(argv[1], "zombies") == 0;
    int count = 0, error = 0;
    while (count < MOST) {
        const char *way = argc > 2 ? argv[2 + count % (argc - 2)] : "";
        error = threads ? thread(way) : process(way, count, zombies);
        if (error) break;
        count++;
    }
    say("%d %s\n", count, name_of(error));
    if (zombies) {
        while (wait(NULL) > 0) {}
        say("%s\n", name_of(process("fork", 0, 1)));
        wait(NULL);
        return 0;
    }
    for (int i = 0; i < count && !threads; i++) kill(made[i], SIGKILL);
    while (wait(NULL) > 0) {}
    _exit(0);
}
