/* http_listen.c: somewhere to listen: a TCP address, a Unix socket, or a socket that was handed to
 * us; and how many descriptors the process may have. Called by http_server.c and app/. */
#include "http_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 4096 /* a flood of clients waits here; the kernel cuts it to what it allows */
#define FIRST_INHERITED 3

static void on_connection(uv_stream_t *u, int status)
{
    server_arrived(u->data, status);
}

static void begin(struct listener *l, bool is_unix)
{
    l->is_unix = is_unix;
    if (is_unix)
        uv_pipe_init(l->s->uv, &l->u.pipe, 0);
    else
        uv_tcp_init(l->s->uv, &l->u.tcp);
    l->u.handle.data = l;
    l->open = true;
}

static int name_it(struct listener *l, const char *text, struct err *e)
{
    l->bound = strdup(text);
    return l->bound ? 0 : err_set(e, ERR_NOMEM, "no memory for a listener");
}

static int port_of(const struct sockaddr_storage *a)
{
    if (a->ss_family != AF_INET && a->ss_family != AF_INET6)
        return 0;
    return ntohs(((const struct sockaddr_in *)a)->sin_port); /* at the same place in both */
}

/* ---- TCP ---- */

static int open_tcp(struct listener *l, const struct net_listen *p, int *port, struct err *e)
{
    struct sockaddr_storage a;
    const char *host = p->host ? p->host : "127.0.0.1";
    host = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    if (p->port < 0 || p->port > 65535)
        return err_set(e, ERR_INVAL, "port %d is not between 0 and 65535", p->port);
    if (uv_ip4_addr(host, p->port, (struct sockaddr_in *)&a) != 0 &&
        uv_ip6_addr(host, p->port, (struct sockaddr_in6 *)&a) != 0)
        return err_set(e, ERR_INVAL, "'%s' is not an address to listen on", host);
    int rc = name_it(l, host, e);
    if (rc != 0)
        return rc;
    begin(l, false);
    rc = uv_tcp_bind(&l->u.tcp, (struct sockaddr *)&a, 0);
    if (rc == 0)
        rc = uv_listen(&l->u.stream, BACKLOG, on_connection);
    int len = sizeof a;
    if (rc == 0)
        rc = uv_tcp_getsockname(&l->u.tcp, (struct sockaddr *)&a, &len);
    if (rc != 0)
        return err_set(e, rc == UV_EADDRINUSE ? ERR_BUSY : ERR_IO,
                       "cannot listen on %s port %d: %s", host, p->port, uv_strerror(rc));
    *port = port_of(&a);
    return 0;
}

/* ---- a Unix socket ---- */

/* Whether a socket file is in use can be asked by dialling it, but this folder cannot dial: the
 * server that listens holds a lock on PATH.lock, which the kernel drops when it dies. */
static int lock_path(struct listener *l, const char *path, struct err *e)
{
    char lock[sizeof((struct sockaddr_un *)0)->sun_path + 8];
    snprintf(lock, sizeof lock, "%s.lock", path);
    l->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (l->lock_fd < 0)
        return err_set(e, ERR_IO, "cannot open %s: %s", lock, strerror(errno));
    if (flock(l->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return err_set(e, errno == EWOULDBLOCK ? ERR_BUSY : ERR_IO, "%s: %s", path,
                       errno == EWOULDBLOCK ? "another server listens there" : strerror(errno));
    return 0;
}

static int open_unix(struct listener *l, const char *path, struct err *e)
{
    if (strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return err_set(e, ERR_INVAL, "%s: longer than a socket's name may be", path);
    int rc = lock_path(l, path, e);
    if (rc == 0)
        rc = name_it(l, path, e);
    if (rc != 0)
        return rc;
    struct stat st;
    if (lstat(path, &st) == 0) {
        if (!S_ISSOCK(st.st_mode))
            return err_set(e, ERR_EXISTS, "%s exists and is not a socket", path);
        unlink(path); /* its server is dead: we hold the lock */
    }
    begin(l, true);
    rc = uv_pipe_bind(&l->u.pipe, path);
    /* Nobody can connect before listen, so nobody gets in while the mode is still the umask's. */
    if (rc == 0 && chmod(path, 0600) != 0)
        rc = uv_translate_sys_error(errno);
    if (rc == 0)
        rc = uv_listen(&l->u.stream, BACKLOG, on_connection);
    if (rc != 0)
        return err_set(e, ERR_IO, "cannot listen on %s: %s", path, uv_strerror(rc));
    return 0;
}

/* ---- a socket that was handed over ---- */

static void print_address(const struct sockaddr_storage *a, socklen_t len, char *out, size_t n)
{
    const struct sockaddr_un *u = (const struct sockaddr_un *)a;
    snprintf(out, n, "unix");
    if (a->ss_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)a)->sin_addr, out, (socklen_t)n);
    else if (a->ss_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)a)->sin6_addr, out, (socklen_t)n);
    else if (len > offsetof(struct sockaddr_un, sun_path) && u->sun_path[0])
        snprintf(out, n, "%s", u->sun_path);
}

