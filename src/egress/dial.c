/* dial.c: one curl handle made safe: where it may connect, what it may speak, and its lines in the
 * log. Used by call.c (on the loop) and fetch.c (blocking); nothing else sets up a curl handle.
 *
 * The gate stands in two of curl's callbacks: when a socket is opened, with the address it will be
 * connected to, and before the request is sent, which is the only moment of a connection that is
 * used again. The line is on the disk before either lets anything through. */
#include "egress_int.h"

#include "clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_HEADERS 64

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_init_rc;

static void init_curl(void)
{
    curl_init_rc = curl_global_init(CURL_GLOBAL_DEFAULT);
}

int egress_curl_init(struct err *e)
{
    pthread_once(&curl_once, init_curl);
    if (curl_init_rc != CURLE_OK)
        return err_set(e, ERR_INTERNAL, "libcurl cannot start: %s",
                       curl_easy_strerror(curl_init_rc));
    return 0;
}

uint64_t egress_now_ms(void)
{
    return clock_mono_ns() / 1000000;
}

/* ---- the gate and the log, at the socket ---- */

static struct gate_ask ask_of(const struct dial *d, const struct sockaddr *addr)
{
    return (struct gate_ask){.req_zone = d->req_zone,
                             .row_zone = d->row_zone,
                             .https = d->https,
                             .is_unix = d->unix_path != NULL,
                             .proxied = d->proxy != NULL,
                             .offline = d->eg->offline,
                             .unlogged = d->eg->log == NULL,
                             .host = str_of(d->host),
                             .addr = addr};
}

static struct egress_line line_of(const struct dial *d, const char *event)
{
    return (struct egress_line){.event = event,
                                .row = d->row,
                                .rule = d->rule,
                                .host = str_of(d->host),
                                .port = d->port,
                                .row_zone = d->row_zone,
                                .req_zone = d->req_zone,
                                .proxy = d->proxy,
                                .has_zones = true};
}

/* A refusal is a line too. That it cannot be written changes nothing: nothing leaves. */
static void log_refusal(struct dial *d, const char *why)
{
    struct egress_line x = line_of(d, "refused");
    x.what = why;
    if (d->eg->log)
        egress_log_add(d->eg->log, &x, false, NULL, NULL);
}

static void log_end(struct dial *d, CURL *easy, const char *how)
{
    curl_off_t up = 0, down = 0;
    long head_out = 0, head_in = 0;
    if (d->seq == 0 || !d->eg->log)
        return;
    curl_easy_getinfo(easy, CURLINFO_SIZE_UPLOAD_T, &up);
    curl_easy_getinfo(easy, CURLINFO_SIZE_DOWNLOAD_T, &down);
    curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &head_out);
    curl_easy_getinfo(easy, CURLINFO_HEADER_SIZE, &head_in);
    struct egress_line x = {.event = "close",
                            .row = d->row,
                            .of = d->seq,
                            .out = (uint64_t)up + (uint64_t)head_out,
                            .in = (uint64_t)down + (uint64_t)head_in,
                            .what = how};
    egress_log_add(d->eg->log, &x, false, NULL, NULL);
    d->seq = 0;
}

/* May this address be dialled? Then it is in the log before we return. */
static bool pass(struct dial *d, const char *event, const struct sockaddr *addr)
{
    struct gate_ask ask = ask_of(d, addr);
    char text[INET6_ADDRSTRLEN] = "unix";
    d->refused = gate_refuses(&ask);
    if (d->refused) {
        log_refusal(d, d->refused);
        return false;
    }
    if (!d->eg->log)
        return true; /* the gate lets only Unix sockets through without a log */
    if (addr->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)addr)->sin_addr, text, sizeof text);
    else if (addr->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)addr)->sin6_addr, text, sizeof text);
    struct egress_line x = line_of(d, event);
    x.addr = text;
    d->log_rc = egress_log_add(d->eg->log, &x, true, &d->seq, NULL);
    return d->log_rc == 0;
}

