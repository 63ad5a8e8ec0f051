/* avx512_many.c: products of quantised weights with many columns: up to 48 rows are unpacked once
 * into a tile of unsigned bytes, then multiplied with four columns at a time, all sums in
 * registers.
 *
 * Tile: strips of 16 rows; a block of a strip is w [8][16 rows] uint8[4], d float[16], m float[16].
 * Q8_0 stands as w + 128. */
#include "avx512_int.h"
#include "c_int.h"

#define STRIPS 3
#define TILE_BLOCK (8 * ROWS * 4 + 2 * ROWS * 4)

size_t avx512_mul_scratch(enum kern_type type, size_t n, size_t k)
{
    if (!own_code(type))
        return c_mul_scratch(type, n, k);
    return is_quant(type) && n > FEW ? STRIPS * (k / BLOCK) * TILE_BLOCK : 64;
}

/* Dwords at p[i] + at + 4j, j < 4, of 16 rows: v[j] has a row in each lane. */
INLINE void transpose16(const uint8_t *const p[ROWS], size_t at, __m512i v[4])
{
    __m512i a = quarters(p, at), b = quarters(p + 1, at);
    __m512i c = quarters(p + 2, at), d = quarters(p + 3, at);
    __m512i ab0 = _mm512_unpacklo_epi32(a, b), ab1 = _mm512_unpackhi_epi32(a, b);
    __m512i cd0 = _mm512_unpacklo_epi32(c, d), cd1 = _mm512_unpackhi_epi32(c, d);
    v[0] = _mm512_unpacklo_epi64(ab0, cd0);
    v[1] = _mm512_unpackhi_epi64(ab0, cd0);
    v[2] = _mm512_unpacklo_epi64(ab1, cd1);
    v[3] = _mm512_unpackhi_epi64(ab1, cd1);
}

static void unpack_q4_1(const struct kern_mul *m, size_t r, const uint8_t *const p[ROWS],
                        uint8_t *tile)
{
    const __m512i low = _mm512_set1_epi8(15);
    for (size_t b = 0; b < m->w->k / BLOCK; b++, tile += TILE_BLOCK) {
        __m512i v[4];
        __m512 d, min;
        prefetch_ahead(m, r, b, ROWS * Q4_1_BYTES);
        transpose16(p, b * Q4_1_BYTES + 4, v);
        for (size_t j = 0; j < 4; j++) {
            __m512i high = _mm512_and_si512(_mm512_srli_epi16(v[j], 4), low);
            _mm512_storeu_si512(tile + 64 * j, _mm512_and_si512(v[j], low));
            _mm512_storeu_si512(tile + 64 * (j + 4), high);
        }
        half_pairs(p, b * Q4_1_BYTES, &d, &min);
        _mm512_storeu_ps(tile + 512, d);
        _mm512_storeu_ps(tile + 576, min);
    }
}

static void unpack_q8_0(const struct kern_mul *m, size_t r, const uint8_t *const p[ROWS],
                        uint8_t *tile)
{
    const __m512i flip = _mm512_set1_epi8((char)0x80);
    for (size_t b = 0; b < m->w->k / BLOCK; b++, tile += TILE_BLOCK) {
        prefetch_ahead(m, r, b, ROWS * Q8_0_BYTES);
        for (size_t part = 0; part < 2; part++) {
            __m512i v[4];
            transpose16(p, b * Q8_0_BYTES + 2 + 16 * part, v);
            for (size_t j = 0; j < 4; j++)
                _mm512_storeu_si512(tile + 64 * (4 * part + j), _mm512_xor_si512(v[j], flip));
        }
        _mm512_storeu_ps(tile + 512, halves16(p, b * Q8_0_BYTES));
    }
}

INLINE __m512i four_bytes(const uint8_t *p)
{
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm512_set1_epi32(v);
}

INLINE __m512 one_float(const uint8_t *p)
{
    float v;
    memcpy(&v, p, sizeof v);
    return _mm512_set1_ps(v);
}

