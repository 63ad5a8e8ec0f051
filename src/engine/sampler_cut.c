/* sampler_cut.c: the samplers that take candidates away: top-p, min-p, typical, top-n-sigma, XTC.
 * Each leaves what it keeps in front, at least one candidate, in an order that is a function of the
 * candidates alone. */
#include "sampler_int.h"

/* Candidates by how far they are behind the first: 16 classes to a unit of logit; what is further
 * behind than the last class shares it. */
#define CLASSES 512

static size_t class_of(float logit, float most)
{
    float behind = (most - logit) * 16.0f;
    return behind < (float)(CLASSES - 1) ? (size_t)behind : CLASSES - 1; /* a NaN: the last */
}

/* The first of the order that reach the mass p of the whole, brought to the front; how many. Masses
 * are added by class, so only the class in which p is reached has to be sorted. */
size_t cut_top_p(struct sampler *s, struct candidate *c, size_t n, float p)
{
    double mass[CLASSES] = {0}, sum, before_it = 0;
    float most = cand_largest(c, n), *w = s->weights;
    sum = cand_weigh(c, n, most, 1.0f, w);
    for (size_t i = 0; i < n; i++)
        mass[class_of(c[i].logit, most)] += (double)w[i];
    size_t last = 0, kept = 0, tied = 0;
    while (last < CLASSES - 1 && before_it + mass[last] < (double)p * sum)
        before_it += mass[last++];
    for (size_t i = 0; i < n; i++)
        if (class_of(c[i].logit, most) < last)
            c[kept++] = c[i];
        else if (class_of(c[i].logit, most) == last)
            s->aside[tied++] = c[i];
    cand_select(s->aside, tied, tied);
    cand_weigh(s->aside, tied, most, 1.0f, w);
    for (size_t i = 0; i < tied; i++) {
        c[kept++] = s->aside[i];
        before_it += (double)w[i];
        if (before_it >= (double)p * sum)
            break;
    }
    return kept;
}

size_t cut_min_p(struct candidate *c, size_t n, float min_p)
{
    double least = (double)cand_largest(c, n) + log((double)min_p);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if ((double)c[i].logit >= least)
            c[kept++] = c[i];
    return kept;
}

/* ---- typical (Meister et al., 2023): those whose surprise is nearest to the expected one ---- */

/* A heap with the least on top: the distance in logit, then the id. */
static bool nearer(struct candidate a, struct candidate b)
{
    return a.logit < b.logit || (a.logit == b.logit && a.id < b.id);
}

static void sink(struct candidate *h, float *w, size_t n, size_t i)
{
    for (;;) {
        size_t least = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < n; child++)
            if (nearer(h[child], h[least]))
                least = child;
        if (least == i)
            return;
        struct candidate t = h[i];
        float tw = w[i];
        h[i] = h[least], w[i] = w[least];
        h[least] = t, w[least] = tw;
        i = least;
    }
}

/* The heap holds distances; a candidate's own logit is found again from its weight. */
size_t cut_typical(struct sampler *s, struct candidate *c, size_t n, float p)
{
    float most = cand_largest(c, n), *w = s->weights;
    double sum = cand_weigh(c, n, most, 1.0f, w), entropy = 0, mass = 0;
    for (size_t i = 0; i < n; i++)
        if (w[i] > 0)
            entropy -= (double)w[i] / sum * log((double)w[i] / sum);
    size_t held = 0, kept = 0;
    for (size_t i = 0; i < n; i++)
        if (w[i] > 0) {
            float distance = (float)fabs(-log((double)w[i] / sum) - entropy);
            s->aside[held] = (struct candidate){distance, (int32_t)i};
            w[held++] = w[i];
        }
    for (size_t i = held / 2; i-- > 0;)
        sink(s->aside, w, held, i);
    while (held > 0 && (kept == 0 || mass < (double)p * sum)) {
        mass += (double)w[0];
        s->places[kept++] = s->aside[0].id;
        s->aside[0] = s->aside[--held];
        w[0] = w[held];
        sink(s->aside, w, held, 0);
    }
    for (size_t i = 0; i < kept; i++)
        s->aside[i] = c[s->places[i]];
    memcpy(c, s->aside, kept * sizeof *c);
    return kept > 0 ? kept : n;
}

/* ---- top-n-sigma (Tang et al., 2024): within n standard deviations of the largest logit ---- */

size_t cut_top_n_sigma(struct candidate *c, size_t n, float sigmas)
{
    double sum = 0, squares = 0, most = (double)cand_largest(c, n);
    size_t count = 0, kept = 0;
    for (size_t i = 0; i < n; i++)
        if (isfinite(c[i].logit)) {
            sum += (double)c[i].logit;
            count++;
        }
    double mean = count ? sum / (double)count : 0;
    for (size_t i = 0; i < n; i++)
        if (isfinite(c[i].logit))
            squares += ((double)c[i].logit - mean) * ((double)c[i].logit - mean);
    double sigma = count ? sqrt(squares / (double)count) : 0;
    for (size_t i = 0; i < n; i++)
        if ((double)c[i].logit >= most - (double)sigmas * sigma)
            c[kept++] = c[i];
    return kept;
}

/* ---- XTC (by P. Weidmann): exclude the top choices, all but the last of the likely ones ---- */

size_t cut_xtc(struct sampler *s, struct candidate *c, size_t n, float probability, float threshold,
               double u)
{
    if (u >= (double)probability || threshold > 0.5f)
        return n;
    float *w = s->weights;
    double sum = cand_weigh(c, n, cand_largest(c, n), 1.0f, w);
    size_t likely = 0, last = 0, kept = 0;
    for (size_t i = 0; i < n; i++)
        if ((double)w[i] >= (double)threshold * sum) {
            last = likely == 0 || cand_before(c[last], c[i]) ? i : last;
            likely++;
        }
    if (likely < 2)
        return n;
    for (size_t i = 0; i < n; i++)
        if (i == last || (double)w[i] < (double)threshold * sum)
            c[kept++] = c[i];
    return kept;
}
