/* avx2_many.c: many columns with quantised weights. 16 rows of a chunk of k are unpacked into a
 * tile that stays in the first cache, and multiplied with four columns at a time; the float sums of
 * all columns wait in the scratch between chunks. Called by avx2_mul. */
#include "avx2_quant_int.h"

/* acc [COLS][ROWS] of a group of columns. */
#define ACC_BYTES (COLS * ROWS * 4)

size_t avx2_many_scratch(size_t n)
{
    return round_up(TILE_MAX, 64) + (n + COLS - 1) / COLS * ACC_BYTES;
}

INLINE __m256i four_bytes(const uint8_t *p)
{
    return _mm256_set1_epi32(load_i32(p));
}

INLINE __m256 broadcast(const uint8_t *p)
{
    return _mm256_broadcast_ss((const float *)(const void *)p);
}

/* `steps` steps, `step` bytes apart, of the eight rows at w0 and those at w1, summed in int16:
 * sum[2 * column] and sum[2 * column + 1]. */
INLINE void steps16(const int steps, const size_t step, const uint8_t *w0, const uint8_t *w1,
                    const uint8_t *x, __m256i sum[2 * COLS])
{
    for (int j = 0; j < steps; j++) {
        __m256i a = load256(w0 + (size_t)j * step), b = load256(w1 + (size_t)j * step);
        for (int c = 0; c < COLS; c++) {
            __m256i v = four_bytes(x + (j * COLS + c) * 4);
            __m256i s = _mm256_maddubs_epi16(a, v), t = _mm256_maddubs_epi16(b, v);
            sum[2 * c] = j ? _mm256_add_epi16(sum[2 * c], s) : s;
            sum[2 * c + 1] = j ? _mm256_add_epi16(sum[2 * c + 1], t) : t;
            PIN(sum[2 * c]);
            PIN(sum[2 * c + 1]);
        }
    }
}

/* 32 elements of what is multiplied as words, 16 rows: vpmaddwd makes half as many products as
 * vpmaddubsw and vpmaddwd do together, and nothing else is needed. */
INLINE void steps_words(const uint8_t *w, const uint8_t *x, __m256i sum[2 * COLS])
{
    for (int j = 0; j < 16; j++, w += ROWS * 4) {
        __m256i a = load256(w), b = load256(w + 32);
        for (int c = 0; c < COLS; c++) {
            __m256i v = four_bytes(x + (j * COLS + c) * 4);
            __m256i s = _mm256_madd_epi16(a, v), t = _mm256_madd_epi16(b, v);
            sum[2 * c] = j ? _mm256_add_epi32(sum[2 * c], s) : s;
            sum[2 * c + 1] = j ? _mm256_add_epi32(sum[2 * c + 1], t) : t;
            PIN(sum[2 * c]);
            PIN(sum[2 * c + 1]);
        }
    }
}

/* ---- blocks of 32 ---- */
/* The integer sums of a block of unsigned weights; an int16 holds eight steps of 2 * 15 * 127, or
 * four of 2 * 31 * 127. */
INLINE void sums32(enum kern_type type, const uint8_t *w, const uint8_t *x, __m256i sum[2 * COLS])
{
    const int steps = type == KERN_Q4_0 || type == KERN_Q4_1 ? 8 : 4;
    __m256i total[2 * COLS];
    for (int i = 0; i < 8; i += steps) {
        steps16(steps, ROWS * 4, w + i * ROWS * 4, w + i * ROWS * 4 + 32, x + i * COLS * 4, sum);
        for (int c = 0; c < 2 * COLS; c++) {
            sum[c] = fours(sum[c]);
            if (steps == 4 && i == 0) {
                total[c] = sum[c];
                PIN_MEM(total[c]);
            } else if (steps == 4) {
                sum[c] = _mm256_add_epi32(sum[c], total[c]);
            }
        }
    }
}

INLINE void block32(enum kern_type type, const uint8_t *w, const uint8_t *x, float *acc)
{
    const float *dw = (const float *)(const void *)(w + tile_d_at(type));
    const int off = offset_of(type);
    __m256i sum[2 * COLS];
    if (is_signed(type))
        steps_words(w, x, sum);
    else
        sums32(type, w, x, sum);
    x += is_signed(type) ? 64 * COLS : 32 * COLS;
    for (int c = 0; c < COLS; c++) {
        __m256 dx = broadcast(x + 4 * c);
        __m256 sx = has_min(type) ? broadcast(x + 4 * COLS + 4 * c) : dx;
        __m256 sum_x = off ? broadcast(x + 8 * COLS + 4 * c) : dx;
        for (int h = 0; h < 2; h++) {
            float *to = acc + c * ROWS + 8 * h;
            __m256 dot = _mm256_cvtepi32_ps(sum[2 * c + h]);
            if (off) /* exact: all stays below 2^24 */
                dot = _mm256_fnmadd_ps(_mm256_set1_ps((float)off), sum_x, dot);
            __m256 d = _mm256_mul_ps(_mm256_loadu_ps(dw + 8 * h), dx);
            __m256 a = _mm256_fmadd_ps(d, dot, _mm256_loadu_ps(to));
            if (has_min(type))
                a = _mm256_fmadd_ps(_mm256_loadu_ps(dw + ROWS + 8 * h), sx, a);
            _mm256_storeu_ps(to, a);
        }
    }
}

