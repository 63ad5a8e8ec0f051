/* local_choice.c: one choice of a run: tokens from the engine's thread to events.
 *
 *   token ──decode──▶ hold (stop strings, half characters) ──▶ output parser ──▶ sink
 *
 * Bytes are held back while they may be the beginning of a stop string or of a character, and go
 * out with the log-probabilities of their tokens. Called by local_run.c. */
#include "local_run_int.h"

#include "utf8.h"

#include <stdlib.h>

enum { MAX_HELD = 8 << 20, MAX_PIECE = 1 << 20, MAX_RAW = 1 << 20, MAX_TOP = 128 };

/* ---- events ---- */

void local_emit(struct gen_run *r, const struct gen_event *ev)
{
    enum gen_verdict v = r->sink.event(r->sink.ctx, ev);
    if (v > r->verdict)
        r->verdict = v;
}

void local_emit_start(struct gen_run *r)
{
    if (r->told_start)
        return;
    r->told_start = true;
    struct gen_event ev = {.type = GEN_EV_START, .text = str_of(r->l->name)};
    local_emit(r, &ev);
}

/* The ids travel as log-probabilities do; these are taken off where only the ids are wanted. */
static void emit_ids(struct choice *c, const struct gen_event *ev)
{
    struct gen_event with = *ev;
    int32_t *ids = calloc(ev->nlogprobs + 1, sizeof *ids);
    for (size_t i = 0; ids && i < ev->nlogprobs; i++)
        ids[i] = ev->logprobs[i].chosen.id;
    with.ids = ids;
    with.nids = ids ? ev->nlogprobs : 0;
    if (!c->run->req->logprobs) {
        with.logprobs = NULL;
        with.nlogprobs = 0;
    }
    local_emit(c->run, &with);
    free(ids);
}

/* What the parser says passes here, so that reasoning can be counted. */
static enum gen_verdict pass(void *ctx, const struct gen_event *ev)
{
    struct choice *c = ctx;
    c->in_reasoning = ev->type == GEN_EV_REASONING;
    if (ev->type == GEN_EV_TEXT && ev->nlogprobs)
        emit_ids(c, ev);
    else
        local_emit(c->run, ev);
    return c->run->verdict;
}

/* Text is valid UTF-8 downstream: what a model wrote that is not becomes U+FFFD. */
static struct str cleaned(struct choice *c, struct str s)
{
    if (utf8_valid(s))
        return s;
    buf_clear(&c->clean);
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        size_t n = utf8_decode(str_n(s.p + i, s.n - i), &cp);
        if (n)
            buf_add(&c->clean, s.p + i, n);
        else
            buf_puts(&c->clean, "\xEF\xBF\xBD");
        i += n ? n : 1;
    }
    return buf_str(&c->clean);
}

static void feed(struct choice *c, size_t n)
{
    const struct gen_token_logprobs *lp;
    size_t nlp;
    struct str s = tmpl_hold_take(&c->hold, n, &lp, &nlp);
    if (n || nlp)
        tmpl_parser_feed(c->parser, cleaned(c, s), lp, nlp);
}

/* ---- stop strings ---- */

/* The first place where a stop string begins, and which; SIZE_MAX: none. */
static size_t find_stop(const struct gen_req *req, struct str s, struct str *which)
{
    size_t first = SIZE_MAX;
    for (size_t i = 0; i < req->nstops; i++) {
        size_t at = req->stops[i].n ? str_find(s, req->stops[i], 0) : SIZE_MAX;
        if (at < first) {
            first = at;
            *which = req->stops[i];
        }
    }
    return first;
}

/* How many bytes at the end of s may be the beginning of a stop string. */
static size_t partial_stop(const struct gen_req *req, struct str s)
{
    size_t most = 0;
    for (size_t i = 0; i < req->nstops; i++) {
        struct str stop = req->stops[i];
        size_t n = stop.n ? stop.n - 1 : 0;
        for (n = n < s.n ? n : s.n; n > most; n--)
            if (memcmp(s.p + s.n - n, stop.p, n) == 0)
                most = n;
    }
    return most;
}

/* Passes on what can no longer be part of anything else. */
static void let_go(struct choice *c)
{
    struct str s = tmpl_hold_text(&c->hold);
    size_t n = find_stop(c->run->req, s, &c->matched);
    if (n == SIZE_MAX) {
        n = s.n - partial_stop(c->run->req, s);
        n -= utf8_partial_tail(str_n(s.p, n));
    }
    feed(c, n);
}

/* ---- tokens ---- */

static bool is_end(const struct local *l, int32_t id)
{
    for (size_t i = 0; i < l->nend_ids; i++)
        if (l->end_ids[i] == id)
            return true;
    return false;
}

static struct gen_logprob name_token(const struct local *l, const struct engine_logprob *lp,
                                     struct buf *bytes, size_t *from)
{
    *from = bytes->n;
    tok_decode(l->tok, lp->id, false, true, bytes);
    return (struct gen_logprob){
        .token = str_n(NULL, bytes->n - *from), .id = lp->id, .logprob = lp->logprob};
}

/* A control token is shown to the parser where the model's syntax has it, and to nobody else. */
static bool is_syntax(const struct choice *c, int32_t id)
{
    const struct tok *t = c->run->l->tok;
    return tok_is_control(t, id) && tmpl_parser_wants(c->parser, tok_piece(t, id));
}

/* llama-server's callers may ask for the ids of what they are given. */
static bool wants_ids(const struct gen_req *req)
{
    return req->dialect == GEN_DIALECT_LLAMA;
}

