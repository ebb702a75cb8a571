/* stream tcp|unix: a connection within one process. Sends and receives eight messages and says for each what send and
   recv gave: "N SENT ERRNO RECEIVED ERRNO". Then says how many descriptors are open. SIGPIPE is at its default when
   a second argument is given. */
#include "guest.h"
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
    int ends[2];
    if (argc < 3) signal(SIGPIPE, SIG_IGN);
    if (strcmp(argv[1], "unix") == 0) {
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) die("socketpair");
    } else {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = sizeof address;
        int server = socket(AF_INET, SOCK_STREAM, 0);
        if (bind(server, (void *)&address, size) || listen(server, 1)) die("listen");
        getsockname(server, (void *)&address, &size);
        ends[0] = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(ends[0], (void *)&address, size)) die("connect");
        ends[1] = accept(server, NULL, NULL);
        close(server);
    }
    for (int i = 1; i <= 8; i++) {
        char buffer[16];
        errno = 0;
        long sent = send(ends[0], "0123456789abcdef", 16, 0);
        int send_error = errno;
        errno = 0;
        long got = recv(ends[1], buffer, 16, MSG_DONTWAIT);
        say("%d %ld %s %ld %s\n", i, sent, name_of(send_error), got, name_of(errno));
    }
    return 0;
}
