/* request.c: owns the facts of a request: what it needs, how long it is, how long its answer will
 * be. Reads a gen_req once; everything after works on the facts. */
#include "route_int.h"

#include "utf8.h"

int route_latency_parse(struct str s, enum route_latency *out, struct err *e)
{
    static const char *const names[] = {"normal", "interactive", "completion"};
    s = str_trim(s);
    for (int i = 0; i < 3; i++) {
        if (str_ieq(s, str_of(names[i]))) {
            *out = (enum route_latency)i;
            return 0;
        }
    }
    return err_set(e, ERR_INVAL, "'%.*s' is no latency: normal, interactive or completion",
                   s.n > 40 ? 40 : (int)s.n, s.n ? s.p : "");
}

struct route_candidate route_candidate_default(void)
{
    return (struct route_candidate){
        .caps = {.chat = true},
        .load_ms = ROUTE_UNKNOWN,
        .first_ms = ROUTE_UNKNOWN,
        .price_input = ROUTE_UNKNOWN,
        .price_cached = ROUTE_UNKNOWN,
        .price_output = ROUTE_UNKNOWN,
        .quality = -1,
        .healthy = true,
    };
}

/* ---- tokens ---- */

/* Quarter tokens: one an ASCII byte (four bytes a token), three a character of a script that
 * tokenizers cut finely. */
static int64_t quarters(struct str s)
{
    int64_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x80)
            n += 1;
        else if (c >= 0xE0)
            n += 4;
        else if (c >= 0xC0)
            n += 2;
    }
    return n;
}

static int64_t part_quarters(const struct gen_part *p)
{
    int64_t n = quarters(p->text) + quarters(p->args) + quarters(p->name) + 4 * (int64_t)p->nids;
    switch (p->type) {
    case GEN_PART_IMAGE: return n + 4 * 1000;
    case GEN_PART_AUDIO: return n + (int64_t)(p->data.n / 400);
    /* base64 of a text document; of a PDF it is far too much, which errs on the careful side. */
    case GEN_PART_DOCUMENT: return n + (int64_t)(p->data.n / 4 * 3);
    default: return n;
    }
}

int64_t route_estimate_tokens(const struct gen_req *req)
{
    int64_t n = quarters(req->prompt) + quarters(req->suffix) + 4 * (int64_t)req->nprompt_ids;
    for (size_t i = 0; i < req->nprompt_pieces; i++)
        n += quarters(req->prompt_pieces[i].text) + 4 * (int64_t)req->prompt_pieces[i].nids;
    for (size_t i = 0; i < req->nmore; i++)
        n += quarters(req->more[i].text) + 4 * (int64_t)req->more[i].nids;
    for (size_t i = 0; i < req->nfiles; i++)
        n += quarters(req->files[i].name) + quarters(req->files[i].text);
    for (size_t i = 0; i < req->nmsgs; i++) {
        n += 4 * 4; /* the template's frame */
        for (size_t k = 0; k < req->msgs[i].nparts; k++)
            n += part_quarters(&req->msgs[i].parts[k]);
    }
    for (size_t i = 0; i < req->ntools; i++)
        n += quarters(req->tools[i].name) + quarters(req->tools[i].description) +
             quarters(req->tools[i].schema) + 4 * 8;
    n += quarters(req->schema);
    return n / 4 + 1;
}

static int64_t expected_output(const struct route_request *r)
{
    int64_t words = r->signals.message_words;
    int64_t n = 200;
    switch (r->signals.task) {
    case ROUTE_TASK_ASK: n = 60; break;
    case ROUTE_TASK_CLASSIFY: n = 15; break;
    case ROUTE_TASK_REWRITE:
    case ROUTE_TASK_TRANSLATE: n = words * 3 / 2 + 20; break;
    case ROUTE_TASK_EXTRACT: n = 150; break;
    case ROUTE_TASK_SUMMARISE: n = 200; break;
    case ROUTE_TASK_CHAT: n = 200; break;
    case ROUTE_TASK_WRITE: n = 450; break;
    case ROUTE_TASK_CODE: n = 400; break;
    case ROUTE_TASK_MATHS: n = 300; break;
    case ROUTE_TASK_REASON: n = 800; break;
    case ROUTE_TASK_EXPERT: n = 900; break;
    }
    if (r->kind == GEN_EMBED || r->kind == GEN_RERANK)
        n = 0;
    if (r->latency == ROUTE_COMPLETION)
        n = 64;
    if (r->high_effort)
        n *= 3;
    n = n > 8000 ? 8000 : n;
    return r->max_output_tokens > 0 && n > r->max_output_tokens ? r->max_output_tokens : n;
}

/* ---- needs ---- */

static void read_parts(const struct gen_req *req, struct route_request *r)
{
    for (size_t i = 0; i < req->nmsgs; i++) {
        for (size_t k = 0; k < req->msgs[i].nparts; k++) {
            switch (req->msgs[i].parts[k].type) {
            case GEN_PART_IMAGE: r->needs_images = true; break;
            case GEN_PART_AUDIO: r->needs_audio = true; break;
            case GEN_PART_DOCUMENT: r->needs_documents = true; break;
            case GEN_PART_TOOL_CALL: r->needs_tools = true; break;
            case GEN_PART_TOOL_RESULT:
                r->needs_tools = true;
                r->agent_steps += r->agent_steps < INT32_MAX;
                break;
            default: break;
            }
        }
    }
}

void route_request_read(const struct gen_req *req, int64_t prompt_tokens, bool exact,
                        enum route_latency latency, int64_t now_ms, struct route_request *out)
{
    struct route_request r = {.kind = req->kind, .zone = req->zone, .latency = latency};
    bool counted = prompt_tokens >= 0;
    r.prompt_tokens = counted ? prompt_tokens : route_estimate_tokens(req);
    r.prompt_exact = counted && exact;
    r.max_output_tokens = req->max_tokens > 0 ? req->max_tokens : 0;
    if (req->kind == GEN_INFILL)
        r.latency = ROUTE_COMPLETION;
    read_parts(req, &r);
    r.needs_tools = r.needs_tools || (req->ntools > 0 && req->tool_choice != GEN_CHOICE_NONE);
    r.needs_json = req->format == GEN_FORMAT_JSON;
    r.needs_schema = req->format == GEN_FORMAT_SCHEMA;
    r.needs_logprobs = req->logprobs;
    r.needs_many = req->n > 1;
    r.high_effort = req->effort == GEN_EFFORT_HIGH || req->thinking_budget > 16000;
    route_signals_read(req, now_ms, &r.signals);
    r.output_tokens = expected_output(&r);
    *out = r;
}
