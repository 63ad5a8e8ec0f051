/* hash.h: a 64-bit checksum for files of our own: finds damage, not an adversary.
 *
 * Four lanes, each word of eight bytes in turn: lane = rotl(lane ^ word, 29) * odd. For a given
 * lane that is a bijection of the word, and for a given word one of the lane, so that one changed
 * word always changes the sum. About as fast as memory is read. */
#ifndef WEIR_HASH_H
#define WEIR_HASH_H

#include <stddef.h>
#include <stdint.h>

struct hash {
    uint64_t lane[4];
    uint64_t total;
    unsigned char tail[32];
    size_t ntail;
};

void hash_init(struct hash *h, uint64_t seed);
void hash_add(struct hash *h, const void *p, size_t n);
uint64_t hash_end(const struct hash *h); /* h may be added to afterwards */
uint64_t hash_of(const void *p, size_t n, uint64_t seed);

#endif
