/* tmpl_parser.c: what a model writes, to events. Owns the tool calls and thinking that models write
 * into their text; called by local/ with text as it is decoded. It holds back only what may still
 * be syntax: the beginning of a tag, white space that a tag would swallow, a call until it is
 * whole. Syntax that never becomes whole is text. */
#include "tmpl.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

enum { MAX_HELD = 4 << 20 };

enum mode { MODE_TEXT, MODE_THINK, MODE_CALL };

#define TAG_THINK STR("<think>")
#define TAG_THINK_END STR("</think>")
#define TAG_CALL STR("<tool_call>")
#define TAG_CALL_END STR("</tool_call>")

struct tmpl_parser {
    enum tmpl_syntax syntax;
    bool tools;
    int32_t index, ntools;
    struct gen_sink sink;
    struct tmpl_hold hold;
    enum mode mode;
    bool said;       /* text has been emitted: <think> is a tag only before */
    bool skip_space; /* after a tag: the white space that follows is the syntax's */
    size_t scanned;  /* of a held call: no closing tag begins before */
    enum gen_verdict verdict;
};

struct tmpl_parser *tmpl_parser_new(enum tmpl_syntax syntax, bool tools_offered, int32_t index,
                                    struct gen_sink sink)
{
    struct tmpl_parser *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->syntax = syntax;
    p->tools = tools_offered;
    p->index = index;
    p->sink = sink;
    tmpl_hold_init(&p->hold, MAX_HELD * 2);
    return p;
}

void tmpl_parser_free(struct tmpl_parser *p)
{
    if (!p)
        return;
    tmpl_hold_done(&p->hold);
    free(p);
}

void tmpl_parser_thinks(struct tmpl_parser *p)
{
    if (p->syntax == TMPL_SYNTAX_PLAIN)
        return;
    p->mode = MODE_THINK;
    p->skip_space = true;
}

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

static bool is_space(char ch)
{
    return ch == ' ' || ch == '\n' || ch == '\t' || ch == '\r';
}

/* How much of the end of s may be the beginning of the tag. */
static size_t partial(struct str s, struct str tag)
{
    for (size_t n = tag.n - 1 < s.n ? tag.n - 1 : s.n; n > 0; n--)
        if (memcmp(s.p + s.n - n, tag.p, n) == 0)
            return n;
    return 0;
}

