/* gate.c: may this connection be opened? Pure, and the only place where that is decided.
 *
 * Asked twice: before a name is resolved (addr NULL), because a lookup already tells a stranger
 * where somebody wants to go; and with the address at the moment the socket is opened, because a
 * name can resolve to anything. What is not allowed by a rule here is refused. */
#include "egress_int.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

const char *gate_zone_name(enum gen_zone z)
{
    switch (z) {
    case GEN_DEVICE: return "device";
    case GEN_SITE: return "site";
    case GEN_CLOUD: return "cloud";
    }
    return "unknown";
}

/* The address as IPv4 in host order, also where it is written as IPv6 (::ffff:a.b.c.d). */
static bool as_v4(const struct sockaddr *a, uint32_t *out)
{
    if (a->sa_family == AF_INET) {
        *out = ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr);
        return true;
    }
    const struct in6_addr *six = &((const struct sockaddr_in6 *)a)->sin6_addr;
    if (a->sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(six))
        return false;
    uint32_t v4;
    memcpy(&v4, six->s6_addr + 12, 4);
    *out = ntohl(v4);
    return true;
}

bool gate_addr_is_loopback(const struct sockaddr *a)
{
    uint32_t v4;
    if (as_v4(a, &v4))
        return v4 >> 24 == 127;
    return a->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

/* 0.0.0.0 reaches this machine while looking like another; a group of machines is no row. */
static bool nowhere(const struct sockaddr *a)
{
    uint32_t v4;
    if (as_v4(a, &v4))
        return v4 >> 24 == 0 || v4 >> 28 >= 14;
    const struct in6_addr *six = &((const struct sockaddr_in6 *)a)->sin6_addr;
    return IN6_IS_ADDR_UNSPECIFIED(six) || IN6_IS_ADDR_MULTICAST(six);
}

/* The host as an address; false when it is a name. */
static bool literal(struct str host, struct sockaddr_storage *out)
{
    char z[INET6_ADDRSTRLEN];
    struct sockaddr_in *four = (struct sockaddr_in *)out;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)out;
    if (host.n == 0 || host.n >= sizeof z)
        return false;
    memcpy(z, host.p, host.n);
    z[host.n] = '\0';
    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, z, &four->sin_addr) == 1) {
        out->ss_family = AF_INET;
        return true;
    }
    out->ss_family = AF_INET6;
    return inet_pton(AF_INET6, z, &six->sin6_addr) == 1;
}

bool gate_host_is_loopback(struct str host)
{
    struct sockaddr_storage a;
    if (str_ieq(host, STR("localhost")))
        return true;
    return literal(host, &a) && gate_addr_is_loopback((struct sockaddr *)&a);
}

static bool same_address(const struct sockaddr *a, const struct sockaddr *b)
{
    uint32_t x, y;
    if (as_v4(a, &x) || as_v4(b, &y))
        return as_v4(a, &x) && as_v4(b, &y) && x == y;
    return memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
                  &((const struct sockaddr_in6 *)b)->sin6_addr, 16) == 0;
}

static const char *check_zones(const struct gate_ask *a)
{
    if (a->req_zone < GEN_DEVICE || a->req_zone > GEN_CLOUD || a->row_zone < GEN_DEVICE ||
        a->row_zone > GEN_CLOUD)
        return "unknown zone";
    if (a->row_zone > a->req_zone)
        return "the request may not leave its zone for a looser one";
    if (a->unlogged && !a->is_unix)
        return "no log is open: only Unix sockets may be dialled";
    if (a->proxied && (a->row_zone != GEN_CLOUD || !a->https || a->is_unix || a->offline))
        return "a proxy is another machine: only for https in the cloud";
    return NULL;
}

/* Where nothing but this machine will do, and where plain http may be spoken. */
static const char *check_host(const struct gate_ask *a)
{
    bool here = gate_host_is_loopback(a->host);
    if (a->host.n == 0)
        return "no host";
    if (a->offline && !here)
        return "offline: only this machine may be dialled";
    if ((a->row_zone == GEN_DEVICE || a->req_zone == GEN_DEVICE) && !here)
        return "a device row must be a Unix socket, localhost or a loopback address";
    if (!a->https && !here && a->row_zone != GEN_SITE)
        return "plain http goes only to this machine or to a site row";
    return NULL;
}

static const char *check_addr(const struct gate_ask *a)
{
    struct sockaddr_storage named;
    if (a->addr->sa_family != AF_INET && a->addr->sa_family != AF_INET6)
        return "not an internet address";
    if (nowhere(a->addr))
        return "an address that is no machine's";
    if (a->proxied)
        return NULL; /* the address is the proxy's, which the user named */
    bool here = gate_addr_is_loopback(a->addr);
    if (gate_host_is_loopback(a->host) && !here)
        return "a loopback name that is not on this machine";
    if (literal(a->host, &named) && !same_address((struct sockaddr *)&named, a->addr))
        return "not the address that was asked for";
    if ((a->row_zone == GEN_DEVICE || a->req_zone == GEN_DEVICE || a->offline) && !here)
        return "resolved to another machine";
    return NULL;
}

const char *gate_refuses(const struct gate_ask *a)
{
    const char *why = check_zones(a);
    if (why)
        return why;
    if (a->is_unix)
        return a->addr && a->addr->sa_family != AF_UNIX ? "not the row's Unix socket" : NULL;
    why = check_host(a);
    if (why || !a->addr)
        return why;
    return check_addr(a);
}
