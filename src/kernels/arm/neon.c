/* neon.c: puts the NEON versions into the table, and measures what its dot product can do. */
#include "neon_int.h"
#include "attn_int.h"

size_t neon_mul_scratch(enum kern_type type, size_t n, size_t k)
{
    (void)k;
    return type_act(type) == ACT_FLOAT ? 64 : n * ROWS * sizeof(float);
}

void neon_mul(const struct kern_mul *m)
{
    switch (type_act(m->w->type)) {
    case ACT_32: neon_mul_32(m); break;
    case ACT_256: neon_mul_256(m); break;
    default: neon_mul_float(m);
    }
}

void kern_neon_fill(struct kern *t)
{
    t->act_pack = neon_act_pack;
    t->mul_scratch = neon_mul_scratch;
    t->mul = neon_mul;
    t->unpack = neon_unpack;
    t->to_f16 = neon_to_f16;
    t->from_f16 = neon_from_f16;
    t->store = neon_store;
    t->add = neon_add;
    t->rms_norm = neon_rms_norm;
    t->layer_norm = neon_layer_norm;
    t->silu_mul = neon_silu_mul;
    t->gelu_mul = neon_gelu_mul;
    t->swiglu_oai = neon_swiglu_oai;
    t->rope = neon_rope;
    t->delta = neon_delta;
    t->attn_scratch = attn_pages_scratch;
    t->attn = neon_attn;
}

/* On registers; eight chains hide the latency. One piece of assembly, so that no compiler finds
 * that the products are all the same. */
uint64_t kern_neon_int8_loop(uint64_t rounds)
{
    int8x16_t w = vdupq_n_s8((int8_t)(rounds & 15)), x = vdupq_n_s8(3);
    int32x4_t a = vdupq_n_s32(0), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
    for (uint64_t r = 0; r < rounds; r++)
        __asm__ volatile("sdot %0.4s, %8.16b, %9.16b\n\tsdot %1.4s, %8.16b, %9.16b\n\t"
                         "sdot %2.4s, %8.16b, %9.16b\n\tsdot %3.4s, %8.16b, %9.16b\n\t"
                         "sdot %4.4s, %8.16b, %9.16b\n\tsdot %5.4s, %8.16b, %9.16b\n\t"
                         "sdot %6.4s, %8.16b, %9.16b\n\tsdot %7.4s, %8.16b, %9.16b"
                         : "+w"(a), "+w"(b), "+w"(c), "+w"(d), "+w"(e), "+w"(f), "+w"(g), "+w"(h)
                         : "w"(w), "w"(x));
    return rounds * 8 * 16;
}
