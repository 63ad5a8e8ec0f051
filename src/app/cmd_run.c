/* cmd_run.c: weir run: a conversation at the terminal, with history and line editing. Ctrl-C stops
 * an answer, Ctrl-D leaves. With standard input not a terminal each line is one turn, and the exit
 * status is that of the first one that failed. */
#include "chat.h"
#include "command.h"
#include "turn.h"

#include <editline/readline.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HISTORY_LINES 2000
#define CTRL_D 4

static const char help[] =
    "/clear starts a new conversation, /private keeps everything on this machine,\n"
    "/hybrid lets the router decide, /why explains the last answer, /bye leaves.\n";

struct talk {
    struct client *c;
    struct settings s; /* a copy whose preset may change; owns nothing */
    json_t *messages;
    json_t *last_route;
    char conversation[64];
    bool tty;
    int failed; /* the exit status of the first turn that had no answer; EXIT_OK */
};

static void add_message(json_t *list, const char *role, const char *p, size_t n)
{
    json_t *text = json_stringn(p ? p : "", n);
    if (text)
        json_array_append_new(list, json_pack("{s:s, s:o}", "role", role, "content", text));
}

static void explain(const struct talk *k)
{
    struct buf b = BUF_INIT(1 << 20);
    if (k->last_route)
        turn_plan_text(k->last_route, false, &b);
    else
        buf_puts(&b, "nothing has been asked yet\n");
    fputs(b.p ? b.p : "", stderr);
    buf_done(&b);
}

/* True when the line was a command of the prompt's own. */
static bool own_command(struct talk *k, const char *line, bool *leave)
{
    static char private_preset[] = "private", hybrid_preset[] = "hybrid";
    if (line[0] != '/')
        return false;
    if (strcmp(line, "/bye") == 0 || strcmp(line, "/exit") == 0)
        *leave = true;
    else if (strcmp(line, "/clear") == 0)
        json_array_clear(k->messages);
    else if (strcmp(line, "/private") == 0)
        k->s.preset = private_preset;
    else if (strcmp(line, "/hybrid") == 0)
        k->s.preset = hybrid_preset;
    else if (strcmp(line, "/why") == 0)
        explain(k);
    else if (strcmp(line, "/help") == 0 || strcmp(line, "/?") == 0)
        fputs(help, stderr);
    else
        return false;
    return true;
}

static void one_turn(struct talk *k, const char *line)
{
    struct turn t;
    struct err e = {0};
    struct buf out = BUF_INIT(65536);
    turn_init(&t);
    add_message(k->messages, "user", line, strlen(line));
    int rc = turn_ask(k->c, &k->s, k->messages, stdout, &t, &e);
    if (t.route) {
        json_decref(k->last_route);
        k->last_route = json_incref(t.route);
    }
    if (rc == ERR_CANCELLED)
        fputs("(stopped)\n", stderr);
    int code = rc ? command_fail(&e) : EXIT_OK;
    if (k->failed == EXIT_OK)
        k->failed = code;
    /* What was shown stays in the conversation, a stopped answer too; a question without answer is
     * taken back. */
    if (t.text.n)
        add_message(k->messages, "assistant", t.text.p, t.text.n);
    else
        json_array_remove(k->messages, json_array_size(k->messages) - 1);
    if (t.account && !k->s.quiet) {
        turn_line(t.account, &out);
        fprintf(stderr, "%s\n", out.p ? out.p : "");
    }
    buf_done(&out);
    turn_done(&t);
}

/* ---- reading lines ---- */

static volatile sig_atomic_t caught;

static void note_signal(int sig)
{
    caught = sig;
}

/* One byte for readline. Signals are blocked but inside ppoll, which opens to them and waits in one
 * step: none is lost between a look at `caught` and the wait. */
