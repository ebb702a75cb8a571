/* Makes the calls that it is told to, by libc symbol or by `syscall()` number (`#0`), and says what each returned:
   "NAME RESULT ERRNO". Works in the current directory, which must hold data.bin of at least 64 bytes. */
#include "guest.h"
#include "fs_calls.h"
#include "stream_calls.h"
#include "time_calls.h"
#include "../../shim/include/chaos.h"
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <malloc.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

ssize_t __read_chk(int, void *, size_t, size_t);
ssize_t __pread_chk(int, void *, size_t, off_t, size_t);
ssize_t __pread64_chk(int, void *, size_t, off_t, size_t);
ssize_t __recv_chk(int, void *, size_t, size_t, int);
ssize_t __recvfrom_chk(int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *);
int __open_2(const char *, int);
int __poll_chk(struct pollfd *, nfds_t, int, size_t);
int __ppoll_chk(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *, size_t);
int __open64_2(const char *, int);
int __openat_2(int, const char *, int);
int __openat64_2(int, const char *, int);

static char buffer[64];
static char *const no_environment[] = {NULL};
static char *true_argv[] = {"true", NULL};
static struct iovec vector = {buffer, 16};

static int file(void) {
    int fd = open("data.bin", O_RDWR);
    if (fd < 0) die("data.bin");
    return fd;
}

/* A listening socket with a connection waiting, or the address of one. */
static int listener(struct sockaddr_in *address) {
    socklen_t size = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || bind(fd, (void *)address, sizeof *address)) die("bind");
    if (syscall(SYS_listen, fd, 4)) die("listen");
    bare(SYS_getsockname, fd, (long)address, (long)&size, 0);
    return fd;
}

/* One end of a TCP stream; the other end has something to say. */
static int stream(void) {
    struct sockaddr_in address;
    int server = listener(&address), client = socket(AF_INET, SOCK_STREAM, 0);
    if (bare(SYS_connect, client, (long)&address, sizeof address, 0)) die("connect");
    bare_write(bare(SYS_accept, server, 0, 0, 0), "0123456789abcdef", 16);
    return client;
}

static int waiting(void) {
    struct sockaddr_in address;
    int server = listener(&address), client = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(client, (void *)&address, sizeof address)) die("connect");
    return server;
}

static void child(void) {
    if (fork() == 0) _exit(0);
}

static void *idle(void *argument) { return argument; }

static struct msghdr message(void) { return (struct msghdr){.msg_iov = &vector, .msg_iovlen = 1}; }

static long got(const void *pointer) { return pointer ? 1 : -1; }

/* Calls that report an error code themselves. */
static long code(int result) {
    errno = result;
    return result ? -1 : 0;
}


