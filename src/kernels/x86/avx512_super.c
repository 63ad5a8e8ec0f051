/* avx512_super.c: products of weights in blocks of 256 with many columns (avx512_tile_int.h tells
 * the order of work).
 *
 * Tile: of each strip one block: w [64][16 rows] uint8[4]; scales int32 [16][16]; scales as pairs
 * of int16 [8][16]; minima as such pairs [8][16]; d float[16]; dmin float[16]. */
#include "avx512_super_int.h"
#include "avx512_tile_int.h"

#define TILE_SCALE (64 * 64)
#define TILE_PAIR (TILE_SCALE + 16 * 64)
#define TILE_MIN (TILE_PAIR + 8 * 64)
#define TILE_D (TILE_MIN + 8 * 64)
#define TILE_STRIP (TILE_D + 2 * 64)

INLINE bool is_scaled(enum kern_type type) /* the tile has scale times element */
{
    return type == KERN_Q2_K || type == KERN_Q3_K;
}

/* Of Q6_K and Q4_K the sum of a sub-block (-32 * x, or 15 * 2 * x at most) fits 16 bits when the
 * magnitudes of 16 activations add up to no more than this, as they nearly always do. Then two
 * sub-blocks share a sum, and one instruction multiplies both by their scales. */
#define TOP16 1023

INLINE bool can_pair(enum kern_type type)
{
    return type == KERN_Q6_K || type == KERN_Q4_K;
}

size_t avx512_mul_scratch(enum kern_type type, size_t n, size_t k)
{
    (void)k;
    if (type_act(type) == ACT_FLOAT || n <= FEW)
        return 64;
    return STRIPS * TILE_STRIP + group_count(n) * sizeof(struct sums); /* blocks of 32 need less */
}

INLINE void unpack_head(enum kern_type type, const struct head *h, uint8_t *tile)
{
    for (int j = 0; j < scale_count(type) && !is_scaled(type); j++)
        _mm512_store_si512(tile + TILE_SCALE + 64 * j, scale_of(type, h, j));
    for (int j = 0; j < scale_count(type) / 2 && can_pair(type); j++) {
        __m512i first = _mm512_slli_epi32(scale_of(type, h, 2 * j), 16);
        __m512i pair = _mm512_mask_mov_epi16(first, 0x55555555, scale_of(type, h, 2 * j + 1));
        _mm512_store_si512(tile + TILE_PAIR + 64 * j, pair);
    }
    for (int j = 0; j < pair_count(type); j++)
        _mm512_store_si512(tile + TILE_MIN + 64 * j, min_pair(h, j));
    _mm512_store_ps(tile + TILE_D, h->d);
    if (pair_count(type))
        _mm512_store_ps(tile + TILE_D + 64, h->dmin);
}

INLINE void unpack(enum kern_type type, const struct kern_mul *m, size_t r, size_t block,
                   uint8_t *tile)
{
    const int groups = part_groups(type);
    const size_t bytes = type_block_bytes(type), eighth = ROWS * bytes / 8;
    size_t skip;
    const struct rows from = rows_from(m->w, r, &skip), p = rows_at(&from, block * bytes);
    struct head h;
    __m512i raw[8], high[8], v[8];
    load_head(type, &p, &h);
    unpack_head(type, &h, tile);
    for (int part = 0; part < 8 / groups; part++) {
        load_part(type, &p, part, raw, high);
        for (int j = 0; j < groups; j++) {
            uint8_t *to = tile + 8 * 64 * group_of(type, part, j);
            prefetch_ahead(m, r, 8 * block + (size_t)(part * groups + j), eighth);
            for (int i = 0; i < 8; i++)
                v[i] = is_scaled(type) ? scaled_23(type, &h, part, j, i, raw, high)
                                       : element_256(type, part, j, i, raw, high);
            for (int i = 0; i < 8; i++)
                _mm512_store_si512(to + 64 * i, v[i]);
        }
    }
}

