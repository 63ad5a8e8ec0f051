/* detect.c: owns the walk over a request. Every string a request carries is a field here; a field
 * is read in several forms (as it is, with JSON escapes undone, percent-decoded, what stands in it
 * as base64), each form goes through all detectors, and what they find is carried back to the
 * field's own bytes. Text parts that follow each other are also read as one text, so that a number
 * cut in two is found.
 *
 * What is never scanned: media that is no text (a fact in `media`, not a finding). Called by app/
 * on a worker thread. */
#include "privacy_int.h"

#include <stdlib.h>

#include "utf8.h"

#define FINDINGS_MAX 1024
#define MEDIA_MAX 4096
#define ESCAPE_ROUNDS 3
#define SNIFF_BYTES 4096
#define EMBEDDED_MAX 4096 /* data: URLs of one text that are read each; more count as found */
#define SHORTEST 6        /* bytes of the shortest thing a pattern finds: a@b.cd */

/* One field within the bytes that are scanned together. */
struct segment {
    enum privacy_place place;
    enum privacy_field field;
    size_t index, part;
    size_t from, n; /* in those bytes */
};

struct scan {
    const struct privacy_rules *rules;
    struct privacy_findings *out;
    const struct segment *segs;
    size_t nsegs;
    size_t first;  /* findings before this one belong to other fields */
    bool spanning; /* keep only what runs over several segments */
    struct err *e;
};

static const char *const kind_names[PRIVACY_KINDS] = {"email", "phone", "card",  "iban", "ssn",
                                                      "ip",    "key",   "token", "word"};

const char *privacy_kind_name(enum privacy_kind k)
{
    return (unsigned)k < PRIVACY_KINDS ? kind_names[k] : "unknown";
}

void privacy_findings_done(struct privacy_findings *f)
{
    if (!f)
        return;
    free(f->v);
    free(f->media);
    *f = (struct privacy_findings){0};
}

/* ---- keeping findings ---- */

static const struct segment *segment_at(const struct scan *s, size_t at)
{
    const struct segment *seg = &s->segs[0];
    for (size_t i = 1; i < s->nsegs && s->segs[i].from <= at; i++)
        seg = &s->segs[i];
    return seg;
}

/* The same thing seen in another form of the field. */
static bool known(const struct scan *s, const struct privacy_finding *f)
{
    for (size_t i = s->first; i < s->out->n; i++) {
        struct privacy_finding *o = &s->out->v[i];
        if (o->kind != f->kind || o->place != f->place || o->field != f->field ||
            o->index != f->index || o->part != f->part)
            continue;
        bool spans = o->end_part != o->part || o->end_index != o->index;
        if (f->start < (spans ? SIZE_MAX : o->end) &&
            (o->start < f->end || f->end_part != f->part)) {
            o->verified = o->verified || f->verified;
            return true;
        }
    }
    return false;
}

static int keep(struct scan *s, const struct flat *view, const struct hit *hit)
{
    size_t from = view->at[hit->start];
    size_t to = flat_source_end(view, hit->start, hit->end);
    const struct segment *a = segment_at(s, from), *b = segment_at(s, to > from ? to - 1 : from);
    if (s->spanning && a == b)
        return 0;
    struct privacy_finding f = {
        .kind = hit->kind,
        .verified = hit->verified,
        .unknown = hit->unknown,
        .place = a->place,
        .field = a->field,
        .index = a->index,
        .part = a->part,
        .end_index = b->index,
        .end_part = b->part,
        .start = from - a->from,
        .end = to - b->from,
    };
    if (known(s, &f))
        return 0;
    s->out->kinds |= 1u << f.kind;
    s->out->count[f.kind]++;
    if (s->out->n == FINDINGS_MAX) {
        s->out->more = true;
        return 0;
    }
    size_t n = s->out->n;
    if ((n & (n - 1)) == 0) {
        struct privacy_finding *v = realloc(s->out->v, (n ? n * 2 : 4) * sizeof *v);
        if (!v)
            return err_set(s->e, ERR_NOMEM, "no memory for the privacy findings");
        s->out->v = v;
    }
    s->out->v[s->out->n++] = f;
    return 0;
}

static int keep_media(struct scan *s, enum gen_part_type type, size_t bytes)
{
    struct privacy_findings *out = s->out;
    if (out->nmedia == MEDIA_MAX || s->spanning)
        return 0;
    struct privacy_media *v = realloc(out->media, (out->nmedia + 1) * sizeof *v);
    if (!v)
        return err_set(s->e, ERR_NOMEM, "no memory for the privacy findings");
    out->media = v;
    out->media[out->nmedia++] = (struct privacy_media){
        .index = s->segs[0].index, .part = s->segs[0].part, .type = type, .bytes = bytes};
    return 0;
}

