/* The calls on C streams, for `calls.c`. */
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <wchar.h>

size_t __fread_chk(void *, size_t, size_t, size_t, FILE *);
size_t __fread_unlocked_chk(void *, size_t, size_t, size_t, FILE *);
char *__fgets_chk(char *, size_t, int, FILE *);
char *__fgets_unlocked_chk(char *, size_t, int, FILE *);
int __uflow(FILE *);
int __overflow(FILE *, int);
int _IO_getc(FILE *);
int _IO_putc(int, FILE *);
ssize_t __getdelim(char **, size_t *, int, FILE *);
int __fprintf_chk(FILE *, int, const char *, ...);
int __printf_chk(int, const char *, ...);
int __vfprintf_chk(FILE *, int, const char *, va_list);
int __vprintf_chk(int, const char *, va_list);
int __dprintf_chk(int, int, const char *, ...);
int __vdprintf_chk(int, int, const char *, va_list);
int __isoc99_fscanf(FILE *, const char *, ...);
int __isoc99_scanf(const char *, ...);
int __isoc99_vfscanf(FILE *, const char *, va_list);
int __isoc99_vscanf(const char *, va_list);

static char words[64];

/* The stream of the last call: one that failed must have its error flag set. */
static FILE *used;
/* A failed call tells by a count. */
static int counts;

static FILE *input(void) { return stdin = used = fdopen(syscall(SYS_openat, AT_FDCWD, "data.bin", O_RDONLY), "r"); }

/* A stream to be written. */
static FILE *buffered(void) {
    stdout = used = fdopen(syscall(SYS_openat, AT_FDCWD, "made.bin", O_RDWR | O_CREAT, 0600), "w+");
    return used;
}

/* One of which every call writes. */
static FILE *output(void) {
    setvbuf(buffered(), NULL, _IONBF, 0);
    return used;
}

/* The descriptor alone: a call on it leaves the stream as it is. */
static int bare_output(void) {
    int fd = fileno(output());
    used = NULL;
    return fd;
}

static FILE *pending(void) {
    static const char *const text = "pending";
    FILE *stream = buffered();
    for (const char *at = text; *at; at++) putc_unlocked(*at, stream);
    return stream;
}

/* Names that this libc may lack, which the shim has all the same; else the older name of the same. */
static int (*newer(const char *name))() {
    int (*function)() = dlsym(RTLD_DEFAULT, name);
    char older[32] = "__isoc99_";
    return function ? function : (int (*)())dlsym(RTLD_DEFAULT, strcat(older, name + strlen(older)));
}

static long fgets_got(const char *line) { return line ? 1 : -1; }

static long counted(size_t items) {
    counts = 1;
    return (long)items;
}

static long listed(const char *name, ...) {
    long result = -2;
    va_list list;
    va_start(list, name);
    if (IS(vfprintf)) result = vfprintf(output(), "%d\n", list);
    if (IS(vprintf)) output(), result = vprintf("%d\n", list);
    if (IS(vdprintf)) result = vdprintf(bare_output(), "%d\n", list);
    if (IS(__vfprintf_chk)) result = __vfprintf_chk(output(), 1, "%d\n", list);
    if (IS(__vprintf_chk)) output(), result = __vprintf_chk(1, "%d\n", list);
    if (IS(__vdprintf_chk)) result = __vdprintf_chk(bare_output(), 1, "%d\n", list);
    va_end(list);
    return result;
}

static long scanned(const char *name, ...) {
    long result = -2;
    va_list list;
    va_start(list, name);
    if (IS(vfscanf)) result = vfscanf(input(), "%9s", list);
    if (IS(vscanf)) input(), result = vscanf("%9s", list);
    if (IS(__isoc99_vfscanf)) result = __isoc99_vfscanf(input(), "%9s", list);
    if (IS(__isoc99_vscanf)) input(), result = __isoc99_vscanf("%9s", list);
    if (IS(__isoc23_vfscanf)) result = newer(name)(input(), "%9s", list);
    if (IS(__isoc23_vscanf)) input(), result = newer(name)("%9s", list);
    va_end(list);
    return result;
}

