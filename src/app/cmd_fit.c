/* cmd_fit.c: weir fit. */
#include "command.h"
#include "fit.h"

int cmd_fit(const struct settings *s, int argc, char **argv)
{
    struct fit_machine m;
    struct buf b = BUF_INIT(1 << 20);
    fit_measure((int)s->threads, false, &m);
    if (s->json)
        fit_json(&m, &b);
    else
        fit_text(&m, &b);
    int rc = command_print(&b);
    buf_done(&b);
    return rc;
}
