/* cmd_serve.c: weir serve. SIGTERM or Ctrl-C drains for 30 s; a second one ends open streams at
 * once. */
#include "command.h"
#include "house.h"

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
