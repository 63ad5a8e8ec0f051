/* test_privacy.c: what is found and what is not, in which bytes, and which zone follows. All cases
 * are made up: numbers with right checksums that belong to nobody. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "privacy.h"

static struct privacy_rules *rules;

static int set_up(void **state)
{
    static const struct str words[] = {STR("Project Falcon"), STR("Müller"), STR("C++"),
                                       STR("張三"), STR("ACME-7")};
    struct privacy_rules_params p = {.words = words, .nwords = 5};
    struct err e;
    return privacy_rules_new(&p, &rules, &e);
}

static int tear_down(void **state)
{
    privacy_rules_free(rules);
    return 0;
}

static struct privacy_findings detect(struct str text)
{
    struct privacy_findings f;
    struct err e;
    assert_int_equal(privacy_detect_text(rules, text, &f, &e), 0);
    return f;
}

#define NOTHING 0u
#define ONE(kind) (1u << PRIVACY_##kind)

struct text_case {
    const char *text;
    unsigned kinds;
    const char *found; /* the bytes of the first finding; NULL: not asked */
};

static const struct text_case cases[] = {
    /* e-mail */
    {"write to jane.doe+work@mail.example.org please", ONE(EMAIL),
     "jane.doe+work@mail.example.org"},
    {"mailto:o'neil@example.ie", ONE(EMAIL), NULL},
    {"用户@例子.公司 is mine", ONE(EMAIL), "用户@例子.公司"},
    {"jane [at] example [dot] org", ONE(EMAIL), "jane [at] example [dot] org"},
    {"jane\xE2\x80\x8B@exam\xC2\xADple.org", ONE(EMAIL), "jane\xE2\x80\x8B@exam\xC2\xADple.org"},
    {"ｊａｎｅ＠example.org", ONE(EMAIL), NULL},
    {"{\\\"to\\\": \\\"jane\\u0040example.org\\\"}", ONE(EMAIL), "jane\\u0040example.org"},
    {"https://example.org/?u=jane%40example.org", ONE(EMAIL), NULL},
    {"see icon@2x.png and logo@3x.webp", NOTHING, NULL},
    {"npm i lodash@4.17.21 and git clone git@example.org:me/it.git", NOTHING, NULL},
    {"@media screen, @param x, a @ b", NOTHING, NULL},

    /* phone */
    {"+1 (415) 555-0132", ONE(PHONE), "+1 (415) 555-0132"},
    {"ring +44 20 7946 0958 now", ONE(PHONE), NULL},
    {"+46 (0)8 928 571 38", ONE(PHONE), NULL},
    {"0049 30 901820", ONE(PHONE), NULL},
    {"it is 415-555-0132.", ONE(PHONE), "415-555-0132"},
    {"(415) 555-0132 x459", ONE(PHONE), "(415) 555-0132 x459"},
    {"07700 900 123", ONE(PHONE), NULL},
    {"03.93.92.16.85", ONE(PHONE), NULL},
    {"0612345678", ONE(PHONE), NULL},
    {"手机13812345678", ONE(PHONE), "13812345678"},
    {"Phone: 467 3395", ONE(PHONE), "467 3395"},
    {"call me at 5551234567", ONE(PHONE), "5551234567"},
    {"+４４ ２０ ７９４６ ０９５８", ONE(PHONE), NULL},
    {"٠٧٧٠٠ ٩٠٠ ١٢٣", ONE(PHONE), NULL},
    {"on 2024-01-15 at 12:30, or 15.01.2024 09.45, or 01/02/2024", NOTHING, NULL},
    {"pi is 3.14159265358979 and e is 2.718281828", NOTHING, NULL},
    {"order 5551234567 shipped; invoice no. 0612345678", NOTHING, NULL},
    {"ISBN 978-3-16-148410-0 and ISBN 0306406152", NOTHING, NULL},
    {"the years 1914-1918, 1939-1945; 10 000 000 people; 1,234,567.89", NOTHING, NULL},
    {"550e8400-e29b-41d4-a716-446655440000", NOTHING, NULL},
    {"rows 100-2000, ports 8080 9090 3000, 1 2 3 4 5 6 7 8 9 10", NOTHING, NULL},
    {"call function 3 with 12 arguments", NOTHING, NULL},

    /* card */
    {"4111 1111 1111 1111", ONE(CARD), "4111 1111 1111 1111"},
    {"4111111111111111", ONE(CARD), NULL},
    {"4111-1111-1111-1111", ONE(CARD), NULL},
    {"4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", ONE(CARD), NULL},
    {"41 1111 111-111 111 11", NOTHING, NULL},
    {"41 1111 111-111 111 1", ONE(CARD), NULL},
    {"３７８２ ８２２４６３ １０００５", ONE(CARD), NULL},
    {"order 12 4111111111111111 exp 12/27", ONE(CARD), "4111111111111111"},
    {"4111\xC2\xA0"
     "1111\xE2\x80\x8B"
     "1111\xE2\x80\xAF"
     "1111",
     ONE(CARD), NULL},
    {"4111111111111112", NOTHING, NULL},
    {"my card number is 4111 1111 1111 1112", ONE(CARD), NULL},
    {"0000000000000000 1111111111111111", NOTHING, NULL},
    {"9111111111111111", NOTHING, NULL},

    /* iban */
    {"GB82 WEST 1234 5698 7654 32", ONE(IBAN), "GB82 WEST 1234 5698 7654 32"},
    {"pay de89370400440532013000 today", ONE(IBAN), "de89370400440532013000"},
    {"IBAN:NO9386011117947", ONE(IBAN), "NO9386011117947"},
    {"GB82-WEST-1234-5698-7654-32 and more", ONE(IBAN), "GB82-WEST-1234-5698-7654-32"},
    {"GB82 WEST 1234 5698 7654 33", NOTHING, NULL},
    {"it is 300. If John has 20 such playlists", NOTHING, NULL},
    {"ZZ82 WEST 1234 5698 7654 32", NOTHING, NULL},

    /* ssn */
    {"my number is 536-22-1234", ONE(SSN), "536-22-1234"},
    {"SSN 536221234", ONE(SSN), NULL},
    {"part 536221234", NOTHING, NULL},
    {"000-12-3456 666-12-3456 912-12-3456 536-00-1234 536-22-0000", NOTHING, NULL},
    {"1536-22-1234", NOTHING, NULL},

    /* ip */
    {"from 203.0.113.9 to 10.0.0.7:8080", ONE(IP), "203.0.113.9"},
    {"10[.]0[.]0[.]7", ONE(IP), NULL},
    {"at 2001:db8::8a2e:370:7334.", ONE(IP), "2001:db8::8a2e:370:7334"},
    {"[fe80::1]:443", ONE(IP), "fe80::1"},
    {"::ffff:192.0.2.128", ONE(IP), NULL},
    {"v1.2.3.4, version 1.2.3.4, libfoo-1.2.3.4.tar.gz", NOTHING, NULL},
    {"127.0.0.1, 0.0.0.0, 255.255.255.0, ::1", NOTHING, NULL},
    {"std::vector<int>, dead::beef, 12:30:45, aa:bb:cc:dd:ee:ff", NOTHING, NULL},
    {"256.1.2.3 and 1.2.3 and 1.2.3.4.5", NOTHING, NULL},

    /* secrets */
    {"-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----x", ONE(KEY),
     "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----"},
    {"{\"k\":\"-----BEGIN PRIVATE KEY-----\\nMIIB", ONE(KEY), NULL},
    {"-----BEGIN CERTIFICATE-----", NOTHING, NULL},
    {"key sk-ant-api03-abcdefghijklmnopqrstuv0123", ONE(TOKEN), NULL},
    {"sk-proj-Abcdefghijklmnopqrstuvwxyz0123", ONE(TOKEN), NULL},
    {"ghp_abcdefghijklmnopqrstuvwxyz0123456789", ONE(TOKEN), NULL},
    {"AKIAIOSFODNN7EXAMPLE", ONE(TOKEN), "AKIAIOSFODNN7EXAMPLE"},
    {"xoxb-123456789012-abcdefABCDEF", ONE(TOKEN), NULL},
    {"AIzaSyA-abcdefghijklmnopqrstuvwxyz012345", ONE(TOKEN), NULL},
    {"glpat-abcdefghijklmnopqrst1", ONE(TOKEN), NULL},
    {"hf_abcdefghijklmnopqrstuvwxyzABCDEF", ONE(TOKEN), NULL},
    {"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLWJ5dGVz", ONE(TOKEN), NULL},
    {"postgres://me:secret@db/things", ONE(TOKEN), NULL},
    {"sk-learn-based-pipeline-for-the-text", NOTHING, NULL},
    {"AKIA is a prefix; ghp_ too; eyJ.eyJ.x", NOTHING, NULL},

    /* words */
    {"about project-falcon now", ONE(WORD), "project-falcon"},
    {"PROJECT   FALCON!", ONE(WORD), NULL},
    {"projects falcon, project falconry", NOTHING, NULL},
    {"Frau MÜLLER", ONE(WORD), "MÜLLER"},
    {"Frau Mu\xCC\x88ller", ONE(WORD), NULL},
    {"我叫張三。", ONE(WORD), "張三"},
    {"written in c++", ONE(WORD), "c++"},
    {"written in C", NOTHING, NULL},
    {"acme 7", ONE(WORD), NULL},
    {"acme 70", NOTHING, NULL},

    /* nothing */
    {"", NOTHING, NULL},
    {"What is the capital of France?", NOTHING, NULL},
    {"The quick brown fox jumps over 13 lazy dogs in 2024.", NOTHING, NULL},
};