/* The token's bytes and, where they are wanted, its log-probabilities to the hold. The bytes of the
 * alternatives are gathered first: the buffer may move while it grows. */
static void hold_token(struct choice *c, const struct engine_token *t)
{
    struct gen_logprob top[MAX_TOP];
    size_t from[MAX_TOP], n = 0;
    const struct local *l = c->run->l;
    struct buf names = BUF_INIT(MAX_PIECE);
    buf_clear(&c->piece);
    tok_decode(l->tok, t->id, c->opens_text, is_syntax(c, t->id), &c->piece);
    c->opens_text = false;
    struct str bytes = buf_str(&c->piece);
    if (bytes.n <= MAX_RAW - c->raw.n)
        buf_str_add(&c->raw, bytes);
    if (!c->run->req->logprobs && !wants_ids(c->run->req)) {
        tmpl_hold_add(&c->hold, bytes, NULL, 0);
        return;
    }
    for (; n < (size_t)t->ntop && n < MAX_TOP; n++)
        top[n] = name_token(l, &t->top[n], &names, &from[n]);
    for (size_t i = 0; i < n; i++)
        top[i].token.p = buf_str(&names).p + from[i];
    struct gen_token_logprobs lp = {
        .chosen = {.token = bytes, .id = t->id, .logprob = t->chosen.logprob},
        .top = top,
        .ntop = n};
    tmpl_hold_add(&c->hold, bytes, &lp, 1);
    buf_done(&names);
}

/* The prompt stands before the answer where that was asked for. */
static void echo(struct choice *c)
{
    const struct gen_run *r = c->run;
    const struct gen_req *req = r->req;
    if (!req->echo || req->kind != GEN_RAW)
        return;
    struct gen_prompt p = local_raw_prompt(req, c->prompt);
    const struct gen_prompt *list = p.pieces ? p.pieces : &p;
    struct buf text = BUF_INIT(64 << 20);
    for (size_t k = 0; k < (p.pieces ? p.npieces : 1); k++) {
        for (size_t i = 0; list[k].ids && i < list[k].nids; i++)
            tok_decode(r->l->tok, list[k].ids[i], k == 0 && i == 0, false, &text);
        if (!list[k].ids)
            buf_str_add(&text, list[k].text);
    }
    struct gen_event ev = {
        .type = GEN_EV_TEXT, .index = c->index, .text = cleaned(c, buf_str(&text))};
    if (ev.text.n)
        local_emit(c->run, &ev);
    buf_done(&text);
}

/* What is known of the prompt once it has been read: dialects tell of it before the first text. */
static void tell_prompt(struct gen_run *r, int64_t reused)
{
    struct gen_event ev = {.type = GEN_EV_USAGE,
                           .usage = {.input = (int64_t)r->prompt.ids.n,
                                     .cached = reused,
                                     .cache_write = local_cache_written(r, reused)}};
    if (r->nchoices == 1)
        local_emit(r, &ev);
}

static void begin(struct choice *c, int64_t reused)
{
    if (c->started)
        return;
    c->started = true;
    bool first = !c->run->told_start;
    local_emit_start(c->run);
    if (first)
        tell_prompt(c->run, reused);
    echo(c);
}

bool choice_token(struct choice *c, const struct engine_token *t)
{
    begin(c, t->reused);
    if (!is_end(c->run->l, t->id) && !c->run->req->prompt_only) {
        hold_token(c, t);
        let_go(c);
        c->reasoning += c->in_reasoning;
    }
    return !c->matched.n && !c->hold.failed;
}

/* ---- beginning and end ---- */

bool choice_init(struct choice *c, struct gen_run *r)
{
    const struct gen_req *req = r->req;
    bool chat = req->kind == GEN_CHAT;
    bool tools =
        chat && r->prompt.face->tools && req->ntools && req->tool_choice != GEN_CHOICE_NONE;
    c->run = r;
    c->opens_text = req->kind == GEN_RAW && r->prompt.prompts[c->prompt].opens;
    c->piece = BUF_INIT(MAX_PIECE);
    c->clean = BUF_INIT((size_t)64 << 20);
    c->raw = BUF_INIT(MAX_RAW);
    tmpl_hold_init(&c->hold, MAX_HELD);
    c->parser =
        tmpl_parser_new(chat ? r->prompt.face->syntax : TMPL_SYNTAX_PLAIN, tools ? req : NULL,
                        c->index, (struct gen_sink){.event = pass, .ctx = c});
    if (c->parser && r->prompt.thinks)
        tmpl_parser_thinks(c->parser);
    return c->parser != NULL;
}

void choice_done(struct choice *c)
{
    tmpl_parser_free(c->parser);
    tmpl_hold_done(&c->hold);
    buf_done(&c->piece);
    buf_done(&c->clean);
    buf_done(&c->raw);
}

void choice_finish(struct choice *c)
{
    begin(c, 0);
    if (!c->matched.n)
        feed(c, tmpl_hold_text(&c->hold).n);
    tmpl_parser_end(c->parser, &c->called_tools);
}

enum gen_reason choice_reason(const struct choice *c, enum engine_end end)
{
    if (c->matched.n)
        return GEN_END_SEQUENCE;
    if (end == ENGINE_END_LENGTH || end == ENGINE_END_CONTEXT)
        return GEN_END_LENGTH;
    return c->called_tools ? GEN_END_TOOLS : GEN_END_STOP;
}

struct str choice_raw(struct choice *c)
{
    return cleaned(c, buf_str(&c->raw));
}