/* `len` times four elements of S strips with a group of four columns. */
INLINE void add_products(const int S, const int len, const uint8_t *w, const uint8_t *x,
                         __m512i dot[COLS][STRIPS])
{
    for (int i = 0; i < len; i++) {
        __m512i v[STRIPS];
        for (int s = 0; s < S; s++)
            v[s] = _mm512_load_si512(w + s * TILE_STRIP + 64 * i);
        for (int c = 0; c < COLS; c++) {
            __m512i q = spread_int(x + 4 * (COLS * i + c));
            for (int s = 0; s < S; s++)
                dot[c][s] = _mm512_dpbusd_epi32(dot[c][s], v[s], q);
        }
    }
}

/* The integer sums of a block whose sub-blocks have scales. */
INLINE void scaled_sums(const int S, enum kern_type type, const uint8_t *w, const uint8_t *x,
                        __m512i sum[COLS][STRIPS])
{
    const int len = 64 / scale_count(type);
    for (int c = 0; c < COLS; c++)
        for (int s = 0; s < S; s++)
            sum[c][s] = _mm512_setzero_si512();
    for (int j = 0, subs = opaque(scale_count(type)); j < subs; j++) {
        __m512i dot[COLS][STRIPS];
        for (int c = 0; c < COLS; c++)
            for (int s = 0; s < S; s++)
                dot[c][s] = offset_256(type, COLS, x + 4 * c, j);
        add_products(S, len, w + 64 * len * j, x + 4 * COLS * len * j, dot);
        for (int s = 0; s < S; s++) {
            __m512i scale = _mm512_load_si512(w + s * TILE_STRIP + TILE_SCALE + 64 * j);
            for (int c = 0; c < COLS; c++)
                sum[c][s] = _mm512_add_epi32(sum[c][s], _mm512_mullo_epi32(dot[c][s], scale));
        }
    }
}

/* The same when sub-blocks can share a sum: the first goes to the upper half, the second, begun at
 * 2^15 so that it never borrows, to the lower. */
INLINE void paired_sums(const int S, enum kern_type type, const uint8_t *w, const uint8_t *x,
                        __m512i sum[COLS][STRIPS])
{
    const int len = 64 / scale_count(type);
    const __m512i half = _mm512_set1_epi32(0x8000);
    for (int c = 0; c < COLS; c++)
        for (int s = 0; s < S; s++)
            sum[c][s] = _mm512_setzero_si512();
    for (int j = 0, pairs = opaque(scale_count(type) / 2); j < pairs; j++) {
        __m512i dot[COLS][STRIPS];
        for (int c = 0; c < COLS; c++)
            for (int s = 0; s < S; s++)
                dot[c][s] = offset_256(type, COLS, x + 4 * c, 2 * j);
        add_products(S, len, w + 64 * len * (2 * j), x + 4 * COLS * len * (2 * j), dot);
        for (int c = 0; c < COLS; c++) {
            __m512i next = _mm512_add_epi32(offset_256(type, COLS, x + 4 * c, 2 * j + 1), half);
            for (int s = 0; s < S; s++)
                dot[c][s] = _mm512_add_epi32(_mm512_slli_epi32(dot[c][s], 16), next);
        }
        add_products(S, len, w + 64 * len * (2 * j + 1), x + 4 * COLS * len * (2 * j + 1), dot);
        for (int s = 0; s < S; s++) {
            __m512i pair = _mm512_load_si512(w + s * TILE_STRIP + TILE_PAIR + 64 * j);
            for (int c = 0; c < COLS; c++)
                sum[c][s] = _mm512_dpwssd_epi32(sum[c][s], _mm512_xor_si512(dot[c][s], half), pair);
        }
    }
}

INLINE bool all_small(const uint8_t *x)
{
    __m128i top = _mm_loadu_si128((const __m128i *)(x + X256_TOP16(COLS)));
    return !_mm_cmpgt_epi32_mask(top, _mm_set1_epi32(TOP16));
}

/* Of one whose elements come multiplied. */
INLINE void plain_sums(const int S, enum kern_type type, const uint8_t *w, const uint8_t *x,
                       __m512i sum[COLS][STRIPS])
{
    for (int c = 0; c < COLS; c++)
        for (int s = 0; s < S; s++)
            sum[c][s] = type == KERN_Q3_K ? spread_int(x + X256_NEG256(COLS) + 4 * c)
                                          : _mm512_setzero_si512();
    for (int j = 0, groups = opaque(8); j < groups; j++)
        add_products(S, 8, w + 64 * 8 * j, x + 4 * COLS * 8 * j, sum);
    if (type != KERN_Q3_K)
        return;
    for (int c = 0; c < COLS; c++)
        for (int s = 0; s < S; s++)
            sum[c][s] = _mm512_sub_epi32(_mm512_setzero_si512(), sum[c][s]);
}

