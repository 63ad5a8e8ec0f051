/* tmpl_parser.c: what a model writes, to events. Owns the way between text, reasoning, headers and
 * calls; what marks them is a row of the table in tmpl_syntax.c, what is inside a call is
 * tmpl_call.c's. Called by local/ with text as it is decoded. It holds back only what may still be
 * syntax: the beginning of a mark, white space that a mark would swallow, a call until it is whole.
 * Syntax that never becomes whole is text. */
#include "tmpl_parser_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

enum { MAX_HELD = 4 << 20, MAX_HEAD = 512 };

struct tmpl_parser *tmpl_parser_new(enum tmpl_syntax syntax, const struct gen_req *req,
                                    int32_t index, struct gen_sink sink)
{
    struct tmpl_parser *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->row = syntax_row(syntax);
    if (req && req->ntools && req->tool_choice != GEN_CHOICE_NONE && p->row->call.body)
        p->req = req;
    p->index = index;
    p->sink = sink;
    p->bare_ok = p->row->bare && p->req;
    p->mode = p->row->starts_in_head ? MODE_HEAD : MODE_TEXT;
    tmpl_hold_init(&p->hold, MAX_HELD * 2);
    return p;
}

void tmpl_parser_free(struct tmpl_parser *p)
{
    if (!p)
        return;
    call_clear(p);
    tmpl_hold_done(&p->hold);
    free(p);
}

void tmpl_parser_thinks(struct tmpl_parser *p)
{
    if (!p->row->marks[0].text)
        return;
    p->mode = MODE_THINK;
    p->skip_space = true;
}

bool tmpl_parser_wants(const struct tmpl_parser *p, struct str token)
{
    const struct call_shape *c = &p->row->call;
    const char *const parts[] = {c->open,           c->close,    c->end,   c->id_end,
                                 c->name_end,       c->attr_end, c->param, c->key_end,
                                 c->param_attr_end, c->param_end};
    if (!token.n)
        return false;
    for (size_t i = 0; i < MAX_MARKS && p->row->marks[i].text; i++)
        if ((p->req || p->row->marks[i].act != ACT_CALL) &&
            str_find(str_of(p->row->marks[i].text), token, 0) != SIZE_MAX)
            return true;
    for (size_t i = 0; p->req && i < sizeof parts / sizeof *parts; i++)
        if (parts[i] && str_find(str_of(parts[i]), token, 0) != SIZE_MAX)
            return true;
    if (p->req && c->body == BODY_MISTRAL && str_is(token, "[CALL_ID]"))
        return true;
    if (p->req && c->body == BODY_GEMMA && str_is(token, "<|\"|>"))
        return true;
    return p->row->head && (str_is(token, "<|message|>") || str_is(token, "<|constrain|>"));
}

/* ---- events ---- */

static void emit(struct tmpl_parser *p, struct gen_event *ev)
{
    if (p->verdict == GEN_CANCEL)
        return;
    ev->index = p->index;
    enum gen_verdict v = p->sink.event(p->sink.ctx, ev);
    if (v > p->verdict)
        p->verdict = v;
}

/* The first n held bytes as an event. */
static void emit_held(struct tmpl_parser *p, enum gen_event_type type, size_t n)
{
    struct gen_event ev = {.type = type};
    const struct gen_token_logprobs *lp;
    ev.text = tmpl_hold_take(&p->hold, n, &lp, &ev.nlogprobs);
    ev.logprobs = lp;
    if (type != GEN_EV_TEXT)
        ev.nlogprobs = 0;
    if (type == GEN_EV_TEXT && n)
        p->said = true;
    if (n || ev.nlogprobs)
        emit(p, &ev);
}

static void discard(struct tmpl_parser *p, size_t n)
{
    tmpl_hold_take(&p->hold, n, NULL, NULL);
}

/* A fresh identifier: a conversation's calls must not share one. Mistral's have nine characters. */
static void make_id(const struct tmpl_parser *p, char out[static 32])
{
    uint64_t r = 0;
    static const char digits[] = "0123456789abcdefghijklmnopqrstuv";
    bool nine = p->row->call.body == BODY_MISTRAL;
    int from = nine ? 0 : 5, n = nine ? 9 : 12;
    if (getrandom(&r, sizeof r, 0) != (ssize_t)sizeof r)
        r = (uint64_t)(uintptr_t)out ^ (uint64_t)rand();
    memcpy(out, "call_", 5);
    for (int i = 0; i < n; i++, r >>= 5)
        out[from + i] = digits[r & 31];
    out[from + n] = '\0';
}

