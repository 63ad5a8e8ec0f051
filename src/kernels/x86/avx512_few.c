/* avx512_few.c: products of weights in blocks of 32 with up to eight columns (decoding): weights
 * are read once, 16 rows at a time, turned so that a row has a lane of its own and multiplied at
 * once; sums never cross lanes. */
#include "avx512_block_int.h"

/* The elements of 16 rows are added to the sums of NC columns from c on, whose chains run side by
 * side. One or two columns have two chains each: few long ones would leave the processor waiting.
 */
INLINE void add_columns(enum kern_type type, const int C, const int NC, int c,
                        const struct piece *b, const __m512i v[8], const uint8_t *x,
                        __m512 acc[FEW])
{
    const int chains = C <= 2 ? 2 : 1;
    __m512i dot[4][2];
    for (int j = 0; j < NC; j++) {
        dot[j][0] = offset_32(type, spread_int(x + X32_NEG(C) + 4 * (c + j)));
        dot[j][1] = _mm512_setzero_si512();
    }
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < NC; j++)
            dot[j][i % chains] = add_dots(dot[j][i % chains], v[i], x + 4 * (C * i + c + j));
    for (int j = 0; j < NC; j++) {
        __m512 scale = _mm512_mul_ps(b->d, spread_float(x + X32_D(C) + 4 * (c + j)));
        if (chains == 2)
            dot[j][0] = _mm512_add_epi32(dot[j][0], dot[j][1]);
        acc[c + j] = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(dot[j][0]), acc[c + j]);
        if (has_min(type)) {
            __m512 sum = spread_float(x + X32_DS(C) + 4 * (c + j));
            acc[c + j] = _mm512_fmadd_ps(b->min, sum, acc[c + j]);
        }
    }
}

/* A block of 16 rows is added to the sums of C columns. */
INLINE void add_block_32(enum kern_type type, const int C, const struct piece *b, const uint8_t *x,
                         __m512 acc[FEW])
{
    __m512i v[8];
    elements_32(type, b, v);
    for (int c = 0; c < C; c += 4)
        add_columns(type, C, C < 4 ? C : 4, c, b, v, x, acc);
}

INLINE void rows_32(enum kern_type type, const int C, const struct kern_mul *m)
{
    const size_t bytes = type_block_bytes(type);
    size_t blocks = m->w->k / BLOCK;
    prefetch_first(m);
    for (size_t r = m->r0, skip; r < m->r1; r += rows_of(m->w, 1)) {
        const struct rows from = rows_from(m->w, r, &skip);
        const uint8_t *x = m->act;
        __m512 acc[FEW];
        for (int c = 0; c < C; c++)
            acc[c] = _mm512_setzero_ps();
        struct piece now;
        load_piece(type, &from, &now);
        for (size_t b = 0; b < blocks; b++, x += X32_BYTES(C)) {
            struct rows p = rows_at(&from, (b + 1 < blocks ? b + 1 : b) * bytes);
            struct piece next; /* is taken up while this one is multiplied */
            prefetch_ahead(m, r, b, ROWS * bytes);
            load_piece(type, &p, &next);
            add_block_32(type, C, &now, x, acc);
            now = next;
        }
        for (int c = 0; c < C && (size_t)c < m->n; c++)
            store_rows(m, r, (size_t)c, acc[c]);
    }
}

INLINE void type_32(enum kern_type type, const struct kern_mul *m)
{
    switch (group_cols(m->n)) {
    case 1: rows_32(type, 1, m); break;
    case 2: rows_32(type, 2, m); break;
    case 4: rows_32(type, 4, m); break;
    default: rows_32(type, 8, m); break;
    }
}

void avx512_few_32(const struct kern_mul *m)
{
    switch (m->w->type) {
    case KERN_Q4_0: type_32(KERN_Q4_0, m); break;
    case KERN_Q4_1: type_32(KERN_Q4_1, m); break;
    case KERN_Q5_0: type_32(KERN_Q5_0, m); break;
    case KERN_Q5_1: type_32(KERN_Q5_1, m); break;
    case KERN_Q8_0: type_32(KERN_Q8_0, m); break;
    case KERN_IQ4_NL: type_32(KERN_IQ4_NL, m); break;
    default: type_32(KERN_MXFP4, m); break;
    }
}
