/* fuzz_route.c: bytes as facts to replay, and as a conversation whose signals are read and routed.
 * What is read back must be written the same, and a plan always says something. */
#include <stdlib.h>

#include "route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_facts(struct arena *a, struct str json)
{
    struct route_facts f;
    struct route_plan p;
    struct err e;
    if (route_facts_decode(a, json, &f, &e))
        return;
    struct buf one = BUF_INIT(1 << 24), two = BUF_INIT(1 << 24);
    route_facts_encode(&f, &one);
    if (route_plan_make(a, &f, &p, &e) == 0) {
        struct route_facts back;
        if (!p.sentence[0] || !p.header[0] || p.nranked + p.nremoved != f.ncandidates)
            abort();
        if (route_facts_decode(a, buf_str(&one), &back, &e))
            abort();
        route_facts_encode(&back, &two);
        if (!str_eq(buf_str(&one), buf_str(&two)))
            abort();
        buf_clear(&two);
        route_plan_json(&f, &p, &two);
    }
    buf_done(&one);
    buf_done(&two);
}

static void try_text(struct arena *a, struct str text)
{
    struct gen_part part = {.type = GEN_PART_TEXT, .text = text};
    struct gen_msg m = {.role = GEN_USER, .parts = &part, .nparts = 1};
    struct gen_req req = {.msgs = &m, .nmsgs = 1, .n = 1, .zone = GEN_CLOUD};
    struct route_candidate c = route_candidate_default();
    c.id = "x";
    struct route_facts f = {.candidates = &c, .ncandidates = 1};
    f.policy.weights = route_weights_default();
    f.policy.budget_left = ROUTE_UNKNOWN;
    route_request_read(&req, -1, false, ROUTE_NORMAL, 1790000000000, &f.request);
    struct route_plan p;
    struct err e;
    if (route_plan_make(a, &f, &p, &e) || p.nranked != 1)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new((size_t)64 << 20);
    if (!a)
        return 0;
    struct str s = str_n((const char *)data, size);
    try_facts(a, s);
    try_text(a, s);
    arena_free(a);
    return 0;
}
