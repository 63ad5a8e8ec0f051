/* child.c: runs another program to its end. Everything that allocates happens before fork: between
 * fork and exec the child makes only calls that are safe in a process with threads.
 *
 *   parent                          child
 *   out, errout  <── pipes ───────  1, 2          0 is /dev/null
 *   failure      <── report pipe ─  3             closed by a successful exec
 *
 * The child leads its own process group, which is killed as a whole before the child is reaped, so
 * that nothing it started outlives the call and no reused number is ever signalled. Should we be
 * killed ourselves, a watcher in that group sees our end of its pipe close and kills the group:
 * PR_SET_PDEATHSIG alone reaches only the child, not what a wrapper script has started. */
#include "child.h"

#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

extern char **environ;

#define TICK_MS 100
#define PATH_MAX_BYTES 4096

/* ---- environment and program ---- */

static bool names_same(const char *entry, const char *other)
{
    size_t n = strcspn(entry, "=");
    return strncmp(entry, other, n) == 0 && (other[n] == '=' || other[n] == '\0');
}

static bool overridden(const struct child_opts *o, const char *entry)
{
    for (const char *const *p = o->env_drop; p && *p; p++)
        if (names_same(entry, *p))
            return true;
    for (const char *const *p = o->env_add; p && *p; p++)
        if (names_same(entry, *p))
            return true;
    return false;
}

/* A list of borrowed entries; the caller frees the list. */
static const char **make_env(const struct child_opts *o)
{
    size_t n = 0;
    for (char **p = environ; *p; p++)
        n++;
    for (const char *const *p = o->env_add; p && *p; p++)
        n++;
    const char **env = malloc((n + 1) * sizeof *env);
    if (!env)
        return NULL;
    n = 0;
    for (char **p = environ; *p; p++)
        if (!overridden(o, *p))
            env[n++] = *p;
    for (const char *const *p = o->env_add; p && *p; p++)
        env[n++] = *p;
    env[n] = NULL;
    return env;
}

static bool can_run(const char *path)
{
    return access(path, X_OK) == 0;
}

/* The path of a program: as given if it holds a slash, else the first in PATH. */
static int find_program(const char *name, const char **env, char *path, struct err *e)
{
    struct str dirs = STR("/usr/local/bin:/usr/bin:/bin"), dir;
    for (const char **p = env; *p; p++)
        if (strncmp(*p, "PATH=", 5) == 0)
            dirs = str_of(*p + 5);
    if (strchr(name, '/')) {
        int n = snprintf(path, PATH_MAX_BYTES, "%s", name);
        if (n < PATH_MAX_BYTES && can_run(path))
            return 0;
        dirs = STR_NONE;
    }
    while (dirs.n) {
        str_cut(dirs, ':', &dir, &dirs);
        int n = snprintf(path, PATH_MAX_BYTES, "%.*s/%s", STR_ARG(dir), name);
        if (dir.n && n < PATH_MAX_BYTES && can_run(path))
            return 0;
    }
    return err_set(e, ERR_NOT_FOUND, "no program %s", name);
}

/* ---- pipes ---- */

static void shut(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Both ends close on exec and lie above the descriptors that the child rearranges. */
static int make_pipe(int fds[2])
{
    int raw[2];
#ifdef __linux__
    if (pipe2(raw, O_CLOEXEC) != 0)
        return -1;
#else
    if (pipe(raw) != 0)
        return -1;
#endif
    fds[0] = fcntl(raw[0], F_DUPFD_CLOEXEC, 10);
    fds[1] = fcntl(raw[1], F_DUPFD_CLOEXEC, 10);
    close(raw[0]);
    close(raw[1]);
    return fds[0] >= 0 && fds[1] >= 0 ? 0 : -1;
}

enum { OUT, ERRS, REPORT, LIFE, NPIPES };

struct run {
    const struct child_opts *o;
    int pipes[NPIPES][2]; /* [0] is read by us; of LIFE, by the watcher */
    pid_t pid, watcher;
    struct buf *bufs[2];
    size_t kept[2];
    uint64_t deadline; /* 0: none */
    struct err *e;
};

static void close_pipes(struct run *r)
{
    for (int i = 0; i < NPIPES; i++) {
        shut(&r->pipes[i][0]);
        shut(&r->pipes[i][1]);
    }
}

/* ---- in the child ---- */

static _Noreturn void report(int fd)
{
    int code = errno;
    ssize_t n = write(fd, &code, sizeof code);
    _exit(n == (ssize_t)sizeof code ? 127 : 126);
}

static void close_from(int first)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, (unsigned)first, ~0u, 0u) == 0)
        return;
