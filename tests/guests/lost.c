/* lost SEND RECEIVE: sends five numbered datagrams to itself over loopback by one call, takes them by another, each with a
 * time limit, and says which came. SEND: send sendto sendmsg sendmmsg write; RECEIVE: recv recvfrom recvmsg read. */
#include "guest.h"
#include <netinet/in.h>
#include <sys/socket.h>

static int receiver, sender;
static struct sockaddr_in address = {.sin_family = AF_INET};

static long send_one(const char *call, char *text) {
    struct iovec part = {text, 4};
    struct msghdr header = {.msg_name = &address, .msg_namelen = sizeof address, .msg_iov = &part, .msg_iovlen = 1};
    struct mmsghdr many = {.msg_hdr = header};
    if (strcmp(call, "send") == 0) return send(sender, text, 4, 0);
    if (strcmp(call, "write") == 0) return write(sender, text, 4);
    if (strcmp(call, "sendto") == 0) return sendto(sender, text, 4, 0, (void *)&address, sizeof address);
    if (strcmp(call, "sendmsg") == 0) return sendmsg(sender, &header, 0);
    long sent = sendmmsg(sender, &many, 1, 0);
    return sent == 1 ? many.msg_len : sent;
}

static long take_one(const char *call, char *text) {
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    struct iovec part = {text, 4};
    struct msghdr header = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &part, .msg_iovlen = 1};
    long got;
    if (strcmp(call, "recv") == 0) return recv(receiver, text, 4, 0);
    if (strcmp(call, "read") == 0) return read(receiver, text, 4);
    if (strcmp(call, "recvfrom") == 0) {
        got = recvfrom(receiver, text, 4, 0, (void *)&from, &size);
    } else {
        got = recvmsg(receiver, &header, 0);
        size = header.msg_namelen;
    }
    if (got > 0 && (size != sizeof from || from.sin_family != AF_INET)) die("the sender is not told");
    return got;
}

int main(int argc, char **argv) {
    socklen_t size = sizeof address;
    struct timeval limit = {.tv_usec = 300000};
    receiver = socket(AF_INET, SOCK_DGRAM, 0);
    sender = socket(AF_INET, SOCK_DGRAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (argc != 3 || bind(receiver, (void *)&address, size) || getsockname(receiver, (void *)&address, &size)) die("bind");
    setsockopt(receiver, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    int connected = strcmp(argv[1], "send") == 0 || strcmp(argv[1], "write") == 0;
    if (connected && connect(sender, (void *)&address, sizeof address)) die("connect");
    for (int number = 1; number <= 5; number++) {
        char text[5];
        snprintf(text, sizeof text, "%04d", number);
        if (send_one(argv[1], text) != 4) die("send");
        struct sockaddr_in own;
        size = sizeof own;
        if (getsockname(sender, (void *)&own, &size) || own.sin_port == 0) die("a send gives the socket a port");
    }
    char text[5] = "";
    while (take_one(argv[2], text) == 4) say("%d ", atoi(text));
    say("%s\n", name_of(errno));
    return 0;
}
