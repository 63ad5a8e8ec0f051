/* grammar_json_int.h: rules of JSON that know no schema, which schemas are made of. */
#ifndef WEIR_GRAMMAR_JSON_INT_H
#define WEIR_GRAMMAR_JSON_INT_H

#include "grammar_int.h"

/* All by rule number. */
struct json_rules {
    uint32_t space;     /* nothing, one space, or a line break and indentation */
    uint32_t character; /* of a string, escaped or not */
    uint32_t string, number, integer, value, object, array;
};

void json_rules_make(struct build *b, struct json_rules *j);
/* A character of a string as it is usually written: itself, or its short escape. */
void json_character(struct build *b, uint32_t from, const struct range *r, size_t n, uint32_t to);

#endif