#endif
    long top = sysconf(_SC_OPEN_MAX);
    for (int fd = first; fd < (top > 0 && top < 65536 ? (int)top : 65536); fd++)
        close(fd);
}

static void default_signals(void)
{
    sigset_t none;
    for (int sig = 1; sig < 32; sig++)
        if (sig != SIGKILL && sig != SIGSTOP)
            signal(sig, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void become(const struct run *r, const char *path, const char **env, pid_t parent)
{
    int to = r->pipes[REPORT][1];
    setpgid(0, 0);
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it died before the line above */
        _exit(126);
#endif
    default_signals();
    int null = open("/dev/null", O_RDONLY);
    if (null < 0 || dup2(null, 0) < 0 || dup2(r->pipes[OUT][1], 1) < 0 ||
        dup2(r->pipes[ERRS][1], 2) < 0 || dup2(to, 3) < 0 || fcntl(3, F_SETFD, FD_CLOEXEC) != 0)
        report(to);
    close_from(4);
    if (r->o->dir && chdir(r->o->dir) != 0)
        report(3);
    execve(path, (char *const *)(uintptr_t)r->o->argv, (char *const *)(uintptr_t)env);
    report(3);
}

/* ---- in the watcher ---- */

static _Noreturn void stand_watch(int life, pid_t group)
{
    char c;
    setpgid(0, group);
    default_signals();
    if (dup2(life, 3) < 0)
        _exit(1);
    close_from(4); /* other runs' pipes too: a copy of their ends here would keep them open */
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    while (read(3, &c, 1) < 0 && errno == EINTR)
        continue;
    kill(-group, SIGKILL); /* and with it this process */
    _exit(0);
}

/* ---- in the parent ---- */

static void keep(struct run *r, int which, const char *p, size_t n)
{
    struct buf *b = r->bufs[which];
    if (!b)
        return;
    size_t room = r->o->max_output - r->kept[which];
    if (room > b->max - b->n)
        room = b->max - b->n;
    if (n > room)
        n = room;
    buf_add(b, p, n);
    r->kept[which] += n;
}

/* One read of a pipe that poll called readable; closed at its end. */
static void drain(struct run *r, int which)
{
    char chunk[16384];
    ssize_t n = read(r->pipes[which][0], chunk, sizeof chunk);
    if (n > 0)
        keep(r, which, chunk, (size_t)n);
    else if (n == 0 || (errno != EINTR && errno != EAGAIN))
        shut(&r->pipes[which][0]);
}

/* Waits for output, at most ms. True if there was some. */
static bool wait_output(struct run *r, int ms)
{
    struct pollfd p[2] = {{.fd = r->pipes[OUT][0], .events = POLLIN},
                          {.fd = r->pipes[ERRS][0], .events = POLLIN}};
    bool some = poll(p, 2, ms) > 0;
    for (int i = 0; some && i < 2; i++)
        if (p[i].revents)
            drain(r, i);
    return some;
}

/* Whether the child has ended; it is not reaped yet. */
static bool has_ended(const struct run *r)
{
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)r->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0)
        return errno == ECHILD; /* where SIGCHLD is ignored, the system has reaped it */
    return info.si_pid != 0;
}

static int check_limits(struct run *r, uint64_t *next_tick)
{
    uint64_t now = clock_mono_ns();
    if (r->deadline && now >= r->deadline)
        return err_set(r->e, ERR_TIMEOUT, "%s took longer than %d ms", r->o->argv[0],
                       r->o->timeout_ms);
    if (now < *next_tick)
        return 0;
    *next_tick = now + TICK_MS * 1000000ull;
    if (r->o->tick && r->o->tick(r->o->ctx) != 0)
        return err_set(r->e, ERR_CANCELLED, "%s was stopped", r->o->argv[0]);
    return 0;
}

static int poll_ms(const struct run *r, uint64_t next_tick)
{
    if (r->pipes[OUT][0] < 0 && r->pipes[ERRS][0] < 0)
        return 5; /* nothing wakes us when it ends */
    uint64_t now = clock_mono_ns(), until = next_tick;
    if (r->deadline && r->deadline < until)
        until = r->deadline;
    return until <= now ? 0 : (int)((until - now + 999999) / 1000000);
}

