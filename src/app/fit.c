/* fit.c: what this machine can run.
 *
 * Decoding reads every active weight once a token, so tokens/s is bandwidth over bytes; 80 % of the
 * measured bandwidth is what the kernels reach. An estimate, and said to be one wherever it is
 * printed. */
#include "fit.h"

#include "kern.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define GB 1000000000ull
#define CACHE_TOKENS 8192
#define USEFUL_TPS 5.0

/* Sizes as published for the usual 4-bit files (Q4_K_M, MXFP4 for gpt-oss); largest first. */
static const struct fit_model catalogue[] = {
    {"gpt-oss-120b", "MXFP4", 117, 5.1, 63 * GB, 73728, "reasoning, agents"},
    {"Llama-3.3-70B", "Q4_K_M", 70.6, 70.6, 42500000000ull, 327680, "writing, analysis"},
    {"Qwen3-32B", "Q4_K_M", 32.8, 32.8, 19800000000ull, 262144, "code, reasoning"},
    {"Qwen3-30B-A3B", "Q4_K_M", 30.5, 3.3, 18600000000ull, 98304, "code, agents, fast"},
    {"gpt-oss-20b", "MXFP4", 20.9, 3.6, 12100000000ull, 49152, "reasoning, fast"},
    {"Qwen3-14B", "Q4_K_M", 14.8, 14.8, 9000000000ull, 163840, "code, reasoning"},
    {"Qwen3-8B", "Q4_K_M", 8.2, 8.2, 5030000000ull, 147456, "everyday work"},
    {"Qwen3-4B", "Q4_K_M", 4.0, 4.0, 2500000000ull, 147456, "everyday work, light"},
    {"Llama-3.2-3B", "Q4_K_M", 3.2, 3.2, 2020000000ull, 114688, "summaries, chat"},
    {"Qwen3-1.7B", "Q4_K_M", 2.0, 2.0, 1280000000ull, 114688, "rewriting, extraction"},
    {"Llama-3.2-1B", "Q4_K_M", 1.24, 1.24, 808000000ull, 32768, "rewriting"},
    {"Qwen3-0.6B", "Q4_K_M", 0.75, 0.75, 484000000ull, 114688, "completion, labels"},
    {"SmolLM2-135M", "Q4_1", 0.135, 0.135, 98362432ull, 23040, "a demonstration"},
};
#define NMODELS (sizeof catalogue / sizeof catalogue[0])

void fit_memory(struct fit_machine *m)
{
    m->memory_total = m->memory_free = 0;
    FILE *f = fopen("/proc/meminfo", "r");
    char line[256];
    unsigned long long kb;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "MemTotal: %llu kB", &kb) == 1)
            m->memory_total = kb * 1024;
        else if (sscanf(line, "MemAvailable: %llu kB", &kb) == 1)
            m->memory_free = kb * 1024;
    }
    if (f)
        fclose(f);
    if (m->memory_total == 0) {
        long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
        if (pages > 0 && size > 0)
            m->memory_total = (uint64_t)pages * (uint64_t)size;
        m->memory_free = m->memory_total / 2; /* nothing better is known off Linux */
    }
}

static void read_cpu(struct fit_machine *m)
{
    snprintf(m->cpu, sizeof m->cpu, "this processor");
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[512];
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon)
            continue;
        snprintf(m->cpu, sizeof m->cpu, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (f)
        fclose(f);
}

static void look(int threads, struct fit_machine *out)
{
    *out = (struct fit_machine){0};
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    out->threads = threads > 0 ? threads : online > 0 ? (int)online : 1;
    out->kernels = kern_get()->name;
    fit_memory(out);
    read_cpu(out);
}

bool fit_known(const char *home, int threads, struct fit_machine *out)
{
    char path[4096], cpu[128] = "";
    int known = 0;
    double bps = 0;
    look(threads, out);
    snprintf(path, sizeof path, "%s/machine", home);
    FILE *f = fopen(path, "r");
    if (f && fscanf(f, "%d threads, %lf bytes/s, %127[^\n]", &known, &bps, cpu) == 3 &&
        known == out->threads && bps > 0 && strcmp(cpu, out->cpu) == 0)
        out->read_bps = bps;
    if (f)
        fclose(f);
    return out->read_bps > 0;
}