static long reading_call(const char *name) {
    char *line = NULL;
    size_t size = 0;
    if (IS(fread)) return counted(fread(words, 1, 16, input()));
    if (IS(fread_unlocked)) return counted(fread_unlocked(words, 4, 4, input()));
    if (IS(__fread_chk)) return counted(__fread_chk(words, sizeof words, 1, 16, input()));
    if (IS(__fread_unlocked_chk)) return counted(__fread_unlocked_chk(words, sizeof words, 1, 16, input()));
    if (IS(fgets)) return fgets_got(fgets(words, 16, input()));
    if (IS(fgets_unlocked)) return fgets_got(fgets_unlocked(words, 16, input()));
    if (IS(__fgets_chk)) return fgets_got(__fgets_chk(words, sizeof words, 16, input()));
    if (IS(__fgets_unlocked_chk)) return fgets_got(__fgets_unlocked_chk(words, sizeof words, 16, input()));
    if (IS(getc)) return (getc)(input());
    if (IS(fgetc)) return fgetc(input());
    if (IS(getchar)) return input(), (getchar)();
    if (IS(getc_unlocked)) return (getc_unlocked)(input());
    if (IS(fgetc_unlocked)) return (fgetc_unlocked)(input());
    if (IS(getchar_unlocked)) return input(), (getchar_unlocked)();
    if (IS(_IO_getc)) return _IO_getc(input());
    if (IS(__uflow)) return __uflow(input());
    if (IS(fgetwc)) return (int)fgetwc(input());
    if (IS(getwc)) return (int)getwc(input());
    if (IS(getwchar)) return input(), (int)getwchar();
    if (IS(getline)) return getline(&line, &size, input());
    if (IS(getdelim)) return getdelim(&line, &size, 'x', input());
    if (IS(__getdelim)) return __getdelim(&line, &size, 'x', input());
    if (IS(fscanf)) return fscanf(input(), "%9s", words);
    if (IS(scanf)) return input(), scanf("%9s", words);
    if (IS(__isoc99_fscanf)) return __isoc99_fscanf(input(), "%9s", words);
    if (IS(__isoc99_scanf)) return input(), __isoc99_scanf("%9s", words);
    if (IS(__isoc23_fscanf)) return newer(name)(input(), "%9s", words);
    if (IS(__isoc23_scanf)) return input(), newer(name)("%9s", words);
    return scanned(name, words);
}

static long writing_call(const char *name) {
    if (IS(fwrite)) return counted(fwrite(words, 1, 16, output()));
    if (IS(fwrite_unlocked)) return counted(fwrite_unlocked(words, 4, 4, output()));
    if (IS(fputs)) return fputs("text", output());
    if (IS(fputs_unlocked)) return fputs_unlocked("text", output());
    if (IS(puts)) return output(), puts("text");
    if (IS(fputws)) return fputws(L"text", output());
    if (IS(putc)) return (putc)('x', output());
    if (IS(fputc)) return fputc('x', output());
    if (IS(putchar)) return output(), (putchar)('x');
    if (IS(putc_unlocked)) return (putc_unlocked)('x', output());
    if (IS(fputc_unlocked)) return (fputc_unlocked)('x', output());
    if (IS(putchar_unlocked)) return output(), (putchar_unlocked)('x');
    if (IS(_IO_putc)) return _IO_putc('x', output());
    if (IS(__overflow)) return __overflow(output(), 'x');
    if (IS(fputwc)) return (int)fputwc(L'x', output());
    if (IS(putwc)) return (int)putwc(L'x', output());
    if (IS(putwchar)) return output(), (int)putwchar(L'x');
    if (IS(fprintf)) return fprintf(output(), "%d\n", 7);
    if (IS(printf)) return output(), printf("%d\n", 7);
    if (IS(dprintf)) return dprintf(bare_output(), "%d\n", 7);
    if (IS(__fprintf_chk)) return __fprintf_chk(output(), 1, "%d\n", 7);
    if (IS(__printf_chk)) return output(), __printf_chk(1, "%d\n", 7);
    if (IS(__dprintf_chk)) return __dprintf_chk(bare_output(), 1, "%d\n", 7);
    if (IS(fflush)) return fflush(pending());
    if (IS(fflush_unlocked)) return fflush_unlocked(pending());
    if (IS(fclose)) {
        FILE *stream = pending();
        used = NULL;
        return fclose(stream);
    }
    fpos_t place = {0};
    if (IS(fseek)) return fseek(pending(), 0, SEEK_SET);
    if (IS(fseeko)) return fseeko(pending(), 0, SEEK_SET);
    if (IS(fseeko64)) return fseeko64(pending(), 0, SEEK_SET);
    if (IS(fsetpos)) return fsetpos(pending(), &place);
    if (IS(fsetpos64)) return fsetpos64(pending(), (fpos64_t *)&place);
    return listed(name, 7);
}

static long stream_call(const char *name) {
    long result = reading_call(name);
    return result == -2 ? writing_call(name) : result;
}