static int watch(struct run *r)
{
    uint64_t next_tick = clock_mono_ns() + TICK_MS * 1000000ull;
    while (!has_ended(r)) {
        wait_output(r, poll_ms(r, next_tick));
        int rc = check_limits(r, &next_tick);
        if (rc != 0)
            return rc;
    }
    /* What is still in the pipes; a grandchild that holds them open is not waited for. */
    for (int i = 0; i < 1024 && wait_output(r, 0); i++)
        if (r->pipes[OUT][0] < 0 && r->pipes[ERRS][0] < 0)
            break;
    return 0;
}

static int reap(const struct run *r)
{
    int raw = 0;
    kill(-r->pid, SIGKILL);
    kill(r->pid, SIGKILL); /* should it not lead its group yet */
    if (r->watcher > 0) {
        kill(r->watcher, SIGKILL);
        while (waitpid(r->watcher, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    while (waitpid(r->pid, &raw, 0) < 0 && errno == EINTR)
        continue;
    return WIFSIGNALED(raw) ? 128 + WTERMSIG(raw) : WEXITSTATUS(raw);
}

/* 0 once exec has succeeded, else what stopped it. */
static int exec_result(struct run *r)
{
    int code = 0;
    ssize_t n;
    do
        n = read(r->pipes[REPORT][0], &code, sizeof code);
    while (n < 0 && errno == EINTR);
    shut(&r->pipes[REPORT][0]);
    if (n != (ssize_t)sizeof code)
        return 0;
    return err_set(r->e, code == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot start %s: %s",
                   r->o->argv[0], strerror(code));
}

static int start(struct run *r, const char *path, const char **env)
{
    for (int i = 0; i < NPIPES; i++)
        if (make_pipe(r->pipes[i]) != 0)
            return err_set(r->e, ERR_IO, "no pipe for %s: %s", r->o->argv[0], strerror(errno));
    pid_t parent = getpid();
    r->pid = fork();
    if (r->pid < 0)
        return err_set(r->e, ERR_IO, "no process for %s: %s", r->o->argv[0], strerror(errno));
    if (r->pid == 0)
        become(r, path, env, parent);
    setpgid(r->pid, r->pid); /* both sides, so that it holds whoever runs first */
    for (int i = OUT; i <= REPORT; i++)
        shut(&r->pipes[i][1]);
    for (int i = OUT; i <= ERRS; i++)
        fcntl(r->pipes[i][0], F_SETFL, O_NONBLOCK);
    return 0;
}

static int set_watcher(struct run *r)
{
    r->watcher = fork();
    if (r->watcher == 0)
        stand_watch(r->pipes[LIFE][0], r->pid);
    if (r->watcher < 0)
        return err_set(r->e, ERR_IO, "no process for %s: %s", r->o->argv[0], strerror(errno));
    shut(&r->pipes[LIFE][0]);
    return 0;
}

static int run_program(struct run *r, const char *path, const char **env, int *status)
{
    int rc = start(r, path, env);
    if (rc != 0)
        return rc;
    rc = set_watcher(r);
    if (rc == 0)
        rc = exec_result(r);
    if (rc == 0)
        rc = watch(r);
    int code = reap(r);
    if (rc == 0)
        *status = code;
    return rc;
}

int child_run(const struct child_opts *o, struct buf *out, struct buf *errout, int *status,
              struct err *e)
{
    struct run r = {.o = o, .bufs = {out, errout}, .e = e};
    for (int i = 0; i < NPIPES; i++)
        r.pipes[i][0] = r.pipes[i][1] = -1;
    if (o->timeout_ms > 0)
        r.deadline = clock_mono_ns() + (uint64_t)o->timeout_ms * 1000000u;
    const char **env = make_env(o);
    char *path = malloc(PATH_MAX_BYTES);
    int rc;
    if (!env || !path)
        rc = err_set(e, ERR_NOMEM, "no memory to start %s", o->argv[0]);
    else
        rc = find_program(o->argv[0], env, path, e);
    if (rc == 0)
        rc = run_program(&r, path, env, status);
    close_pipes(&r);
    free(path);
    free(env);
    return rc;
}
