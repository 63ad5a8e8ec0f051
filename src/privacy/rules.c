/* rules.c: owns the compiled patterns and the one loop that runs them. Patterns only propose; the
 * checks (checksums, lengths, context) are code in detect_*.c.
 *
 * Every match runs under a limit that grows with the text, so no text makes the time more than
 * proportional to its size. A limit that is hit is reported as unknown, never as "nothing found".
 */
#include "privacy_int.h"

#include <stdlib.h>

/* Bytes, not code points: flat text has no other digits, blanks and dashes than ASCII's, and bytes
 * from 0x80 on count as letters. */
#define LETTER "A-Za-z\\x80-\\xff"
#define OCTET "(?:25[0-5]|2[0-4]\\d|1?\\d?\\d)"
#define DOT "\\[?\\.\\]?"

static const struct {
    const char *text;
    uint32_t options;
} sources[PATTERNS] = {
    [PATTERN_EMAIL] = {"(?<![0-9" LETTER "._%+'-])[0-9" LETTER
                       "._%+'-]++(?:@|\\s?[\\[(](?:at|@)[\\])]\\s?)"
                       "(?:[0-9" LETTER "](?:[0-9" LETTER
                       "-]{0,62})(?:\\.|\\s?[\\[(](?:dot|\\.)[\\])]\\s?))+"
                       "(?:xn--[0-9A-Za-z-]{2,59}|[" LETTER "]{2,40})",
                       PCRE2_CASELESS},
    [PATTERN_PHONE] = {"(?<![0-9A-Za-z_])(?:\\(?\\+ ?\\(?|\\()?\\d(?:[ \\t.\\-/()]{0,3}\\d)"
                       "{6,70}",
                       0},
    [PATTERN_DIGITS] = {"(?<![0-9])\\d(?:[ \\t.\\-_/]{0,2}\\d){11,63}", 0},
    [PATTERN_IBAN] = {"(?<![0-9A-Za-z])(?:IBAN:?)?([A-Z]{2}[ .\\-]?\\d[ .\\-]?\\d"
                      "(?:[ .\\-]{0,2}[A-Z0-9]){10,40})",
                      PCRE2_CASELESS},
    [PATTERN_SSN] = {"(?<![0-9A-Za-z_])(?<![0-9][.\\-])\\d{3}([- .]?)\\d{2}\\1\\d{4}"
                     "(?![0-9A-Za-z_]|[.\\-]\\d)",
                     0},
    [PATTERN_IPV4] = {"(?<![0-9A-Za-z_])(?<!\\d\\.)" OCTET DOT OCTET DOT OCTET DOT OCTET
                      "(?![0-9A-Za-z_]|\\.\\d)",
                      0},
    [PATTERN_IPV6] = {"(?<![0-9A-Za-z_:])(?=[0-9a-f]{0,4}:)[0-9a-f:]{3,45}(?:(?<=:)" OCTET
                      "(?:\\." OCTET "){3})?(?![0-9A-Za-z_:])",
                      PCRE2_CASELESS},
    [PATTERN_KEY] = {"-----\\s?BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?\\s?-----"
                     "|PuTTY-User-Key-File-\\d|AGE-SECRET-KEY-1[0-9A-Z]{20,80}",
                     PCRE2_CASELESS},
    [PATTERN_TOKEN] = {"(?<![0-9A-Za-z])(?:"
                       "sk-ant-[\\w-]{16,200}+"
                       "|sk-[\\w-]{20,200}+"
                       "|(?:sk|rk|pk)_(?:live|test)_[0-9A-Za-z]{16,120}+"
                       "|gh[pousr]_[0-9A-Za-z]{20,255}+"
                       "|github_pat_\\w{22,255}+"
                       "|glpat-[\\w-]{16,120}+"
                       "|hf_[0-9A-Za-z]{20,120}+"
                       "|xox[abeoprs]-[0-9A-Za-z-]{10,250}+|xapp-[0-9A-Za-z-]{10,250}+"
                       "|A(?:KI|SI|GP|ID|RO|NP|NV)A[0-9A-Z]{16}(?![0-9A-Za-z])"
                       "|AIza[\\w-]{30,60}+|ya29\\.[\\w.-]{20,400}+"
                       "|eyJ[\\w-]{8,8000}+\\.eyJ[\\w-]{8,16000}+\\.[\\w-]{8,4000}+"
                       "|npm_[0-9A-Za-z]{30,60}+|pypi-[\\w-]{40,300}+|gsk_[0-9A-Za-z]{30,80}+"
                       "|xai-[0-9A-Za-z]{30,120}+|r8_[0-9A-Za-z]{30,60}+|dop_v1_[0-9a-f]{40,80}+"
                       "|SG\\.[\\w-]{16,40}+\\.[\\w-]{16,80}+|whsec_[0-9A-Za-z+/]{24,80}+"
                       "|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"
                       "|[0-9]{8,10}:AA[\\w-]{32,36}+"
                       ")",
                       0},
    [PATTERN_URL_SECRET] = {"[a-z][a-z0-9+.-]{1,20}://[^\\s:/@?#\"']{0,64}:[^\\s@/?#\"']{1,128}@",
                            PCRE2_CASELESS},
};