static void texts_are_found_or_not(void **state)
{
    int wrong = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str text = str_of(cases[i].text);
        struct privacy_findings f = detect(text);
        bool bad = f.kinds != cases[i].kinds;
        if (!bad && cases[i].found) {
            struct str got = str_n(text.p + f.v[0].start, f.v[0].end - f.v[0].start);
            bad = !str_is(got, cases[i].found);
            if (bad)
                print_error("  found '%.*s'\n", STR_ARG(got));
        }
        if (bad)
            print_error("'%s': kinds %x, want %x\n", cases[i].text, f.kinds, cases[i].kinds);
        wrong += bad;
        privacy_findings_done(&f);
    }
    assert_int_equal(wrong, 0);
}

static void checksums_are_said(void **state)
{
    struct privacy_findings f = detect(STR("4111 1111 1111 1111"));
    assert_true(f.v[0].verified);
    privacy_findings_done(&f);
    f = detect(STR("credit card 4111 1111 1111 1112"));
    assert_int_equal(f.kinds, ONE(CARD));
    assert_false(f.v[0].verified);
    privacy_findings_done(&f);
}

/* ---- the whole request ---- */

static struct gen_part text_part(const char *s)
{
    return (struct gen_part){.type = GEN_PART_TEXT, .text = str_of(s)};
}

