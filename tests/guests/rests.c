/* Sleeps until a signal ends it. */
#include "guest.h"

int main(void) {
    for (;;) pause();
}
