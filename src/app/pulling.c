/* pulling.c: models by name for commands without the server, and the progress bar of a pull. */
#include "pulling.h"

#include "clock.h"
#include "egress.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BAR 30

/* ---- the library's downloads through the one way out ---- */

static int get(void *ctx, const struct library_get *g, struct err *e)
{
    int status = 0;
    struct egress_fetch f = {.url = g->url,
                             .rule = "pull",
                             .headers = g->headers,
                             .offset = g->offset,
                             .length = g->length,
                             .if_range = g->if_range,
                             .link = g->link,
                             .tick = g->tick,
                             .head = g->head,
                             .data = g->data,
                             .ctx = g->sink};
    return egress_fetch(ctx, &f, &status, e);
}

static int note_child(void *ctx, const char *what, struct err *e)
{
    return egress_note_child(ctx, "pull", what, e);
}

struct library_fetch pulling_way_out(struct egress *eg)
{
    return (struct library_fetch){get, note_child, eg};
}

struct library_params pulling_params(const struct settings *s, const struct library_fetch *fetch)
{
    return (struct library_params){.home = s->home,
                                   .local_dir = settings_pair(s, "library", "dir"),
                                   .fetch = fetch,
                                   .registry = s->registry,
                                   .hub = s->hub,
                                   .hub_token = getenv("HF_TOKEN"),
                                   .user_home = s->other_stores ? getenv("HOME") : NULL,
                                   .ollama_models =
                                       s->other_stores ? getenv("OLLAMA_MODELS") : NULL};
}

/* ---- progress ---- */

struct bar {
    bool tty, quiet;
    uint64_t began_ns, shown_ns, began_at;
    enum library_phase phase;
    char file[64]; /* what the line under way is of */
    bool any;
};

static volatile sig_atomic_t stopped;

static void on_interrupt(int sig)
{
    stopped = sig;
}

static const char *phase_name(enum library_phase p)
{
    static const char *const names[] = {"waiting",   "fetching", "unpacking", "copying",
                                        "verifying", "asking",   "installing"};
    return names[p];
}

/* The end of a long name tells more than its beginning. */
static const char *tail(const char *name, size_t n)
{
    size_t have = strlen(name);
    const char *p = have > n ? name + have - n : name;
    while (((unsigned char)*p & 0xC0) == 0x80) /* not into the middle of a character */
        p++;
    return p;
}

static void draw(const struct bar *b, uint64_t done, uint64_t total, uint64_t now)
{
    double seconds = (double)(now - b->began_ns) / 1e9;
    double rate = seconds > 0.2 ? (double)(done - b->began_at) / seconds : 0;
    fprintf(stderr, "%s%-9s %s ", b->tty ? "\r" : "", phase_name(b->phase), tail(b->file, 28));
    if (total && b->tty) {
        int full = (int)((double)done / (double)total * BAR);
        for (int i = 0; i < BAR; i++)
            fputc(i < full ? '#' : '.', stderr);
        fputc(' ', stderr);
    }
    fprintf(stderr, "%.1f", (double)done / 1e6);
    if (total)
        fprintf(stderr, " of %.1f", (double)total / 1e6);
    fputs(" MB", stderr);
    if (rate > 0)
        fprintf(stderr, ", %.1f MB/s", rate / 1e6);
    if (rate > 0 && total > done)
        fprintf(stderr, ", %.0f s left", (double)(total - done) / rate);
    fputs(b->tty ? "   " : "\n", stderr);
}

/* A line of its own for each file and phase. */
static void turn_line(struct bar *b, const struct library_progress *p, uint64_t now)
{
    if (b->any && b->tty && !b->quiet)
        fputc('\n', stderr);
    b->phase = p->phase;
    snprintf(b->file, sizeof b->file, "%s", tail(p->file, sizeof b->file - 1));
    b->began_ns = now;
    b->began_at = p->done;
    b->shown_ns = 0;
}

