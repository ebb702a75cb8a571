/* Compares what the shim has found behind its names with what dlsym finds. Arguments: where in the shim the section
   chaos_slots is, and its size. Each entry holds offsets from itself: of the slot, of another slot that serves instead
   (0: none; 1: none, and the slot stays empty), a hash, the name. */
#define _GNU_SOURCE
#include "guest.h"
#include <dlfcn.h>

struct entry { int slot, alias; unsigned hash; int name; };

static void *at(struct entry *entry, int offset) { return (char *)entry + offset; }

int main(int argc, char **argv) {
    void *(*expected)(const char *) = (void *(*)(const char *))dlsym(RTLD_DEFAULT, "found_by_dlsym");
    Dl_info shim, found;
    if (argc < 3 || !expected || !dladdr(dlsym(RTLD_DEFAULT, "vfork"), &shim)) die("the shim is not here");
    struct entry *first = (void *)((char *)shim.dli_fbase + strtol(argv[1], NULL, 0));
    struct entry *end = (void *)((char *)first + strtol(argv[2], NULL, 0));
    int same = 0, served = 0, missing = 0, wrong = 0;
    for (struct entry *entry = first; entry < end; entry++) {
        const char *name = at(entry, entry->name);
        void *is = *(void **)at(entry, entry->slot), *wanted = expected(name);
        int has_alias = entry->alias != 0 && entry->alias != 1;
        if (wanted && is == wanted) same++;
        else if (!wanted && has_alias && is == *(void **)at(entry, entry->alias)) served++;
        else if (!wanted && entry->alias == 1 && !is) missing++;
        else if (!wanted && entry->alias == 0 && dladdr(is, &found) && found.dli_fbase == shim.dli_fbase) missing++;
        else say("%s: %p instead of %p\n", name, is, wanted), wrong++;
    }
    say("of %d: wrong %d\n", (int)(end - first), wrong);
    return same > 50 ? 0 : 1;
}