static long file_call(const char *name) {
    if (IS(read)) return read(file(), buffer, 16);
    if (IS(chaos_fail)) return code(chaos_fail("point"));
    if (IS(__read_chk)) return __read_chk(file(), buffer, 16, sizeof buffer);
    if (IS(pread)) return pread(file(), buffer, 16, 0);
    if (IS(pread64)) return pread64(file(), buffer, 16, 0);
    if (IS(__pread_chk)) return __pread_chk(file(), buffer, 16, 0, sizeof buffer);
    if (IS(__pread64_chk)) return __pread64_chk(file(), buffer, 16, 0, sizeof buffer);
    if (IS(readv)) return readv(file(), &vector, 1);
    if (IS(preadv)) return preadv(file(), &vector, 1, 0);
    if (IS(preadv64)) return preadv64(file(), &vector, 1, 0);
    if (IS(preadv2)) return preadv2(file(), &vector, 1, 0, 0);
    if (IS(preadv64v2)) return preadv64v2(file(), &vector, 1, 0, 0);
    if (IS(write)) return write(file(), buffer, 16);
    if (IS(pwrite)) return pwrite(file(), buffer, 16, 0);
    if (IS(pwrite64)) return pwrite64(file(), buffer, 16, 0);
    if (IS(writev)) return writev(file(), &vector, 1);
    if (IS(pwritev)) return pwritev(file(), &vector, 1, 0);
    if (IS(pwritev64)) return pwritev64(file(), &vector, 1, 0);
    if (IS(pwritev2)) return pwritev2(file(), &vector, 1, 0, 0);
    if (IS(pwritev64v2)) return pwritev64v2(file(), &vector, 1, 0, 0);
    if (IS(open)) return open("data.bin", O_RDWR | O_CREAT, 0600);
    if (IS(open64)) return open64("data.bin", O_RDONLY);
    if (IS(openat)) return openat(AT_FDCWD, "data.bin", O_RDONLY);
    if (IS(openat64)) return openat64(AT_FDCWD, "data.bin", O_RDONLY);
    if (IS(creat)) return creat("made.bin", 0600);
    if (IS(creat64)) return creat64("made.bin", 0600);
    if (IS(__open_2)) return __open_2("data.bin", O_RDONLY);
    if (IS(__open64_2)) return __open64_2("data.bin", O_RDONLY);
    if (IS(__openat_2)) return __openat_2(AT_FDCWD, "data.bin", O_RDONLY);
    if (IS(__openat64_2)) return __openat64_2(AT_FDCWD, "data.bin", O_RDONLY);
    if (IS(close)) return close(file());
    if (IS(dup)) return dup(file());
    if (IS(dup2)) return dup2(file(), 200);
    if (IS(dup3)) return dup3(file(), 201, 0);
    if (IS(fcntl)) return fcntl(file(), F_DUPFD, 0);
    if (IS(fcntl64)) return fcntl64(file(), F_DUPFD, 0);
    if (IS(opendir)) return got(opendir("."));
    if (IS(fdopendir)) return got(fdopendir(syscall(SYS_openat, AT_FDCWD, ".", O_RDONLY | O_DIRECTORY)));
    if (IS(fopen)) return got(fopen("data.bin", "a"));
    if (IS(fopen64)) return got(fopen64("data.bin", "r"));
    if (IS(freopen)) return got(freopen("data.bin", "r", stdin));
    if (IS(freopen64)) return got(freopen64("data.bin", "r", stdin));
    if (IS(fdopen)) return got(fdopen(file(), "r"));
    int ends[2];
    if (IS(pipe)) return pipe(ends);
    if (IS(pipe2)) return pipe2(ends, O_CLOEXEC);
    return -2;
}

static long socket_call(const char *name) {
    struct msghdr one = message();
    struct mmsghdr many = {.msg_hdr = message()};
    struct sockaddr_in address;
    if (IS(socket)) return socket(AF_INET, SOCK_STREAM, 0);
    int ends[2];
    if (IS(socketpair)) return socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    if (IS(listen)) return listen(socket(AF_INET, SOCK_STREAM, 0), 1);
    if (IS(connect)) {
        listener(&address);
        return connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&address, sizeof address);
    }
    if (IS(accept)) return accept(waiting(), NULL, NULL);
    if (IS(accept4)) return accept4(waiting(), NULL, NULL, SOCK_CLOEXEC);
    if (IS(send)) return send(stream(), buffer, 16, 0);
    if (IS(sendto)) return sendto(stream(), buffer, 16, 0, NULL, 0);
    if (IS(sendmsg)) return sendmsg(stream(), &one, 0);
    if (IS(sendmmsg)) return sendmmsg(stream(), &many, 1, 0);
    if (IS(recv)) return recv(stream(), buffer, 16, 0);
    if (IS(__recv_chk)) return __recv_chk(stream(), buffer, 16, sizeof buffer, 0);
    if (IS(recvfrom)) return recvfrom(stream(), buffer, 16, 0, NULL, NULL);
    if (IS(__recvfrom_chk)) return __recvfrom_chk(stream(), buffer, 16, sizeof buffer, 0, NULL, NULL);
    if (IS(recvmsg)) return recvmsg(stream(), &one, 0);
    if (IS(recvmmsg)) return recvmmsg(stream(), &many, 1, 0, NULL);
    socklen_t size = sizeof address;
    int value = 1;
    socklen_t value_size = sizeof value;
    if (IS(bind)) {
        /* A port that needs a right, and another one for each process that runs at the same time. */
        in_port_t port = htons((in_port_t)(600 + getpid() % 400));
        address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        return bind(socket(AF_INET, SOCK_STREAM, 0), (void *)&address, sizeof address);
    }
    /* Of TCP, and of its own level: others cannot fail so. */
    if (IS(shutdown)) return shutdown(stream(), SHUT_WR);
    if (IS(setsockopt)) return setsockopt(stream(), IPPROTO_TCP, TCP_NODELAY, &value, sizeof value);
    if (IS(getsockopt)) return getsockopt(stream(), IPPROTO_TCP, TCP_NODELAY, &value, &value_size);
    if (IS(getsockname)) return getsockname(stream(), (void *)&address, &size);
    if (IS(getpeername)) return getpeername(stream(), (void *)&address, &size);
    if (IS(getaddrinfo)) {
        struct addrinfo *list;
        int eai = getaddrinfo("localhost", "80", NULL, &list);
        errno = 0;
        return eai;
    }
    return -2;
}

