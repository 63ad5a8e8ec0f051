/* utf8.h: strict UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF). */
#ifndef WEIR_UTF8_H
#define WEIR_UTF8_H

#include "str.h"

/* Decode the first code point: its length in bytes (1 to 4), or 0 if the bytes are malformed, cut
 * or empty. */
size_t utf8_decode(struct str s, uint32_t *cp);
/* Encode into out[4]; the length, or 0 for a code point that has no encoding. */
size_t utf8_encode(uint32_t cp, char out[4]);
bool utf8_valid(struct str s);
/* How many bytes at the end of s are the beginning of a sequence that more bytes could still
 * complete (0 to 3): a stream holds these back so that it never emits half a character. */
size_t utf8_partial_tail(struct str s);

#endif
