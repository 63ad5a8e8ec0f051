/* check_weights.c: the formats as checkkern knows them, apart from what the kernels say, and random
 * weights in each of them. */
#include "check_int.h"

#include <string.h>

struct format {
    enum kern_type type;
    const char *name;
    size_t block, bytes;
    size_t halves, at[2]; /* where the block has its scales */
};

static const struct format formats[TYPES] = {
    {KERN_F32, "f32", 1, 4, 0, {0}},           {KERN_F16, "f16", 1, 2, 1, {0}},
    {KERN_BF16, "bf16", 1, 2, 0, {0}},         {KERN_Q8_0, "q8_0", 32, 34, 1, {0}},
    {KERN_Q4_0, "q4_0", 32, 18, 1, {0}},       {KERN_Q4_1, "q4_1", 32, 20, 2, {0, 2}},
    {KERN_Q5_0, "q5_0", 32, 22, 1, {0}},       {KERN_Q5_1, "q5_1", 32, 24, 2, {0, 2}},
    {KERN_IQ4_NL, "iq4_nl", 32, 18, 1, {0}},   {KERN_MXFP4, "mxfp4", 32, 17, 0, {0}},
    {KERN_Q2_K, "q2_k", 256, 84, 2, {80, 82}}, {KERN_Q3_K, "q3_k", 256, 110, 1, {108}},
    {KERN_Q4_K, "q4_k", 256, 144, 2, {0, 2}},  {KERN_Q5_K, "q5_k", 256, 176, 2, {0, 2}},
    {KERN_Q6_K, "q6_k", 256, 210, 1, {208}},   {KERN_IQ4_XS, "iq4_xs", 256, 136, 1, {0}},
};

const enum kern_type all_types[TYPES] = {
    KERN_F32,  KERN_F16,    KERN_BF16,  KERN_Q8_0, KERN_Q4_0, KERN_Q4_1, KERN_Q5_0, KERN_Q5_1,
    KERN_Q2_K, KERN_IQ4_NL, KERN_MXFP4, KERN_Q3_K, KERN_Q4_K, KERN_Q5_K, KERN_Q6_K, KERN_IQ4_XS,
};

static const struct format *format_of(enum kern_type t)
{
    for (size_t i = 0; i < TYPES; i++)
        if (formats[i].type == t)
            return &formats[i];
    return NULL;
}

size_t type_block(enum kern_type t)
{
    return format_of(t)->block;
}

size_t type_row_bytes(enum kern_type t, size_t k)
{
    const struct format *f = format_of(t);
    return k / f->block * f->bytes;
}

size_t type_align(enum kern_type t)
{
    return t == KERN_F32 ? 4 : t == KERN_F16 || t == KERN_BF16 ? 2 : 1;
}

const char *type_name(enum kern_type t)
{
    return format_of(t)->name;
}

static uint16_t usual_half(void)
{
    return (uint16_t)((rnd() & 0x8fff) | 0x2000);
}

/* Any half, often an extreme one; one that is not finite now and then. */
static uint16_t any_half(void)
{
    static const uint16_t extreme[] = {0,      0x8000, 1,      0x8001, 0x03ff,
                                       0x0400, 0x7bff, 0xfbff, 0x3c00};
    static const uint16_t odd[] = {0x7c00, 0xfc00, 0x7e00, 0x7d01, 0xfe01};
    if (rnd_below(2000) == 0)
        return odd[rnd_below(sizeof odd / sizeof *odd)];
    if (rnd_below(6) == 0)
        return extreme[rnd_below(sizeof extreme / sizeof *extreme)];
    if (rnd_below(4))
        return usual_half();
    uint16_t h = (uint16_t)rnd();
    return (h & 0x7c00) == 0x7c00 ? (uint16_t)(h ^ 0x4000) : h;
}

static uint8_t any_exponent(void)
{
    static const uint8_t extreme[] = {0, 1, 2, 3, 253, 254, 255, 128};
    if (rnd_below(4) == 0)
        return extreme[rnd_below(sizeof extreme / sizeof *extreme)];
    return (uint8_t)rnd_range(118, 130);
}

/* A block whose integers are random or all at one end. */
static void fill_block(const struct format *f, uint8_t *p)
{
    static const uint8_t patterns[] = {0x80, 0xff, 0x7f, 0x00, 0x0f, 0xf0};
    size_t pattern = rnd_below(12);
    rnd_bytes(p, f->bytes);
    if (pattern < sizeof patterns)
        memset(p, patterns[pattern], f->bytes);
    if (f->type == KERN_MXFP4)
        p[0] = any_exponent();
    for (size_t i = 0; i < f->halves; i++) {
        uint16_t h = any_half();
        memcpy(p + f->at[i], &h, 2);
    }
}

static void fill_float(enum kern_type t, uint8_t *p)
{
    float f = rnd_float();
    uint32_t bits;
    memcpy(&bits, &f, 4);
    if (rnd_below(3000) == 0)
        bits = (uint32_t)rnd();
    memcpy(p, t == KERN_F32 ? (uint8_t *)&bits : (uint8_t *)&bits + 2, t == KERN_F32 ? 4 : 2);
}

void fill_weights(void *p, enum kern_type t, size_t rows, size_t k, size_t stride)
{
    const struct format *f = format_of(t);
    for (size_t r = 0; r < rows; r++) {
        uint8_t *row = (uint8_t *)p + r * stride;
        for (size_t i = 0; i < k; i += f->block, row += f->bytes) {
            if (t == KERN_F32 || t == KERN_BF16)
                fill_float(t, row);
            else
                fill_block(f, row);
        }
    }
}

void fill_plain_weights(void *p, enum kern_type t, size_t rows, size_t k, size_t stride)
{
    const struct format *f = format_of(t);
    for (size_t r = 0; r < rows; r++) {
        uint8_t *row = (uint8_t *)p + r * stride;
        for (size_t i = 0; i < k; i += f->block, row += f->bytes) {
            rnd_bytes(row, f->bytes);
            if (t == KERN_F32 || t == KERN_BF16)
                fill_float(t, row);
            if (t == KERN_MXFP4)
                row[0] = 120;
            for (size_t j = 0; j < f->halves; j++) {
                uint16_t h = usual_half();
                memcpy(row + f->at[j], &h, 2);
            }
        }
    }
}