static curl_socket_t on_open(void *ctx, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct dial *d = ctx;
    if (purpose != CURLSOCKTYPE_IPCXN || !pass(d, "open", &a->addr))
        return CURL_SOCKET_BAD;
    d->opened++;
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static bool parse_addr(const char *ip, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    out->ss_family = AF_INET;
    if (inet_pton(AF_INET, ip, &((struct sockaddr_in *)out)->sin_addr) == 1)
        return true;
    out->ss_family = AF_INET6;
    return inet_pton(AF_INET6, ip, &((struct sockaddr_in6 *)out)->sin6_addr) == 1;
}

/* Connected; the request has not been sent. A connection from the pool has opened no socket for
 * this transfer, so it is asked about here, and gets its line. */
static int on_connected(void *ctx, char *remote, char *local, int remote_port, int local_port)
{
    struct dial *d = ctx;
    struct sockaddr_storage a = {.ss_family = AF_UNIX};
    if (!d->unix_path && !parse_addr(remote, &a)) {
        d->refused = "the address of the connection is not known";
        return CURL_PREREQFUNC_ABORT;
    }
    if (d->opened == 0 && !pass(d, "reuse", (struct sockaddr *)&a))
        return CURL_PREREQFUNC_ABORT;
    d->refused = NULL; /* of another address of the same name, if of any */
    d->opened = 0; /* should curl send the request again on another connection, that is asked too */
    if (d->connected)
        d->connected(d->ctx);
    return CURL_PREREQFUNC_OK;
}

/* ---- the URL ---- */

static char *url_part(CURLU *u, CURLUPart part, unsigned flags)
{
    char *curls = NULL, *ours = NULL;
    if (curl_url_get(u, part, &curls, flags) == CURLUE_OK)
        ours = strdup(curls);
    curl_free(curls);
    return ours;
}

static void strip_brackets(char *host)
{
    size_t n = strlen(host);
    if (n >= 2 && host[0] == '[' && host[n - 1] == ']') {
        memmove(host, host + 1, n - 2);
        host[n - 2] = '\0';
    }
}

/* The URL may hold a secret in its user name or query: no message repeats it. */
static int parse_url(struct dial *d, const char *url, struct err *e)
{
    d->url = curl_url();
    if (!d->url)
        return err_set(e, ERR_NOMEM, "no memory for an address");
    CURLUcode rc = curl_url_set(d->url, CURLUPART_URL, url, CURLU_DISALLOW_USER);
    if (rc == CURLUE_USER_NOT_ALLOWED)
        return err_set(e, ERR_INVAL, "%s: a user name or password in the URL is refused", d->row);
    if (rc != CURLUE_OK)
        return err_set(e, ERR_INVAL, "%s: malformed URL (%s)", d->row, curl_url_strerror(rc));
    char *scheme = url_part(d->url, CURLUPART_SCHEME, 0);
    char *port = url_part(d->url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
    d->host = url_part(d->url, CURLUPART_HOST, 0);
    bool http = scheme && strcmp(scheme, "http") == 0;
    d->https = scheme && strcmp(scheme, "https") == 0;
    uint64_t n = 0;
    bool ok = (http || d->https) && d->host && *d->host && port && str_to_u64(str_of(port), &n) &&
              n > 0 && n < 65536;
    d->port = (int)n;
    free(scheme);
    free(port);
    if (!ok)
        return err_set(e, ERR_INVAL, "%s: the URL must be http or https, with a host", d->row);
    strip_brackets(d->host);
    return 0;
}

/* ---- proxies ---- */

static const char *env_either(const char *lower, const char *upper)
{
    const char *v = getenv(lower);
    if (!v || !*v)
        v = getenv(upper);
    return v && *v ? v : NULL;
}

/* no_proxy: names separated by commas, each standing for itself and what ends in .NAME; * for all.
 */
static bool exempt(const char *list, struct str host)
{
    struct str rest = str_of(list), one;
    for (bool more = rest.p != NULL; more;) {
        more = str_cut(rest, ',', &one, &rest);
        one = str_trim(one);
        if (str_is(one, "*"))
            return true;
        if (one.n && one.p[0] == '.')
            one = str_n(one.p + 1, one.n - 1);
        if (one.n == 0 || one.n > host.n)
            continue;
        struct str end = str_n(host.p + host.n - one.n, one.n);
        if (str_ieq(end, one) && (one.n == host.n || host.p[host.n - one.n - 1] == '.'))
            return true;
    }
    return false;
}

/* What the environment names as proxy counts for https in the cloud and for nothing else: to any
 * other row it would be a machine that nobody put in the zone. */
static int choose_proxy(struct dial *d, CURL *easy, struct err *e)
{
    const char *url = env_either("https_proxy", "HTTPS_PROXY");
    if (!url)
        url = env_either("all_proxy", "ALL_PROXY");
    bool use = url && d->row_zone == GEN_CLOUD && d->https && !d->unix_path && !d->eg->offline &&
               !gate_host_is_loopback(str_of(d->host)) &&
               !exempt(env_either("no_proxy", "NO_PROXY"), str_of(d->host));
    curl_easy_setopt(easy, CURLOPT_NOPROXY, use ? "" : "*");
    curl_easy_setopt(easy, CURLOPT_PROXY, use ? url : "");
    if (!use)
        return 0;
    CURLU *u = curl_url();
    char *host = NULL, *port = NULL;
    if (u && curl_url_set(u, CURLUPART_URL, url, CURLU_GUESS_SCHEME | CURLU_NON_SUPPORT_SCHEME) ==
                 CURLUE_OK) {
        host = url_part(u, CURLUPART_HOST, 0);
        port = url_part(u, CURLUPART_PORT, 0);
    }
    curl_url_cleanup(u);
    bool ok = host && asprintf(&d->proxy, "%s:%s", host, port ? port : "1080") >= 0;
    if (!ok)
        d->proxy = NULL;
    free(host);
    free(port);
    return ok ? 0 : err_set(e, ERR_INVAL, "the proxy named by the environment is not a URL");
}

/* ---- headers ---- */

bool egress_header_is(const char *line, const char *name)
{
    size_t n = strlen(name);
    return str_istarts(str_of(line), str_of(name)) && line[n] == ':';
}

static bool dropped(const char *const *drop, const char *line)
{
    for (; drop && *drop; drop++)
        if (egress_header_is(line, *drop))
            return true;
    return false;
}

static int add_header(struct dial *d, const char *line, struct err *e)
{
    struct curl_slist *more = curl_slist_append(d->headers, line);
    if (!more)
        return err_set(e, ERR_NOMEM, "%s: no memory for a header", d->row);
    d->headers = more;
    return 0;
}

static bool has_header(const char *const *headers, const char *name)
{
    for (; headers && *headers; headers++)
        if (egress_header_is(*headers, name))
            return true;
    return false;
}

/* Header lines carry keys: messages name no more than which one it was. */
static int take_headers(struct dial *d, const struct dial_params *p, struct err *e)
{
    int rc = add_header(d, "Expect:", e); /* no pause of a second before a large body */
    if (rc == 0 && !has_header(p->headers, "User-Agent"))
        rc = add_header(d, "User-Agent: weir/" WEIR_VERSION, e);
    if (rc == 0 && !has_header(p->headers, "Content-Type"))
        rc = add_header(d, "Content-Type:", e); /* not curl's guess */
    for (size_t i = 0; rc == 0 && p->headers && p->headers[i]; i++) {
        const char *line = p->headers[i];
        const char *colon = strchr(line, ':');
        if (i >= MAX_HEADERS || !colon || colon == line || strpbrk(line, "\r\n") ||
            egress_header_is(line, "Host") || egress_header_is(line, "Content-Length") ||
            egress_header_is(line, "Transfer-Encoding"))
            return err_set(e, ERR_INVAL, "%s: header number %zu is not allowed", d->row, i + 1);
        if (!dropped(p->drop, line))
            rc = add_header(d, line, e);
    }
    return rc;
}

/* ---- setting up ---- */

/* `localhost` is this machine without asking anybody. */
static int pin_localhost(struct dial *d, CURL *easy, struct err *e)
{
    char line[96];
    if (d->unix_path || !str_ieq(str_of(d->host), STR("localhost")))
        return 0;
    snprintf(line, sizeof line, "localhost:%d:127.0.0.1,[::1]", d->port);
    d->resolve = curl_slist_append(NULL, line);
    if (!d->resolve)
        return err_set(e, ERR_NOMEM, "%s: no memory for an address", d->row);
    curl_easy_setopt(easy, CURLOPT_RESOLVE, d->resolve);
    return 0;
}

static int set_up(struct dial *d, CURL *easy, struct err *e)
{
    CURLcode rc = curl_easy_setopt(easy, CURLOPT_CURLU, d->url);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_connected);
    if (rc == CURLE_OK && d->unix_path)
        rc = curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, d->unix_path);
    if (rc != CURLE_OK) /* without one of these there is no gate */
        return err_set(e, ERR_INTERNAL, "%s: %s", d->row, curl_easy_strerror(rc));
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, d);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, d);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, d->headers);
    return 0;
}

