/* breakeven.c: after how many months a machine has paid for itself.
 *
 *   saved    = cloud spend x the share that local models take over
 *   monthly  = saved - electricity
 *   months   = (hardware - resale) / monthly, and never when monthly is not above 0
 *
 * Called by `weir breakeven` and the page. */
#include "breakeven.h"

#include <math.h>

#define DAYS_A_MONTH (365.25 / 12)

static int check(double v, double max, const char *what, struct err *e)
{
    if (isfinite(v) && v >= 0 && v <= max)
        return 0;
    return err_set(e, ERR_INVAL, "%s must be between 0 and %g", what, max);
}

int breakeven(const struct breakeven_in *in, struct breakeven *out, struct err *e)
{
    const struct {
        double v, max;
        const char *what;
    } figures[] = {
        {in->hardware, 1e12, "hardware"},
        {in->cloud_spend, 1e12, "cloud-spend"},
        {in->watts, 1e7, "watts"},
        {in->hours, 24, "hours"},
        {in->kwh, 1e4, "kwh"},
        {in->resale, 1e12, "resale"},
        {in->local_share, 1, "local-share"},
    };
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
        int rc = check(figures[i].v, figures[i].max, figures[i].what, e);
        if (rc)
            return rc;
    }
    struct breakeven r = {0};
    r.net = in->hardware - in->resale;
    r.saved = in->cloud_spend * in->local_share;
    r.cloud_left = in->cloud_spend - r.saved;
    r.electricity = in->watts / 1000 * in->hours * DAYS_A_MONTH * in->kwh;
    r.monthly = r.saved - r.electricity;
    /* A machine that will sell for what it cost is paid for at once, unless it costs every month.
     */
    if (r.net <= 0 && r.monthly >= 0)
        r.months = 0;
    else if (r.monthly <= 0)
        r.never = true;
    else
        r.months = r.net > 0 ? r.net / r.monthly : 0;
    *out = r;
    return 0;
}

static void print_json(const struct breakeven_in *in, const struct breakeven *r, struct buf *out)
{
    buf_printf(out, "{\"never\":%s,\"months\":", r->never ? "true" : "false");
    if (r->never)
        buf_puts(out, "null");
    else
        buf_printf(out, "%.10g", r->months);
    buf_printf(out,
               ",\"hardware\":%.10g,\"resale\":%.10g,\"net\":%.10g,\"cloud_spend\":%.10g,"
               "\"local_share\":%.10g,\"saved_per_month\":%.10g,\"watts\":%.10g,"
               "\"hours_per_day\":%.10g,\"kwh\":%.10g,\"electricity_per_month\":%.10g,"
               "\"net_saved_per_month\":%.10g,\"cloud_left_per_month\":%.10g}\n",
               in->hardware, in->resale, r->net, in->cloud_spend, in->local_share, r->saved,
               in->watts, in->hours, in->kwh, r->electricity, r->monthly, r->cloud_left);
}

/* "15 months", "15.4 months (1.3 years)". */
static void print_months(double months, struct buf *out)
{
    double tenths = round(months * 10) / 10;
    buf_printf(out, tenths == floor(tenths) ? "%.0f month%s" : "%.1f month%s", tenths,
               tenths == 1 ? "" : "s");
    if (months >= 24)
        buf_printf(out, " (%.1f years)", months / 12);
}

static void print_reason(const struct breakeven_in *in, const struct breakeven *r, struct buf *out)
{
    if (r->saved <= 0 && r->electricity <= 0)
        buf_puts(out, "Never: nothing of the cloud's bill is saved.\n");
    else if (r->saved <= 0)
        buf_printf(out,
                   "Never: nothing of the cloud's bill is saved, and electricity costs $%.2f a "
                   "month.\n",
                   r->electricity);
    else
        buf_printf(out,
                   "Never: electricity ($%.2f a month) costs as much as the cloud spend it saves "
                   "($%.2f a month), or more.\n",
                   r->electricity, r->saved);
}

void breakeven_print(const struct breakeven_in *in, const struct breakeven *r, bool json,
                     struct buf *out)
{
    if (json) {
        print_json(in, r, out);
        return;
    }
    if (r->never) {
        print_reason(in, r, out);
    } else {
        buf_puts(out, "Paid for after ");
        print_months(r->months, out);
        buf_puts(out, ".\n");
    }
    buf_printf(out, "  hardware       $%.2f", in->hardware);
    if (in->resale > 0)
        buf_printf(out, " - $%.2f resale = $%.2f", in->resale, r->net);
    buf_printf(out, "\n  cloud saved    $%.2f a month", r->saved);
    if (in->local_share < 1)
        buf_printf(out, " (%.0f %% of $%.2f; $%.2f still goes to the cloud)", in->local_share * 100,
                   in->cloud_spend, r->cloud_left);
    if (r->electricity > 0)
        buf_printf(out, "\n  electricity    $%.2f a month (%.0f W, %g h a day, $%g a kWh)",
                   r->electricity, in->watts, in->hours, in->kwh);
    else
        buf_puts(out, "\n  electricity    not counted (--watts and --kwh)");
    buf_printf(out, "\n  saved in all   %s$%.2f a month\n", r->monthly < 0 ? "-" : "",
               fabs(r->monthly));
}
