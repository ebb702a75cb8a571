/* C streams. stdio MODE ..., see below; speaks by bare system calls. */
#include "guest.h"
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio_ext.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <wchar.h>

#define IS(call) (strcmp(name, #call) == 0)

static char buffer[8192];
/* Not known to the compiler, so that it checks it when fortified. */
static volatile int room = 64;

/* One call of reading: how many bytes came to `buffer`, -1 when it failed. */
static long take(const char *name, FILE *from) {
    static char *line;
    static size_t size;
    int byte;
    if (IS(fread)) return (long)fread(buffer, 1, (size_t)room, from) ?: -1;
    if (IS(fread_items)) return (long)(fread(buffer, 16, (size_t)room / 16, from) * 16) ?: -1;
    if (IS(fread_unlocked)) return (long)fread_unlocked(buffer, 1, (size_t)room, from) ?: -1;
    if (IS(fgets)) return fgets(buffer, room, from) ? (long)strlen(buffer) : -1;
    if (IS(fgets_unlocked)) return fgets_unlocked(buffer, room, from) ? (long)strlen(buffer) : -1;
    if (IS(getc)) byte = getc(from);
    else if (IS(fgetc)) byte = fgetc(from);
    else if (IS(getc_unlocked)) byte = getc_unlocked(from);
    else if (IS(fgetwc)) byte = (int)fgetwc(from);
    else if (IS(fscanf)) byte = fscanf(from, "%c", buffer) == 1 ? buffer[0] : EOF;
    else {
        long got = IS(getline) ? getline(&line, &size, from) : getdelim(&line, &size, '5', from);
        if (got > 0) memcpy(buffer, line, (size_t)got);
        return got;
    }
    buffer[0] = (char)byte;
    return byte == EOF ? -1 : 1;
}

static int by_list(FILE *to, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int result = vfprintf(to, format, arguments);
    va_end(arguments);
    return result;
}

/* One call of writing: how many bytes of `text` were taken, -1 when it failed. */
static long give(const char *name, const char *text, FILE *to) {
    long size = (long)strlen(text), done;
    if (IS(fwrite)) return fwrite(text, 1, (size_t)size, to) == (size_t)size ? size : -1;
    if (IS(fwrite_unlocked)) return fwrite_unlocked(text, 1, (size_t)size, to) == (size_t)size ? size : -1;
    if (IS(fputs)) done = fputs(text, to);
    else if (IS(fputs_unlocked)) done = fputs_unlocked(text, to);
    else if (IS(fprintf)) return fprintf(to, "%s", text) == size ? size : -1;
    else if (IS(fprintf_many)) return fprintf(to, "%.3s%.1f %c%c%d%c%s", "abcdef", 1.5, text[0], text[1], 7, text[2], text + 3) + 0L;
    else if (IS(fprintf_stack)) return fprintf(to, "%c%d%s%d%d%.1f%s%d%s", '<', 1, "two", 3, 4, 5.5, text, 6, ">") + 0L;
    else if (IS(vfprintf)) return by_list(to, "%s%d%.1f", text, 6, 7.5) + 0L;
    else if (IS(dprintf)) return dprintf(fileno(to), "%s", text) == size ? size : -1;
    else if (IS(putc)) return putc(text[0], to) == EOF ? -1 : 1;
    else if (IS(fputc)) return fputc(text[0], to) == EOF ? -1 : 1;
    else if (IS(putc_unlocked)) return putc_unlocked(text[0], to) == EOF ? -1 : 1;
    else return fputwc((wchar_t)text[0], to) == WEOF ? -1 : 1;
    return done < 0 ? -1 : size;
}