int dial_init(struct dial *d, CURL *easy, const struct dial_params *p, struct err *e)
{
    d->eg = p->eg;
    d->row_zone = p->row->zone;
    d->req_zone = p->req_zone;
    d->row = strdup(p->row->name);
    d->rule = strdup(p->rule ? p->rule : "");
    d->unix_path = p->row->unix_path ? strdup(p->row->unix_path) : NULL;
    if (!d->row || !d->rule || (p->row->unix_path && !d->unix_path))
        return err_set(e, ERR_NOMEM, "no memory for a connection");
    int rc = parse_url(d, p->url, e);
    if (rc == 0)
        rc = take_headers(d, p, e);
    if (rc == 0)
        rc = choose_proxy(d, easy, e);
    if (rc != 0)
        return rc;
    struct gate_ask ask = ask_of(d, NULL);
    const char *why = gate_refuses(&ask);
    if (why) {
        log_refusal(d, why);
        return err_set(e, ERR_POLICY, "%s: %s", d->row, why);
    }
    rc = pin_localhost(d, easy, e);
    return rc ? rc : set_up(d, easy, e);
}

void dial_done(struct dial *d)
{
    free(d->row);
    free(d->rule);
    free(d->host);
    free(d->unix_path);
    free(d->proxy);
    curl_url_cleanup(d->url);
    curl_slist_free_all(d->headers);
    curl_slist_free_all(d->resolve);
    *d = (struct dial){0};
}

/* ---- the end ---- */

static int code_of(CURLcode rc)
{
    switch (rc) {
    case CURLE_OK: return 0;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SEND_ERROR: return ERR_CONNECT;
    case CURLE_OPERATION_TIMEDOUT: return ERR_TIMEOUT;
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING: return ERR_CUT;
    case CURLE_OUT_OF_MEMORY: return ERR_NOMEM;
    default: return ERR_UPSTREAM;
    }
}

int dial_finish(struct dial *d, CURL *easy, CURLcode rc, int override, struct err *e)
{
    int code = override ? override : code_of(rc);
    const char *why = override ? err_text(override) : curl_easy_strerror(rc);
    if (rc != CURLE_OK && !override && d->log_rc != 0) {
        code = d->log_rc;
        why = "the egress log cannot be written, so nothing leaves";
    } else if (rc != CURLE_OK && !override && d->refused) {
        code = ERR_POLICY;
        why = d->refused;
    }
    log_end(d, easy, code == 0 ? "ok" : err_name(code));
    if (code == 0)
        return 0;
    return err_set(e, code, "%s (%s port %d): %s", d->row, d->unix_path ? "unix" : d->host, d->port,
                   why);
}
