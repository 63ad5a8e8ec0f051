/* http_check.c: may this request be answered at all? Pure.
 *
 * A page in the user's browser can send requests to this server. Two checks keep it out. Host: a
 * page that had its own name resolved to 127.0.0.1 (DNS rebinding) still sends that name, so a name
 * we are not called by is refused; an address is no name, so a literal is safe where we listen.
 * Origin: a page from elsewhere says where it comes from, and is refused unless the user allowed
 * it, or all from there may come (a guest: see net_req_is_guest). */
#include "http_int.h"

#include <arpa/inet.h>

struct authority {
    struct str host; /* without brackets, and without the dot a full name may end with */
    bool v6;
    uint64_t port; /* 0: none written */
};

static bool name_chars(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '-' || c == '_';
        if (!ok)
            return false;
    }
    return s.n > 0;
}

/* "name", "name:80", "[::1]:80". User names, paths and the rest have no business here. */
static bool parse_authority(struct str s, struct authority *out)
{
    struct authority a = {.host = s};
    struct str rest = STR_NONE;
    if (s.n && s.p[0] == '[') {
        size_t end = str_find(s, STR("]"), 0);
        if (end == SIZE_MAX)
            return false;
        a.v6 = true;
        a.host = str_n(s.p + 1, end - 1);
        rest = str_n(s.p + end + 1, s.n - end - 1);
    } else {
        size_t colon = str_find(s, STR(":"), 0);
        if (colon != SIZE_MAX) {
            a.host = str_n(s.p, colon);
            rest = str_n(s.p + colon, s.n - colon);
        }
        if (!name_chars(a.host))
            return false;
        if (a.host.n > 1 && a.host.p[a.host.n - 1] == '.')
            a.host.n--;
    }
    if (rest.n > 0) {
        if (rest.p[0] != ':' || !str_to_u64(str_n(rest.p + 1, rest.n - 1), &a.port) ||
            a.port > 65535)
            return false;
    }
    *out = a;
    return true;
}

/* The address as bytes: 4, 16, or 0 when it is a name. */
static size_t literal(struct str host, bool v6, unsigned char out[16])
{
    char z[INET6_ADDRSTRLEN];
    if (host.n == 0 || host.n >= sizeof z)
        return 0;
    memcpy(z, host.p, host.n);
    z[host.n] = '\0';
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (v6 && inet_pton(AF_INET6, z, out) != 1)
        return 0;
    if (v6 && memcmp(out, mapped, sizeof mapped) == 0) {
        memmove(out, out + 12, 4); /* ::ffff:127.0.0.1 is 127.0.0.1 */
        return 4;
    }
    if (v6)
        return 16;
    return inet_pton(AF_INET, z, out) == 1 ? 4 : 0;
}

static bool is_loopback(const unsigned char *a, size_t n)
{
    static const unsigned char v6[16] = {[15] = 1};
    return n == 4 ? a[0] == 127 : n == 16 && memcmp(a, v6, 16) == 0;
}

static bool is_zero(const unsigned char *a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (a[i] != 0)
            return false;
    return true;
}

static bool address_allowed(const char *bound, const unsigned char *a, size_t n)
{
    if (is_loopback(a, n) || is_zero(a, n)) /* 0.0.0.0 dialled is this machine */
        return true;
    unsigned char b[16];
    struct str bs = str_of(bound);
    size_t bn = literal(bs, str_find(bs, STR(":"), 0) != SIZE_MAX, b);
    if (bn == 0)
        return false;
    /* Bound to every address: whichever of them a client wrote is ours, or it would not be here. */
    return is_zero(b, bn) || (bn == n && memcmp(a, b, n) == 0);
}

static bool in_list(const char *const *list, struct str s)
{
    for (; list && *list; list++)
        if (str_ieq(str_of(*list), s))
            return true;
    return false;
}

/* One `*` stands for a run of what names and ports are made of, so that no pattern reaches beyond
 * the part it stands in: "http://localhost:*" is every port, and no user name before a host. */
