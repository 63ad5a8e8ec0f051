/* avx2_mul.c: products with quantised weights.
 *
 * Few columns (decoding): eight rows stand in the lanes of a vector, rows i and i + 4 in the two
 * halves of a register while their blocks are multiplied, so the first step of every sum is free.
 * Rows some way ahead are prefetched into the second cache in the order they lie.
 * Packed column: q int8[k]; d float[k / 32]; s float[k / 32], d times the sum of q.
 *
 * Many columns: 16 rows are unpacked once into a tile, k in steps of 4 (Q4_1) or 2 (Q8_0, whose
 * products do not fit a sum of int16), and multiplied with four columns at a time.
 * Packed group of four columns: a block is q [8][4 columns] int8[4], or [16][4] int16[2]; then
 * d float[4], s float[4].
 * Tile: a block is w [8][16 rows] uint8[4], or [16][16] int16[2]; then d float[16], m float[16]. */
#include "avx2_int.h"
#include "c_int.h"

#define INLINE static inline __attribute__((always_inline))
#define FEW 2 /* columns up to which unpacking a tile does not pay */
#define ROWS 16
#define COLS 4

#define ACT_Q4_1 (8 * COLS * 4 + 2 * COLS * sizeof(float))
#define ACT_Q8_0 (16 * COLS * 4 + 2 * COLS * sizeof(float))
#define TILE_Q4_1 (8 * ROWS * 4 + 2 * ROWS * sizeof(float))
#define TILE_Q8_0 (16 * ROWS * 4 + 2 * ROWS * sizeof(float))

static bool is_quant(enum kern_type type)
{
    return type == KERN_Q8_0 || type == KERN_Q4_1;
}

/* The other formats are left to C. */
static bool own_code(enum kern_type type)
{
    return is_quant(type) || type == KERN_F32 || type == KERN_F16;
}

enum kern_type avx2_act_as(enum kern_type type, size_t n)
{
    (void)n;
    return type;
}

static size_t column_bytes(size_t k)
{
    return round_up(k + k / BLOCK * 2 * sizeof(float), 64);
}

static size_t group_bytes(enum kern_type type, size_t k)
{
    return round_up(k / BLOCK * (type == KERN_Q4_1 ? ACT_Q4_1 : ACT_Q8_0), 64);
}

size_t avx2_act_bytes(enum kern_type type, size_t n, size_t k)
{
    if (!own_code(type))
        return c_act_bytes(type, n, k);
    if (!is_quant(type))
        return n * round_up(k, 16) * sizeof(float);
    return n <= FEW ? n * column_bytes(k) : (n + COLS - 1) / COLS * group_bytes(type, k);
}

size_t avx2_mul_scratch(enum kern_type type, size_t n, size_t k)
{
    if (!own_code(type))
        return c_mul_scratch(type, n, k);
    if (!is_quant(type) || n <= FEW)
        return 64;
    return k / BLOCK * (type == KERN_Q4_1 ? TILE_Q4_1 : TILE_Q8_0);
}

/* ---- activations ---- */
struct act_block {
    __m256i q;
    float d, s;
};

static uint32_t top_bits(__m256i a, __m256i b, __m256i c, __m256i d)
{
    __m256i m = _mm256_max_epi32(_mm256_max_epi32(a, b), _mm256_max_epi32(c, d));
    __m128i n = _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    n = _mm_max_epi32(n, _mm_shuffle_epi32(n, 0x4e));
    n = _mm_max_epi32(n, _mm_shuffle_epi32(n, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(n);
}

INLINE __m256i magnitude(const float *x)
{
    return _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(const void *)x),
                            _mm256_set1_epi32(0x7fffffff));
}

INLINE __m256i rounded(const float *x, __m256 by)
{
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), by));
}

static int32_t byte_sum(__m256i q)
{
    __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), q);
    __m256i fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    __m128i n = _mm_add_epi32(_mm256_castsi256_si128(fours), _mm256_extracti128_si256(fours, 1));
    n = _mm_add_epi32(n, _mm_shuffle_epi32(n, 0x4e));
    n = _mm_add_epi32(n, _mm_shuffle_epi32(n, 0xb1));
    return _mm_cvtsi128_si32(n);
}

