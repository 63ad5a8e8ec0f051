/* fuzz_detect.c: any bytes through every detector, as a text, as JSON, as base64 and cut into
 * parts; findings must lie within their fields. */
#include <stdlib.h>

#include "privacy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct privacy_rules *rules;

static void check(const struct gen_req *req, const struct privacy_findings *f)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct privacy_finding *x = &f->v[i];
        size_t start_n = req->prompt.n, end_n = req->prompt.n;
        if (x->place == PRIVACY_IN_MESSAGE) {
            const struct gen_part *a = &req->msgs[x->index].parts[x->part];
            const struct gen_part *b = &req->msgs[x->end_index].parts[x->end_part];
            start_n = x->field == PRIVACY_ARGS   ? a->args.n
                      : x->field == PRIVACY_DATA ? a->data.n
                                                 : a->text.n;
            end_n = x->field == PRIVACY_ARGS   ? b->args.n
                    : x->field == PRIVACY_DATA ? b->data.n
                                               : b->text.n;
        }
        bool one = x->index == x->end_index && x->part == x->end_part;
        if (x->start > start_n || x->end > end_n || (one && x->start >= x->end) || x->unknown)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct str words[] = {STR("falcon nine"), STR("é"), STR("x.y")};
    struct privacy_rules_params p = {.words = words, .nwords = 3};
    struct err e;
    if (!rules && privacy_rules_new(&p, &rules, &e))
        abort();
    struct str all = str_n((const char *)data, size);
    size_t half = size / 2;
    struct gen_part parts[] = {
        {.type = GEN_PART_TEXT, .text = str_n(all.p, half)},
        {.type = GEN_PART_TEXT, .text = str_n(all.p + half, size - half)},
        {.type = GEN_PART_TOOL_CALL, .args = all},
        {.type = GEN_PART_DOCUMENT, .data = all},
    };
    struct gen_msg m = {.role = GEN_USER, .parts = parts, .nparts = 4};
    struct gen_req req = {.msgs = &m, .nmsgs = 1, .prompt = all};
    struct privacy_findings f;
    if (privacy_detect(rules, &req, &f, &e) == 0) {
        check(&req, &f);
        privacy_findings_done(&f);
    }
    return 0;
}
