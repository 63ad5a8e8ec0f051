/* probe.c: the two small ways out: asking whether something listens on this machine, and noting
 * that a child of ours may dial. */
#include "egress_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

static bool connects(const struct sockaddr_in *a, int ms)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    int rc = connect(fd, (const struct sockaddr *)a, sizeof *a);
    if (rc != 0 && errno == EINPROGRESS) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        int why = 0;
        socklen_t n = sizeof why;
        if (poll(&p, 1, ms) == 1 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &n) == 0 && why == 0)
            rc = 0;
    }
    close(fd);
    return rc == 0;
}

bool egress_probe(struct egress *eg, int port, int ms)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct gate_ask ask = {.req_zone = GEN_DEVICE,
                           .row_zone = GEN_DEVICE,
                           .offline = eg->offline,
                           .unlogged = eg->log == NULL,
                           .host = STR("127.0.0.1"),
                           .addr = (struct sockaddr *)&a};
    struct egress_line x = {.event = "open",
                            .row = "probe",
                            .rule = "probe",
                            .host = ask.host,
                            .addr = "127.0.0.1",
                            .port = port,
                            .has_zones = true};
    uint64_t seq = 0;
    if (port <= 0 || port > 65535 || gate_refuses(&ask) ||
        egress_log_add(eg->log, &x, true, &seq, NULL) != 0)
        return false;
    bool there = connects(&a, ms);
    struct egress_line end = {
        .event = "close", .row = "probe", .of = seq, .what = there ? "ok" : "CONNECT"};
    egress_log_add(eg->log, &end, false, NULL, NULL);
    return there;
}

int egress_note_child(struct egress *eg, const char *rule, const char *what, struct err *e)
{
    if (eg->offline)
        return err_set(e, ERR_POLICY, "%s: offline, so %s may not be started", rule, what);
    if (!eg->log)
        return err_set(e, ERR_POLICY, "%s: no log is open, so %s may not be started", rule, what);
    struct egress_line x = {.event = "child", .row = rule, .rule = rule, .what = what};
    return egress_log_add(eg->log, &x, true, NULL, e);
}
