/* test_base.c: the smallest room: errors, strings, buffers, UTF-8, the pool and the queue. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arena.h"
#include "buf.h"
#include "clock.h"
#include "err.h"
#include "pool.h"
#include "queue.h"
#include "slice.h"
#include "utf8.h"

static void err_cuts_on_a_character(void **state)
{
    struct err e;
    char long_text[ERR_MSG_MAX + 8];
    for (size_t i = 0; i + 1 < sizeof long_text; i++)
        long_text[i] = i % 2 ? (char)0xA9 : (char)0xC3;
    long_text[sizeof long_text - 1] = '\0';
    assert_int_equal(err_set(&e, ERR_FORMAT, "x%s", long_text), ERR_FORMAT);
    assert_true(utf8_valid(str_of(e.msg)));
    assert_int_equal(err_http(ERR_CONTEXT), 400);
    assert_string_equal(err_name(ERR_NO_ROUTE), "NO_ROUTE");
    assert_int_equal(err_set(NULL, ERR_IO, "nobody listens"), ERR_IO);
}

static void numbers_are_strict(void **state)
{
    uint64_t u = 7;
    int64_t i = 7;
    double d = 7;
    assert_true(str_to_u64(STR("18446744073709551615"), &u) && u == UINT64_MAX);
    assert_false(str_to_u64(STR("18446744073709551616"), &u));
    assert_false(str_to_u64(STR(""), &u));
    assert_false(str_to_u64(STR(" 1"), &u));
    assert_true(str_to_i64(STR("-9223372036854775808"), &i) && i == INT64_MIN);
    assert_false(str_to_i64(STR("9223372036854775808"), &i));
    assert_true(str_to_f64(STR("1.5e3"), &d) && d == 1500.0);
    assert_false(str_to_f64(STR("nan"), &d));
    assert_false(str_to_f64(STR("1x"), &d));
}

static void buffers_stop_at_their_maximum(void **state)
{
    struct buf b = BUF_INIT(10);
    buf_puts(&b, "12345");
    buf_puts(&b, "678901");
    assert_true(buf_failed(&b));
    assert_int_equal(b.n, 5);
    buf_clear(&b);
    buf_printf(&b, "%d", 1234567890);
    assert_false(buf_failed(&b));
    assert_string_equal(b.p, "1234567890");
    buf_eat(&b, 4);
    assert_string_equal(b.p, "567890");
    buf_done(&b);
}

static void json_strings_are_always_valid(void **state)
{
    struct buf b = BUF_INIT(1000);
    buf_json_str(&b, str_n("a\"\\\n\x01\xFFz\xC3\xA9\0", 10));
    assert_string_equal(b.p, "\"a\\\"\\\\\\n\\u0001\xEF\xBF\xBDz\xC3\xA9\\u0000\"");
    buf_done(&b);
}

static void utf8_is_strict(void **state)
{
    assert_true(utf8_valid(STR("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80")));
    assert_false(utf8_valid(STR("\xC0\x80")));         /* overlong */
    assert_false(utf8_valid(STR("\xED\xA0\x80")));     /* surrogate */
    assert_false(utf8_valid(STR("\xF4\x90\x80\x80"))); /* past U+10FFFF */
    assert_int_equal(utf8_partial_tail(STR("ab\xE2\x82")), 2);
    assert_int_equal(utf8_partial_tail(STR("ab\xE2\x82\xAC")), 0);
    assert_int_equal(utf8_partial_tail(STR("\xF0\x9F\x98")), 3);
    assert_int_equal(utf8_partial_tail(STR("\xED\xA0")), 0); /* cannot complete */
    assert_int_equal(utf8_partial_tail(STR("\x82\x82")), 0);
    for (uint32_t cp = 0; cp <= 0x10FFFF; cp += 7) {
        char out[4];
        uint32_t back = 0;
        size_t n = utf8_encode(cp, out);
        if (cp >= 0xD800 && cp <= 0xDFFF) {
            assert_int_equal(n, 0);
            continue;
        }
        assert_int_equal(utf8_decode(str_n(out, n), &back), n);
        assert_int_equal(back, cp);
    }
}

