/* memory.c: what the machine has: how much memory is free, what of it the cache may have, and how
 * many threads compute.
 *
 * Context never shrinks silently: what the user asked for is had or refused with the missing bytes.
 * Only where nothing was asked is the model's own context capped by what is free. */
#include "engine_int.h"
#include "engine_memory_int.h"

#include <sched.h>
#include <stdio.h>
#include <unistd.h>

/* Left to the rest of the machine. */
#define SPARE_BYTES (256ull << 20)
/* Snapshots that each session has room for, where the model needs them. */
#define KEPT_SNAPSHOTS 4
/* Positions behind which every window is full. */
#define LONG_SESSION (MODEL_MAX_POSITIONS / 4)

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

uint64_t engine_memory_resident(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long long all = 0, pages = 0;
    if (!f)
        return 0;
    if (fscanf(f, "%llu %llu", &all, &pages) != 2)
        pages = 0;
    fclose(f);
    long size = sysconf(_SC_PAGESIZE);
    return size > 0 ? pages * (uint64_t)size : 0;
}

int engine_threads(int asked)
{
    cpu_set_t set;
    if (asked > 0)
        return asked;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : n > 256 ? 256 : n;
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

/* The largest batch whose scratch is small beside the weights, so that a small file never costs
 * much more than itself. */
static int batch_for(const struct model *m, const struct memory_plan *p)
{
    uint64_t most = model_weight_bytes(m) / 4 + (4u << 20);
    int need = p->parallel + (int)p->draft, batch = ENGINE_BATCH_MAX;
    int least = need > ENGINE_BATCH_MIN ? need : ENGINE_BATCH_MIN;
    while (batch / 2 >= least && model_run_bytes(m, p->threads, batch, need) > most)
        batch /= 2;
    return batch > need ? batch : need;
}

/* A guess that does not come true is cut off again, which recurrent state does not allow. */
static size_t draft_of(const struct model *m, int asked)
{
    if (asked < 0 || model_kv_state_bytes(m) > 0)
        return 0;
    return asked == 0 || asked > ENGINE_DRAFT ? ENGINE_DRAFT : (size_t)asked;
}

/* The most positions, in whole pages, of one session within `have` bytes, at most `ctx`. */
static int32_t most_positions(const struct model *m, enum model_cache c, int32_t slice,
                              uint64_t have, int32_t ctx)
{
    int32_t low = 0, high = (ctx + KERN_PAGE - 1) / KERN_PAGE;
    while (low < high) {
        int32_t mid = low + (high - low + 1) / 2;
        if (model_kv_need(m, c, mid * KERN_PAGE, slice) <= have)
            low = mid;
        else
            high = mid - 1;
    }
    return low * KERN_PAGE < ctx ? low * KERN_PAGE : ctx;
}

/* What all sessions may take: an explicit amount is taken whole. Otherwise all may be full and have
 * some snapshots, but half of the free memory is left alone as long as one session has what it
 * needs. */
static uint64_t limit_of(const struct engine_params *p, uint64_t one, uint64_t snapshot,
                         uint64_t have, int parallel)
{
    uint64_t want = (one + KEPT_SNAPSHOTS * snapshot) * (uint64_t)parallel;
    if (p->kv_bytes)
        return p->kv_bytes;
    if (want > have / 2)
        want = have / 2 > one ? have / 2 : one;
    return want;
}

/* An encoder keeps nothing between batches. Its batch holds the longest text, or several. */
static void plan_encoder(const struct model *m, const struct engine_params *p,
                         struct memory_plan *out)
{
    int32_t ctx = model_traits(m)->ctx_train;
    ctx = ctx < MODEL_BATCH_MAX ? ctx : MODEL_BATCH_MAX;
    ctx = p->ctx > 0 && p->ctx < ctx ? p->ctx : ctx;
    *out = (struct memory_plan){.ctx = ctx,
                                .threads = engine_threads(p->threads),
                                .batch = ctx > ENGINE_BATCH_MAX ? ctx : ENGINE_BATCH_MAX,
                                .wanted = ENGINE_EMBEDS};
}

int memory_plan(const struct model *m, const struct engine_params *p, struct memory_plan *out,
                struct err *e)
{
    enum model_cache c = p->cache;
    if (model_is_encoder(m)) {
        plan_encoder(m, p, out);
        return 0;
    }
    int rc = model_cache_check(m, c, e);
    if (rc)
        return rc;
    struct memory_plan plan = {.threads = engine_threads(p->threads),
                               .parallel = p->parallel > 0 ? p->parallel : ENGINE_PARALLEL,
                               .draft = draft_of(m, p->draft)};
    int32_t slice = plan.batch = batch_for(m, &plan);
    uint64_t have = p->kv_bytes ? p->kv_bytes : budget_of(m);
    const char *what = p->kv_bytes ? "the limit is" : "free are";
    int32_t ctx = p->ctx > 0 ? p->ctx : model_traits(m)->ctx_train;
    int32_t most = most_positions(m, c, slice, have, ctx);
    if (p->ctx > 0 && ctx > most)
        return refuse((uint64_t)ctx, model_kv_need(m, c, ctx, slice), have, what, e);
    if (most < KERN_PAGE && most < ctx)
        return refuse(KERN_PAGE, model_kv_need(m, c, KERN_PAGE, slice), have, what, e);
    uint64_t one = model_kv_need(m, c, most, slice), snapshot = model_kv_snapshot_bytes(m, c);
    plan.ctx = most;
    /* Guesses use the rows of sessions that are not there. */
    plan.wanted = plan.parallel > (int)plan.draft ? plan.parallel : (int)plan.draft + 1;
    plan.kv_bytes = limit_of(p, one, snapshot, have, plan.parallel);
    *out = plan;
    return 0;
}

/* What sessions take, and the sampler that their tokens are drawn with. */
static void count_cache(const struct model *m, const struct engine_params *p,
                        const struct memory_plan *plan, struct engine_memory *v)
{
    uint64_t full = (uint64_t)model_kv_need(m, p->cache, 2 * LONG_SESSION, plan->batch) -
                    model_kv_need(m, p->cache, LONG_SESSION, plan->batch);
    v->kv_1k = full * 1000 / LONG_SESSION;
    v->kv_session = model_kv_need(m, p->cache, plan->ctx, plan->batch);
    v->kv_snapshot = model_kv_snapshot_bytes(m, p->cache);
    v->kv_limit = plan->kv_bytes;
    v->scratch += sampler_bytes(model_traits(m)->vocab);
}

int engine_memory_of(const struct model *m, const struct engine_params *p,
                     struct engine_memory *out, struct err *e)
{
    struct memory_plan plan;
    int rc = memory_plan(m, p, &plan, e);
    if (rc)
        return rc;
    struct engine_memory v = {
        .ctx = plan.ctx,
        .weights = model_weight_bytes(m),
        .scratch = model_run_bytes(m, plan.threads, plan.batch, plan.wanted),
    };
    if (!model_is_encoder(m))
        count_cache(m, p, &plan, &v);
    v.total = v.weights + v.kv_session + v.scratch;
    *out = v;
    return 0;
}