static struct act_block quantise(const float *x)
{
    struct act_block b = {_mm256_setzero_si256(), 0, 0};
    uint32_t top = top_bits(magnitude(x), magnitude(x + 8), magnitude(x + 16), magnitude(x + 24));
    float amax = bits_float(top);
    if (top >= 0x7f800000) {
        b.d = b.s = NAN;
        return b;
    }
    if (amax < ACT_TINY)
        return b;
    __m256 by = _mm256_set1_ps(127.0f / amax);
    __m256i lo = _mm256_packs_epi32(rounded(x, by), rounded(x + 8, by));
    __m256i hi = _mm256_packs_epi32(rounded(x + 16, by), rounded(x + 24, by));
    b.q = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(lo, hi),
                                      _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    b.d = amax / 127.0f;
    b.s = b.d * (float)byte_sum(b.q);
    return b;
}

static void pack_column(const float *x, size_t k, uint8_t *out)
{
    float *d = (float *)(void *)(out + k), *s = d + k / BLOCK;
    for (size_t i = 0; i < k / BLOCK; i++) {
        struct act_block b = quantise(x + i * BLOCK);
        _mm256_storeu_si256((__m256i *)(out + i * BLOCK), b.q);
        d[i] = b.d;
        s[i] = b.s;
    }
}

/* Four columns' blocks, dword by dword: [8][4 columns]. */
static void interleave(const struct act_block b[COLS], __m128i out[8])
{
    __m256i t0 = _mm256_unpacklo_epi32(b[0].q, b[1].q), t1 = _mm256_unpackhi_epi32(b[0].q, b[1].q);
    __m256i t2 = _mm256_unpacklo_epi32(b[2].q, b[3].q), t3 = _mm256_unpackhi_epi32(b[2].q, b[3].q);
    __m256i u[4] = {_mm256_unpacklo_epi64(t0, t2), _mm256_unpackhi_epi64(t0, t2),
                    _mm256_unpacklo_epi64(t1, t3), _mm256_unpackhi_epi64(t1, t3)};
    for (int i = 0; i < 4; i++) {
        out[i] = _mm256_castsi256_si128(u[i]);
        out[i + 4] = _mm256_extracti128_si256(u[i], 1);
    }
}

/* int8[4] of each lane to int16[2] of its first and of its last two. */
INLINE __m128i first_pair(__m128i q)
{
    const __m128i to_high = _mm_setr_epi8(-1, 0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13);
    return _mm_srai_epi16(_mm_shuffle_epi8(q, to_high), 8);
}

INLINE __m128i last_pair(__m128i q)
{
    const __m128i to_high =
        _mm_setr_epi8(-1, 2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15);
    return _mm_srai_epi16(_mm_shuffle_epi8(q, to_high), 8);
}

static void pack_group(enum kern_type type, const float *const x[COLS], size_t k, uint8_t *out)
{
    for (size_t i = 0; i < k / BLOCK; i++) {
        struct act_block b[COLS];
        __m128i q[8];
        for (int c = 0; c < COLS; c++)
            b[c] = x[c] ? quantise(x[c] + i * BLOCK)
                        : (struct act_block){_mm256_setzero_si256(), 0, 0};
        interleave(b, q);
        for (int j = 0; j < 8; j++) {
            if (type == KERN_Q4_1) {
                _mm_storeu_si128((__m128i *)out, q[j]);
                out += 16;
            } else {
                _mm_storeu_si128((__m128i *)out, first_pair(q[j]));
                _mm_storeu_si128((__m128i *)(out + 16), last_pair(q[j]));
                out += 32;
            }
        }
        float scales[2 * COLS] = {b[0].d, b[1].d, b[2].d, b[3].d, b[0].s, b[1].s, b[2].s, b[3].s};
        memcpy(out, scales, sizeof scales);
        out += sizeof scales;
    }
}

static void pack_floats(const float *x, size_t k, float *out)
{
    memcpy(out, x, k * sizeof *out);
    memset(out + k, 0, (round_up(k, 16) - k) * sizeof *out);
}

void avx2_act_pack(enum kern_type type, const float *x, size_t x_stride, size_t n, size_t k,
                   size_t c0, size_t c1, void *out)
{
    if (!own_code(type)) {
        c_act_pack(type, x, x_stride, n, k, c0, c1, out);
        return;
    }
    if (!is_quant(type)) {
        for (size_t c = c0; c < c1; c++)
            pack_floats(x + c * x_stride, k, (float *)out + c * round_up(k, 16));
        return;
    }
    if (n <= FEW) {
        for (size_t c = c0; c < c1; c++)
            pack_column(x + c * x_stride, k, (uint8_t *)out + c * column_bytes(k));
        return;
    }
    for (size_t c = c0; c < c1; c += COLS) {
        const float *col[COLS];
        for (size_t i = 0; i < COLS; i++)
            col[i] = c + i < c1 ? x + (c + i) * x_stride : NULL;
        pack_group(type, col, k, (uint8_t *)out + c / COLS * group_bytes(type, k));
    }
}