static void expect_place(const struct gen_req *req, enum privacy_place place,
                         enum privacy_field field, const char *what)
{
    struct privacy_findings f;
    struct err e;
    assert_int_equal(privacy_detect(rules, req, &f, &e), 0);
    if (f.n != 1 || f.v[0].place != place || f.v[0].field != field)
        fail_msg("%s: %zu findings, place %d, field %d", what, f.n, f.n ? (int)f.v[0].place : -1,
                 f.n ? (int)f.v[0].field : -1);
    privacy_findings_done(&f);
}

#define MAIL "jane@example.org"

static void every_message_part_is_scanned(void **state)
{
    static const enum gen_role roles[] = {GEN_SYSTEM, GEN_DEVELOPER, GEN_USER, GEN_ASSISTANT,
                                          GEN_TOOL};
    for (int r = 0; r < 5; r++) {
        const struct {
            struct gen_part part;
            enum privacy_field field;
        } parts[] = {
            {{.type = GEN_PART_TEXT, .text = STR(MAIL)}, PRIVACY_TEXT},
            {{.type = GEN_PART_REASONING, .text = STR(MAIL)}, PRIVACY_TEXT},
            {{.type = GEN_PART_REASONING, .opaque = STR(MAIL)}, PRIVACY_OPAQUE},
            {{.type = GEN_PART_TOOL_CALL, .args = STR("{\"a\":\"jane\\u0040example.org\"}")},
             PRIVACY_ARGS},
            {{.type = GEN_PART_TOOL_CALL, .name = STR(MAIL)}, PRIVACY_NAME},
            {{.type = GEN_PART_TOOL_CALL, .id = STR(MAIL)}, PRIVACY_ID},
            {{.type = GEN_PART_TOOL_RESULT, .text = STR(MAIL)}, PRIVACY_TEXT},
            {{.type = GEN_PART_DOCUMENT, .text = STR(MAIL)}, PRIVACY_TEXT},
            {{.type = GEN_PART_IMAGE, .url = STR("https://x.test/?m=jane%40example.org")},
             PRIVACY_URL},
            {{.type = GEN_PART_DOCUMENT,
              .url = STR("data:text/plain;base64,amFuZUBleGFtcGxlLm9yZw==")},
             PRIVACY_URL},
            {{.type = GEN_PART_DOCUMENT, .url = STR("data:,jane%40example.org")}, PRIVACY_URL},
            {{.type = GEN_PART_DOCUMENT,
              .mime = STR("text/plain"),
              .data = STR("aGkgamFuZUBleGFtcGxlLm9yZw==")},
             PRIVACY_DATA},
            {{.type = GEN_PART_TEXT,
              .text = STR("![](data:text/csv;base64,amFuZUBleGFtcGxlLm9yZw==)")},
             PRIVACY_TEXT},
        };
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            struct gen_part part = parts[i].part;
            struct gen_msg m = {.role = roles[r], .parts = &part, .nparts = 1};
            struct gen_req req = {.msgs = &m, .nmsgs = 1};
            char what[32];
            snprintf(what, sizeof what, "part %zu", i);
            expect_place(&req, PRIVACY_IN_MESSAGE, parts[i].field, what);
        }
    }
}

