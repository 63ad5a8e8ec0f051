/* slice.c: a shorter slice for a thread that is waited for. glibc has no call for it, and the
 * kernel's header cannot stand beside <sched.h>: the record is laid out here. */
#include "slice.h"

#ifdef __linux__
#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RESET_ON_FORK                                                                              \
    1 /* threads started from here do not inherit the slice; nor a nice below 0                    \
       */

struct attr { /* sched_setattr(2) */
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

void slice_shorten(void)
{
    struct attr a = {0};
    if (syscall(SYS_sched_getattr, 0, &a, sizeof a, 0) != 0)
        return;
    if ((a.policy != SCHED_OTHER && a.policy != SCHED_BATCH) || a.nice < 0)
        return;
    a.flags |= RESET_ON_FORK;
    a.runtime = SLICE_SHORT_NS;
    syscall(SYS_sched_setattr, 0, &a, 0); /* not being allowed to is no error: only slower */
}
#else
void slice_shorten(void)
{
}
#endif