/* ---- few columns ---- */

/* Pointers to n rows from r; past r1 the last row again, whose results are thrown away. */
INLINE void row_pointers(const struct kern_mul *m, size_t r, const uint8_t **p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t row = r + i < m->r1 ? r + i : m->r1 - 1;
        p[i] = (const uint8_t *)m->w->data + row * m->w->stride;
    }
}

/* Strided streams are more than the hardware's prefetcher follows, so weights are asked for in the
 * order they lie, into the second cache: the first AHEAD rows at once, then, while a block of some
 * rows is worked on, as many bytes AHEAD rows further on. What another thread reads is left alone.
 */
#define AHEAD 32

INLINE void prefetch(const uint8_t *p, size_t bytes)
{
    for (size_t line = 0; line < bytes; line += 64)
        _mm_prefetch((const char *)p + line, _MM_HINT_T1);
}

INLINE void prefetch_first(const struct kern_mul *m)
{
    size_t rows = m->r1 - m->r0 < AHEAD ? m->r1 - m->r0 : AHEAD;
    prefetch((const uint8_t *)m->w->data + m->r0 * m->w->stride, rows * m->w->stride);
}

/* Block `block` of some rows from r is worked on, which has `bytes` bytes in all of them. */
INLINE void prefetch_ahead(const struct kern_mul *m, size_t r, size_t block, size_t bytes)
{
    if (r + AHEAD < m->r1)
        prefetch((const uint8_t *)m->w->data + (r + AHEAD) * m->w->stride + block * bytes, bytes);
}

INLINE __m256i load_halves(const uint8_t *a, const uint8_t *b)
{
    __m256i lo = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)a));
    return _mm256_inserti128_si256(lo, _mm_loadu_si128((const __m128i *)b), 1);
}

INLINE __m128i load_dword(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return _mm_cvtsi32_si128((int)v);
}

/* The dword at p[i] + at of eight rows. */
INLINE __m256i dwords8(const uint8_t *const *p, size_t at)
{
    __m128i v[8];
    for (int i = 0; i < 8; i++)
        v[i] = load_dword(p[i] + at);
    __m128i a = _mm_unpacklo_epi64(_mm_unpacklo_epi32(v[0], v[1]), _mm_unpacklo_epi32(v[2], v[3]));
    __m128i b = _mm_unpacklo_epi64(_mm_unpacklo_epi32(v[4], v[5]), _mm_unpacklo_epi32(v[6], v[7]));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
}

/* Eight pairs of halves to their first and second floats. */
INLINE void split_halves(__m256i pairs, __m256 *first, __m256 *second)
{
    const __m256i apart = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    __m256i h = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(pairs, apart), 0xd8);
    *first = _mm256_cvtph_ps(_mm256_castsi256_si128(h));
    *second = _mm256_cvtph_ps(_mm256_extracti128_si256(h, 1));
}

/* The half at p[i] + at of eight rows, as floats. */
INLINE __m256 halves8(const uint8_t *const *p, size_t at)
{
    __m128i h = _mm_cvtsi32_si128(load_u16(p[0] + at));
    h = _mm_insert_epi16(h, load_u16(p[1] + at), 1);
    h = _mm_insert_epi16(h, load_u16(p[2] + at), 2);
    h = _mm_insert_epi16(h, load_u16(p[3] + at), 3);
    h = _mm_insert_epi16(h, load_u16(p[4] + at), 4);
    h = _mm_insert_epi16(h, load_u16(p[5] + at), 5);
    h = _mm_insert_epi16(h, load_u16(p[6] + at), 6);
    h = _mm_insert_epi16(h, load_u16(p[7] + at), 7);
    return _mm256_cvtph_ps(h);
}

INLINE __m256i both_halves(const uint8_t *p)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));
}

