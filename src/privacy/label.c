/* label.c: owns the decision: from findings, settings and what the caller said to a zone, with
 * every reason that had a part in it, loosening ones included.
 *
 * The order: the config's own zone and the preset set the start; each of findings, unread media,
 * taint, key and headers can only lower it. Nothing a caller sends can raise it: what asks for more
 * is answered with a reason that says so. Loosening is a setting of the owner's (`allow`,
 * `sensitive-zone`), and each time it matters the decision records it. */
#include "privacy_int.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const why_names[] = {
    [PRIVACY_WHY_DEFAULT] = "default",
    [PRIVACY_WHY_PRESET] = "preset",
    [PRIVACY_WHY_CONFIG] = "config",
    [PRIVACY_WHY_FOUND] = "found",
    [PRIVACY_WHY_UNKNOWN] = "unknown",
    [PRIVACY_WHY_TAINT] = "taint",
    [PRIVACY_WHY_KEY] = "key",
    [PRIVACY_WHY_HEADER] = "header",
    [PRIVACY_WHY_MEDIA] = "media",
    [PRIVACY_WHY_ALLOWED] = "allowed",
    [PRIVACY_WHY_LOOSENED] = "loosened",
    [PRIVACY_WHY_NO_EFFECT] = "no-effect",
    [PRIVACY_WHY_UNREAD] = "unread-media",
};
static const char *const zone_names[] = {"device", "site", "cloud"};
static const char *const kind_words[PRIVACY_KINDS] = {"e-mail address",
                                                      "phone number",
                                                      "payment card",
                                                      "IBAN",
                                                      "US social security number",
                                                      "IP address",
                                                      "private key",
                                                      "access token",
                                                      "word of your list"};

const char *privacy_why_name(enum privacy_why w)
{
    return (size_t)w < sizeof why_names / sizeof *why_names ? why_names[w] : "unknown";
}

const char *privacy_zone_name(enum gen_zone z)
{
    return (unsigned)z <= GEN_CLOUD ? zone_names[z] : "device";
}

int privacy_zone_parse(struct str s, enum gen_zone *out, struct err *e)
{
    s = str_trim(s);
    for (int z = GEN_DEVICE; z <= GEN_CLOUD; z++) {
        if (str_ieq(s, str_of(zone_names[z]))) {
            *out = (enum gen_zone)z;
            return 0;
        }
    }
    return err_set(e, ERR_INVAL, "'%.*s' is no zone: device, site or cloud",
                   s.n > 40 ? 40 : (int)s.n, s.n ? s.p : "");
}

int privacy_preset_parse(struct str s, enum privacy_preset *out, struct err *e)
{
    s = str_trim(s);
    bool is_private = str_ieq(s, STR("private"));
    if (!is_private && !str_ieq(s, STR("hybrid")))
        return err_set(e, ERR_INVAL, "'%.*s' is no preset: hybrid or private",
                       s.n > 40 ? 40 : (int)s.n, s.n ? s.p : "");
    *out = is_private ? PRIVACY_PRIVATE : PRIVACY_HYBRID;
    return 0;
}

struct privacy_settings privacy_settings_default(void)
{
    return (struct privacy_settings){.preset = PRIVACY_HYBRID,
                                     .zone = GEN_CLOUD,
                                     .sensitive_zone = GEN_DEVICE,
                                     .media_zone = GEN_CLOUD};
}

static int parse_allow(struct str list, unsigned *out, struct err *e)
{
    unsigned allow = 0;
    struct str head, tail = list;
    bool more = list.n > 0;
    while (more) {
        more = str_cut(tail, ',', &head, &tail);
        head = str_trim(head);
        if (head.n == 0)
            continue;
        int k = 0;
        while (k < PRIVACY_KINDS && !str_ieq(head, str_of(privacy_kind_name((enum privacy_kind)k))))
            k++;
        if (k == PRIVACY_KINDS)
            return err_set(e, ERR_INVAL, "privacy.allow: '%.*s' is no detector",
                           head.n > 40 ? 40 : (int)head.n, head.p);
        allow |= 1u << k;
    }
    *out = allow;
    return 0;
}

static bool key_is(struct str key, const char *name)
{
    if (key.n != strlen(name))
        return false;
    for (size_t i = 0; i < key.n; i++) {
        if (key.p[i] != name[i] && !(key.p[i] == '_' && name[i] == '-'))
            return false;
    }
    return true;
}

