/* avx2.c: puts the AVX2 versions into the table, and measures what its int8 product can do. */
#include "avx2_int.h"
#include "attn_int.h"

void kern_avx2_fill(struct kern *t)
{
    t->act_bytes = avx2_act_bytes;
    t->act_pack = avx2_act_pack;
    t->mul_scratch = avx2_mul_scratch;
    t->mul = avx2_mul;
    t->unpack = avx2_unpack;
    t->to_f16 = avx2_to_f16;
    t->from_f16 = avx2_from_f16;
    t->add = avx2_add;
    t->rms_norm = avx2_rms_norm;
    t->silu_mul = avx2_silu_mul;
    t->rope = avx2_rope;
    t->attn_scratch = attn_pages_scratch;
    t->attn = avx2_attn;
}

/* vpmaddubsw, vpmaddwd, vpaddd on registers: eight chains hide the latency. */
uint64_t kern_avx2_int8_loop(uint64_t rounds)
{
    const __m256i one = _mm256_set1_epi16(1);
    __m256i w = _mm256_set1_epi8((char)(rounds & 15)), x = _mm256_set1_epi8(3), acc[8];
    for (int i = 0; i < 8; i++)
        acc[i] = _mm256_setzero_si256();
    for (uint64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < 8; i++) {
            __asm__("" : "+x"(w)); /* the product is to be done again each time */
            __m256i fours = _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), one);
            acc[i] = _mm256_add_epi32(acc[i], fours);
        }
        for (int i = 0; i < 8; i++)
            __asm__ volatile("" : "+x"(acc[i]));
    }
    return rounds * 8 * 32;
}
