/* Crashes, in the way that it is told: its functions are in the backtrace. */
#include "guest.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>

static int *volatile nowhere;
static sigjmp_buf back;

__attribute__((noinline)) static void innermost(int n) {
    *nowhere = n;
    __asm__ volatile("");
}
__attribute__((noinline)) static void outer(int n) {
    innermost(n + 1);
    __asm__ volatile("");
}
static void *thread(void *unused) {
    outer(1);
    return unused;
}
static void *nothing(void *unused) { return unused; }
static void caught(int signal) { siglongjmp(back, signal); }

int main(int count, char **words) {
    const char *way = count > 1 ? words[1] : "";
    int status = 0;
    if (!strcmp(way, "thread")) {
        pthread_t other;
        pthread_create(&other, NULL, thread, NULL);
        pthread_join(other, NULL);
    } else if (!strcmp(way, "child")) {
        pid_t child = fork();
        if (child == 0)
            outer(2);
        waitpid(child, &status, 0);
        printf("signal %d\n", WTERMSIG(status));
        return 3;
    } else if (!strcmp(way, "caught")) {
        /* It is used to this, as a JVM is. */
        signal(SIGSEGV, caught);
        for (int round = 0; round < 3; round++)
            if (sigsetjmp(back, 1) == 0)
                outer(round);
        puts("caught");
        return 0;
    } else if (!strcmp(way, "busy")) {
        /* Children, threads, stops and signals: who is traced must not get lost in them. */
        for (int round = 0; round < 50; round++) {
            pthread_t other;
            pthread_create(&other, NULL, nothing, NULL);
            pthread_join(other, NULL);
            pid_t child = fork();
            if (child == 0) {
                raise(SIGSTOP);
                execl("/bin/true", "true", NULL);
                _exit(9);
            }
            if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status))
                return 4;
            kill(child, SIGCONT);
            if (waitpid(child, &status, 0) != child || status != 0)
                return 5;
        }
        puts("done");
        return 0;
    } else if (!strcmp(way, "hang")) {
        for (;;)
            pause();
    }
    outer(0);
    return 0;
}
