/* copy FROM TO: a careful copy that goes on after short reads and writes. Says how many of each it met. */
#include "guest.h"
#include <fcntl.h>

int main(int argc, char **argv) {
    static char buffer[4096];
    int from = open(argv[1], O_RDONLY), to = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (argc != 3 || from < 0 || to < 0) die("open");
    long short_reads = 0, short_writes = 0, got;
    while ((got = read(from, buffer, sizeof buffer)) > 0) {
        short_reads += got < (long)sizeof buffer;
        for (long done = 0; done < got;) {
            long put = write(to, buffer + done, got - done);
            if (put <= 0) die("write");
            short_writes += put < got - done;
            done += put;
        }
    }
    if (got < 0) die("read");
    say("short reads %ld short writes %ld\n", short_reads, short_writes);
    return 0;
}
