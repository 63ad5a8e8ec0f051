/* test_gguf.c: what the writer writes the reader reads; and a small file with every one of its
 * integers at its extremes, cut at every byte, and with 2,000 bits flipped, is an error or fine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "buf.h"
#include "gguf.h"

static const uint64_t dims_a[2] = {64, 3};
static const uint64_t dims_b[1] = {5};
static unsigned char data_a[64 / 32 * 18 * 3];
static float data_b[5] = {1, -2, 3.5f, 0, 1e9f};

static struct gguf_writer *small_model(void)
{
    struct str strs[] = {STR("zero"), STR(""), STR("two\0nul"), STR("\xE2\x96\x81three")};
    int32_t ints[] = {INT32_MIN, -1, 0, INT32_MAX};
    float floats[] = {0.5f, -1.25f};
    struct gguf_writer *w = gguf_writer_new();
    assert_non_null(w);
    gguf_put_u32(w, "general.alignment", 64);
    gguf_put_str(w, "general.architecture", STR("llama"));
    gguf_put_u32(w, "llama.context_length", UINT32_MAX);
    gguf_put_f32(w, "llama.eps", 1.5f);
    gguf_put_bool(w, "tokenizer.add_bos", true);
    gguf_put_strs(w, "tokenizer.tokens", strs, 4);
    gguf_put_i32s(w, "tokenizer.types", ints, 4);
    gguf_put_f32s(w, "tokenizer.scores", floats, 2);
    for (size_t i = 0; i < sizeof data_a; i++)
        data_a[i] = (unsigned char)i;
    gguf_put_tensor(w, "a.weight", GGUF_DT_Q4_0, 2, dims_a, data_a);
    gguf_put_tensor(w, "b.weight", GGUF_DT_F32, 1, dims_b, data_b);
    return w;
}

static char *temp_path(void)
{
    static char path[64];
    snprintf(path, sizeof path, "/tmp/weir_test_gguf_%ld.gguf", (long)getpid());
    return path;
}

/* The small model's bytes; the caller frees. */
static unsigned char *small_bytes(size_t *n)
{
    struct err e;
    struct gguf_writer *w = small_model();
    char *path = temp_path();
    assert_int_equal(gguf_writer_save(w, path, &e), 0);
    gguf_writer_free(w);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    unsigned char *p = malloc(1 << 16);
    *n = fread(p, 1, 1 << 16, f);
    fclose(f);
    unlink(path);
    return p;
}

/* Touch everything a reader can reach. */
static uint64_t walk(const struct gguf *g)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < gguf_nvalues(g); i++) {
        const struct gguf_value *v = gguf_value_at(g, i);
        struct str s;
        double f;
        sum += v->key.n + v->u;
        for (uint64_t pos = 0; gguf_arr_str_next(v, &pos, &s);)
            for (size_t k = 0; k < s.n; k++)
                sum += (unsigned char)s.p[k];
        for (uint64_t k = 0; gguf_arr_f64(v, k, &f); k++)
            sum += f > 0;
        for (size_t k = 0; v->type == GGUF_STR && k < v->s.n; k++)
            sum += (unsigned char)v->s.p[k];
    }
    for (size_t i = 0; i < gguf_ntensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        const unsigned char *p = t->data;
        for (uint64_t k = 0; k < t->nbytes; k++)
            sum += p[k];
    }
    return sum;
}

/* Opens a copy of exactly n bytes; 0 or the error, which must carry a message. */
static int try_open(const unsigned char *p, size_t n)
{
    struct err e = {0};
    struct gguf *g = NULL;
    unsigned char *copy = malloc(n ? n : 1);
    memcpy(copy, p, n);
    int rc = gguf_open_mem(copy, n, &g, &e);
    if (rc == 0) {
        volatile uint64_t sum = walk(g);
        (void)sum;
    } else {
        assert_null(g);
        assert_int_equal(e.code, rc);
        assert_true(e.msg[0] != '\0');
    }
    gguf_close(g);
    free(copy);
    return rc;
}