/* S strips with a group of four columns. */
INLINE void tile_group(const int S, enum kern_type type, const uint8_t *w, const uint8_t *x,
                       size_t blocks, __m512 acc[COLS][STRIPS])
{
    const size_t strip = blocks * TILE_BLOCK;
    __m512i sum[COLS][STRIPS];
    for (int c = 0; c < COLS; c++)
        for (int s = 0; s < S; s++)
            acc[c][s] = _mm512_setzero_ps();
    for (size_t b = 0; b < blocks; b++, w += TILE_BLOCK, x += GROUP_BLOCK) {
        for (int c = 0; c < COLS; c++)
            for (int s = 0; s < S; s++)
                sum[c][s] =
                    type == KERN_Q8_0 ? four_bytes(x + 144 + 4 * c) : _mm512_setzero_si512();
        for (int j = 0; j < 8; j++) {
            __m512i v[STRIPS];
            for (int s = 0; s < S; s++)
                v[s] = _mm512_loadu_si512(w + (size_t)s * strip + 64 * j);
            for (int c = 0; c < COLS; c++) {
                __m512i q = four_bytes(x + 16 * j + 4 * c);
                for (int s = 0; s < S; s++)
                    sum[c][s] = _mm512_dpbusd_epi32(sum[c][s], v[s], q);
            }
        }
        for (int s = 0; s < S; s++) {
            __m512 dw = _mm512_loadu_ps(w + (size_t)s * strip + 512);
            for (int c = 0; c < COLS; c++) {
                __m512 d = _mm512_mul_ps(dw, one_float(x + 128 + 4 * c));
                acc[c][s] = _mm512_fmadd_ps(d, _mm512_cvtepi32_ps(sum[c][s]), acc[c][s]);
            }
            if (type != KERN_Q4_1)
                continue;
            __m512 mw = _mm512_loadu_ps(w + (size_t)s * strip + 576);
            for (int c = 0; c < COLS; c++)
                acc[c][s] = _mm512_fmadd_ps(mw, one_float(x + 144 + 4 * c), acc[c][s]);
        }
    }
}

INLINE void mul_tile(const int S, enum kern_type type, const struct kern_mul *m, size_t r)
{
    size_t blocks = m->w->k / BLOCK, group = group_bytes(m->w->k);
    uint8_t *tile = m->scratch;
    for (int s = 0; s < S; s++) {
        const uint8_t *p[ROWS];
        row_pointers(m, r + (size_t)s * ROWS, p);
        if (type == KERN_Q4_1)
            unpack_q4_1(m, r + (size_t)s * ROWS, p, tile + (size_t)s * blocks * TILE_BLOCK);
        else
            unpack_q8_0(m, r + (size_t)s * ROWS, p, tile + (size_t)s * blocks * TILE_BLOCK);
    }
    size_t left = m->r1 - r;
    for (size_t c = 0; c < m->n; c += COLS) {
        __m512 acc[COLS][STRIPS];
        tile_group(S, type, tile, (const uint8_t *)m->act + c / COLS * group, blocks, acc);
        for (int i = 0; i < COLS && c + (size_t)i < m->n; i++)
            for (int s = 0; s < S; s++) {
                size_t rows = left - (size_t)s * ROWS < ROWS ? left - (size_t)s * ROWS : ROWS;
                float *out = m->out + (c + (size_t)i) * m->out_stride + r + (size_t)s * ROWS;
                _mm512_mask_storeu_ps(out, (__mmask16)((1u << rows) - 1), acc[i][s]);
            }
    }
}

INLINE void mul_type(enum kern_type type, const struct kern_mul *m)
{
    prefetch_first(m);
    for (size_t r = m->r0; r < m->r1; r += STRIPS * ROWS) {
        size_t left = m->r1 - r;
        if (left > 2 * ROWS)
            mul_tile(3, type, m, r);
        else if (left > ROWS)
            mul_tile(2, type, m, r);
        else
            mul_tile(1, type, m, r);
    }
}

void avx512_mul_many(const struct kern_mul *m)
{
    if (m->w->type == KERN_Q4_1)
        mul_type(KERN_Q4_1, m);
    else
        mul_type(KERN_Q8_0, m);
}
