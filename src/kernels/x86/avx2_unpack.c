/* avx2_unpack.c: AVX2 versions of a row of weights as floats, each format by its own definition:
 * value = d * q, or scale * q - min. Called through the table. */
#include "avx2_block_int.h"

/* Eight bytes as floats. */
INLINE __m256 floats8(__m128i bytes)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}

/* Bit i of a dword to bit 4 of byte i. */
INLINE __m256i fifth_bits(const uint8_t *p)
{
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2,
                                            2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x((int64_t)0x8040201008040201u);
    __m256i v = _mm256_shuffle_epi8(_mm256_set1_epi32((int)load_u32(p)), spread);
    return low_bits(_mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit), 16);
}

/* The integers of a block of 32. */
INLINE __m256i values32(enum kern_type type, const uint8_t *w)
{
    const size_t at = at_quants(type);
    if (type == KERN_Q8_0)
        return load256(w + at);
    __m256i q = twice(load128(w + at));
    q = low_bits(_mm256_blend_epi32(q, _mm256_srli_epi16(q, 4), 0xf0), 15);
    if (type == KERN_IQ4_NL)
        return iq4_of(q);
    if (type == KERN_MXFP4)
        q = mxfp4_of(q);
    if (type == KERN_Q5_0 || type == KERN_Q5_1)
        q = _mm256_or_si256(q, fifth_bits(w + at - 4));
    return _mm256_sub_epi8(q, _mm256_set1_epi8((char)offset_of(type)));
}

/* 16 values times d, less min or plus it. */
INLINE void put16(__m128i q, __m256 d, __m256 min, int sign, float *out)
{
    __m256 a = _mm256_mul_ps(d, floats8(q)), b = _mm256_mul_ps(d, floats8(_mm_srli_si128(q, 8)));
    if (sign > 0) {
        a = _mm256_add_ps(a, min);
        b = _mm256_add_ps(b, min);
    } else if (sign < 0) {
        a = _mm256_sub_ps(a, min);
        b = _mm256_sub_ps(b, min);
    }
    _mm256_storeu_ps(out, a);
    _mm256_storeu_ps(out + 8, b);
}

INLINE void unpack32(enum kern_type type, const uint8_t *w, size_t k, float *out)
{
    for (size_t i = 0; i < k; i += BLOCK, w += type_block_bytes(type), out += BLOCK) {
        __m256 d = _mm256_set1_ps(type == KERN_MXFP4 ? e8m0_half(w[0]) : load_f16(w));
        __m256 min = _mm256_set1_ps(has_min(type) ? load_f16(w + 2) : 0);
        __m256i q = values32(type, w);
        put16(_mm256_castsi256_si128(q), d, min, has_min(type), out);
        put16(_mm256_extracti128_si256(q, 1), d, min, has_min(type), out + 16);
    }
}

/* The floats of a super-block's scales and minima: where sub-block i of 16 finds its own. */
struct scales {
    int16_t scale[16], min[16];
    float d, dmin;
};

INLINE void read_scales(enum kern_type type, const uint8_t *w, struct scales *s)
{
    __m256i min = _mm256_setzero_si256(), scale = scales16(type, w, &min);
    _mm256_storeu_si256((__m256i *)(void *)s->scale, scale);
    _mm256_storeu_si256((__m256i *)(void *)s->min, min);
    switch (type) {
    case KERN_Q2_K:
        s->d = load_f16(w + Q2_K_D);
        s->dmin = load_f16(w + Q2_K_D + 2);
        break;
    case KERN_Q3_K: s->d = load_f16(w + Q3_K_D); break;
    case KERN_Q6_K: s->d = load_f16(w + Q6_K_D); break;
    case KERN_IQ4_XS: s->d = load_f16(w); break;
    default:
        s->d = load_f16(w);
        s->dmin = load_f16(w + 2);
        memcpy(s->min, s->scale + 8, 16);
    }
}

INLINE void unpack256(enum kern_type type, const uint8_t *w, size_t k, float *out)
{
    const __m256i off = _mm256_set1_epi8((char)offset_of(type));
    for (size_t i = 0; i < k; i += SUPER, w += type_block_bytes(type), out += SUPER) {
        struct scales s;
        read_scales(type, w, &s);
        for (int g = 0; g < 8; g++) {
            __m256i q = _mm256_sub_epi8(values256(type, w, g), off);
            for (int half = 0; half < 2; half++) {
                int j = sub16(type) ? g + 8 * half : g; /* even sub-blocks stand before odd ones */
                __m256 d = _mm256_set1_ps(s.d * (float)s.scale[j]);
                __m256 min = _mm256_setzero_ps();
                if (has_min(type))
                    min = _mm256_set1_ps(s.dmin * (float)s.min[j]);
                __m128i part = half ? _mm256_extracti128_si256(q, 1) : _mm256_castsi256_si128(q);
                put16(part, d, min, has_min(type) ? -1 : 0, out + 32 * g + 16 * half);
            }
        }
    }
}

static void unpack_bf16(const uint8_t *x, size_t n, float *out)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i h = _mm256_cvtepu16_epi32(load128(x + 2 * i));
        _mm256_storeu_ps(out + i, _mm256_castsi256_ps(_mm256_slli_epi32(h, 16)));
    }
    for (; i < n; i++)
        out[i] = bits_float((uint32_t)load_u16(x + 2 * i) << 16);
}

void avx2_unpack(enum kern_type type, const void *row, size_t k, float *out)
{
    switch (type) {
    case KERN_F32: memcpy(out, row, k * sizeof *out); break;
    case KERN_F16: avx2_from_f16(row, k, out); break;
    case KERN_BF16: unpack_bf16(row, k, out); break;
    case KERN_Q4_0: unpack32(KERN_Q4_0, row, k, out); break;
    case KERN_Q4_1: unpack32(KERN_Q4_1, row, k, out); break;
    case KERN_Q5_0: unpack32(KERN_Q5_0, row, k, out); break;
    case KERN_Q5_1: unpack32(KERN_Q5_1, row, k, out); break;
    case KERN_Q8_0: unpack32(KERN_Q8_0, row, k, out); break;
    case KERN_IQ4_NL: unpack32(KERN_IQ4_NL, row, k, out); break;
    case KERN_MXFP4: unpack32(KERN_MXFP4, row, k, out); break;
    case KERN_Q2_K: unpack256(KERN_Q2_K, row, k, out); break;
    case KERN_Q3_K: unpack256(KERN_Q3_K, row, k, out); break;
    case KERN_Q4_K: unpack256(KERN_Q4_K, row, k, out); break;
    case KERN_Q5_K: unpack256(KERN_Q5_K, row, k, out); break;
    case KERN_Q6_K: unpack256(KERN_Q6_K, row, k, out); break;
    case KERN_IQ4_XS: unpack256(KERN_IQ4_XS, row, k, out); break;
    default: break;
    }
}
