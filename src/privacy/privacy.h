/* privacy.h: what a request holds that should not leave, and the zone that follows from it.
 *
 * Three steps, none of which touches a socket, a file or a log:
 *   privacy_detect  findings: what the detectors see in every part of a request
 *   privacy_decide  findings + settings + what the caller said + taint -> a zone and its reasons
 *   privacy_taint_* a bounded memory that keeps a conversation's zone when the sensitive turn is
 *                   edited out of its history
 *
 * Detection is a help, the zone is the guarantee. No detector finds everything: names, addresses,
 * diagnoses, trade secrets and anything inside pictures, sound or scanned pages pass unseen. Who
 * must be sure sets the zone (preset private, a config zone, a header), and egress/ enforces it
 * whatever was found.
 *
 * Nothing here ever repeats the text it found: findings are kinds and byte ranges, reasons and
 * labels name kinds and counts. When a detector gives up (its match limit is hit), that counts as a
 * finding: it fails closed. */
#ifndef WEIR_PRIVACY_H
#define WEIR_PRIVACY_H

#include "buf.h"
#include "gen.h"

/* ---- findings ---- */

enum privacy_kind {
    PRIVACY_EMAIL,
    PRIVACY_PHONE,
    PRIVACY_CARD,  /* Luhn and a known prefix and length */
    PRIVACY_IBAN,  /* mod 97 and the country's length */
    PRIVACY_SSN,   /* US; area, group and serial rules */
    PRIVACY_IP,    /* v4 and v6, public and private; not loopback, unspecified or netmasks */
    PRIVACY_KEY,   /* private keys: PEM, PuTTY, age */
    PRIVACY_TOKEN, /* providers' tokens, JWTs, passwords in URLs */
    PRIVACY_WORD,  /* a word of the user's own list */
    PRIVACY_KINDS,
};
const char *privacy_kind_name(enum privacy_kind k); /* "email", "phone", "card", ... */

enum privacy_place {
    PRIVACY_IN_MESSAGE, /* index: message, part: its part; nparts: the message's own name */
    PRIVACY_IN_PROMPT,  /* gen_req.prompt */
    PRIVACY_IN_TOOL,    /* index: tool; also the tool choice's name, with index = ntools */
    PRIVACY_IN_STOP,    /* index: stop string */
    PRIVACY_IN_FORMAT,  /* the response format's schema and its name */
    PRIVACY_IN_USER,
    PRIVACY_IN_EXTRA,
    PRIVACY_IN_MODEL, /* the model's name as the caller wrote it */
};

enum privacy_field {
    PRIVACY_TEXT, /* or the field itself where there is only one */
    PRIVACY_ID,
    PRIVACY_NAME,
    PRIVACY_ARGS,
    PRIVACY_MIME,
    PRIVACY_DATA,
    PRIVACY_URL,
    PRIVACY_OPAQUE,
    PRIVACY_DESCRIPTION,
    PRIVACY_SCHEMA,
};

/* Bytes [start, end) of that field as it stands in the request (escapes, full-width digits and
 * zero-width characters included). A finding that runs over several adjacent text parts starts in
 * (index, part) and ends in (end_index, end_part), where `end` counts; otherwise they are equal. */
struct privacy_finding {
    enum privacy_kind kind;
    bool verified; /* a checksum says so */
    bool unknown;  /* the detector gave up in this field: taken as found */
    enum privacy_place place;
    enum privacy_field field;
    size_t index, part, end_index, end_part;
    size_t start, end;
};

/* A part whose content no detector here can read: a fact, not a finding. */
struct privacy_media {
    size_t index, part;
    enum gen_part_type type;
    size_t bytes; /* as it came (base64); 0: only an address */
};

struct privacy_findings {
    struct privacy_finding *v;
    size_t n;
    bool more; /* there were more than are kept */
    struct privacy_media *media;
    size_t nmedia;
    unsigned kinds; /* bit (1 << kind): at least one, kept or not */
    size_t count[PRIVACY_KINDS];
};
void privacy_findings_done(struct privacy_findings *f);

