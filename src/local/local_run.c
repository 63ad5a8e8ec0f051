/* local_run.c: one run: tokens from the engine's thread to events.
 *
 *   token ──decode──▶ hold (stop strings, half characters) ──▶ output parser ──▶ sink
 *
 * Bytes are held back while they may be the beginning of a stop string or of a character, and go
 * out with the log-probabilities of their tokens. All of it runs on the engine's thread; after DONE
 * or ERROR has been given to the sink the run may be released by its owner at once, so nothing
 * touches it any more. */
#include "local_int.h"

#include "utf8.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { MAX_HELD = 8 << 20, MAX_PIECE = 1 << 20 };

struct gen_run {
    struct local *l;
    const struct gen_req *req; /* lives until the end has been delivered */
    struct gen_sink sink;
    struct engine_run *er;
    struct grammar *grammar; /* NULL: none */
    struct tmpl_parser *parser;
    struct tmpl_hold hold;
    struct buf piece; /* the bytes of the token in hand */
    struct buf clean; /* a piece with malformed bytes replaced */
    bool opens_text;  /* the next token is the first of a text: SentencePiece drops its space */
    bool started, in_reasoning;
    atomic_bool cancelled;
    enum gen_verdict verdict; /* of the events of the token in hand */
    struct str matched;       /* the stop string that ended it */
    struct engine_stats stats;
    int64_t reasoning;
    float *row; /* GEN_EMBED: the row in hand */
    struct err failed;
};

/* ---- events ---- */

static void emit(struct gen_run *r, const struct gen_event *ev)
{
    enum gen_verdict v = r->sink.event(r->sink.ctx, ev);
    if (v > r->verdict)
        r->verdict = v;
}

static void emit_start(struct gen_run *r)
{
    if (r->started)
        return;
    r->started = true;
    struct gen_event ev = {.type = GEN_EV_START, .text = str_of(r->l->name)};
    emit(r, &ev);
}

/* What the parser says passes here, so that reasoning can be counted. */
static enum gen_verdict pass(void *ctx, const struct gen_event *ev)
{
    struct gen_run *r = ctx;
    r->in_reasoning = ev->type == GEN_EV_REASONING;
    emit(r, ev);
    return r->verdict;
}

/* Text is valid UTF-8 downstream: what a model wrote that is not becomes U+FFFD. */
static struct str cleaned(struct gen_run *r, struct str s)
{
    if (utf8_valid(s))
        return s;
    buf_clear(&r->clean);
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        size_t n = utf8_decode(str_n(s.p + i, s.n - i), &cp);
        if (n)
            buf_add(&r->clean, s.p + i, n);
        else
            buf_puts(&r->clean, "\xEF\xBF\xBD");
        i += n ? n : 1;
    }
    return buf_str(&r->clean);
}

static void feed(struct gen_run *r, size_t n)
{
    const struct gen_token_logprobs *lp;
    size_t nlp;
    struct str s = tmpl_hold_take(&r->hold, n, &lp, &nlp);
    if (n || nlp)
        tmpl_parser_feed(r->parser, cleaned(r, s), lp, nlp);
}

/* ---- stop strings ---- */

/* The first place where a stop string begins, and which; SIZE_MAX: none. */
static size_t find_stop(const struct gen_run *r, struct str s, struct str *which)
{
    size_t first = SIZE_MAX;
    for (size_t i = 0; i < r->req->nstops; i++) {
        size_t at = r->req->stops[i].n ? str_find(s, r->req->stops[i], 0) : SIZE_MAX;
        if (at < first) {
            first = at;
            *which = r->req->stops[i];
        }
    }
    return first;
}

/* How many bytes at the end of s may be the beginning of a stop string. */
static size_t partial_stop(const struct gen_run *r, struct str s)
{
    size_t most = 0;
    for (size_t i = 0; i < r->req->nstops; i++) {
        struct str stop = r->req->stops[i];
        size_t n = stop.n ? stop.n - 1 : 0;
        for (n = n < s.n ? n : s.n; n > most; n--)
            if (memcmp(s.p + s.n - n, stop.p, n) == 0)
                most = n;
    }
    return most;
}

