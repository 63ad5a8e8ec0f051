/* grammar_vocab.c: a vocabulary as the grammar sees it: the bytes of its tokens as two tries.
 * Tokens of nothing but plain characters, most of any vocabulary, stand in one of their own with
 * masks by their length: where a grammar takes any plain character, as inside of a JSON string,
 * their answer is a mask and the trie is not walked. Made once a model; then immutable. */
#include "grammar_int.h"

#include "utf8.h"

#include <stdlib.h>

#define MAX_TOKEN 4096 /* bytes; longer tokens are never allowed */

static void set_bit(uint64_t *mask, int32_t id)
{
    mask[id / 64] |= 1ull << (id % 64);
}

/* How many plain characters the token is made of; 0: it is not, or of too many. */
static int plain_length(struct str s)
{
    int n = 0;
    for (size_t at = 0; at < s.n; n++) {
        uint32_t cp;
        size_t len = utf8_decode(str_n(s.p + at, s.n - at), &cp);
        if (!len || !grammar_plain(cp))
            return 0;
        at += len;
    }
    return n <= GRAMMAR_PLAIN ? n : 0;
}

/* ---- the bytes ---- */

static int read_bytes(struct grammar_vocab *v, const struct tok *t, struct err *e)
{
    struct buf all = BUF_INIT(1u << 30);
    int32_t count = tok_count(t);
    size_t *from = calloc((size_t)count + 1, sizeof *from);
    for (int32_t id = 0; from && id < count; id++) {
        from[id] = all.n;
        if (!tok_is_eog(t, id) && !tok_is_control(t, id))
            tok_decode(t, id, false, false, &all);
    }
    bool ok = from && !buf_failed(&all);
    if (ok)
        from[count] = all.n;
    v->text = buf_take(&all, NULL);
    for (int32_t id = 0; ok && id < count; id++)
        v->bytes[id] = str_n(v->text + from[id], from[id + 1] - from[id]);
    free(from);
    buf_done(&all);
    return ok ? 0 : err_set(e, ERR_NOMEM, "no memory for a vocabulary of %d", count);
}

static void read_roles(struct grammar_vocab *v, const struct tok *t)
{
    for (int32_t id = 0; id < tok_count(t); id++) {
        v->same[id] = -1;
        if (tok_is_eog(t, id))
            set_bit(v->eog, id);
        else if (tok_is_control(t, id))
            set_bit(v->control, id);
    }
}

/* ---- the tries ---- */

struct entry {
    struct str s;
    int32_t id;
};

static int by_bytes(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int order = memcmp(x->s.p, y->s.p, x->s.n < y->s.n ? x->s.n : y->s.n);
    if (order == 0)
        order = (x->s.n > y->s.n) - (x->s.n < y->s.n);
    return order ? order : (x->id > y->id) - (x->id < y->id);
}

static size_t common(struct str a, struct str b)
{
    size_t n = 0;
    while (n < a.n && n < b.n && a.p[n] == b.p[n])
        n++;
    return n;
}

/* Nodes in the order of a walk: an entry adds those of its bytes that the one before it had not. */
static int make_trie(struct grammar_vocab *v, const struct entry *list, size_t n, struct trie *out,
                     struct err *e)
{
    size_t count = 0, last = 0;
    for (size_t i = 0; i < n; i++)
        count += list[i].s.n - (i ? common(list[i].s, list[i - 1].s) : 0);
    if (count >= UINT32_MAX)
        return err_set(e, ERR_TOO_LARGE, "the vocabulary's tokens are too long");
    uint32_t *open = calloc(MAX_TOKEN + 1, sizeof *open);
    out->nodes = calloc(count + 1, sizeof *out->nodes);
    if (!open || !out->nodes) {
        free(open);
        return err_set(e, ERR_NOMEM, "no memory for a vocabulary of %d", v->n);
    }
    for (size_t i = 0; i < n; i++) {
        struct str s = list[i].s;
        size_t had = i ? common(s, list[i - 1].s) : 0;
        for (; last > had; last--)
            out->nodes[open[last]].skip = out->n;
        for (; last < s.n; last++) {
            open[last + 1] = out->n;
            out->nodes[out->n++] = (struct trie_node){
                .token = -1, .depth = (uint16_t)(last + 1), .byte = (uint8_t)s.p[last]};
        }
        struct trie_node *node = &out->nodes[open[s.n]];
        v->same[list[i].id] = node->token;
        node->token = list[i].id;
        if (s.n > out->longest)
            out->longest = (uint32_t)s.n;
    }
    for (; last > 0; last--)
        out->nodes[open[last]].skip = out->n;
    free(open);
    return 0;
}