static void everything_else_is_scanned(void **state)
{
    struct gen_tool tool = {.name = STR(MAIL)};
    struct gen_req req = {.tools = &tool, .ntools = 1};
    expect_place(&req, PRIVACY_IN_TOOL, PRIVACY_NAME, "tool name");
    tool = (struct gen_tool){.description = STR(MAIL)};
    expect_place(&req, PRIVACY_IN_TOOL, PRIVACY_DESCRIPTION, "tool description");
    tool = (struct gen_tool){.schema = STR("{\"default\":\"" MAIL "\"}")};
    expect_place(&req, PRIVACY_IN_TOOL, PRIVACY_SCHEMA, "tool schema");
    req = (struct gen_req){.tool_choice_name = STR(MAIL)};
    expect_place(&req, PRIVACY_IN_TOOL, PRIVACY_NAME, "tool choice");
    struct str stop = STR(MAIL);
    req = (struct gen_req){.stops = &stop, .nstops = 1};
    expect_place(&req, PRIVACY_IN_STOP, PRIVACY_TEXT, "stop");
    req = (struct gen_req){.user = STR(MAIL)};
    expect_place(&req, PRIVACY_IN_USER, PRIVACY_TEXT, "user");
    req = (struct gen_req){.extra = STR("{\"metadata\":{\"m\":\"" MAIL "\"}}")};
    expect_place(&req, PRIVACY_IN_EXTRA, PRIVACY_TEXT, "extra");
    req = (struct gen_req){.schema = STR(MAIL)};
    expect_place(&req, PRIVACY_IN_FORMAT, PRIVACY_SCHEMA, "schema");
    req = (struct gen_req){.schema_name = STR(MAIL)};
    expect_place(&req, PRIVACY_IN_FORMAT, PRIVACY_NAME, "schema name");
    req = (struct gen_req){.prompt = STR(MAIL)};
    expect_place(&req, PRIVACY_IN_PROMPT, PRIVACY_TEXT, "prompt");
    req = (struct gen_req){.model = STR(MAIL)};
    expect_place(&req, PRIVACY_IN_MODEL, PRIVACY_TEXT, "model");
    struct gen_msg m = {.name = STR(MAIL)};
    req = (struct gen_req){.msgs = &m, .nmsgs = 1};
    expect_place(&req, PRIVACY_IN_MESSAGE, PRIVACY_NAME, "message name");
}

