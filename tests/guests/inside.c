/* inside WORD...: what chaos.h says to each word; `read` reads a byte of data.bin. Without the shim every answer is that
   nothing happens. */
#include "guest.h"
#include "../../shim/include/chaos.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>

static int fd;

static const char *try_read(void) {
    char byte;
    return pread(fd, &byte, 1, 0) < 0 ? name_of(errno) : "ok";
}

static void *in_thread(void *said) {
    *(const char **)said = try_read();
    return NULL;
}

static int answer(const char *word, const char *argument) {
    double value = -7;
    if (!strcmp(word, "enable")) return chaos_enable();
    if (!strcmp(word, "disable")) return chaos_disable();
    if (!strcmp(word, "begin")) return chaos_begin(argument);
    if (!strcmp(word, "end")) return chaos_end();
    if (!strcmp(word, "mark")) return chaos_mark(argument);
    if (!strcmp(word, "event")) return chaos_event("store", argument, "data");
    if (!strcmp(word, "metric")) return chaos_metric(argument, 0.25);
    if (!strcmp(word, "set")) return chaos_set("1", argument);
    if (!strcmp(word, "fail")) return chaos_fail(argument);
    if (!strcmp(word, "recovery_begin")) return chaos_recovery_begin(argument);
    if (!strcmp(word, "recovery_end")) return chaos_recovery_end(argument, 1);
    if (!strcmp(word, "injections")) return (int)chaos_injections();
    if (!strcmp(word, "get")) return chaos_get(NULL, argument, &value) ? -1 : (int)value;
    return -99;
}

int main(int argc, char **argv) {
    fd = open("data.bin", O_RDONLY);
    for (int i = 1; i < argc; i++) {
        char *argument = strchr(argv[i], ':');
        if (argument) *argument++ = 0;
        errno = 77;
        if (!strcmp(argv[i], "read")) say("read %s\n", try_read());
        else if (!strcmp(argv[i], "error")) say("error %s\n", chaos_error());
        else if (!strcmp(argv[i], "thread")) {
            pthread_t id;
            const char *said = "?";
            pthread_create(&id, NULL, in_thread, &said);
            pthread_join(id, NULL);
            say("thread %s\n", said);
        } else if (!strcmp(argv[i], "fork")) {
            if (fork() == 0) {
                say("child %s\n", try_read());
                _exit(0);
            }
            wait(NULL);
        } else {
            int code = answer(argv[i], argument);
            say("%s %d%s\n", argv[i], code, errno == 77 ? "" : " and errno was changed");
        }
    }
    return 0;
}
