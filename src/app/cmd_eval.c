/* cmd_eval.c: weir eval and weir bench: a model measured by itself, without server, template or
 * ledger. */
#include "command.h"
#include "pulling.h"

#include "engine.h"
#include "kern.h"
#include "tok.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_TEXT ((size_t)256 << 20)
#define MAX_IDS ((size_t)16 << 20)
#define PREFILL 512
#define DECODE 128
#define SESSIONS 8

static int open_model(const struct settings *s, const char *name, struct model **m, struct err *e)
{
    char *path = NULL;
    int rc = pulling_path(s, name, &path, e);
    if (rc == 0)
        rc = model_open_path(path, m, e);
    free(path);
    return rc;
}

/* A file whose weights are all floats is evaluated on the float path: F32 cache too. */
static bool float_file(const struct model *m)
{
    const struct gguf *g = model_gguf(m);
    for (size_t i = 0; i < gguf_ntensors(g); i++)
        if (gguf_tensor_at(g, i)->dtype != GGUF_DT_F32)
            return false;
    return true;
}

/* ---- ids from a file ---- */

static int read_ids(const char *path, int32_t vocab, struct tok_ids *ids, struct err *e)
{
    struct buf text;
    int rc = command_read_file(path, MAX_TEXT, &text, e);
    ids->p = rc ? NULL : malloc((text.n / 2 + 1) * sizeof *ids->p);
    if (rc == 0 && !ids->p)
        rc = err_set(e, ERR_NOMEM, "out of memory");
    for (size_t i = 0; rc == 0 && i < text.n;) {
        size_t end = i;
        uint64_t id;
        while (end < text.n && !isspace((unsigned char)text.p[end]))
            end++;
        if (end > i && (!str_to_u64(str_n(text.p + i, end - i), &id) || id >= (uint64_t)vocab))
            rc = err_set_at(e, ERR_FORMAT, i, "%s, byte %zu: not a token id below %d", path, i,
                            vocab);
        else if (end > i)
            ids->p[ids->n++] = (int32_t)id;
        i = end + 1;
    }
    if (rc == 0 && ids->n == 0)
        rc = err_set(e, ERR_FORMAT, "%s holds no token ids", path);
    buf_done(&text);
    return rc;
}

/* ---- logits ---- */

struct writing {
    FILE *f;
    int32_t vocab;
    struct err *e;
};

static int write_row(void *ctx, size_t i, const float *logits)
{
    struct writing *w = ctx;
    if (fwrite(logits, sizeof *logits, (size_t)w->vocab, w->f) != (size_t)w->vocab)
        return err_set(w->e, ERR_IO, "cannot write the logits of token %zu: %s", i,
                       strerror(errno));
    return 0;
}

static enum model_cache chosen_cache(const struct settings *s)
{
    enum model_cache c = MODEL_CACHE_F16;
    model_cache_of(s->cache_type, &c);
    return c;
}

static enum model_cache cache_of(const struct settings *s, const struct model *m)
{
    return s->exact || float_file(m) ? MODEL_CACHE_F32 : chosen_cache(s);
}

static int write_logits(const struct settings *s, struct model *m, struct err *e)
{
    struct tok_ids ids = {0};
    int32_t head[2] = {0, model_traits(m)->vocab};
    struct writing w = {.vocab = head[1], .e = e};
    int rc = read_ids(s->tokens_file, head[1], &ids, e);
    head[0] = (int32_t)ids.n;
    if (rc == 0 && !(w.f = fopen(s->logits_file, "wb")))
        rc = err_set(e, ERR_IO, "cannot write %s: %s", s->logits_file, strerror(errno));
    if (rc == 0 && (fwrite(head, sizeof head, 1, w.f) != 1 ||
                    fwrite(ids.p, sizeof *ids.p, ids.n, w.f) != ids.n))
        rc = err_set(e, ERR_IO, "cannot write %s: %s", s->logits_file, strerror(errno));
    if (rc == 0)
        rc = engine_eval_logits(m, (int)s->threads, cache_of(s, m), ids.p, ids.n, write_row, &w, e);
    if (w.f && fclose(w.f) != 0 && rc == 0)
        rc = err_set(e, ERR_IO, "cannot write %s: %s", s->logits_file, strerror(errno));
    if (rc && w.f)
        remove(s->logits_file);
    tok_ids_done(&ids);
    return rc;
}

/* ---- perplexity ---- */

static int perplexity(const struct settings *s, struct model *m, double *out, size_t *n,
                      struct err *e)
{
    struct tok *t = NULL;
    struct tok_ids ids = {0};
    struct buf text = {0};
    int rc = tok_open(model_gguf(m), &t, e);
    if (rc == 0)
        rc = command_read_file(s->perplexity_file, MAX_TEXT, &text, e);
    if (rc == 0) {
        struct tok_span span = {buf_str(&text), false};
        rc = tok_encode(t, &span, 1, TOK_ADD_BOS, MAX_IDS, &ids, e);
    }
    *n = ids.n;
    if (rc == 0 && ids.n < 2)
        rc = err_set(e, ERR_FORMAT, "%s is too short for a perplexity", s->perplexity_file);
    if (rc == 0)
        rc = engine_eval_perplexity(m, (int)s->threads, cache_of(s, m), ids.p, ids.n, out, e);
    buf_done(&text);
    tok_ids_done(&ids);
    tok_free(t);
    return rc;
}

