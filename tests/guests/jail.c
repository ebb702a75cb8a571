/* jail DIRECTORY PROGRAM: changes its root to DIRECTORY, reads /data.bin ten times there, then runs PROGRAM in it. Says
   how many reads failed. */
#include "guest.h"
#include <fcntl.h>
#include <sys/wait.h>

int main(int argc, char **argv) {
    if (argc != 3 || chroot(argv[1]) || chdir("/")) die("chroot (must be root)");
    int fd = open("/data.bin", O_RDONLY), failed = 0, status = -1;
    char byte;
    for (int i = 0; i < 10; i++) failed += read(fd, &byte, 1) < 0;
    pid_t pid = fork();
    if (pid == 0) {
        execl(argv[2], argv[2], "/data.bin", NULL);
        _exit(97);
    }
    waitpid(pid, &status, 0);
    say("failed %d child %d\n", failed, status);
    return 0;
}
