/* local_rows.c: a run that embeds: the engine's rows to events. Called by local_run.c. */
#include "local_run_int.h"

#include <stdlib.h>

static enum engine_verdict on_row(void *ctx, size_t text, const float *row, size_t width)
{
    struct gen_run *r = ctx;
    struct gen_event ev = {.type = GEN_EV_EMBEDDING, .index = (int32_t)text, .embedding = r->row};
    r->verdict = GEN_GO;
    local_emit_start(r);
    if (local_embed_row(r->req, row, width, r->row, &ev.nembedding, &r->failed) != 0)
        return ENGINE_STOP;
    local_emit(r, &ev);
    if (r->verdict == GEN_CANCEL)
        atomic_store(&r->cancelled, true);
    return r->verdict == GEN_CANCEL  ? ENGINE_STOP
           : r->verdict == GEN_PAUSE ? ENGINE_PAUSE
                                     : ENGINE_GO;
}

static void on_end(void *ctx, enum engine_end end, const struct engine_stats *s,
                   const struct err *err)
{
    struct gen_run *r = ctx;
    struct err e = r->failed;
    r->stats = *s;
    int rc = e.code ? e.code : local_end_error(r, end, s, err, &e);
    struct gen_event usage = {.type = GEN_EV_USAGE,
                              .usage = {.input = s->prompt},
                              .times = {.queue = (int64_t)s->queued_ns,
                                        .prompt = (int64_t)(s->prefill_ns + s->decode_ns)}};
    local_emit(r, &usage);
    struct gen_event last = {.type = rc ? GEN_EV_ERROR : GEN_EV_DONE, .err = rc ? &e : NULL};
    struct gen_sink sink = r->sink;
    sink.event(sink.ctx, &last); /* the run may be gone from here on */
}

int local_rows_submit(struct gen_run *r, struct err *e)
{
    struct local *l = r->l;
    size_t width = (size_t)model_traits(engine_model(l->engine))->width;
    r->row = calloc(width, sizeof *r->row);
    if (!r->row)
        return err_set(e, ERR_NOMEM, "no memory for a run");
    struct engine_embed_job job = {.texts = r->prompt.texts,
                                   .ntexts = r->prompt.ntexts,
                                   .on_row = on_row,
                                   .on_end = on_end,
                                   .caller = r->req->caller,
                                   .ctx = r};
    return engine_embed(l->engine, &job, &r->er, e);
}