static void emit_call(struct tmpl_parser *p, const json_t *call)
{
    const char *id = json_string_value(json_object_get(call, "id"));
    const json_t *args = json_object_get(call, "arguments");
    char fresh[32];
    char *text = json_is_string(args) ? strdup(json_string_value(args))
                                      : json_dumps(args, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text) {
        p->hold.failed = true;
        return;
    }
    make_id(p, fresh);
    struct gen_event ev = {.type = GEN_EV_TOOL_BEGIN,
                           .tool = p->ntools++,
                           .id = str_of(id ? id : fresh),
                           .name = str_of(json_string_value(json_object_get(call, "name")))};
    emit(p, &ev);
    ev = (struct gen_event){.type = GEN_EV_TOOL_ARGS, .tool = ev.tool, .text = str_of(text)};
    emit(p, &ev);
    ev = (struct gen_event){.type = GEN_EV_TOOL_END, .tool = ev.tool};
    emit(p, &ev);
    free(text);
}

static void emit_calls(struct tmpl_parser *p)
{
    size_t i;
    json_t *call;
    json_array_foreach(p->calls, i, call) emit_call(p, call);
}

/* ---- marks ---- */

static size_t without_space(struct str s, size_t n)
{
    while (n > 0 && is_space(s.p[n - 1]))
        n--;
    return n;
}

/* How much of the end of s may be the beginning of the mark. */
static size_t partial(struct str s, struct str mark)
{
    for (size_t n = mark.n - 1 < s.n ? mark.n - 1 : s.n; n > 0; n--)
        if (memcmp(s.p + s.n - n, mark.p, n) == 0)
            return n;
    return 0;
}

struct sight {
    const struct mark *mark; /* the first one, or NULL */
    size_t at;
    size_t keep; /* bytes at the end that may be the beginning of one */
};

/* A mark that counts only at first counts when nothing but white space stands before it. */
static bool counts(const struct tmpl_parser *p, const struct mark *m, struct str s, size_t at)
{
    return !(m->flags & AT_FIRST) || (!p->said && without_space(s, at) == 0);
}

static struct sight look_for_marks(const struct tmpl_parser *p, struct str s, unsigned where)
{
    struct sight v = {.at = SIZE_MAX};
    for (size_t i = 0; i < MAX_MARKS && p->row->marks[i].text; i++) {
        const struct mark *m = &p->row->marks[i];
        struct str text = str_of(m->text);
        if (!(m->flags & where) || (m->act == ACT_CALL && !p->req))
            continue;
        size_t at = str_find(s, text, 0);
        if (at != SIZE_MAX && counts(p, m, s, at)) {
            /* of two at one place the longer */
            if (at < v.at || (at == v.at && text.n > strlen(v.mark->text))) {
                v.mark = m;
                v.at = at;
            }
            continue;
        }
        size_t keep = partial(s, text);
        if (keep > v.keep && counts(p, m, s, s.n - keep))
            v.keep = keep;
    }
    return v;
}

/* Drops the white space after a tag. False: nothing but that has come yet. */
static bool skip_space(struct tmpl_parser *p)
{
    struct str s = tmpl_hold_text(&p->hold);
    size_t n = 0;
    while (n < s.n && is_space(s.p[n]))
        n++;
    discard(p, n);
    if (n == s.n)
        return false;
    p->skip_space = false;
    return true;
}

/* A call begins with the mark, `lead` bytes into what is held: white space before it is the
 * syntax's, and text if the call never becomes whole. */
static void begin_call(struct tmpl_parser *p, const struct mark *m, size_t lead)
{
    const struct call_shape *c = &p->row->call;
    size_t n = strlen(m->text);
    bool python = strcmp(m->text, "<|python_tag|>") == 0;
    call_start(p, python ? BODY_PYTAG : c->body, lead + n - !!(m->flags & LAST_BYTE));
    p->step = c->open && !python && strcmp(m->text, c->open) != 0 ? CALL_OPENS : CALL_BEGINS;
}

/* Over to what the mark says; it stands `lead` bytes into what is held. */
static void follow(struct tmpl_parser *p, const struct mark *m, size_t lead)
{
    if (m->act == ACT_CALL) {
        p->bare_ok = false;
        begin_call(p, m, lead);
        return;
    }
    discard(p, lead + (m->flags & KEEP ? 0 : strlen(m->text)));
    p->skip_space = m->flags & SKIP;
    /* After reasoning a second tag of it is text. */
    if (p->mode == MODE_THINK && m->act == ACT_TEXT)
        p->said = true;
    p->mode = m->act == ACT_THINK ? MODE_THINK : m->act == ACT_HEAD ? MODE_HEAD : MODE_TEXT;
}

/* ---- the modes; each returns true when the rest should be looked at again ---- */

