/* kern.c: the table of operations: which sets this build and processor have, and the table of
 * each, made once. Called by whoever computes, at start. */
#include "kern_int.h"
#include "c_int.h"
#include "cpu_int.h"

#include <pthread.h>
#include <stdlib.h>

struct set {
    const char *name;
    enum cpu_set needs;
    void (*fill)(struct kern *t);
    kern_int8_loop *int8_loop;
};

/* Each set builds on the ones before it; best last. The build compiles x86/ and arm/ on the same
 * conditions.
 */
static const struct set sets[] = {
    {"c", CPU_C, kern_c_fill, kern_c_int8_loop},
#if defined(__x86_64__)
    {"avx2", CPU_AVX2, kern_avx2_fill, kern_avx2_int8_loop},
    {"avx512vnni", CPU_AVX512VNNI, kern_avx512_fill, kern_avx512_int8_loop},
#elif defined(__aarch64__)
    {"neon", CPU_NEON, kern_neon_fill, kern_neon_int8_loop},
#endif
};

#define SETS (sizeof sets / sizeof *sets)

static struct kern tables[SETS];
static const char *names[SETS + 1];
static size_t chosen;
static pthread_once_t once = PTHREAD_ONCE_INIT;

void kern_c_fill(struct kern *t)
{
    t->has = c_has;
    t->act_bytes = c_act_bytes;
    t->act_pack = c_act_pack;
    t->mul_scratch = c_mul_scratch;
    t->mul = c_mul;
    t->unpack = c_unpack;
    t->to_f16 = c_to_f16;
    t->from_f16 = c_from_f16;
    t->add = c_add;
    t->rms_norm = c_rms_norm;
    t->silu_mul = c_silu_mul;
    t->rope = c_rope;
    t->attn_scratch = c_attn_scratch;
    t->attn = c_attn;
    t->act_as = c_act_as;
    t->store = c_store;
    t->layer_norm = c_layer_norm;
    t->gelu_mul = c_gelu_mul;
    t->swiglu_oai = c_swiglu_oai;
    t->delta = c_delta;
}

static void make_tables(void)
{
    enum cpu_set best = cpu_best();
    const char *cap = getenv("WEIR_CPU");
    bool capped = false;
    for (size_t i = 0; i < SETS && sets[i].needs <= best; i++) {
        if (i > 0)
            tables[i] = tables[i - 1];
        sets[i].fill(&tables[i]);
        tables[i].name = sets[i].name;
        names[i] = sets[i].name;
        if (!capped)
            chosen = i;
        capped = capped || (cap && !strcmp(cap, sets[i].name));
    }
}

const struct kern *kern_get(void)
{
    pthread_once(&once, make_tables);
    return &tables[chosen];
}

const struct kern *kern_get_named(const char *name)
{
    pthread_once(&once, make_tables);
    for (size_t i = 0; i < SETS; i++)
        if (names[i] && !strcmp(names[i], name))
            return &tables[i];
    return NULL;
}

const char *const *kern_names(void)
{
    pthread_once(&once, make_tables);
    return names;
}

kern_int8_loop *kern_int8_best(void)
{
    pthread_once(&once, make_tables);
    return sets[chosen].int8_loop;
}
