/* kv.c: the memory that state lives in: one pool of units for each class of layers (state_int.h),
 * and one limit for them together.
 *
 * A pool is address space reserved at once; a unit costs memory when it is first written. Units
 * given back stay memory and are handed out again before fresh ones; when another class wants the
 * bytes they are returned to the system first, so that what is resident never passes the limit. Not
 * thread-safe: the engine's thread owns the pools. Sequences (seq.c) are the only callers. */
#include "model_int.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const struct {
    const char *name;
    enum kern_type type;
    size_t block, bytes; /* elements and bytes of a block of a row */
} caches[MODEL_CACHES] = {
    [MODEL_CACHE_F16] = {"f16", KERN_F16, 1, 2},
    [MODEL_CACHE_F32] = {"f32", KERN_F32, 1, 4},
    [MODEL_CACHE_Q8_0] = {"q8_0", KERN_Q8_0, 32, 34},
    [MODEL_CACHE_Q4_0] = {"q4_0", KERN_Q4_0, 32, 18},
};

const char *model_cache_name(enum model_cache c)
{
    return caches[c].name;
}

enum kern_type model_cache_kern(enum model_cache c)
{
    return caches[c].type;
}

bool model_cache_of(const char *name, enum model_cache *out)
{
    for (int i = 0; i < MODEL_CACHES; i++)
        if (strcmp(name, caches[i].name) == 0) {
            *out = (enum model_cache)i;
            return true;
        }
    return false;
}

int model_cache_check(const struct model *m, enum model_cache c, struct err *e)
{
    if ((size_t)m->t.head_dim % caches[c].block == 0)
        return 0;
    return err_set(e, ERR_UNSUPPORTED,
                   "a %s cache keeps blocks of %zu values and this model's heads have %d: use f16",
                   caches[c].name, caches[c].block, m->t.head_dim);
}

/* ---- sizes ---- */

static size_t head_bytes(const struct model *m, enum model_cache c)
{
    size_t blocks = ((size_t)m->t.head_dim + caches[c].block - 1) / caches[c].block;
    return KERN_PAGE * blocks * caches[c].bytes;
}

static enum model_layer_kind kind_of(const struct model *m, int layer)
{
    return m->t.kinds ? (enum model_layer_kind)m->t.kinds[layer] : MODEL_LAYER_FULL;
}

enum state_class kv_class_of(const struct model *m, int layer)
{
    switch (kind_of(m, layer)) {
    case MODEL_LAYER_WINDOW:
    case MODEL_LAYER_CHUNK: return m->t.window > 0 ? STATE_WINDOW : STATE_FULL;
    case MODEL_LAYER_RECURRENT: return STATE_RECURRENT;
    case MODEL_LAYER_FULL: break;
    }
    return STATE_FULL;
}

size_t state_conv_floats(const struct model *m)
{
    const struct model_delta *d = &m->t.delta;
    size_t channels =
        2 * (size_t)d->key_heads * (size_t)d->key_dim + (size_t)d->heads * (size_t)d->value_dim;
    return d->conv > 0 ? (size_t)(d->conv - 1) * channels : 0;
}

size_t state_layer_floats(const struct model *m)
{
    const struct model_delta *d = &m->t.delta;
    size_t n = state_conv_floats(m) + (size_t)d->heads * (size_t)d->key_dim * (size_t)d->value_dim;
    return (n + 15) / 16 * 16;
}

static size_t unit_bytes(const struct model *m, enum model_cache c, enum state_class class)
{
    size_t layers = 0;
    for (int i = 0; i < m->t.layers; i++)
        layers += kv_class_of(m, i) == class;
    if (class == STATE_RECURRENT)
        return layers * state_layer_floats(m) * sizeof(float);
    return layers * (size_t)m->t.kv_heads * 2 * head_bytes(m, c);
}

uint64_t model_kv_page_bytes(const struct model *m, enum model_cache c)
{
    return (uint64_t)unit_bytes(m, c, STATE_FULL) + unit_bytes(m, c, STATE_WINDOW);
}

uint64_t model_kv_state_bytes(const struct model *m)
{
    return unit_bytes(m, MODEL_CACHE_F16, STATE_RECURRENT);
}

static bool has_kind(const struct model *m, enum model_layer_kind kind)
{
    for (int i = 0; i < m->t.layers; i++)
        if (kind_of(m, i) == kind)
            return true;
    return false;
}

