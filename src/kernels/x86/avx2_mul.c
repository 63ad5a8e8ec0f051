/* avx2_mul.c: chooses how a matrix is multiplied: floats, few columns or many. Called through the
 * table alone. */
#include "avx2_quant_int.h"

size_t avx2_mul_scratch(enum kern_type type, size_t n, size_t k)
{
    (void)k;
    return type_act(type) == ACT_FLOAT || n <= FEW ? 64 : avx2_many_scratch(n);
}

void avx2_mul(const struct kern_mul *m)
{
    enum act_kind kind = type_act(m->w->type);
    if (kind == ACT_FLOAT)
        avx2_mul_float(m);
    else if (m->n > FEW)
        avx2_many(m);
    else if (kind == ACT_32)
        avx2_few32(m);
    else
        avx2_few256(m);
}