static void written_is_read(void **state)
{
    struct err e;
    struct gguf *g;
    struct gguf_writer *w = small_model();
    char *path = temp_path();
    assert_int_equal(gguf_writer_save(w, path, &e), 0);
    gguf_writer_free(w);
    assert_int_equal(gguf_open(path, &g, &e), 0);
    assert_int_equal(gguf_version(g), 3);
    assert_string_equal(gguf_path(g), path);
    assert_int_equal(gguf_nvalues(g), 8);
    assert_int_equal(gguf_ntensors(g), 2);

    uint64_t u = 0;
    double d = 0;
    bool b = false;
    struct str s;
    assert_int_equal(gguf_get_u64(g, "llama.context_length", UINT64_MAX, &u, &e), 0);
    assert_true(u == UINT32_MAX);
    assert_int_equal(gguf_get_u64(g, "llama.context_length", 4096, &u, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "llama.context_length"));
    assert_int_equal(gguf_get_u64(g, "absent", 1, &u, &e), ERR_NOT_FOUND);
    assert_int_equal(gguf_get_u64(g, "llama.eps", 1, &u, &e), ERR_FORMAT);
    assert_int_equal(gguf_get_f64(g, "llama.eps", &d, &e), 0);
    assert_true(d == 1.5);
    assert_int_equal(gguf_get_bool(g, "tokenizer.add_bos", &b, &e), 0);
    assert_true(b);
    assert_int_equal(gguf_get_str(g, "general.architecture", &s, &e), 0);
    assert_true(str_is(s, "llama"));

    const struct gguf_value *v = gguf_find(g, "tokenizer.tokens");
    assert_int_equal(v->count, 4);
    uint64_t pos = 0;
    int n = 0;
    while (gguf_arr_str_next(v, &pos, &s))
        if (n++ == 2)
            assert_true(str_eq(s, STR("two\0nul")));
    assert_int_equal(n, 4);
    int64_t x = 1;
    v = gguf_find(g, "tokenizer.types");
    assert_true(gguf_arr_i64(v, 0, &x) && x == INT32_MIN);
    assert_true(gguf_arr_i64(v, 3, &x) && x == INT32_MAX);
    assert_false(gguf_arr_i64(v, 4, &x));
    assert_true(gguf_arr_f64(gguf_find(g, "tokenizer.scores"), 1, &d) && d == -1.25);

    const struct gguf_tensor *t = gguf_tensor_find(g, "a.weight");
    assert_int_equal(t->nbytes, sizeof data_a);
    assert_int_equal(t->offset % 64, 0);
    assert_memory_equal(t->data, data_a, sizeof data_a);
    t = gguf_tensor_find(g, "b.weight");
    assert_memory_equal(t->data, data_b, sizeof data_b);
    assert_int_equal(t->dims[3], 1);
    assert_null(gguf_tensor_find(g, "c.weight"));
    gguf_close(g);
    unlink(path);
    assert_int_equal(gguf_open(path, &g, &e), ERR_NOT_FOUND);
    assert_int_equal(gguf_open("/", &g, &e), ERR_FORMAT);
    gguf_close(NULL);
    gguf_writer_free(NULL);
}