static long map_result(void *at) { return at == MAP_FAILED ? -1 : 1; }

/* Two pages, by a bare call that no rule can touch. */
static void *pages(void) {
    register long flags __asm__("r10") = MAP_PRIVATE | MAP_ANONYMOUS, fd __asm__("r8") = -1, at __asm__("r9") = 0;
    void *result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(9L), "D"(0L), "S"(8192L), "d"((long)(PROT_READ | PROT_WRITE)),
                     "r"(flags), "r"(fd), "r"(at) : "rcx", "r11", "memory");
    return result;
}

/* The EAI code that means the same as h_errno, so that every look-up speaks alike. */
static long eai_of(int told) {
    static const int codes[] = {0, EAI_NONAME, EAI_AGAIN, EAI_FAIL, EAI_NODATA};
    errno = 0;
    return codes[told];
}

static long host_call(const char *name) {
    char room[4096], text[200];
    struct in_addr home = {htonl(INADDR_LOOPBACK)};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = home};
    struct hostent host, *found = NULL;
    int told = 0;
    if (IS(getnameinfo)) return getnameinfo((void *)&address, sizeof address, text, sizeof text, NULL, 0, NI_NAMEREQD);
    if (IS(gethostbyname)) return eai_of(gethostbyname("localhost") ? 0 : h_errno);
    if (IS(gethostbyname2)) return eai_of(gethostbyname2("localhost", AF_INET) ? 0 : h_errno);
    if (IS(gethostbyaddr)) return eai_of(gethostbyaddr(&home, sizeof home, AF_INET) ? 0 : h_errno);
    if (IS(gethostbyname_r)) gethostbyname_r("localhost", &host, room, sizeof room, &found, &told);
    else if (IS(gethostbyname2_r)) gethostbyname2_r("localhost", AF_INET, &host, room, sizeof room, &found, &told);
    else if (IS(gethostbyaddr_r)) gethostbyaddr_r(&home, sizeof home, AF_INET, &host, room, sizeof room, &found, &told);
    else return -2;
    return eai_of(found ? 0 : told);
}

/* What is ready already, as poll, select and epoll want it. */
static struct pollfd polled;
static fd_set set;
static struct epoll_event event;
static struct timespec second;
static struct timeval second_too;

static struct pollfd *to_poll(void) {
    polled = (struct pollfd){stream(), POLLIN, 0};
    second = (struct timespec){1, 0};
    return &polled;
}

static int to_select(void) {
    int fd = stream();
    FD_ZERO(&set);
    FD_SET(fd, &set);
    second = (struct timespec){1, 0};
    second_too = (struct timeval){1, 0};
    return fd + 1;
}

static int to_epoll(void) {
    int loop = epoll_create1(0);
    event = (struct epoll_event){.events = EPOLLIN};
    second = (struct timespec){1, 0};
    if (epoll_ctl(loop, EPOLL_CTL_ADD, stream(), &event)) die("epoll_ctl");
    return loop;
}

