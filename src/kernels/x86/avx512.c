/* avx512.c: puts the AVX-512 versions into the table, and measures what vpdpbusd can do. */
#include "avx512_int.h"
#include "attn_int.h"

/* The table of the set before: one column of Q8_0 is multiplied by that. Its bytes need no work but
 * the products, which wait for memory whatever the vectors' width, and eight rows at a time keep
 * fewer streams open: 5 to 8 % at rows of 2048 elements. */
static struct kern below;

static bool is_below(enum kern_type type, size_t n)
{
    return type == KERN_Q8_0 && n == 1;
}

/* Columns packed for the set before serve no other type. */
static enum kern_type act_as(enum kern_type type, size_t n)
{
    enum kern_type as = avx512_act_as(type, n);
    return as != KERN_Q8_0 || n > 1 || is_below(type, n) ? as : KERN_Q4_0;
}

static size_t act_bytes(enum kern_type type, size_t n, size_t k)
{
    return is_below(type, n) ? below.act_bytes(type, n, k) : avx512_act_bytes(type, n, k);
}

static void act_pack(enum kern_type type, const float *x, size_t x_stride, size_t n, size_t k,
                     size_t c0, size_t c1, void *out)
{
    if (is_below(type, n))
        below.act_pack(type, x, x_stride, n, k, c0, c1, out);
    else
        avx512_act_pack(type, x, x_stride, n, k, c0, c1, out);
}

static size_t mul_scratch(enum kern_type type, size_t n, size_t k)
{
    return is_below(type, n) ? below.mul_scratch(type, n, k) : avx512_mul_scratch(type, n, k);
}

void avx512_mul(const struct kern_mul *m)
{
    if (is_below(m->w->type, m->n)) {
        below.mul(m);
        return;
    }
    enum act_kind kind = type_act(m->w->type);
    if (kind == ACT_FLOAT)
        avx512_mul_float(m);
    else if (kind == ACT_32 && m->n <= FEW)
        avx512_few_32(m);
    else if (kind == ACT_32)
        avx512_many_32(m);
    else if (m->n <= FEW)
        avx512_few_256(m);
    else
        avx512_many_256(m);
}

void kern_avx512_fill(struct kern *t)
{
    below = *t;
    t->act_as = act_as;
    t->act_bytes = act_bytes;
    t->act_pack = act_pack;
    t->mul_scratch = mul_scratch;
    t->mul = avx512_mul;
    t->attn_scratch = attn_pages_scratch;
    t->attn = avx512_attn;
}

/* On registers; eight chains hide the latency. One piece of assembly, so that no compiler keeps the
 * sums in memory or finds that the products are all the same. */
uint64_t kern_avx512_int8_loop(uint64_t rounds)
{
    __m512i w = _mm512_set1_epi8((char)(rounds & 15)), x = _mm512_set1_epi8(3);
    __m512i a = w, b = w, c = w, d = w, e = w, f = w, g = w, h = w;
    for (uint64_t r = 0; r < rounds; r++)
        __asm__ volatile("vpdpbusd %9, %8, %0\n\tvpdpbusd %9, %8, %1\n\t"
                         "vpdpbusd %9, %8, %2\n\tvpdpbusd %9, %8, %3\n\t"
                         "vpdpbusd %9, %8, %4\n\tvpdpbusd %9, %8, %5\n\t"
                         "vpdpbusd %9, %8, %6\n\tvpdpbusd %9, %8, %7"
                         : "+v"(a), "+v"(b), "+v"(c), "+v"(d), "+v"(e), "+v"(f), "+v"(g), "+v"(h)
                         : "v"(w), "v"(x));
    return rounds * 8 * 64;
}
