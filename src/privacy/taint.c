/* taint.c: owns the memory of sensitive conversations: a bounded table from keyed hashes to zones.
 *
 * Only hashes are kept (SipHash-2-4 under a key of this process), so the table says nothing about
 * what was written. A collision can only tighten. What is hashed: the conversation's id; the text
 * of a message, blanks and invisible characters ignored; a chain over the messages, so that one
 * number stands for "these first n messages". See privacy.h for what that recognises and what not.
 *
 * Layout: entries in one array, chained by bucket and by age through indices. */
#include "privacy_int.h"

#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>

#include "utf8.h"

#define CAPACITY_DEFAULT 65536
#define CAPACITY_MAX ((size_t)1 << 24)
/* Bytes without blanks. Shorter ones are said in any conversation, and users repeat longer phrases
 * ("Summarise the following document in five points") than models do. */
#define ANSWER_MIN 24
#define OWN_MIN 80
#define PREFIX_MIN 48
#define NONE UINT32_MAX

struct entry {
    uint64_t key;
    uint32_t chain; /* the next of the bucket */
    uint32_t older, newer;
    uint8_t zone;
};

struct privacy_taint {
    pthread_mutex_t lock;
    unsigned char key[crypto_shorthash_KEYBYTES];
    struct entry *v;
    uint32_t *bucket;
    uint32_t n, capacity, nbuckets; /* nbuckets: a power of two */
    uint32_t newest, oldest;
};

int privacy_taint_new(size_t capacity, struct privacy_taint **out, struct err *e)
{
    if (capacity == 0)
        capacity = CAPACITY_DEFAULT;
    if (capacity > CAPACITY_MAX)
        return err_set(e, ERR_INVAL, "a taint table of %zu entries is too large", capacity);
    if (sodium_init() < 0)
        return err_set(e, ERR_INTERNAL, "no source of random numbers");
    struct privacy_taint *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(e, ERR_NOMEM, "no memory for the taint table");
    t->capacity = (uint32_t)capacity;
    t->nbuckets = 16;
    while (t->nbuckets < t->capacity)
        t->nbuckets *= 2;
    t->newest = t->oldest = NONE;
    t->v = calloc(capacity, sizeof *t->v);
    t->bucket = malloc(t->nbuckets * sizeof *t->bucket);
    pthread_mutex_init(&t->lock, NULL);
    if (!t->v || !t->bucket) {
        privacy_taint_free(t);
        return err_set(e, ERR_NOMEM, "no memory for the taint table");
    }
    memset(t->bucket, 0xFF, t->nbuckets * sizeof *t->bucket);
    crypto_shorthash_keygen(t->key);
    *out = t;
    return 0;
}

void privacy_taint_free(struct privacy_taint *t)
{
    if (!t)
        return;
    pthread_mutex_destroy(&t->lock);
    sodium_memzero(t->key, sizeof t->key);
    free(t->v);
    free(t->bucket);
    free(t);
}

/* ---- the table; the lock is held ---- */

static uint32_t *slot(struct privacy_taint *t, uint64_t key)
{
    uint32_t *at = &t->bucket[key & (t->nbuckets - 1)];
    while (*at != NONE && t->v[*at].key != key)
        at = &t->v[*at].chain;
    return at;
}

static void unlink_age(struct privacy_taint *t, uint32_t i)
{
    struct entry *x = &t->v[i];
    *(x->newer == NONE ? &t->newest : &t->v[x->newer].older) = x->older;
    *(x->older == NONE ? &t->oldest : &t->v[x->older].newer) = x->newer;
}

static void link_newest(struct privacy_taint *t, uint32_t i)
{
    struct entry *x = &t->v[i];
    x->newer = NONE;
    x->older = t->newest;
    *(t->newest == NONE ? &t->oldest : &t->v[t->newest].newer) = i;
    t->newest = i;
}

static void table_put(struct privacy_taint *t, uint64_t key, enum gen_zone zone)
{
    uint32_t *at = slot(t, key);
    uint32_t i = *at;
    if (i != NONE) {
        unlink_age(t, i);
        t->v[i].zone = zone < (enum gen_zone)t->v[i].zone ? (uint8_t)zone : t->v[i].zone;
        link_newest(t, i);
        return;
    }
    if (t->n < t->capacity) {
        i = t->n++;
    } else {
        i = t->oldest;
        unlink_age(t, i);
        *slot(t, t->v[i].key) = t->v[i].chain;
        at = slot(t, key); /* the way to it may have changed */
    }
    t->v[i] = (struct entry){.key = key, .chain = NONE, .zone = (uint8_t)zone};
    *at = i;
    link_newest(t, i);
}

