/* delta_int.h: the weights of a gated delta net layer (delta.c). */
#ifndef WEIR_DELTA_INT_H
#define WEIR_DELTA_INT_H

#include "model_int.h"

struct delta {
    struct linear qkv;  /* rows: queries, keys, values before the convolution */
    struct linear gate; /* what the output is multiplied by */
    /* Of each value head a row for its decay and one for how far it learns. beta.w.rows 0: alpha
     * holds both, in groups of the value heads of one key head: betas, then alphas. */
    struct linear alpha, beta;
    const float *conv; /* [channels][width] */
    const float *a, *dt, *norm;
    bool grouped; /* the value heads of one key head stand together; else they are strided */
};

#endif
