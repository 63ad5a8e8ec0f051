/* avx512_few_super.c: products of weights in blocks of 256 with up to eight columns (decoding), as
 * avx512_few.c does it; sub-blocks are scaled and added as integers. */
#include "avx512_super_int.h"

/* Sub-block `sub`, which is `len` times four elements of v, is added to the integer sums of NC
 * columns from c on, whose chains run side by side. */
INLINE void add_columns(enum kern_type type, const int C, const int NC, int c, int sub,
                        const int len, __m512i scale, const __m512i v[8], const uint8_t *x,
                        __m512i sum[FEW])
{
    __m512i dot[4];
    for (int j = 0; j < NC; j++)
        dot[j] = offset_256(type, C, x + 4 * (c + j), sub);
    for (int i = 0; i < len; i++)
        for (int j = 0; j < NC; j++)
            dot[j] = add_dots(dot[j], v[i], x + 4 * (C * (len * sub + i) + c + j));
    for (int j = 0; j < NC; j++)
        sum[c + j] = _mm512_add_epi32(sum[c + j], _mm512_mullo_epi32(dot[j], scale));
}

/* Group g of 32 elements is added to the integer sums of C columns. */
INLINE void add_group(enum kern_type type, const int C, const struct head *h, int g,
                      const __m512i v[8], const uint8_t *x, __m512i sum[FEW])
{
    const int parts = scale_count(type) / 8, len = 8 / parts;
    for (int part = 0; part < parts; part++) {
        int sub = g * parts + part;
        __m512i scale = scale_of(type, h, sub);
        for (int c = 0; c < C; c += 4)
            add_columns(type, C, C < 4 ? C : 4, c, sub, len, scale, v + len * part, x, sum);
    }
}

/* The sums of a block become part of the results. */
INLINE void end_block(enum kern_type type, const int C, const struct head *h, const uint8_t *x,
                      const __m512i sum[FEW], __m512 acc[FEW])
{
    __m512i pair[8];
    for (int j = 0; j < pair_count(type); j++)
        pair[j] = min_pair(h, j);
    for (int c = 0; c < C; c++) {
        __m512i mins = _mm512_setzero_si512();
        __m512 dx = spread_float(x + X256_D(C) + 4 * c);
        acc[c] = _mm512_fmadd_ps(_mm512_mul_ps(h->d, dx), _mm512_cvtepi32_ps(sum[c]), acc[c]);
        if (!pair_count(type))
            continue;
        const uint8_t *sums = x + (type == KERN_Q2_K ? X256_PAIR16(C) : X256_PAIR32(C)) + 4 * c;
        for (int j = 0; j < pair_count(type); j++)
            mins = _mm512_dpwssd_epi32(mins, pair[j], spread_int(sums + 4 * C * j));
        acc[c] = _mm512_fnmadd_ps(_mm512_mul_ps(h->dmin, dx), _mm512_cvtepi32_ps(mins), acc[c]);
    }
}

/* Block b of 16 rows from r, at p, is added to the sums of C columns. */
INLINE void add_block_256(enum kern_type type, const int C, const struct kern_mul *m, size_t r,
                          size_t b, const struct rows *p, const uint8_t *x, __m512 acc[FEW])
{
    const int groups = part_groups(type);
    const size_t eighth = ROWS * type_block_bytes(type) / 8;
    struct head h;
    __m512i raw[8], high[8], v[8], sum[FEW];
    load_head(type, p, &h);
    for (int c = 0; c < C; c++)
        sum[c] = _mm512_setzero_si512();
    for (int part = 0; part < 8 / groups; part++) {
        load_part(type, p, part, raw, high);
        for (int j = 0; j < groups; j++) {
            prefetch_ahead(m, r, 8 * b + (size_t)(part * groups + j), eighth);
            elements_256(type, part, j, raw, high, v);
            add_group(type, C, &h, group_of(type, part, j), v, x, sum);
        }
    }
    end_block(type, C, &h, x, sum, acc);
}

INLINE void rows_256(enum kern_type type, const int C, const struct kern_mul *m)
{
    const size_t bytes = type_block_bytes(type);
    size_t blocks = m->w->k / SUPER;
    prefetch_first(m);
    for (size_t r = m->r0, skip; r < m->r1; r += rows_of(m->w, 1)) {
        const struct rows from = rows_from(m->w, r, &skip);
        const uint8_t *x = m->act;
        __m512 acc[FEW];
        for (int c = 0; c < C; c++)
            acc[c] = _mm512_setzero_ps();
        for (size_t b = 0; b < blocks; b++, x += X256_BYTES(C)) {
            struct rows p = rows_at(&from, b * bytes);
            add_block_256(type, C, m, r, b, &p, x, acc);
        }
        for (int c = 0; c < C && (size_t)c < m->n; c++)
            store_rows(m, r, (size_t)c, acc[c]);
    }
}

INLINE void type_256(enum kern_type type, const struct kern_mul *m)
{
    switch (group_cols(m->n)) {
    case 1: rows_256(type, 1, m); break;
    case 2: rows_256(type, 2, m); break;
    case 4: rows_256(type, 4, m); break;
    default: rows_256(type, 8, m); break;
    }
}

void avx512_few_256(const struct kern_mul *m)
{
    switch (m->w->type) {
    case KERN_Q2_K: type_256(KERN_Q2_K, m); break;
    case KERN_Q3_K: type_256(KERN_Q3_K, m); break;
    case KERN_Q4_K: type_256(KERN_Q4_K, m); break;
    case KERN_Q5_K: type_256(KERN_Q5_K, m); break;
    case KERN_Q6_K: type_256(KERN_Q6_K, m); break;
    default: type_256(KERN_IQ4_XS, m); break;
    }
}