/* Passes on what can no longer be part of anything else. */
static void let_go(struct gen_run *r)
{
    struct str s = tmpl_hold_text(&r->hold);
    size_t n = find_stop(r, s, &r->matched);
    if (n == SIZE_MAX) {
        n = s.n - partial_stop(r, s);
        n -= utf8_partial_tail(str_n(s.p, n));
    }
    feed(r, n);
}

/* ---- tokens ---- */

static bool is_end(const struct local *l, int32_t id)
{
    for (size_t i = 0; i < l->nend_ids; i++)
        if (l->end_ids[i] == id)
            return true;
    return false;
}

static struct gen_logprob name_token(struct gen_run *r, const struct engine_logprob *lp,
                                     struct buf *bytes, size_t *from)
{
    *from = bytes->n;
    tok_decode(r->l->tok, lp->id, false, true, bytes);
    return (struct gen_logprob){
        .token = str_n(NULL, bytes->n - *from), .id = lp->id, .logprob = lp->logprob};
}

/* A control token is shown to the parser where the model's syntax has it, and to nobody else. */
static bool is_syntax(const struct gen_run *r, int32_t id)
{
    return tok_is_control(r->l->tok, id) && tmpl_parser_wants(r->parser, tok_piece(r->l->tok, id));
}

/* The token's bytes and, where they are wanted, its log-probabilities to the hold. The bytes of the
 * alternatives are gathered first: the buffer may move while it grows. */
static void hold_token(struct gen_run *r, const struct engine_token *t)
{
    struct gen_logprob top[32];
    size_t from[32], n = 0;
    struct buf names = BUF_INIT(MAX_PIECE);
    buf_clear(&r->piece);
    tok_decode(r->l->tok, t->id, r->opens_text, is_syntax(r, t->id), &r->piece);
    r->opens_text = false;
    struct str bytes = buf_str(&r->piece);
    if (!r->req->logprobs) {
        tmpl_hold_add(&r->hold, bytes, NULL, 0);
        return;
    }
    for (; n < (size_t)t->ntop && n < sizeof top / sizeof *top; n++)
        top[n] = name_token(r, &t->top[n], &names, &from[n]);
    for (size_t i = 0; i < n; i++)
        top[i].token.p = buf_str(&names).p + from[i];
    struct gen_token_logprobs lp = {
        .chosen = {.token = bytes, .id = t->id, .logprob = t->chosen.logprob},
        .top = top,
        .ntop = n};
    tmpl_hold_add(&r->hold, bytes, &lp, 1);
    buf_done(&names);
}

static enum engine_verdict on_token(void *ctx, const struct engine_token *t)
{
    struct gen_run *r = ctx;
    r->verdict = GEN_GO;
    emit_start(r);
    if (!is_end(r->l, t->id)) {
        hold_token(r, t);
        let_go(r);
        r->reasoning += r->in_reasoning;
    }
    if (r->verdict == GEN_CANCEL)
        atomic_store(&r->cancelled, true);
    if (r->verdict == GEN_CANCEL || r->matched.n || r->hold.failed)
        return ENGINE_STOP;
    return r->verdict == GEN_PAUSE ? ENGINE_PAUSE : ENGINE_GO;
}

/* ---- the end ---- */

static enum gen_reason reason_of(const struct gen_run *r, enum engine_end end, bool called)
{
    if (r->matched.n)
        return GEN_END_SEQUENCE;
    if (end == ENGINE_END_LENGTH || end == ENGINE_END_CONTEXT)
        return GEN_END_LENGTH;
    return called ? GEN_END_TOOLS : GEN_END_STOP;
}

