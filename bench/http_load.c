/* http_load.c: what an HTTP server does under many connections, on loopback, in one epoll loop.
 *
 *   http_load PORT [--rate N] [--seconds S] [--connections C] [--path P] [--fresh]
 *             [--idle N] [--slow N] [--pid PID]
 *
 * --idle opens N connections, has one request answered on each at once and keeps them; with --pid
 * the growth of that process's resident memory is printed for each. --slow keeps N connections that
 * send a byte of a header every few seconds and begin again when they are cut. Then --rate requests
 * a second are sent at fixed times, whatever the answers do; the time of each counts from when it
 * was due (so a server that stands still is not asked less) to when the system had its answer, by
 * the system's own stamp: so nothing has to run at once when an answer comes, and what is measured
 * beside a model that computes on all processors is the server, and takes little from it. --fresh:
 * a new connection for each. Prints one line of JSON; cpu_us is what a request cost here. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched/types.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum kind { FREE, BUSY, SLOW, IDLE };

struct conn {
    enum kind kind;
    int fd;
    double due;      /* of the request, or of the next slow byte; seconds */
    size_t got;      /* of the answer */
    size_t want;     /* its whole length; 0: not known yet */
    size_t at;       /* in the slow header */
    char head[2048]; /* of the answer */
};

static struct {
    int port, rate, connections, idle, slow;
    double seconds;
    const char *path;
    bool fresh;
    long pid;
} o = {.rate = 500, .seconds = 5, .connections = 16, .path = "/v1/models"};

static int ep;
static char request[1024];
static long errors, cut_slow, done, refused;
static double *times;
static size_t ntimes;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool dial(struct conn *c)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)o.port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof a) != 0) {
        perror("http_load: connect");
        exit(1);
    }
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    setsockopt(c->fd, SOL_SOCKET, SO_TIMESTAMPNS, &(int){1}, sizeof(int));
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
    c->got = c->want = c->at = 0;
    return true;
}

static void drop(struct conn *c)
{
    close(c->fd);
    c->fd = -1;
}

static void ask(struct conn *c, double due)
{
    if (c->fd < 0)
        dial(c);
    c->due = due;
    c->got = c->want = 0;
    c->kind = BUSY;
    size_t n = strlen(request);
    if (write(c->fd, request, n) != (ssize_t)n)
        errors++;
}

static void answered(struct conn *c, double at)
{
    if (strncmp(c->head, "HTTP/1.1 200", 12) != 0)
        strncmp(c->head, "HTTP/1.1 503", 12) == 0 ? refused++ : errors++;
    if (c->kind == BUSY && times)
        times[ntimes++] = at - c->due;
    done++;
    c->kind = c->kind == BUSY ? FREE : c->kind;
    if (o.fresh && c->kind == FREE)
        drop(c);
}

/* The whole length from the head: all that is asked here has a Content-Length. */
static void measure(struct conn *c)
{
    const char *end = strstr(c->head, "\r\n\r\n"), *len = strstr(c->head, "Content-Length: ");
    if (end && len && len < end)
        c->want = (size_t)(end + 4 - c->head) + strtoul(len + 16, NULL, 10);
    else if (end) {
        fprintf(stderr, "http_load: an answer without Content-Length\n");
        exit(1);
    }
}

/* When the system had what was read, by our clock. */
static double stamp_of(struct msghdr *m)
{
    struct timespec real, at;
    double t = now();
    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_TIMESTAMPNS)
            continue;
        memcpy(&at, CMSG_DATA(h), sizeof at);
        clock_gettime(CLOCK_REALTIME, &real);
        double ago = (double)(real.tv_sec - at.tv_sec) + (double)(real.tv_nsec - at.tv_nsec) * 1e-9;
        return t - (ago > 0 ? ago : 0);
    }
    return t;
}

static ssize_t receive(int fd, void *to, size_t n, double *at)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct timespec)) + 64];
    struct iovec v = {to, n};
    struct msghdr m = {
        .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(fd, &m, 0);
    if (got > 0)
        *at = stamp_of(&m);
    return got;
}

static void readable(struct conn *c)
{
    static char b[65536];
    double at = 0;
    ssize_t n = receive(c->fd, b, sizeof b, &at);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        cut_slow += c->kind == SLOW;
        errors += c->kind == BUSY;
        if (c->kind == BUSY)
            c->kind = FREE;
        drop(c);
        return;
    }
    if (c->kind == SLOW)
        return;
    if (c->got < sizeof c->head - 1) {
        size_t room = sizeof c->head - 1 - c->got, m = (size_t)n < room ? (size_t)n : room;
        memcpy(c->head + c->got, b, m);
        c->head[c->got + m] = '\0';
    }
    c->got += (size_t)n;
    if (c->want == 0)
        measure(c);
    if (c->want && c->got >= c->want)
        answered(c, at);
}

static void poll_for(double until)
{
    struct epoll_event e[256];
    double left = until - now();
    int ms = left <= 0 ? 0 : (int)(left * 1000) + 1;
    int n = epoll_wait(ep, e, 256, ms);
    for (int i = 0; i < n; i++)
        readable(e[i].data.ptr);
}

