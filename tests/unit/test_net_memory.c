/* test_net_memory.c: what a connection costs in memory, counted by allocation: between requests,
 * and while its request waits for an answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <malloc.h>
#include <sys/resource.h>

#include "net_peer.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static atomic_llong live; /* bytes, as malloc rounds them, its own header included */

#ifndef SANITIZED
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
extern void __libc_free(void *p);

static long long size_of(void *p)
{
    return p ? (long long)malloc_usable_size(p) + 8 : 0;
}

void *malloc(size_t n)
{
    void *p = __libc_malloc(n);
    atomic_fetch_add(&live, size_of(p));
    return p;
}

void *calloc(size_t n, size_t size)
{
    void *p = __libc_calloc(n, size);
    atomic_fetch_add(&live, size_of(p));
    return p;
}

void *realloc(void *p, size_t n)
{
    long long before = size_of(p);
    void *q = __libc_realloc(p, n);
    if (q || n == 0)
        atomic_fetch_add(&live, size_of(q) - before);
    return q;
}

void free(void *p)
{
    atomic_fetch_sub(&live, size_of(p));
    __libc_free(p);
}
#endif

enum { N = 400 };
static struct net_req *held[N];
static atomic_int nheld;

static bool hold(struct app *a, struct net_req *r)
{
    if (!str_is(net_req_path(r), "/v1/chat/completions"))
        return false;
    held[atomic_fetch_add(&nheld, 1)] = r;
    return true;
}

static void drop_all(void *ctx)
{
    for (int i = 0; i < N; i++) {
        struct buf body;
        net_req_take_body(held[i], &body);
        buf_done(&body);
    }
    atomic_fetch_add(&nheld, 1);
}

static void answer_all(void *ctx)
{
    for (int i = 0; i < N; i++)
        net_res_send(held[i], 200, "text/plain", STR("done"));
}

static void connections_cost_little(void **state)
{
#ifdef SANITIZED
    print_message("a sanitizer owns malloc: nothing is counted\n");
    skip();
#endif
    static int fd[N];
    struct app *a = calloc(1, sizeof *a);
    a->more = hold;
    start(params(a), a);
    net_raise_files(2 * N + 100);
    int first = dial(a->port); /* what is made once is made now */
    say(first, "GET / HTTP/1.1\r\n" H "\r\n");
    hear(first, "\r\n\r\n", 3000);
    long long before = atomic_load(&live);
    for (int i = 0; i < N; i++) {
        fd[i] = dial(a->port);
        say(fd[i], "GET / HTTP/1.1\r\n" H "\r\n");
        hear(fd[i], "\r\n\r\n", 3000);
    }
    long long idle = (atomic_load(&live) - before) / N;
    print_message("between requests: %lld bytes\n", idle);

    char body[1024], head[700];
    memset(body, ' ', sizeof body);
    snprintf(
        head, sizeof head,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost:9347\r\nConnection: keep-alive\r\n"
        "Accept: application/json\r\nContent-Type: application/json\r\nUser-Agent: "
        "OpenAI/JS 5.0.1\r\nX-Stainless-Lang: js\r\nX-Stainless-Package-Version: 5.0.1\r\n"
        "X-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: node\r\n"
        "X-Stainless-Runtime-Version: v22.1.0\r\nX-Stainless-Retry-Count: 0\r\n"
        "X-Stainless-Timeout: 600\r\nAuthorization: Bearer sk-0123456789012345678901234567\r\n"
        "Accept-Language: *\r\nSec-Fetch-Mode: cors\r\nAccept-Encoding: gzip, deflate\r\n"
        "Content-Length: %zu\r\n\r\n",
        sizeof body);
    for (int i = 0; i < N; i++) {
        say(fd[i], head);
        say_n(fd[i], body, sizeof body);
    }
    wait_for(&nheld, N, 5000);
    long long waiting = (atomic_load(&live) - before) / N;
    print_message("with a request of 1 KiB that waits: %lld bytes\n", waiting);
    net_post(a->loop, drop_all, a);
    wait_for(&nheld, N + 1, 3000);
    long long dropped = (atomic_load(&live) - before) / N;
    print_message("without its body: %lld bytes\n", dropped);
    assert_true(dropped <= waiting - 1024);
    net_post(a->loop, answer_all, a);
    for (int i = 0; i < N; i++)
        assert_non_null(strstr(hear(fd[i], "done", 3000), "done"));
    usleep(50000);
    long long after = (atomic_load(&live) - before) / N;
    print_message("between requests again: %lld bytes\n", after);
    assert_true(idle > 0 && idle <= 1024);
    assert_true(waiting > 1024 && waiting <= 6 * 1024);
    assert_true(after <= idle + 64);
    for (int i = 0; i < N; i++)
        close(fd[i]);
    close(first);
    stop(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(connections_cost_little)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