/* Dot products of a block of eight rows: 16 products of at most 15 * 127 fit an int16. */
INLINE __m256i dots_q4_1(const uint8_t *const *p, size_t at, __m256i x0, __m256i x1)
{
    const __m256i low = _mm256_set1_epi8(15);
    __m256i t[4];
    for (int i = 0; i < 4; i++) {
        __m256i w = load_halves(p[i] + at, p[i + 4] + at);
        __m256i a = _mm256_maddubs_epi16(_mm256_and_si256(w, low), x0);
        __m256i b = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(w, 4), low), x1);
        t[i] = _mm256_add_epi16(a, b);
    }
    __m256i s = _mm256_hadd_epi16(_mm256_hadd_epi16(t[0], t[1]), _mm256_hadd_epi16(t[2], t[3]));
    return _mm256_madd_epi16(s, _mm256_set1_epi16(1));
}

/* |w| times x with w's sign: 2 * 128 * 127 fits an int16, and -128 has a magnitude as a uint8. */
INLINE __m256i signed_fours(__m256i w, __m256i x)
{
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

INLINE __m256i dots_q8_0(const uint8_t *const *p, size_t at, __m256i x0, __m256i x1)
{
    __m256i t[4];
    for (int i = 0; i < 4; i++) {
        __m256i a = signed_fours(load_halves(p[i] + at, p[i + 4] + at), x0);
        __m256i b = signed_fours(load_halves(p[i] + at + 16, p[i + 4] + at + 16), x1);
        t[i] = _mm256_add_epi32(a, b);
    }
    return _mm256_hadd_epi32(_mm256_hadd_epi32(t[0], t[1]), _mm256_hadd_epi32(t[2], t[3]));
}

/* Eight rows from r with one column. */
INLINE __m256 rows8(enum kern_type type, const struct kern_mul *m, size_t r,
                    const uint8_t *const *p, const uint8_t *x)
{
    size_t k = m->w->k;
    const size_t bytes = type == KERN_Q4_1 ? Q4_1_BYTES : Q8_0_BYTES;
    const float *d = (const float *)(const void *)(x + k), *s = d + k / BLOCK;
    __m256 acc = _mm256_setzero_ps();
    for (size_t b = 0; b < k / BLOCK; b++) {
        size_t at = b * bytes;
        __m256i x0 = both_halves(x + b * BLOCK), x1 = both_halves(x + b * BLOCK + 16);
        __m256 dx = _mm256_broadcast_ss(d + b), dw, mw;
        prefetch_ahead(m, r, b, 8 * bytes);
        if (type == KERN_Q4_1) {
            split_halves(dwords8(p, at), &dw, &mw);
            __m256 dot = _mm256_cvtepi32_ps(dots_q4_1(p, at + 4, x0, x1));
            acc = _mm256_fmadd_ps(_mm256_mul_ps(dw, dx), dot, acc);
            acc = _mm256_fmadd_ps(mw, _mm256_broadcast_ss(s + b), acc);
        } else {
            dw = halves8(p, at);
            __m256 dot = _mm256_cvtepi32_ps(dots_q8_0(p, at + 2, x0, x1));
            acc = _mm256_fmadd_ps(_mm256_mul_ps(dw, dx), dot, acc);
        }
    }
    return acc;
}

INLINE void mul_few(enum kern_type type, const struct kern_mul *m)
{
    prefetch_first(m);
    for (size_t r = m->r0; r < m->r1; r += 8) {
        const uint8_t *p[8];
        size_t left = m->r1 - r;
        row_pointers(m, r, p, 8);
        for (size_t c = 0; c < m->n; c++) {
            const uint8_t *x = (const uint8_t *)m->act + c * column_bytes(m->w->k);
            __m256 sum = rows8(type, m, r, p, x);
            float *out = m->out + c * m->out_stride + r;
            if (left >= 8)
                _mm256_storeu_ps(out, sum);
            else
                _mm256_maskstore_ps(out, mask8(left), sum);
        }
    }
}

/* ---- many columns ---- */

/* The dwords at p[i] + at + 4j, j < 4, of eight rows: v[j] has a row in each lane. */
INLINE void transpose8(const uint8_t *const *p, size_t at, __m256i v[4])
{
    __m256i a = load_halves(p[0] + at, p[4] + at), b = load_halves(p[1] + at, p[5] + at);
    __m256i c = load_halves(p[2] + at, p[6] + at), d = load_halves(p[3] + at, p[7] + at);
    __m256i ab0 = _mm256_unpacklo_epi32(a, b), ab1 = _mm256_unpackhi_epi32(a, b);
    __m256i cd0 = _mm256_unpacklo_epi32(c, d), cd1 = _mm256_unpackhi_epi32(c, d);
    v[0] = _mm256_unpacklo_epi64(ab0, cd0);
    v[1] = _mm256_unpackhi_epi64(ab0, cd0);
    v[2] = _mm256_unpacklo_epi64(ab1, cd1);
    v[3] = _mm256_unpackhi_epi64(ab1, cd1);
}

INLINE void put8(uint8_t *tile, size_t step, size_t half, __m256i v)
{
    _mm256_storeu_si256((__m256i *)(tile + step * ROWS * 4 + half * 32), v);
}

INLINE __m256i pair16(__m256i q, int first)
{
    const __m128i select = _mm_setr_epi8(-1, 0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13);
    __m256i low = _mm256_broadcastsi128_si256(select);
    __m256i from = first ? q : _mm256_srli_epi32(q, 16);
    return _mm256_srai_epi16(_mm256_shuffle_epi8(from, low), 8);
}

static void tile_q4_1(const struct kern_mul *m, size_t r, const uint8_t *const p[ROWS],
                      uint8_t *tile)
{
    const __m256i low = _mm256_set1_epi8(15);
    for (size_t b = 0; b < m->w->k / BLOCK; b++, tile += TILE_Q4_1) {
        prefetch_ahead(m, r, b, ROWS * Q4_1_BYTES);
        size_t at = b * Q4_1_BYTES;
        float *scales = (float *)(void *)(tile + 8 * ROWS * 4);
        for (size_t half = 0; half < 2; half++) {
            __m256i v[4];
            __m256 d, min;
            transpose8(p + 8 * half, at + 4, v);
            for (size_t j = 0; j < 4; j++) {
                put8(tile, j, half, _mm256_and_si256(v[j], low));
                put8(tile, j + 4, half, _mm256_and_si256(_mm256_srli_epi16(v[j], 4), low));
            }
            split_halves(dwords8(p + 8 * half, at), &d, &min);
            _mm256_storeu_ps(scales + 8 * half, d);
            _mm256_storeu_ps(scales + ROWS + 8 * half, min);
        }
    }
}

static void tile_q8_0(const struct kern_mul *m, size_t r, const uint8_t *const p[ROWS],
                      uint8_t *tile)
{
    for (size_t b = 0; b < m->w->k / BLOCK; b++, tile += TILE_Q8_0) {
        prefetch_ahead(m, r, b, ROWS * Q8_0_BYTES);
        size_t at = b * Q8_0_BYTES;
        float *scales = (float *)(void *)(tile + 16 * ROWS * 4);
        for (size_t half = 0; half < 2; half++) {
            for (size_t part = 0; part < 2; part++) {
                __m256i v[4];
                transpose8(p + 8 * half, at + 2 + 16 * part, v);
                for (size_t j = 0; j < 4; j++) {
                    put8(tile, part * 8 + 2 * j, half, pair16(v[j], 1));
                    put8(tile, part * 8 + 2 * j + 1, half, pair16(v[j], 0));
                }
            }
            _mm256_storeu_ps(scales + 8 * half, halves8(p + 8 * half, at));
        }
    }
}

/* Keeps a sum in its register from step to step: gcc would add products first, and spill them. */
#define PIN(v) __asm__("" : "+x"(v))

INLINE __m256i four_bytes(const uint8_t *p)
{
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm256_set1_epi32(v);
}

/* Sums of a block of Q4_1, 16 rows with four columns: eight steps of at most 2 * 15 * 127 fit. */
INLINE void block_q4_1(const uint8_t *w, const uint8_t *x, __m256i sum[COLS][2])
{
    for (int c = 0; c < COLS; c++)
        sum[c][0] = sum[c][1] = _mm256_setzero_si256();
    for (size_t j = 0; j < 8; j++) {
        __m256i w0 = _mm256_loadu_si256((const __m256i *)(w + j * 64));
        __m256i w1 = _mm256_loadu_si256((const __m256i *)(w + j * 64 + 32));
        for (int c = 0; c < COLS; c++) {
            __m256i v = four_bytes(x + j * 16 + 4 * c);
            sum[c][0] = _mm256_add_epi16(sum[c][0], _mm256_maddubs_epi16(w0, v));
            sum[c][1] = _mm256_add_epi16(sum[c][1], _mm256_maddubs_epi16(w1, v));
            PIN(sum[c][0]);
            PIN(sum[c][1]);
        }
    }
    for (int c = 0; c < COLS; c++)
        for (int h = 0; h < 2; h++)
            sum[c][h] = _mm256_madd_epi16(sum[c][h], _mm256_set1_epi16(1));
}

INLINE void block_q8_0(const uint8_t *w, const uint8_t *x, __m256i sum[COLS][2])
{
    for (int c = 0; c < COLS; c++)
        sum[c][0] = sum[c][1] = _mm256_setzero_si256();
    for (size_t j = 0; j < 16; j++) {
        __m256i w0 = _mm256_loadu_si256((const __m256i *)(w + j * 64));
        __m256i w1 = _mm256_loadu_si256((const __m256i *)(w + j * 64 + 32));
        for (int c = 0; c < COLS; c++) {
            __m256i v = four_bytes(x + j * 16 + 4 * c);
            sum[c][0] = _mm256_add_epi32(sum[c][0], _mm256_madd_epi16(w0, v));
            sum[c][1] = _mm256_add_epi32(sum[c][1], _mm256_madd_epi16(w1, v));
            PIN(sum[c][0]);
            PIN(sum[c][1]);
        }
    }
}

/* 16 rows with a group of four columns: acc[column][row]. */
INLINE void tile_group(enum kern_type type, const uint8_t *w, const uint8_t *x, size_t blocks,
                       float acc[COLS][ROWS])
{
    const size_t w_q = type == KERN_Q4_1 ? 8 * ROWS * 4 : 16 * ROWS * 4;
    const size_t x_q = type == KERN_Q4_1 ? 8 * COLS * 4 : 16 * COLS * 4;
    memset(acc, 0, COLS * ROWS * sizeof(float));
    for (size_t b = 0; b < blocks; b++) {
        __m256i sum[COLS][2];
        const float *dw = (const float *)(const void *)(w + w_q), *mw = dw + ROWS;
        const float *dx = (const float *)(const void *)(x + x_q), *sx = dx + COLS;
        if (type == KERN_Q4_1)
            block_q4_1(w, x, sum);
        else
            block_q8_0(w, x, sum);
        for (int c = 0; c < COLS; c++)
            for (int h = 0; h < 2; h++) {
                __m256 d = _mm256_mul_ps(_mm256_loadu_ps(dw + 8 * h), _mm256_set1_ps(dx[c]));
                __m256 a = _mm256_loadu_ps(&acc[c][8 * h]);
                a = _mm256_fmadd_ps(d, _mm256_cvtepi32_ps(sum[c][h]), a);
                if (type == KERN_Q4_1)
                    a = _mm256_fmadd_ps(_mm256_loadu_ps(mw + 8 * h), _mm256_set1_ps(sx[c]), a);
                _mm256_storeu_ps(&acc[c][8 * h], a);
            }
        w += w_q + 2 * ROWS * sizeof(float);
        x += x_q + 2 * COLS * sizeof(float);
    }
}

INLINE void mul_many(enum kern_type type, const struct kern_mul *m)
{
    size_t blocks = m->w->k / BLOCK, group = group_bytes(type, m->w->k);
    prefetch_first(m);
    for (size_t r = m->r0; r < m->r1; r += ROWS) {
        const uint8_t *p[ROWS];
        size_t rows = m->r1 - r < ROWS ? m->r1 - r : ROWS;
        row_pointers(m, r, p, ROWS);
        if (type == KERN_Q4_1)
            tile_q4_1(m, r, p, m->scratch);
        else
            tile_q8_0(m, r, p, m->scratch);
        for (size_t c = 0; c < m->n; c += COLS) {
            float acc[COLS][ROWS];
            size_t cols = m->n - c < COLS ? m->n - c : COLS;
            tile_group(type, m->scratch, (const uint8_t *)m->act + c / COLS * group, blocks, acc);
            for (size_t i = 0; i < cols; i++)
                memcpy(m->out + (c + i) * m->out_stride + r, acc[i], rows * sizeof(float));
        }
    }
}

void avx2_mul(const struct kern_mul *m)
{
    if (!own_code(m->w->type)) {
        c_mul(m);
        return;
    }
    if (!is_quant(m->w->type))
        avx2_mul_float(m);
    else if (m->w->type == KERN_Q4_1 && m->n <= FEW)
        mul_few(KERN_Q4_1, m);
    else if (m->w->type == KERN_Q4_1)
        mul_many(KERN_Q4_1, m);
    else if (m->n <= FEW)
        mul_few(KERN_Q8_0, m);
    else
        mul_many(KERN_Q8_0, m);
}