int cmd_eval(const struct settings *s, int argc, char **argv)
{
    struct model *m = NULL;
    struct err e = {0};
    double ppl = 0;
    size_t n = 0;
    bool logits = s->tokens_file && s->logits_file;
    if (argc != 1 || logits == (s->perplexity_file != NULL))
        return command_usage(
            command_find("eval"),
            "a model and either --tokens FILE --logits OUT or --perplexity FILE are needed");
    int rc = open_model(s, argv[0], &m, &e);
    if (rc == 0)
        model_set_exact(m, s->exact);
    if (rc == 0)
        rc = logits ? write_logits(s, m, &e) : perplexity(s, m, &ppl, &n, &e);
    if (rc == 0 && !logits)
        printf(s->json ? "{\"perplexity\":%.6f,\"tokens\":%zu}\n"
                       : "perplexity %.4f over %zu tokens\n",
               ppl, n);
    else if (rc == 0 && s->json)
        puts("{\"ok\":true}");
    model_free(m);
    return rc ? command_fail(&e) : EXIT_OK;
}

/* ---- bench ---- */

static int thread_count(const struct settings *s)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return s->threads > 0 ? (int)s->threads : n > 0 ? (int)n : 1;
}

static int bench_depth(const struct settings *s, struct model *m, int32_t depth, bool first,
                       struct buf *out, struct err *e)
{
    struct engine_speed v;
    int rc = engine_bench(m, (int)s->threads, chosen_cache(s), depth, PREFILL, DECODE, &v, e);
    if (rc == 0 && s->json)
        buf_printf(out,
                   "%s{\"depth\":%d,\"prefill_tokens\":%d,\"prefill_tps\":%.2f,\"decode_tokens\":%"
                   "d,\"decode_tps\":%.2f}",
                   first ? "" : ",", depth, PREFILL, v.prefill_tps, DECODE, v.decode_tps);
    else if (rc == 0)
        buf_printf(out, "depth %6d: prefill of %d %9.1f tokens/s, decode %8.1f tokens/s\n", depth,
                   PREFILL, v.prefill_tps, v.decode_tps);
    return rc;
}

static int bench_all(const struct settings *s, struct model *m, struct buf *out, struct err *e)
{
    struct str rest = str_of(s->depths), item;
    bool more = true, first = true;
    int rc = 0;
    while (rc == 0 && more) {
        uint64_t depth;
        more = str_cut(rest, ',', &item, &rest);
        if (!str_to_u64(str_trim(item), &depth) || depth > (uint64_t)model_traits(m)->ctx_train)
            return err_set(e, ERR_INVAL, "--depths wants numbers up to %d",
                           model_traits(m)->ctx_train);
        rc = bench_depth(s, m, (int32_t)depth, first, out, e);
        first = false;
    }
    return rc;
}

static int bench_sessions(const struct settings *s, const struct model *m, struct buf *out,
                          struct err *e)
{
    double tps = 0;
    int rc =
        engine_bench_sessions(m, (int)s->threads, chosen_cache(s), SESSIONS, DECODE / 4, &tps, e);
    if (rc == 0 && s->json)
        buf_printf(out, "],\"sessions\":%d,\"sessions_tps\":%.2f", SESSIONS, tps);
    else if (rc == 0)
        buf_printf(out, "%d sessions together: decode %8.1f tokens/s\n", SESSIONS, tps);
    return rc;
}

/* What a token reads and multiplies: behind the speeds' shares of the limits. A step of several
 * sessions reads the weights once; of experts it may need all. */
static void bench_sizes(const struct model *m, struct buf *out)
{
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"weight_bytes", model_weight_bytes(m)},
        {"active_bytes", model_active_bytes(m)},
        {"step_bytes", model_is_mixture(m) ? model_weight_bytes(m) : model_active_bytes(m)},
        {"kv_position_bytes", model_kv_page_bytes(m, false) / KERN_PAGE},
        {"params", model_params(m)},
        {"layer_macs", model_macs(m, false)},
        {"decode_macs", model_macs(m, true)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        buf_printf(out, "%s\"%s\":%llu", i ? "," : "", rows[i].name,
                   (unsigned long long)rows[i].value);
    buf_puts(out, "}\n");
}

static void bench_limits(const struct settings *s, const struct model *m, struct buf *out)
{
    int threads = thread_count(s);
    double read = kern_measure_read(threads, 500), macs = kern_measure_int8(threads, 500);
    if (s->json) {
        buf_printf(out, ",\"threads\":%d,\"kernels\":\"%s\",\"read_bytes_s\":%.0f,", threads,
                   kern_get()->name, read);
        buf_printf(out, "\"int8_macs_s\":%.0f,", macs);
        bench_sizes(m, out);
        return;
    }
    buf_printf(
        out,
        "%d threads, %s kernels; the machine reads %.1f GB/s and multiplies %.0f G int8 pairs/s\n",
        threads, kern_get()->name, read / 1e9, macs / 1e9);
    buf_printf(out,
               "weights %.1f MB, of which a token reads %.1f: decoding cannot pass %.1f tokens/s\n",
               (double)model_weight_bytes(m) / 1e6, (double)model_active_bytes(m) / 1e6,
               read / (double)model_active_bytes(m));
}

int cmd_bench(const struct settings *s, int argc, char **argv)
{
    struct model *m = NULL;
    struct buf out = BUF_INIT(1 << 20);
    struct err e = {0};
    if (argc != 1)
        return command_usage(command_find("bench"), "one model is needed");
    int rc = open_model(s, argv[0], &m, &e);
    if (s->json)
        buf_puts(&out, "{\"speeds\":[");
    if (rc == 0)
        rc = bench_all(s, m, &out, &e);
    if (rc == 0)
        rc = bench_sessions(s, m, &out, &e);
    if (rc == 0)
        bench_limits(s, m, &out);
    int code = rc ? command_fail(&e) : command_print(&out);
    model_free(m);
    buf_done(&out);
    return code;
}