static int make_tries(struct grammar_vocab *v, struct err *e)
{
    struct entry *plain = calloc((size_t)v->n + 1, sizeof *plain);
    struct entry *rest = calloc((size_t)v->n + 1, sizeof *rest);
    size_t nplain = 0, nrest = 0;
    int rc = plain && rest ? 0 : err_set(e, ERR_NOMEM, "no memory for a vocabulary of %d", v->n);
    for (int32_t id = 0; rc == 0 && id < v->n; id++) {
        struct str s = v->bytes[id];
        int len = plain_length(s);
        if (s.n == 0 || s.n > MAX_TOKEN)
            v->bytes[id] = STR_NONE;
        else if (len == 0)
            rest[nrest++] = (struct entry){s, id};
        else
            plain[nplain++] = (struct entry){s, id};
        for (int k = len; len > 0 && k <= GRAMMAR_PLAIN; k++)
            set_bit(v->plain_upto + (size_t)k * v->words, id);
    }
    if (rc == 0) {
        qsort(plain, nplain, sizeof *plain, by_bytes);
        qsort(rest, nrest, sizeof *rest, by_bytes);
        rc = make_trie(v, plain, nplain, &v->plain, e);
    }
    if (rc == 0)
        rc = make_trie(v, rest, nrest, &v->rest, e);
    free(plain);
    free(rest);
    return rc;
}

int grammar_vocab_new(const struct tok *t, int32_t nvocab, struct grammar_vocab **out,
                      struct err *e)
{
    if (nvocab < tok_count(t))
        return err_set(e, ERR_INVAL, "a vocabulary of %d entries in a mask of %d", tok_count(t),
                       nvocab);
    struct grammar_vocab *v = calloc(1, sizeof *v);
    if (!v)
        return err_set(e, ERR_NOMEM, "no memory for a vocabulary");
    v->n = nvocab;
    v->words = ((size_t)nvocab + 63) / 64;
    v->bytes = calloc((size_t)nvocab, sizeof *v->bytes);
    v->same = calloc((size_t)nvocab, sizeof *v->same);
    v->eog = calloc(v->words, sizeof *v->eog);
    v->control = calloc(v->words, sizeof *v->control);
    v->plain_upto = calloc(v->words * (GRAMMAR_PLAIN + 1), sizeof *v->plain_upto);
    int rc = 0;
    if (!v->bytes || !v->same || !v->eog || !v->control || !v->plain_upto)
        rc = err_set(e, ERR_NOMEM, "no memory for a vocabulary of %d", nvocab);
    if (rc == 0)
        rc = read_bytes(v, t, e);
    if (rc == 0) {
        read_roles(v, t);
        rc = make_tries(v, e);
    }
    if (rc)
        grammar_vocab_free(v);
    else
        *out = v;
    return rc;
}

void grammar_vocab_free(struct grammar_vocab *v)
{
    if (!v)
        return;
    free(v->bytes);
    free(v->text);
    free(v->plain.nodes);
    free(v->rest.nodes);
    free(v->same);
    free(v->plain_upto);
    free(v->eog);
    free(v->control);
    free(v);
}

int32_t grammar_vocab_count(const struct grammar_vocab *v)
{
    return v->n;
}