/* An object at the very beginning, or after other such calls. MORE: nothing but white space. */
static enum found bare_call(struct tmpl_parser *p, struct str s)
{
    size_t n = 0;
    while (n < s.n && (is_space(s.p[n]) || (p->ntools && s.p[n] == ';')))
        n++;
    if (n == s.n)
        return MORE;
    p->bare_ok = false;
    if (s.p[n] != '{')
        return NO;
    call_start(p, BODY_JSON, n);
    p->step = CALL_BEGINS;
    p->bare = true;
    return YES;
}

static bool step_text(struct tmpl_parser *p, struct str s)
{
    enum found bare = p->bare_ok ? bare_call(p, s) : NO;
    if (bare != NO)
        return bare == YES;
    size_t blank = 0;
    while (blank < s.n && is_space(s.p[blank]))
        blank++;
    struct sight v = look_for_marks(p, s, IN_TEXT);
    if (v.mark) {
        bool trims = v.mark->act == ACT_CALL || v.mark->flags & AT_FIRST;
        size_t n = trims ? without_space(s, v.at) : v.at;
        emit_held(p, GEN_EV_TEXT, n);
        follow(p, v.mark, v.at - n);
        return true;
    }
    bool first = !p->said && p->row->marks[0].text;
    if (first && blank + v.keep == s.n)
        return false; /* nothing but blanks, or the beginning of a mark */
    size_t n = s.n - v.keep;
    emit_held(p, GEN_EV_TEXT, p->req ? without_space(s, n) : n);
    return false;
}

static bool step_think(struct tmpl_parser *p, struct str s)
{
    struct sight v = look_for_marks(p, s, IN_THINK);
    if (!v.mark) {
        emit_held(p, GEN_EV_REASONING, without_space(s, s.n - v.keep));
        return false;
    }
    size_t n = without_space(s, v.at);
    emit_held(p, GEN_EV_REASONING, n);
    follow(p, v.mark, v.at - n);
    return true;
}

static void leave_call(struct tmpl_parser *p)
{
    discard(p, p->at);
    call_clear(p);
    p->said = true;
    p->skip_space = true;
    p->mode = p->bare_ok ? MODE_TEXT : MODE_SECTION;
}

/* What was held as a call is none: text, as far as it has been understood. */
static void give_up(struct tmpl_parser *p)
{
    size_t held = tmpl_hold_text(&p->hold).n, n = p->at ? p->at : 1;
    emit_held(p, GEN_EV_TEXT, n < held ? n : held);
    call_clear(p);
    p->bare_ok = false;
    p->mode = MODE_TEXT;
}

static bool step_call(struct tmpl_parser *p, bool ended)
{
    enum found f = call_look(p, ended);
    if (f == MORE && tmpl_hold_text(&p->hold).n < MAX_HELD)
        return false;
    if (f == YES) {
        bool bare = p->bare;
        emit_calls(p);
        p->bare_ok = bare;
        leave_call(p);
    } else {
        give_up(p);
    }
    return true;
}

/* Between calls: another one, the end of them, or text without either. */
static bool step_section(struct tmpl_parser *p, struct str s)
{
    const struct call_shape *c = &p->row->call;
    enum found open = c->open ? starts_with(s, c->open) : NO;
    enum found end = c->end ? starts_with(s, c->end) : NO;
    if (open == YES) {
        call_start(p, c->body, strlen(c->open));
        p->step = CALL_BEGINS;
        return true;
    }
    if (end == YES) {
        discard(p, strlen(c->end));
        p->skip_space = true;
    }
    if (end != YES && (open == MORE || end == MORE))
        return false;
    p->mode = MODE_TEXT;
    return true;
}

/* ---- headers ---- */

/* The word after `label` in a header. */
static struct str header_word(struct str h, struct str label)
{
    size_t at = str_find(h, label, 0);
    if (at == SIZE_MAX)
        return STR_NONE;
    size_t from = at + label.n, to = from;
    while (to < h.n && !is_space(h.p[to]) && h.p[to] != '<')
        to++;
    return str_n(h.p + from, to - from);
}

/* The header stands at the beginning of what is held, n bytes with its end. */
static void begin_named(struct tmpl_parser *p, struct str name, size_t n)
{
    char *copy = strndup(name.p, name.n);
    call_start(p, BODY_NAMED, n);
    p->step = CALL_BODY;
    p->name = copy;
    if (!copy) {
        p->hold.failed = true;
        give_up(p);
    }
}

static void read_header(struct tmpl_parser *p, struct str h, size_t n)
{
    struct str to = header_word(h, STR("to=")), channel = header_word(h, STR("<|channel|>"));
    bool function = str_starts(to, STR("functions."));
    bool harmony = p->row->head == HEAD_HARMONY;
    if (function)
        to = str_n(to.p + 10, to.n - 10);
    char name[128];
    snprintf(name, sizeof name, "%.*s", STR_ARG(to));
    if (harmony && p->req && to.n && (function || tool_named(p, name))) {
        begin_named(p, to, n);
        return;
    }
    bool thinks = harmony ? str_is(channel, "analysis") : str_is(to, "self");
    discard(p, n);
    p->mode = thinks ? MODE_THINK : MODE_TEXT;
}

