/* local_facts.c: what a model file says of itself, in the words that other programs' callers know:
 * names of quantisations, counts as people say them, its key-values as JSON. Reads the file's head
 * only; called by app/ for /props and /api/show, of files that are loaded or not. */
#include "local_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* llama.cpp's numbers of general.file_type. */
static const char *const file_types[] = {
    [0] = "F32",      [1] = "F16",      [2] = "Q4_0",    [3] = "Q4_1",    [7] = "Q8_0",
    [8] = "Q5_0",     [9] = "Q5_1",     [10] = "Q2_K",   [11] = "Q3_K_S", [12] = "Q3_K_M",
    [13] = "Q3_K_L",  [14] = "Q4_K_S",  [15] = "Q4_K_M", [16] = "Q5_K_S", [17] = "Q5_K_M",
    [18] = "Q6_K",    [19] = "IQ2_XXS", [20] = "IQ2_XS", [21] = "Q2_K_S", [22] = "IQ3_XS",
    [23] = "IQ3_XXS", [24] = "IQ1_S",   [25] = "IQ4_NL", [26] = "IQ3_S",  [27] = "IQ3_M",
    [28] = "IQ2_S",   [29] = "IQ2_M",   [30] = "IQ4_XS", [31] = "IQ1_M",  [32] = "BF16",
    [36] = "TQ1_0",   [37] = "TQ2_0",   [38] = "MXFP4",
};

/* The type that most of its bytes have. */
static const char *commonest(const struct gguf *g)
{
    uint64_t bytes[64] = {0};
    uint32_t most = 0;
    const char *name = NULL;
    for (size_t i = 0; i < gguf_ntensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        if (t->dtype >= 64)
            continue;
        bytes[t->dtype] += t->nbytes;
        if (bytes[t->dtype] > bytes[most])
            most = t->dtype;
    }
    uint32_t block, size;
    return bytes[most] && gguf_dtype_info(most, &name, &block, &size) ? name : "unknown";
}

static const char *quant_of(const struct gguf *g)
{
    uint64_t type;
    if (gguf_get_u64(g, "general.file_type", 4096, &type, NULL) == 0 &&
        type < sizeof file_types / sizeof *file_types && file_types[type])
        return file_types[type];
    return commonest(g);
}

static uint64_t count_params(const struct gguf *g)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < gguf_ntensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        uint64_t n = 1;
        for (int k = 0; k < t->ndims; k++)
            n *= t->dims[k]; /* checked when the file was opened */
        sum += n;
    }
    return sum;
}

static void say_count(uint64_t n, char out[static 16])
{
    static const struct {
        uint64_t unit;
        char letter;
        int digits;
    } units[] = {{1000000000, 'B', 1}, {1000000, 'M', 2}, {1000, 'K', 0}};
    for (size_t i = 0; i < 3; i++) {
        if (n < units[i].unit)
            continue;
        double x = (double)n / (double)units[i].unit;
        snprintf(out, 16, "%.*f%c", floor(x) == x ? 0 : units[i].digits, x, units[i].letter);
        return;
    }
    snprintf(out, 16, "%llu", (unsigned long long)n);
}

/* ARCHITECTURE.key */
static uint64_t number_of(const struct gguf *g, struct str arch, const char *key)
{
    char name[160];
    uint64_t n = 0;
    snprintf(name, sizeof name, "%.*s.%s", STR_ARG(arch.n < 64 ? arch : STR_NONE), key);
    return gguf_get_u64(g, name, INT64_MAX, &n, NULL) == 0 ? n : 0;
}

static bool is_encoder(const struct gguf *g, struct str arch)
{
    char name[160];
    bool causal = true;
    snprintf(name, sizeof name, "%.*s.attention.causal", STR_ARG(arch.n < 64 ? arch : STR_NONE));
    return gguf_get_bool(g, name, &causal, NULL) == 0 && !causal;
}

