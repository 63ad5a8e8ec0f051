/* local_grammar.c: what a request asks of its answer's form, as a grammar for the engine: a
 * response format, a grammar of the caller's, calls of tools in the model's own syntax. Reasoning
 * comes first and is free. What cannot be held to is refused here, before a token is made. */
#include "local_int.h"

#include <stdio.h>
#include <stdlib.h>

/* Where reasoning begins and ends; those that are not here write <think>. */
static const struct {
    enum tmpl_syntax syntax;
    const char *open, *close;
} thoughts[] = {
    {TMPL_SYNTAX_SEED, "<seed:think>", "</seed:think>"},
    {TMPL_SYNTAX_MISTRAL, "[THINK]", "[/THINK]"},
    {TMPL_SYNTAX_MISTRAL_LIST, "[THINK]", "[/THINK]"},
    {TMPL_SYNTAX_COHERE, "<|START_THINKING|>", "<|END_THINKING|>"},
    {TMPL_SYNTAX_APERTUS, "<|inner_prefix|>", "<|inner_suffix|>"},
    {TMPL_SYNTAX_GEMMA, "<|channel>thought", "<channel|>"},
    {TMPL_SYNTAX_APRIEL, "<thinking>", "</thinking>"},
    {TMPL_SYNTAX_HY, "<think:opensource>", "</think:opensource>"},
    {TMPL_SYNTAX_MINIMAX_M3, "<mm:think>", "</mm:think>"},
};

/* When the grammar holds, for an answer that is wholly under it. */
static void whole_answer(const struct local *l, const struct local_face *f,
                         const struct gen_req *req, bool thinks, struct str *trigger,
                         struct grammar_start *start)
{
    struct str open = STR("<think>");
    *trigger = STR("</think>");
    *start = (struct grammar_start){.when = GRAMMAR_NOW, .tok = l->tok};
    if (req->kind != GEN_CHAT)
        return;
    for (size_t i = 0; i < sizeof thoughts / sizeof *thoughts; i++)
        if (thoughts[i].syntax == f->syntax) {
            open = str_of(thoughts[i].open);
            *trigger = str_of(thoughts[i].close);
        }
    /* Harmony says what is the answer; before it there is analysis. */
    bool harmony = f->syntax == TMPL_SYNTAX_HARMONY;
    if (harmony)
        *trigger = STR("<|channel|>final<|message|>");
    if (!thinks && !harmony && !f->traits.reasoning)
        return;
    start->when = GRAMMAR_AFTER;
    start->triggers = trigger;
    start->ntriggers = 1;
    if (thinks || harmony)
        return;
    start->optional = true;
    start->opener = open;
}

/* ---- calls ---- */

struct calls {
    struct grammar_calls all;
    struct grammar_call *list;
    char **before; /* texts that the list points to */
};

static void calls_done(struct calls *c)
{
    for (size_t i = 0; c->before && i < c->all.ncalls; i++)
        free(c->before[i]);
    free(c->before);
    free(c->list);
}

static bool plain_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == '"' || s.p[i] == '\\')
            return false;
    return s.n > 0 && s.n <= 256;
}

static bool wanted(const struct gen_req *req, const struct gen_tool *t)
{
    return req->tool_choice != GEN_CHOICE_NAMED || str_eq(t->name, req->tool_choice_name);
}

/* A schema that cannot be enforced, of a tool that does not insist on it, leaves its arguments
 * free: any object. */
static struct str schema_of(const struct gen_tool *t, bool insist)
{
    struct grammar *g = NULL;
    if (insist || t->strict || !t->schema.n)
        return t->schema;
    struct str schema = grammar_from_schema(t->schema, NULL, &g, NULL) == 0 ? t->schema : STR("");
    grammar_free(g);
    return schema;
}

static int list_calls(const struct local *l, const struct local_face *f, const struct gen_req *req,
                      bool forced, struct calls *c, struct err *e)
{
    const struct tmpl_call_form *form = tmpl_syntax_form(f->syntax);
    c->list = calloc(req->ntools, sizeof *c->list);
    c->before = calloc(req->ntools, sizeof *c->before);
    if (!c->list || !c->before)
        return err_set(e, ERR_NOMEM, "no memory for a request's tools");
    for (size_t i = 0; i < req->ntools; i++) {
        const struct gen_tool *t = &req->tools[i];
        struct buf before = BUF_INIT(1024);
        size_t n;
        if (!wanted(req, t))
            continue;
        if (!plain_name(t->name))
            return err_set(e, ERR_UNSUPPORTED, "tools[%zu].name: cannot be called by this name", i);
        buf_puts(&before, form->before_name);
        buf_str_add(&before, t->name);
        buf_puts(&before, form->between);
        char *text = buf_take(&before, &n);
        buf_done(&before);
        if (!text)
            return err_set(e, ERR_NOMEM, "no memory for a request's tools");
        c->before[c->all.ncalls] = text;
        c->list[c->all.ncalls++] = (struct grammar_call){
            .before = str_n(text, n), .schema = schema_of(t, forced), .after = str_of(form->after)};
    }
    if (!c->all.ncalls)
        return err_set(e, ERR_UNSUPPORTED, "tool_choice: there is no tool '%.*s'",
                       STR_ARG(req->tool_choice_name));
    c->all.calls = c->list;
    c->all.tok = l->tok;
    c->all.end = str_of(form->end);
    c->all.between = str_of(form->separator);
    c->all.many =
        form->separator && req->parallel_tools != 0 && req->tool_choice != GEN_CHOICE_NAMED;
    return 0;
}

