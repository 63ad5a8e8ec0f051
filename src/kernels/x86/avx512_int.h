/* avx512_int.h: what the AVX-512 files share. This set needs F, BW, VL, DQ and VNNI; what works on
 * single rows stays with AVX2, whose table it builds on. */
#ifndef WEIR_AVX512_INT_H
#define WEIR_AVX512_INT_H

#include "kern_int.h"
#include "block_int.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* A count that the compiler does not know, so that it leaves the loop a loop: gcc unrolls even long
 * ones and then runs out of registers. */
INLINE int opaque(int count)
{
    __asm__("" : "+r"(count));
    return count;
}

void avx512_attn(const struct kern_attn *a);
enum kern_type avx512_act_as(enum kern_type type, size_t n);
size_t avx512_act_bytes(enum kern_type type, size_t n, size_t k);
void avx512_act_pack(enum kern_type type, const float *x, size_t x_stride, size_t n, size_t k,
                     size_t c0, size_t c1, void *out);
size_t avx512_mul_scratch(enum kern_type type, size_t n, size_t k);
void avx512_mul(const struct kern_mul *m);
void avx512_mul_float(const struct kern_mul *m);
void avx512_few_32(const struct kern_mul *m); /* up to FEW columns */
void avx512_few_256(const struct kern_mul *m);
void avx512_many_32(const struct kern_mul *m); /* more */
void avx512_many_256(const struct kern_mul *m);

/* ---- packed activations of quantised weights (avx512_pack.c makes them) ----
 * Columns stand in groups of C: 1 or 2 when n is, 8 for 5 to 8 columns, else 4; the last column is
 * repeated to fill the last group. Four bytes of each column of a group lie side by side, so that a
 * vector of weights (16 rows, 4 elements of each) meets every column in turn. All weights are made
 * unsigned by an offset; sums of the activations take it off again.
 *
 * Blocks of 32, in chunks of eight: [chunk][group][block].
 * Blocks of 256: [block][group]. */
#define FEW 8 /* as many columns are multiplied without a tile, in one group */
#define COLS 4
#define CHUNK 8

static inline size_t group_cols(size_t n)
{
    return n <= 2 ? n : n > COLS && n <= FEW ? FEW : COLS;
}

static inline size_t group_count(size_t n)
{
    return (n + group_cols(n) - 1) / group_cols(n);
}

/* A block of 32 in a group of C columns: q int8 [8][C][4]; d float[C]; neg int32[C], less the sum
 * of q; ds float[C], d times the sum. */
#define X32_D(C) (32 * (C))
#define X32_NEG(C) (36 * (C))
#define X32_DS(C) (40 * (C))
#define X32_BYTES(C) (44 * (C))

/* A block of 256: q int8 [64][C][4]; d float[C]; what takes the offset of the elements off again,
 * int32: -128 times the sum of q of all (for Q3_K) [C] and of 32 elements (IQ4_XS) [8][C], -32
 * times that of 16 (Q6_K) [16][C]; sums as pairs of int16: of 32 elements [4][C], of 16 [8][C]; the
 * largest sum of magnitudes of 16 elements, int32[C]. */
#define X256_D(C) (256 * (C))
#define X256_NEG256(C) (260 * (C))
#define X256_NEG32(C) (264 * (C))
#define X256_NEG16(C) (296 * (C))
#define X256_PAIR32(C) (360 * (C))
#define X256_PAIR16(C) (376 * (C))
#define X256_TOP16(C) (408 * (C))
#define X256_BYTES(C) (412 * (C))

INLINE __m512i spread_int(const uint8_t *p)
{
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm512_set1_epi32(v);
}

INLINE __m512 spread_float(const uint8_t *p)
{
    float v;
    memcpy(&v, p, sizeof v);
    return _mm512_set1_ps(v);
}

/* The four bytes at x times those of every lane of w are added to sum. gcc would make the
 * repetition an instruction of its own and copy the sums about, which fills the processor's window:
 * fewer steps are then under way when memory is slow. */
INLINE __m512i add_dots(__m512i sum, __m512i w, const uint8_t *x)
{
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(w), "m"(*(const char(*)[4])x));
    return sum;
}

/* ---- 16 rows of weights ---- */
#define ROWS 16

/* 16 rows: row 4j + e begins at b[j] + e * s. So few numbers stay in registers, where 16 pointers
 * would not. */
struct rows {
    const uint8_t *b[4];
    size_t s, s3; /* the stride, and three of them */
};

/* `at` bytes further on. The compiler may not know how the numbers hang together, or it would make
 * 16 pointers of them again. */
INLINE struct rows rows_at(const struct rows *p, size_t at)
{
    struct rows q = *p;
    for (int j = 0; j < 4; j++)
        q.b[j] += at;
    __asm__("" : "+r"(q.b[0]), "+r"(q.b[1]), "+r"(q.b[2]), "+r"(q.b[3]), "+r"(q.s), "+r"(q.s3));
    return q;
}

INLINE const uint8_t *row(const struct rows *p, int i)
{
    const uint8_t *b = p->b[i / 4];
    return i % 4 == 0 ? b : i % 4 == 1 ? b + p->s : i % 4 == 2 ? b + 2 * p->s : b + p->s3;
}

/* 16 rows of which the first is row r, or the last is the matrix's last; `skip` is where r is among
 * them. A matrix of fewer rows than 16 shows row r in all lanes. */
INLINE struct rows rows_from(const struct kern_mat *w, size_t r, size_t *skip)
{
    size_t first = r + ROWS <= w->rows ? r : w->rows < ROWS ? r : w->rows - ROWS;
    size_t stride = w->rows < ROWS ? 0 : w->stride;
    const uint8_t *b = (const uint8_t *)w->data + first * w->stride;
    *skip = r - first;
    return (struct rows){{b, b + 4 * stride, b + 8 * stride, b + 12 * stride}, stride, 3 * stride};
}

/* Rows that `strips` times 16 lanes stand for. */
INLINE size_t rows_of(const struct kern_mat *w, size_t strips)
{
    return w->rows < ROWS ? 1 : strips * ROWS;
}

/* Stores the results of column c for the rows that rows_from(r) took. */
INLINE void store_rows(const struct kern_mul *m, size_t r, size_t c, __m512 sum)
{
    size_t skip, left = m->r1 - r, most = rows_of(m->w, 1);
    rows_from(m->w, r, &skip);
    uint32_t lanes = (1u << (left < most ? left : most)) - 1;
    float *out = m->out + c * m->out_stride + r - skip;
    _mm512_mask_storeu_ps(out, (__mmask16)(lanes << skip), sum);
}

/* Strided streams are more than the hardware's prefetcher follows, so weights are asked for in the
 * order they lie, into the second cache: the first AHEAD rows at once, then, while a block of some
 * rows is worked on, as many bytes AHEAD rows further on. What another thread reads is left alone.
 */
#define AHEAD 64

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

/* Part `part` of some rows from r is worked on, which has `bytes` bytes in all of them. Parts are
 * small: the processor waits where more lines are asked for at once than it can keep count of. */
INLINE void prefetch_ahead(const struct kern_mul *m, size_t r, size_t part, size_t bytes)
{
    if (r + AHEAD < m->r1)
        prefetch((const uint8_t *)m->w->data + (r + AHEAD) * m->w->stride + part * bytes, bytes);
}

#endif