static int32_t window_page(const struct model *m, int32_t position)
{
    int32_t from = position;
    for (int k = MODEL_LAYER_WINDOW; k <= MODEL_LAYER_CHUNK; k++) {
        int32_t f = state_from(&m->t, (enum model_layer_kind)k, position);
        if (has_kind(m, (enum model_layer_kind)k) && f < from)
            from = f;
    }
    return from / KERN_PAGE;
}

static int32_t kept_page(const struct model *m, int32_t len)
{
    return window_page(m, len > MODEL_UNDO ? len - MODEL_UNDO : 0);
}

/* A window of w positions and a stretch of n, wherever they begin in a page. */
static int32_t window_pages(const struct model *m, int32_t slice, int32_t len, int32_t positions)
{
    int64_t span = (int64_t)m->t.window + MODEL_UNDO + slice;
    int64_t most = (span + KERN_PAGE - 2) / KERN_PAGE + 1;
    int64_t all = state_pages_for(positions) - kept_page(m, len);
    return (int32_t)(all < most ? all : most);
}

uint64_t model_kv_need(const struct model *m, enum model_cache c, int32_t positions, int32_t slice)
{
    return (uint64_t)state_pages_for(positions) * unit_bytes(m, c, STATE_FULL) +
           (uint64_t)window_pages(m, slice, 0, positions) * unit_bytes(m, c, STATE_WINDOW) +
           2 * model_kv_state_bytes(m);
}

uint64_t model_kv_snapshot_bytes(const struct model *m, enum model_cache c)
{
    uint64_t window = ((uint64_t)m->t.window + KERN_PAGE - 2) / KERN_PAGE + 1;
    return window * unit_bytes(m, c, STATE_WINDOW) + model_kv_state_bytes(m);
}

bool model_needs_snapshots(const struct model *m)
{
    return model_kv_snapshot_bytes(m, MODEL_CACHE_F16) > 0;
}

/* ---- making ---- */