int privacy_settings_set(struct privacy_settings *s, struct str key, struct str value,
                         struct err *e)
{
    if (key_is(key, "preset"))
        return privacy_preset_parse(value, &s->preset, e);
    if (key_is(key, "zone"))
        return privacy_zone_parse(value, &s->zone, e);
    if (key_is(key, "sensitive-zone"))
        return privacy_zone_parse(value, &s->sensitive_zone, e);
    if (key_is(key, "media-zone"))
        return privacy_zone_parse(value, &s->media_zone, e);
    if (key_is(key, "allow"))
        return parse_allow(value, &s->allow, e);
    return err_set(e, ERR_NOT_FOUND, "no key '%.*s' in [privacy]", key.n > 40 ? 40 : (int)key.n,
                   key.n ? key.p : "");
}

/* ---- the decision ---- */

__attribute__((format(printf, 4, 5))) static void
say(struct privacy_decision *d, enum privacy_why why, enum gen_zone zone, const char *fmt, ...)
{
    if (d->n == PRIVACY_REASONS_MAX)
        return;
    struct privacy_reason *r = &d->reasons[d->n++];
    r->why = why;
    r->zone = zone;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->text, sizeof r->text, fmt, ap);
    va_end(ap);
}

/* The reason just said also sets the zone, when it is tighter than what stood before. */
static void limit(struct privacy_decision *d, enum gen_zone zone)
{
    if (zone < d->zone) {
        d->zone = zone;
        d->decider = d->n - 1;
    }
}

/* "e-mail address (2), payment card". Kinds and counts only. */
static void list_kinds(const struct privacy_findings *f, unsigned mask, char *out, size_t size)
{
    size_t n = 0;
    out[0] = '\0';
    for (int k = 0; k < PRIVACY_KINDS && n + 1 < size; k++) {
        if (!(f->kinds & mask & 1u << k))
            continue;
        int w = snprintf(out + n, size - n, "%s%s", n ? ", " : "", kind_words[k]);
        n += w > 0 ? (size_t)w : 0;
        if (f->count[k] > 1 && n + 1 < size) {
            w = snprintf(out + n, size - n, " (%zu)", f->count[k]);
            n += w > 0 ? (size_t)w : 0;
        }
    }
}

static unsigned unknown_kinds(const struct privacy_findings *f)
{
    unsigned mask = 0;
    for (size_t i = 0; i < f->n; i++)
        mask |= f->v[i].unknown ? 1u << f->v[i].kind : 0;
    return mask;
}

static void weigh_findings(const struct privacy_settings *s, const struct privacy_findings *f,
                           struct privacy_decision *d)
{
    char kinds[120];
    unsigned counts = f->kinds & ~s->allow;
    unsigned unknown = unknown_kinds(f) & ~s->allow;
    if (counts) {
        list_kinds(f, counts, kinds, sizeof kinds);
        if (unknown)
            say(d, PRIVACY_WHY_UNKNOWN, s->sensitive_zone,
                "a detector gave up, so this counts as found: %s", kinds);
        else
            say(d, PRIVACY_WHY_FOUND, s->sensitive_zone, "found: %s", kinds);
        limit(d, s->sensitive_zone);
    }
    if (counts && s->sensitive_zone > GEN_DEVICE)
        say(d, PRIVACY_WHY_LOOSENED, s->sensitive_zone,
            "the setting privacy.sensitive-zone lets it go as far as %s",
            privacy_zone_name(s->sensitive_zone));
    if (f->kinds & s->allow) {
        list_kinds(f, s->allow, kinds, sizeof kinds);
        say(d, PRIVACY_WHY_ALLOWED, GEN_CLOUD, "found but allowed by the setting privacy.allow: %s",
            kinds);
    }
}

static void weigh_media(const struct privacy_settings *s, const struct privacy_findings *f,
                        struct privacy_decision *d)
{
    if (f->nmedia == 0)
        return;
    if (s->media_zone < GEN_CLOUD) {
        say(d, PRIVACY_WHY_MEDIA, s->media_zone,
            "%zu media that nobody has read; the setting privacy.media-zone keeps them on %s",
            f->nmedia, privacy_zone_name(s->media_zone));
        limit(d, s->media_zone);
    } else {
        say(d, PRIVACY_WHY_UNREAD, GEN_CLOUD,
            "%zu media (pictures, sound, documents) were not read by any detector", f->nmedia);
    }
}

static void weigh_history(const struct privacy_inputs *in, struct privacy_decision *d)
{
    if (in->taint < GEN_CLOUD) {
        say(d, PRIVACY_WHY_TAINT, in->taint, "this conversation was kept on %s before",
            privacy_zone_name(in->taint));
        limit(d, in->taint);
    }
    if (in->key_zone < GEN_CLOUD) {
        say(d, PRIVACY_WHY_KEY, in->key_zone, "the client's key allows %s at most",
            privacy_zone_name(in->key_zone));
        limit(d, in->key_zone);
    }
}