static int compile(struct privacy_rules *r, enum pattern p, struct err *e)
{
    int code;
    PCRE2_SIZE at;
    r->code[p] = pcre2_compile((PCRE2_SPTR)sources[p].text, PCRE2_ZERO_TERMINATED,
                               sources[p].options | PCRE2_NEVER_UTF, &code, &at, NULL);
    if (!r->code[p])
        return err_set_at(e, code == PCRE2_ERROR_NOMEMORY ? ERR_NOMEM : ERR_INTERNAL, at,
                          "detector pattern %d does not compile (%d)", (int)p, code);
    /* Where the machine forbids it, the interpreter finds the same. */
    (void)pcre2_jit_compile(r->code[p], PCRE2_JIT_COMPLETE);
    return 0;
}

int privacy_rules_new(const struct privacy_rules_params *p, struct privacy_rules **out,
                      struct err *e)
{
    struct privacy_rules *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(e, ERR_NOMEM, "no memory for the detectors");
    int code = 0;
    for (int i = 0; code == 0 && i < PATTERNS; i++)
        code = compile(r, (enum pattern)i, e);
    if (code == 0 && p && p->nwords)
        code = words_new(p->words, p->nwords, &r->words, e);
    if (code) {
        privacy_rules_free(r);
        return code;
    }
    r->off = p ? p->off : 0;
    r->match_limit = p ? p->match_limit : 0;
    *out = r;
    return 0;
}

void privacy_rules_free(struct privacy_rules *r)
{
    if (!r)
        return;
    for (int i = 0; i < PATTERNS; i++)
        pcre2_code_free(r->code[i]);
    words_free(r->words);
    free(r);
}

/* ---- hits ---- */

static void add(struct hits *h, struct hit hit)
{
    if (h->n - h->base >= HITS_MAX) {
        h->more = h->full = true;
        return;
    }
    if (h->n == h->cap) {
        size_t cap = h->cap ? h->cap * 2 : 16;
        struct hit *v = realloc(h->v, cap * sizeof *v);
        if (!v) {
            h->failed = true;
            return;
        }
        h->v = v;
        h->cap = cap;
    }
    h->v[h->n++] = hit;
}

void hits_add(struct hits *h, enum privacy_kind kind, size_t start, size_t end, bool verified)
{
    add(h, (struct hit){.kind = kind, .start = start, .end = end, .verified = verified});
}

void hits_unknown(struct hits *h, enum privacy_kind kind, size_t start, size_t end)
{
    add(h, (struct hit){.kind = kind, .start = start, .end = end, .unknown = true});
}

/* ---- matching ---- */

static uint32_t limit_for(const struct privacy_rules *r, size_t n)
{
    if (r->match_limit)
        return r->match_limit;
    uint64_t limit = 1000000 + (uint64_t)n * 400;
    return limit > UINT32_MAX ? UINT32_MAX : (uint32_t)limit;
}

static int match(const pcre2_code *code, struct str text, size_t at, pcre2_match_data *md,
                 pcre2_match_context *mc)
{
    int rc = pcre2_match(code, (PCRE2_SPTR)text.p, text.n, at, 0, md, mc);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(code, (PCRE2_SPTR)text.p, text.n, at, PCRE2_NO_JIT, md, mc);
    return rc;
}

static void each(const pcre2_code *code, enum privacy_kind kind, struct str text,
                 match_fn *on_match, struct hits *h, pcre2_match_data *md, pcre2_match_context *mc)
{
    size_t at = 0;
    while (at < text.n && !h->failed && !h->full) {
        int rc = match(code, text, at, md, mc);
        if (rc == PCRE2_ERROR_NOMATCH)
            return;
        if (rc < 0) {
            hits_unknown(h, kind, at, text.n);
            return;
        }
        const PCRE2_SIZE *o = pcre2_get_ovector_pointer(md);
        size_t next = on_match(text, o[0], o[1], h);
        at = next > o[0] ? next : o[0] + 1;
    }
}

void rules_each(const struct privacy_rules *r, enum pattern p, enum privacy_kind kind,
                struct str text, match_fn *on_match, struct hits *h)
{
    pcre2_match_data *md = pcre2_match_data_create(4, NULL);
    pcre2_match_context *mc = pcre2_match_context_create(NULL);
    if (!md || !mc) {
        h->failed = true;
    } else {
        pcre2_set_match_limit(mc, limit_for(r, text.n));
        pcre2_set_depth_limit(mc, 100000);
        pcre2_set_heap_limit(mc, 64 * 1024);
        each(r->code[p], kind, text, on_match, h, md, mc);
    }
    pcre2_match_data_free(md);
    pcre2_match_context_free(mc);
}
