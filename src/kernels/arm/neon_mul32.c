/* neon_mul32.c: products with weights in blocks of 32. Eight rows, some blocks at a time, are made
 * bytes once and multiplied with every column, whose sums wait in the scratch meanwhile. */
#include "neon_int.h"

#define CHUNK 8 /* blocks of a tile */

struct tile {
    float d[ROWS], m[ROWS];
    int8_t q[ROWS][BLOCK];
};

INLINE uint8x16_t low_nibbles(const uint8_t *p)
{
    return vandq_u8(vld1q_u8(p), vdupq_n_u8(15));
}

INLINE uint8x16_t high_nibbles(const uint8_t *p)
{
    return vshrq_n_u8(vld1q_u8(p), 4);
}

/* 16 where bit i of `bits` is set. */
INLINE uint8x16_t fifth_bits(uint32_t bits)
{
    static const uint8_t which[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t b = vcombine_u8(vdup_n_u8((uint8_t)bits), vdup_n_u8((uint8_t)(bits >> 8)));
    return vandq_u8(vtstq_u8(b, vld1q_u8(which)), vdupq_n_u8(16));
}

INLINE int8x16_t less(uint8x16_t q, int8_t by)
{
    return vsubq_s8(vreinterpretq_s8_u8(q), vdupq_n_s8(by));
}

/* Where the block has its nibbles, and where its fifth bits. */
INLINE const uint8_t *nibbles_of(enum kern_type type, const uint8_t *p)
{
    switch (type) {
    case KERN_MXFP4: return p + 1;
    case KERN_Q4_1: return p + 4;
    case KERN_Q5_0: return p + 6;
    case KERN_Q5_1: return p + 8;
    default: return p + 2;
    }
}

INLINE void decode(enum kern_type type, const uint8_t *p, int8_t q[BLOCK])
{
    if (type == KERN_Q8_0) {
        memcpy(q, p + 2, BLOCK);
        return;
    }
    uint8x16_t lo = low_nibbles(nibbles_of(type, p)), hi = high_nibbles(nibbles_of(type, p));
    int8_t offset = type == KERN_Q4_0 ? 8 : type == KERN_Q5_0 ? 16 : 0;
    if (type == KERN_Q5_0 || type == KERN_Q5_1) {
        uint32_t bits = load_u32(p + (type == KERN_Q5_0 ? 2 : 4));
        lo = vorrq_u8(lo, fifth_bits(bits));
        hi = vorrq_u8(hi, fifth_bits(bits >> 16));
    }
    int8x16_t a = less(lo, offset), b = less(hi, offset);
    if (type == KERN_IQ4_NL || type == KERN_MXFP4) {
        int8x16_t table = vld1q_s8(type == KERN_IQ4_NL ? iq4_values : mxfp4_values);
        a = vqtbl1q_s8(table, lo);
        b = vqtbl1q_s8(table, hi);
    }
    vst1q_s8(q, a);
    vst1q_s8(q + 16, b);
}

INLINE bool has_minimum(enum kern_type type)
{
    return type == KERN_Q4_1 || type == KERN_Q5_1;
}

INLINE void make_tile(enum kern_type type, const uint8_t *const p[ROWS], size_t b, size_t count,
                      struct tile *t)
{
    const size_t bytes = type_block_bytes(type);
    for (size_t i = 0; i < count; i++)
        for (size_t r = 0; r < ROWS; r++) {
            const uint8_t *block = p[r] + (b + i) * bytes;
            t[i].d[r] = type == KERN_MXFP4 ? e8m0_half(block[0]) : load_f16(block);
            t[i].m[r] = has_minimum(type) ? load_f16(block + 2) : 0;
            decode(type, block, t[i].q[r]);
        }
}

/* NC columns, `stride` blocks apart, with a tile. */
INLINE void tile_columns(const int NC, bool minimum, const struct tile *t, size_t count,
                         const struct c_act_32 *x, size_t stride, float32x4_t acc[][2])
{
    for (size_t i = 0; i < count; i++)
        for (int g = 0; g < 2; g++) {
            int32x4_t v[2][4];
            for (int r = 0; r < 4; r++) {
                int8x16_t lo = vld1q_s8(t[i].q[4 * g + r]), hi = vld1q_s8(t[i].q[4 * g + r] + 16);
                for (int c = 0; c < NC; c++) {
                    const int8_t *q = x[(size_t)c * stride + i].q;
                    v[c][r] = vdotq_s32(vdupq_n_s32(0), lo, vld1q_s8(q));
                    v[c][r] = vdotq_s32(v[c][r], hi, vld1q_s8(q + 16));
                }
            }
            float32x4_t d = vld1q_f32(t[i].d + 4 * g), m = vld1q_f32(t[i].m + 4 * g);
            for (int c = 0; c < NC; c++) {
                const struct c_act_32 *a = &x[(size_t)c * stride + i];
                float32x4_t dot = vcvtq_f32_s32(sums4(v[c]));
                acc[c][g] = vfmaq_f32(acc[c][g], vmulq_n_f32(d, a->d), dot);
                if (minimum)
                    acc[c][g] = vfmaq_f32(acc[c][g], m, vdupq_n_f32(a->d * (float)a->sum));
            }
        }
}

INLINE void columns(const int NC, bool minimum, const struct kern_mul *m, size_t b, size_t count,
                    const struct tile *t, size_t c)
{
    size_t blocks = m->w->k / BLOCK;
    float *waiting = (float *)m->scratch + c * ROWS;
    float32x4_t acc[2][2];
    for (int i = 0; i < NC; i++)
        for (int g = 0; g < 2; g++)
            acc[i][g] = b == 0 ? vdupq_n_f32(0) : vld1q_f32(waiting + i * ROWS + 4 * g);
    tile_columns(NC, minimum, t, count, (const struct c_act_32 *)m->act + c * blocks + b, blocks,
                 acc);
    for (int i = 0; i < NC; i++)
        for (int g = 0; g < 2; g++)
            vst1q_f32(waiting + i * ROWS + 4 * g, acc[i][g]);
}

INLINE void mul_type(enum kern_type type, const struct kern_mul *m)
{
    struct tile t[CHUNK];
    size_t blocks = m->w->k / BLOCK;
    for (size_t r = m->r0; r < m->r1; r += ROWS) {
        const uint8_t *p[ROWS];
        row_pointers(m, r, p);
        for (size_t b = 0; b < blocks; b += CHUNK) {
            size_t count = blocks - b < CHUNK ? blocks - b : CHUNK, c = 0;
            make_tile(type, p, b, count, t);
            for (; c + 2 <= m->n; c += 2)
                columns(2, has_minimum(type), m, b, count, t, c);
            if (c < m->n)
                columns(1, has_minimum(type), m, b, count, t, c);
        }
        for (size_t c = 0; c < m->n; c++) {
            const float *sum = (const float *)m->scratch + c * ROWS;
            put_rows(m, r, c, (float32x4_t[2]){vld1q_f32(sum), vld1q_f32(sum + 4)});
        }
    }
}

void neon_mul_32(const struct kern_mul *m)
{
    switch (m->w->type) {
    case KERN_Q8_0: mul_type(KERN_Q8_0, m); break;
    case KERN_Q4_0: mul_type(KERN_Q4_0, m); break;
    case KERN_Q4_1: mul_type(KERN_Q4_1, m); break;
    case KERN_Q5_0: mul_type(KERN_Q5_0, m); break;
    case KERN_Q5_1: mul_type(KERN_Q5_1, m); break;
    case KERN_IQ4_NL: mul_type(KERN_IQ4_NL, m); break;
    default: mul_type(KERN_MXFP4, m);
    }
}
