/* ollama_params.c: the parameters that a model's own record sets (a Modelfile's PARAMETER lines, as
 * the JSON object Ollama's registry keeps them in): they count where the request says nothing. */
#include "ollama_int.h"

/* The fields of `own` that `r` has not set. */
static void take_numbers(struct gen_sampling *s, const struct gen_sampling *own)
{
    unsigned take = own->set & ~s->set;
    s->set |= take;
#define TAKE(flag, field)                                                                          \
    if (take & (flag))                                                                             \
    s->field = own->field
    TAKE(GEN_SET_TEMPERATURE, temperature);
    TAKE(GEN_SET_TOP_P, top_p);
    TAKE(GEN_SET_TOP_K, top_k);
    TAKE(GEN_SET_MIN_P, min_p);
    TAKE(GEN_SET_SEED, seed);
    TAKE(GEN_SET_FREQUENCY, frequency_penalty);
    TAKE(GEN_SET_PRESENCE, presence_penalty);
    TAKE(GEN_SET_REPEAT, repeat_penalty);
    TAKE(GEN_SET_REPEAT_LAST_N, repeat_last_n);
    TAKE(GEN_SET_TYPICAL_P, typical_p);
#undef TAKE
}

int wire_ollama_defaults(struct gen_req *r, struct str params, struct err *e)
{
    struct dec d = {.a = r->arena, .e = e};
    struct gen_req own = {.arena = r->arena, .dialect = GEN_DIALECT_OLLAMA};
    json_t *v = NULL, *body = NULL, *extra = NULL;
    int rc = wire_json_load(params, &v, e);
    if (rc)
        return rc;
    body = json_pack("{s:O}", "options", v);
    rc = body ? ollama_decode_options(&d, body, &own, &extra) : dec_nomem(&d);
    json_decref(body);
    json_decref(v);
    json_decref(extra);
    if (rc < 0)
        return rc;
    take_numbers(&r->sampling, &own.sampling);
    if (r->max_tokens == 0)
        r->max_tokens = own.max_tokens;
    if (r->ctx == 0)
        r->ctx = own.ctx;
    if (r->nstops == 0) {
        r->stops = own.stops;
        r->nstops = own.nstops;
    }
    return 0;
}
