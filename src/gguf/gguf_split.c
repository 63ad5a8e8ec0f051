/* gguf_split.c: the parts of a split model made one. Each part is a GGUF of its own and says in
 * split.no, split.count and split.tensors.count which it is, of how many parts, and how many
 * tensors all have together; the first holds the model's values. Refused: parts that contradict
 * their place or each other, and sums that do not come out. */
#include "gguf_int.h"

#include <stdlib.h>

static int read_number(const struct gguf *g, const char *key, uint64_t max, uint64_t *out,
                       struct err *e)
{
    return gguf_find(g, key) ? gguf_get_u64(g, key, max, out, e) : 0;
}

int gguf_split_info(const struct gguf *g, uint32_t *no, uint32_t *count, struct err *e)
{
    uint64_t n = 0, of = 1;
    int rc = read_number(g, "split.count", GGUF_MAX_PARTS, &of, e);
    of = of ? of : 1; /* what some converters write into a whole file */
    if (rc == 0)
        rc = read_number(g, "split.no", of - 1, &n, e);
    if (rc == 0) {
        *no = (uint32_t)n;
        *count = (uint32_t)of;
    }
    return rc;
}

/* A part is what its place asks for. */
static int check_part(const struct gguf *first, const struct gguf *g, uint32_t want, uint32_t count,
                      struct err *e)
{
    uint32_t no, of;
    int rc = gguf_split_info(g, &no, &of, e);
    if (rc != 0)
        return rc;
    if (of != count)
        return err_set(e, ERR_FORMAT, "%s: says it is of %u parts, %s of %u", gguf_path(g), of,
                       gguf_path(first), count);
    if (no != want)
        return err_set(e, ERR_FORMAT, "%s: says it is part %u, and stands as part %u of %u",
                       gguf_path(g), no + 1, want + 1, count);
    return 0;
}

static int add_tensors(struct gguf *first, const struct gguf *g, uint32_t no, struct err *e)
{
    size_t n = first->ntensors + g->ntensors;
    if (n > GGUF_MAX_TENSORS)
        return err_set(e, ERR_TOO_LARGE,
                       "%s: %zu tensors with the parts before, at most %llu are "
                       "read",
                       gguf_path(g), n, (unsigned long long)GGUF_MAX_TENSORS);
    struct gguf_tensor *p = realloc(first->tensors, (n ? n : 1) * sizeof *p);
    if (!p)
        return err_set(e, ERR_NOMEM, "%s: no memory for %zu tensors", gguf_path(g), n);
    first->tensors = p;
    for (size_t i = 0; i < g->ntensors; i++) {
        p[first->ntensors] = g->tensors[i];
        p[first->ntensors++].part = no;
    }
    return 0;
}

static int check_sum(const struct gguf *first, struct err *e)
{
    uint64_t want = first->ntensors;
    int rc = read_number(first, "split.tensors.count", INT32_MAX, &want, e);
    if (rc == 0 && want != first->ntensors)
        return err_set(e, ERR_FORMAT,
                       "%s: its parts hold %zu tensors, split.tensors.count says "
                       "%llu",
                       gguf_path(first), first->ntensors, (unsigned long long)want);
    return rc;
}

int gguf_split_join(struct gguf *first, gguf_part_fn *open_part, void *ctx, struct err *e)
{
    uint32_t no, count;
    int rc = gguf_split_info(first, &no, &count, e);
    if (rc == 0)
        rc = check_part(first, first, 0, count, e);
    if (rc != 0)
        return rc;
    first->parts = calloc(count, sizeof *first->parts);
    if (!first->parts)
        return err_set(e, ERR_NOMEM, "%s: no memory for %u parts", gguf_path(first), count);
    for (uint32_t i = 1; rc == 0 && i < count; i++) {
        struct gguf *g = NULL;
        rc = open_part(ctx, first, i, &g, e);
        if (rc != 0)
            break;
        first->parts[first->nparts++] = g;
        rc = check_part(first, g, i, count, e);
        if (rc == 0)
            rc = add_tensors(first, g, i, e);
    }
    if (rc == 0)
        rc = gguf_index_tensors(first, e);
    return rc == 0 ? check_sum(first, e) : rc;
}