static void a_number_cut_in_two_parts_is_found(void **state)
{
    struct gen_part parts[] = {text_part("card 4111 1111"), text_part(" 1111 1111 ok")};
    struct gen_msg m = {.role = GEN_USER, .parts = parts, .nparts = 2};
    struct gen_req req = {.msgs = &m, .nmsgs = 1};
    struct privacy_findings f;
    struct err e;
    assert_int_equal(privacy_detect(rules, &req, &f, &e), 0);
    assert_int_equal(f.n, 1);
    assert_int_equal(f.v[0].kind, PRIVACY_CARD);
    assert_int_equal(f.v[0].part, 0);
    assert_int_equal(f.v[0].start, 5);
    assert_int_equal(f.v[0].end_part, 1);
    assert_int_equal(f.v[0].end, 10);
    privacy_findings_done(&f);

    /* Joining must not hide what stands at a seam either. */
    parts[0] = text_part("4111111111111111");
    parts[1] = text_part("5 apples");
    assert_int_equal(privacy_detect(rules, &req, &f, &e), 0);
    assert_int_equal(f.kinds, ONE(CARD));
    privacy_findings_done(&f);
}

static void media_is_a_fact(void **state)
{
    struct gen_part parts[] = {
        {.type = GEN_PART_IMAGE, .mime = STR("image/png"), .data = STR("iVBORw0KGgoAAAANSUhEUg==")},
        {.type = GEN_PART_IMAGE, .url = STR("data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==")},
        {.type = GEN_PART_IMAGE, .url = STR("https://x.test/cat.png")},
        {.type = GEN_PART_DOCUMENT, .mime = STR("application/pdf"), .data = STR("JVBERi0xLjQK")},
    };
    struct gen_msg m = {.role = GEN_USER, .parts = parts, .nparts = 4};
    struct gen_req req = {.msgs = &m, .nmsgs = 1};
    struct privacy_findings f;
    struct err e;
    assert_int_equal(privacy_detect(rules, &req, &f, &e), 0);
    assert_int_equal(f.n, 0);
    assert_int_equal(f.nmedia, 4);
    assert_int_equal(f.media[2].bytes, 0);

    struct privacy_settings s = privacy_settings_default();
    struct privacy_inputs in = PRIVACY_INPUTS_NONE;
    struct privacy_decision d;
    assert_int_equal(privacy_decide(&s, &f, &in, &d, &e), 0);
    assert_int_equal(d.zone, GEN_CLOUD);
    struct buf labels = BUF_INIT(1000);
    privacy_labels_json(&f, &d, &labels);
    assert_string_equal(labels.p, "[\"unread-media\"]");
    buf_done(&labels);
    assert_int_equal(privacy_settings_set(&s, STR("media-zone"), STR("device"), &e), 0);
    assert_int_equal(privacy_decide(&s, &f, &in, &d, &e), 0);
    assert_int_equal(d.zone, GEN_DEVICE);
    privacy_findings_done(&f);
}

static void a_hit_limit_fails_closed(void **state)
{
    struct privacy_rules_params p = {.match_limit = 1};
    struct privacy_rules *tight;
    struct privacy_findings f;
    struct err e;
    assert_int_equal(privacy_rules_new(&p, &tight, &e), 0);
    assert_int_equal(privacy_detect_text(tight, STR("a.b.c.d@x 1 2 3 nothing here"), &f, &e), 0);
    assert_true(f.n > 0 && f.v[0].unknown);
    struct privacy_settings s = privacy_settings_default();
    struct privacy_inputs in = PRIVACY_INPUTS_NONE;
    struct privacy_decision d;
    assert_int_equal(privacy_decide(&s, &f, &in, &d, &e), 0);
    assert_int_equal(d.zone, GEN_DEVICE);
    assert_int_equal(d.reasons[d.decider].why, PRIVACY_WHY_UNKNOWN);
    privacy_findings_done(&f);
    privacy_rules_free(tight);
}

static void hard_texts_take_linear_time(void **state)
{
    /* Each is what one of the patterns likes least. */
    static const char *const pieces[] = {
        "a",     "a.",          "a@",  "1",    "1 ", "1.", "(+", "1:",     "GB82 ",
        "eyJa.", "-----BEGIN ", "sk-", "[at]", "\\", "%4", "é",  "x://a:", "data:;base64,QQ"};
    size_t n = 200000;
    char *text = malloc(n);
    assert_non_null(text);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        size_t len = strlen(pieces[i]);
        for (size_t k = 0; k < n; k++)
            text[k] = pieces[i][k % len];
        struct privacy_findings f = detect(str_n(text, n));
        for (size_t k = 0; k < f.n; k++)
            assert_false(f.v[k].unknown && f.v[k].kind != PRIVACY_TOKEN);
        privacy_findings_done(&f);
    }
    free(text);
}