/* once read|write CALL FILE: one call on an unbuffered stream, and what it left behind. */
static void once(const char *kind, const char *name, const char *path) {
    FILE *stream = fopen(path, *kind == 'r' ? "r" : "w");
    if (!stream) die(path);
    setvbuf(stream, NULL, _IONBF, 0);
    errno = 0;
    long result = *kind == 'r' ? take(name, stream) : give(name, "text", stream);
    int error = errno, failed = ferror(stream) != 0, ended = feof(stream) != 0;
    clearerr(stream);
    say("%s %ld %s error %d end %d cleared %d\n", name, result, name_of(error), failed, ended, !ferror(stream));
}

/* flush CALL FILE: a call that writes what waits; a second one; and the end. */
static void flush(const char *name, const char *path) {
    FILE *stream = fopen(path, "w");
    if (!stream) die(path);
    for (const char *at = "lost\n"; *at; at++) putc_unlocked(*at, stream);
    for (int turn = 1; turn <= 2; turn++) {
        errno = 0;
        int result = IS(fclose) ? fclose(stream) : IS(fseek) ? fseek(stream, 0, SEEK_SET) : fflush(stream);
        int error = errno;
        if (IS(fclose)) {
            say("fclose %d %s\n", result, name_of(result ? error : 0));
            return;
        }
        say("%s %d %s error %d end %d waiting %zu\n", name, result, name_of(result ? error : 0), ferror(stream) != 0,
            feof(stream) != 0, __fpending(stream));
    }
}

/* readall CALL FILE: all of a file, in spite of failures; says how many, and copies what came to stdout. */
static void readall(const char *name, const char *path) {
    FILE *from = fopen(path, "r");
    if (!from) die(path);
    int failures = 0, wrong = 0;
    for (;;) {
        errno = 0;
        long got = take(name, from);
        if (got > 0) bare_write(1, buffer, (size_t)got);
        /* fread says by a short count that something was wrong. */
        if (feof(from)) break;
        if (got > 0) continue;
        failures++;
        wrong += !ferror(from) || errno != EIO;
        clearerr(from);
        wrong += ferror(from);
    }
    say("\n%d failures, %d wrong\n", failures, wrong);
}

/* writeall CALL FILE: two thousand lines, each piece again when it failed. */
static void writeall(const char *name, const char *path) {
    FILE *to = fopen(path, "w");
    if (!to) die(path);
    int failures = 0, wrong = 0;
    for (int number = 0; number < 2000; number++) {
        char line[32];
        snprintf(line, sizeof line, "line %d\n", number);
        for (const char *at = line; *at;) {
            errno = 0;
            long taken = give(name, at, to);
            if (taken > 0) {
                at += IS(fprintf_many) ? (long)strlen(at) : taken;
                continue;
            }
            failures++;
            wrong += (!ferror(to) && !IS(dprintf)) || feof(to) || errno != ENOSPC;
            clearerr(to);
            wrong += ferror(to);
        }
    }
    if (fclose(to)) die("fclose");
    say("%d failures, %d wrong\n", failures, wrong);
}

/* until BUFFER CALL FILE: calls until one fails, and which. Of the texts some are longer than a small buffer, and some
   end a line. */
static void until(const char *how, const char *name, const char *path) {
    static char own[4096];
    FILE *to = fopen(path, "w");
    if (!to) die(path);
    if (*how == 'l') setvbuf(to, own, _IOLBF, sizeof own);
    if (*how == 'n') setvbuf(to, NULL, _IONBF, 0);
    if (*how == 's') setvbuf(to, own, _IOFBF, 200);
    for (int number = 0; number < 10000; number++) {
        char text[400] = {0};
        memset(text, 'a' + number % 26, (size_t)(number % 11 == 10 ? 310 : 4 + number * 37 % 97));
        if (number > 50 && number % 13 == 12) text[0] = text[3] = '\n';
        if (give(name, text, to) < 0) {
            say("failed at %d, %s\n", number, name_of(errno));
            return;
        }
    }
    say("never failed\n");
}

