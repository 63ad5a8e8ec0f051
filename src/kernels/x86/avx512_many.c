/* avx512_many.c: products of weights in blocks of 32 with many columns (avx512_tile_int.h tells the
 * order of work).
 *
 * Tile: of each strip eight blocks of w [8][16 rows] uint8[4], d float[16], min float[16]. */
#include "avx512_block_int.h"
#include "avx512_tile_int.h"

#define TILE_BLOCK (8 * ROWS * 4 + 2 * ROWS * 4)
#define TILE_STRIP (CHUNK * TILE_BLOCK)

INLINE void unpack(enum kern_type type, const struct kern_mul *m, size_t r, size_t block,
                   size_t blocks, uint8_t *tile)
{
    const size_t bytes = type_block_bytes(type);
    size_t skip;
    const struct rows from = rows_from(m->w, r, &skip);
    for (size_t b = block; b < block + blocks; b++, tile += TILE_BLOCK) {
        struct rows p = rows_at(&from, b * bytes);
        struct piece piece;
        __m512i v[8];
        prefetch_ahead(m, r, b, ROWS * bytes);
        load_piece(type, &p, &piece);
        elements_32(type, &piece, v);
        for (int i = 0; i < 8; i++)
            _mm512_store_si512(tile + 64 * i, v[i]);
        _mm512_store_ps(tile + 512, piece.d);
        if (has_min(type))
            _mm512_store_ps(tile + 576, piece.min);
    }
}

/* Blocks of S strips with a group of four columns. */
INLINE void multiply(const int S, enum kern_type type, const uint8_t *w, const uint8_t *x,
                     size_t blocks, __m512 acc[COLS][STRIPS])
{
    __m512i sum[COLS][STRIPS];
    for (size_t b = 0; b < blocks; b++, w += TILE_BLOCK, x += X32_BYTES(COLS)) {
        for (int c = 0; c < COLS; c++)
            for (int s = 0; s < S; s++)
                sum[c][s] = offset_32(type, spread_int(x + X32_NEG(COLS) + 4 * c));
        for (int i = 0; i < 8; i++) {
            __m512i v[STRIPS];
            for (int s = 0; s < S; s++)
                v[s] = _mm512_load_si512(w + s * TILE_STRIP + 64 * i);
            for (int c = 0; c < COLS; c++) {
                __m512i q = spread_int(x + 4 * (COLS * i + c));
                for (int s = 0; s < S; s++)
                    sum[c][s] = _mm512_dpbusd_epi32(sum[c][s], v[s], q);
            }
        }
        for (int s = 0; s < S; s++) {
            __m512 d = _mm512_load_ps(w + s * TILE_STRIP + 512);
            for (int c = 0; c < COLS; c++) {
                __m512 scale = _mm512_mul_ps(d, spread_float(x + X32_D(COLS) + 4 * c));
                acc[c][s] = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(sum[c][s]), acc[c][s]);
            }
            if (!has_min(type))
                continue;
            __m512 min = _mm512_load_ps(w + s * TILE_STRIP + 576);
            for (int c = 0; c < COLS; c++)
                acc[c][s] = _mm512_fmadd_ps(min, spread_float(x + X32_DS(COLS) + 4 * c), acc[c][s]);
        }
    }
}

/* Blocks [block, block + blocks) of S strips with all columns; x: those of the first group. */
INLINE void mul_chunk(const int S, enum kern_type type, const struct kern_mul *m, size_t r,
                      size_t block, size_t blocks, const uint8_t *x)
{
    uint8_t *tile = m->scratch;
    struct sums *waiting = (struct sums *)(void *)(tile + STRIPS * TILE_STRIP);
    bool first = block == 0, last = block + blocks == m->w->k / BLOCK;
    for (int s = 0; s < S; s++)
        unpack(type, m, r + (size_t)s * ROWS, block, blocks, tile + s * TILE_STRIP);
    for (size_t c = 0; c < m->n; c += COLS, waiting++, x += blocks * X32_BYTES(COLS)) {
        struct sums sum;
        for (int i = 0; i < COLS; i++)
            for (int s = 0; s < S; s++)
                sum.v[i][s] = first ? _mm512_setzero_ps() : waiting->v[i][s];
        multiply(S, type, tile, x, blocks, sum.v);
        if (last)
            store_sums(S, m, r, c, &sum);
        else
            for (int i = 0; i < COLS; i++)
                for (int s = 0; s < S; s++)
                    waiting->v[i][s] = sum.v[i][s];
    }
}

INLINE void mul_strips(const int S, enum kern_type type, const struct kern_mul *m, size_t r)
{
    size_t blocks = m->w->k / BLOCK, groups = group_count(m->n);
    const uint8_t *x = m->act;
    for (size_t b = 0; b < blocks; b += CHUNK) {
        size_t count = blocks - b < CHUNK ? blocks - b : CHUNK;
        mul_chunk(S, type, m, r, b, count, x);
        x += groups * count * X32_BYTES(COLS);
    }
}

INLINE void mul_type(enum kern_type type, const struct kern_mul *m)
{
    prefetch_first(m);
    for (size_t r = m->r0, strips; r < m->r1; r += rows_of(m->w, strips)) {
        strips = next_strips(m->r1 - r);
        switch (strips) {
        case 1: mul_strips(1, type, m, r); break;
        case 2: mul_strips(2, type, m, r); break;
        default: mul_strips(3, type, m, r); break;
        }
    }
}

void avx512_many_32(const struct kern_mul *m)
{
    switch (m->w->type) {
    case KERN_Q4_0: mul_type(KERN_Q4_0, m); break;
    case KERN_Q4_1: mul_type(KERN_Q4_1, m); break;
    case KERN_Q5_0: mul_type(KERN_Q5_0, m); break;
    case KERN_Q5_1: mul_type(KERN_Q5_1, m); break;
    case KERN_Q8_0: mul_type(KERN_Q8_0, m); break;
    case KERN_IQ4_NL: mul_type(KERN_IQ4_NL, m); break;
    default: mul_type(KERN_MXFP4, m); break;
    }
}