static enum gen_zone table_get(struct privacy_taint *t, uint64_t key)
{
    uint32_t i = *slot(t, key);
    if (i == NONE)
        return GEN_CLOUD;
    unlink_age(t, i);
    link_newest(t, i);
    return (enum gen_zone)t->v[i].zone;
}

/* ---- hashes ---- */

static uint64_t hash_bytes(const struct privacy_taint *t, const void *p, size_t n)
{
    unsigned char h[crypto_shorthash_BYTES];
    crypto_shorthash(h, p, n, t->key);
    uint64_t v;
    memcpy(&v, h, sizeof v);
    return v;
}

/* Domain separation: an id is no message, a message no prefix. */
static uint64_t hash_pair(const struct privacy_taint *t, char kind, uint64_t a, uint64_t b)
{
    unsigned char bytes[17] = {(unsigned char)kind};
    memcpy(bytes + 1, &a, 8);
    memcpy(bytes + 9, &b, 8);
    return hash_bytes(t, bytes, sizeof bytes);
}

/* Clients trim, re-wrap and re-join text: blanks and invisible characters do not count. */
static void add_canonical(struct buf *b, struct str text)
{
    for (size_t i = 0; i < text.n;) {
        unsigned char c = (unsigned char)text.p[i];
        if (c < 0x80) {
            if (c > ' ' && c != 0x7F)
                buf_putc(b, (char)c);
            i++;
            continue;
        }
        uint32_t cp = 0;
        size_t n = utf8_decode(str_n(text.p + i, text.n - i), &cp);
        bool blank = cp == 0xA0 || cp == 0xAD || (cp >= 0x2000 && cp <= 0x200F) || cp == 0x2060 ||
                     cp == 0xFEFF || cp == 0x3000 || cp == 0x202F;
        if (!blank)
            buf_add(b, text.p + i, n ? n : 1);
        i += n ? n : 1;
    }
}

struct marks {
    uint64_t *v; /* keys, at most two a message part and two a message */
    size_t n;
};

/* What a request is recognised by. before: the first sensitive message; prefixes that end before it
 * are marked only where loose is set (see privacy.h). */
struct walk {
    const struct privacy_taint *t;
    struct buf text;
    struct marks out;
    size_t before;
    bool loose;
    size_t spoken; /* bytes of the conversation so far, without the system's */
    bool answered;
    uint64_t chain;
};

static void mark(struct walk *w, uint64_t key)
{
    w->out.v[w->out.n++] = key;
}

/* Of what stands in w->text. */
static uint64_t canonical_key(const struct walk *w)
{
    return hash_pair(w->t, 'm', hash_bytes(w->t, w->text.p ? w->text.p : "", w->text.n), w->text.n);
}

static uint64_t text_key(struct walk *w, struct str text)
{
    buf_clear(&w->text);
    add_canonical(&w->text, text);
    return canonical_key(w);
}

static bool is_dropped(const struct gen_part *p)
{
    return p->type == GEN_PART_REASONING || p->type == GEN_PART_OPAQUE; /* by many clients */
}

/* Results of tools, calls, media: each by itself, clients keep them whole. */
static uint64_t walk_part(struct walk *w, const struct gen_part *p, bool sensitive)
{
    struct str text = p->data.n ? p->data : p->url;
    if (p->type == GEN_PART_TOOL_CALL)
        text = p->args;
    if (p->type == GEN_PART_TOOL_RESULT)
        text = p->text;
    uint64_t key = text_key(w, text);
    if (sensitive && w->text.n >= ANSWER_MIN)
        mark(w, key);
    return key;
}

static void walk_message(struct walk *w, const struct gen_msg *m, size_t i)
{
    if (m->role == GEN_SYSTEM || m->role == GEN_DEVELOPER)
        return; /* the same in every conversation of a program */
    bool sensitive = i >= w->before;
    uint64_t rest = 0;
    for (size_t k = 0; k < m->nparts; k++) {
        if (m->parts[k].type != GEN_PART_TEXT && !is_dropped(&m->parts[k]))
            rest = hash_pair(w->t, 'r', rest, walk_part(w, &m->parts[k], sensitive));
    }
    buf_clear(&w->text);
    for (size_t k = 0; k < m->nparts; k++) {
        if (m->parts[k].type == GEN_PART_TEXT)
            add_canonical(&w->text, m->parts[k].text);
    }
    uint64_t text = canonical_key(w);
    if (sensitive && w->text.n >= (m->role == GEN_USER ? OWN_MIN : ANSWER_MIN))
        mark(w, text);
    w->spoken += w->text.n;
    w->answered = w->answered || m->role == GEN_ASSISTANT;
    w->chain = hash_pair(w->t, 'p', w->chain, hash_pair(w->t, 'q', text, rest + m->role));
    if (w->spoken >= PREFIX_MIN && (sensitive || (w->loose && w->answered)))
        mark(w, w->chain);
}