/* ---- one form of a field ---- */

typedef void detect_fn(const struct privacy_rules *r, struct str text, struct hits *h);
static detect_fn *const detectors[PRIVACY_KINDS] = {
    [PRIVACY_EMAIL] = detect_email, [PRIVACY_PHONE] = detect_phone, [PRIVACY_CARD] = detect_card,
    [PRIVACY_IBAN] = detect_iban,   [PRIVACY_SSN] = detect_ssn,     [PRIVACY_IP] = detect_ip,
    [PRIVACY_KEY] = detect_key,     [PRIVACY_TOKEN] = detect_token,
};

static void begin_detector(struct hits *h)
{
    h->base = h->n;
    h->full = false;
}

static void run_detectors(const struct privacy_rules *r, struct str text, struct hits *h)
{
    for (int k = 0; k < PRIVACY_KINDS; k++) {
        begin_detector(h);
        if (detectors[k] && text.n >= SHORTEST && !(r->off & 1u << k))
            detectors[k](r, text, h);
    }
    begin_detector(h);
    if (r->words && !(r->off & 1u << PRIVACY_WORD))
        detect_word(r->words, text, h);
}

/* A stretch of a card's or an account's number is no telephone number. */
static bool shadowed(const struct hits *h, const struct hit *phone)
{
    for (size_t i = 0; i < h->n; i++) {
        const struct hit *o = &h->v[i];
        bool stronger = o->kind == PRIVACY_CARD || o->kind == PRIVACY_IBAN ||
                        o->kind == PRIVACY_IP || o->kind == PRIVACY_SSN;
        if (stronger && !o->unknown && o->start <= phone->start && o->end >= phone->end)
            return true;
    }
    return false;
}

static int scan_view(struct scan *s, const struct flat *view)
{
    struct hits h = {0};
    int code = 0;
    run_detectors(s->rules, flat_str(view), &h);
    if (h.failed)
        code = err_set(s->e, ERR_NOMEM, "no memory to scan a text");
    s->out->more = s->out->more || h.more;
    for (size_t i = 0; code == 0 && i < h.n; i++) {
        if (h.v[i].kind == PRIVACY_PHONE && !h.v[i].unknown && shadowed(&h, &h.v[i]))
            continue;
        code = keep(s, view, &h.v[i]);
    }
    free(h.v);
    return code;
}

static bool is_ascii(struct str s)
{
    unsigned char any = 0;
    for (size_t i = 0; i < s.n; i++)
        any |= (unsigned char)s.p[i];
    return any < 0x80;
}

static int scan_plain(struct scan *s, const struct flat *form)
{
    if (is_ascii(flat_str(form)))
        return scan_view(s, form); /* nothing to normalise */
    struct flat view = {0};
    int code = flat_normalise(form, &view, s->e);
    if (code == 0)
        code = scan_view(s, &view);
    flat_done(&view);
    return code;
}

/* ---- base64 ---- */

static bool looks_like_text(struct str s)
{
    if (s.n == 0 || str_starts(s, STR("%PDF")))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < ' ' && c != '\t' && c != '\n' && c != '\r' && c != '\f' && c != 0x1B)
            return false;
    }
    return utf8_valid(str_n(s.p, s.n - utf8_partial_tail(s)));
}

static bool mime_is_text(struct str mime)
{
    static const char *const inside[] = {
        "json", "xml", "yaml", "csv", "javascript", "rtf", "form-urlencoded", "x-sh", "html"};
    if (str_istarts(mime, STR("text/")))
        return true;
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
        if (str_find(mime, str_of(inside[i]), 0) != SIZE_MAX)
            return true;
    }
    return false;
}

static int scan_forms(struct scan *s, const struct flat *raw, bool inner);

/* base64 from byte `from` of `form`: text is scanned like any other, the rest is unread. *end:
 * where it stops. */
