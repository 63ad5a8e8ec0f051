/* home.c: who owns $WEIR_HOME.
 *
 * The lock is a flock on home/weir.lock, which the kernel drops when the process ends. The file's
 * content is only a message to other processes:
 *
 *     PID SP ADDRESS LF          ADDRESS is empty until the owner listens
 *
 * It may be stale (its writer was killed), so nothing is concluded from it but where to knock. The
 * file is never removed: a second process could hold the lock of a file that has no name any more.
 * Called by app/ before everything else. */
#include "store.h"

#include "str.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HOME_PATH_MAX 4096
#define CONTENT_MAX 320
/* store_home_owner holds the lock for microseconds while it looks: an owner-to-be waits that out.
 */
#define TRIES 40
#define TRY_NS 5000000

struct store_lock {
    int fd;
};

static int make_dirs(const char *home, struct err *e)
{
    char path[HOME_PATH_MAX];
    int n = snprintf(path, sizeof path, "%s", home);
    if (n <= 0 || (size_t)n >= sizeof path - 16)
        return err_set(e, ERR_INVAL, "the home directory's name is empty or too long");
    while (n > 1 && path[n - 1] == '/') /* "home/" is made as home: private */
        path[--n] = '\0';
    for (char *p = path + 1; *p; p++)
        if (*p == '/') {
            *p = '\0';
            if (mkdir(path, 0777) < 0 && errno != EEXIST)
                return err_set(e, ERR_IO, "cannot create %s: %s", path, strerror(errno));
            *p = '/';
        }
    struct stat st;
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return err_set(e, errno == ENOSPC ? ERR_NO_SPACE : ERR_IO, "cannot create %s: %s", home,
                       strerror(errno));
    if (stat(home, &st) < 0 || !S_ISDIR(st.st_mode))
        return err_set(e, ERR_IO, "%s is not a directory", home);
    return 0;
}

static int lock_path(const char *home, char out[static HOME_PATH_MAX], struct err *e)
{
    int n = snprintf(out, HOME_PATH_MAX, "%s/weir.lock", home);
    if (n < 0 || n >= HOME_PATH_MAX)
        return err_set(e, ERR_INVAL, "the home directory's name is too long");
    return 0;
}

/* What the owner wrote; a half-written or strange content reads as "unknown". */
static struct store_owner read_owner(int fd)
{
    struct store_owner o = {0};
    char text[CONTENT_MAX];
    ssize_t n = pread(fd, text, sizeof text, 0);
    if (n <= 0)
        return o;
    struct str all = str_n(text, (size_t)n), line, rest, pid, address;
    uint64_t number = 0;
    if (!str_cut(all, '\n', &line, &rest) || !str_cut(line, ' ', &pid, &address))
        return o;
    if (!str_to_u64(pid, &number) || number > INT32_MAX || address.n >= sizeof o.address)
        return o;
    o.pid = (long)number;
    memcpy(o.address, address.p, address.n);
    return o;
}

static int write_owner(int fd, const char *address, struct err *e)
{
    char text[CONTENT_MAX];
    int n = snprintf(text, sizeof text, "%ld %s\n", (long)getpid(), address);
    if (strchr(address, '\n') || n < 0 || (size_t)n >= sizeof text)
        return err_set(e, ERR_INVAL, "the server's address does not fit into the lock file");
    /* One write, then the cut: a reader sees the old line or the new one, never a piece. */
    if (pwrite(fd, text, (size_t)n, 0) != n || ftruncate(fd, n) < 0)
        return err_set(e, errno == ENOSPC ? ERR_NO_SPACE : ERR_IO, "cannot write weir.lock: %s",
                       strerror(errno));
    return 0;
}

static bool is_alive(long pid)
{
    return pid > 0 && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}

/* 1: taken; 0: held by somebody; negative: an error. */
static int try_lock(const char *path, int fd, struct err *e)
{
    for (int i = 0;; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return 1;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_set(e, ERR_IO, "cannot lock %s: %s", path, strerror(errno));
        if (i == TRIES || is_alive(read_owner(fd).pid))
            return 0;
        nanosleep(&(struct timespec){0, TRY_NS}, NULL);
    }
}

static int take(const char *path, int fd, struct store_owner *owner, struct err *e)
{
    int rc = try_lock(path, fd, e);
    if (rc < 0)
        return rc;
    if (rc == 0) {
        struct store_owner o = read_owner(fd);
        if (owner)
            *owner = o;
        return err_set(e, ERR_BUSY, "another weir (process %ld%s%s) owns %s", o.pid,
                       o.address[0] ? ", at " : "", o.address, path);
    }
    struct stat named, held;
    if (stat(path, &named) < 0 || fstat(fd, &held) < 0 || named.st_ino != held.st_ino ||
        named.st_dev != held.st_dev)
        return err_set(e, ERR_BUSY, "%s was replaced while it was being locked", path);
    return write_owner(fd, "", e);
}

int store_home_lock(const char *home, struct store_lock **out, struct store_owner *owner,
                    struct err *e)
{
    char path[HOME_PATH_MAX];
    int rc = make_dirs(home, e);
    if (rc == 0)
        rc = lock_path(home, path, e);
    if (rc)
        return rc;
    struct store_lock *l = malloc(sizeof *l);
    if (!l)
        return err_set(e, ERR_NOMEM, "no memory for the lock");
    l->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (l->fd < 0)
        rc = err_set(e, errno == ENOSPC ? ERR_NO_SPACE : ERR_IO, "cannot open %s: %s", path,
                     strerror(errno));
    else
        rc = take(path, l->fd, owner, e);
    if (rc) {
        if (l->fd >= 0)
            close(l->fd);
        free(l);
        return rc;
    }
    *out = l;
    return 0;
}

int store_home_publish(struct store_lock *l, const char *address, struct err *e)
{
    if (strlen(address) >= sizeof((struct store_owner *)0)->address)
        return err_set(e, ERR_INVAL, "the server's address is longer than 255 bytes");
    return write_owner(l->fd, address, e);
}

void store_home_unlock(struct store_lock *l)
{
    if (!l)
        return;
    /* An owner that left in order says so; failing to is harmless, the content is only a hint. */
    int rc = ftruncate(l->fd, 0);
    (void)rc;
    close(l->fd);
    free(l);
}

int store_home_owner(const char *home, struct store_owner *owner, struct err *e)
{
    char path[HOME_PATH_MAX];
    int rc = lock_path(home, path, e);
    if (rc)
        return rc;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return err_set(e, ERR_NOT_FOUND, "no weir owns %s", home);
    if (fd < 0)
        return err_set(e, ERR_IO, "cannot open %s: %s", path, strerror(errno));
    if (flock(fd, LOCK_SH | LOCK_NB) == 0)
        rc = err_set(e, ERR_NOT_FOUND, "no weir owns %s", home);
    else if (errno != EWOULDBLOCK)
        rc = err_set(e, ERR_IO, "cannot look at %s: %s", path, strerror(errno));
    else
        *owner = read_owner(fd);
    close(fd);
    return rc;
}