/* A bare text; false: no memory. */
static bool walk_text(struct walk *w, struct str text)
{
    if (!text.n)
        return true;
    uint64_t key = text_key(w, text);
    if (w->text.n >= OWN_MIN)
        mark(w, key);
    return !buf_failed(&w->text);
}

static bool walk_pieces(struct walk *w, const struct gen_prompt *p, size_t n)
{
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++)
        ok = walk_text(w, p[i].text);
    return ok;
}

static int walk_request(const struct privacy_taint *t, struct str id, const struct gen_req *req,
                        size_t before, bool loose, struct marks *out, struct err *e)
{
    size_t max = 3 + req->nmsgs * 2 + req->nprompt_pieces + req->nmore + req->nfiles;
    for (size_t i = 0; i < req->nmore; i++)
        max += req->more[i].npieces;
    for (size_t i = 0; i < req->nmsgs; i++)
        max += req->msgs[i].nparts;
    struct walk w = {.t = t, .before = before, .loose = loose};
    w.out.v = calloc(max, sizeof *w.out.v);
    buf_init(&w.text, (size_t)1 << 30);
    bool ok = w.out.v != NULL;
    if (ok && id.n)
        mark(&w, hash_pair(t, 'i', hash_bytes(t, id.p, id.n), id.n));
    for (size_t i = 0; ok && i < req->nmsgs; i++) {
        walk_message(&w, &req->msgs[i], i);
        ok = !buf_failed(&w.text);
    }
    ok = ok && walk_text(&w, req->prompt) && walk_text(&w, req->suffix);
    ok = ok && walk_pieces(&w, req->prompt_pieces, req->nprompt_pieces);
    for (size_t i = 0; ok && i < req->nmore; i++)
        ok = walk_text(&w, req->more[i].text) &&
             walk_pieces(&w, req->more[i].pieces, req->more[i].npieces);
    for (size_t i = 0; ok && i < req->nfiles; i++)
        ok = walk_text(&w, req->files[i].text);
    buf_done(&w.text);
    if (!ok) {
        free(w.out.v);
        return err_set(e, ERR_NOMEM, "no memory to follow a conversation's privacy");
    }
    *out = w.out;
    return 0;
}

/* ---- public ---- */

int privacy_taint_check(struct privacy_taint *t, struct str id, const struct gen_req *req,
                        enum gen_zone *out, struct err *e)
{
    struct marks m = {0};
    int code = walk_request(t, id, req, 0, true, &m, e);
    if (code)
        return code;
    enum gen_zone zone = GEN_CLOUD;
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < m.n; i++) {
        enum gen_zone z = table_get(t, m.v[i]);
        zone = z < zone ? z : zone;
    }
    pthread_mutex_unlock(&t->lock);
    free(m.v);
    *out = zone;
    return 0;
}

/* Findings outside messages (tools, user, ...) speak of the whole request. */
static size_t first_sensitive(const struct gen_req *req, const struct privacy_findings *f)
{
    size_t first = f && f->n ? SIZE_MAX : 0;
    for (size_t i = 0; f && i < f->n; i++) {
        size_t at = f->v[i].place == PRIVACY_IN_MESSAGE ? f->v[i].index : 0;
        first = at < first ? at : first;
    }
    return first < req->nmsgs ? first : 0;
}

int privacy_taint_add(struct privacy_taint *t, struct str id, const struct gen_req *req,
                      const struct privacy_findings *f, enum gen_zone zone, struct err *e)
{
    struct marks m = {0};
    int code = walk_request(t, id, req, first_sensitive(req, f), id.n == 0, &m, e);
    if (code)
        return code;
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < m.n; i++)
        table_put(t, m.v[i], zone);
    pthread_mutex_unlock(&t->lock);
    free(m.v);
    return 0;
}

int privacy_taint_answer(struct privacy_taint *t, struct str answer, enum gen_zone zone,
                         struct err *e)
{
    struct walk w = {.t = t};
    buf_init(&w.text, (size_t)1 << 30);
    uint64_t key = text_key(&w, answer);
    bool failed = buf_failed(&w.text), enough = w.text.n >= ANSWER_MIN;
    buf_done(&w.text);
    if (failed)
        return err_set(e, ERR_NOMEM, "no memory to follow a conversation's privacy");
    if (!enough)
        return 0;
    pthread_mutex_lock(&t->lock);
    table_put(t, key, zone);
    pthread_mutex_unlock(&t->lock);
    return 0;
}