static long ready_call(const char *name) {
    if (IS(poll)) return poll(to_poll(), 1, 1000);
    if (IS(__poll_chk)) return __poll_chk(to_poll(), 1, 1000, sizeof polled);
    if (IS(ppoll)) return ppoll(to_poll(), 1, &second, NULL);
    if (IS(__ppoll_chk)) return __ppoll_chk(to_poll(), 1, &second, NULL, sizeof polled);
    if (IS(select)) return select(to_select(), &set, NULL, NULL, &second_too);
    if (IS(pselect)) return pselect(to_select(), &set, NULL, NULL, &second, NULL);
    if (IS(epoll_create)) return epoll_create(1);
    if (IS(epoll_create1)) return epoll_create1(0);
    if (IS(epoll_wait)) return epoll_wait(to_epoll(), &event, 1, 1000);
    if (IS(epoll_pwait)) return epoll_pwait(to_epoll(), &event, 1, 1000, NULL);
    if (IS(epoll_pwait2)) return epoll_pwait2(to_epoll(), &event, 1, &second, NULL);
    switch (name[0] == '#' ? atol(name + 1) : -1) {
    case SYS_poll: return syscall(SYS_poll, to_poll(), 1, 1000);
    case SYS_ppoll: return syscall(SYS_ppoll, to_poll(), 1, &second, NULL, 8);
    case SYS_select: return syscall(SYS_select, to_select(), &set, NULL, NULL, &second_too);
    case SYS_pselect6: return syscall(SYS_pselect6, to_select(), &set, NULL, NULL, &second, NULL);
    case SYS_epoll_create: return syscall(SYS_epoll_create, 1);
    case SYS_epoll_create1: return syscall(SYS_epoll_create1, 0);
    case SYS_epoll_wait: return syscall(SYS_epoll_wait, to_epoll(), &event, 1, 1000);
    case SYS_epoll_pwait: return syscall(SYS_epoll_pwait, to_epoll(), &event, 1, 1000, NULL, 8);
    case SYS_epoll_pwait2: return syscall(SYS_epoll_pwait2, to_epoll(), &event, 1, &second, NULL, 8);
    }
    return -2;
}

