/* launch FORM EXTRA PROGRAM FILE: starts PROGRAM with FILE and EXTRA further arguments, by the form named; with a `0:`
   before the form, in an empty environment where the form takes one. A `~` before the program's name stands for its
   directory being on PATH. Ends as the program ends. */
#include "guest.h"
#include <fcntl.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

extern char **environ;

static char *arguments[32];
static char *const nothing[] = {NULL};

#define IS(form) (strcmp(name, form) == 0)
#define LIST0 program, arguments[0], arguments[1]
#define LIST20 LIST0, "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t"

static void become(const char *name, int extra, char *program, char **environment) {
    if (IS("execve")) execve(program, arguments, environment);
    if (IS("execv")) execv(program, arguments);
    if (IS("execvp")) execvp(program, arguments);
    if (IS("execvpe")) execvpe(program, arguments, environment);
    if (IS("execl") && extra == 0) execl(LIST0, NULL);
    if (IS("execl") && extra == 1) execl(LIST0, "a", NULL);
    if (IS("execl") && extra == 20) execl(LIST20, NULL);
    if (IS("execlp") && extra == 0) execlp(LIST0, NULL);
    if (IS("execlp") && extra == 20) execlp(LIST20, NULL);
    if (IS("execle") && extra == 0) execle(LIST0, NULL, environment);
    if (IS("execle") && extra == 1) execle(LIST0, "a", NULL, environment);
    if (IS("execle") && extra == 20) execle(LIST20, NULL, environment);
    if (IS("fexecve")) fexecve(open(program, O_RDONLY | O_CLOEXEC), arguments, environment);
    if (IS("execveat")) execveat(AT_FDCWD, program, arguments, environment, 0);
    if (IS("execveat-fd")) execveat(open(program, O_PATH), "", arguments, environment, AT_EMPTY_PATH);
    if (IS("syscall")) syscall(SYS_execve, program, arguments, environment);
    die(name);
}

static int wait_for(pid_t pid) {
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) die("waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv) {
    if (argc != 5) return 98;
    char **environment = environ;
    const char *name = argv[1];
    if (strncmp(name, "0:", 2) == 0) {
        environment = (char **)nothing;
        name += 2;
    }
    int extra = atoi(argv[2]);
    char *program = argv[3];
    arguments[0] = program;
    arguments[1] = argv[4];
    for (int i = 0; i < extra; i++) arguments[2 + i] = "x";

    char line[4096];
    snprintf(line, sizeof line, "%s %s", program, argv[4]);
    if (IS("system")) {
        int status = system(line);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 97;
    }
    if (IS("popen")) {
        FILE *pipe = popen(line, "r");
        if (!pipe) die("popen");
        while (fgets(line, sizeof line, pipe)) say("%s", line);
        return pclose(pipe);
    }
    pid_t pid;
    if (IS("posix_spawn") || IS("posix_spawnp")) {
        int error = IS("posix_spawn") ? posix_spawn(&pid, program, NULL, NULL, arguments, environment)
                                      : posix_spawnp(&pid, program, NULL, NULL, arguments, environment);
        errno = error;
        if (error) die(name);
        return wait_for(pid);
    }
    if (strncmp(name, "fork+", 5) == 0) {
        if ((pid = fork()) == 0) become(name + 5, extra, program, environment);
        return wait_for(pid);
    }
    if (strncmp(name, "vfork+", 6) == 0) {
        if ((pid = vfork()) == 0) {
            execve(program, arguments, environment);
            _exit(97);
        }
        return wait_for(pid);
    }
    become(name, extra, program, environment);
}
