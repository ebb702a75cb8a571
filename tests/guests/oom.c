/* Builds a list until memory is out, as a careful program does: it says so and exits with 3. */
#include "guest.h"

struct node { struct node *next; char rest[120]; };

int main(void) {
    struct node *list = NULL;
    for (long i = 1; i <= 100000; i++) {
        struct node *node = malloc(sizeof *node);
        if (!node) {
            say("out of memory at %ld: %s\n", i, name_of(errno));
            return 3;
        }
        memset(node, 1, sizeof *node);
        node->next = list;
        list = node;
    }
    say("never out of memory\n");
    return 0;
}
