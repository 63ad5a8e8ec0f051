/* avx2_float.c: products with F32, F16 and BF16 weights in the order of 16 lanes, two vectors of
 * eight. Activations are n columns of k floats, each padded with zeros (float_column).
 *
 * Two rows and three columns at a time have twelve sums, which is what the registers hold. k goes
 * in chunks whose columns stay in the first cache while the rows of a band, which stay in the
 * second, pass by; the lanes wait in between. Called by avx2_mul. */
#include "avx2_int.h"

#define INLINE static inline __attribute__((always_inline))
#define CHUNK 1024
#define BAND 16 /* pairs of rows */
#define PIN(v) __asm__("" : "+x"(v))

/* Eight weights at p. */
INLINE __m256 weights(enum kern_type type, const uint8_t *p)
{
    if (type == KERN_F32)
        return _mm256_loadu_ps((const float *)(const void *)p);
    __m128i h = _mm_loadu_si128((const __m128i *)(const void *)p);
    if (type == KERN_F16)
        return _mm256_cvtph_ps(h);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

/* The lanes of NR rows and NC columns: [row][column], low and high eight. */
struct lanes {
    __m256 v[12];
};

struct part {
    const uint8_t *w; /* the first row, at the chunk */
    size_t stride;
    const float *x; /* the first column, at the chunk */
    size_t x_stride;
    size_t n; /* elements, a multiple of 16 */
};

INLINE void run(enum kern_type type, const int NR, const int NC, const struct part *p,
                struct lanes *lanes)
{
    const size_t size = type == KERN_F32 ? 4 : 2;
    __m256 acc[12];
    for (int j = 0; j < 2 * NR * NC; j++)
        acc[j] = lanes->v[j];
    for (size_t at = 0; at < p->n; at += 16) {
        for (int h = 0; h < 2; h++) {
            const size_t i = at + 8 * (size_t)h;
            __m256 w[4];
            for (int a = 0; a < NR; a++)
                w[a] = weights(type, p->w + (size_t)a * p->stride + i * size);
            for (int b = 0; b < NC; b++) {
                __m256 x = _mm256_loadu_ps(p->x + (size_t)b * p->x_stride + i);
                PIN(x); /* or it is loaded for every row */
                for (int a = 0; a < NR; a++) {
                    __m256 *s = &acc[2 * (a * NC + b) + h];
                    *s = _mm256_fmadd_ps(w[a], x, *s);
                    PIN(*s);
                }
            }
        }
    }
    for (int j = 0; j < 2 * NR * NC; j++)
        lanes->v[j] = acc[j];
}

/* What is left of the rows after the last 16, and zeros: where the columns have zeros too. */
struct tail {
    uint8_t w[4][64];
};

static struct part tail_of(const struct part *p, size_t size, int rows, size_t at, size_t left,
                           struct tail *t)
{
    memset(t, 0, sizeof *t);
    for (int a = 0; a < rows; a++)
        memcpy(t->w[a], p->w + (size_t)a * p->stride + at * size, left * size);
    return (struct part){t->w[0], sizeof t->w[0], p->x + at, p->x_stride, 16};
}

INLINE void store_sums(const int NR, const int NC, const struct kern_mul *m, size_t r, size_t c,
                       const struct lanes *l)
{
    for (int a = 0; a < NR; a++)
        for (int b = 0; b < NC; b++)
            m->out[(c + (size_t)b) * m->out_stride + r + (size_t)a] =
                sum16(l->v[2 * (a * NC + b)], l->v[2 * (a * NC + b) + 1]);
}

/* Rows [r, r + rows) with NC columns from c; rows is a multiple of NR. */
INLINE void band(enum kern_type type, const int NR, const int NC, const struct kern_mul *m,
                 size_t r, size_t rows, size_t c)
{
    const struct kern_mat *w = m->w;
    size_t size = type == KERN_F32 ? 4 : 2, padded = float_column(w->k);
    struct lanes lanes[BAND];
    memset(lanes, 0, rows / (size_t)NR * sizeof *lanes);
    for (size_t k0 = 0; k0 < w->k; k0 += CHUNK) {
        size_t left = w->k - k0 < CHUNK ? w->k - k0 : CHUNK, whole = left / 16 * 16;
        struct part p = {.stride = w->stride, .x_stride = padded, .n = whole};
        p.x = (const float *)m->act + c * padded + k0;
        p.w = (const uint8_t *)w->data + r * w->stride + k0 * size;
        for (size_t i = 0; i < rows; i += (size_t)NR, p.w += (size_t)NR * w->stride) {
            struct tail t;
            struct part now = p;
            run(type, NR, NC, &now, &lanes[i / (size_t)NR]);
            if (whole < left) {
                now = tail_of(&p, size, NR, whole, left - whole, &t);
                run(type, NR, NC, &now, &lanes[i / (size_t)NR]);
            }
        }
    }
    for (size_t i = 0; i < rows; i += (size_t)NR)
        store_sums(NR, NC, m, r + i, c, &lanes[i / (size_t)NR]);
}

/* Rows [r, r + rows) with all columns; rows is a multiple of NR. */
INLINE void rows_of(enum kern_type type, const int NR, const struct kern_mul *m, size_t r,
                    size_t rows)
{
    size_t c = 0;
    for (; c + 3 <= m->n && m->n - c != 4; c += 3)
        band(type, NR, 3, m, r, rows, c);
    for (; c + 2 <= m->n; c += 2)
        band(type, NR, 2, m, r, rows, c);
    if (c < m->n)
        band(type, NR, 1, m, r, rows, c);
}

INLINE void mul_type(enum kern_type type, const struct kern_mul *m)
{
    size_t r = m->r0;
    for (; m->n == 1 && r + 4 <= m->r1; r += 4)
        band(type, 4, 1, m, r, 4, 0);
    while (r + 2 <= m->r1) {
        size_t rows = m->r1 - r < 2 * BAND ? (m->r1 - r) / 2 * 2 : 2 * BAND;
        rows_of(type, 2, m, r, rows);
        r += rows;
    }
    if (r < m->r1)
        rows_of(type, 1, m, r, 1);
}

static void mul_f32(const struct kern_mul *m)
{
    mul_type(KERN_F32, m);
}

static void mul_f16(const struct kern_mul *m)
{
    mul_type(KERN_F16, m);
}

static void mul_bf16(const struct kern_mul *m)
{
    mul_type(KERN_BF16, m);
}

void avx2_mul_float(const struct kern_mul *m)
{
    switch (m->w->type) {
    case KERN_F32: mul_f32(m); break;
    case KERN_F16: mul_f16(m); break;
    default: mul_bf16(m); break;
    }
}