INLINE void take_minima(const int S, enum kern_type type, const uint8_t *w, const uint8_t *x,
                        __m512 acc[COLS][STRIPS])
{
    const uint8_t *pairs = x + (type == KERN_Q2_K ? X256_PAIR16(COLS) : X256_PAIR32(COLS));
    for (int s = 0; s < S; s++, w += TILE_STRIP) {
        __m512 dmin = _mm512_load_ps(w + TILE_D + 64);
        __m512i sum[COLS];
        for (int c = 0; c < COLS; c++)
            sum[c] = _mm512_setzero_si512();
        for (int j = 0; j < pair_count(type); j++) {
            __m512i min = _mm512_load_si512(w + TILE_MIN + 64 * j);
            for (int c = 0; c < COLS; c++)
                sum[c] = _mm512_dpwssd_epi32(sum[c], min, spread_int(pairs + 4 * (COLS * j + c)));
        }
        for (int c = 0; c < COLS; c++) {
            __m512 scale = _mm512_mul_ps(dmin, spread_float(x + X256_D(COLS) + 4 * c));
            acc[c][s] = _mm512_fnmadd_ps(scale, _mm512_cvtepi32_ps(sum[c]), acc[c][s]);
        }
    }
}

/* A block of S strips with a group of four columns. */
INLINE void multiply(const int S, enum kern_type type, const uint8_t *w, const uint8_t *x,
                     bool first, const struct sums *before, __m512 acc[COLS][STRIPS])
{
    __m512i sum[COLS][STRIPS];
    if (is_scaled(type))
        plain_sums(S, type, w, x, sum);
    else if (can_pair(type) && S == STRIPS && all_small(x))
        paired_sums(S, type, w, x, sum);
    else
        scaled_sums(S, type, w, x, sum);
    for (int s = 0; s < S; s++) {
        __m512 d = _mm512_load_ps(w + s * TILE_STRIP + TILE_D);
        for (int c = 0; c < COLS; c++) {
            __m512 scale = _mm512_mul_ps(d, spread_float(x + X256_D(COLS) + 4 * c));
            acc[c][s] = first ? _mm512_setzero_ps() : before->v[c][s];
            acc[c][s] = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(sum[c][s]), acc[c][s]);
        }
    }
    if (pair_count(type))
        take_minima(S, type, w, x, acc);
}

INLINE void mul_strips(const int S, enum kern_type type, const struct kern_mul *m, size_t r)
{
    size_t blocks = m->w->k / SUPER;
    uint8_t *tile = m->scratch;
    const uint8_t *x = m->act;
    for (size_t b = 0; b < blocks; b++) {
        struct sums *waiting = (struct sums *)(void *)(tile + STRIPS * TILE_STRIP);
        for (int s = 0; s < S; s++)
            unpack(type, m, r + (size_t)s * ROWS, b, tile + s * TILE_STRIP);
        for (size_t c = 0; c < m->n; c += COLS, waiting++, x += X256_BYTES(COLS)) {
            struct sums sum;
            multiply(S, type, tile, x, b == 0, waiting, sum.v);
            if (b + 1 == blocks)
                store_sums(S, m, r, c, &sum);
            else
                for (int i = 0; i < COLS; i++)
                    for (int s = 0; s < S; s++)
                        waiting->v[i][s] = sum.v[i][s];
        }
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

void avx512_many_256(const struct kern_mul *m)
{
    switch (m->w->type) {
    case KERN_Q2_K: mul_type(KERN_Q2_K, m); break;
    case KERN_Q3_K: mul_type(KERN_Q3_K, m); break;
    case KERN_Q4_K: mul_type(KERN_Q4_K, m); break;
    case KERN_Q5_K: mul_type(KERN_Q5_K, m); break;
    case KERN_Q6_K: mul_type(KERN_Q6_K, m); break;
    default: mul_type(KERN_IQ4_XS, m); break;
    }
}
