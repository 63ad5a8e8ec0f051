/* cmd_serve.c: weir serve. SIGTERM or Ctrl-C drains for 30 s; a second one ends open streams at
 * once. */
#include "command.h"
#include "house.h"

#include <malloc.h>

/* A server lives for months. What is large is mapped by itself and given back when it is freed,
 * always: left to itself, glibc raises that threshold to the largest block that it saw freed. And
 * few arenas, so that what one worker freed is there for the next. */
#define MAPPED_BYTES (256 << 10)
#define ARENAS 2

static void on_signal(void *ctx, int sig)
{
    fputs("stopping: open answers may finish (again to end them now)\n", stderr);
    house_stop(ctx);
}

int cmd_serve(const struct settings *s, int argc, char **argv)
{
    struct house *h = NULL;
    struct err e = {0};
    if (argc)
        return command_usage(command_find("serve"), "no argument is taken");
    mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES);
    mallopt(M_TRIM_THRESHOLD, 2 * MAPPED_BYTES);
    mallopt(M_ARENA_MAX, ARENAS);
    int rc = house_new(s, true, &h, &e);
    if (rc == 0)
        rc = net_signals(h->loop, on_signal, h, &e);
    if (rc) {
        house_free(h);
        return command_fail(&e);
    }
    printf("weir is ready: %s\n", h->address);
    for (size_t i = 1; i < net_server_listeners(h->tcp); i++) {
        const char *why = net_server_failed_at(h->tcp, i);
        if (why)
            fprintf(stderr, "weir: not listening on %s: %s\n", net_server_address_at(h->tcp, i),
                    why);
        else
            printf("also at %s port %d\n", net_server_address_at(h->tcp, i),
                   net_server_port_at(h->tcp, i));
    }
    fflush(stdout);
    house_run(h);
    house_free(h);
    return EXIT_OK;
}
