/* Two threads wait for shells at the same time; the environment is afterwards what it was. */
#include "guest.h"
#include <pthread.h>

extern char **environ;

static void *shell(void *command) {
    return system(command) == 0 ? NULL : command;
}

int main(void) {
    pthread_t first, second;
    void *failed[2];
    char **before = environ;
    pthread_create(&first, NULL, shell, "sleep 0.2");
    usleep(50000);
    pthread_create(&second, NULL, shell, "sleep 0.4");
    pthread_join(first, &failed[0]);
    pthread_join(second, &failed[1]);
    say("%s %s %s", failed[0] || failed[1] ? "failed" : "done", environ == before ? "same" : "other",
        getenv("LD_PRELOAD") || getenv("_CHAOS_SESSION") ? "traces" : "clean");
    return 0;
}
