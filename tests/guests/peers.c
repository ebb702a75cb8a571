/* peers WHERE...: connects to each place and says "WHERE ERRNO". A place is A.B.C.D:PORT, [V6]:PORT, unix:PATH, or
   name:HOST:PORT, which is looked up first. */
#include "guest.h"
#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>

static int try(const void *address, socklen_t size) {
    int fd = socket(((const struct sockaddr *)address)->sa_family, SOCK_STREAM, 0);
    errno = 0;
    int error = connect(fd, address, size) < 0 ? errno : 0;
    close(fd);
    return error;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        char place[200];
        snprintf(place, sizeof place, "%s", argv[i]);
        int error = 0;
        char *port = strrchr(place, ':');
        *port++ = 0;
        if (strcmp(place, "unix") == 0) {
            struct sockaddr_un address = {.sun_family = AF_UNIX};
            strncpy(address.sun_path, port, sizeof address.sun_path - 1);
            error = try(&address, sizeof address);
        } else if (strncmp(place, "name:", 5) == 0) {
            struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *list;
            int eai = getaddrinfo(place + 5, port, &hints, &list);
            if (eai) { say("%s lookup %d\n", argv[i], eai); continue; }
            error = try(list->ai_addr, list->ai_addrlen);
            freeaddrinfo(list);
        } else if (place[0] == '[') {
            struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(port))};
            place[strlen(place) - 1] = 0;
            if (inet_pton(AF_INET6, place + 1, &address.sin6_addr) != 1) die(place);
            error = try(&address, sizeof address);
        } else {
            struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
            if (inet_pton(AF_INET, place, &address.sin_addr) != 1) die(place);
            error = try(&address, sizeof address);
        }
        say("%s %s\n", argv[i], name_of(error));
    }
    return 0;
}