void local_facts_of(const struct gguf *g, struct str tmpl, struct local_facts *out)
{
    struct local_facts f = {.quant = quant_of(g), .nparams = count_params(g), .tmpl = tmpl};
    struct local_face *face = NULL;
    gguf_get_str(g, "general.name", &f.name, NULL);
    gguf_get_str(g, "general.architecture", &f.architecture, NULL);
    if (!tmpl.n)
        gguf_get_str(g, "tokenizer.chat_template", &f.tmpl, NULL);
    say_count(f.nparams, f.parameters);
    f.bytes = gguf_file_size(g);
    f.context = number_of(g, f.architecture, "context_length");
    f.width = number_of(g, f.architecture, "embedding_length");
    f.layers = number_of(g, f.architecture, "block_count");
    const struct gguf_value *tokens = gguf_find(g, "tokenizer.ggml.tokens");
    f.vocab = tokens && tokens->type == GGUF_ARR ? tokens->count : 0;
    f.encoder = is_encoder(g, f.architecture);
    f.infill = !f.encoder && local_fim_listed(g);
    if (!f.encoder && f.tmpl.n && local_face_new(f.tmpl, &face, NULL) == 0) {
        f.chat = face->tmpl != NULL;
        f.tools = face->tools;
        f.reasoning = f.chat && face->traits.reasoning;
    }
    local_face_put(face);
    *out = f;
}

const struct gguf *local_gguf(const struct local *l)
{
    return model_gguf(engine_model(l->engine));
}

/* ---- key-values ---- */

static void put_float(struct buf *out, double x)
{
    char z[40];
    int digits = 6; /* as few as come back the same: files have floats of 32 bits */
    if (!isfinite(x)) {
        buf_puts(out, "null");
        return;
    }
    do
        snprintf(z, sizeof z, "%.*g", digits, x);
    while ((float)strtod(z, NULL) != (float)x && ++digits <= 9);
    buf_puts(out, z);
}

static void put_array(const struct gguf_value *v, size_t most, struct buf *out)
{
    uint64_t pos = 0;
    if (v->count > most || v->elem == GGUF_ARR) {
        buf_puts(out, "null");
        return;
    }
    buf_putc(out, '[');
    for (uint64_t i = 0; i < v->count; i++) {
        struct str s = STR_NONE;
        int64_t whole = 0;
        double x = 0;
        if (i)
            buf_putc(out, ',');
        if (v->elem == GGUF_STR && gguf_arr_str_next(v, &pos, &s))
            buf_json_str(out, s);
        else if (v->elem == GGUF_BOOL && gguf_arr_i64(v, i, &whole))
            buf_puts(out, whole ? "true" : "false");
        else if (gguf_arr_i64(v, i, &whole))
            buf_printf(out, "%lld", (long long)whole);
        else if (gguf_arr_f64(v, i, &x))
            put_float(out, x);
        else
            buf_puts(out, "null");
    }
    buf_putc(out, ']');
}

static void put_value(const struct gguf_value *v, size_t most, struct buf *out)
{
    switch (v->type) {
    case GGUF_STR: buf_json_str(out, v->s); break;
    case GGUF_BOOL: buf_puts(out, v->u ? "true" : "false"); break;
    case GGUF_F32:
    case GGUF_F64: put_float(out, v->f); break;
    case GGUF_ARR: put_array(v, most, out); break;
    case GGUF_U64: buf_printf(out, "%llu", (unsigned long long)v->u); break;
    default: buf_printf(out, "%lld", (long long)v->i); break;
    }
}

bool local_values_json(const struct gguf *g, size_t most, struct buf *out)
{
    buf_putc(out, '{');
    for (size_t i = 0; i < gguf_nvalues(g); i++) {
        const struct gguf_value *v = gguf_value_at(g, i);
        if (i)
            buf_putc(out, ',');
        buf_json_str(out, v->key);
        buf_putc(out, ':');
        put_value(v, most, out);
    }
    buf_putc(out, '}');
    return !buf_failed(out);
}
