// Runs a program under a filter as a sandbox has it: HOW PROGRAM ARGUMENT...
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Which of its arguments is looked at. */
static int which;

static int install(int number, int argument, unsigned answer, unsigned flags) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args) + 8 * which),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, argument, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, answer),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    // Whatever the argument is.
    if (argument == -1) {
        filter[2] = filter[4];
    }
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

int main(int argc, char **argv) {
    const unsigned refuse = SECCOMP_RET_ERRNO | EPERM;
    const char *how = argc > 2 ? argv[1] : "";
    int done = -1;
    // As root without no_new_privs, which must stay as it is for the `prctl` sandbox to matter.
    if (!strcmp(how, "errno")) done = install(SYS_seccomp, -1, refuse, 0);
    if (!strcmp(how, "kill")) done = install(SYS_seccomp, -1, SECCOMP_RET_KILL_PROCESS, 0);
    if (!strcmp(how, "prctl")) done = install(SYS_prctl, PR_SET_NO_NEW_PRIVS, refuse, 0);
    if (!strcmp(how, "pidfd")) done = install(SYS_pidfd_getfd, -1, refuse, 0);
    if (!strcmp(how, "memory")) done = install(SYS_process_vm_readv, -1, refuse, 0);
    if (!strcmp(how, "ptrace")) done = install(SYS_ptrace, -1, refuse, 0);
    // Kernels before 6.6, 5.19 and 5.6 - of the last only that there is no openat2.
    if (!strcmp(how, "old")) {
        which = 1;
        done = install(SYS_ioctl, (int)0x40082104, SECCOMP_RET_ERRNO | EINVAL, 0);
        done |= install(SYS_seccomp, SECCOMP_FILTER_FLAG_NEW_LISTENER | 1 << 5, SECCOMP_RET_ERRNO | EINVAL, 0);
        done |= install(SYS_openat2, -1, SECCOMP_RET_ERRNO | ENOSYS, 0);
    }
    // Nobody ever asks for a call of that number, so nobody waits for the listener.
    if (!strcmp(how, "listener")) done = install(0x3fff, -1, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
    if (done < 0) {
        perror("jailed");
        return 99;
    }
    // Once its listener is closed, there may be another.
    if (done > 0) fcntl(done, F_SETFD, 0);
    execvp(argv[2], argv + 2);
    perror(argv[2]);
    return 98;
}
