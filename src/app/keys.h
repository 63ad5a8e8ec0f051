/* keys.h: the API keys of this server. A key is shown once, when it is made; what is kept is its
 * BLAKE2b-256, in $WEIR_HOME/keys (mode 0600), a line each: hash, seconds since 1970 when it was
 * made, name. Keys are 256 random bits, so that a fast hash gives nothing away.
 *
 * The key of weir.conf or WEIR_API_KEY counts beside them. On the loop, but keys_any. */
#ifndef WEIR_KEYS_H
#define WEIR_KEYS_H

#include "buf.h"
#include "err.h"
#include "net.h"

struct keys;

/* Read home/keys; a missing file is no key. ERR_FORMAT names the line. configured: weir.conf's;
 * NULL or empty: none. */
int keys_open(const char *home, const char *configured, struct keys **out, struct err *e);
void keys_free(struct keys *k);
bool keys_any(const struct keys *k); /* at least one is set, so callers must have one */

/* What the caller brings: Authorization: Bearer, x-api-key, or ?key=. */
struct str keys_given(struct net_req *r);
/* Is it one of ours? *caller (not 0) tells its owner's requests from others'. */
bool keys_check(const struct keys *k, struct str given, uint64_t *caller);

/* ERR_EXISTS: the name is taken; ERR_INVAL: it is not 1 to 64 printable characters. The key goes to
 * `out`, NUL-terminated; nobody can get it again. */
#define KEYS_TEXT 52
int keys_create(struct keys *k, struct str name, char out[KEYS_TEXT], struct err *e);
int keys_revoke(struct keys *k, struct str name, struct err *e); /* ERR_NOT_FOUND */
void keys_json(const struct keys *k, struct buf *out);           /* [{"name","created"}] */

#endif
