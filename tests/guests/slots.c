/* Compares what the shim finds behind its names with what dlsym finds. Arguments: where in the shim the section
   chaos_slots is, and its size. Each entry holds offsets from itself: of the slot, of another slot that serves instead
   (0: none), a hash, the name. A slot holds the function, or until the first call the stub that finds it. */
#define _GNU_SOURCE
#include "guest.h"
#include <dlfcn.h>

struct entry { int slot, alias; unsigned hash; int name; };

static void *at(struct entry *entry, int offset) { return (char *)entry + offset; }

/* The target of the first instruction with this opcode and a 32-bit offset. */
static void *target(unsigned char *code, unsigned char opcode) {
    while (*code != opcode) code++;
    return code + 5 + *(int *)(code + 1);
}

/* What a slot's function is: a stub names its entry (lea r11, [rip + it]) and jumps to where the finder is called. */
static void *resolved(struct entry *entry, void *shim) {
    unsigned char *is = *(unsigned char **)at(entry, entry->slot);
    Dl_info found;
    if (!dladdr(is, &found) || found.dli_fbase != shim || is[0] != 0x4c || is[1] != 0x8d || is[2] != 0x1d) return is;
    if (is + 7 + *(int *)(is + 3) != (unsigned char *)entry) die("a stub of another entry");
    void *(*find)(struct entry *) = (void *(*)(struct entry *))target(target(is + 7, 0xe9), 0xe8);
    return find(entry);
}

int main(int argc, char **argv) {
    void *(*expected)(const char *) = (void *(*)(const char *))dlsym(RTLD_DEFAULT, "found_by_dlsym");
    Dl_info shim, found;
    if (argc < 3 || !expected || !dladdr(dlsym(RTLD_DEFAULT, "vfork"), &shim)) die("the shim is not here");
    struct entry *first = (void *)((char *)shim.dli_fbase + strtol(argv[1], NULL, 0));
    struct entry *end = (void *)((char *)first + strtol(argv[2], NULL, 0));
    int same = 0, wrong = 0;
    for (struct entry *entry = first; entry < end; entry++) {
        const char *name = at(entry, entry->name);
        void *is = resolved(entry, shim.dli_fbase), *wanted = expected(name);
        if (wanted && is == wanted) same++;
        else if (!wanted && entry->alias && is == *(void **)at(entry, entry->alias)) continue;
        else if (!wanted && !entry->alias && dladdr(is, &found) && found.dli_fbase == shim.dli_fbase) continue;
        else say("%s: %p instead of %p\n", name, is, wanted), wrong++;
    }
    say("of %d: wrong %d\n", (int)(end - first), wrong);
    return same > 50 ? 0 : 1;
}
