/* speculate.c: guesses what comes next from what stands before: where the last tokens stood earlier
 * in prompt or answer, what followed them then is likely to follow now (quotations, code that is
 * edited, lists). The guesses are fed in the same pass as the last token, so a pass that reads the
 * weights once may give several tokens.
 *
 * The scheduler draws each token from its own row of logits, with the number that belongs to the
 * token's index, and keeps guesses only as long as they equal what was drawn: the text is the same
 * bit for bit as without. How far to guess follows from how well it went. Called by scheduler.c. */
#include "engine_int.h"

#define NGRAM 3         /* tokens that must match */
#define NGRAM_BETTER 12 /* a match of so many is as good as any */
#define LOOK_BACK 32768 /* tokens searched */
#define FIRST_GUESS 4   /* tokens guessed at first */
#define MAX_WAIT 32     /* steps without a guess after failures */

/* How many tokens before a and before b are the same, at most NGRAM_BETTER. */
static size_t same_before(const int32_t *tokens, size_t a, size_t b)
{
    size_t n = 0;
    while (n < NGRAM_BETTER && n < a && tokens[a - 1 - n] == tokens[b - 1 - n])
        n++;
    return n;
}

/* The place whose past is most like the present one, the latest of those; 0: none. */
static size_t find_place(const int32_t *tokens, size_t n)
{
    size_t best = 0, length = NGRAM - 1;
    size_t least = n > LOOK_BACK ? n - LOOK_BACK : NGRAM;
    for (size_t at = n - 1; at >= least && length < NGRAM_BETTER; at--) {
        if (tokens[at - 1] != tokens[n - 1])
            continue;
        size_t same = same_before(tokens, at, n);
        if (same > length) {
            length = same;
            best = at;
        }
    }
    return best;
}

size_t speculate(struct speculation *s, int32_t *tokens, size_t n, size_t most)
{
    if (s->wait > 0) {
        s->wait--;
        return 0;
    }
    size_t want = s->next ? s->next : FIRST_GUESS;
    if (n < NGRAM + 1 || most == 0)
        return 0;
    size_t place = find_place(tokens, n), count = 0;
    want = want < most ? want : most;
    /* What is copied may run into what was just written: a repetition goes on. */
    while (place && count < want) {
        tokens[n + count] = tokens[place + count];
        count++;
    }
    return count;
}

void speculate_note(struct speculation *s, size_t guessed, size_t kept)
{
    if (guessed == 0)
        return;
    if (kept == guessed)
        s->next = 2 * (uint32_t)guessed < ENGINE_DRAFT ? 2 * (uint32_t)guessed : ENGINE_DRAFT;
    else
        s->next = (uint32_t)kept + 1;
    s->failures = kept > 0 ? 0 : s->failures + 1;
    s->wait = s->failures == 0 ? 0 : s->failures > 5 ? MAX_WAIT : 1u << (s->failures - 1);
}