static int scan_base64(struct scan *s, const struct flat *form, size_t from, struct str mime,
                       enum gen_part_type type, size_t *end)
{
    struct flat head = {0}, all = {0};
    size_t stop = from;
    int code = flat_base64(form, from, SNIFF_BYTES, &head, &stop, s->e);
    if (code)
        return code;
    bool text = looks_like_text(flat_str(&head));
    bool nothing = head.n == 0;
    flat_done(&head);
    if (nothing) {
        *end = stop;
        return 0;
    }
    if (text || mime_is_text(mime)) {
        code = flat_base64(form, from, 0, &all, &stop, s->e);
        if (code == 0)
            code = scan_forms(s, &all, true);
        text = text && looks_like_text(flat_str(&all));
        flat_done(&all);
    } else {
        while (stop < form->n && (is_alnum(form->p[stop]) || strchr("+/-_", form->p[stop])) &&
               form->p[stop])
            stop++;
    }
    if (code == 0 && !text)
        code = keep_media(s, type, stop - from);
    if (code == 0)
        *end = stop;
    return code;
}

/* data: URLs, also in the middle of a text. */
static int scan_embedded(struct scan *s, const struct flat *form)
{
    struct str text = flat_str(form);
    static const struct str mark = {";base64,", 8};
    int code = 0;
    size_t at = 0, n = 0;
    while (code == 0 && (at = str_find(text, mark, at)) != SIZE_MAX) {
        if (n++ == EMBEDDED_MAX) {
            struct hit rest = {.kind = PRIVACY_TOKEN, .unknown = true, .start = at, .end = text.n};
            return keep(s, form, &rest);
        }
        size_t begin = at;
        while (begin > 0 && at - begin < 128 && text.p[begin - 1] != ':')
            begin--;
        at += mark.n;
        code = scan_base64(s, form, at, str_n(text.p + begin, at - mark.n - begin), GEN_PART_IMAGE,
                           &at);
    }
    return code;
}

/* ---- all forms of a field ---- */

static bool has_percent(struct str s)
{
    for (size_t i = 0; i + 2 < s.n; i++) {
        if (s.p[i] == '%' && is_alnum(s.p[i + 1]) && is_alnum(s.p[i + 2]))
            return true;
    }
    return false;
}

static int scan_form(struct scan *s, const struct flat *form, bool inner)
{
    int code = scan_plain(s, form);
    if (code == 0 && !inner)
        code = scan_embedded(s, form);
    return code;
}

static int scan_percent(struct scan *s, const struct flat *form, bool inner)
{
    if (!has_percent(flat_str(form)))
        return 0;
    struct flat plain = {0};
    int code = flat_unpercent(form, &plain, s->e);
    if (code == 0)
        code = scan_form(s, &plain, inner);
    flat_done(&plain);
    return code;
}

static int scan_forms(struct scan *s, const struct flat *raw, bool inner)
{
    struct flat now = {0};
    const struct flat *form = raw;
    int code = scan_form(s, form, inner);
    /* A tool's arguments quote JSON that quotes JSON: undo it as often as it changes something. */
    for (int round = 0; code == 0 && round < ESCAPE_ROUNDS; round++) {
        if (!form->n || !memchr(form->p, '\\', form->n))
            break;
        struct flat next = {0};
        code = flat_unescape(form, &next, s->e);
        bool same = code == 0 && next.n == form->n;
        flat_done(&now);
        now = next;
        form = &now;
        if (code || same)
            break;
        code = scan_form(s, form, inner);
    }
    if (code == 0)
        code = scan_percent(s, form, inner);
    flat_done(&now);
    return code;
}

static int scan_bytes(struct scan *s, struct str bytes, const struct segment *segs, size_t n)
{
    if (bytes.n == 0)
        return 0;
    struct flat raw = {0};
    s->segs = segs;
    s->nsegs = n;
    s->first = s->out->n;
    int code = flat_copy(bytes, &raw, s->e);
    if (code == 0)
        code = scan_forms(s, &raw, false);
    flat_done(&raw);
    return code;
}

static int scan_field(struct scan *s, struct str text, enum privacy_place place, size_t index,
                      size_t part, enum privacy_field field)
{
    struct segment seg = {place, field, index, part, 0, text.n};
    return scan_bytes(s, text, &seg, 1);
}

/* ---- the request ---- */

/* A part's base64. What is no base64 at all is scanned as it stands. */
static int scan_data(struct scan *s, const struct gen_part *p, size_t index, size_t part)
{
    if (p->data.n == 0)
        return 0;
    struct segment seg = {PRIVACY_IN_MESSAGE, PRIVACY_DATA, index, part, 0, p->data.n};
    struct flat raw = {0};
    s->segs = &seg;
    s->nsegs = 1;
    s->first = s->out->n;
    size_t end = 0;
    int code = flat_copy(p->data, &raw, s->e);
    if (code == 0)
        code = scan_base64(s, &raw, 0, p->mime, p->type, &end);
    while (code == 0 && end < p->data.n && strchr("= \r\n\t", p->data.p[end]) && p->data.p[end])
        end++;
    if (code == 0 && end < p->data.n)
        code = scan_forms(s, &raw, false);
    flat_done(&raw);
    return code;
}