/* Asleep until then, whatever comes: what came is read after. */
static void sleep_until(double until)
{
    struct timespec t = {(time_t)until, (long)((until - (double)(time_t)until) * 1e9)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
    poll_for(0);
}

static long rss(void)
{
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%ld/status", o.pid);
    FILE *f = fopen(path, "r");
    long kb = 0;
    while (f && fgets(line, sizeof line, f))
        sscanf(line, "VmRSS: %ld", &kb);
    if (f)
        fclose(f);
    return kb * 1024;
}

static void run_idle(struct conn *c)
{
    long before = o.pid ? rss() : 0, seen = done;
    for (int i = 0; i < o.idle; i++)
        dial(&c[i]);
    for (int i = 0; i < o.idle; i++) {
        ask(&c[i], now());
        c[i].kind = IDLE;
    }
    double end = now() + 20;
    while (done - seen < o.idle && now() < end)
        poll_for(now() + 0.1);
    double settle = now() + 0.5;
    while (now() < settle)
        poll_for(settle);
    printf("\"idle\": %d, \"answered\": %ld, ", o.idle, done - seen);
    if (o.pid)
        printf("\"bytes_each\": %.0f, ", (double)(rss() - before) / o.idle);
}

static void feed_slow(struct conn *c, double t)
{
    static const char head[] = "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
    for (int i = 0; i < o.slow; i++) {
        if (c[i].due > t)
            continue;
        if (c[i].fd < 0)
            dial(&c[i]);
        const char *p = c[i].at < sizeof head - 1 ? head + c[i].at : "x";
        if (write(c[i].fd, p, 1) == 1)
            c[i].at++;
        c[i].due = t + 3;
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double part(double p)
{
    return ntimes ? times[(size_t)(p * (double)(ntimes - 1))] * 1000 : 0;
}

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

static void run_rate(struct conn *c, struct conn *slow)
{
    double start = now(), end = start + o.seconds;
    long sent = 0, total = (long)(o.rate * o.seconds);
    int next = 0;
    times = calloc((size_t)total + 1, sizeof *times);
    while (now() < end + 1 && (sent < total || (long)ntimes + errors < total)) {
        double t = now(), due = start + (double)sent / o.rate;
        for (; sent < total && due <= t; due = start + (double)++sent / o.rate) {
            int tries = 0;
            while (c[next].kind != FREE && tries++ < o.connections)
                next = (next + 1) % o.connections;
            if (c[next].kind != FREE)
                break; /* all are waiting: this one is late, and counts from when it was due */
            ask(&c[next], due);
            next = (next + 1) % o.connections;
        }
        if (slow)
            feed_slow(slow, t);
        sleep_until(sent < total && due > t ? due : t + 0.001);
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    qsort(times, ntimes, sizeof *times, by_value);
    printf("\"requests\": %zu, \"errors\": %ld, \"refused\": %ld, \"cut_slow\": %ld, \"p50_ms\": "
           "%.3f, \"p95_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f, \"cpu_us\": %.1f",
           ntimes, errors, refused, cut_slow, part(0.5), part(0.95), part(0.99), part(1),
           (seconds_of(used.ru_utime) + seconds_of(used.ru_stime)) * 1e6 /
               (double)(ntimes ? ntimes : 1));
}

static void options(int argc, char **argv)
{
    o.port = argc > 1 ? atoi(argv[1]) : 0;
    for (int i = 2; i < argc; i++) {
        const char *v = i + 1 < argc ? argv[i + 1] : "0", *a = argv[i];
        if (strcmp(a, "--fresh") == 0) {
            o.fresh = true;
            continue;
        }
        i++;
        if (strcmp(a, "--rate") == 0)
            o.rate = atoi(v);
        else if (strcmp(a, "--seconds") == 0)
            o.seconds = atof(v);
        else if (strcmp(a, "--connections") == 0)
            o.connections = atoi(v);
        else if (strcmp(a, "--path") == 0)
            o.path = v;
        else if (strcmp(a, "--idle") == 0)
            o.idle = atoi(v);
        else if (strcmp(a, "--slow") == 0)
            o.slow = atoi(v);
        else if (strcmp(a, "--pid") == 0)
            o.pid = atol(v);
        else
            o.port = 0;
    }
    if (o.port <= 0 || o.connections <= 0 || o.rate < 0) {
        fprintf(stderr, "usage: http_load PORT [--rate N] [--seconds S] [--connections C] [--path "
                        "P] [--fresh] [--idle N] [--slow N] [--pid PID]\n");
        exit(2);
    }
}

static struct conn *make(int n, enum kind kind)
{
    struct conn *c = calloc((size_t)n + 1, sizeof *c);
    for (int i = 0; c && i < n; i++)
        c[i] = (struct conn){.kind = kind, .fd = -1};
    if (!c)
        exit(1);
    return c;
}

/* Whoever asks sits at another machine as a rule, and does not wait there for a processor that the
 * server's threads have: the shortest slice a thread may want (Linux 6.12), or nothing. */
static void want_short_slices(void)
{
    struct sched_attr a = {0};
    if (syscall(SYS_sched_getattr, 0, &a, sizeof a, 0) != 0)
        return;
    a.sched_runtime = 100000;
    syscall(SYS_sched_setattr, 0, &a, 0);
}

int main(int argc, char **argv)
{
    struct rlimit r;
    options(argc, argv);
    want_short_slices();
    getrlimit(RLIMIT_NOFILE, &r);
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
    ep = epoll_create1(EPOLL_CLOEXEC);
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", o.path);
    struct conn *idle = make(o.idle, IDLE), *slow = make(o.slow, SLOW),
                *good = make(o.connections, FREE);
    printf("{");
    if (o.idle)
        run_idle(idle);
    double t = now();
    for (int i = 0; i < o.slow; i++) {
        dial(&slow[i]);
        slow[i].due = t + 3.0 * i / o.slow;
    }
    if (o.rate)
        run_rate(good, o.slow ? slow : NULL);
    else
        printf("\"rate\": 0");
    printf("}\n");
    return 0;
}
