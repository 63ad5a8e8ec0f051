/* quality.h: how capable a provider's model is, on the scale of route's difficulty_int.h (0 to 10).
 * Rough, dated and meant to be replaced by what is measured on the user's own work. */
#ifndef WEIR_QUALITY_H
#define WEIR_QUALITY_H

#include "str.h"

struct quality {
    double score;  /* < 0: unknown */
    double params; /* read from a name like "qwen3:32b"; 0: none there */
    const char *source;
};

struct quality quality_of(struct str model);

#endif