static int next_byte(FILE *in)
{
    struct pollfd p = {.fd = fileno(in), .events = POLLIN};
    unsigned char c;
    sigset_t open_to;
    pthread_sigmask(SIG_SETMASK, NULL, &open_to);
    sigdelset(&open_to, SIGINT);
    sigdelset(&open_to, SIGTERM);
    while (!caught) {
        int n = ppoll(&p, 1, NULL, &open_to);
        if (n > 0 && read(p.fd, &c, 1) == 1)
            return c ? c : CTRL_D;
        if (n > 0)
            return EOF;
        if (n < 0 && errno != EINTR)
            return EOF;
    }
    return EOF;
}

/* Ctrl-C gives up the line and asks again; SIGTERM leaves the way Ctrl-D does, so that what others
 * ask of this process may finish. */
static char *read_tty(void)
{
    struct sigaction act = {.sa_handler = note_signal}, old_int, old_term;
    sigset_t ours, old_mask;
    char *line;
    sigemptyset(&ours);
    sigaddset(&ours, SIGINT);
    sigaddset(&ours, SIGTERM);
    sigaction(SIGINT, &act, &old_int);
    sigaction(SIGTERM, &act, &old_term);
    pthread_sigmask(SIG_BLOCK, &ours, &old_mask);
    do {
        caught = 0;
        line = readline(">>> ");
        if (caught) {
            free(line);
            line = NULL;
            fputs("\n", stdout);
        }
    } while (caught == SIGINT);
    pthread_sigmask(SIG_SETMASK, &old_mask, NULL);
    sigaction(SIGINT, &old_int, NULL);
    sigaction(SIGTERM, &old_term, NULL);
    return line;
}

static char *read_pipe(void)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n = getline(&line, &cap, stdin);
    if (n < 0) {
        free(line);
        return NULL;
    }
    line[strcspn(line, "\r\n")] = '\0';
    return line;
}

static void history_path(const struct settings *s, char *out, size_t n)
{
    snprintf(out, n, "%s/history", s->home);
}

static void talk_loop(struct talk *k)
{
    char path[4096];
    bool leave = false;
    history_path(&k->s, path, sizeof path);
    if (k->tty) {
        rl_catch_signals =
            0; /* both are read when the editor is set up, which using_history does */
        rl_getc_function = next_byte;
        using_history();
        stifle_history(HISTORY_LINES);
        read_history(path);
    }
    for (char *line; !leave && (line = k->tty ? read_tty() : read_pipe()); free(line)) {
        struct str text = str_trim(str_of(line));
        if (text.n == 0)
            continue;
        if (k->tty) {
            add_history(line);
            write_history(path);
            chmod(path, 0600); /* it holds what was asked */
        }
        if (!own_command(k, line, &leave))
            one_turn(k, line);
    }
}

int chat_loop(struct client *c, const struct settings *s)
{
    struct talk k = {.c = c, .s = *s, .messages = json_array(), .tty = isatty(STDIN_FILENO)};
    snprintf(k.conversation, sizeof k.conversation, "cli-%ld-%lld", (long)getpid(),
             (long long)time(NULL));
    if (!k.s.conversation || !*k.s.conversation)
        k.s.conversation = k.conversation;
    if (k.tty && !s->quiet)
        fprintf(stderr, "talking to %s; /help for help, Ctrl-D leaves\n", k.s.model);
    talk_loop(&k);
    if (k.tty)
        fputs("\n", stderr);
    json_decref(k.messages);
    json_decref(k.last_route);
    return k.tty ? EXIT_OK : k.failed;
}

int cmd_run(const struct settings *s, int argc, char **argv)
{
    struct client *c = NULL;
    struct err e = {0};
    struct settings mine = *s; /* shares what it points to */
    if (argc > 1)
        return command_usage(command_find("run"), "one model at most");
    if (argc == 1)
        mine.model = argv[0];
    int rc = client_open(&mine, false, &c, &e);
    int code = rc ? command_fail(&e) : chat_loop(c, &mine);
    client_close(c);
    return code;
}