static size_t without_space(struct str s, size_t n)
{
    while (n > 0 && is_space(s.p[n - 1]))
        n--;
    return n;
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

/* ---- the three modes; each returns true when the rest should be looked at again ---- */

static bool step_text(struct tmpl_parser *p, struct str s)
{
    bool first = !p->said;
    size_t blank = 0;
    while (blank < s.n && is_space(s.p[blank]))
        blank++;
    if (first && str_starts(str_n(s.p + blank, s.n - blank), TAG_THINK)) {
        discard(p, blank + TAG_THINK.n);
        p->mode = MODE_THINK;
        p->skip_space = true;
        return true;
    }
    size_t call = p->tools ? str_find(s, TAG_CALL, 0) : SIZE_MAX;
    if (call != SIZE_MAX) {
        size_t n = without_space(s, call);
        emit_held(p, GEN_EV_TEXT, n);
        discard(p, call - n);
        p->mode = MODE_CALL; /* the tag stays held: it is text if the call never ends */
        return true;
    }
    if (first && blank + partial(s, TAG_THINK) == s.n)
        return false; /* nothing but blanks, or the beginning of <think> */
    size_t keep = p->tools ? partial(s, TAG_CALL) : 0;
    size_t n = s.n - keep;
    emit_held(p, GEN_EV_TEXT, p->tools ? without_space(s, n) : n);
    return false;
}

static bool step_think(struct tmpl_parser *p, struct str s)
{
    size_t end = str_find(s, TAG_THINK_END, 0);
    if (end == SIZE_MAX) {
        emit_held(p, GEN_EV_REASONING, without_space(s, s.n - partial(s, TAG_THINK_END)));
        return false;
    }
    size_t n = without_space(s, end);
    emit_held(p, GEN_EV_REASONING, n);
    discard(p, end - n + TAG_THINK_END.n);
    p->mode = MODE_TEXT;
    p->skip_space = true;
    p->said = true; /* a second <think> is text */
    return true;
}

/* Is the end of s inside a JSON string? Then a tag there is content. */
static bool in_string(struct str s)
{
    bool in = false;
    for (size_t i = 0; i < s.n; i++) {
        if (in && s.p[i] == '\\')
            i++;
        else if (s.p[i] == '"')
            in = !in;
    }
    return in;
}

/* The arguments as JSON text, malloc'd; NULL: no memory. */
static char *arguments_of(const json_t *call)
{
    const json_t *a = json_object_get(call, "arguments");
    if (!a)
        a = json_object_get(call, "parameters");
    if (!a || json_is_null(a))
        return strdup("{}");
    if (json_is_string(a)) { /* some models write the JSON as a string */
        json_t *inner = json_loads(json_string_value(a), 0, NULL);
        json_decref(inner);
        if (inner)
            return strdup(json_string_value(a));
    }
    return json_dumps(a, JSON_COMPACT | JSON_ENCODE_ANY);
}

/* A fresh identifier: a conversation's calls must not share one. */
static void make_id(char out[static 32])
{
    uint64_t r = 0;
    static const char digits[] = "0123456789abcdefghijklmnopqrstuv";
    if (getrandom(&r, sizeof r, 0) != (ssize_t)sizeof r)
        r = (uint64_t)(uintptr_t)out ^ (uint64_t)rand();
    memcpy(out, "call_", 5);
    for (int i = 0; i < 12; i++, r >>= 5)
        out[5 + i] = digits[r & 31];
    out[17] = '\0';
}

static bool emit_call(struct tmpl_parser *p, struct str json)
{
    json_t *j = json_loadb(json.p, json.n, 0, NULL);
    const char *name = json_string_value(json_object_get(j, "name"));
    char *args = name && *name ? arguments_of(j) : NULL;
    if (args) {
        char id[32];
        make_id(id);
        struct gen_event ev = {
            .type = GEN_EV_TOOL_BEGIN, .tool = p->ntools++, .id = str_of(id), .name = str_of(name)};
        emit(p, &ev);
        ev = (struct gen_event){.type = GEN_EV_TOOL_ARGS, .tool = ev.tool, .text = str_of(args)};
        emit(p, &ev);
        ev = (struct gen_event){.type = GEN_EV_TOOL_END, .tool = ev.tool};
        emit(p, &ev);
    }
    bool ok = args != NULL;
    free(args);
    json_decref(j);
    return ok;
}

static bool step_call(struct tmpl_parser *p, struct str s)
{
    size_t from = p->scanned > TAG_CALL.n ? p->scanned : TAG_CALL.n;
    size_t end = str_find(s, TAG_CALL_END, from);
    while (end != SIZE_MAX && in_string(str_n(s.p + TAG_CALL.n, end - TAG_CALL.n)))
        end = str_find(s, TAG_CALL_END, end + 1);
    p->scanned = s.n >= TAG_CALL_END.n ? s.n - TAG_CALL_END.n + 1 : 0;
    if (end == SIZE_MAX && s.n < MAX_HELD)
        return false;
    p->scanned = 0;
    size_t whole = end == SIZE_MAX ? s.n : end + TAG_CALL_END.n;
    if (end != SIZE_MAX && emit_call(p, str_n(s.p + TAG_CALL.n, end - TAG_CALL.n))) {
        discard(p, whole);
        p->skip_space = true;
        p->said = true;
    } else {
        emit_held(p, GEN_EV_TEXT, whole);
    }
    p->mode = MODE_TEXT;
    return true;
}

static void look(struct tmpl_parser *p)
{
    bool more = true;
    while (more && p->verdict != GEN_CANCEL) {
        if (p->skip_space && p->mode != MODE_CALL && !skip_space(p))
            return;
        struct str s = tmpl_hold_text(&p->hold);
        if (p->mode == MODE_TEXT)
            more = step_text(p, s);
        else if (p->mode == MODE_THINK)
            more = step_think(p, s);
        else
            more = step_call(p, s);
    }
}

enum gen_verdict tmpl_parser_feed(struct tmpl_parser *p, struct str text,
                                  const struct gen_token_logprobs *lp, size_t nlp)
{
    p->verdict = p->verdict == GEN_CANCEL ? GEN_CANCEL : GEN_GO;
    if (p->syntax == TMPL_SYNTAX_PLAIN) {
        struct gen_event ev = {.type = GEN_EV_TEXT, .text = text, .logprobs = lp, .nlogprobs = nlp};
        if (text.n || nlp)
            emit(p, &ev);
        return p->verdict;
    }
    tmpl_hold_add(&p->hold, text, lp, nlp);
    look(p);
    return p->verdict;
}

enum gen_verdict tmpl_parser_end(struct tmpl_parser *p, bool *called_tools)
{
    p->verdict = p->verdict == GEN_CANCEL ? GEN_CANCEL : GEN_GO;
    struct str s = tmpl_hold_text(&p->hold);
    /* A whole call without its closing tag: models often end their turn instead of writing it. */
    if (p->mode == MODE_CALL && emit_call(p, str_n(s.p + TAG_CALL.n, s.n - TAG_CALL.n)))
        discard(p, s.n);
    else
        emit_held(p, p->mode == MODE_THINK ? GEN_EV_REASONING : GEN_EV_TEXT, s.n);
    if (called_tools)
        *called_tools = p->ntools > 0;
    return p->verdict;
}