static void one_detector_does_not_crowd_out_another(void **state)
{
    struct buf b = BUF_INIT(1 << 20);
    for (int i = 0; i < 6000; i++)
        buf_printf(&b, "u%d@example.org ", i);
    buf_puts(&b, "4111111111111111 falcon project falcon");
    struct privacy_findings f = detect(buf_str(&b));
    assert_true(f.more);
    assert_int_equal(f.kinds, ONE(EMAIL) | ONE(CARD) | ONE(WORD));
    struct privacy_settings s = privacy_settings_default();
    struct privacy_inputs none = PRIVACY_INPUTS_NONE;
    struct privacy_decision d;
    struct err e;
    s.allow = ONE(EMAIL);
    assert_int_equal(privacy_decide(&s, &f, &none, &d, &e), 0);
    assert_int_equal(d.zone, GEN_DEVICE);
    privacy_findings_done(&f);
    buf_done(&b);
}

static void too_many_embedded_texts_count_as_found(void **state)
{
    struct buf b = BUF_INIT(1 << 20);
    for (int i = 0; i < 5000; i++)
        buf_puts(&b, "data:;base64,aGVsbG8= ");
    struct privacy_findings f = detect(buf_str(&b));
    assert_int_equal(f.n, 1);
    assert_true(f.v[0].unknown);
    privacy_findings_done(&f);
    buf_done(&b);
}

/* ---- the decision ---- */

static struct privacy_decision decide(const struct privacy_settings *s, struct str text,
                                      const struct privacy_inputs *in)
{
    struct privacy_findings f = detect(text);
    struct privacy_decision d;
    struct err e;
    assert_int_equal(privacy_decide(s, &f, in, &d, &e), 0);
    privacy_findings_done(&f);
    return d;
}

static bool says(const struct privacy_decision *d, enum privacy_why why)
{
    for (size_t i = 0; i < d->n; i++) {
        if (d->reasons[i].why == why)
            return true;
    }
    return false;
}

static void presets_and_headers_only_tighten(void **state)
{
    struct privacy_settings s = privacy_settings_default();
    struct privacy_inputs none = PRIVACY_INPUTS_NONE, in = PRIVACY_INPUTS_NONE;
    assert_int_equal(decide(&s, STR("hello"), &none).zone, GEN_CLOUD);
    struct privacy_decision d = decide(&s, STR(MAIL), &none);
    assert_int_equal(d.zone, GEN_DEVICE);
    assert_true(d.taints);
    assert_null(strstr(d.reasons[d.decider].text, "jane"));

    in.zone_header = STR("site");
    d = decide(&s, STR("hello"), &in);
    assert_int_equal(d.zone, GEN_SITE);
    assert_int_equal(d.reasons[d.decider].why, PRIVACY_WHY_HEADER);
    in.zone_header = STR(" Cloud ");
    d = decide(&s, STR(MAIL), &in);
    assert_int_equal(d.zone, GEN_DEVICE);
    assert_true(says(&d, PRIVACY_WHY_NO_EFFECT));
    in.preset_header = STR("private");
    assert_int_equal(decide(&s, STR("hello"), &in).zone, GEN_DEVICE);

    s.preset = PRIVACY_PRIVATE;
    in = PRIVACY_INPUTS_NONE;
    in.zone_header = STR("cloud");
    in.preset_header = STR("hybrid");
    d = decide(&s, STR("hello"), &in);
    assert_int_equal(d.zone, GEN_DEVICE);
    assert_int_equal(d.reasons[d.decider].why, PRIVACY_WHY_PRESET);
    assert_true(says(&d, PRIVACY_WHY_NO_EFFECT));
    s.allow = ~0u;
    s.sensitive_zone = GEN_CLOUD;
    assert_int_equal(decide(&s, STR(MAIL), &in).zone, GEN_DEVICE);

    s = privacy_settings_default();
    in = PRIVACY_INPUTS_NONE;
    in.key_zone = GEN_SITE;
    assert_int_equal(decide(&s, STR("hello"), &in).zone, GEN_SITE);
    in.taint = GEN_DEVICE;
    d = decide(&s, STR("hello"), &in);
    assert_int_equal(d.zone, GEN_DEVICE);
    assert_true(says(&d, PRIVACY_WHY_TAINT));
}

