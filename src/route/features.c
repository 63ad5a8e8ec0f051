/* features.c: owns the reading of a request's words: which kind of task it is and what speaks for
 * it being hard, current, or written for others. Simple, visible signals from lists a person can
 * read; difficulty.c weighs them.
 *
 * What is read is the last user message (of a long one its beginning and its end, where people put
 * what they want). Folded to lower-case words with single blanks, so that a list's phrase is found
 * by its bytes; a term that ends in '*' also stands for what begins with it. English mainly: in
 * other languages little is recognised, and `foreign` says so. */
#include "route_int.h"

#include <stdio.h>
#include <time.h>

#include "utf8.h"

#define EDGE 6000 /* bytes read at each end of a long message */
#define LEAD 90   /* bytes of the folded text that count as what is asked for */

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const char *const law[] = {"indemnif*",
                                  "liabilit*",
                                  "liable",
                                  "clause*",
                                  "contract law",
                                  "statute*",
                                  "tort",
                                  "plaintiff*",
                                  "defendant*",
                                  "jurisdiction*",
                                  "arbitration",
                                  "delaware law",
                                  "breach of contract",
                                  "gdpr",
                                  "lawsuit",
                                  "litigation",
                                  "fiduciary",
                                  "warrant*",
                                  "governing law",
                                  "patent*",
                                  "copyright",
                                  "trademark*",
                                  "non compete",
                                  "force majeure",
                                  "case law",
                                  "legal",
                                  "attorney*",
                                  "lease",
                                  "terms of service",
                                  "compliance",
                                  "regulat*",
                                  "severability",
                                  "nda",
                                  "covenant*",
                                  "estate plan*",
                                  "custody",
                                  "visa application",
                                  "labor law",
                                  "employment law",
                                  "sue"};
static const char *const medicine[] = {
    "diagnos*",     "symptom*",  "dosage",         "dose",
    "patient*",     "mg",        "prescri*",       "chemotherapy",
    "tumor*",       "tumour*",   "blood pressure", "contraindic*",
    "side effect*", "treatment", "clinical",       "biopsy",
    "ecg",          "mri",       "antibiotic*",    "differential",
    "pharmac*",     "surgery",   "oncolog*",       "cardi*",
    "chest pain",   "insulin",   "medication*",    "pathology",
    "lesion*",      "prognosis", "pregnan*"};
static const char *const finance[] = {"valuation",
                                      "ebitda",
                                      "discounted cash flow",
                                      "dcf",
                                      "derivative*",
                                      "hedg*",
                                      "tax",
                                      "taxes",
                                      "irs",
                                      "capital gains",
                                      "balance sheet",
                                      "audit*",
                                      "ifrs",
                                      "gaap",
                                      "portfolio",
                                      "securities",
                                      "bond*",
                                      "equity",
                                      "depreciation",
                                      "amortization",
                                      "cap table",
                                      "term sheet",
                                      "convertible note",
                                      "volatility",
                                      "option pricing",
                                      "transfer pricing",
                                      "irr",
                                      "npv",
                                      "wacc",
                                      "hedge fund"};
static const char *const science[] = {
    "quantum",        "thermodynamic*", "eigen*",        "hamiltonian", "enzyme*",
    "genom*",         "protein*",       "stoichiometr*", "tensor*",     "topolog*",
    "manifold*",      "homolog*",       "lagrangian",    "relativity",  "crystallograph*",
    "finite element", "asymptotic*",    "np hard",       "np complete", "convex"};
static const char *const hard[] = {"prove",
                                   "proof",
                                   "derive",
                                   "derivation",
                                   "theorem",
                                   "architect",
                                   "architecture for",
                                   "design a system",
                                   "design a distributed",
                                   "diagnose",
                                   "root cause",
                                   "trade offs",
                                   "tradeoffs",
                                   "trade off",
                                   "critically",
                                   "rigorous*",
                                   "formally",
                                   "optimal strategy",
                                   "optimi*",
                                   "assess the risk*",
                                   "analyse the",
                                   "analyze the",
                                   "evaluate the",
                                   "strategy for",
                                   "negotiat*",
                                   "complexity of",
                                   "race condition",
                                   "deadlock",
                                   "lock free",
                                   "consensus protocol",
                                   "in depth",
                                   "state of the art",
                                   "novel",
                                   "peer review*",
                                   "counterexample",
                                   "conjecture",
                                   "hypothesis",
                                   "open problem",
                                   "refute",
                                   "advise",
                                   "due diligence"};
