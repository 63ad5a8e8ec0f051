/* memory.c: what the machine has: how much memory is free, what of it the cache may have, and how
 * many threads compute.
 *
 * Context never shrinks silently: what the user asked for is had or refused with the missing bytes.
 * Only where nothing was asked is the model's own context capped by what is free. */
#include "engine_memory_int.h"

#include <sched.h>
#include <stdio.h>
#include <unistd.h>

/* Left to the rest of the machine. */
#define SPARE_BYTES (256ull << 20)

/* "MemAvailable:   123 kB" of /proc/meminfo; 0 where there is none. */
static uint64_t meminfo_available(void)
{
    FILE *f = fopen("/proc/meminfo", "re");
    if (!f)
        return 0;
    char line[256];
    unsigned long long kb = 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %llu kB", &kb) == 1)
            break;
    fclose(f);
    return kb * 1024;
}

static bool read_number(const char *path, uint64_t *out)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    unsigned long long v = 0;
    bool ok = fscanf(f, "%llu", &v) == 1;
    fclose(f);
    if (ok)
        *out = v;
    return ok;
}

uint64_t engine_memory_free(void)
{
    uint64_t available = meminfo_available(), limit, current;
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    if (available == 0 && pages > 0 && size > 0)
        available = (uint64_t)pages * (uint64_t)size / 2; /* no meminfo: half of what there is */
    if (read_number("/sys/fs/cgroup/memory.max", &limit) &&
        read_number("/sys/fs/cgroup/memory.current", &current)) {
        uint64_t room = limit > current ? limit - current : 0;
        available = room < available ? room : available;
    }
    return available;
}

int engine_threads(int asked)
{
    cpu_set_t set;
    if (asked > 0)
        return asked;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : n > 256 ? 256 : n;
}

static uint64_t pages_of(uint64_t positions)
{
    return (positions + KERN_PAGE - 1) / KERN_PAGE;
}

/* What may hold pages: free memory less the weights, which the map brings in as they are read. */
static uint64_t budget_of(const struct model *m)
{
    uint64_t free_bytes = engine_memory_free();
    uint64_t taken = model_weight_bytes(m) + SPARE_BYTES;
    return free_bytes > taken ? free_bytes - taken : 0;
}

static int refuse(uint64_t ctx, uint64_t need, uint64_t have, const char *what, struct err *e)
{
    return err_set(e, ERR_NOMEM,
                   "a context of %llu tokens needs %llu MiB of cache and %s %llu MiB: "
                   "%llu MiB are missing",
                   (unsigned long long)ctx, (unsigned long long)(need >> 20), what,
                   (unsigned long long)(have >> 20),
                   (unsigned long long)(((need - have) >> 20) + 1));
}

int memory_plan(const struct model *m, const struct engine_params *p, bool f32, int parallel,
                struct memory_plan *out, struct err *e)
{
    uint64_t page = model_kv_page_bytes(m, f32);
    uint64_t have = p->kv_bytes ? p->kv_bytes : budget_of(m);
    const char *what = p->kv_bytes ? "the limit is" : "free are";
    uint64_t ctx = p->ctx > 0 ? (uint64_t)p->ctx : (uint64_t)model_traits(m)->ctx_train;
    uint64_t most = have / page * KERN_PAGE;
    if (p->ctx > 0 && ctx > most)
        return refuse(ctx, pages_of(ctx) * page, have, what, e);
    if (most < KERN_PAGE)
        return refuse(KERN_PAGE, page, have, what, e);
    if (ctx > most)
        ctx = most;
    out->ctx = (int32_t)ctx;
    /* An explicit amount is taken whole. Otherwise all sessions may be full, but half of the free
     * memory is left alone as long as one session has what it needs. */
    uint64_t want = pages_of(ctx) * page * (uint64_t)parallel, one = pages_of(ctx) * page;
    if (p->kv_bytes)
        want = p->kv_bytes;
    else if (want > have / 2)
        want = have / 2 > one ? have / 2 : one;
    out->kv_bytes = want;
    return 0;
}