static int end_error(const struct gen_run *r, enum engine_end end, const struct err *err,
                     struct err *out)
{
    if (end == ENGINE_END_ERROR) {
        *out = *err;
        return out->code;
    }
    if (end == ENGINE_END_CANCEL || atomic_load(&r->cancelled))
        return err_set(out, ERR_CANCELLED, "cancelled after %lld tokens",
                       (long long)r->stats.generated);
    if (r->hold.failed)
        return err_set(out, ERR_NOMEM, "no memory for the answer's text");
    return 0;
}

static void on_end(void *ctx, enum engine_end end, const struct engine_stats *s,
                   const struct err *err)
{
    struct gen_run *r = ctx;
    struct err e;
    bool called = false;
    r->stats = *s;
    int rc = end_error(r, end, err, &e);
    if (rc == 0) {
        emit_start(r);
        if (!r->matched.n)
            feed(r, tmpl_hold_text(&r->hold).n);
        tmpl_parser_end(r->parser, &called);
    }
    struct gen_event usage = {.type = GEN_EV_USAGE,
                              .usage = {.input = s->prompt,
                                        .cached = s->reused,
                                        .output = s->generated,
                                        .reasoning = r->reasoning}};
    emit(r, &usage);
    struct gen_event last = {.type = rc ? GEN_EV_ERROR : GEN_EV_DONE,
                             .err = rc ? &e : NULL,
                             .reason = reason_of(r, end, called),
                             .text = r->matched};
    struct gen_sink sink = r->sink;
    sink.event(sink.ctx, &last); /* the run may be gone from here on */
}

/* ---- rows instead of text ---- */

static enum engine_verdict on_row(void *ctx, size_t text, const float *row, size_t width)
{
    struct gen_run *r = ctx;
    struct gen_event ev = {.type = GEN_EV_EMBEDDING, .index = (int32_t)text, .embedding = r->row};
    r->verdict = GEN_GO;
    emit_start(r);
    if (local_embed_row(r->req, row, width, r->row, &ev.nembedding, &r->failed) != 0)
        return ENGINE_STOP;
    emit(r, &ev);
    if (r->verdict == GEN_CANCEL)
        atomic_store(&r->cancelled, true);
    return r->verdict == GEN_CANCEL  ? ENGINE_STOP
           : r->verdict == GEN_PAUSE ? ENGINE_PAUSE
                                     : ENGINE_GO;
}

static void on_rows_end(void *ctx, enum engine_end end, const struct engine_stats *s,
                        const struct err *err)
{
    struct gen_run *r = ctx;
    struct err e = r->failed;
    r->stats = *s;
    int rc = e.code ? e.code : end_error(r, end, err, &e);
    struct gen_event usage = {.type = GEN_EV_USAGE, .usage = {.input = s->prompt}};
    emit(r, &usage);
    struct gen_event last = {.type = rc ? GEN_EV_ERROR : GEN_EV_DONE, .err = rc ? &e : NULL};
    struct gen_sink sink = r->sink;
    sink.event(sink.ctx, &last); /* the run may be gone from here on */
}

static int submit_texts(struct local *l, const struct gen_req *req, const struct local_prompt *p,
                        struct gen_sink sink, struct gen_run **out, struct err *e)
{
    size_t width = (size_t)model_traits(engine_model(l->engine))->width;
    struct gen_run *r = calloc(1, sizeof *r), *before = *out;
    if (r)
        r->row = calloc(width, sizeof *r->row);
    if (!r || !r->row) {
        free(r);
        return err_set(e, ERR_NOMEM, "no memory for a run");
    }
    r->l = l;
    r->req = req;
    r->sink = sink;
    atomic_init(&r->cancelled, false);
    struct engine_embed_job job = {
        .texts = p->texts, .ntexts = p->ntexts, .on_row = on_row, .on_end = on_rows_end, .ctx = r};
    *out = r; /* as a run that writes is */
    int rc = engine_embed(l->engine, &job, &r->er, e);
    if (rc) {
        *out = before;
        local_release(r);
    }
    return rc;
}

/* ---- starting ---- */

