/* go_print.c: values as Go writes them: fmt.Print for text and numbers, encoding/json for the rest
 * (Ollama's lists and mappings print themselves so). Every byte keeps its taint. */
#include "go_int.h"

#include "utf8.h"

#include <math.h>
#include <stdio.h>

static void put_number(struct go_ctx *g, struct sb *b, struct val v)
{
    char z[64];
    if (v.k == V_INT)
        snprintf(z, sizeof z, "%lld", (long long)v.i);
    else if (v.f == floor(v.f) && fabs(v.f) < 1e21)
        snprintf(z, sizeof z, "%.0f", v.f);
    else
        float_repr(v.f, z);
    sb_puts(&g->c, b, z);
}

/* What Go's encoder writes for a character that is not itself; false: it is itself. */
static bool escaped(uint32_t cp, size_t n, char out[static 8])
{
    const char *simple = cp == '"'    ? "\\\""
                         : cp == '\\' ? "\\\\"
                         : cp == '\n' ? "\\n"
                         : cp == '\r' ? "\\r"
                         : cp == '\t' ? "\\t"
                         : cp == '\b' ? "\\b"
                         : cp == '\f' ? "\\f"
                                      : NULL;
    if (simple && n)
        snprintf(out, 8, "%s", simple);
    else if (!n)
        snprintf(out, 8, "\\ufffd");
    else if (cp < 0x20 || cp == '<' || cp == '>' || cp == '&' || cp == 0x2028 || cp == 0x2029)
        snprintf(out, 8, "\\u%04x", (unsigned)cp & 0xFFFF);
    else
        return false;
    return true;
}

static void put_string(struct go_ctx *g, struct sb *b, const struct vstr *s)
{
    struct str text = str_n(s->p, s->n);
    size_t plain = 0, taint = 0, at = 0;
    bool was = false;
    eval_step(&g->c, s->n / 64);
    sb_puts(&g->c, b, "\"");
    while (at < text.n && !g->c.rc) {
        char z[8];
        uint32_t cp = 0;
        size_t n = utf8_decode(str_n(text.p + at, text.n - at), &cp);
        while (taint < s->nt && s->t[taint].to <= at)
            taint++;
        bool outside = taint < s->nt && s->t[taint].from <= at;
        bool other = escaped(cp, n, z);
        if (other || outside != was) {
            sb_add(&g->c, b, str_n(text.p + plain, at - plain), was);
            plain = at;
            was = outside;
        }
        at += n ? n : 1;
        if (other) {
            sb_add(&g->c, b, str_of(z), outside);
            plain = at;
        }
    }
    sb_add(&g->c, b, str_n(text.p + plain, at - plain), was);
    sb_puts(&g->c, b, "\"");
}

static void json_list(struct go_ctx *g, struct sb *b, struct val v, int depth)
{
    sb_puts(&g->c, b, "[");
    for (size_t i = 0; i < v.l->n && !g->c.rc; i++) {
        if (i)
            sb_puts(&g->c, b, ",");
        go_json(g, b, v.l->v[i], depth + 1);
    }
    sb_puts(&g->c, b, "]");
}

static void json_dict(struct go_ctx *g, struct sb *b, struct val v, int depth)
{
    sb_puts(&g->c, b, "{");
    for (size_t i = 0; i < v.d->n && !g->c.rc; i++) {
        if (i)
            sb_puts(&g->c, b, ",");
        go_json(g, b, v.d->key[i], depth + 1);
        sb_puts(&g->c, b, ":");
        go_json(g, b, v.d->val[i], depth + 1);
    }
    sb_puts(&g->c, b, "}");
}

void go_json(struct go_ctx *g, struct sb *b, struct val v, int depth)
{
    if (g->c.rc || !eval_step(&g->c, 1))
        return;
    if (depth > MAX_VALUE_DEPTH) {
        eval_fail(&g->c, ERR_LIMIT, "values nested more than %d deep", MAX_VALUE_DEPTH);
        return;
    }
    switch (v.k) {
    case V_STR: put_string(g, b, v.s); break;
    case V_LIST: json_list(g, b, v, depth); break;
    case V_DICT: json_dict(g, b, v, depth); break;
    case V_BOOL: sb_puts(&g->c, b, v.b ? "true" : "false"); break;
    case V_INT:
    case V_FLOAT: put_number(g, b, v); break;
    default: sb_puts(&g->c, b, "null"); break;
    }
}

void go_print(struct go_ctx *g, struct sb *b, struct val v)
{
    switch (v.k) {
    case V_STR: sb_str(&g->c, b, v.s); break;
    case V_UNDEF:
    case V_NONE: sb_puts(&g->c, b, "<no value>"); break;
    default: go_json(g, b, v, 0); break;
    }
}
