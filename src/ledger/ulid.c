/* ulid.c: names of rows, and the calendar.
 *
 * An id is a ULID: 48 bits of milliseconds and 80 random bits in Crockford's base 32, so ids sort
 * by time and two processes never make the same (https://github.com/ulid/spec). */
#include "ledger.h"

#include "clock.h"

#include <errno.h>
#include <sys/random.h>
#include <time.h>

static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

int ledger_id(char out[static LEDGER_ID_MAX], struct err *e)
{
    uint8_t random[10];
    if (getentropy(random, sizeof random) < 0)
        return err_set(e, ERR_IO, "no random bytes: %s", strerror(errno));
    unsigned __int128 bits = (unsigned __int128)(uint64_t)clock_wall_ms() & 0xffffffffffffu;
    for (size_t i = 0; i < sizeof random; i++)
        bits = bits << 8 | random[i];
    for (int i = LEDGER_ID_MAX - 2; i >= 0; i--) {
        out[i] = digits[(unsigned)bits & 31];
        bits >>= 5;
    }
    out[LEDGER_ID_MAX - 1] = '\0';
    return 0;
}

int ledger_date(struct str text, int64_t *ms, struct err *e)
{
    struct str y, m, d, rest;
    uint64_t year, month, day;
    bool ok = text.n == 10 && str_cut(text, '-', &y, &rest) && str_cut(rest, '-', &m, &d) &&
              m.n == 2 && d.n == 2 && str_to_u64(y, &year) && str_to_u64(m, &month) &&
              str_to_u64(d, &day);
    if (ok && year >= 1970 && month >= 1 && month <= 12 && day >= 1 && day <= 31) {
        struct tm tm = {.tm_year = (int)year - 1900, .tm_mon = (int)month - 1, .tm_mday = (int)day};
        time_t t = timegm(&tm);
        /* timegm turns the 31st of April into the 1st of May: then the day has changed. */
        if (tm.tm_mday == (int)day) {
            *ms = (int64_t)t * 1000;
            return 0;
        }
    }
    return err_set(e, ERR_FORMAT, "'%.*s' is not a date (YYYY-MM-DD)", STR_ARG(text));
}

int64_t ledger_month_start(int64_t ms)
{
    struct tm tm;
    time_t t = (time_t)(ms / 1000);
    if (ms < 0 || !gmtime_r(&t, &tm))
        return 0;
    struct tm first = {.tm_year = tm.tm_year, .tm_mon = tm.tm_mon, .tm_mday = 1};
    return (int64_t)timegm(&first) * 1000;
}