/* ---- super-blocks ---- */

/* A sub-block of `steps` steps from `sum` on: at most 16 of 2 * 3 * 127, 8 of 2 * 15 * 127 or four
 * of 2 * 31 * 127 are summed at once. For Q6_K the offset is subtracted from the int16 sums, which
 * wrap on the way and end within 8 * 32 * 127. */
INLINE void sub_block(enum kern_type type, const uint8_t *w, const uint8_t *x, size_t sub,
                      __m256i *total)
{
    const int steps = sub16(type) ? 4 : 8, once = type == KERN_Q5_K ? 4 : steps;
    const int off = offset_of(type);
    const uint8_t *scale = w + tile_scales_at(type) + sub * ROWS * 4;
    w += sub * (size_t)steps * ROWS * 4;
    const uint8_t *lanes = x + LANES256 + sub * COLS * 4;
    x += sub * (size_t)steps * COLS * 4;
    for (int i = 0; i < steps; i += once) {
        __m256i sum[2 * COLS];
        steps16(once, ROWS * 4, w + i * ROWS * 4, w + i * ROWS * 4 + 32, x + i * COLS * 4, sum);
        for (int c = 0; c < COLS; c++) {
            __m256i o = off ? _mm256_slli_epi16(four_bytes(lanes + 4 * c), off == 32 ? 5 : 2)
                            : _mm256_setzero_si256();
            for (int h = 0; h < 2; h++) {
                __m256i s = sum[2 * c + h];
                if (off)
                    s = _mm256_sub_epi16(s, o);
                s = _mm256_madd_epi16(s, load256(scale + 32 * h));
                total[2 * c + h] = _mm256_add_epi32(total[2 * c + h], s);
                PIN_MEM(total[2 * c + h]);
            }
        }
    }
}

/* The same of what is multiplied as words. */
INLINE void sub_block_words(enum kern_type type, const uint8_t *w, const uint8_t *x, size_t sub,
                            __m256i *total)
{
    const uint8_t *scale = w + tile_scales_at(type) + sub * ROWS * 4;
    const __m256i by[2] = {_mm256_srai_epi32(load256(scale), 16),
                           _mm256_srai_epi32(load256(scale + 32), 16)};
    __m256i sum[2 * COLS];
    steps_words(w + sub * 8 * step_bytes(type), x + sub * 16 * COLS * 4, sum);
    for (int c = 0; c < 2 * COLS; c++) {
        total[c] = _mm256_add_epi32(total[c], _mm256_mullo_epi32(sum[c], by[c % 2]));
        PIN_MEM(total[c]);
    }
}

INLINE __m256i min_sum(enum kern_type type, const uint8_t *w, const uint8_t *x, int c, int h)
{
    const int pairs = type == KERN_Q2_K ? 8 : 4;
    const uint8_t *sums = x + (type == KERN_Q2_K ? PAIRS16 : PAIRS32) + 4 * c;
    __m256i m = _mm256_setzero_si256();
    for (int i = 0; i < pairs; i++) {
        __m256i min = load256(w + tile_mins_at(type) + i * ROWS * 4 + 32 * h);
        m = _mm256_add_epi32(m, _mm256_madd_epi16(min, four_bytes(sums + i * COLS * 4)));
    }
    return m;
}

INLINE void block256(enum kern_type type, const uint8_t *w, const uint8_t *x, float *acc)
{
    const float *dw = (const float *)(const void *)(w + tile_d_at(type));
    __m256i total[2 * COLS];
    size_t subs = sub16(type) ? 16 : 8;
    for (int c = 0; c < 2 * COLS; c++)
        total[c] = _mm256_setzero_si256();
    OPAQUE(subs);
    for (size_t sub = 0; sub < subs; sub++) {
        if (!is_signed(type)) {
            sub_block(type, w, x, sub, total);
            continue;
        }
        sub_block_words(type, w, x, sub, total);
    }
    const uint8_t *dx_at = x + (is_signed(type) ? 2 * SUPER * COLS : D256);
    for (int c = 0; c < COLS; c++) {
        __m256 dx = broadcast(dx_at + 4 * c);
        for (int h = 0; h < 2; h++) {
            float *to = acc + c * ROWS + 8 * h;
            __m256 d = _mm256_mul_ps(_mm256_loadu_ps(dw + 8 * h), dx);
            __m256 s = _mm256_cvtepi32_ps(total[2 * c + h]);
            __m256 a = _mm256_fmadd_ps(d, s, _mm256_loadu_ps(to));
            if (has_min(type)) {
                __m256 m = _mm256_mul_ps(_mm256_loadu_ps(dw + ROWS + 8 * h), dx);
                a = _mm256_fnmadd_ps(m, _mm256_cvtepi32_ps(min_sum(type, w, x, c, h)), a);
            }
            _mm256_storeu_ps(to, a);
        }
    }
}

