/* Eight coroutines on stacks of 16 KB take turns between calls on which there are rules: a thread that changes stacks
   under us. Says how many calls there were and how many failed. */
#include "guest.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { COUNT = 8, TURNS = 200 };
static ucontext_t home, all[COUNT];
static int calls, failed;

static void next(int me) { swapcontext(&all[me], &all[(me + 1) % COUNT]); }

static void run(int me) {
    for (int turn = 0; turn < TURNS; turn++) {
        char data[64];
        int fd = open("data.bin", O_RDONLY);
        next(me);
        failed += fd < 0;
        failed += pread(fd, data, sizeof data, 0) < 0 && fd >= 0;
        next(me);
        void *memory = malloc(100);
        failed += memory == NULL;
        free(memory);
        close(fd);
        calls++;
    }
    /* The last one goes home, the others for ever on to the next. */
    if (calls == COUNT * TURNS) setcontext(&home);
    for (;;) next(me);
}

int main(void) {
    volatile int began = 0;
    for (int i = 0; i < COUNT; i++) {
        getcontext(&all[i]);
        char *stack = mmap(NULL, 20480, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        /* What grows beyond it meets this page. */
        mprotect(stack, 4096, PROT_NONE);
        all[i].uc_stack = (stack_t){.ss_sp = stack + 4096, .ss_size = 16384};
        makecontext(&all[i], (void (*)(void))run, 1, i);
    }
    getcontext(&home);
    if (!began) {
        began = 1;
        setcontext(&all[0]);
    }
    say("%d rounds, failed %d\n", calls, failed);
    return 0;
}
