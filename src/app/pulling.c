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
                             .offset = g->offset,
                             .if_range = g->if_range,
                             .head = g->head,
                             .data = g->data,
                             .ctx = g->sink};
    return egress_fetch(ctx, &f, &status, e);
}

static int note_child(void *ctx, const char *what, struct err *e)
{
    return egress_note_child(ctx, "pull", what, e);
}

/* ---- progress ---- */

struct bar {
    bool tty, quiet;
    uint64_t began_ns, shown_ns, began_at;
    enum library_phase phase;
    bool any;
};

static volatile sig_atomic_t stopped;

static void on_interrupt(int sig)
{
    stopped = sig;
}

static const char *phase_name(enum library_phase p)
{
    static const char *const names[] = {"waiting", "fetching", "unpacking", "copying", "verifying"};
    return names[p];
}

static void draw(const struct bar *b, uint64_t done, uint64_t total, uint64_t now)
{
    double seconds = (double)(now - b->began_ns) / 1e9;
    double rate = seconds > 0.2 ? (double)(done - b->began_at) / seconds : 0;
    fprintf(stderr, "%s%-9s ", b->tty ? "\r" : "", phase_name(b->phase));
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

static int on_progress(void *ctx, enum library_phase phase, uint64_t done, uint64_t total)
{
    struct bar *b = ctx;
    uint64_t now = clock_mono_ns();
    if (stopped)
        return 1;
    if (!b->any || phase != b->phase || done < b->began_at) {
        if (b->any && b->tty && !b->quiet)
            fputc('\n', stderr);
        b->phase = phase;
        b->began_ns = now;
        b->began_at = done;
        b->shown_ns = 0;
    }
    b->any = true;
    uint64_t every = b->tty ? 100000000u : 3000000000u;
    bool due = b->shown_ns ? now - b->shown_ns > every : b->tty;
    if (!b->shown_ns && !b->tty)
        b->shown_ns = now;
    if (!b->quiet && due) {
        draw(b, done, total, now);
        b->shown_ns = now;
    }
    return 0;
}

/* ---- */

static int open_library(const struct settings *s, const struct library_fetch *fetch,
                        struct library **out, struct err *e)
{
    struct library_params p = {
        .home = s->home, .local_dir = settings_pair(s, "library", "dir"), .fetch = fetch};
    return library_open(&p, out, e);
}

int pulling_path(const struct settings *s, const char *name, char **path, struct err *e)
{
    struct library *l = NULL;
    struct library_item it;
    int rc = open_library(s, NULL, &l, e);
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

int pulling_fetch(const struct settings *s, const char *what, struct library_item *out,
                  struct err *e)
{
    struct egress *eg = NULL;
    struct library *l = NULL;
    struct library_item it;
    struct bar bar = {.tty = isatty(STDERR_FILENO), .quiet = s->quiet};
    struct library_watch watch = {on_progress, &bar};
    struct egress_params p = {.home = s->home, .offline = s->offline};
    struct sigaction act = {.sa_handler = on_interrupt}, old;
    int rc = egress_new(&p, &eg, e);
    struct library_fetch fetch = {get, note_child, eg};
    if (rc == 0)
        rc = open_library(s, &fetch, &l, e);
    sigaction(SIGINT, &act, &old);
    if (rc == 0)
        rc = library_pull(l, what, NULL, &watch, &it, e);
    sigaction(SIGINT, &old, NULL);
    if (bar.any && bar.tty && !bar.quiet)
        fputc('\n', stderr);
    if (rc == 0) {
        if (!s->quiet)
            fprintf(stderr, "%s is ready (%.1f MB, sha256 %.12s…)\n", it.name,
                    (double)it.size / 1e6, it.sha256);
        if (out)
            *out = it;
        else
            library_item_done(&it);
    }
    library_free(l);
    egress_free(eg);
    return rc;
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