static void *reserve(size_t n)
{
    void *p =
        mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static int pool_init(struct state_pool *p, size_t unit, uint64_t limit, int least, struct err *e)
{
    if (unit == 0)
        return 0;
    uint64_t n = limit / unit;
    if (n > INT32_MAX / KERN_PAGE)
        n = INT32_MAX / KERN_PAGE;
    if (n < (uint64_t)least)
        return err_set(e, ERR_NOMEM, "%llu bytes do not hold one page of %zu bytes",
                       (unsigned long long)limit, unit);
    p->unit = unit;
    p->n = (int32_t)n;
    p->meta_bytes = (size_t)n * 2 * sizeof(int32_t);
    p->mem = reserve((size_t)n * unit);
    p->free = reserve(p->meta_bytes);
    if (!p->mem || !p->free)
        return err_set(e, ERR_NOMEM, "cannot reserve %llu bytes for the cache",
                       (unsigned long long)(n * unit));
    p->refs = p->free + n;
    return 0;
}

static void pool_done(struct state_pool *p)
{
    if (p->mem)
        munmap(p->mem, (size_t)p->n * p->unit);
    if (p->free)
        munmap(p->free, p->meta_bytes);
}

static void fill_places(struct model_kv *kv)
{
    int32_t count[STATE_CLASSES] = {0};
    for (int i = 0; i < kv->m->t.layers; i++)
        kv->place[i] = count[kv_class_of(kv->m, i)]++;
}

int model_kv_new(const struct model *m, uint64_t bytes, enum model_cache c, struct model_kv **out,
                 struct err *e)
{
    int rc = model_cache_check(m, c, e);
    if (rc)
        return rc;
    struct model_kv *kv = calloc(1, sizeof *kv);
    if (kv)
        kv->place = calloc((size_t)m->t.layers, sizeof *kv->place);
    if (!kv || !kv->place) {
        free(kv);
        return err_set(e, ERR_NOMEM, "no memory for a page pool");
    }
    kv->m = m;
    kv->cache = c;
    kv->type = caches[c].type;
    kv->head_bytes = head_bytes(m, c);
    kv->limit = bytes;
    kv->slice = MODEL_SLICE;
    fill_places(kv);
    for (int i = 0; !rc && i < STATE_CLASSES; i++) {
        size_t unit = unit_bytes(m, c, (enum state_class)i);
        rc = pool_init(&kv->pool[i], unit, bytes, i == STATE_RECURRENT ? 2 : 1, e);
    }
    if (rc) {
        model_kv_free(kv);
        return rc;
    }
    *out = kv;
    return 0;
}

void model_kv_free(struct model_kv *kv)
{
    if (!kv)
        return;
    for (int i = 0; i < STATE_CLASSES; i++)
        pool_done(&kv->pool[i]);
    free(kv->place);
    free(kv);
}

void model_kv_set_slice(struct model_kv *kv, int32_t positions)
{
    assert(positions >= 1 && kv->used == 0);
    kv->slice = positions;
}

/* ---- what is there ---- */

enum model_cache model_kv_cache(const struct model_kv *kv)
{
    return kv->cache;
}

uint64_t model_kv_resident(const struct model_kv *kv)
{
    return kv->touched;
}

uint64_t model_kv_identity(struct model_kv *kv)
{
    uint64_t id = atomic_load(&kv->identity);
    if (id == 0) { /* two threads that ask at once find the same */
        id = model_identity(kv->m);
        atomic_store(&kv->identity, id);
    }
    return id;
}

uint64_t model_kv_used(const struct model_kv *kv)
{
    return kv->used;
}

uint64_t model_kv_total(const struct model_kv *kv)
{
    return kv->limit;
}

int model_kv_pages(const struct model_kv *kv)
{
    return kv->pool[STATE_FULL].n;
}

int model_kv_pages_free(const struct model_kv *kv)
{
    size_t unit = kv->pool[STATE_FULL].unit;
    return unit ? (int)((kv->limit - kv->used) / unit) : 0;
}

int32_t kv_window_page(const struct model_kv *kv, int32_t position)
{
    return window_page(kv->m, position);
}

int32_t kv_kept_page(const struct model_kv *kv, int32_t len)
{
    return kept_page(kv->m, len);
}

int32_t kv_window_pages(const struct model_kv *kv, int32_t len, int32_t positions)
{
    return window_pages(kv->m, kv->slice, len, positions);
}

/* ---- units ---- */

bool kv_has_all(const struct model_kv *kv, const int32_t n[STATE_CLASSES])
{
    uint64_t want = 0;
    for (int i = 0; i < STATE_CLASSES; i++) {
        const struct state_pool *p = &kv->pool[i];
        want += (uint64_t)(n[i] > 0 ? n[i] : 0) * p->unit;
        if (p->unit && n[i] > p->nhot + p->ncold + p->n - p->nfresh)
            return false;
    }
    return want <= kv->limit - kv->used;
}

/* The whole memory pages inside a unit go back to the system; it reads as zeros afterwards. */
static void chill(struct model_kv *kv, enum state_class c)
{
    struct state_pool *p = &kv->pool[c];
    int32_t unit = p->free[--p->nhot];
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)kv_unit(kv, c, unit) + page - 1) / page * page;
    uintptr_t to = ((uintptr_t)kv_unit(kv, c, unit) + p->unit) / page * page;
    if (from < to)
        madvise((void *)from, to - from, MADV_DONTNEED);
    p->free[p->n - ++p->ncold] = unit;
    kv->touched -= p->unit;
}

static void make_room(struct model_kv *kv, size_t bytes)
{
    for (int i = 0; i < STATE_CLASSES; i++)
        while (kv->touched + bytes > kv->limit && kv->pool[i].nhot > 0)
            chill(kv, (enum state_class)i);
}

int32_t kv_take(struct model_kv *kv, enum state_class c)
{
    struct state_pool *p = &kv->pool[c];
    int32_t unit;
    if (p->nhot > 0) {
        unit = p->free[--p->nhot];
    } else {
        make_room(kv, p->unit);
        kv->touched += p->unit;
        assert(p->ncold > 0 || p->nfresh < p->n);
        unit = p->ncold > 0 ? p->free[p->n - p->ncold--] : p->nfresh++;
    }
    p->refs[unit] = 1;
    kv->used += p->unit;
    return unit;
}

void kv_ref(struct model_kv *kv, enum state_class c, int32_t unit)
{
    kv->pool[c].refs[unit]++;
}

void kv_drop(struct model_kv *kv, enum state_class c, int32_t unit)
{
    struct state_pool *p = &kv->pool[c];
    if (--p->refs[unit] > 0)
        return;
    p->free[p->nhot++] = unit;
    kv->used -= p->unit;
}
