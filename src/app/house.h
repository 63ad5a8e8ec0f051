/* house.h: everything one process holds while it owns $WEIR_HOME, and the loop's thread that runs
 * it. */
#ifndef WEIR_HOUSE_H
#define WEIR_HOUSE_H

#include "egress.h"
#include "fit.h"
#include "ledger.h"
#include "net.h"
#include "privacy.h"
#include "provider.h"
#include "settings.h"
#include "store.h"

struct models;
struct keys;
struct job;
struct flow;

struct house {
    const struct settings *s;
    struct store_lock *lock;
    struct store *store;
    struct ledger *ledger;
    struct net_loop *loop;
    struct egress *egress;
    struct provider_table *providers;
    struct models *models;
    struct job *jobs; /* pulls and the like */
    unsigned long long job_number;
    struct keys *keys;          /* who may call */
    struct fit_machine machine; /* its bandwidth gives the speeds that nobody measured yet */
    struct net_timer *learning; /* while a server does not know it */
    double learned_bps;         /* written by the worker that measures */

    struct privacy_rules *rules;
    struct privacy_settings privacy;
    struct privacy_taint *taint;

    struct net_server *tcp, *local; /* tcp: NULL unless serving; local: the Unix socket */
    char address[512];              /* "http://127.0.0.1:9347/"; empty: not serving */
    char **origins, **hosts;        /* NULL-terminated */

    struct flow *flows;
    int nflows;
    bool stopping;
    struct net_timer *deadline;
};

/* Take the home (ERR_BUSY: another process owns it) and open all rooms. serve: listen on the TCP
 * port too. The settings must outlive it. */
int house_new(const struct settings *s, bool serve, struct house **out, struct err *e);
/* Run the loop on this thread until house_stop. */
void house_run(struct house *h);
/* Any thread: stop accepting, drain for at most 30 s, then end the loop. A second call ends open
 * streams now. */
void house_stop(struct house *h);
/* On the loop: a request has ended; a stopping house may now be empty. */
void house_flow_ended(struct house *h);
void house_free(
    struct house *h); /* after house_run has returned, or was never called; NULL is fine */

#endif
