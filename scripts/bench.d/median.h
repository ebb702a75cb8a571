// What the guests that measure single calls share.
#pragma once
#include <stdlib.h>
#include <time.h>

/// ns of the monotonic clock.
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static int order(const void *a, const void *b) {
    double one = *(const double *)a, other = *(const double *)b;
    return (one > other) - (one < other);
}

/// Of so many costs.
static double median(double *cost, long n) {
    qsort(cost, (size_t)n, sizeof *cost, order);
    return cost[n / 2];
}
