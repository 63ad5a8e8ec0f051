/* gguf_types.c: the two tables of the format: value types, and tensor types with the shape of their
 * blocks. Numbers that ggml once used and withdrew (4, 5, 31 to 33, 36 to 38) are unknown here. */
#include "gguf_int.h"

struct dtype_row {
    const char *name;
    uint32_t block, bytes;
};

/* Elements of a block and the bytes it packs them in (ggml's ggml-common.h). */
static const struct dtype_row dtypes[] = {
    [GGUF_DT_F32] = {"F32", 1, 4},
    [GGUF_DT_F16] = {"F16", 1, 2},
    [GGUF_DT_Q4_0] = {"Q4_0", 32, 18},
    [GGUF_DT_Q4_1] = {"Q4_1", 32, 20},
    [GGUF_DT_Q5_0] = {"Q5_0", 32, 22},
    [GGUF_DT_Q5_1] = {"Q5_1", 32, 24},
    [GGUF_DT_Q8_0] = {"Q8_0", 32, 34},
    [GGUF_DT_Q8_1] = {"Q8_1", 32, 36},
    [GGUF_DT_Q2_K] = {"Q2_K", 256, 84},
    [GGUF_DT_Q3_K] = {"Q3_K", 256, 110},
    [GGUF_DT_Q4_K] = {"Q4_K", 256, 144},
    [GGUF_DT_Q5_K] = {"Q5_K", 256, 176},
    [GGUF_DT_Q6_K] = {"Q6_K", 256, 210},
    [GGUF_DT_Q8_K] = {"Q8_K", 256, 292},
    [GGUF_DT_IQ2_XXS] = {"IQ2_XXS", 256, 66},
    [GGUF_DT_IQ2_XS] = {"IQ2_XS", 256, 74},
    [GGUF_DT_IQ3_XXS] = {"IQ3_XXS", 256, 98},
    [GGUF_DT_IQ1_S] = {"IQ1_S", 256, 50},
    [GGUF_DT_IQ4_NL] = {"IQ4_NL", 32, 18},
    [GGUF_DT_IQ3_S] = {"IQ3_S", 256, 110},
    [GGUF_DT_IQ2_S] = {"IQ2_S", 256, 82},
    [GGUF_DT_IQ4_XS] = {"IQ4_XS", 256, 136},
    [GGUF_DT_I8] = {"I8", 1, 1},
    [GGUF_DT_I16] = {"I16", 1, 2},
    [GGUF_DT_I32] = {"I32", 1, 4},
    [GGUF_DT_I64] = {"I64", 1, 8},
    [GGUF_DT_F64] = {"F64", 1, 8},
    [GGUF_DT_IQ1_M] = {"IQ1_M", 256, 56},
    [GGUF_DT_BF16] = {"BF16", 1, 2},
    [GGUF_DT_TQ1_0] = {"TQ1_0", 256, 54},
    [GGUF_DT_TQ2_0] = {"TQ2_0", 256, 66},
    [GGUF_DT_MXFP4] = {"MXFP4", 32, 17},
    [GGUF_DT_NVFP4] = {"NVFP4", 64, 36},
    [GGUF_DT_Q1_0] = {"Q1_0", 128, 18},
    [GGUF_DT_Q2_0] = {"Q2_0", 64, 18},
};

bool gguf_dtype_info(uint32_t dtype, const char **name, uint32_t *block, uint32_t *bytes)
{
    if (dtype >= sizeof dtypes / sizeof dtypes[0] || !dtypes[dtype].name)
        return false;
    if (name)
        *name = dtypes[dtype].name;
    if (block)
        *block = dtypes[dtype].block;
    if (bytes)
        *bytes = dtypes[dtype].bytes;
    return true;
}

struct type_row {
    const char *name;
    size_t size;
};

static const struct type_row types[] = {
    [GGUF_U8] = {"u8", 1},     [GGUF_I8] = {"i8", 1},     [GGUF_U16] = {"u16", 2},
    [GGUF_I16] = {"i16", 2},   [GGUF_U32] = {"u32", 4},   [GGUF_I32] = {"i32", 4},
    [GGUF_F32] = {"f32", 4},   [GGUF_BOOL] = {"bool", 1}, [GGUF_STR] = {"string", 0},
    [GGUF_ARR] = {"array", 0}, [GGUF_U64] = {"u64", 8},   [GGUF_I64] = {"i64", 8},
    [GGUF_F64] = {"f64", 8},
};

#define NTYPES (sizeof types / sizeof types[0])

size_t gguf_type_size(uint32_t type)
{
    return type < NTYPES ? types[type].size : 0;
}

const char *gguf_type_name(uint32_t type)
{
    return type < NTYPES ? types[type].name : "unknown";
}