static void arenas_have_a_maximum(void **state)
{
    struct arena *a = arena_new(100000);
    char *p = arena_alloc(a, 50000);
    assert_non_null(p);
    assert_int_equal(p[49999], 0);
    assert_null(arena_alloc(a, 60000));
    assert_null(arena_array(a, SIZE_MAX / 2, 3));
    assert_string_equal(arena_printf(a, "%s-%d", "x", 5), "x-5");
    arena_clear(a);
    assert_non_null(arena_alloc(a, 90000));
    arena_free(a);
}

struct sum {
    struct pool *pool;
    atomic_int phase1, seen;
};

static void sum_work(void *ctx, int w, int workers)
{
    struct sum *s = ctx;
    for (int i = 0; i < 100; i++) {
        atomic_fetch_add(&s->phase1, 1);
        pool_barrier(s->pool);
        if (atomic_load(&s->phase1) == (i + 1) * workers)
            atomic_fetch_add(&s->seen, 1);
        pool_barrier(s->pool);
    }
    (void)w;
}

static void pool_meets_at_barriers(void **state)
{
    for (int threads = 1; threads <= 4; threads++) {
        struct sum s = {0};
        assert_int_equal(pool_new(threads, &s.pool, NULL), 0);
        for (int job = 0; job < 20; job++) {
            atomic_store(&s.phase1, 0);
            atomic_store(&s.seen, 0);
            pool_run(s.pool, sum_work, &s);
            assert_int_equal(atomic_load(&s.seen), 100 * threads);
        }
        pool_free(s.pool);
    }
    size_t from, to, last = 0;
    for (int w = 0; w < 3; w++) {
        pool_share(100, 16, w, 3, &from, &to);
        assert_int_equal(from, last);
        assert_true(from % 16 == 0);
        last = to;
    }
    assert_int_equal(last, 100);
}

static void queue_is_bounded(void **state)
{
    int a, b, c;
    struct queue *q = queue_new(2);
    assert_true(queue_push(q, &a));
    assert_true(queue_push(q, &b));
    assert_false(queue_push(q, &c));
    assert_ptr_equal(queue_take(q), &a);
    assert_true(queue_push(q, &c));
    queue_close(q);
    assert_ptr_equal(queue_take_wait(q), &b);
    assert_ptr_equal(queue_take_wait(q), &c);
    assert_null(queue_take_wait(q));
    queue_free(q);
}

#ifdef __linux__
struct sched { /* of sched_getattr(2): nice stands at 16, the slice at 24 */
    char before[16];
    int32_t nice;
    uint32_t priority;
    uint64_t slice;
    char after[16];
};

struct slices {
    struct sched before, own, heir;
    bool started;
};

static void *look(void *to)
{
    syscall(SYS_sched_getattr, 0, to, sizeof(struct sched), 0);
    return NULL;
}

static void *take_short_slice(void *ctx)
{
    struct slices *s = ctx;
    pthread_t t;
    look(&s->before);
    slice_shorten();
    slice_shorten(); /* once more is nothing */
    look(&s->own);
    s->started = pthread_create(&t, NULL, look, &s->heir) == 0;
    if (s->started)
        pthread_join(t, NULL);
    return NULL;
}

static void slices_are_not_inherited(void **state)
{
    struct slices s = {0};
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, take_short_slice, &s), 0);
    pthread_join(t, NULL);
    assert_true(s.started);
    assert_int_equal(s.own.nice, s.before.nice);
    assert_int_equal(s.heir.nice, s.before.nice);
    if (s.before.slice == 0 || s.before.nice < 0) {
        print_message("no slice can be asked for here: a kernel before 6.12, or a negative nice\n");
        skip();
    }
    assert_int_equal(s.own.slice, SLICE_SHORT_NS);
    assert_int_equal(s.heir.slice, s.before.slice);
}
#endif

static void times_are_iso(void **state)
{
    char out[32];
    assert_string_equal(clock_iso(1000000000123, out), "2001-09-09T01:46:40.123Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(err_cuts_on_a_character),
        cmocka_unit_test(numbers_are_strict),
        cmocka_unit_test(buffers_stop_at_their_maximum),
        cmocka_unit_test(json_strings_are_always_valid),
        cmocka_unit_test(utf8_is_strict),
        cmocka_unit_test(arenas_have_a_maximum),
        cmocka_unit_test(pool_meets_at_barriers),
        cmocka_unit_test(queue_is_bounded),
#ifdef __linux__
        cmocka_unit_test(slices_are_not_inherited),
#endif
        cmocka_unit_test(times_are_iso),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