/* Headers come last, so that what they ask in vain can be said. */
static void weigh_header(enum gen_zone asked, const char *header, struct privacy_decision *d)
{
    if (asked <= d->zone) {
        say(d, PRIVACY_WHY_HEADER, asked, "the caller asked for %s (%s)", privacy_zone_name(asked),
            header);
        limit(d, asked);
    } else {
        say(d, PRIVACY_WHY_NO_EFFECT, d->zone,
            "the caller asked for %s (%s): no effect, a header can only tighten %s",
            privacy_zone_name(asked), header, privacy_zone_name(d->zone));
    }
}

static void weigh_start(const struct privacy_settings *s, struct privacy_decision *d)
{
    if (s->preset == PRIVACY_PRIVATE) {
        say(d, PRIVACY_WHY_PRESET, GEN_DEVICE, "preset private: nothing leaves this machine");
        limit(d, GEN_DEVICE);
    }
    if (s->zone < GEN_CLOUD) {
        say(d, PRIVACY_WHY_CONFIG, s->zone, "the setting privacy.zone allows %s at most",
            privacy_zone_name(s->zone));
        limit(d, s->zone);
    }
}

int privacy_decide(const struct privacy_settings *s, const struct privacy_findings *f,
                   const struct privacy_inputs *in, struct privacy_decision *out, struct err *e)
{
    enum gen_zone asked = GEN_CLOUD;
    enum privacy_preset preset = PRIVACY_HYBRID;
    if (in->zone_header.p && privacy_zone_parse(in->zone_header, &asked, e))
        return ERR_INVAL;
    if (in->preset_header.p && privacy_preset_parse(in->preset_header, &preset, e))
        return ERR_INVAL;
    struct privacy_decision d = {.zone = GEN_CLOUD};
    weigh_start(s, &d);
    weigh_findings(s, f, &d);
    weigh_media(s, f, &d);
    weigh_history(in, &d);
    if (preset == PRIVACY_PRIVATE)
        weigh_header(GEN_DEVICE, "x-weir-preset", &d);
    else if (in->preset_header.p && s->preset == PRIVACY_PRIVATE)
        weigh_header(GEN_CLOUD, "x-weir-preset", &d);
    if (in->zone_header.p)
        weigh_header(asked, "x-weir-zone", &d);
    if (d.zone == GEN_CLOUD && d.n < PRIVACY_REASONS_MAX) {
        d.decider = d.n;
        say(&d, PRIVACY_WHY_DEFAULT, GEN_CLOUD, "nothing found that must stay");
    }
    d.taints = d.zone < s->zone || s->preset == PRIVACY_PRIVATE;
    *out = d;
    return 0;
}

void privacy_labels_json(const struct privacy_findings *f, const struct privacy_decision *d,
                         struct buf *out)
{
    bool any = false;
    unsigned unknown = unknown_kinds(f), verified = 0;
    for (size_t i = 0; i < f->n; i++)
        verified |= f->v[i].verified ? 1u << f->v[i].kind : 0;
    buf_putc(out, '[');
    for (int k = 0; k < PRIVACY_KINDS; k++) {
        unsigned bit = 1u << k;
        if (!(f->kinds & bit))
            continue;
        const char *prefix = unknown & bit ? "unknown:" : "";
        buf_printf(out, "%s\"%s%s%s\"", any ? "," : "", prefix,
                   privacy_kind_name((enum privacy_kind)k), verified & bit ? ":verified" : "");
        any = true;
    }
    for (size_t i = 0; i < d->n; i++) {
        enum privacy_why w = d->reasons[i].why;
        bool fact = w == PRIVACY_WHY_PRESET || w == PRIVACY_WHY_CONFIG || w == PRIVACY_WHY_TAINT ||
                    w == PRIVACY_WHY_KEY || w == PRIVACY_WHY_HEADER || w == PRIVACY_WHY_ALLOWED ||
                    w == PRIVACY_WHY_LOOSENED || w == PRIVACY_WHY_NO_EFFECT;
        if (!fact)
            continue;
        buf_printf(out, "%s\"%s\"", any ? "," : "", privacy_why_name(w));
        any = true;
    }
    if (f->nmedia)
        buf_printf(out, "%s\"unread-media\"", any ? "," : "");
    buf_putc(out, ']');
}
