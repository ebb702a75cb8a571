/*
 * Steering chaos-exec from inside: what a program, or its tests, may call.
 *
 * Nothing has to be linked. A program that was compiled with this header runs without the shim as well: every
 * function then does nothing and answers ENOSYS (or 0, where it answers no errno), at the price of a comparison.
 * Other languages find the same functions among the global symbols of the process: in Python
 *
 *     chaos = ctypes.CDLL(None)
 *     if hasattr(chaos, "chaos_mark"): chaos.chaos_mark(b"load begins")
 *
 * Functions that return int answer 0, or an errno: ENOSYS without the shim or without a session, EINVAL for bad
 * arguments, ENOENT for a rule that is not there, ENOSPC where there is no room, EBUSY when another has been changing
 * the table for too long, ECANCELED when injection has ended for good. chaos_error() says more. They set no errno.
 * None of them may be called from a signal handler, but for chaos_fail, chaos_mark and chaos_event. chaos_set and
 * chaos_begin read text and want some 256 KB of stack.
 */
#ifndef CHAOS_EXEC_CHAOS_H
#define CHAOS_EXEC_CHAOS_H

#include <errno.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__PIC__) || defined(__PIE__)
/* A weak symbol, which the loader leaves at 0 without the shim. */
#define CHAOS_FUNCTION(result, name, parameters, arguments, otherwise)                                                  \
    extern result name##_of_shim parameters __asm__(#name) __attribute__((weak));                                      \
    static inline result name parameters __asm__(#name "_inlined");                                                    \
    static inline result name parameters { return name##_of_shim ? name##_of_shim arguments : (otherwise); }
#else
/* Linkers settle weak symbols of a program at a fixed address for good, so it asks when it runs. */
extern void *dlsym(void *, const char *) __attribute__((weak));
#define CHAOS_FUNCTION(result, name, parameters, arguments, otherwise)                                                  \
    static inline result name parameters __asm__(#name "_inlined");                                                    \
    static inline result name parameters {                                                                             \
        static result (*found) parameters;                                                                             \
        static int is_known;                                                                                           \
        if (!is_known) {                                                                                               \
            found = dlsym ? (result (*) parameters)dlsym((void *)0, #name) : (result (*) parameters)0;                 \
            is_known = 1;                                                                                              \
        }                                                                                                              \
        return found ? found arguments : (otherwise);                                                                  \
    }
#endif

/* Injects again, in the whole tree. */
CHAOS_FUNCTION(int, chaos_enable, (void), (), ENOSYS)

/* Injects nothing from now on, in the whole tree; what hangs goes on. */
CHAOS_FUNCTION(int, chaos_disable, (void), (), ENOSYS)

/* Changes a rule, named by its name or number: chaos_set("db", "rate=80% times=3"). */
CHAOS_FUNCTION(int, chaos_set, (const char *rule, const char *assignments), (rule, assignments), ENOSYS)

/*
 * Reads a number of a rule: "rate" (0 to 1), "every", "after", "times", "delay" (s), "in_force" (0 or 1), "matched";
 * with NULL for the rule one of the run: "enabled", "armed" (0 or 1), "rules", "injections", "left" (of max_faults; -1
 * without a limit).
 */
CHAOS_FUNCTION(int, chaos_get, (const char *rule, const char *what, double *value), (rule, what, value), ENOSYS)

/* Writes a moment into the log and the timeline. */
CHAOS_FUNCTION(int, chaos_mark, (const char *text), (text), ENOSYS)

/* Writes what a component of the program tells into the log; each may be NULL. Cut after 1000 bytes together. */
CHAOS_FUNCTION(int, chaos_event, (const char *component, const char *event, const char *data), (component, event, data),
               ENOSYS)

/* A figure that the program knows, for reports and gates. */
CHAOS_FUNCTION(int, chaos_metric, (const char *name, double value), (name, value), ENOSYS)

/*
 * A rule for the calling thread alone, until chaos_end() ends the latest: chaos_begin("read=EIO@50%"). Up to seven lie
 * within each other. The same text again takes no room in the session. Roles of the table are not known here.
 */
CHAOS_FUNCTION(int, chaos_begin, (const char *spec), (spec), ENOSYS)
CHAOS_FUNCTION(int, chaos_end, (void), (), ENOSYS)

/* The program says itself that it begins to get over a failure of something, and whether it has. */
CHAOS_FUNCTION(int, chaos_recovery_begin, (const char *what), (what), ENOSYS)
CHAOS_FUNCTION(int, chaos_recovery_end, (const char *what, int recovered), (what, recovered), ENOSYS)

/* Faults that were injected so far, in the whole tree. */
CHAOS_FUNCTION(uint64_t, chaos_injections, (void), (), 0)

/*
 * A failure point of the program's own: 0, or the errno with which to fail (or the value of a `return` fault). A rule
 * names it: {fault: error, point: "checkout", errno: ENOSPC}.
 */
CHAOS_FUNCTION(int, chaos_fail, (const char *name), (name), 0)

/* Why the latest of these functions that failed in this process did so; "" before. */
CHAOS_FUNCTION(const char *, chaos_error, (void), (), "")

#undef CHAOS_FUNCTION

#ifdef __cplusplus
}
#endif

#endif