static void an_unknown_zone_is_an_error(void **state)
{
    struct privacy_settings s = privacy_settings_default();
    struct privacy_findings f = {0};
    struct privacy_decision d = {.zone = GEN_SITE};
    struct err e;
    static const char *const wrong[] = {"", "local", "devices", "cloud,device", "0"};
    for (size_t i = 0; i < 5; i++) {
        struct privacy_inputs in = PRIVACY_INPUTS_NONE;
        in.zone_header = str_of(wrong[i]);
        assert_int_equal(privacy_decide(&s, &f, &in, &d, &e), ERR_INVAL);
        assert_int_equal(d.zone, GEN_SITE);
    }
}

static void loosening_is_a_setting_and_recorded(void **state)
{
    struct privacy_settings s = privacy_settings_default();
    struct privacy_inputs none = PRIVACY_INPUTS_NONE;
    struct err e;
    assert_int_equal(privacy_settings_set(&s, STR("allow"), STR("email, phone"), &e), 0);
    struct privacy_decision d = decide(&s, STR(MAIL), &none);
    assert_int_equal(d.zone, GEN_CLOUD);
    assert_true(says(&d, PRIVACY_WHY_ALLOWED));
    assert_false(d.taints);
    d = decide(&s, STR(MAIL " 4111111111111111"), &none);
    assert_int_equal(d.zone, GEN_DEVICE);
    assert_int_equal(privacy_settings_set(&s, STR("sensitive_zone"), STR("site"), &e), 0);
    d = decide(&s, STR("4111111111111111"), &none);
    assert_int_equal(d.zone, GEN_SITE);
    assert_true(says(&d, PRIVACY_WHY_LOOSENED));
    assert_int_equal(privacy_settings_set(&s, STR("allow"), STR("mail"), &e), ERR_INVAL);
    assert_int_equal(privacy_settings_set(&s, STR("nonsense"), STR("x"), &e), ERR_NOT_FOUND);
    assert_int_equal(privacy_settings_set(&s, STR("zone"), STR("x"), &e), ERR_INVAL);
}

/* ---- taint ---- */

#define Q1 "Hello! Could you help me plan a birthday party for my sister?"
#define A1 "Of course. How many guests do you expect, and is there a budget?"
#define Q2 "Twelve. Her mail is jane@example.org, write the invitation to her."
#define A2 "Dear Jane, you are invited to your own party on Saturday evening."
#define Q3 "Make it shorter."

static struct gen_msg *conversation(const char *const *texts, size_t n)
{
    static struct gen_msg msgs[8];
    static struct gen_part parts[8];
    for (size_t i = 0; i < n; i++) {
        parts[i] = text_part(texts[i]);
        msgs[i] = (struct gen_msg){
            .role = i % 2 ? GEN_ASSISTANT : GEN_USER, .parts = &parts[i], .nparts = 1};
    }
    return msgs;
}

static enum gen_zone check(struct privacy_taint *t, const char *id, const char *const *texts,
                           size_t n)
{
    struct gen_req req = {.msgs = conversation(texts, n), .nmsgs = n};
    enum gen_zone z;
    struct err e;
    assert_int_equal(privacy_taint_check(t, str_of(id), &req, &z, &e), 0);
    return z;
}

static void a_conversation_keeps_its_zone(void **state)
{
    struct privacy_taint *t;
    struct privacy_findings f;
    struct err e;
    assert_int_equal(privacy_taint_new(0, &t, &e), 0);
    const char *const full[] = {Q1, A1, Q2};
    struct gen_req req = {.msgs = conversation(full, 3), .nmsgs = 3};
    assert_int_equal(check(t, "", full, 3), GEN_CLOUD);
    assert_int_equal(privacy_detect(rules, &req, &f, &e), 0);
    assert_int_equal(privacy_taint_add(t, STR_NONE, &req, &f, GEN_DEVICE, &e), 0);
    assert_int_equal(privacy_taint_answer(t, STR(A2), GEN_DEVICE, &e), 0);

    const char *const edited[] = {Q1, A1, "Never mind, about twelve guests."};
    assert_int_equal(check(t, "", edited, 3), GEN_DEVICE);
    const char *const quoted[] = {"Somebody wrote this, what do you think?", "  " A2 "\n", "Nice."};
    assert_int_equal(check(t, "", quoted, 3), GEN_DEVICE);
    const char *const cut[] = {"[earlier turns removed]", A2, Q3};
    assert_int_equal(check(t, "", cut, 3), GEN_DEVICE);
    const char *const first[] = {Q1};
    assert_int_equal(check(t, "", first, 1), GEN_CLOUD);
    const char *const other[] = {"What is the capital of France?", "Paris.", Q3};
    assert_int_equal(check(t, "", other, 3), GEN_CLOUD);
    privacy_findings_done(&f);
    privacy_taint_free(t);
}

