/* local_sampling.c: what a request says of sampling, as the engine wants it: defaults where nothing
 * was said, names to numbers, texts to sets of tokens. Called when a run starts. */
#include "local_int.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define MAX_PIECE ((size_t)1 << 16)

static uint64_t random_seed(void)
{
    uint64_t s = 0;
    if (getrandom(&s, sizeof s, 0) != (ssize_t)sizeof s)
        s = (uint64_t)(uintptr_t)&s;
    return s;
}

/* llama.cpp's names, its older ones too. */
static const struct {
    const char *name;
    unsigned char what;
} names[] = {
    {"penalties", ENGINE_SAMPLER_PENALTIES},
    {"dry", ENGINE_SAMPLER_DRY},
    {"top_n_sigma", ENGINE_SAMPLER_TOP_N_SIGMA},
    {"top_k", ENGINE_SAMPLER_TOP_K},
    {"typ_p", ENGINE_SAMPLER_TYPICAL},
    {"typical_p", ENGINE_SAMPLER_TYPICAL},
    {"top_p", ENGINE_SAMPLER_TOP_P},
    {"min_p", ENGINE_SAMPLER_MIN_P},
    {"xtc", ENGINE_SAMPLER_XTC},
    {"temperature", ENGINE_SAMPLER_TEMPERATURE},
};

static int read_order(const struct gen_sampling *s, unsigned char *order, struct err *e)
{
    if (s->nsamplers > ENGINE_SAMPLERS)
        return err_set(e, ERR_INVAL, "samplers: at most %d", ENGINE_SAMPLERS);
    for (size_t i = 0; i < s->nsamplers; i++) {
        size_t j = 0;
        while (j < sizeof names / sizeof names[0] && !str_is(s->samplers[i], names[j].name))
            j++;
        if (j == sizeof names / sizeof names[0])
            return err_set(e, ERR_INVAL, "samplers: there is no '%.*s'", STR_ARG(s->samplers[i]));
        order[i] = names[j].what;
    }
    return 0;
}

/* The tokens whose text has one of the breakers in it. */
static int find_breakers(const struct local *l, const struct gen_sampling *s, uint64_t *bits,
                         struct err *e)
{
    static const struct str usual[] = {STR("\n"), STR(":"), STR("\""), STR("*")};
    bool given = s->set & GEN_SET_DRY_BREAKERS;
    const struct str *list = given ? s->dry_breakers : usual;
    size_t n = given ? s->ndry_breakers : sizeof usual / sizeof usual[0];
    struct buf piece = BUF_INIT(MAX_PIECE);
    for (int32_t id = 0; id < tok_count(l->tok); id++) {
        buf_clear(&piece);
        tok_decode(l->tok, id, false, true, &piece);
        for (size_t i = 0; i < n; i++)
            if (list[i].n && str_find(buf_str(&piece), list[i], 0) != SIZE_MAX)
                bits[id / 64] |= (uint64_t)1 << (id % 64);
    }
    bool failed = buf_failed(&piece);
    buf_done(&piece);
    return failed ? err_set(e, ERR_NOMEM, "no memory for the breakers of a repetition") : 0;
}

/* ---- biases ---- */

static int add_bias(struct local_sampling *out, size_t *cap, int32_t id, float bias, struct err *e)
{
    if (out->s.nbias == *cap) {
        size_t n = *cap ? *cap * 2 : 16;
        struct engine_bias *p = realloc(out->bias, n * sizeof *p);
        if (!p)
            return err_set(e, ERR_NOMEM, "no memory for a request's sampling");
        out->bias = p;
        *cap = n;
    }
    out->bias[out->s.nbias++] = (struct engine_bias){id, bias};
    return 0;
}

/* A text's bias is that of each of its tokens. */
static int add_text_bias(const struct local *l, struct local_sampling *out, size_t *cap,
                         const struct gen_bias *b, struct err *e)
{
    enum { MOST = 4096 };
    struct tok_ids ids = {0};
    struct tok_span span = {b->text, false};
    int rc = b->text.n ? tok_encode(l->tok, &span, 1, 0, MOST, &ids, e) : 0;
    for (size_t i = 0; !rc && i < ids.n; i++)
        rc = add_bias(out, cap, ids.p[i], b->bias, e);
    tok_ids_done(&ids);
    return rc;
}

