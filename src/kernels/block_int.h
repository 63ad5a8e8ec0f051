/* block_int.h: the formats of weights as they lie in a file, once: sizes, the order of elements,
 * the decoding of scales. Every variant of the kernels reads blocks by these lines. All integers
 * are little-endian; no block is aligned.
 *
 * Blocks of 32 elements. Nibbles: byte i holds element i low and element i + 16 high.
 *   Q8_0   34: f16 d, int8 q[32]                        value = d * q
 *   Q4_0   18: f16 d, nibbles[16]                       value = d * (q - 8)
 *   Q4_1   20: f16 d, f16 m, nibbles[16]                value = d * q + m
 *   Q5_0   22: f16 d, u32 h, nibbles[16]                value = d * (q - 16), q = nibble of element
 *   Q5_1   24: f16 d, f16 m, u32 h, nibbles[16]         value = d * q + m       i + 16 * (h >> i &
 * 1) IQ4_NL 18: f16 d, nibbles[16]                       value = d * iq4_values[nibble] MXFP4  17:
 * u8 e, nibbles[16]                        value = e8m0_half(e) * mxfp4_values[nibble]
 *
 * Blocks of 256 elements, in sub-blocks of 16 or 32 with a scale (and a minimum) each.
 *   Q2_K  84: u8 s[16], u8 q[64], f16 d, f16 dmin.      Sub-blocks of 16.
 *       Element 128 h + 32 j + l is q[32 h + l] >> 2 j & 3 (h < 2, j < 4, l < 32).
 *       value = d * (s & 15) * q - dmin * (s >> 4)
 *   Q3_K 110: u8 h[32], u8 q[64], u8 s[12], f16 d.      Sub-blocks of 16.
 *       The low two bits as in Q2_K; the high one is bit 4 h + j of h[l]; s: q3_k_scales.
 *       value = d * (scale - 32) * (q - 4)
 *   Q4_K 144: f16 d, f16 dmin, u8 s[12], u8 q[128].     Sub-blocks of 32; s: k4_scales.
 *       Element 64 j + l is the low nibble of q[32 j + l], element 64 j + 32 + l the high one.
 *       value = d * scale * q - dmin * min
 *   Q5_K 176: f16 d, f16 dmin, u8 s[12], u8 h[32], u8 q[128].  As Q4_K; the fifth bit of element
 *       32 i + l is bit i of h[l].
 *   Q6_K 210: u8 l[128], u8 h[64], int8 s[16], f16 d.   Sub-blocks of 16.
 *       Element 128 n + 32 j + i (n < 2, j < 4, i < 32): its low four bits are the low (j < 2) or
 *       high nibble of l[64 n + 32 (j & 1) + i], its high two h[32 n + i] >> 2 j & 3.
 *       value = d * s * (q - 32)
 *   IQ4_XS 136: f16 d, u16 sh, u8 sl[4], nibbles[128].  Sub-blocks of 32, each 16 bytes of nibbles
 *       as in the small blocks; scale of sub-block i: sl[i / 2] >> 4 (i & 1) & 15, and above it
 *       sh >> 2 i & 3.  value = d * (scale - 32) * iq4_values[nibble] */
#ifndef WEIR_BLOCK_INT_H
#define WEIR_BLOCK_INT_H

#include "kern_int.h"

#define SUPER 256 /* elements of a super-block */

#define Q4_0_BYTES 18
#define Q4_1_BYTES 20
#define Q5_0_BYTES 22
#define Q5_1_BYTES 24
#define Q8_0_BYTES 34
#define IQ4_NL_BYTES 18
#define MXFP4_BYTES 17
#define Q2_K_BYTES 84
#define Q3_K_BYTES 110
#define Q4_K_BYTES 144
#define Q5_K_BYTES 176
#define Q6_K_BYTES 210
#define IQ4_XS_BYTES 136

/* How a type's activations are packed. */
enum act_kind {
    ACT_NONE,  /* not a format that can be multiplied */
    ACT_FLOAT, /* as they are */
    ACT_32,    /* int8 in blocks of 32 */
    ACT_256    /* int8 in blocks of 256 */
};

static inline enum act_kind type_act(enum kern_type type)
{
    switch (type) {
    case KERN_F32:
    case KERN_F16:
    case KERN_BF16: return ACT_FLOAT;
    case KERN_Q4_0:
    case KERN_Q4_1:
    case KERN_Q5_0:
    case KERN_Q5_1:
    case KERN_Q8_0:
    case KERN_IQ4_NL:
    case KERN_MXFP4: return ACT_32;
    case KERN_Q2_K:
    case KERN_Q3_K:
    case KERN_Q4_K:
    case KERN_Q5_K:
    case KERN_Q6_K:
    case KERN_IQ4_XS: return ACT_256;
    default: return ACT_NONE;
    }
}