static const char *const judge[] = {
    "review",      "assess",        "advise",    "should i", "should we",      "can i",
    "is it legal", "is this legal", "opinion",   "draft",    "interpret",      "recommend",
    "evaluate",    "liable",        "negotiate", "risk*",    "enforceable",    "what treatment",
    "diagnose",    "calculate",     "analyse",   "analyze",  "explain whether"};
static const char *const fresh[] = {"today",           "todays",
                                    "tonight",         "yesterday",
                                    "tomorrow",        "right now",
                                    "currently",       "current price",
                                    "current version", "current weather",
                                    "latest",          "newest",
                                    "most recent",     "recent news",
                                    "breaking news",   "news about",
                                    "this week",       "this month",
                                    "this year",       "stock price",
                                    "exchange rate",   "weather in",
                                    "weather for",     "as of now",
                                    "up to date",      "who is the current",
                                    "live score",      "release date",
                                    "search the web",  "look up online",
                                    "happening now"};
static const char *const client[] = {"to the client",
                                     "to a client",
                                     "for a client",
                                     "for the client",
                                     "for our client",
                                     "our client*",
                                     "my client*",
                                     "client facing",
                                     "to the customer",
                                     "to our customers",
                                     "to a customer",
                                     "press release",
                                     "legal letter",
                                     "cease and desist",
                                     "contract clause",
                                     "clause for",
                                     "indemnification clause",
                                     "cover letter for the client",
                                     "for publication",
                                     "public statement",
                                     "shareholder letter",
                                     "letter to shareholders",
                                     "board of directors",
                                     "investor update",
                                     "proposal for",
                                     "tender",
                                     "statement of work",
                                     "executive summary for",
                                     "on behalf of the company",
                                     "to the court",
                                     "to the regulator",
                                     "offer letter"};
static const char *const steps[] = {"step by step",     "show your work",     "show your reasoning",
                                    "think carefully",  "reason through",     "multi step",
                                    "first principles", "chain of reasoning", "work through",
                                    "explain each step"};
static const char *const code_words[] = {
    "python",      "javascript",   "typescript", "java",     "c code",       "golang",
    "rust",        "sql",          "regex",      "function", "stack trace",  "traceback",
    "compile*",    "refactor*",    "unit test*", "bug",      "debug*",       "segfault",
    "bash script", "shell script", "html",       "css",      "react",        "api endpoint",
    "algorithm",   "docker*",      "kubernetes", "git",      "class method", "null pointer",
    "async",       "code"};
static const char *const maths_words[] = {
    "equation*",   "integral*",   "derivative of", "matrix",      "matrices",   "probability",
    "solve for",   "how much is", "average of",    "remainder",   "percent of", "calculate",
    "polynomial*", "triangle",    "prime number*", "square root", "modulo",     "combinatori*",
    "geometry",    "algebra*",    "calculus",      "inequality",  "sum of"};
static const char *const rewrite[] = {"rewrite",
                                      "rephrase",
                                      "reword",
                                      "paraphrase",
                                      "proofread",
                                      "polish",
                                      "fix the grammar",
                                      "correct the grammar",
                                      "correct this sentence",
                                      "correct the spelling",
                                      "make it shorter",
                                      "make this shorter",
                                      "more polite*",
                                      "politely",
                                      "simplify",
                                      "more formal",
                                      "shorten"};
static const char *const summarise[] = {"summari*", "tl dr",           "tldr",       "key points",
                                        "gist",     "in one sentence", "main points"};