static int on_progress(void *ctx, const struct library_progress *p)
{
    struct bar *b = ctx;
    uint64_t now = clock_mono_ns();
    if (stopped)
        return 1;
    bool other = strcmp(b->file, tail(p->file, sizeof b->file - 1)) != 0;
    if (!b->any || p->phase != b->phase || other)
        turn_line(b, p, now);
    else if (p->done < b->began_at) {
        b->began_at = p->done;
        b->began_ns = now;
    }
    b->any = true;
    uint64_t every = b->tty ? 100000000u : 3000000000u;
    bool over = b->tty && p->total && p->done == p->total;
    bool due = b->shown_ns ? over || now - b->shown_ns > every : b->tty;
    if (!b->shown_ns && !b->tty)
        b->shown_ns = now;
    if (!b->quiet && due) {
        draw(b, p->done, p->total, now);
        b->shown_ns = now;
    }
    return 0;
}

/* ---- */

int pulling_path(const struct settings *s, const char *name, char **path, struct err *e)
{
    struct library_params p = pulling_params(s, NULL);
    struct library *l = NULL;
    struct library_item it;
    int rc = library_open(&p, &l, e);
    if (rc == 0)
        rc = library_find(l, name, &it, e);
    if (rc == 0) {
        *path = strdup(it.path);
        library_item_done(&it);
        if (!*path)
            rc = err_set(e, ERR_NOMEM, "out of memory");
    }
    library_free(l);
    return rc;
}

int pulling_with(const struct settings *s,
                 int (*do_it)(void *ctx, const struct library *l, const struct library_watch *watch,
                              struct err *e),
                 void *ctx, struct err *e)
{
    struct egress *eg = NULL;
    struct library *l = NULL;
    struct bar bar = {.tty = isatty(STDERR_FILENO), .quiet = s->quiet};
    struct library_watch watch = {on_progress, &bar};
    struct egress_params p = {.home = s->home, .offline = s->offline};
    struct sigaction act = {.sa_handler = on_interrupt}, old;
    int rc = egress_new(&p, &eg, e);
    struct library_fetch fetch = pulling_way_out(eg);
    struct library_params params = pulling_params(s, &fetch);
    if (rc == 0)
        rc = library_open(&params, &l, e);
    sigaction(SIGINT, &act, &old);
    if (rc == 0)
        rc = do_it(ctx, l, &watch, e);
    sigaction(SIGINT, &old, NULL);
    if (bar.any && bar.tty && !bar.quiet)
        fputc('\n', stderr);
    library_free(l);
    egress_free(eg);
    return rc;
}

struct pull {
    const char *what;
    struct library_item it;
};

static int do_pull(void *ctx, const struct library *l, const struct library_watch *watch,
                   struct err *e)
{
    struct pull *p = ctx;
    return library_pull(l, p->what, NULL, watch, &p->it, e);
}

int pulling_fetch(const struct settings *s, const char *what, struct library_item *out,
                  struct err *e)
{
    struct pull p = {.what = what};
    int rc = pulling_with(s, do_pull, &p, e);
    if (rc != 0)
        return rc;
    if (!s->quiet)
        fprintf(stderr, "%s is ready (%.1f MB, sha256 %.12s…)\n", p.it.name,
                (double)p.it.size / 1e6, p.it.sha256);
    if (!s->quiet && p.it.note[0])
        fprintf(stderr, "note: %s\n", p.it.note);
    if (out)
        *out = p.it;
    else
        library_item_done(&p.it);
    return 0;
}

int pulling_default(const struct settings *s, struct err *e)
{
    size_t n;
    const char *name = library_catalogue(&n)[0].name;
    char *path = NULL;
    struct err missing;
    int rc = pulling_path(s, name, &path, &missing);
    free(path);
    if (rc == 0)
        return 0;
    fprintf(stderr, "fetching the default model, %s\n", name);
    return pulling_fetch(s, name, NULL, e);
}