/* ---- all columns ---- */

/* Lines to read ahead meanwhile, some with every block, so that they do not stand in each other's
 * way. */
struct ahead {
    const uint8_t *at;
    size_t lines, step;
};

INLINE void read_ahead(struct ahead *a)
{
    if (!a->lines)
        return;
    size_t n = a->lines < a->step ? a->lines : a->step;
    prefetch(a->at, n * 64);
    a->at += n * 64;
    a->lines -= n;
}

INLINE void groups_of(enum kern_type type, const uint8_t *tile, const uint8_t *x, size_t groups,
                      size_t blocks, struct ahead ahead, float *acc)
{
    const enum act_kind kind = type_act(type);
    for (size_t g = 0; g < groups; g++, acc += COLS * ROWS) {
        const uint8_t *w = tile;
        for (size_t b = 0; b < blocks; b++) {
            read_ahead(&ahead);
            if (kind == ACT_32)
                block32(type, w, x, acc);
            else
                block256(type, w, x, acc);
            w += tile_block_bytes(type);
            x += group_block_bytes(type);
        }
    }
}

#define GROUPS_OF(type)                                                                            \
    static void groups_##type(const uint8_t *tile, const uint8_t *x, size_t groups, size_t blocks, \
                              struct ahead ahead, float *acc)                                      \
    {                                                                                              \
        groups_of(KERN_##type, tile, x, groups, blocks, ahead, acc);                               \
    }

GROUPS_OF(Q4_0)
GROUPS_OF(Q4_1)
GROUPS_OF(Q5_0)
GROUPS_OF(Q5_1)
GROUPS_OF(Q8_0) /* and IQ4_NL */
GROUPS_OF(MXFP4)
GROUPS_OF(Q2_K)
GROUPS_OF(Q3_K)
GROUPS_OF(Q4_K)
GROUPS_OF(Q5_K)
GROUPS_OF(Q6_K)
GROUPS_OF(IQ4_XS)

typedef void groups_fn(const uint8_t *tile, const uint8_t *x, size_t groups, size_t blocks,
                       struct ahead ahead, float *acc);

static groups_fn *groups_for(enum kern_type type)
{
    switch (type) {
    case KERN_Q4_0: return groups_Q4_0;
    case KERN_Q4_1: return groups_Q4_1;
    case KERN_Q5_0: return groups_Q5_0;
    case KERN_Q5_1: return groups_Q5_1;
    case KERN_MXFP4: return groups_MXFP4;
    case KERN_Q2_K: return groups_Q2_K;
    case KERN_Q3_K: return groups_Q3_K;
    case KERN_Q4_K: return groups_Q4_K;
    case KERN_Q5_K: return groups_Q5_K;
    case KERN_Q6_K: return groups_Q6_K;
    case KERN_IQ4_XS: return groups_IQ4_XS;
    default: return groups_Q8_0;
    }
}

static void store_rows(const struct kern_mul *m, size_t r, const float *acc)
{
    size_t rows = m->r1 - r < ROWS ? m->r1 - r : ROWS;
    for (size_t c = 0; c < m->n; c++, acc += ROWS) {
        float *out = m->out + c * m->out_stride + r;
        if (rows == ROWS) {
            _mm256_storeu_ps(out, _mm256_loadu_ps(acc));
            _mm256_storeu_ps(out + 8, _mm256_loadu_ps(acc + 8));
        } else {
            memcpy(out, acc, rows * sizeof *out);
        }
    }
}

void avx2_many(const struct kern_mul *m)
{
    enum kern_type type = m->w->type;
    enum act_kind kind = type_act(type);
    size_t k = m->w->k, block = block_size(kind), groups = (m->n + COLS - 1) / COLS;
    groups_fn *multiply = groups_for(type);
    uint8_t *tile = m->scratch;
    float *acc = (float *)(void *)(tile + round_up(TILE_MAX, 64));
    prefetch_first(m);
    for (size_t r = m->r0; r < m->r1; r += ROWS) {
        const uint8_t *p[ROWS];
        row_pointers(m, r, p, ROWS);
        memset(acc, 0, groups * ACC_BYTES);
        for (size_t k0 = 0; k0 < k; k0 += CHUNK) {
            size_t blocks = (k - k0 < CHUNK ? k - k0 : CHUNK) / block;
            size_t bytes = blocks * type_block_bytes(type);
            struct ahead ahead = {ahead_of(m, r) + k0 / block * type_block_bytes(type) * ROWS,
                                  r + AHEAD < m->r1 ? bytes * ROWS / 64 : 0, 0};
            ahead.step = ahead.lines / (groups * blocks) + 1;
            if (kind == ACT_32)
                avx2_tile32(type, p, blocks, tile);
            else
                avx2_tile256(type, p, blocks, tile);
            multiply(tile, (const uint8_t *)m->act + group_offset(type, k, groups, k0, 0), groups,
                     blocks, ahead, acc);
            for (size_t i = 0; i < ROWS; i++)
                p[i] += bytes;
        }
        store_rows(m, r, acc);
    }
}