/* pipe CALL [nonblock]: a call on a pipe that has nothing to read, or room to write. */
static void through_pipe(const char *name, int nonblocking) {
    int ends[2];
    if (pipe(ends)) die("pipe");
    if (nonblocking) fcntl(ends[0], F_SETFL, O_NONBLOCK);
    if (!nonblocking) bare_write(ends[1], "one\ntwo\n", 8);
    FILE *from = fdopen(ends[0], "r"), *to = fdopen(ends[1], "w");
    if (!from || !to) die("fdopen");
    errno = 0;
    if (IS(fputs) || IS(fflush)) {
        int result = fputs("text", to);
        if (IS(fflush)) result = fflush(to);
        say("%s %d %s error %d\n", name, result < 0 ? -1 : 0, name_of(result < 0 ? errno : 0), ferror(to) != 0);
        return;
    }
    for (int turn = 0; turn < 2; turn++) {
        char *line = fgets(buffer, room, from);
        say("fgets %s %s error %d end %d\n", line ? "line" : "NULL", name_of(line ? 0 : errno), ferror(from) != 0,
            feof(from) != 0);
        clearerr(from);
    }
}

/* peer: a stream over a connection to 127.0.0.1; two lines out, then one in within half a second. */
static void peer(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval soon = {.tv_usec = 500000};
    socklen_t size = sizeof address;
    int server = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(server, (void *)&address, size) || listen(server, 1)) die("listen");
    getsockname(server, (void *)&address, &size);
    if (connect(client, (void *)&address, size)) die("connect");
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
    signal(SIGPIPE, SIG_IGN);
    FILE *to = fdopen(client, "w"), *from = fdopen(client, "r");
    for (int turn = 0; turn < 2; turn++) {
        errno = 0;
        int result = fputs("line\n", to) < 0 ? -1 : fflush(to);
        say("out %d %s error %d\n", result, name_of(result ? errno : 0), ferror(to) != 0);
    }
    errno = 0;
    char *line = fgets(buffer, room, from);
    say("in %s %s error %d end %d\n", line ? "line" : "NULL", name_of(errno), ferror(from) != 0, feof(from) != 0);
}

static void interrupted(int signal) { (void)signal; }

/* alarm: a handler without SA_RESTART runs while fgets waits for a pipe. */
static void alarmed(void) {
    int ends[2];
    struct sigaction action = {.sa_handler = interrupted};
    if (pipe(ends)) die("pipe");
    bare_write(ends[1], "line\n", 5);
    FILE *from = fdopen(ends[0], "r");
    sigaction(SIGALRM, &action, NULL);
    ualarm(100000, 50000);
    errno = 0;
    char *line = fgets(buffer, room, from);
    int error = errno;
    ualarm(0, 0);
    say("%s %s error %d\n", line ? "line" : "NULL", name_of(line ? 0 : error), ferror(from) != 0);
}

/* memory: streams without a descriptor. */
static void in_memory(void) {
    char *text = NULL;
    size_t size = 0;
    FILE *from = fmemopen("one\ntwo\n", 8, "r"), *to = open_memstream(&text, &size);
    errno = 7;
    int good = fgets(buffer, room, from) && fgets(buffer, room, from) && fputs("three", to) >= 0;
    good = good && fprintf(to, "%d", 4) == 1 && fflush(to) == 0 && putc('5', to) == '5' && errno == 7;
    good = good && fclose(to) == 0 && fclose(from) == 0 && strcmp(text, "three45") == 0;
    say("%s\n", good ? "good" : "bad");
}

/* end FILE: what comes after the end was read. */
static void at_end(const char *path) {
    FILE *from = fopen(path, "r");
    while (getc(from) != EOF) {}
    clearerr(from);
    (void)getc(from);
    errno = 0;
    int byte = getc(from), error = errno;
    char *line = fgets(buffer, room, from);
    say("getc %d %s error %d end %d fgets %s\n", byte, name_of(error), ferror(from) != 0, feof(from) != 0, line ? "line" : "NULL");
}

