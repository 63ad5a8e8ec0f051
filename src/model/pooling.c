/* pooling.c: from a row for each token of a text to one row for the text.
 *
 * A mean is summed in the order of the tokens, in double precision, so that it is the same however
 * a text was cut into batches. Called by engine/. */
#include "model_int.h"

enum model_pooling model_pooling(const struct model *m)
{
    int32_t p = m->b.pooling;
    return p >= MODEL_POOL_MEAN && p <= MODEL_POOL_RANK ? (enum model_pooling)p : MODEL_POOL_MEAN;
}

void model_pool(enum model_pooling p, bool first, const float *rows, size_t stride, size_t n,
                size_t width, double *sum)
{
    if (n == 0 || (p == MODEL_POOL_CLS && !first))
        return;
    const float *row = p == MODEL_POOL_LAST ? rows + (n - 1) * stride : rows;
    bool replace = p != MODEL_POOL_MEAN || first;
    for (size_t d = 0; d < width; d++)
        sum[d] = replace ? (double)row[d] : sum[d] + (double)row[d];
    for (size_t i = 1; p == MODEL_POOL_MEAN && i < n; i++)
        for (size_t d = 0; d < width; d++)
            sum[d] += (double)rows[i * stride + d];
}

void model_pool_end(enum model_pooling p, const double *sum, size_t n, size_t width, float *out)
{
    double divisor = p == MODEL_POOL_MEAN ? (double)n : 1.0;
    for (size_t d = 0; d < width; d++)
        out[d] = (float)(sum[d] / divisor);
}
