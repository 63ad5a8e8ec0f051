/* avx512_tile_int.h: what the products with many columns share: the order of work, and the sums
 * that wait between chunks.
 *
 * Up to STRIPS strips of 16 rows and 256 of k are unpacked into a tile that stays in the first
 * cache, multiplied with all columns, four at a time, and so on along k; the results so far wait in
 * the scratch, which changes no bit. */
#ifndef WEIR_AVX512_TILE_INT_H
#define WEIR_AVX512_TILE_INT_H

#include "avx512_rows_int.h"

#define STRIPS 3

struct sums {
    __m512 v[COLS][STRIPS];
};

/* Rows are taken three strips at a time; four are two and two, since one alone is slow. */
INLINE size_t next_strips(size_t rows)
{
    size_t strips = (rows + ROWS - 1) / ROWS;
    return strips == 4 ? 2 : strips < STRIPS ? strips : STRIPS;
}

INLINE void store_sums(const int S, const struct kern_mul *m, size_t r, size_t c,
                       const struct sums *sum)
{
    for (int i = 0; i < COLS && c + (size_t)i < m->n; i++)
        for (int s = 0; s < S; s++)
            store_rows(m, r + (size_t)s * ROWS, c + (size_t)i, sum->v[i][s]);
}

#endif
