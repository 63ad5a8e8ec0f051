/* tmpl_hold.c: generated text held back, with the log-probabilities of its tokens. Used by the
 * output parser for half-written syntax and by local/ for stop strings and half characters. */
#include "tmpl.h"

#include <stdlib.h>

/* One token: how many bytes of it are still held, and its copy in one block of memory. */
struct tmpl_held {
    size_t bytes;
    struct gen_token_logprobs *lp;
};

void tmpl_hold_init(struct tmpl_hold *h, size_t max_text)
{
    *h = (struct tmpl_hold){.text = BUF_INIT(max_text)};
}

void tmpl_hold_done(struct tmpl_hold *h)
{
    if (!h)
        return;
    for (size_t i = 0; i < h->ntok; i++)
        free(h->tok[i].lp);
    free(h->tok);
    free(h->out);
    buf_done(&h->text);
    *h = (struct tmpl_hold){0};
}

/* What the last take gave is no longer needed. */
static void settle(struct tmpl_hold *h)
{
    if (h->drop)
        buf_eat(&h->text, h->drop);
    h->drop = 0;
    if (!h->given)
        return;
    for (size_t i = 0; i < h->given; i++)
        free(h->tok[i].lp);
    h->ntok -= h->given;
    memmove(h->tok, h->tok + h->given, h->ntok * sizeof *h->tok);
    h->given = 0;
}

static char *copy_token(char *to, const struct gen_logprob *from, struct gen_logprob *out)
{
    *out = *from;
    out->token.p = to;
    if (from->token.n)
        memcpy(to, from->token.p, from->token.n);
    return to + from->token.n;
}

/* A deep copy in one block: the struct, the alternatives, the bytes. */
static struct gen_token_logprobs *copy_logprobs(const struct gen_token_logprobs *lp)
{
    size_t bytes = lp->chosen.token.n;
    for (size_t i = 0; i < lp->ntop; i++)
        bytes += lp->top[i].token.n;
    struct gen_token_logprobs *c = malloc(sizeof *c + lp->ntop * sizeof *lp->top + bytes);
    if (!c)
        return NULL;
    struct gen_logprob *top = (struct gen_logprob *)(c + 1);
    char *p = copy_token((char *)(top + lp->ntop), &lp->chosen, &c->chosen);
    for (size_t i = 0; i < lp->ntop; i++)
        p = copy_token(p, &lp->top[i], &top[i]);
    c->top = top;
    c->ntop = lp->ntop;
    return c;
}

static void add_token(struct tmpl_hold *h, size_t bytes, const struct gen_token_logprobs *lp)
{
    if (h->ntok == h->cap) {
        size_t cap = h->cap ? h->cap * 2 : 16;
        struct tmpl_held *t = realloc(h->tok, cap * sizeof *t);
        if (!t) {
            h->failed = true;
            return;
        }
        h->tok = t;
        h->cap = cap;
    }
    struct gen_token_logprobs *copy = copy_logprobs(lp);
    if (copy)
        h->tok[h->ntok++] = (struct tmpl_held){bytes, copy};
    else
        h->failed = true;
}

void tmpl_hold_add(struct tmpl_hold *h, struct str text, const struct gen_token_logprobs *lp,
                   size_t nlp)
{
    settle(h);
    buf_str_add(&h->text, text);
    h->failed |= buf_failed(&h->text);
    size_t left = text.n;
    for (size_t i = 0; i < nlp; i++) {
        size_t bytes = lp[i].chosen.token.n;
        if (bytes > left || i + 1 == nlp)
            bytes = left;
        add_token(h, bytes, &lp[i]);
        left -= bytes;
    }
}

struct str tmpl_hold_text(struct tmpl_hold *h)
{
    settle(h);
    return buf_str(&h->text);
}

struct str tmpl_hold_take(struct tmpl_hold *h, size_t n, const struct gen_token_logprobs **lp,
                          size_t *nlp)
{
    settle(h);
    size_t left = n, count = 0;
    while (count < h->ntok && h->tok[count].bytes <= left)
        left -= h->tok[count++].bytes;
    if (count < h->ntok)
        h->tok[count].bytes -= left;
    if (count > h->out_cap) {
        struct gen_token_logprobs *out = realloc(h->out, count * sizeof *out);
        h->failed |= !out;
        h->out = out ? out : h->out;
        h->out_cap = out ? count : h->out_cap;
    }
    if (count > h->out_cap)
        count = h->out_cap;
    for (size_t i = 0; i < count; i++)
        h->out[i] = *h->tok[i].lp;
    h->given = count;
    h->drop = n;
    if (lp)
        *lp = h->out;
    if (nlp)
        *nlp = count;
    return str_n(buf_str(&h->text).p, n);
}
