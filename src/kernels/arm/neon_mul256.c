/* neon_mul256.c: products with weights in super-blocks of 256. A super-block of eight rows is made
 * bytes and scales once and multiplied with every column, whose sums wait in the scratch. */
#include "neon_int.h"

struct tile {
    float d[ROWS], dmin[ROWS];
    int32_t scale[ROWS][16];
    int16_t min[ROWS][16];
    int8_t q[ROWS][SUPER];
};

/* One row's part of a tile. */
struct slot {
    int32_t *scale;
    int16_t *min;
    int8_t *q;
};

INLINE uint8x16_t bits_at(uint8x16_t v, int shift, uint8_t mask)
{
    return vandq_u8(vshlq_u8(v, vdupq_n_s8((int8_t)-shift)), vdupq_n_u8(mask));
}

INLINE void put(int8_t *q, uint8x16_t v, int8_t offset)
{
    vst1q_s8(q, vsubq_s8(vreinterpretq_s8_u8(v), vdupq_n_s8(offset)));
}

/* Scales and minima of sub-blocks of 32, twice each. */
INLINE void put_k4_scales(const uint8_t *p, struct slot s)
{
    uint8_t scale[8], min[8];
    k4_scales(p, scale, min);
    for (int i = 0; i < 16; i++) {
        s.scale[i] = scale[i / 2];
        s.min[i] = min[i / 2];
    }
}

INLINE void decode_q2_k(const uint8_t *p, struct slot s)
{
    for (int i = 0; i < 16; i++) {
        s.scale[i] = p[i] & 15;
        s.min[i] = p[i] >> 4;
    }
    for (int i = 0; i < 4; i++) { /* 16 bytes hold elements of four sub-blocks */
        uint8x16_t v = vld1q_u8(p + 16 + 16 * i);
        for (int j = 0; j < 4; j++)
            put(s.q + 128 * (i / 2) + 32 * j + 16 * (i % 2), bits_at(v, 2 * j, 3), 0);
    }
}

INLINE void decode_q3_k(const uint8_t *p, struct slot s)
{
    uint8_t scale[16];
    q3_k_scales(p + 96, scale);
    for (int i = 0; i < 16; i++)
        s.scale[i] = scale[i] - 32;
    for (int i = 0; i < 4; i++) {
        uint8x16_t v = vld1q_u8(p + 32 + 16 * i), h = vld1q_u8(p + 16 * (i % 2));
        for (int j = 0; j < 4; j++) {
            uint8x16_t high = vshlq_n_u8(bits_at(h, 4 * (i / 2) + j, 1), 2);
            put(s.q + 128 * (i / 2) + 32 * j + 16 * (i % 2), vorrq_u8(bits_at(v, 2 * j, 3), high),
                4);
        }
    }
}

/* Q4_K, and Q5_K with its fifth bits. */
INLINE void decode_q45_k(const uint8_t *p, bool five, struct slot s)
{
    const uint8_t *nibbles = p + (five ? 48 : 16);
    put_k4_scales(p + 4, s);
    for (int i = 0; i < 8; i++) {
        uint8x16_t v = vld1q_u8(nibbles + 16 * i);
        uint8x16_t lo = bits_at(v, 0, 15), hi = bits_at(v, 4, 15);
        if (five) {
            uint8x16_t h = vld1q_u8(p + 16 + 16 * (i % 2));
            lo = vorrq_u8(lo, vshlq_n_u8(bits_at(h, i / 2 * 2, 1), 4));
            hi = vorrq_u8(hi, vshlq_n_u8(bits_at(h, i / 2 * 2 + 1, 1), 4));
        }
        put(s.q + 64 * (i / 2) + 16 * (i % 2), lo, 0);
        put(s.q + 64 * (i / 2) + 16 * (i % 2) + 32, hi, 0);
    }
}

INLINE void decode_q6_k(const uint8_t *p, struct slot s)
{
    for (int i = 0; i < 16; i++)
        s.scale[i] = (int8_t)p[192 + i];
    for (int i = 0; i < 16; i++) { /* half, sub-block of 32, its half */
        int half = i / 8, j = i / 2 % 4, part = i % 2;
        uint8x16_t l = vld1q_u8(p + 64 * half + 32 * (j & 1) + 16 * part);
        uint8x16_t h = vld1q_u8(p + 128 + 32 * half + 16 * part);
        uint8x16_t high = vshlq_n_u8(bits_at(h, 2 * j, 3), 4);
        put(s.q + 16 * i, vorrq_u8(bits_at(l, j / 2 * 4, 15), high), 32);
    }
}

INLINE void decode_iq4_xs(const uint8_t *p, struct slot s)
{
    const int8x16_t table = vld1q_s8(iq4_values);
    int8_t scale[8];
    iq4_xs_scales(p, scale);
    for (int i = 0; i < 16; i++)
        s.scale[i] = scale[i / 2];
    for (int i = 0; i < 8; i++) {
        uint8x16_t v = vld1q_u8(p + 8 + 16 * i);
        vst1q_s8(s.q + 32 * i, vqtbl1q_s8(table, bits_at(v, 0, 15)));
        vst1q_s8(s.q + 32 * i + 16, vqtbl1q_s8(table, bits_at(v, 4, 15)));
    }
}

