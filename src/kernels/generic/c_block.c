/* c_block.c: a block of quantised weights as integers and scales, whatever its format: what the
 * plain versions of unpacking and of the products work on. Called by c_unpack.c and c_mul.c, and by
 * vector versions for formats that are rare. */
#include "c_int.h"
#include "block_int.h"

/* ---- 32 elements ---- */
static void split_nibbles(const uint8_t *p, int8_t q[BLOCK])
{
    for (size_t i = 0; i < BLOCK / 2; i++) {
        q[i] = (int8_t)(p[i] & 15);
        q[i + 16] = (int8_t)(p[i] >> 4);
    }
}

static void add_fifth_bits(uint32_t high, int8_t q[BLOCK])
{
    for (size_t i = 0; i < BLOCK; i++)
        q[i] = (int8_t)(q[i] | (high >> i & 1) << 4);
}

static void subtract(int by, int8_t *q, size_t n)
{
    for (size_t i = 0; i < n; i++)
        q[i] = (int8_t)(q[i] - by);
}

static void look_up(const int8_t table[16], int8_t *q, size_t n)
{
    for (size_t i = 0; i < n; i++)
        q[i] = table[q[i]];
}

void c_block_32(enum kern_type type, const uint8_t *p, struct c_block_32 *b)
{
    b->d = type == KERN_MXFP4 ? e8m0_half(p[0]) : load_f16(p);
    b->m = 0;
    switch (type) {
    case KERN_Q8_0: memcpy(b->q, p + 2, BLOCK); break;
    case KERN_Q4_0:
        split_nibbles(p + 2, b->q);
        subtract(8, b->q, BLOCK);
        break;
    case KERN_Q4_1:
        b->m = load_f16(p + 2);
        split_nibbles(p + 4, b->q);
        break;
    case KERN_Q5_0:
        split_nibbles(p + 6, b->q);
        add_fifth_bits(load_u32(p + 2), b->q);
        subtract(16, b->q, BLOCK);
        break;
    case KERN_Q5_1:
        b->m = load_f16(p + 2);
        split_nibbles(p + 8, b->q);
        add_fifth_bits(load_u32(p + 4), b->q);
        break;
    case KERN_IQ4_NL:
        split_nibbles(p + 2, b->q);
        look_up(iq4_values, b->q, BLOCK);
        break;
    default: /* KERN_MXFP4 */ split_nibbles(p + 1, b->q); look_up(mxfp4_values, b->q, BLOCK);
    }
}

/* ---- 256 elements ---- */

/* Two bits each: element 128 h + 32 j + l from byte 32 h + l. */
static void split_pairs(const uint8_t *p, int8_t q[SUPER])
{
    for (size_t i = 0; i < SUPER; i++)
        q[i] = (int8_t)(p[i / 128 * 32 + i % 32] >> 2 * (i / 32 % 4) & 3);
}

static void scales_of_32(const uint8_t from[8], uint8_t to[16])
{
    for (size_t i = 0; i < 16; i++)
        to[i] = from[i / 2];
}

static void block_q2_k(const uint8_t *p, struct c_block_256 *b)
{
    for (size_t i = 0; i < 16; i++) {
        b->scale[i] = (int8_t)(p[i] & 15);
        b->min[i] = p[i] >> 4;
    }
    split_pairs(p + 16, b->q);
    b->d = load_f16(p + 80);
    b->dmin = load_f16(p + 82);
}

static void block_q3_k(const uint8_t *p, struct c_block_256 *b)
{
    uint8_t scale[16];
    q3_k_scales(p + 96, scale);
    memcpy(b->scale, scale, sizeof scale);
    subtract(32, b->scale, 16);
    split_pairs(p + 32, b->q);
    for (size_t i = 0; i < SUPER; i++)
        b->q[i] = (int8_t)(b->q[i] + 4 * (p[i % 32] >> i / 32 & 1) - 4);
    b->d = load_f16(p + 108);
}

static void block_q4_k(const uint8_t *p, const uint8_t *nibbles, struct c_block_256 *b)
{
    uint8_t scale[8], min[8];
    k4_scales(p + 4, scale, min);
    scales_of_32(scale, (uint8_t *)b->scale);
    scales_of_32(min, b->min);
    for (size_t i = 0; i < SUPER; i++)
        b->q[i] = (int8_t)(nibbles[i / 64 * 32 + i % 32] >> 4 * (i / 32 % 2) & 15);
    b->d = load_f16(p);
    b->dmin = load_f16(p + 2);
}

static void block_q5_k(const uint8_t *p, struct c_block_256 *b)
{
    block_q4_k(p, p + 48, b);
    for (size_t i = 0; i < SUPER; i++)
        b->q[i] = (int8_t)(b->q[i] | (p[16 + i % 32] >> i / 32 & 1) << 4);
}

static void block_q6_k(const uint8_t *p, struct c_block_256 *b)
{
    for (size_t i = 0; i < SUPER; i++) {
        size_t half = i / 128, j = i / 32 % 4, l = i % 32;
        int low = p[64 * half + 32 * (j & 1) + l] >> 4 * (j / 2) & 15;
        int high = p[128 + 32 * half + l] >> 2 * j & 3;
        b->q[i] = (int8_t)(low + 16 * high - 32);
    }
    memcpy(b->scale, p + 192, 16);
    b->d = load_f16(p + 208);
}

static void block_iq4_xs(const uint8_t *p, struct c_block_256 *b)
{
    int8_t scale[8];
    iq4_xs_scales(p, scale);
    scales_of_32((const uint8_t *)scale, (uint8_t *)b->scale);
    for (size_t i = 0; i < 8; i++)
        split_nibbles(p + 8 + 16 * i, b->q + BLOCK * i);
    look_up(iq4_values, b->q, SUPER);
    b->d = load_f16(p);
}

void c_block_256(enum kern_type type, const uint8_t *p, struct c_block_256 *b)
{
    b->dmin = 0;
    memset(b->min, 0, sizeof b->min);
    switch (type) {
    case KERN_Q2_K: block_q2_k(p, b); break;
    case KERN_Q3_K: block_q3_k(p, b); break;
    case KERN_Q4_K: block_q4_k(p, p + 16, b); break;
    case KERN_Q5_K: block_q5_k(p, b); break;
    case KERN_Q6_K: block_q6_k(p, b); break;
    default: block_iq4_xs(p, b);
    }
}
