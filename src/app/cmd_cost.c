/* cmd_cost.c: weir cost and weir breakeven. Both only read. */
#include "command.h"

#include "breakeven.h"
#include "clock.h"
#include "ledger.h"

#include <math.h>
#include <string.h>

static enum ledger_by grouping(const char *by)
{
    static const char *const names[] = {"day", "month", "model", "provider", "zone"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (by && strcmp(by, names[i]) == 0)
            return (enum ledger_by)i;
    return LEDGER_BY_MODEL;
}

int cmd_cost(const struct settings *s, int argc, char **argv)
{
    struct buf out = BUF_INIT((size_t)64 << 20);
    struct err e = {0};
    struct ledger_query q = {.by = grouping(s->by), .from_ms = ledger_month_start(clock_wall_ms())};
    int rc = 0;
    if (argc)
        return command_usage(command_find("cost"), "no argument is taken");
    if (s->since && *s->since)
        rc = ledger_date(str_of(s->since), &q.from_ms, &e);
    if (rc == 0)
        rc = ledger_report(s->home, &q, s->json, &out, &e);
    if (rc == ERR_NOT_FOUND) {
        buf_clear(&out);
        buf_puts(&out,
                 s->json ? "{\"groups\":[],\"total\":null}\n" : "nothing has been asked yet\n");
        rc = 0;
    }
    int code = rc ? command_fail(&e) : command_print(&out);
    buf_done(&out);
    return code;
}

int cmd_breakeven(const struct settings *s, int argc, char **argv)
{
    if (argc || isnan(s->hardware) || isnan(s->cloud_spend))
        return command_usage(command_find("breakeven"),
                             "--hardware USD and --cloud-spend USD are needed");
    struct breakeven_in in = {.hardware = s->hardware,
                              .cloud_spend = s->cloud_spend,
                              .watts = s->watts,
                              .hours = s->hours,
                              .kwh = s->kwh,
                              .resale = s->resale,
                              .local_share = s->local_share};
    struct breakeven r;
    struct buf out = BUF_INIT(1 << 20);
    struct err e = {0};
    int rc = breakeven(&in, &r, &e);
    if (rc == 0)
        breakeven_print(&in, &r, s->json, &out);
    int code = rc ? command_fail(&e) : command_print(&out);
    buf_done(&out);
    return code;
}
