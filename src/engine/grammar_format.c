/* grammar_format.c: the formats of JSON Schema as patterns, and what contentEncoding and
 * contentMediaType name, with "content:" before it. Each gives strings that are surely of
 * the format, which for some (hosts, addresses, identifiers) is a plain part of it: a model that
 * keeps to that part is never wrong. */
#include "grammar_dfa_int.h"

/* Years of four digits that need no zero before them: some readers know no year 0. */
#define DATE                                                                                       \
    "(?:[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|"                           \
    "(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|"                          \
    "(?:[1-9][0-9](?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26])00)-02-29)"
#define TIME                                                                                       \
    "(?:(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?"                              \
    "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9]))"
#define OCTET "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define IPV4 "(?:" OCTET "\\." OCTET "\\." OCTET "\\." OCTET ")"
/* A label without hyphens at its ends and without two of them together, which may mean more. */
#define LABEL "(?:[A-Za-z0-9]{1,20}(?:-[A-Za-z0-9]{1,20}){0,2})"
/* The last label is letters, so that a number in four parts is no host. */
#define HOST "(?:(?:" LABEL "\\.){0,3}[A-Za-z]{2,20})"
#define WORD "[A-Za-z0-9_+-]{1,20}"
#define SEGMENT "[A-Za-z0-9._~-]{0,40}"
#define PATH "(?:/" SEGMENT "){0,12}"
#define QUERY "(?:\\?[A-Za-z0-9._~=&+-]{0,100})?"
#define TAIL PATH QUERY "(?:#[A-Za-z0-9._~-]{0,40})?"
#define URI "(?:https?|ftp|wss?)://" HOST "(?::[1-9][0-9]{0,3})?" TAIL
#define HEX4 "[0-9a-fA-F]{1,4}"
#define POINTER "(?:/(?:[^/~]|~[01])*)*"

static const struct {
    const char *name, *pattern;
} formats[] = {
    {"date", "^" DATE "$"},
    {"time", "^" TIME "$"},
    {"date-time", "^" DATE "T" TIME "$"},
    {"duration", "^P(?:[0-9]{1,6}W|(?:[0-9]{1,6}Y(?:[0-9]{1,6}M(?:[0-9]{1,6}D)?)?|"
                 "[0-9]{1,6}M(?:[0-9]{1,6}D)?|[0-9]{1,6}D)(?:T(?:[0-9]{1,6}H(?:[0-9]{1,6}M"
                 "(?:[0-9]{1,6}S)?)?|[0-9]{1,6}M(?:[0-9]{1,6}S)?|[0-9]{1,6}S))?|"
                 "T(?:[0-9]{1,6}H(?:[0-9]{1,6}M(?:[0-9]{1,6}S)?)?|[0-9]{1,6}M(?:[0-9]{1,6}S)?|"
                 "[0-9]{1,6}S))$"},
    {"email", "^" WORD "(?:\\." WORD "){0,3}@" HOST "$"},
    {"idn-email", "^" WORD "(?:\\." WORD "){0,3}@" HOST "$"},
    {"hostname", "^" HOST "$"},
    {"idn-hostname", "^" HOST "$"},
    {"ipv4", "^" IPV4 "$"},
    {"ipv6",
     "^(?:(?:" HEX4 ":){7}" HEX4 "|::|::" HEX4 "(?::" HEX4 "){0,5}|" HEX4 "::" HEX4 "(?::" HEX4
     "){0,4}|" HEX4 ":" HEX4 "::" HEX4 "(?::" HEX4 "){0,3}|(?:" HEX4 ":){3}:" HEX4 "(?::" HEX4
     "){0,2}|(?:" HEX4 ":){4}:" HEX4 "(?::" HEX4 ")?|(?:" HEX4 ":){1,6}:)$"},
    {"uuid", "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"},
    {"uri", "^" URI "$"},
    {"iri", "^" URI "$"},
    {"uri-reference", "^(?:" URI "|" TAIL ")$"},
    {"iri-reference", "^(?:" URI "|" TAIL ")$"},
    {"uri-template", "^(?:" URI "|" TAIL ")$"},
    {"json-pointer", "^" POINTER "$"},
    {"relative-json-pointer", "^(?:0|[1-9][0-9]{0,8})(?:#|" POINTER ")$"},
    {"regex", NULL},
    {"content:base64", "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}"
                       "[AEIMQUYcgkosw048]=)?$"},
    {"content:application/json", NULL},
};

bool format_pattern(const char *keyword, const char *value, const char **pattern)
{
    size_t skip = strcmp(keyword, "format") == 0 ? 0 : strlen("content:");
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        bool content = formats[i].name[0] == 'c';
        if (content == (skip > 0) && strcmp(formats[i].name + skip, value) == 0) {
            *pattern = formats[i].pattern;
            return true;
        }
    }
    return false;
}