static int make_bias(const struct local *l, const struct gen_sampling *s,
                     struct local_sampling *out, struct err *e)
{
    size_t cap = 0;
    int rc = 0;
    for (size_t i = 0; !rc && i < s->nbias; i++)
        rc = s->bias[i].id < 0 && s->bias[i].text.n
                 ? add_text_bias(l, out, &cap, &s->bias[i], e)
                 : add_bias(out, &cap, s->bias[i].id, s->bias[i].bias, e);
    for (size_t i = 0; !rc && s->ignore_eos && i < l->nend_ids; i++)
        rc = add_bias(out, &cap, l->end_ids[i], -INFINITY, e);
    out->s.bias = out->bias;
    return rc;
}

static int make_lists(struct local *l, const struct gen_sampling *s, struct local_sampling *out,
                      struct err *e)
{
    size_t vocab = (size_t)model_traits(engine_model(l->engine))->vocab;
    out->breaks = out->s.dry_multiplier > 0 ? calloc(vocab / 64 + 1, sizeof *out->breaks) : NULL;
    if (out->s.dry_multiplier > 0 && !out->breaks)
        return err_set(e, ERR_NOMEM, "no memory for a request's sampling");
    out->s.dry_breaks = out->breaks;
    int rc = make_bias(l, s, out, e);
    if (!rc && out->breaks)
        rc = find_breakers(l, s, out->breaks, e);
    return rc ? rc : read_order(s, out->s.order, e);
}

/* The fields' defaults beside LOCAL_'s are llama.cpp's. */
int local_sampling_make(struct local *l, const struct gen_req *req, struct local_sampling *out,
                        struct err *e)
{
    const struct gen_sampling *s = &req->sampling;
#define OR(bit, field, fallback) (s->set & GEN_SET_##bit ? s->field : (fallback))
    *out = (struct local_sampling){
        .s = {
            .temperature = OR(TEMPERATURE, temperature, LOCAL_TEMPERATURE),
            .top_p = OR(TOP_P, top_p, LOCAL_TOP_P),
            .min_p = OR(MIN_P, min_p, LOCAL_MIN_P),
            .top_k = OR(TOP_K, top_k, LOCAL_TOP_K),
            .repeat_penalty = OR(REPEAT, repeat_penalty, 1),
            .frequency_penalty = OR(FREQUENCY, frequency_penalty, 0),
            .presence_penalty = OR(PRESENCE, presence_penalty, 0),
            .repeat_last_n = OR(REPEAT_LAST_N, repeat_last_n, 0),
            .typical_p = OR(TYPICAL_P, typical_p, 1),
            .top_n_sigma = OR(TOP_N_SIGMA, top_n_sigma, 0),
            .xtc_probability = OR(XTC_PROBABILITY, xtc_probability, 0),
            .xtc_threshold = OR(XTC_THRESHOLD, xtc_threshold, 0.1f),
            .dry_multiplier = OR(DRY_MULTIPLIER, dry_multiplier, 0),
            .dry_base = OR(DRY_BASE, dry_base, 1.75f),
            .dry_allowed_length = OR(DRY_ALLOWED_LENGTH, dry_allowed_length, 2),
            .dry_last_n = OR(DRY_LAST_N, dry_last_n, -1),
            .seed = s->set & GEN_SET_SEED ? s->seed : random_seed(),
            .top_logprobs = req->logprobs ? req->top_logprobs : -1,
        }};
#undef OR
    int rc = make_lists(l, s, out, e);
    if (rc)
        local_sampling_done(out);
    return rc;
}

void local_sampling_done(struct local_sampling *s)
{
    free(s->bias);
    free(s->breaks);
    s->bias = NULL;
    s->breaks = NULL;
}
