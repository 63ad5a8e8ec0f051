/* breakeven.h: after how many months a machine has paid for itself. Pure arithmetic over what the
 * user says; dollars as doubles, since these are estimates and not the books. */
#ifndef WEIR_BREAKEVEN_H
#define WEIR_BREAKEVEN_H

#include "buf.h"
#include "err.h"

struct breakeven_in {
    double hardware;    /* price of the machine */
    double cloud_spend; /* what the cloud costs a month today */
    double watts;       /* drawn while it works; 0: not counted */
    double hours;       /* it works so many a day; usually 8 */
    double kwh;         /* price of a kilowatt-hour */
    double resale;      /* what the machine will sell for */
    double local_share; /* of the cloud spend that local models take over, 0 to 1 */
};

struct breakeven {
    bool never;
    double months;      /* 0 when never */
    double net;         /* hardware - resale */
    double saved;       /* of the cloud spend, a month */
    double electricity; /* a month of 365.25 / 12 days */
    double monthly;     /* saved - electricity */
    double cloud_left;  /* what still goes to the cloud a month */
};

/* ERR_INVAL names the figure that is negative, not finite or out of range. */
int breakeven(const struct breakeven_in *in, struct breakeven *out, struct err *e);
/* A few lines for a person, or one JSON object; with the reason when it is never. Appends. */
void breakeven_print(const struct breakeven_in *in, const struct breakeven *r, bool json,
                     struct buf *out);

#endif
