/* dials HOST PORT ...: looks each host up and connects to it: "HOST: ERRNO". */
#include "guest.h"
#include <netdb.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found = NULL;
        int error = getaddrinfo(argv[i], argv[i + 1], &hints, &found);
        if (error) {
            say("%s: not found %d\n", argv[i], error);
            continue;
        }
        int fd = socket(found->ai_family, found->ai_socktype, 0);
        int result = connect(fd, found->ai_addr, found->ai_addrlen);
        say("%s: %s\n", argv[i], name_of(result ? errno : 0));
        close(fd);
        freeaddrinfo(found);
    }
    return 0;
}
