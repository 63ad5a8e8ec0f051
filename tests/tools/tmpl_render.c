/* tmpl_render.c: TEMPLATE VARS.json [BOS EOS NOW_MS]: the rendered text on standard output, as the
 * differential test compares it; with --runs before, outside ranges stand between \x01 and \x02. */
#include "tmpl.h"

#include "str.h"

#include <stdio.h>
#include <stdlib.h>

static int read_file(const char *path, struct buf *out)
{
    char block[4096];
    size_t n;
    FILE *f = fopen(path, "rb");
    if (!f)
        return -1;
    while ((n = fread(block, 1, sizeof block, f)) > 0)
        buf_add(out, block, n);
    fclose(f);
    return buf_failed(out) ? -1 : 0;
}

static void print_runs(const struct tmpl_out *o)
{
    for (size_t i = 0; i < o->nruns; i++) {
        const struct tmpl_run *r = &o->runs[i];
        if (r->untrusted)
            putchar(1);
        fwrite(o->text.p + r->from, 1, r->to - r->from, stdout);
        if (r->untrusted)
            putchar(2);
    }
}

int main(int argc, char **argv)
{
    bool runs = argc > 1 && str_is(str_of(argv[1]), "--runs");
    argv += runs;
    argc -= runs;
    struct buf source = BUF_INIT(1 << 24), vars = BUF_INIT(1 << 26);
    if (argc < 3 || read_file(argv[1], &source) || read_file(argv[2], &vars)) {
        fprintf(stderr, "usage: tmpl_render [--runs] TEMPLATE VARS.json [BOS EOS NOW_MS]\n");
        return 2;
    }
    struct tmpl *t = NULL;
    struct tmpl_out out;
    struct err e = {0};
    tmpl_out_init(&out, 1 << 26);
    int rc = tmpl_parse(buf_str(&source), &t, &e);
    if (!rc)
        rc = tmpl_render_json(t, buf_str(&vars), str_of(argc > 3 ? argv[3] : "<s>"),
                              str_of(argc > 4 ? argv[4] : "</s>"), argc > 5 ? atoll(argv[5]) : 0,
                              &out, &e);
    if (rc)
        fprintf(stderr, "%s: %s\n", err_name(rc), err_msg(&e));
    else if (runs)
        print_runs(&out);
    else if (out.text.n)
        fwrite(out.text.p, 1, out.text.n, stdout);
    tmpl_out_done(&out);
    tmpl_free(t);
    buf_done(&source);
    buf_done(&vars);
    return rc ? 1 : 0;
}
