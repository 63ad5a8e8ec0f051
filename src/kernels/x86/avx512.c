/* avx512.c: puts the AVX-512 versions into the table, and measures what vpdpbusd can do. */
#include "avx512_int.h"
#include "attn_int.h"

void avx512_mul(const struct kern_mul *m)
{
    if (!is_quant(m->w->type))
        avx512_mul_float(m);
    else if (m->n <= FEW)
        avx512_mul_few(m);
    else
        avx512_mul_many(m);
}

void kern_avx512_fill(struct kern *t)
{
    t->act_bytes = avx512_act_bytes;
    t->act_pack = avx512_act_pack;
    t->mul_scratch = avx512_mul_scratch;
    t->mul = avx512_mul;
    t->attn_scratch = attn_pages_scratch;
    t->attn = avx512_attn;
}

/* On registers; twelve chains hide the latency. */
uint64_t kern_avx512_int8_loop(uint64_t rounds)
{
    __m512i w = _mm512_set1_epi8((char)(rounds & 15)), x = _mm512_set1_epi8(3), acc[12];
    for (int i = 0; i < 12; i++)
        acc[i] = _mm512_setzero_si512();
    for (uint64_t r = 0; r < rounds; r++)
        for (int i = 0; i < 12; i++) {
            acc[i] = _mm512_dpbusd_epi32(acc[i], w, x);
            __asm__ volatile("" : "+v"(acc[i]));
        }
    return rounds * 12 * 64;
}
