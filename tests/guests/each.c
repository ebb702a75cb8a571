/* One call of each kind, in order, and what the world looks like afterwards: "CALL RESULT ERRNO". */
#include "guest.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

static void told(const char *call, long result) { say("%s %ld %s\n", call, result, result < 0 ? name_of(errno) : "0"); }

int main(void) {
    char bytes[64];
    int fd = open("each.out", O_CREAT | O_TRUNC | O_RDWR, 0600);
    told("open", fd < 0 ? -1 : 0);
    memset(bytes, 'A', sizeof bytes);
    told("write", write(fd, bytes, sizeof bytes));
    lseek(fd, 0, SEEK_SET);
    memset(bytes, 0, sizeof bytes);
    long n = read(fd, bytes, sizeof bytes);
    told("read", n);
    int changed = 0;
    for (long i = 0; i < n; i++) changed += __builtin_popcount((unsigned char)(bytes[i] ^ 'A'));
    say("changed %d\n", changed);
    told("fsync", fsync(fd));
    int status = -1, pid = fork();
    if (pid == 0) _exit(7);
    told("fork", pid > 0 ? 0 : -1);
    if (pid > 0) wait(&status);
    say("child %d\n", WEXITSTATUS(status));
    told("sbrk", sbrk(1 << 20) == (void *)-1 ? -1 : 0);
    told("mmap", mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
    return 0;
}
