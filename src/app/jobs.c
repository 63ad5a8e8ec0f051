/* jobs.c: threads that work on the library, and what is seen of them from the loop. */
#include "jobs.h"

#include "clock.h"
#include "log.h"
#include "models.h"
#include "pulling.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define JOBS_RUNNING 8   /* at once */
#define JOBS_FINISHED 64 /* remembered */

struct job {
    struct job *next;
    struct house *h;
    char *what, *as;
    bool create, kept;
    struct library_recipe recipe;
    int holds;
    bool joined;
    atomic_bool cancelled;
    pthread_t thread;
    pthread_mutex_t lock; /* of view */
    struct job_view view;
    uint64_t before; /* bytes of the files that came before the one under way */
    char last[256];
};

/* ---- on the job's thread ---- */

static void copy(char *to, size_t max, const char *from)
{
    size_t n = strlen(from);
    n = n < max ? n : max - 1;
    memcpy(to, from, n);
    to[n] = '\0';
}

static int on_progress(void *ctx, const struct library_progress *p)
{
    struct job *j = ctx;
    pthread_mutex_lock(&j->lock);
    struct job_view *v = &j->view;
    if (p->phase == LIBRARY_FETCHING) {
        if (strcmp(j->last, p->file) != 0)
            j->before = v->bytes;
        copy(j->last, sizeof j->last, p->file);
        v->bytes = j->before + p->done;
    }
    v->phase = p->phase;
    copy(v->model, sizeof v->model, p->model);
    copy(v->file, sizeof v->file, p->file);
    copy(v->digest, sizeof v->digest, p->digest);
    v->done = p->done;
    v->total = p->total;
    pthread_mutex_unlock(&j->lock);
    return atomic_load(&j->cancelled) ? ERR_CANCELLED : 0;
}

static int work(struct job *j, const struct library *l, struct err *e)
{
    struct library_watch watch = {on_progress, j};
    if (j->create)
        return library_create(l, j->what, &j->recipe, &watch, NULL, e);
    return library_pull(l, j->what, j->as, &watch, NULL, e);
}

static void finished(void *ctx);

static void *run(void *ctx)
{
    struct job *j = ctx;
    struct library_fetch fetch = pulling_way_out(j->h->egress);
    struct library_params p = pulling_params(j->h->s, &fetch);
    struct library *l = NULL;
    struct err e = {0};
    int rc = library_open(&p, &l, &e);
    if (rc == 0)
        rc = work(j, l, &e);
    library_free(l);
    pthread_mutex_lock(&j->lock);
    j->view.state = rc ? JOB_FAILED : JOB_DONE;
    j->view.err = e;
    j->view.ended_ms = clock_wall_ms();
    pthread_mutex_unlock(&j->lock);
    net_post(j->h->loop, finished, j);
    return NULL;
}

/* ---- on the loop ---- */

static void job_free(struct job *j)
{
    for (size_t i = 0; i < j->recipe.nfiles; i++) {
        free((char *)j->recipe.files[i].name);
        free((char *)j->recipe.files[i].digest);
    }
    free((void *)j->recipe.files);
    library_recipe_done(&j->recipe);
    pthread_mutex_destroy(&j->lock);
    free(j->what);
    free(j->as);
    free(j);
}

/* Finished ones that nobody holds, but for the latest. */
static void forget(struct house *h)
{
    int n = 0;
    for (struct job **at = &h->jobs; *at;) {
        struct job *j = *at;
        if (!j->joined || j->holds || (j->kept && n++ < JOBS_FINISHED)) {
            at = &j->next;
            continue;
        }
        *at = j->next;
        job_free(j);
    }
}

static void finished(void *ctx)
{
    struct job *j = ctx;
    pthread_join(j->thread, NULL);
    j->joined = true;
    if (j->view.state == JOB_FAILED)
        log_info("%s %s: %s", j->create ? "making" : "pulling", j->what, err_msg(&j->view.err));
    models_refresh(j->h->models);
    forget(j->h);
}

static int running(const struct house *h)
{
    int n = 0;
    for (const struct job *j = h->jobs; j; j = j->next)
        n += !j->joined;
    return n;
}

static int start(struct house *h, struct job *j, struct err *e)
{
    if (!j->what || (j->as == NULL && j->create))
        return err_set(e, ERR_NOMEM, "out of memory");
    if (running(h) >= JOBS_RUNNING)
        return err_set(e, ERR_OVERLOAD, "%d models are being fetched already", JOBS_RUNNING);
    j->view.number = ++h->job_number;
    j->view.began_ms = clock_wall_ms();
    j->view.phase = LIBRARY_LISTING;
    if (pthread_create(&j->thread, NULL, run, j) != 0)
        return err_set(e, ERR_OVERLOAD, "no thread is left to fetch a model with");
    j->next = h->jobs;
    h->jobs = j;
    return 0;
}

static struct job *job_new(struct house *h, struct str what)
{
    struct job *j = calloc(1, sizeof *j);
    if (!j)
        return NULL;
    j->h = h;
    j->what = strndup(what.p, what.n);
    j->holds = 1;
    pthread_mutex_init(&j->lock, NULL);
    atomic_init(&j->cancelled, false);
    return j;
}

static struct job *same_pull(struct house *h, struct str what, struct str as)
{
    for (struct job *j = h->jobs; j; j = j->next)
        if (!j->joined && !j->create && !atomic_load(&j->cancelled) && str_is(what, j->what) &&
            str_is(as, j->as ? j->as : ""))
            return j;
    return NULL;
}

int job_pull(struct house *h, struct str what, struct str as, struct job **out, struct err *e)
{
    struct job *j = same_pull(h, what, as);
    if (memchr(what.p, 0, what.n) || (as.n && memchr(as.p, 0, as.n)))
        return err_set(e, ERR_INVAL, "a model's name holds no NUL");
    if (j) {
        j->holds++;
        *out = j;
        return 0;
    }
    if (!(j = job_new(h, what)))
        return err_set(e, ERR_NOMEM, "out of memory");
    j->as = as.n ? strndup(as.p, as.n) : NULL;
    int rc = start(h, j, e);
    if (rc)
        job_free(j);
    else
        *out = j;
    return rc;
}

int job_create(struct house *h, struct str name, struct library_recipe *recipe, struct job **out,
               struct err *e)
{
    struct job *j = job_new(h, name);
    if (!j) {
        library_recipe_done(recipe);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    j->create = true;
    j->as = strdup("");
    j->recipe = *recipe;
    *recipe = (struct library_recipe){0};
    int rc = start(h, j, e);
    if (rc)
        job_free(j);
    else
        *out = j;
    return rc;
}

void job_view(struct job *j, struct job_view *out)
{
    pthread_mutex_lock(&j->lock);
    *out = j->view;
    pthread_mutex_unlock(&j->lock);
}

struct job *job_find(struct house *h, unsigned long long number)
{
    for (struct job *j = h->jobs; j; j = j->next)
        if (j->view.number == number)
            return j;
    return NULL;
}

void job_keep(struct job *j)
{
    j->kept = true;
}

void job_drop(struct job *j)
{
    if (!j)
        return;
    struct house *h = j->h;
    if (--j->holds == 0 && !j->kept)
        atomic_store(&j->cancelled, true);
    forget(h);
}

void jobs_end(struct house *h)
{
    for (struct job *j = h->jobs; j; j = j->next)
        atomic_store(&j->cancelled, true);
    while (h->jobs) {
        struct job *j = h->jobs;
        if (!j->joined)
            pthread_join(j->thread, NULL);
        h->jobs = j->next;
        job_free(j);
    }
}