static int scan_part(struct scan *s, const struct gen_part *p, size_t i, size_t k)
{
    const struct {
        struct str text;
        enum privacy_field field;
    } fields[] = {
        {p->text, PRIVACY_TEXT},     {p->id, PRIVACY_ID},     {p->name, PRIVACY_NAME},
        {p->args, PRIVACY_ARGS},     {p->mime, PRIVACY_MIME}, {p->url, PRIVACY_URL},
        {p->opaque, PRIVACY_OPAQUE},
    };
    int code = 0;
    for (size_t f = 0; code == 0 && f < sizeof fields / sizeof *fields; f++)
        code = scan_field(s, fields[f].text, PRIVACY_IN_MESSAGE, i, k, fields[f].field);
    bool media =
        p->type == GEN_PART_IMAGE || p->type == GEN_PART_AUDIO || p->type == GEN_PART_DOCUMENT;
    bool tokens = p->type == GEN_PART_TOKENS; /* a text that only its model can read */
    bool elsewhere = p->url.n && !str_istarts(p->url, STR("data:"));
    if (code == 0 && (tokens || (media && elsewhere && p->data.n == 0))) {
        struct segment seg = {PRIVACY_IN_MESSAGE, PRIVACY_URL, i, k, 0, p->url.n};
        s->segs = &seg;
        s->nsegs = 1;
        code = keep_media(s, p->type, p->nids * sizeof *p->ids);
    }
    return code ? code : scan_data(s, p, i, k);
}

/* Text parts from (i, k) on that a reader sees as one text. */
static size_t collect_run(const struct gen_req *req, size_t i, size_t k, struct segment *segs,
                          size_t max, struct buf *joined)
{
    size_t n = 0;
    for (size_t m = i; m < req->nmsgs && req->msgs[m].role == req->msgs[i].role; m++, k = 0) {
        for (; k < req->msgs[m].nparts; k++) {
            const struct gen_part *p = &req->msgs[m].parts[k];
            if (p->type != GEN_PART_TEXT || n == max)
                return n;
            segs[n++] =
                (struct segment){PRIVACY_IN_MESSAGE, PRIVACY_TEXT, m, k, joined->n, p->text.n};
            buf_str_add(joined, p->text);
        }
    }
    return n;
}

static size_t count_parts(const struct gen_req *req)
{
    size_t n = 0;
    for (size_t i = 0; i < req->nmsgs; i++)
        n += req->msgs[i].nparts;
    return n;
}

static int scan_joined(struct scan *s, const struct gen_req *req)
{
    size_t max = count_parts(req);
    struct segment *segs = calloc(max + 1, sizeof *segs);
    if (!segs)
        return err_set(s->e, ERR_NOMEM, "no memory to scan %zu parts", max);
    struct buf joined;
    buf_init(&joined, (size_t)1 << 30);
    s->spanning = true;
    int code = 0;
    size_t skip = 0; /* parts that a run has covered already */
    for (size_t i = 0; code == 0 && i < req->nmsgs; i++) {
        for (size_t k = 0; code == 0 && k < req->msgs[i].nparts; k++) {
            if (skip) {
                skip--;
                continue;
            }
            buf_clear(&joined);
            size_t n = collect_run(req, i, k, segs, max, &joined);
            if (buf_failed(&joined))
                code = err_set(s->e, ERR_NOMEM, "no memory to scan joined parts");
            else if (n > 1)
                code = scan_bytes(s, buf_str(&joined), segs, n);
            skip = n ? n - 1 : 0;
        }
    }
    s->spanning = false;
    buf_done(&joined);
    free(segs);
    return code;
}

static int scan_messages(struct scan *s, const struct gen_req *req)
{
    int code = 0;
    for (size_t i = 0; code == 0 && i < req->nmsgs; i++) {
        const struct gen_msg *m = &req->msgs[i];
        code = scan_field(s, m->name, PRIVACY_IN_MESSAGE, i, m->nparts, PRIVACY_NAME);
        for (size_t k = 0; code == 0 && k < m->nparts; k++)
            code = scan_part(s, &m->parts[k], i, k);
    }
    return code ? code : scan_joined(s, req);
}