/* Bytes of a block: of one element for floats, of 32 or 256 elements for the others; 0: none. */
static inline size_t type_block_bytes(enum kern_type type)
{
    switch (type) {
    case KERN_F32: return 4;
    case KERN_F16:
    case KERN_BF16: return 2;
    case KERN_Q4_0: return Q4_0_BYTES;
    case KERN_Q4_1: return Q4_1_BYTES;
    case KERN_Q5_0: return Q5_0_BYTES;
    case KERN_Q5_1: return Q5_1_BYTES;
    case KERN_Q8_0: return Q8_0_BYTES;
    case KERN_IQ4_NL: return IQ4_NL_BYTES;
    case KERN_MXFP4: return MXFP4_BYTES;
    case KERN_Q2_K: return Q2_K_BYTES;
    case KERN_Q3_K: return Q3_K_BYTES;
    case KERN_Q4_K: return Q4_K_BYTES;
    case KERN_Q5_K: return Q5_K_BYTES;
    case KERN_Q6_K: return Q6_K_BYTES;
    case KERN_IQ4_XS: return IQ4_XS_BYTES;
    default: return 0;
    }
}

static inline size_t type_block_elems(enum kern_type type)
{
    return type_act(type) == ACT_256 ? SUPER : type_act(type) == ACT_32 ? BLOCK : 1;
}

/* Bytes of k elements, a multiple of the block. */
static inline size_t type_row_bytes(enum kern_type type, size_t k)
{
    return k / type_block_elems(type) * type_block_bytes(type);
}

static inline uint32_t load_u32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline float load_f16(const void *p)
{
    return f16_float(load_u16(p));
}

static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};

/* Twice the value of a 4-bit float with two bits of exponent and one of mantissa. */
static const int8_t mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* 2^(e - 128), half of what the byte stands for: a subnormal for e = 0 and 1; 255 is no NaN. */
static inline float e8m0_half(uint8_t e)
{
    return bits_float(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

/* The six-bit scales and minima of Q4_K and Q5_K: those of the first four sub-blocks lie in bytes
 * 0-3 and 4-7; of the last four, the low four bits in the nibbles of bytes 8-11 (scales low, minima
 * high) and the high two on top of bytes 0-3 and 4-7. As words of four bytes: */
static inline void k4_scale_words(const uint8_t *s, uint32_t scale[2], uint32_t min[2])
{
    uint32_t a = load_u32(s), b = load_u32(s + 4), c = load_u32(s + 8);
    scale[0] = a & 0x3f3f3f3f;
    min[0] = b & 0x3f3f3f3f;
    scale[1] = (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030);
    min[1] = (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030);
}

static inline void k4_scales(const uint8_t *s, uint8_t scale[8], uint8_t min[8])
{
    uint32_t sw[2], mw[2];
    k4_scale_words(s, sw, mw);
    memcpy(scale, sw, sizeof sw);
    memcpy(min, mw, sizeof mw);
}

/* The sixteen six-bit scales of Q3_K, still without the offset of 32: the low four bits are the low
 * nibbles of bytes 0-7 and then their high ones, the high two lie in bytes 8-11, two bits for every
 * fourth. */
static inline void q3_k_scales(const uint8_t *s, uint8_t scale[16])
{
    uint32_t a = load_u32(s), b = load_u32(s + 4), h = load_u32(s + 8);
    uint32_t w[4] = {
        (a & 0x0f0f0f0f) | (h << 4 & 0x30303030), (b & 0x0f0f0f0f) | (h << 2 & 0x30303030),
        (a >> 4 & 0x0f0f0f0f) | (h & 0x30303030), (b >> 4 & 0x0f0f0f0f) | (h >> 2 & 0x30303030)};
    memcpy(scale, w, sizeof w);
}

/* The eight six-bit scales of IQ4_XS, less 32. `block` is the whole block. */
static inline void iq4_xs_scales(const uint8_t *block, int8_t scale[8])
{
    uint32_t high = load_u16(block + 2), low = load_u32(block + 4);
    for (int i = 0; i < 8; i++)
        scale[i] = (int8_t)((low >> 4 * i & 15) + 16 * (high >> 2 * i & 3)) - 32;
}

#endif
