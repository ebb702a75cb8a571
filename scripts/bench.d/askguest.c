// What a call costs that the seccomp engine is asked about. `askguest MODE N` prints one number: the median of N calls in
// ns, not pinned, since who is woken where is part of the cost. Built static, as what the engine is for.
#define _GNU_SOURCE
#include "median.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int count, char **words) {
    const char *mode = count > 1 ? words[1] : "";
    long n = count > 2 ? atol(words[2]) : 20000;
    double *cost = calloc((size_t)n, sizeof *cost);
    // The launcher's own place is no place of a rule: a file where the program stands.
    int fd = open("askguest.data", O_RDWR | O_CREAT, 0600);
    char byte = 'x';
    if (fd < 0 || !cost || write(fd, &byte, 1) != 1) return 1;
    for (long i = 0; i < n; i++) {
        double begun = now();
        if (!strcmp(mode, "read")) {
            if (pread(fd, &byte, 1, 0) != 1) return 1;
        } else if (!strcmp(mode, "open")) {
            int other = open("askguest.data", O_RDONLY);
            cost[i] = now() - begun;
            if (other < 0) return 1;
            close(other);
            continue;
        } else {
            // A hundred at once: one is as short as the clock's own reading.
            for (int j = 0; j < 100; j++) syscall(SYS_getppid);
            cost[i] = (now() - begun) / 100;
            continue;
        }
        cost[i] = now() - begun;
    }
    unlink("askguest.data");
    printf("%.1f\n", median(cost, n));
    return 0;
}