static long memory_call(const char *name) {
    void *pointer = NULL;
    if (IS(malloc)) return got(malloc(100));
    if (IS(calloc)) return got(calloc(10, 10));
    if (IS(realloc)) return got(realloc(NULL, 100));
    if (IS(reallocarray)) return got(reallocarray(NULL, 10, 10));
    if (IS(memalign)) return got(memalign(64, 128));
    if (IS(aligned_alloc)) return got(aligned_alloc(64, 128));
    if (IS(valloc)) return got(valloc(100));
    if (IS(pvalloc)) return got(pvalloc(100));
    if (IS(posix_memalign)) return code(posix_memalign(&pointer, 64, 128));
    if (IS(strdup)) return got(strdup("text"));
    if (IS(strndup)) return got(strndup("text", 2));
    if (IS(__strdup)) return got(__strdup("text"));
    if (IS(__strndup)) return got(__strndup("text", 2));
    if (IS(mmap)) return map_result(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (IS(mmap64)) return map_result(mmap64(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (IS(mremap)) return map_result(mremap(pages(), 8192, 16384, MREMAP_MAYMOVE));
    if (IS(brk)) return brk((char *)syscall(SYS_brk, 0) + 8192);
    if (IS(sbrk)) return map_result(sbrk(4096));
    if (IS(mprotect)) return mprotect(pages(), 8192, PROT_READ);
    if (IS(munmap)) return munmap(pages(), 8192);
    if (IS(madvise)) return madvise(pages(), 8192, MADV_DONTNEED);
    if (IS(mlock)) return mlock(pages(), 4096);
    if (IS(mlock2)) return mlock2(pages(), 4096, 0);
    if (IS(mlockall)) return mlockall(MCL_FUTURE);
    return -2;
}

static long in_parent(pid_t pid) {
    if (pid == 0) _exit(0);
    return pid < 0 ? -1 : 1;
}

static long process_call(const char *name) {
    pid_t pid;
    siginfo_t info;
    pthread_t thread;
    if (IS(fork)) return in_parent(fork());
    if (IS(_Fork)) return in_parent(_Fork());
    if (IS(forkpty)) {
        int controller;
        return in_parent(forkpty(&controller, NULL, NULL, NULL));
    }
    /* It would end this process: asked for where it fails only. */
    if (IS(daemon)) return daemon(1, 1);
    if (IS(epoll_ctl)) {
        struct epoll_event event = {.events = EPOLLIN};
        return epoll_ctl(epoll_create1(0), EPOLL_CTL_ADD, socket(AF_INET, SOCK_STREAM, 0), &event);
    }
    if (IS(vfork)) {
        pid = vfork();
        if (pid == 0) _exit(0);
        return pid < 0 ? -1 : 1;
    }
    if (IS(execve)) return execve("/bin/true", true_argv, no_environment);
    if (IS(execv)) return execv("/bin/true", true_argv);
    if (IS(execvp)) return execvp("true", true_argv);
    if (IS(execvpe)) return execvpe("true", true_argv, no_environment);
    if (IS(execl)) return execl("/bin/true", "true", NULL);
    if (IS(execlp)) return execlp("true", "true", NULL);
    if (IS(execle)) return execle("/bin/true", "true", NULL, no_environment);
    if (IS(fexecve)) return fexecve(open("/bin/true", O_RDONLY), true_argv, no_environment);
    if (IS(execveat)) return execveat(AT_FDCWD, "/bin/true", true_argv, no_environment, 0);
    if (IS(posix_spawn)) return code(posix_spawn(&pid, "/bin/true", NULL, NULL, true_argv, no_environment));
    if (IS(posix_spawnp)) return code(posix_spawnp(&pid, "true", NULL, NULL, true_argv, no_environment));
    if (IS(system)) return system("true");
    if (IS(popen)) return got(popen("true", "r"));
    if (IS(pthread_create)) return code(pthread_create(&thread, NULL, idle, NULL));
    if (IS(thrd_create)) return code(thrd_create(&thread, (thrd_start_t)idle, NULL) == thrd_error ? EAGAIN : 0);
    if (strncmp(name, "wait", 4) == 0) child();
    if (IS(wait)) return wait(NULL);
    if (IS(waitpid)) return waitpid(-1, NULL, 0);
    if (IS(wait3)) return wait3(NULL, 0, NULL);
    if (IS(wait4)) return wait4(-1, NULL, 0, NULL);
    if (IS(waitid)) return waitid(P_ALL, 0, &info, WEXITED);
    return -2;
}

static struct sembuf up = {.sem_op = 1, .sem_flg = IPC_NOWAIT};
static struct { long kind; char text[8]; } letter = {1, "text"};
static int shared_memory(void) { return syscall(SYS_shmget, IPC_PRIVATE, 4096, IPC_CREAT | 0600); }
static int counter(void) { return syscall(SYS_semget, IPC_PRIVATE, 1, IPC_CREAT | 0600); }
static int empty_queue(void) { return syscall(SYS_msgget, IPC_PRIVATE, IPC_CREAT | 0600); }
static int queue(void) {
    int id = empty_queue();
    syscall(SYS_msgsnd, id, &letter, 4, 0);
    return id;
}
/* What is made is gone once nobody uses it. */
static long gone(int id, int (*remove)(int), long result) {
    int error = errno;
    if (id >= 0) remove(id);
    errno = error;
    return result == -1 ? -1 : 0; /* numbers and addresses differ from run to run */
}
static int no_memory(int id) { return shmctl(id, IPC_RMID, NULL); }
static int no_counter(int id) { return semctl(id, 0, IPC_RMID); }
static int no_queue(int id) { return msgctl(id, IPC_RMID, NULL); }

static long ipc_call(const char *name) {
    struct timespec soon = {0, 1000};
    int id;
    if (IS(shmget)) return id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600), gone(id, no_memory, id < 0 ? -1 : 1);
    if (IS(shmat)) return id = shared_memory(), gone(id, no_memory, shmat(id, NULL, 0) == (void *)-1 ? -1 : 1);
    if (IS(semget)) return id = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600), gone(id, no_counter, id < 0 ? -1 : 1);
    if (IS(semop)) return id = counter(), gone(id, no_counter, semop(id, &up, 1));
    if (IS(semtimedop)) return id = counter(), gone(id, no_counter, semtimedop(id, &up, 1, &soon));
    if (IS(msgget)) return id = msgget(IPC_PRIVATE, IPC_CREAT | 0600), gone(id, no_queue, id < 0 ? -1 : 1);
    if (IS(msgsnd)) return id = empty_queue(), gone(id, no_queue, msgsnd(id, &letter, 4, 0));
    if (IS(msgrcv)) return id = queue(), gone(id, no_queue, msgrcv(id, &letter, 4, 0, 0));
    return -2;
}

static long numbered_ipc_call(long number) {
    int id;
    switch (number) {
    case SYS_shmget: return id = syscall(number, IPC_PRIVATE, 4096, IPC_CREAT | 0600), gone(id, no_memory, id < 0 ? -1 : 1);
    case SYS_shmat: return id = shared_memory(), gone(id, no_memory, syscall(number, id, NULL, 0));
    case SYS_semget: return id = syscall(number, IPC_PRIVATE, 1, IPC_CREAT | 0600), gone(id, no_counter, id < 0 ? -1 : 1);
    case SYS_semop: return id = counter(), gone(id, no_counter, syscall(number, id, &up, 1));
    case SYS_semtimedop: return id = counter(), gone(id, no_counter, syscall(number, id, &up, 1, NULL));
    case SYS_msgget: return id = syscall(number, IPC_PRIVATE, IPC_CREAT | 0600), gone(id, no_queue, id < 0 ? -1 : 1);
    case SYS_msgsnd: return id = empty_queue(), gone(id, no_queue, syscall(number, id, &letter, 4, 0));
    case SYS_msgrcv: return id = queue(), gone(id, no_queue, syscall(number, id, &letter, 4, 0, 0));
    }
    return -2;
}

static long numbered_call(long number) {
    struct open_how how = {.flags = O_RDONLY};
    struct sockaddr_in address;
    struct msghdr one = message();
    struct mmsghdr many = {.msg_hdr = message()};
    int ends[2], value = 1;
    socklen_t size = sizeof value;
    switch (number) {
    case SYS_read: return syscall(number, file(), buffer, 16);
    case SYS_pread64: return syscall(number, file(), buffer, 16, 0);
    case SYS_readv: return syscall(number, file(), &vector, 1);
    case SYS_preadv: return syscall(number, file(), &vector, 1, 0, 0);
    case SYS_preadv2: return syscall(number, file(), &vector, 1, 0, 0, 0);
    case SYS_write: return syscall(number, file(), buffer, 16);
    case SYS_pwrite64: return syscall(number, file(), buffer, 16, 0);
    case SYS_writev: return syscall(number, file(), &vector, 1);
    case SYS_pwritev: return syscall(number, file(), &vector, 1, 0, 0);
    case SYS_pwritev2: return syscall(number, file(), &vector, 1, 0, 0, 0);
    case SYS_open: return syscall(number, "data.bin", O_RDONLY);
    case SYS_openat: return syscall(number, AT_FDCWD, "data.bin", O_RDONLY);
    case SYS_creat: return syscall(number, "made.bin", 0600);
    case SYS_openat2: return syscall(number, AT_FDCWD, "data.bin", &how, sizeof how);
    case SYS_close: return syscall(number, file());
    case SYS_dup: return syscall(number, file());
    case SYS_dup2: return syscall(number, file(), 202);
    case SYS_dup3: return syscall(number, file(), 203, 0);
    case SYS_fcntl: return syscall(number, file(), F_DUPFD, 0);
    case SYS_pipe: return syscall(number, ends);
    case SYS_pipe2: return syscall(number, ends, 0);
    case SYS_socket: return syscall(number, AF_INET, SOCK_STREAM, 0);
    case SYS_socketpair: return syscall(number, AF_UNIX, SOCK_STREAM, 0, ends);
    case SYS_listen: return syscall(number, socket(AF_INET, SOCK_STREAM, 0), 1);
    case SYS_connect:
        listener(&address);
        return syscall(number, socket(AF_INET, SOCK_STREAM, 0), &address, sizeof address);
    case SYS_bind:
        /* A port that needs a right, and another one for each process that runs at the same time. */
        in_port_t port = htons((in_port_t)(600 + getpid() % 400));
        address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        return syscall(number, socket(AF_INET, SOCK_STREAM, 0), &address, sizeof address);
    case SYS_shutdown: return syscall(number, stream(), SHUT_WR);
    case SYS_setsockopt: return syscall(number, stream(), IPPROTO_TCP, TCP_NODELAY, &value, sizeof value);
    case SYS_getsockopt: return syscall(number, stream(), IPPROTO_TCP, TCP_NODELAY, &value, &size);
    case SYS_getsockname: size = sizeof address; return syscall(number, stream(), &address, &size);
    case SYS_getpeername: size = sizeof address; return syscall(number, stream(), &address, &size);
    case SYS_accept: return syscall(number, waiting(), NULL, NULL);
    case SYS_accept4: return syscall(number, waiting(), NULL, NULL, 0);
    case SYS_mmap: return syscall(number, 0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == -1 ? -1 : 1;
    case SYS_mremap: return syscall(number, pages(), 8192, 16384, MREMAP_MAYMOVE, 0) == -1 ? -1 : 1;
    case SYS_mprotect: return syscall(number, pages(), 8192, PROT_READ);
    case SYS_munmap: return syscall(number, pages(), 8192);
    case SYS_madvise: return syscall(number, pages(), 8192, MADV_DONTNEED);
    case SYS_mlock: return syscall(number, pages(), 4096);
    case SYS_mlock2: return syscall(number, pages(), 4096, 0);
    case SYS_mlockall: return syscall(number, MCL_FUTURE);
    case SYS_sendto: return syscall(number, stream(), buffer, 16, 0, NULL, 0);
    case SYS_sendmsg: return syscall(number, stream(), &one, 0);
    case SYS_sendmmsg: return syscall(number, stream(), &many, 1, 0);
    case SYS_recvfrom: return syscall(number, stream(), buffer, 16, 0, NULL, NULL);
    case SYS_recvmsg: return syscall(number, stream(), &one, 0);
    case SYS_recvmmsg: return syscall(number, stream(), &many, 1, 0, NULL);
    case SYS_fork: return in_parent(syscall(number));
    case SYS_epoll_ctl: {
        struct epoll_event event = {.events = EPOLLIN};
        return syscall(number, epoll_create1(0), EPOLL_CTL_ADD, socket(AF_INET, SOCK_STREAM, 0), &event);
    }
    case SYS_clone: return in_parent(syscall(number, SIGCHLD, 0, 0, 0, 0));
    case SYS_clone3: {
        struct { unsigned long long flags, pidfd, child, parent, signal, stack, size, tls; } how3 = {.signal = SIGCHLD};
        return in_parent(syscall(number, &how3, sizeof how3));
    }
    case SYS_execve: return syscall(number, "/bin/true", true_argv, no_environment);
    case SYS_execveat: return syscall(number, AT_FDCWD, "/bin/true", true_argv, no_environment, 0);
    case SYS_wait4: child(); return syscall(number, -1, NULL, 0, NULL);
    case SYS_waitid: child(); return syscall(number, P_ALL, 0, NULL, WEXITED, NULL);
    default: return fs_numbered(number);
    }
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        errno = 0;
        used = NULL;
        counts = 0;
        long result;
        if (name[0] == '#') {
            result = numbered_ipc_call(atol(name + 1));
            if (result == -2) result = numbered_time_call(atol(name + 1));
            if (result == -2) result = ready_call(name);
            if (result == -2) result = numbered_call(atol(name + 1));
        } else {
            result = file_call(name);
            if (result == -2) result = socket_call(name);
            if (result == -2) result = host_call(name);
            if (result == -2) result = ready_call(name);
            if (result == -2) result = memory_call(name);
            if (result == -2) result = process_call(name);
            if (result == -2) result = fs_call(name);
            if (result == -2) result = ipc_call(name);
            if (result == -2) result = time_call(name);
            if (result == -2) result = stream_call(name);
        }
        int error = errno;
        if (result == -2 && strncmp(name, "get", 3) != 0) {
            say("guest: does not know how to call %s\n", name);
            return 98;
        }
        int failed = result < 0 || (counts && result == 0);
        if (used && failed && (!ferror(used) || feof(used))) say("error flag of %s: %d\n", name, ferror(used));
        say("%s %ld %s\n", name, result, failed ? name_of(error) : "0");
    }
    return 0;
}
