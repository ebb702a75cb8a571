/* Says what the libraries beside the shim have done: whose allocator this is, what year, what LD_PRELOAD. With the
   argument "overflow" it writes beyond its memory, which AddressSanitizer must notice. */
#include "guest.h"
#include <fcntl.h>
#include <stdint.h>

extern int mallctl(const char *name, void *old, size_t *size, void *new, size_t new_size) __attribute__((weak));

int main(int count, char **arguments) {
    volatile char *memory = malloc(16);
    char byte;
    if (!memory) die("malloc");
    uint64_t allocated = 0;
    size_t size = sizeof allocated;
    if (mallctl) mallctl("thread.allocated", &allocated, &size, NULL, 0);
    int fd = open("data.bin", O_RDONLY), failed = 0;
    for (int i = 0; i < 10; i++) failed += pread(fd, &byte, 1, i) != 1;
    time_t now = time(NULL);
    const char *preload = getenv("LD_PRELOAD");
    say("%s allocator, year %d, %d failed, LD_PRELOAD %s\n", allocated >= 16 ? "another" : "libc's",
        gmtime(&now)->tm_year + 1900, failed, preload ? preload : "unset");
    if (count > 1 && !strcmp(arguments[1], "overflow")) memory[16] = 1;
    free((void *)memory);
    return 0;
}