static int scan_tools(struct scan *s, const struct gen_req *req)
{
    int code = 0;
    for (size_t i = 0; code == 0 && i < req->ntools; i++) {
        const struct gen_tool *t = &req->tools[i];
        code = scan_field(s, t->name, PRIVACY_IN_TOOL, i, 0, PRIVACY_NAME);
        if (code == 0)
            code = scan_field(s, t->description, PRIVACY_IN_TOOL, i, 0, PRIVACY_DESCRIPTION);
        if (code == 0)
            code = scan_field(s, t->schema, PRIVACY_IN_TOOL, i, 0, PRIVACY_SCHEMA);
    }
    if (code == 0)
        code = scan_field(s, req->tool_choice_name, PRIVACY_IN_TOOL, req->ntools, 0, PRIVACY_NAME);
    return code;
}

static int scan_pieces(struct scan *s, const struct gen_prompt *p, size_t n, size_t *number)
{
    int code = 0;
    for (size_t i = 0; code == 0 && i < n; i++)
        code = scan_field(s, p[i].text, PRIVACY_IN_PROMPT, (*number)++, 0, PRIVACY_TEXT);
    return code;
}

/* The prompt is number 0; what stands behind the place to fill in, further prompts and other files
 * count on from there. */
static int scan_prompts(struct scan *s, const struct gen_req *req)
{
    int code = scan_field(s, req->prompt, PRIVACY_IN_PROMPT, 0, 0, PRIVACY_TEXT);
    size_t n = 1;
    if (code == 0)
        code = scan_field(s, req->suffix, PRIVACY_IN_PROMPT, n++, 0, PRIVACY_TEXT);
    if (code == 0)
        code = scan_pieces(s, req->prompt_pieces, req->nprompt_pieces, &n);
    for (size_t i = 0; code == 0 && i < req->nmore; i++) {
        code = scan_field(s, req->more[i].text, PRIVACY_IN_PROMPT, n++, 0, PRIVACY_TEXT);
        if (code == 0)
            code = scan_pieces(s, req->more[i].pieces, req->more[i].npieces, &n);
    }
    for (size_t i = 0; code == 0 && i < req->nfiles; i++) {
        code = scan_field(s, req->files[i].name, PRIVACY_IN_PROMPT, n, 0, PRIVACY_NAME);
        if (code == 0)
            code = scan_field(s, req->files[i].text, PRIVACY_IN_PROMPT, n++, 0, PRIVACY_TEXT);
    }
    return code;
}

static int scan_rest(struct scan *s, const struct gen_req *req)
{
    int code = scan_prompts(s, req);
    if (code == 0)
        code = scan_field(s, req->tmpl, PRIVACY_IN_FORMAT, 0, 0, PRIVACY_TEXT);
    for (size_t i = 0; code == 0 && i < req->nstops; i++)
        code = scan_field(s, req->stops[i], PRIVACY_IN_STOP, i, 0, PRIVACY_TEXT);
    if (code == 0)
        code = scan_field(s, req->schema, PRIVACY_IN_FORMAT, 0, 0, PRIVACY_SCHEMA);
    if (code == 0)
        code = scan_field(s, req->schema_name, PRIVACY_IN_FORMAT, 0, 0, PRIVACY_NAME);
    if (code == 0)
        code = scan_field(s, req->user, PRIVACY_IN_USER, 0, 0, PRIVACY_TEXT);
    if (code == 0)
        code = scan_field(s, req->extra, PRIVACY_IN_EXTRA, 0, 0, PRIVACY_TEXT);
    if (code == 0)
        code = scan_field(s, req->model, PRIVACY_IN_MODEL, 0, 0, PRIVACY_TEXT);
    return code;
}

int privacy_detect(const struct privacy_rules *r, const struct gen_req *req,
                   struct privacy_findings *out, struct err *e)
{
    struct privacy_findings f = {0};
    struct scan s = {.rules = r, .out = &f, .e = e};
    int code = scan_messages(&s, req);
    if (code == 0)
        code = scan_tools(&s, req);
    if (code == 0)
        code = scan_rest(&s, req);
    if (code) {
        privacy_findings_done(&f);
        return code;
    }
    *out = f;
    return 0;
}

int privacy_detect_text(const struct privacy_rules *r, struct str text,
                        struct privacy_findings *out, struct err *e)
{
    struct gen_req req = {.prompt = text};
    return privacy_detect(r, &req, out, e);
}