/* ---- detectors ---- */

struct privacy_rules; /* compiled and immutable: any number of threads may use one */

struct privacy_rules_params {
    const struct str *words; /* the user's own: found as whole words, case folded; at most 4,096,
                                of at most 256 bytes each. Blanks and dashes within one match any */
    size_t nwords;
    unsigned off;         /* bit (1 << kind): not looked for at all */
    uint32_t match_limit; /* 0: the default, which grows with the text */
};
/* ERR_INVAL: a word that is empty or too long; ERR_NOMEM. */
int privacy_rules_new(const struct privacy_rules_params *p, struct privacy_rules **out,
                      struct err *e);
void privacy_rules_free(struct privacy_rules *r);

/* Scan everything of `req`: messages of all roles, reasoning, calls, results, tools, schemas,
 * titles, addresses, data: URLs and inline documents that are text, the unknown fields. Call on a
 * worker thread for requests beyond 64 KiB. On an error nothing is known, so the request must not
 * go out: answer with the error, or take it as GEN_DEVICE. The caller frees *out with
 * privacy_findings_done. */
int privacy_detect(const struct privacy_rules *r, const struct gen_req *req,
                   struct privacy_findings *out, struct err *e);
/* One text by itself; places are PRIVACY_IN_PROMPT. */
int privacy_detect_text(const struct privacy_rules *r, struct str text,
                        struct privacy_findings *out, struct err *e);

/* ---- the decision ---- */

enum privacy_preset {
    PRIVACY_HYBRID,  /* cloud unless something is found */
    PRIVACY_PRIVATE, /* device, whatever is found or asked */
};

struct privacy_settings {
    enum privacy_preset preset;
    enum gen_zone zone;           /* the loosest at all; GEN_CLOUD */
    enum gen_zone sensitive_zone; /* the loosest where something was found; GEN_DEVICE */
    unsigned allow;               /* bit (1 << kind): found, but does not count */
    enum gen_zone media_zone;     /* the loosest for media nobody can read; GEN_CLOUD */
};
struct privacy_settings privacy_settings_default(void);
/* One key of the config's [privacy] section: preset (hybrid|private), zone, sensitive-zone,
 * media-zone (device|site|cloud), allow (a comma list of kinds). Underscores do for dashes.
 * ERR_NOT_FOUND: no such key (`words` is for privacy_rules_new); ERR_INVAL names the value. */
int privacy_settings_set(struct privacy_settings *s, struct str key, struct str value,
                         struct err *e);

/* "device", "site", "cloud", in any case, blanks around. ERR_INVAL. */
int privacy_zone_parse(struct str s, enum gen_zone *out, struct err *e);
const char *privacy_zone_name(enum gen_zone z);
int privacy_preset_parse(struct str s, enum privacy_preset *out, struct err *e);

/* What the caller said. All of it can only tighten. */
struct privacy_inputs {
    struct str zone_header;   /* x-weir-zone as it came; p NULL: absent */
    struct str preset_header; /* x-weir-preset as it came; p NULL: absent. Can only tighten */
    enum gen_zone key_zone;   /* of the client's key or project; GEN_CLOUD: no limit */
    enum gen_zone taint;      /* privacy_taint_check's answer; GEN_CLOUD: none */
};
#define PRIVACY_INPUTS_NONE ((struct privacy_inputs){.key_zone = GEN_CLOUD, .taint = GEN_CLOUD})

