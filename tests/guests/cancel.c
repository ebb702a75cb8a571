/* Cancels threads that block in read, accept and waitpid; their cleanups must run, and later reads must still be hit. */
#include "guest.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <signal.h>
#include <sys/wait.h>

static int pipes[2], server, cleaned;
static pid_t child;

static void cleanup(void *unused) { (void)unused; cleaned++; }

static void *block(void *where) {
    char byte;
    pthread_cleanup_push(cleanup, NULL);
    if ((long)where == 0) (void)!read(pipes[0], &byte, 1);
    if ((long)where == 1) accept(server, NULL, NULL);
    if ((long)where == 2) waitpid(child, NULL, 0);
    pthread_cleanup_pop(0);
    return NULL;
}

int main(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    server = socket(AF_INET, SOCK_STREAM, 0);
    if (pipe(pipes) || bind(server, (void *)&address, sizeof address) || listen(server, 1)) die("set up");
    if ((child = fork()) == 0) { pause(); _exit(0); }
    int cancelled = 0;
    for (long where = 0; where < 3; where++) {
        pthread_t thread;
        void *result;
        pthread_create(&thread, NULL, block, (void *)where);
        usleep(50000);
        pthread_cancel(thread);
        pthread_join(thread, &result);
        cancelled += result == PTHREAD_CANCELED;
    }
    kill(child, 9);
    int fd = open("data.bin", O_RDONLY), failed = 0;
    char byte;
    for (int i = 0; i < 10; i++) failed += read(fd, &byte, 1) < 0;
    say("cancelled %d cleaned %d failed %d\n", cancelled, cleaned, failed);
    return 0;
}