static uint64_t get(const unsigned char *p, size_t width)
{
    uint64_t v = 0;
    for (size_t i = 0; i < width; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

static void set(unsigned char *p, size_t width, uint64_t v)
{
    for (size_t i = 0; i < width; i++)
        p[i] = (unsigned char)(v >> 8 * i);
}

struct field {
    size_t at, width;
};

struct fields {
    struct field f[256];
    size_t n, at;
    const unsigned char *p;
};

static uint64_t field(struct fields *x, size_t width)
{
    assert_true(x->n < 256);
    x->f[x->n++] = (struct field){x->at, width};
    x->at += width;
    return get(x->p + x->at - width, width);
}

static void string_field(struct fields *x)
{
    uint64_t n = field(x, 8); /* moves x->at past the length itself */
    x->at += n;
}

static void value_fields(struct fields *x, uint64_t type)
{
    static const size_t size[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type == GGUF_STR) {
        string_field(x);
    } else if (type == GGUF_ARR) {
        uint64_t elem = field(x, 4), n = field(x, 8);
        for (uint64_t i = 0; i < n; i++)
            value_fields(x, elem);
    } else {
        field(x, size[type]);
    }
}

/* Every integer of the metadata, by walking the format as the specification words it. */
static void find_fields(struct fields *x)
{
    x->at = 4;
    field(x, 4);
    uint64_t ntensors = field(x, 8), nvalues = field(x, 8);
    for (uint64_t i = 0; i < nvalues; i++) {
        string_field(x);
        value_fields(x, field(x, 4));
    }
    for (uint64_t i = 0; i < ntensors; i++) {
        string_field(x);
        uint64_t ndims = field(x, 4);
        for (uint64_t k = 0; k < ndims; k++)
            field(x, 8);
        field(x, 4);
        field(x, 8);
    }
}

static void integers_at_their_extremes(void **state)
{
    static const uint64_t values[] = {0,
                                      1,
                                      2,
                                      3,
                                      4,
                                      5,
                                      7,
                                      9,
                                      12,
                                      13,
                                      31,
                                      32,
                                      33,
                                      36,
                                      39,
                                      43,
                                      63,
                                      64,
                                      65,
                                      127,
                                      128,
                                      255,
                                      256,
                                      32767,
                                      32768,
                                      65535,
                                      65536,
                                      1 << 20,
                                      1 << 24,
                                      INT32_MAX,
                                      0x80000000,
                                      UINT32_MAX,
                                      0x100000000,
                                      1ull << 40,
                                      1ull << 61,
                                      INT64_MAX - 1,
                                      INT64_MAX,
                                      1ull << 63,
                                      UINT64_MAX / 18,
                                      UINT64_MAX - 31,
                                      UINT64_MAX - 1,
                                      UINT64_MAX};
    size_t n, errors = 0, fine = 0;
    unsigned char *p = small_bytes(&n);
    struct fields x = {.p = p};
    find_fields(&x);
    assert_int_equal(x.n, 51);
    assert_int_equal(try_open(p, n), 0);
    for (size_t i = 0; i < x.n; i++) {
        unsigned char *at = p + x.f[i].at;
        uint64_t was = get(at, x.f[i].width);
        for (size_t k = 0; k < sizeof values / sizeof values[0] + 2; k++) {
            size_t nvalues = sizeof values / sizeof values[0];
            set(at, x.f[i].width, k < nvalues ? values[k] : k == nvalues ? was - 1 : was + 1);
            *(try_open(p, n) == 0 ? &fine : &errors) += 1;
        }
        set(at, x.f[i].width, was);
    }
    assert_true(errors > 1000 && fine > 100);
    free(p);
}

/* Address space beyond what is in use now: the file and 16 MiB. Nothing may need more, so nothing
 * may run out of memory. Sanitizers reserve terabytes and are left alone. */
static struct rlimit limit_memory(size_t file)
{
    struct rlimit old, now;
    unsigned long pages = 0;
    getrlimit(RLIMIT_AS, &old);
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%lu", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    uint64_t used = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
    now = old;
    if (used && used < (uint64_t)1 << 40) {
        now.rlim_cur = used + file + ((uint64_t)16 << 20);
        setrlimit(RLIMIT_AS, &now);
    }
    return old;
}

/* Two integers at a time. All pairs with WEIR_ALL_PAIRS set; else every 41st. */
static void pairs_at_their_extremes(void **state)
{
    static const uint64_t values[] = {0, 1, INT32_MAX, 0x80000000, INT64_MAX, UINT64_MAX};
    enum { N = 6 };
    size_t n, step = getenv("WEIR_ALL_PAIRS") ? 1 : 41, tried = 0;
    unsigned char *p = small_bytes(&n);
    struct fields x = {.p = p};
    find_fields(&x);
    struct rlimit old = limit_memory(n);
    size_t all = x.n * x.n * N * N;
    for (size_t i = 0; i < all; i += step) {
        size_t a = i / (N * N) / x.n, b = i / (N * N) % x.n;
        if (a > b)
            continue;
        unsigned char was[16];
        memcpy(was, p + x.f[a].at, x.f[a].width);
        memcpy(was + 8, p + x.f[b].at, x.f[b].width);
        set(p + x.f[a].at, x.f[a].width, values[i % N]);
        set(p + x.f[b].at, x.f[b].width, values[i / N % N]);
        assert_int_not_equal(try_open(p, n), ERR_NOMEM);
        memcpy(p + x.f[b].at, was + 8, x.f[b].width);
        memcpy(p + x.f[a].at, was, x.f[a].width);
        tried++;
    }
    setrlimit(RLIMIT_AS, &old);
    assert_true(tried > 1000);
    assert_int_equal(try_open(p, n), 0);
    free(p);
}

static void flipped_bits(void **state)
{
    size_t n;
    unsigned char *p = small_bytes(&n);
    struct fields x = {.p = p};
    find_fields(&x);
    uint64_t r = 88172645463325252u;
    for (int i = 0; i < 2000; i++) {
        r ^= r << 13;
        r ^= r >> 7;
        r ^= r << 17;
        size_t bit = (size_t)(r % (x.at * 8));
        p[bit / 8] ^= (unsigned char)(1u << bit % 8);
        try_open(p, n);
        if (i % 4 != 3) /* every fourth stays, so that damage adds up, and is undone below */
            p[bit / 8] ^= (unsigned char)(1u << bit % 8);
        if (i % 16 == 15) {
            free(p);
            p = small_bytes(&n);
        }
    }
    free(p);
}

static void cut_anywhere(void **state)
{
    size_t n;
    unsigned char *p = small_bytes(&n);
    size_t whole = n - 64 + sizeof data_b; /* the last tensor's padding may be missing */
    for (size_t cut = 0; cut < n; cut++)
        assert_int_equal(try_open(p, cut) == 0, cut >= whole);
    free(p);
}

static void raw_int(struct buf *b, uint64_t v, size_t width)
{
    unsigned char p[8];
    set(p, width, v);
    buf_add(b, p, width);
}

static void raw_head(struct buf *b, uint32_t version, uint64_t ntensors, uint64_t nvalues)
{
    buf_clear(b);
    buf_puts(b, "GGUF");
    raw_int(b, version, 4);
    raw_int(b, ntensors, 8);
    raw_int(b, nvalues, 8);
}

static void raw_str(struct buf *b, const char *z)
{
    raw_int(b, strlen(z), 8);
    buf_puts(b, z);
}

static int open_raw(const struct buf *b)
{
    return try_open((const unsigned char *)b->p, b->n);
}

static void raw_tensor(struct buf *b, const char *name, uint32_t dtype, uint64_t d0, uint64_t d1,
                       uint64_t offset)
{
    raw_str(b, name);
    raw_int(b, 2, 4);
    raw_int(b, d0, 8);
    raw_int(b, d1, 8);
    raw_int(b, dtype, 4);
    raw_int(b, offset, 8);
}

static void refusals(void **state)
{
    struct buf b = BUF_INIT(1 << 20);
    raw_head(&b, 3, 0, 0);
    assert_int_equal(open_raw(&b), 0);
    raw_head(&b, 2, 0, 0);
    assert_int_equal(open_raw(&b), 0);
    raw_head(&b, 1, 0, 0);
    assert_int_equal(open_raw(&b), ERR_UNSUPPORTED);
    raw_head(&b, 0x03000000, 0, 0);
    assert_int_equal(open_raw(&b), ERR_UNSUPPORTED);

    raw_head(&b, 3, 0, 2); /* the same key twice */
    for (int i = 0; i < 2; i++) {
        raw_str(&b, "k");
        raw_int(&b, GGUF_U8, 4);
        raw_int(&b, 1, 1);
    }
    assert_int_equal(open_raw(&b), ERR_FORMAT);

    raw_head(&b, 3, 0, 1); /* an array of arrays */
    raw_str(&b, "k");
    raw_int(&b, GGUF_ARR, 4);
    raw_int(&b, GGUF_ARR, 4);
    raw_int(&b, 0, 8);
    assert_int_equal(open_raw(&b), ERR_UNSUPPORTED);

    for (uint32_t align = 0; align < 70; align++) {
        bool good = align == 8 || align == 16 || align == 32 || align == 64;
        raw_head(&b, 3, 1, 1);
        raw_str(&b, "general.alignment");
        raw_int(&b, GGUF_U32, 4);
        raw_int(&b, align, 4);
        raw_tensor(&b, "t", GGUF_DT_I8, 1, 1, 0);
        for (int i = 0; i < 128; i++)
            buf_putc(&b, 0);
        assert_int_equal(open_raw(&b) == 0, good);
    }
    buf_done(&b);
}

static void tensor_shapes(void **state)
{
    static const struct {
        uint32_t dtype;
        uint64_t d0, d1, offset;
        bool good;
    } cases[] = {
        {GGUF_DT_F32, 8, 4, 0, true},
        {GGUF_DT_F32, 8, 4, 32, true},
        {GGUF_DT_F32, 8, 4, 4, false}, /* not aligned */
        {GGUF_DT_F32, 8, 9, 0, false}, /* past the end */
        {GGUF_DT_Q4_0, 32, 2, 0, true},
        {GGUF_DT_Q4_0, 33, 2, 0, false}, /* not whole blocks */
        {GGUF_DT_F32, 0, 4, 0, false},
        {GGUF_DT_F32, 1ull << 62, 4, 0, false}, /* products that wrap */
        {GGUF_DT_F32, 1ull << 32, 1ull << 32, 0, false},
        {GGUF_DT_F32, 8, 4, UINT64_MAX - 31, false},
        {4, 32, 1, 0, false}, /* withdrawn */
        {GGUF_DT_MAX, 32, 1, 0, false},
    };
    struct buf b = BUF_INIT(1 << 20);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        raw_head(&b, 3, 1, 0);
        raw_tensor(&b, "t", cases[i].dtype, cases[i].d0, cases[i].d1, cases[i].offset);
        while (b.n % 32)
            buf_putc(&b, 0);
        for (int k = 0; k < 256; k++)
            buf_putc(&b, 0);
        assert_int_equal(open_raw(&b) == 0, cases[i].good);
    }
    raw_head(&b, 3, 2, 0);
    raw_tensor(&b, "t", GGUF_DT_I8, 1, 1, 0);
    raw_tensor(&b, "t", GGUF_DT_I8, 1, 1, 0);
    for (int k = 0; k < 64; k++)
        buf_putc(&b, 0);
    assert_int_equal(open_raw(&b), ERR_FORMAT);
    buf_done(&b);
}

static void block_shapes(void **state)
{
    const char *name;
    uint32_t block, bytes;
    assert_true(gguf_dtype_info(GGUF_DT_Q4_1, &name, &block, &bytes));
    assert_string_equal(name, "Q4_1");
    assert_true(block == 32 && bytes == 20);
    assert_true(gguf_dtype_info(GGUF_DT_Q6_K, NULL, &block, &bytes) && bytes == 210);
    assert_false(gguf_dtype_info(31, &name, &block, &bytes));
    assert_false(gguf_dtype_info(UINT32_MAX, &name, &block, &bytes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_is_read),
        cmocka_unit_test(integers_at_their_extremes),
        cmocka_unit_test(pairs_at_their_extremes),
        cmocka_unit_test(flipped_bits),
        cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(refusals),
        cmocka_unit_test(tensor_shapes),
        cmocka_unit_test(block_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
