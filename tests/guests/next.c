/* Preloaded behind the shim: what dlsym(RTLD_NEXT) finds from here, it must find as well. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <features.h>

void *found_by_dlsym(const char *name) {
#if defined(__GLIBC__) && __GLIBC__ == 2 && __GLIBC_MINOR__ < 36
    /* There RTLD_NEXT takes the oldest version instead of the default one (glibc bug 14932); a handle does not, and this
       one stands for libpthread, then libc. */
    void *found = dlsym(dlopen("libpthread.so.0", RTLD_LAZY | RTLD_NOLOAD), name);
    if (found) return found;
#endif
    return dlsym(RTLD_NEXT, name);
}