static void an_id_keeps_its_zone(void **state)
{
    struct privacy_taint *t;
    struct privacy_findings none = {0};
    struct err e;
    assert_int_equal(privacy_taint_new(0, &t, &e), 0);
    const char *const texts[] = {"hi"};
    struct gen_req req = {.msgs = conversation(texts, 1), .nmsgs = 1};
    assert_int_equal(privacy_taint_add(t, STR("c1"), &req, &none, GEN_SITE, &e), 0);
    const char *const later[] = {"something else entirely"};
    assert_int_equal(check(t, "c1", later, 1), GEN_SITE);
    assert_int_equal(check(t, "c2", later, 1), GEN_CLOUD);
    /* "hi" alone must not taint the world. */
    assert_int_equal(check(t, "", texts, 1), GEN_CLOUD);
    privacy_taint_free(t);
}

static void the_taint_table_is_bounded(void **state)
{
    struct privacy_taint *t;
    struct err e;
    assert_int_equal(privacy_taint_new(100, &t, &e), 0);
    struct gen_req req = {0};
    struct privacy_findings none = {0};
    char id[16];
    for (int i = 0; i < 1000; i++) {
        int n = snprintf(id, sizeof id, "c%d", i);
        assert_int_equal(privacy_taint_add(t, str_n(id, (size_t)n), &req, &none, GEN_DEVICE, &e),
                         0);
        enum gen_zone z;
        assert_int_equal(privacy_taint_check(t, STR("c0"), &req, &z, &e), 0);
        assert_int_equal(z, GEN_DEVICE); /* used all the time: never forgotten */
    }
    int kept = 0;
    for (int i = 0; i < 1000; i++) {
        snprintf(id, sizeof id, "c%d", i);
        enum gen_zone z;
        assert_int_equal(privacy_taint_check(t, str_of(id), &req, &z, &e), 0);
        kept += z == GEN_DEVICE;
    }
    assert_int_equal(kept, 100);
    privacy_taint_free(t);
    assert_int_equal(privacy_taint_new(SIZE_MAX, &t, &e), ERR_INVAL);
}

static void word_lists_are_checked(void **state)
{
    struct privacy_rules *r = NULL;
    struct err e;
    struct str bad[] = {STR("fine"), STR("--")};
    struct privacy_rules_params p = {.words = bad, .nwords = 2};
    assert_int_equal(privacy_rules_new(&p, &r, &e), ERR_INVAL);
    bad[1] = STR_NONE;
    assert_int_equal(privacy_rules_new(&p, &r, &e), ERR_INVAL);
    p.nwords = 100000;
    assert_int_equal(privacy_rules_new(&p, &r, &e), ERR_INVAL);
    assert_null(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_found_or_not),
        cmocka_unit_test(checksums_are_said),
        cmocka_unit_test(every_message_part_is_scanned),
        cmocka_unit_test(everything_else_is_scanned),
        cmocka_unit_test(a_number_cut_in_two_parts_is_found),
        cmocka_unit_test(media_is_a_fact),
        cmocka_unit_test(a_hit_limit_fails_closed),
        cmocka_unit_test(hard_texts_take_linear_time),
        cmocka_unit_test(one_detector_does_not_crowd_out_another),
        cmocka_unit_test(too_many_embedded_texts_count_as_found),
        cmocka_unit_test(presets_and_headers_only_tighten),
        cmocka_unit_test(an_unknown_zone_is_an_error),
        cmocka_unit_test(loosening_is_a_setting_and_recorded),
        cmocka_unit_test(a_conversation_keeps_its_zone),
        cmocka_unit_test(an_id_keeps_its_zone),
        cmocka_unit_test(the_taint_table_is_bounded),
        cmocka_unit_test(word_lists_are_checked),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