static int is_listening(int fd, struct sockaddr_storage *a, socklen_t *len)
{
    int type = 0, accepts = 0;
    socklen_t n = sizeof type, m = sizeof accepts;
    memset(a, 0, sizeof *a);
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_STREAM &&
           getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &m) == 0 && accepts &&
           getsockname(fd, (struct sockaddr *)a, len) == 0 &&
           (a->ss_family == AF_INET || a->ss_family == AF_INET6 || a->ss_family == AF_UNIX);
}

static int adopt(struct listener *l, int fd, int *port, struct err *e)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    char text[sizeof(struct sockaddr_un)];
    if (!is_listening(fd, &a, &len))
        return err_set(e, ERR_INVAL, "descriptor %d is no listening TCP or Unix socket", fd);
    print_address(&a, len, text, sizeof text);
    int rc = name_it(l, text, e);
    if (rc != 0)
        return rc;
    begin(l, a.ss_family == AF_UNIX);
    rc = l->is_unix ? uv_pipe_open(&l->u.pipe, fd) : uv_tcp_open(&l->u.tcp, fd);
    if (rc == 0)
        rc = uv_listen(&l->u.stream, BACKLOG, on_connection);
    if (rc != 0)
        return err_set(e, ERR_IO, "cannot listen on the descriptor %d (%s): %s", fd, text,
                       uv_strerror(rc));
    *port = port_of(&a);
    return 0;
}

/* ---- all three ---- */

void listener_done(struct listener *l)
{
    if (l->lock_fd >= 0)
        close(l->lock_fd);
    l->lock_fd = -1;
    free(l->bound);
    free(l->failed);
}

int listener_open(struct listener *l, const struct net_listen *p, int *port, struct err *e)
{
    struct err why = {0};
    int rc = p->fd > 0      ? adopt(l, p->fd, port, &why)
             : p->unix_path ? open_unix(l, p->unix_path, &why)
                            : open_tcp(l, p, port, &why);
    if (rc == 0)
        return 0;
    *port = -1;
    if (p->optional && rc == ERR_BUSY) {
        l->failed = strdup(err_msg(&why));
        return l->failed ? 0 : err_set(e, ERR_NOMEM, "no memory for a listener");
    }
    if (e)
        *e = why;
    return rc;
}

static int take_inherited(int fd, struct str name, struct net_inherited *out, struct err *e)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    if (!is_listening(fd, &a, &len))
        return err_set(e, ERR_INVAL, "LISTEN_FDS: descriptor %d is no listening TCP or Unix socket",
                       fd);
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return err_set(e, ERR_IO, "descriptor %d: %s", fd, strerror(errno));
    *out = (struct net_inherited){.fd = fd};
    size_t n = name.n < sizeof out->name ? name.n : sizeof out->name - 1;
    if (n)
        memcpy(out->name, name.p, n);
    return 0;
}

static int read_inherited(struct net_inherited *out, size_t max, struct err *e)
{
    const char *pid_z = getenv("LISTEN_PID"), *fds_z = getenv("LISTEN_FDS");
    struct str names = str_of(getenv("LISTEN_FDNAMES")), name;
    uint64_t pid, n;
    if (!pid_z || !fds_z)
        return 0;
    if (!str_to_u64(str_of(pid_z), &pid) || !str_to_u64(str_of(fds_z), &n) || n > 1024)
        return err_set(e, ERR_INVAL, "LISTEN_PID or LISTEN_FDS is malformed");
    if (pid != (uint64_t)getpid())
        return 0;
    if (n > max)
        return err_set(e, ERR_LIMIT, "%llu sockets are handed over, %zu are taken at most",
                       (unsigned long long)n, max);
    for (uint64_t i = 0; i < n; i++) {
        if (!str_cut(names, ':', &name, &names))
            names = STR_NONE;
        int rc = take_inherited(FIRST_INHERITED + (int)i, name, &out[i], e);
        if (rc != 0)
            return rc;
    }
    return (int)n;
}

int net_inherited(struct net_inherited *out, size_t max, struct err *e)
{
    int n = read_inherited(out, max, e);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return n;
}

size_t net_raise_files(size_t want)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return 0;
    if (r.rlim_cur < want) {
        rlim_t old = r.rlim_cur;
        r.rlim_cur = r.rlim_max < want ? r.rlim_max : want;
        if (setrlimit(RLIMIT_NOFILE, &r) != 0)
            r.rlim_cur = old;
    }
    return r.rlim_cur > SIZE_MAX ? SIZE_MAX : (size_t)r.rlim_cur;
}
