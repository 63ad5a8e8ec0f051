/* sampler_int.h: private to the sampler's files: the candidates, their order and their weights. */
#ifndef WEIR_SAMPLER_INT_H
#define WEIR_SAMPLER_INT_H

#include "engine_int.h"

#include <math.h>
#include <string.h>

#define LANES 16 /* loops of this fixed length become vector code */

/* ---- sampler_set.c ---- */
/* The sampler's order: is a before b? A NaN is behind everything. */
bool cand_before(struct candidate a, struct candidate b);
float cand_largest(const struct candidate *c, size_t n);
/* Bring the first k of c[0..n) to c[0..k) in order. */
void cand_select(struct candidate *c, size_t n, size_t k);
/* w[i] = exp((logit - most) / temperature) of n candidates, padded with zeros to whole blocks of
 * LANES; their sum. */
double cand_weigh(const struct candidate *c, size_t n, float most, float temperature, float *w);
double block_sum(const float *x); /* of LANES */

/* ---- sampler_penalty.c: what the past does to the logits, all candidates in order of id ---- */
bool penalty_repeats(const struct engine_sampling *p);
bool penalty_dry(const struct engine_sampling *p);
void penalty_apply(struct sampler *s, const struct engine_sampling *p,
                   const struct sampler_past *past);
void penalty_apply_dry(struct sampler *s, const struct engine_sampling *p,
                       const struct sampler_past *past);

/* ---- sampler_cut.c: each leaves the kept candidates in front and says how many ---- */
size_t cut_top_p(struct sampler *s, struct candidate *c, size_t n, float p);
size_t cut_min_p(struct candidate *c, size_t n, float min_p);
size_t cut_typical(struct sampler *s, struct candidate *c, size_t n, float p);
size_t cut_top_n_sigma(struct candidate *c, size_t n, float sigmas);
/* u: the draw that decides whether anything is cut. */
size_t cut_xtc(struct sampler *s, struct candidate *c, size_t n, float probability, float threshold,
               double u);

#endif
