/* privacy_score.c: precision, recall and F2 of the detectors on labelled spans.
 *
 *   privacy_score FILE.json   a JSON array of {"full_text", "spans": [{"entity_type",
 *                             "start_position", "end_position"}]}, positions in code points
 *
 * A labelled span counts as found when a finding of its kind overlaps it; a finding counts as right
 * when it overlaps a labelled span of its kind. Kinds the detectors do not cover are left out. A
 * last line says how many texts with a covered span would have left the machine. */
#include <jansson.h>

#include <stdio.h>
#include <stdlib.h>

#include "privacy.h"

struct score {
    size_t labelled, found, findings, right;
};

static const struct {
    const char *label;
    enum privacy_kind kind;
} labels[] = {
    {"EMAIL_ADDRESS", PRIVACY_EMAIL}, {"PHONE_NUMBER", PRIVACY_PHONE},
    {"CREDIT_CARD", PRIVACY_CARD},    {"IBAN_CODE", PRIVACY_IBAN},
    {"US_SSN", PRIVACY_SSN},          {"IP_ADDRESS", PRIVACY_IP},
};

static int kind_of(const char *label)
{
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
        if (strcmp(labels[i].label, label) == 0)
            return (int)labels[i].kind;
    }
    return -1;
}

/* Byte offset of a code point. */
static size_t byte_at(const char *text, size_t chars)
{
    size_t i = 0;
    for (; text[i]; i++) {
        if (((unsigned char)text[i] & 0xC0) != 0x80 && chars-- == 0)
            break;
    }
    return i;
}

struct span {
    int kind;
    size_t start, end;
};

static size_t read_spans(json_t *item, const char *text, struct span *out, size_t max)
{
    size_t n = 0, i;
    json_t *s;
    json_array_foreach(json_object_get(item, "spans"), i, s)
    {
        const char *type = json_string_value(json_object_get(s, "entity_type"));
        int kind = type ? kind_of(type) : -1;
        if (kind < 0 || n == max)
            continue;
        json_int_t a = json_integer_value(json_object_get(s, "start_position"));
        json_int_t b = json_integer_value(json_object_get(s, "end_position"));
        out[n++] = (struct span){kind, byte_at(text, (size_t)a), byte_at(text, (size_t)b)};
    }
    return n;
}

static bool overlap(const struct span *s, const struct privacy_finding *f)
{
    return s->kind == (int)f->kind && s->start < f->end && f->start < s->end;
}

static void count(const struct span *spans, size_t n, const struct privacy_findings *f,
                  struct score *scores, const char *text, bool verbose)
{
    for (size_t i = 0; i < n; i++) {
        bool found = false;
        for (size_t k = 0; k < f->n; k++)
            found = found || overlap(&spans[i], &f->v[k]);
        scores[spans[i].kind].labelled++;
        scores[spans[i].kind].found += found;
        if (verbose && !found)
            printf("missed %s: %.*s\n", privacy_kind_name((enum privacy_kind)spans[i].kind),
                   (int)(spans[i].end - spans[i].start), text + spans[i].start);
    }
    for (size_t k = 0; k < f->n; k++) {
        bool right = false;
        for (size_t i = 0; i < n; i++)
            right = right || overlap(&spans[i], &f->v[k]);
        scores[f->v[k].kind].findings++;
        scores[f->v[k].kind].right += right;
        if (verbose && !right)
            printf("extra %s: %.*s\n", privacy_kind_name(f->v[k].kind),
                   (int)(f->v[k].end - f->v[k].start), text + f->v[k].start);
    }
}

static void print(const char *name, const struct score *s)
{
    double p = s->findings ? (double)s->right / (double)s->findings : 1;
    double r = s->labelled ? (double)s->found / (double)s->labelled : 1;
    double f2 = p + r > 0 ? 5 * p * r / (4 * p + r) : 0;
    printf("%-8s labelled %4zu  found %4zu  findings %4zu  precision %.3f  recall %.3f  F2 %.3f\n",
           name, s->labelled, s->found, s->findings, p, r, f2);
}

int main(int argc, char **argv)
{
    bool verbose = argc > 2;
    json_error_t je;
    json_t *root = argc > 1 ? json_load_file(argv[1], 0, &je) : NULL;
    struct privacy_rules *rules;
    struct err e;
    if (!json_is_array(root) || privacy_rules_new(NULL, &rules, &e)) {
        fprintf(stderr, "usage: privacy_score FILE.json [-v]\n");
        return 2;
    }
    struct score scores[PRIVACY_KINDS] = {0}, all = {0};
    size_t i, sensitive = 0, leaked = 0, clean = 0, kept = 0;
    json_t *item;
    json_array_foreach(root, i, item)
    {
        const char *text = json_string_value(json_object_get(item, "full_text"));
        struct span spans[64];
        struct privacy_findings f;
        if (!text || privacy_detect_text(rules, str_of(text), &f, &e))
            continue;
        size_t n = read_spans(item, text, spans, 64);
        count(spans, n, &f, scores, text, verbose);
        sensitive += n > 0;
        leaked += n > 0 && f.n == 0;
        clean += n == 0;
        kept += n == 0 && f.n > 0;
        privacy_findings_done(&f);
    }
    for (int k = 0; k <= PRIVACY_IP; k++) {
        print(privacy_kind_name((enum privacy_kind)k), &scores[k]);
        all.labelled += scores[k].labelled;
        all.found += scores[k].found;
        all.findings += scores[k].findings;
        all.right += scores[k].right;
    }
    print("all", &all);
    printf("texts: %zu of %zu sensitive ones would have left; %zu of %zu others kept\n", leaked,
           sensitive, kept, clean);
    privacy_rules_free(rules);
    json_decref(root);
    return 0;
}
