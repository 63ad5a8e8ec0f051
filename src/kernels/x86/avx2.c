/* avx2.c: puts the AVX2 versions into the table, and measures what its int8 product can do. */
#include "avx2_int.h"
#include "attn_int.h"

void kern_avx2_fill(struct kern *t)
{
    t->act_as = avx2_act_as;
    t->act_bytes = avx2_act_bytes;
    t->act_pack = avx2_act_pack;
    t->mul_scratch = avx2_mul_scratch;
    t->mul = avx2_mul;
    t->unpack = avx2_unpack;
    t->store = avx2_store;
    t->to_f16 = avx2_to_f16;
    t->from_f16 = avx2_from_f16;
    t->add = avx2_add;
    t->rms_norm = avx2_rms_norm;
    t->silu_mul = avx2_silu_mul;
    t->rope = avx2_rope;
    t->layer_norm = avx2_layer_norm;
    t->gelu_mul = avx2_gelu_mul;
    t->swiglu_oai = avx2_swiglu_oai;
    t->delta = avx2_delta;
    t->attn_scratch = attn_pages_scratch;
    t->attn = avx2_attn;
}

#define PRODUCT(acc, t)                                                                            \
    "vpmaddubsw %7, %6, " t "\n\tvpmaddwd %8, " t ", " t "\n\tvpaddd " t ", " acc ", " acc "\n\t"

/* vpmaddubsw, vpmaddwd, vpaddd on registers; the steps do not wait for one another but for the
 * last. One piece of assembly, so that no compiler keeps the sums in memory or finds that the
 * products are all the same. */
uint64_t kern_avx2_int8_loop(uint64_t rounds)
{
    const __m256i one = _mm256_set1_epi16(1);
    __m256i w = _mm256_set1_epi8((char)(rounds & 15)), x = _mm256_set1_epi8(3);
    __m256i a = w, b = w, t0 = w, t1 = w, t2 = w, t3 = w;
    for (uint64_t r = 0; r < rounds; r++)
        __asm__ volatile(PRODUCT("%0", "%2") PRODUCT("%1", "%3") PRODUCT("%0", "%4")
                             PRODUCT("%1", "%5")
                         : "+x"(a), "+x"(b), "+x"(t0), "+x"(t1), "+x"(t2), "+x"(t3)
                         : "x"(w), "x"(x), "x"(one));
    return rounds * 4 * 32;
}