static const char *const extract[] = {
    "extract",     "list all",        "list the",     "find all",   "pull out",
    "which names", "convert to json", "convert this", "as a table", "parse"};
static const char *const classify[] = {"classify",      "categori*",    "label",
                                       "sentiment",     "is this spam", "positive or negative",
                                       "true or false", "yes or no",    "tag"};
static const char *const translate[] = {"translate",   "translation", "auf deutsch", "in english",
                                        "en francais", "in spanish",  "to german",   "to french"};
static const char *const write_words[] = {
    "write",  "draft",   "compose",   "brainstorm", "story",     "poem",
    "essay",  "email",   "e mail",    "letter",     "blog post", "outline",
    "plan a", "plan my", "ideas for", "invent",     "slogan",    "create"};
static const char *const ask[] = {"what",    "who",     "when",       "where", "which",  "how tall",
                                  "how old", "how far", "how do you", "whats", "define", "wie",
                                  "was",     "wer",     "wo",         "wann",  "quelle", "quel",
                                  "qui",     "comment", "cual",       "quien", "is",     "are",
                                  "does",    "do",      "name",       "why",   "how"};

/* ---- folding ---- */

struct folded {
    char p[2 * EDGE + 8];
    size_t n;
};

static void fold_into(struct folded *f, struct str s)
{
    for (size_t i = 0; i < s.n && f->n + 2 < sizeof f->p; i++) {
        char c = s.p[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (unsigned char)c >= 0x80;
        if (word)
            f->p[f->n++] = c;
        else if (c != '\'' && f->p[f->n - 1] != ' ')
            f->p[f->n++] = ' ';
    }
    if (f->p[f->n - 1] != ' ')
        f->p[f->n++] = ' ';
}

static void fold(struct str s, struct folded *f)
{
    f->n = 0;
    f->p[f->n++] = ' ';
    bool whole = s.n <= 2 * EDGE;
    fold_into(f, whole ? s : str_n(s.p, EDGE));
    if (!whole)
        fold_into(f, str_n(s.p + s.n - EDGE, EDGE));
}

static bool has(struct str text, const char *term)
{
    char z[64];
    size_t n = strlen(term);
    bool open = n && term[n - 1] == '*';
    int w = snprintf(z, sizeof z, " %.*s%s", (int)(n - open), term, open ? "" : " ");
    return str_find(text, str_n(z, (size_t)w), 0) != SIZE_MAX;
}

static int32_t count_of(struct str text, const char *const *terms, size_t n)
{
    int32_t found = 0;
    for (size_t i = 0; i < n; i++)
        found += has(text, terms[i]);
    return found;
}
#define IN(text, list) count_of(text, list, COUNT(list))

/* ---- what the raw text shows ---- */

static bool item_at(struct str line)
{
    line = str_trim(line);
    if (line.n > 2 && (line.p[0] == '-' || line.p[0] == '*') && line.p[1] == ' ')
        return true;
    size_t d = 0;
    while (d < line.n && d < 3 && line.p[d] >= '0' && line.p[d] <= '9')
        d++;
    return d && d + 1 < line.n && (line.p[d] == '.' || line.p[d] == ')') && line.p[d + 1] == ' ';
}

static bool code_line(struct str line)
{
    static const char *const begins[] = {
        "def ", "class ", "import ", "#include", "func ", "fn ",  "return ", "const ",
        "let ", "var ",   "SELECT ", "public ",  "for (", "if (", "while (", "} else"};
    line = str_trim(line);
    if (line.n && strchr(";{}", line.p[line.n - 1]) && line.p[line.n - 1])
        return true;
    for (size_t i = 0; i < COUNT(begins); i++) {
        if (str_starts(line, str_of(begins[i])))
            return true;
    }
    return false;
}

static void read_lines(struct str s, struct route_signals *out)
{
    struct str line, rest = s;
    bool fenced = false, more = s.n > 0;
    int32_t items = 0;
    while (more) {
        more = str_cut(rest, '\n', &line, &rest);
        bool fence = str_starts(str_trim(line), STR("```"));
        fenced = fenced != fence;
        if (fence)
            out->code = true;
        else if (fenced || code_line(line))
            out->code_lines += out->code_lines < INT32_MAX;
        else
            items += items < 1000 && item_at(line);
    }
    int32_t questions = 0;
    for (size_t i = 0; i < s.n && questions < 1000; i++)
        questions += s.p[i] == '?';
    out->demands = items + questions;
    out->code = out->code || out->code_lines > 1;
}

static bool is_maths_text(struct str s)
{
    static const char *const marks[] = {"\\frac", "\\int", "\\sum", "∫",  "∑",  "√",
                                        "≤",      "^2",    "x =",   "x^", "dx", "\\("};
    struct str head = s.n > EDGE ? str_n(s.p, EDGE) : s;
    for (size_t i = 0; i < COUNT(marks); i++) {
        if (str_find(head, str_of(marks[i]), 0) != SIZE_MAX)
            return true;
    }
    return false;
}

/* A word problem: a question with several numbers that are no years. */
static bool is_word_problem(struct str s)
{
    if (s.n > EDGE || !memchr(s.p ? s.p : "", '?', s.n))
        return false;
    int numbers = 0;
    for (size_t i = 0; i < s.n; i++) {
        size_t from = i;
        while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9')
            i++;
        bool year = i - from == 4 && (s.p[from] == '1' || s.p[from] == '2');
        numbers += i > from && !year;
    }
    return numbers > 1;
}

/* A year that lies ahead, or is this one, cannot be in what a model learned. */
static bool names_new_year(struct str folded, int64_t now_ms)
{
    time_t now = (time_t)(now_ms / 1000);
    struct tm tm;
    if (now_ms <= 0 || !gmtime_r(&now, &tm))
        return false;
    for (int y = tm.tm_year + 1900; y < tm.tm_year + 1900 + 6; y++) {
        char z[24];
        snprintf(z, sizeof z, "%d", y);
        if (has(folded, z))
            return true;
    }
    return false;
}

/* Mainly in another script, or with the small words of another language and few of English. */
static bool is_foreign(struct str s, struct str folded)
{
    static const char *const english[] = {"the",  "is",  "of",  "and", "to",     "a",  "in", "this",
                                          "what", "you", "for", "it",  "please", "me", "my"};
    static const char *const others[] = {
        "wie",    "was",     "wer",  "von",  "ich",  "der", "die", "und", "ist", "ein",
        "bitte",  "le",      "la",   "les",  "est",  "une", "des", "el",  "los", "que",
        "por",    "il",      "di",   "che",  "een",  "het", "och", "att", "nie", "jest",
        "quelle", "comment", "cual", "como", "qual", "wat", "vad"};
    size_t high = 0, letters = 0;
    for (size_t i = 0; i < s.n && i < EDGE; i++) {
        unsigned char c = (unsigned char)s.p[i];
        high += c >= 0xC3;
        letters += (c | 32) >= 'a' && (c | 32) <= 'z';
    }
    return high > letters / 2 || IN(folded, others) > IN(folded, english) + 1;
}

static int64_t count_words(struct str s)
{
    int64_t n = 0;
    bool in = false;
    for (size_t i = 0; i < s.n; i++) {
        bool blank = (unsigned char)s.p[i] <= ' ';
        n += !blank && !in;
        in = !blank;
    }
    return n;
}

/* ---- the task ---- */

static enum route_task plain_task(struct str lead)
{
    if (IN(lead, rewrite))
        return ROUTE_TASK_REWRITE;
    if (IN(lead, summarise))
        return ROUTE_TASK_SUMMARISE;
    if (IN(lead, translate))
        return ROUTE_TASK_TRANSLATE;
    if (IN(lead, classify))
        return ROUTE_TASK_CLASSIFY;
    return IN(lead, extract) ? ROUTE_TASK_EXTRACT : ROUTE_TASK_CHAT;
}

static enum route_task task_of(struct str lead, struct str text, const struct route_signals *s)
{
    enum route_task plain = plain_task(lead);
    bool judged = IN(text, judge) > 0;
    if (s->domains && (s->expert_terms > 2 || (s->expert_terms > 0 && judged)) &&
        (plain == ROUTE_TASK_CHAT || judged))
        return ROUTE_TASK_EXPERT;
    if (plain != ROUTE_TASK_CHAT && s->hard_terms == 0)
        return plain;
    if (s->hard_terms > 0)
        return ROUTE_TASK_REASON;
    if (s->code)
        return ROUTE_TASK_CODE;
    if (s->maths)
        return ROUTE_TASK_MATHS;
    if (IN(lead, write_words))
        return ROUTE_TASK_WRITE;
    char first[40];
    size_t n = 0;
    for (size_t i = 0; i < lead.n && n + 1 < sizeof first && (i == 0 || lead.p[i] != ' '); i++)
        first[n++] = lead.p[i];
    first[n++] = ' ';
    bool question = count_of(str_n(first, n), ask, COUNT(ask)) > 0;
    return question && s->message_words <= 40 ? ROUTE_TASK_ASK : ROUTE_TASK_CHAT;
}

static unsigned domains_of(struct str text, int32_t *terms)
{
    const struct {
        const char *const *list;
        size_t n;
        unsigned bit;
    } all[] = {{law, COUNT(law), ROUTE_LAW},
               {medicine, COUNT(medicine), ROUTE_MEDICINE},
               {finance, COUNT(finance), ROUTE_FINANCE},
               {science, COUNT(science), ROUTE_SCIENCE}};
    unsigned bits = 0;
    for (size_t i = 0; i < COUNT(all); i++) {
        int32_t n = count_of(text, all[i].list, all[i].n);
        bits |= n ? all[i].bit : 0;
        *terms += n;
    }
    return bits;
}

static void append_user_text(const struct gen_msg *m, struct buf *out)
{
    for (size_t k = 0; k < m->nparts; k++) {
        if (m->parts[k].type != GEN_PART_TEXT)
            continue;
        buf_str_add(out, m->parts[k].text);
        buf_putc(out, '\n');
    }
}

static void read_text(struct str s, int64_t now_ms, struct route_signals *out)
{
    struct folded f;
    fold(s, &f);
    struct str text = str_n(f.p, f.n);
    struct str lead = str_n(f.p, f.n < LEAD ? f.n : LEAD);
    out->message_words = count_words(s);
    read_lines(s, out);
    out->domains = domains_of(text, &out->expert_terms);
    out->hard_terms = IN(text, hard);
    out->code = out->code || IN(text, code_words) > 0;
    out->maths = is_maths_text(s) || is_word_problem(s) || IN(text, maths_words) > 0;
    out->fresh = IN(text, fresh) > 0 || names_new_year(text, now_ms);
    out->client_facing = IN(text, client) > 0;
    out->steps = IN(text, steps) > 0;
    out->foreign = is_foreign(s, text);
    out->task = task_of(lead, text, out);
    /* Rewriting a sentence that says "today" needs no news. */
    bool given = out->task == ROUTE_TASK_REWRITE || out->task == ROUTE_TASK_TRANSLATE ||
                 out->task == ROUTE_TASK_CLASSIFY || out->task == ROUTE_TASK_SUMMARISE ||
                 out->task == ROUTE_TASK_EXTRACT;
    out->fresh = out->fresh && !given;
}

void route_signals_read(const struct gen_req *req, int64_t now_ms, struct route_signals *out)
{
    struct route_signals s = {0};
    struct buf text;
    buf_init(&text, (size_t)64 << 20);
    for (size_t i = req->nmsgs; i > 0 && text.n == 0; i--) {
        if (req->msgs[i - 1].role == GEN_USER)
            append_user_text(&req->msgs[i - 1], &text);
    }
    struct str said = text.n && !buf_failed(&text) ? buf_str(&text) : req->prompt;
    read_text(said, now_ms, &s);
    buf_done(&text);
    *out = s;
}