static bool origin_matches(struct str pattern, struct str origin)
{
    size_t star = str_find(pattern, STR("*"), 0);
    if (star == SIZE_MAX)
        return str_ieq(pattern, origin);
    if (pattern.n == 1)
        return true;
    struct str before = str_n(pattern.p, star);
    struct str after = str_n(pattern.p + star + 1, pattern.n - star - 1);
    if (origin.n < before.n + after.n || !str_istarts(origin, before) ||
        !str_ieq(str_n(origin.p + origin.n - after.n, after.n), after))
        return false;
    struct str run = str_n(origin.p + before.n, origin.n - before.n - after.n);
    bool scheme = after.n == 0 && star > 0 && pattern.p[star - 1] == '/';
    uint64_t port;
    if (after.n == 0 && !scheme && star > 0 && pattern.p[star - 1] == ':')
        return str_to_u64(run, &port) && port <= 65535;
    struct authority a;
    return scheme ? run.n == 0 || parse_authority(run, &a) : name_chars(run);
}

static bool origin_in(const char *const *list, struct str origin)
{
    for (; list && *list; list++)
        if (origin_matches(str_of(*list), origin))
            return true;
    return false;
}

static bool ends_in(struct str s, struct str end)
{
    return s.n > end.n && str_ieq(str_n(s.p + s.n - end.n, end.n), end);
}

/* Names that nobody can have resolved for a page of his: those below localhost are this machine's
 * everywhere (RFC 6761), and below internal the public name system will never have any. From a
 * container this machine is host.docker.internal or host.containers.internal. */
static bool own_name(struct str host)
{
    return str_ieq(host, STR("localhost")) || ends_in(host, STR(".localhost")) ||
           ends_in(host, STR(".internal"));
}

static int check_host(const struct http_policy *p, struct str host, const char **why)
{
    struct authority a;
    if (!p->bound || !host.p)
        return 0; /* no browser speaks over a Unix socket, or HTTP/1.0 without a Host */
    if (!parse_authority(host, &a)) {
        *why = "malformed Host";
        return 400;
    }
    unsigned char bytes[16];
    size_t n = literal(a.host, a.v6, bytes);
    if (a.v6 && n == 0) {
        *why = "malformed Host";
        return 400;
    }
    if (n ? address_allowed(p->bound, bytes, n) : own_name(a.host))
        return 0;
    if (in_list(p->allow_hosts, a.host) || in_list(p->allow_hosts, host))
        return 0;
    *why = "this server is not called by that name (see --allow-host)";
    return 403;
}

static bool is_port(const struct http_policy *p, uint64_t port)
{
    for (size_t i = 0; i < p->nports; i++)
        if (p->ports[i] > 0 && (uint64_t)p->ports[i] == port)
            return true;
    return false;
}

/* The page is ours: it has the name it calls, and the port it calls or another one of this server.
 */
static bool same_origin(const struct http_policy *p, struct str host, struct str origin)
{
    static const struct {
        struct str scheme;
        uint64_t port;
    } schemes[] = {{STR("http://"), 80}, {STR("https://"), 443}};
    struct authority h, o;
    for (int i = 0; i < 2; i++) {
        struct str s = schemes[i].scheme;
        if (!str_istarts(origin, s))
            continue;
        if (!parse_authority(host, &h) ||
            !parse_authority(str_n(origin.p + s.n, origin.n - s.n), &o))
            return false;
        uint64_t hp = h.port ? h.port : schemes[i].port, op = o.port ? o.port : schemes[i].port;
        return h.v6 == o.v6 && str_ieq(h.host, o.host) && (hp == op || is_port(p, op));
    }
    return false;
}

int http_check(const struct http_policy *p, struct str host, struct str origin, bool *guest,
               const char **why)
{
    *guest = false;
    int status = check_host(p, host, why);
    if (status != 0 || !origin.p)
        return status;
    if (host.p && same_origin(p, host, origin))
        return 0;
    if (origin_in(p->allow_origins, origin))
        return 0;
    if (origin_in(p->guests, origin)) {
        *guest = true;
        return 0;
    }
    *why = "pages from that origin may not call this server (see --allow-origin)";
    return 403;
}