INLINE size_t d_at(enum kern_type type)
{
    return type == KERN_Q2_K ? 80 : type == KERN_Q3_K ? 108 : type == KERN_Q6_K ? 208 : 0;
}

INLINE bool has_minimum(enum kern_type type)
{
    return type == KERN_Q2_K || type == KERN_Q4_K || type == KERN_Q5_K;
}

INLINE void make_tile(enum kern_type type, const uint8_t *const p[ROWS], size_t b, struct tile *t)
{
    for (size_t r = 0; r < ROWS; r++) {
        const uint8_t *block = p[r] + b * type_block_bytes(type);
        struct slot s = {t->scale[r], t->min[r], t->q[r]};
        t->d[r] = load_f16(block + d_at(type));
        t->dmin[r] = has_minimum(type) ? load_f16(block + d_at(type) + 2) : 0;
        switch (type) {
        case KERN_Q2_K: decode_q2_k(block, s); break;
        case KERN_Q3_K: decode_q3_k(block, s); break;
        case KERN_Q4_K: decode_q45_k(block, false, s); break;
        case KERN_Q5_K: decode_q45_k(block, true, s); break;
        case KERN_Q6_K: decode_q6_k(block, s); break;
        default: decode_iq4_xs(block, s);
        }
    }
}

/* Sum of scale * dot of four rows from `row`. */
INLINE int32x4_t scaled_dots(const struct tile *t, int row, const int8x16_t x[16])
{
    int32x4_t v[4];
    for (int r = 0; r < 4; r++) {
        v[r] = vdupq_n_s32(0);
        for (int i = 0; i < 16; i++) {
            int32x4_t dot = vdotq_s32(vdupq_n_s32(0), vld1q_s8(t->q[row + r] + 16 * i), x[i]);
            v[r] = vmlaq_s32(v[r], dot, vld1q_dup_s32(&t->scale[row + r][i]));
        }
    }
    return sums4(v);
}

/* Sum of min * sum of x of four rows. */
INLINE int32x4_t scaled_sums(const struct tile *t, int row, const int16_t sum[16])
{
    int16x8_t lo = vld1q_s16(sum), hi = vld1q_s16(sum + 8);
    int32x4_t v[4];
    for (int r = 0; r < 4; r++) {
        int16x8_t a = vld1q_s16(t->min[row + r]), b = vld1q_s16(t->min[row + r] + 8);
        v[r] = vmull_s16(vget_low_s16(a), vget_low_s16(lo));
        v[r] = vmlal_high_s16(v[r], a, lo);
        v[r] = vmlal_s16(v[r], vget_low_s16(b), vget_low_s16(hi));
        v[r] = vmlal_high_s16(v[r], b, hi);
    }
    return sums4(v);
}

INLINE void column(bool minimum, const struct tile *t, const struct c_act_256 *x, bool first,
                   float waiting[ROWS])
{
    int8x16_t q[16];
    for (int i = 0; i < 16; i++)
        q[i] = vld1q_s8(x->q + 16 * i);
    for (int g = 0; g < 2; g++) {
        float32x4_t acc = first ? vdupq_n_f32(0) : vld1q_f32(waiting + 4 * g);
        float32x4_t d = vmulq_n_f32(vld1q_f32(t->d + 4 * g), x->d);
        acc = vfmaq_f32(acc, d, vcvtq_f32_s32(scaled_dots(t, 4 * g, q)));
        if (minimum) {
            float32x4_t dmin = vmulq_n_f32(vld1q_f32(t->dmin + 4 * g), x->d);
            acc = vfmsq_f32(acc, dmin, vcvtq_f32_s32(scaled_sums(t, 4 * g, x->sum)));
        }
        vst1q_f32(waiting + 4 * g, acc);
    }
}

INLINE void mul_type(enum kern_type type, const struct kern_mul *m)
{
    struct tile t;
    size_t blocks = m->w->k / SUPER;
    const struct c_act_256 *x = m->act;
    float *sums = m->scratch;
    for (size_t r = m->r0; r < m->r1; r += ROWS) {
        const uint8_t *p[ROWS];
        row_pointers(m, r, p);
        for (size_t b = 0; b < blocks; b++) {
            make_tile(type, p, b, &t);
            for (size_t c = 0; c < m->n; c++)
                column(has_minimum(type), &t, &x[c * blocks + b], b == 0, sums + c * ROWS);
        }
        for (size_t c = 0; c < m->n; c++) {
            const float *sum = sums + c * ROWS;
            put_rows(m, r, c, (float32x4_t[2]){vld1q_f32(sum), vld1q_f32(sum + 4)});
        }
    }
}

void neon_mul_256(const struct kern_mul *m)
{
    switch (m->w->type) {
    case KERN_Q2_K: mul_type(KERN_Q2_K, m); break;
    case KERN_Q3_K: mul_type(KERN_Q3_K, m); break;
    case KERN_Q4_K: mul_type(KERN_Q4_K, m); break;
    case KERN_Q5_K: mul_type(KERN_Q5_K, m); break;
    case KERN_Q6_K: mul_type(KERN_Q6_K, m); break;
    default: mul_type(KERN_IQ4_XS, m);
    }
}
