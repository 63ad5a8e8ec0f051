/* gguf_int.h: what the files of this folder share: the object, the limits and the hash. */
#ifndef WEIR_GGUF_INT_H
#define WEIR_GGUF_INT_H

#include "gguf.h"

/* Far above any published model (a few hundred values, a few thousand tensors) and small enough
 * that a hostile file of tiny records costs no more than about 14 MiB beside its map. */
#define GGUF_MAX_VALUES ((uint64_t)32768)
#define GGUF_MAX_TENSORS ((uint64_t)65536)
#define GGUF_MAX_PARTS ((uint64_t)1024)
#define GGUF_MAX_KEY ((uint64_t)65535) /* the format's own limit */
#define GGUF_MAX_NAME ((uint64_t)255)
#define GGUF_ALIGN_DEFAULT ((uint64_t)32)
#define GGUF_ALIGN_MIN ((uint64_t)8)
#define GGUF_ALIGN_MAX ((uint64_t)1 << 20)

/* Open addressing over the index into a list; 0 is an empty slot, else index + 1. */
struct gguf_index {
    uint32_t *slots;
    size_t nslots; /* power of two, at least twice the entries */
    uint64_t seed; /* so that a file cannot be made of colliding names */
};

struct gguf {
    char *path;
    const unsigned char *map;
    size_t size;
    bool mapped; /* ours to unmap */
    uint32_t version;
    struct gguf_value *values;
    size_t nvalues;
    struct gguf_tensor *tensors;
    size_t ntensors;
    struct gguf_index value_index, tensor_index;
    struct gguf **parts; /* the others of a split model: they own their maps */
    size_t nparts;
};

/* ---- gguf_read.c ---- */

/* Check and list all of g->map, which is g->size bytes. */
int gguf_parse(struct gguf *g, struct err *e);
/* Index g->tensors again after more were added; a name that stands twice is refused. */
int gguf_index_tensors(struct gguf *g, struct err *e);

/* ---- gguf_split.c ---- */

/* Opens part no (from 0 on) of those that first belongs to. */
typedef int gguf_part_fn(void *ctx, const struct gguf *first, uint32_t no, struct gguf **out,
                         struct err *e);
/* What a file says of itself: count 1 for a whole one. */
int gguf_split_info(const struct gguf *g, uint32_t *no, uint32_t *count, struct err *e);
/* Bring the other parts into the first. They belong to it even when this fails. */
int gguf_split_join(struct gguf *first, gguf_part_fn *open_part, void *ctx, struct err *e);

/* Bytes of a scalar type; 0 for strings, arrays and numbers that are no type. */
size_t gguf_type_size(uint32_t type);
const char *gguf_type_name(uint32_t type);

static inline uint32_t gguf_le32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t gguf_le64(const unsigned char *p)
{
    return (uint64_t)gguf_le32(p) | (uint64_t)gguf_le32(p + 4) << 32;
}

/* Fill u, i and f of a scalar from its bytes. */
void gguf_scalar_read(uint32_t type, const unsigned char *p, struct gguf_value *v);

#endif
