/* difficulty_int.h: P(this model suffices | request, facts of the model). One honest guess in one
 * file.
 *
 * The scale is 0 to 10 for both sides. A request of difficulty d is one that a model of capability
 * d does well enough about half the time. 2 is about what a 135M model is good for (say a sentence
 * again, name a capital), 6 an 8B, 8 a 70B, 9.5 the best that can be rented. */
#ifndef WEIR_DIFFICULTY_H
#define WEIR_DIFFICULTY_H

#include "route.h"

/* From the number of parameters; 0 (unknown) gives 5. */
double difficulty_capability(double params);
double difficulty_of(const struct route_request *r);
/* quality < 0: from params. */
double difficulty_suffices(const struct route_request *r, double quality, double params);

#endif