/* A call has to come: instead of the answer, behind the reasoning. */
static int forced_calls(const struct local *l, const struct local_face *f,
                        const struct gen_req *req, bool thinks, struct calls *c,
                        struct grammar **out, struct err *e)
{
    const struct tmpl_call_form *form = tmpl_syntax_form(f->syntax);
    struct grammar_start start;
    struct str trigger;
    whole_answer(l, f, req, thinks, &trigger, &start);
    if (f->syntax == TMPL_SYNTAX_HARMONY)
        trigger = str_of(form->trigger); /* the head of the message that is a call */
    else
        c->all.begin = str_of(form->trigger);
    return grammar_from_calls(&c->all, &start, out, e);
}

/* Calls may come: where one begins it is held to its tool. With a format the answer is either. */
static int offered_calls(const struct local *l, const struct local_face *f,
                         const struct gen_req *req, bool thinks, struct calls *c,
                         struct grammar **out, struct err *e)
{
    const struct tmpl_call_form *form = tmpl_syntax_form(f->syntax);
    struct str trigger = str_of(form->trigger);
    struct grammar_start start = {
        .when = GRAMMAR_LAZY, .triggers = &trigger, .ntriggers = 1, .tok = l->tok};
    if (req->format == GEN_FORMAT_TEXT)
        return grammar_from_calls(&c->all, &start, out, e);
    whole_answer(l, f, req, thinks, &trigger, &start);
    if (f->syntax == TMPL_SYNTAX_HARMONY)
        return err_set(e, ERR_UNSUPPORTED,
                       "response_format: model '%s' cannot be held to it beside tools", l->name);
    c->all.begin = str_of(form->trigger);
    c->all.otherwise = &req->schema;
    return grammar_from_calls(&c->all, &start, out, e);
}

static int make_calls(const struct local *l, const struct local_face *f, const struct gen_req *req,
                      bool thinks, struct grammar **out, struct err *e)
{
    struct calls c = {0};
    bool forced = req->tool_choice == GEN_CHOICE_REQUIRED || req->tool_choice == GEN_CHOICE_NAMED;
    int rc = list_calls(l, f, req, forced, &c, e);
    if (!rc && forced)
        rc = forced_calls(l, f, req, thinks, &c, out, e);
    else if (!rc)
        rc = offered_calls(l, f, req, thinks, &c, out, e);
    calls_done(&c);
    return rc;
}

/* ---- the request ---- */

static int make_format(const struct local *l, const struct local_face *f, const struct gen_req *req,
                       bool thinks, struct grammar **out, struct err *e)
{
    struct grammar_start start;
    struct str trigger;
    whole_answer(l, f, req, thinks, &trigger, &start);
    if (req->grammar.n)
        return grammar_from_gbnf(req->grammar, "root", l->tok, &start, out, e);
    if (req->format == GEN_FORMAT_JSON)
        return grammar_from_json_object(&start, out, e);
    return grammar_from_schema(req->schema, &start, out, e);
}

/* A message that says which field it was; the code of a schema's fault is the caller's fault. */
static int named(int rc, const char *field, struct err *e)
{
    char msg[ERR_MSG_MAX];
    if (!rc || !e || rc == ERR_NOMEM)
        return rc;
    size_t n = strlen(field);
    bool said = strncmp(err_msg(e), field, n) == 0 && err_msg(e)[n] == ':';
    snprintf(msg, sizeof msg, "%s%s%s", said ? "" : field, said ? "" : ": ", err_msg(e));
    return err_set(e, rc == ERR_NOT_FOUND ? ERR_FORMAT : rc, "%s", msg);
}

int local_grammar_make(const struct local *l, const struct local_face *f, const struct gen_req *req,
                       bool thinks, struct grammar **out, struct err *e)
{
    bool tools = req->kind == GEN_CHAT && req->ntools && req->tool_choice != GEN_CHOICE_NONE;
    if (req->grammar.n)
        return named(make_format(l, f, req, thinks, out, e), "grammar", e);
    if (tools && tmpl_syntax_form(f->syntax))
        return named(make_calls(l, f, req, thinks, out, e),
                     req->format == GEN_FORMAT_TEXT ? "tools" : "tools and response_format", e);
    if (req->format != GEN_FORMAT_TEXT)
        return named(make_format(l, f, req, thinks, out, e), "response_format", e);
    return 0;
}

int local_words(struct local *l, const struct grammar_vocab **out, struct err *e)
{
    int rc = 0;
    pthread_mutex_lock(&l->words_lock);
    if (!l->words)
        rc = grammar_vocab_new(l->tok, model_traits(engine_model(l->engine))->vocab, &l->words, e);
    *out = l->words;
    pthread_mutex_unlock(&l->words_lock);
    return rc;
}