enum privacy_why {
    PRIVACY_WHY_DEFAULT,   /* nothing found, nothing asked */
    PRIVACY_WHY_PRESET,    /* preset private */
    PRIVACY_WHY_CONFIG,    /* the config's zone */
    PRIVACY_WHY_FOUND,     /* detectors */
    PRIVACY_WHY_UNKNOWN,   /* a detector gave up */
    PRIVACY_WHY_TAINT,     /* the conversation was tighter before */
    PRIVACY_WHY_KEY,       /* the client's key */
    PRIVACY_WHY_HEADER,    /* x-weir-zone or x-weir-preset */
    PRIVACY_WHY_MEDIA,     /* unread media, where media_zone says so */
    PRIVACY_WHY_ALLOWED,   /* loosened: found, but a setting allows it */
    PRIVACY_WHY_LOOSENED,  /* loosened: sensitive-zone is not device */
    PRIVACY_WHY_NO_EFFECT, /* the caller asked for a looser zone than was decided */
    PRIVACY_WHY_UNREAD,    /* a fact: media that nobody has read */
};
const char *privacy_why_name(enum privacy_why w);

#define PRIVACY_REASONS_MAX 16
struct privacy_reason {
    enum privacy_why why;
    enum gen_zone zone; /* the limit it sets or speaks of */
    char text[192];     /* one sentence, ASCII, without anything of the request's text */
};

struct privacy_decision {
    enum gen_zone zone;
    bool taints;    /* tighter than the config's own zone: what follows in this conversation is too
                     */
    size_t decider; /* the reason that set the zone */
    size_t n;
    struct privacy_reason reasons[PRIVACY_REASONS_MAX];
};
/* Pure. ERR_INVAL: the header's zone or preset is no such thing (a typo must not mean "cloud"). */
int privacy_decide(const struct privacy_settings *s, const struct privacy_findings *f,
                   const struct privacy_inputs *in, struct privacy_decision *out, struct err *e);

/* The labels as a JSON array of strings for the ledger: "email", "card:verified", "unknown:phone",
 * "unread-media", and the names of the reasons that are labels: "taint", "header", "allowed", ...
 */
void privacy_labels_json(const struct privacy_findings *f, const struct privacy_decision *d,
                         struct buf *out);

/* ---- taint ----
 *
 * What is remembered, in one table of keyed 64-bit hashes (SipHash, a key of this process; no text
 * is kept), the least recently used forgotten first:
 *   - the conversation's id, where the caller gives one (header x-weir-conversation);
 *   - from the sensitive message on: each answer and tool result of 24 bytes or more, each message
 *     of the user's of 80 bytes or more (blanks not counted);
 *   - each prefix of the history that holds the sensitive message and 48 bytes; where the caller
 *     gave no id also the prefixes before it that hold at least one answer. System messages do not
 *     count.
 * A later request that contains one of those keeps the zone, even when the sensitive turn itself is
 * gone.
 *
 * Its limits, so that nobody relies on more: it does not survive a restart or outlive its capacity;
 * a paraphrase, a summary made elsewhere, or a quotation inside a longer message is not recognised;
 * a short answer ("Yes.") alone is not. In the other direction, a program that starts every
 * conversation with the same examples keeps all of them once one was sensitive: let it send an id.
 * The findings of what still stands in the history do not depend on any of this. */
struct privacy_taint;
/* capacity in entries; 0: 65,536 (some 2 MiB). */
int privacy_taint_new(size_t capacity, struct privacy_taint **out, struct err *e);
void privacy_taint_free(struct privacy_taint *t);
/* All three may be called from any thread. id: the explicit conversation, may be empty. */
int privacy_taint_check(struct privacy_taint *t, struct str id, const struct gen_req *req,
                        enum gen_zone *out, struct err *e);
/* After privacy_decide, when it says taints. f: where the sensitive message is; without findings
 * the whole history counts. */
int privacy_taint_add(struct privacy_taint *t, struct str id, const struct gen_req *req,
                      const struct privacy_findings *f, enum gen_zone zone, struct err *e);
/* The answer to a tainted request: its text (the TEXT events joined), so that it carries the zone
 * into any conversation it is quoted in as a message. Call it for each choice. */
int privacy_taint_answer(struct privacy_taint *t, struct str answer, enum gen_zone zone,
                         struct err *e);

#endif
