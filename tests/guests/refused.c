/* Transfers that the kernel refuses for their pointers, sizes and descriptors, or cuts where the memory ends. */
#include "guest.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

static void told(const char *what, ssize_t result) { say("%s %zd %s\n", what, result, result < 0 ? name_of(errno) : "0"); }

int main(void) {
    void *bad = (void *)16;
    char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(page + 4096, 4096);
    memset(page, 'a', 4096);
    static struct iovec many[2000];
    for (int i = 0; i < 2000; i++) many[i] = (struct iovec){page, 10};
    struct iovec late[] = {{page, 10}, {bad, 10}}, early[] = {{bad, 10}, {page, 10}}, huge[] = {{page, -1}, {page, 10}};
    int fd = open("data.bin", O_RDWR), deaf = open("data.bin", O_RDONLY), pair[2];
    if (fd < 0 || deaf < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) die("open");
    told("write bad", write(fd, bad, 100));
    told("write none", write(fd, page, 0));
    told("write deaf", write(deaf, page, 100));
    told("write closed", write(99, page, 100));
    told("writev bad", writev(fd, early, 2));
    told("writev list", writev(fd, bad, 2));
    told("writev negative", writev(fd, late, -1));
    told("writev many", writev(fd, many, 2000));
    told("writev huge", writev(fd, huge, 2));
    told("pwrite bad", pwrite(fd, bad, 100, 0));
    told("pwrite negative", pwrite(fd, page, 100, -5));
    told("pread bad", pread(fd, bad, 100, 0));
    told("readv huge", readv(fd, huge, 2));
    told("send bad", send(pair[0], bad, 100, 0));
    told("sendmsg bad", sendmsg(pair[0], bad, 0));
    told("sendmsg part", sendmsg(pair[0], &(struct msghdr){.msg_iov = early, .msg_iovlen = 2}, 0));
    told("recv bad", recv(pair[1], bad, 100, MSG_DONTWAIT));
    told("recvmsg bad", recvmsg(pair[1], bad, MSG_DONTWAIT));
    /* These are made in part. */
    told("write half", write(fd, page + 4000, 200));
    told("writev late", writev(fd, late, 2));
    return 0;
}
