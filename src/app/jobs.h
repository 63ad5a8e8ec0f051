/* jobs.h: long work on the library while the server serves: pulling and making models, each on a
 * thread of its own (they block for minutes, and would starve the workers that requests need).
 *
 * Everything here is called on the loop. Two askers for the same pull share one job; it is
 * cancelled when the last of them has let go, unless it was told to go on. */
#ifndef WEIR_JOBS_H
#define WEIR_JOBS_H

#include "house.h"
#include "library.h"

struct job;

enum job_state { JOB_RUNNING, JOB_DONE, JOB_FAILED };

struct job_view {
    enum job_state state;
    enum library_phase phase;
    char model[256], file[256], digest[65];
    uint64_t done, total;       /* of the file under way */
    uint64_t bytes;             /* fetched by this job so far, of all files */
    int64_t began_ms, ended_ms; /* wall clock */
    unsigned long long number;  /* the job's, from 1 */
    struct err err;             /* JOB_FAILED */
};

/* what and as: library_pull's. ERR_OVERLOAD: too many are running. */
int job_pull(struct house *h, struct str what, struct str as, struct job **out, struct err *e);
/* Takes the recipe over, whatever comes of it; its files too, which must be malloc'd. */
int job_create(struct house *h, struct str name, struct library_recipe *recipe, struct job **out,
               struct err *e);
void job_view(struct job *j, struct job_view *out);
struct job *job_find(struct house *h,
                     unsigned long long number); /* NULL: forgotten, or never was */
void job_keep(struct job *j);                    /* it goes on though nobody holds it */
void job_drop(struct job *j); /* of what job_pull and job_create gave; NULL is fine */
/* The server stops: all are cancelled and waited for. */
void jobs_end(struct house *h);

#endif