double fit_learn(const char *home, int threads)
{
    struct fit_machine now;
    char path[4096];
    fit_measure(threads, false, &now);
    snprintf(path, sizeof path, "%s/machine", home);
    FILE *f = fopen(path, "w");
    if (f) {
        fprintf(f, "%d threads, %.0f bytes/s, %s\n", now.threads, now.read_bps, now.cpu);
        fclose(f);
    }
    return now.read_bps;
}

void fit_measure(int threads, bool int8, struct fit_machine *out)
{
    look(threads, out);
    out->read_bps = kern_measure_read(out->threads, 200);
    if (int8)
        out->int8_macs = kern_measure_int8(out->threads, 200);
}

size_t fit_rows(const struct fit_machine *m, const struct fit_row **rows)
{
    static _Thread_local struct fit_row table[NMODELS];
    for (size_t i = 0; i < NMODELS; i++) {
        const struct fit_model *c = &catalogue[i];
        struct fit_row *r = &table[i];
        r->model = c;
        r->needs = (c->bytes + c->kv_per_token * CACHE_TOKENS) / 10 * 11;
        r->fits = r->needs <= m->memory_free;
        r->tokens_s = m->read_bps * 0.8 / ((double)c->bytes * c->active / c->params);
    }
    *rows = table;
    return NMODELS;
}

const struct fit_row *fit_best(const struct fit_machine *m)
{
    const struct fit_row *rows;
    size_t n = fit_rows(m, &rows);
    for (size_t i = 0; i < n; i++)
        if (rows[i].fits && rows[i].tokens_s >= USEFUL_TPS)
            return &rows[i];
    return NULL;
}

void fit_text(const struct fit_machine *m, struct buf *out)
{
    const struct fit_row *rows;
    size_t n = fit_rows(m, &rows);
    buf_printf(out, "%s, %d threads, %s kernels\n", m->cpu, m->threads, m->kernels);
    buf_printf(out, "memory %.1f GB, free %.1f GB; reads %.1f GB/s (measured now)\n\n",
               (double)m->memory_total / 1e9, (double)m->memory_free / 1e9, m->read_bps / 1e9);
    buf_printf(out, "%-16s %-8s %8s %10s  %s\n", "model", "quant", "needs", "about", "good for");
    for (size_t i = 0; i < n; i++) {
        const struct fit_model *c = rows[i].model;
        char speed[32];
        if (rows[i].fits)
            snprintf(speed, sizeof speed, "%.0f tok/s", rows[i].tokens_s);
        else
            snprintf(speed, sizeof speed, "too large");
        buf_printf(out, "%-16s %-8s %5.1f GB %10s  %s\n", c->name, c->quant,
                   (double)rows[i].needs / 1e9, speed, c->good_for);
    }
    buf_puts(
        out,
        "\nNeeds: weights and 8,192 tokens of context. Speeds are estimates from bandwidth; a\n"
        "family that weir's own engine does not open runs in a server of yours beside it.\n");
}

void fit_json(const struct fit_machine *m, struct buf *out)
{
    const struct fit_row *rows;
    size_t n = fit_rows(m, &rows);
    buf_puts(out, "{\"cpu\":");
    buf_json_str(out, str_of(m->cpu));
    buf_printf(out,
               ",\"threads\":%d,\"kernels\":\"%s\",\"memory_total\":%llu,\"memory_free\":%llu,"
               "\"read_bytes_s\":%.0f,\"models\":[",
               m->threads, m->kernels, (unsigned long long)m->memory_total,
               (unsigned long long)m->memory_free, m->read_bps);
    for (size_t i = 0; i < n; i++) {
        buf_printf(out,
                   "%s{\"name\":\"%s\",\"quant\":\"%s\",\"needs\":%llu,\"fits\":%s,"
                   "\"tokens_s\":%.1f,\"good_for\":\"%s\"}",
                   i ? "," : "", rows[i].model->name, rows[i].model->quant,
                   (unsigned long long)rows[i].needs, rows[i].fits ? "true" : "false",
                   rows[i].tokens_s, rows[i].model->good_for);
    }
    buf_puts(out, "]}");
}