/* ">>>all\n", ">>>NAME\n"; the first has its ">>>" in the prompt. */
static enum found read_line(struct tmpl_parser *p, struct str s)
{
    size_t from = str_starts(s, STR(">>>")) ? 3 : 0, n = from;
    if (!from && s.n < 3 && starts_with(s, ">>>") == MORE)
        return MORE;
    while (n < s.n && !is_space(s.p[n]) && n < 200)
        n++;
    if (n == s.n)
        return MORE;
    struct str name = str_n(s.p + from, n - from);
    char z[201];
    snprintf(z, sizeof z, "%.*s", STR_ARG(name));
    if (s.p[n] != '\n')
        return NO;
    if (str_is(name, "all")) {
        discard(p, n + 1);
        p->mode = MODE_TEXT;
        return YES;
    }
    if (!tool_named(p, z))
        return NO;
    begin_named(p, name, n + 1);
    return YES;
}

static enum found read_message(struct tmpl_parser *p, struct str s)
{
    static const char *const begins[] = {"<|start|>",     "<|channel|>", "<|message|>",
                                         "<|constrain|>", "assistant",   "to="};
    size_t blank = 0, end = str_find(s, STR("<|message|>"), 0);
    while (blank < s.n && is_space(s.p[blank]))
        blank++;
    enum found best = NO;
    for (size_t i = 0; i < sizeof begins / sizeof *begins && best != YES; i++) {
        enum found f = starts_with(str_n(s.p + blank, s.n - blank), begins[i]);
        if (f == YES || (f == MORE && best == NO))
            best = f;
    }
    if (best != YES || (end == SIZE_MAX && s.n <= MAX_HEAD))
        return best == NO ? NO : MORE;
    if (end == SIZE_MAX || end > MAX_HEAD)
        return NO;
    read_header(p, str_n(s.p, end), end + 11);
    return YES;
}

static bool step_head(struct tmpl_parser *p, struct str s)
{
    enum found f = p->row->head == HEAD_LINE ? read_line(p, s) : read_message(p, s);
    if (f == NO) { /* no header: text, from its first byte on */
        size_t n = 0;
        for (size_t i = 0; i < MAX_MARKS && p->row->marks[i].text; i++)
            if (str_starts(s, str_of(p->row->marks[i].text)) && p->row->marks[i].flags & KEEP)
                n = strlen(p->row->marks[i].text);
        emit_held(p, GEN_EV_TEXT, n);
        p->mode = MODE_TEXT;
    }
    return f != MORE;
}

/* ---- the way through ---- */

static void look(struct tmpl_parser *p, bool ended)
{
    bool more = true;
    while (more && p->verdict != GEN_CANCEL) {
        if (p->skip_space && p->mode != MODE_CALL && !skip_space(p))
            return;
        struct str s = tmpl_hold_text(&p->hold);
        switch (p->mode) {
        case MODE_TEXT: more = step_text(p, s); break;
        case MODE_THINK: more = step_think(p, s); break;
        case MODE_CALL: more = step_call(p, ended); break;
        case MODE_SECTION: more = step_section(p, s); break;
        case MODE_HEAD: more = step_head(p, s); break;
        }
    }
}

enum gen_verdict tmpl_parser_feed(struct tmpl_parser *p, struct str text,
                                  const struct gen_token_logprobs *lp, size_t nlp)
{
    p->verdict = p->verdict == GEN_CANCEL ? GEN_CANCEL : GEN_GO;
    if (!p->row->marks[0].text) {
        struct gen_event ev = {.type = GEN_EV_TEXT, .text = text, .logprobs = lp, .nlogprobs = nlp};
        if (text.n || nlp)
            emit(p, &ev);
        return p->verdict;
    }
    tmpl_hold_add(&p->hold, text, lp, nlp);
    look(p, false);
    return p->verdict;
}

enum gen_verdict tmpl_parser_end(struct tmpl_parser *p, bool *called_tools)
{
    p->verdict = p->verdict == GEN_CANCEL ? GEN_CANCEL : GEN_GO;
    look(p, true);
    enum gen_event_type type = p->mode == MODE_THINK ? GEN_EV_REASONING : GEN_EV_TEXT;
    emit_held(p, type, tmpl_hold_text(&p->hold).n);
    if (called_tools)
        *called_tools = p->ntools > 0;
    return p->verdict;
}