static struct gen_run *run_new(struct local *l, const struct gen_req *req, bool thinks,
                               struct gen_sink sink)
{
    struct gen_run *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    bool chat = req->kind == GEN_CHAT;
    bool tools = chat && l->caps.tools && req->ntools > 0 && req->tool_choice != GEN_CHOICE_NONE;
    r->l = l;
    r->req = req;
    r->sink = sink;
    r->opens_text = !chat && req->prompt.n == 0;
    r->piece = BUF_INIT(MAX_PIECE);
    r->clean = BUF_INIT(MAX_HELD * 3);
    atomic_init(&r->cancelled, false);
    tmpl_hold_init(&r->hold, MAX_HELD);
    r->parser = tmpl_parser_new(chat ? l->syntax : TMPL_SYNTAX_PLAIN, tools ? req : NULL, 0,
                                (struct gen_sink){.event = pass, .ctx = r});
    if (r->parser && thinks)
        tmpl_parser_thinks(r->parser);
    if (r->parser)
        return r;
    local_release(r);
    return NULL;
}

static int submit(struct local *l, const struct gen_req *req, const struct local_prompt *p,
                  struct gen_sink sink, struct gen_run **out, struct err *e)
{
    struct local_sampling sampling;
    int rc = local_sampling_make(l, req, &sampling, e);
    if (rc)
        return rc;
    struct gen_run *r = run_new(l, req, p->thinks, sink);
    if (!r) {
        local_sampling_done(&sampling);
        return err_set(e, ERR_NOMEM, "no memory for a run");
    }
    const struct grammar_vocab *words = NULL;
    rc = local_grammar_make(l, req, p->thinks, &r->grammar, e);
    if (!rc && r->grammar)
        rc = local_words(l, &words, e);
    if (rc) {
        local_sampling_done(&sampling);
        local_release(r);
        return rc;
    }
    struct engine_job job = {
        .tokens = p->ids.p,
        .ntokens = p->ids.n,
        .max_tokens = req->max_tokens,
        .sampling = sampling.s,
        .end_ids = l->end_ids,
        .nend_ids = l->nend_ids,
        .grammar = r->grammar,
        .vocab = words,
        .on_token = on_token,
        .on_end = on_end,
        .ctx = r,
    };
    /* The run is known to its owner before the first event, and to itself before the engine can
     * end it. */
    struct gen_run *before = *out;
    *out = r;
    rc = engine_submit(l->engine, &job, &r->er, e);
    local_sampling_done(&sampling);
    if (rc) {
        *out = before;
        local_release(r);
    }
    return rc;
}

int local_start(struct gen_backend *b, const struct gen_req *req, struct str model,
                struct gen_count *count, struct gen_sink sink, struct gen_run **out, struct err *e)
{
    struct local *l = (struct local *)b;
    struct local_prompt fresh = {0}, *p = count ? count->kept : NULL;
    struct gen_caps caps;
    int rc = b->ops->describe(b, model, &caps, e);
    if (!rc)
        rc = local_check(l, req, e);
    if (!rc && !p)
        rc = local_prepare(l, req, &fresh, e);
    if (!rc)
        rc = (req->kind == GEN_EMBED ? submit_texts : submit)(l, req, p ? p : &fresh, sink, out, e);
    local_prompt_done(&fresh);
    if (!rc && p) { /* taken: the engine has its own copy */
        count->kept_free(p);
        count->kept = NULL;
    }
    return rc;
}

void local_resume(struct gen_run *run)
{
    engine_resume(run->er);
}

void local_cancel(struct gen_run *run)
{
    atomic_store(&run->cancelled, true);
    engine_cancel(run->er);
}

void local_release(struct gen_run *run)
{
    if (!run)
        return;
    engine_release(run->er);
    grammar_free(run->grammar);
    tmpl_parser_free(run->parser);
    tmpl_hold_done(&run->hold);
    buf_done(&run->piece);
    buf_done(&run->clean);
    free(run->row);
    free(run);
}

const struct engine_stats *local_run_stats(const struct gen_run *run)
{
    return &run->stats;
}
