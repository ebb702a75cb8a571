/* loop N [-t THREADS] [-p PROCESSES] [-s MICROSECONDS] [-f FILE]: reads a byte N times, sleeping in between, in so
   many threads of so many forked processes. Each worker says "PROCESS.THREAD: ERRNO@INDEX ..." for what failed. */
#include "guest.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>

static long count, pause_us;
static int process;
static const char *path = "data.bin";

static void *work(void *argument) {
    char line[4000];
    int size = snprintf(line, sizeof line, "%d.%ld:", process, (long)argument);
    int fd = open(path, O_RDONLY);
    if (fd < 0) die(path);
    for (long i = 1; i <= count; i++) {
        char byte;
        errno = 0;
        if (read(fd, &byte, 1) < 0 && size < (int)sizeof line - 40)
            size += snprintf(line + size, sizeof line - size, " %s@%ld", name_of(errno), i);
        lseek(fd, 0, SEEK_SET);
        if (pause_us) usleep(pause_us);
    }
    say("%s\n", line);
    return NULL;
}

int main(int argc, char **argv) {
    long threads = 0, processes = 0;
    int option;
    while ((option = getopt(argc, argv, "t:p:s:f:")) != -1) {
        if (option == 't') threads = atol(optarg);
        else if (option == 'p') processes = atol(optarg);
        else if (option == 's') pause_us = atol(optarg);
        else if (option == 'f') path = optarg;
        else return 98;
    }
    count = atol(argv[optind]);
    for (int i = 1; i <= processes; i++) {
        if (fork() == 0) { process = i; break; }
    }
    if (!processes || process) {
        pthread_t ids[64];
        for (long i = 0; i < threads; i++)
            if (pthread_create(&ids[i], NULL, work, (void *)i)) die("pthread_create");
        for (long i = 0; i < threads; i++) pthread_join(ids[i], NULL);
        if (!threads) work((void *)0);
        if (process) _exit(0);
    }
    while (wait(NULL) > 0) { }
    return 0;
}
