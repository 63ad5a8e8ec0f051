/* gguf.h: reading and writing GGUF v2 and v3 (ggml's docs/gguf.md), every integer checked before
 * arithmetic.
 *
 * A file is mapped read-only and never copied; strings and tensors are views into the map, valid
 * until gguf_close. Errors name the key or tensor and give the byte offset. Memory beyond the map
 * is bounded by a small multiple of the metadata's own size. */
#ifndef WEIR_GGUF_H
#define WEIR_GGUF_H

#include "err.h"
#include "str.h"

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STR,
    GGUF_ARR,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
};

/* ggml's tensor types, by their numbers in the file. */
enum gguf_dtype {
    GGUF_DT_F32 = 0,
    GGUF_DT_F16 = 1,
    GGUF_DT_Q4_0 = 2,
    GGUF_DT_Q4_1 = 3,
    GGUF_DT_Q5_0 = 6,
    GGUF_DT_Q5_1 = 7,
    GGUF_DT_Q8_0 = 8,
    GGUF_DT_Q8_1 = 9,
    GGUF_DT_Q2_K = 10,
    GGUF_DT_Q3_K = 11,
    GGUF_DT_Q4_K = 12,
    GGUF_DT_Q5_K = 13,
    GGUF_DT_Q6_K = 14,
    GGUF_DT_Q8_K = 15,
    GGUF_DT_IQ2_XXS = 16,
    GGUF_DT_IQ2_XS = 17,
    GGUF_DT_IQ3_XXS = 18,
    GGUF_DT_IQ1_S = 19,
    GGUF_DT_IQ4_NL = 20,
    GGUF_DT_IQ3_S = 21,
    GGUF_DT_IQ2_S = 22,
    GGUF_DT_IQ4_XS = 23,
    GGUF_DT_I8 = 24,
    GGUF_DT_I16 = 25,
    GGUF_DT_I32 = 26,
    GGUF_DT_I64 = 27,
    GGUF_DT_F64 = 28,
    GGUF_DT_IQ1_M = 29,
    GGUF_DT_BF16 = 30,
    GGUF_DT_TQ1_0 = 34,
    GGUF_DT_TQ2_0 = 35,
    GGUF_DT_MXFP4 = 39,
    GGUF_DT_NVFP4 = 40,
    GGUF_DT_Q1_0 = 41,
    GGUF_DT_Q2_0 = 42,
    GGUF_DT_MAX = 64,
};

/* Elements and bytes of one block (any pointer may be NULL); false for a type number we do not
 * know. */
bool gguf_dtype_info(uint32_t dtype, const char **name, uint32_t *block, uint32_t *bytes);

struct gguf;

struct gguf_tensor {
    struct str name;
    uint32_t dtype;
    int ndims;               /* 1 to 4 */
    uint64_t dims[4];        /* dims[0] is the row length; unused ones are 1 */
    const void *data;        /* inside the map, whole */
    uint64_t nbytes, offset; /* offset from the start of its file */
    uint32_t part;           /* which file, from 0 on */
};

/* A value: scalars in u/i/f (u and i both filled where they fit), strings in s, arrays by their
 * accessors. */
struct gguf_value {
    struct str key;
    enum gguf_type type;
    uint64_t u;
    int64_t i;
    double f;
    struct str s;
    enum gguf_type elem; /* GGUF_ARR */
    uint64_t count;      /* GGUF_ARR */
    const unsigned char
        *raw; /* GGUF_ARR: packed elements (for strings: length-prefixed), s.n bytes */
};

/* A model split into files (NAME-00001-of-00003.gguf and so on) is one: the path of any part opens
 * all, the first part's values count, the tensors are those of all parts. A part that is missing,
 * stands twice or does not fit the others is an error that names it. */
int gguf_open(const char *path, struct gguf **out, struct err *e);
/* One file by itself, a part of a split model too. */
int gguf_open_file(const char *path, struct gguf **out, struct err *e);
/* As gguf_open, over memory the caller keeps (tests, fuzzing); the parts in order, usually one. */
int gguf_open_mem(const void *p, size_t n, struct gguf **out, struct err *e);
int gguf_open_parts_mem(const struct str *parts, size_t n, struct gguf **out, struct err *e);
/* Whether a path is named like a part of a split model: its number from 1 on, how many there are,
 * and what comes before "-00001-of-00003.gguf". */
bool gguf_part_name(struct str path, uint32_t *no, uint32_t *count, struct str *stem);
void gguf_close(struct gguf *g); /* NULL is fine */

uint32_t gguf_version(const struct gguf *g);
const char *gguf_path(const struct gguf *g);
uint64_t gguf_file_size(const struct gguf *g); /* of all parts */
size_t gguf_nparts(const struct gguf *g);      /* 1: not split */
size_t gguf_nvalues(const struct gguf *g);
const struct gguf_value *gguf_value_at(const struct gguf *g, size_t i);
const struct gguf_value *gguf_find(const struct gguf *g, const char *key); /* NULL: absent */
size_t gguf_ntensors(const struct gguf *g);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, size_t i);
const struct gguf_tensor *gguf_tensor_find(const struct gguf *g,
                                           const char *name); /* NULL: absent; hashed */

/* Typed reads. Absent: ERR_NOT_FOUND naming the key; another type or out of range: ERR_FORMAT
 * naming it. Any integer type is accepted for an integer, any number for a float. */
int gguf_get_u64(const struct gguf *g, const char *key, uint64_t max, uint64_t *out, struct err *e);
int gguf_get_f64(const struct gguf *g, const char *key, double *out, struct err *e);
int gguf_get_bool(const struct gguf *g, const char *key, bool *out, struct err *e);
int gguf_get_str(const struct gguf *g, const char *key, struct str *out, struct err *e);
/* Element i of an array value (i < count). Strings are found by walking: iterate with
 * gguf_arr_str_next. */
bool gguf_arr_i64(const struct gguf_value *v, uint64_t i, int64_t *out);
bool gguf_arr_f64(const struct gguf_value *v, uint64_t i, double *out);
/* Walk an array of strings: *pos starts at 0; false at the end. */
bool gguf_arr_str_next(const struct gguf_value *v, uint64_t *pos, struct str *out);

/* ---- writing: tests and the benchmark's generator make files with this ---- */
struct gguf_writer;
struct gguf_writer *gguf_writer_new(void);
void gguf_writer_free(struct gguf_writer *w);
void gguf_put_u16(struct gguf_writer *w, const char *key, uint16_t v);
void gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t v);
void gguf_put_f32(struct gguf_writer *w, const char *key, float v);
void gguf_put_bool(struct gguf_writer *w, const char *key, bool v);
void gguf_put_str(struct gguf_writer *w, const char *key, struct str v);
void gguf_put_strs(struct gguf_writer *w, const char *key, const struct str *v, size_t n);
void gguf_put_u8s(struct gguf_writer *w, const char *key, const unsigned char *v, size_t n);
void gguf_put_i32s(struct gguf_writer *w, const char *key, const int32_t *v, size_t n);
void gguf_put_f32s(struct gguf_writer *w, const char *key, const float *v, size_t n);
/* data is borrowed until the file is written. NULL: a hole in the file, which reads as zeros. */
void gguf_put_tensor(struct gguf_writer *w, const char *name, uint32_t dtype, int ndims,
                     const uint64_t *dims, const void *data);
int gguf_writer_save(struct gguf_writer *w, const char *path, struct err *e);

#endif