/* closes FILE: fclose that fails still closes. */
static void closes(const char *path) {
    int failed = 0, open = 0;
    for (int i = 0; i < 50; i++) {
        FILE *stream = fopen(path, "r");
        if (!stream) die(path);
        failed += fclose(stream) != 0;
    }
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir)) open++;
    say("failed %d, left open %d\n", failed, open > 20);
}

/* standard: the streams on descriptors 0 and 1. */
static void standard(void) {
    char *line = fgets(buffer, room, stdin);
    int put = puts("text"), printed = printf("%d\n", 7);
    int flushed = fflush(stdout);
    say("fgets %s puts %d printf %d fflush %d\n", line ? "line" : "NULL", put < 0 ? -1 : 0, printed, flushed);
}

/* open: streams until no descriptor is left, then one given back and taken again by freopen. */
static void open_many(const char *path) {
    FILE *last = NULL;
    int count = 0;
    for (FILE *one; count < 1000 && (one = fopen(path, "r")); count++) last = one;
    const char *many = count && count < 1000 ? name_of(errno) : "none";
    say("%s after some, freopen %s\n", many, freopen(path, "r", last) ? "works" : name_of(errno));
}

/* reopen FILE: a freopen that fails, and whether the descriptor below is still open. */
static void reopen(const char *path) {
    FILE *stream = fopen("data.bin", "r");
    int fd = fileno(stream);
    errno = 0;
    FILE *again = freopen(path, "r", stream);
    const char *error = name_of(errno);
    say("%s %s, descriptor %s\n", again ? "works" : "NULL", error, fcntl(fd, F_GETFD) < 0 ? "closed" : "open");
}

static int cleaned;

static void cleanup(void *unused) { (void)unused, cleaned++; }

static void *reader(void *path) {
    FILE *from = fopen(path, "r");
    pthread_cleanup_push(cleanup, NULL);
    (void)!fgets(buffer, room, from);
    pthread_cleanup_pop(0);
    return NULL;
}

/* cancel FILE: a thread that fgets holds up. */
static void cancelled(char *path) {
    pthread_t thread;
    void *result;
    pthread_create(&thread, NULL, reader, path);
    usleep(200000);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    say("cancelled %d cleaned %d\n", result == PTHREAD_CANCELED, cleaned);
}

/* late FILE: sentinel errno over calls that succeed. */
static void sentinel(const char *path) {
    FILE *from = fopen(path, "r"), *to = fopen("made.txt", "w");
    errno = 77;
    int good = getc(from) != EOF && fgets(buffer, room, from) && fread(buffer, 1, 3, from) == 3;
    good = good && fputs("x", to) >= 0 && fprintf(to, "%d", 3) == 1 && putc('x', to) == 'x' && fwrite("ab", 1, 2, to) == 2;
    good = good && fflush(to) == 0 && fclose(to) == 0 && errno == 77;
    say("%s %d\n", good ? "good" : "bad", errno);
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "", *name = mode;
    if (strcmp(mode, "once") == 0)
        for (int i = 4; i < argc; i++) once(argv[2], argv[i], argv[3]);
    else if (strcmp(mode, "flush") == 0) flush(argv[2], argv[3]);
    else if (strcmp(mode, "readall") == 0) readall(argv[2], argv[3]);
    else if (strcmp(mode, "writeall") == 0) writeall(argv[2], argv[3]);
    else if (strcmp(mode, "until") == 0) until(argv[2], argv[3], argv[4]);
    else if (strcmp(mode, "pipe") == 0) through_pipe(argv[2], argc > 3);
    else if (IS(peer)) peer();
    else if (IS(alarm)) alarmed();
    else if (IS(memory)) in_memory();
    else if (IS(end)) at_end(argv[2]);
    else if (IS(closes)) closes(argv[2]);
    else if (IS(standard)) standard();
    else if (IS(open)) open_many(argv[2]);
    else if (IS(reopen)) reopen(argv[2]);
    else if (IS(cancel)) cancelled(argv[2]);
    else if (IS(sentinel)) sentinel(argv[2]);
    else return 98;
    return 0;
}
