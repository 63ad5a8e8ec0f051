/* responses_item.c: the items of /v1/responses (a request's `input`, an answer's `output`) into
 * messages, and the kept items of earlier answers into the requests that go on from them.
 *
 * The dialect's turn is a flat list; gen's is a message with parts. What the assistant did in one
 * turn (reasoning, text, calls) becomes one message, because that is what a model's template and
 * the other dialects want; two texts of the assistant's in a row stay two messages. An item's own
 * id and status are left out. Of a reasoning item that has both a summary and its content, the
 * content is read. Items and content of a kind that is not known are refused by name. */
#include "responses_int.h"

struct list {
    struct dec *d;
    struct gen_msg *msgs;
    size_t n;
    size_t room;    /* parts that the last message has memory for */
    bool assistant; /* further items of the assistant's belong to the last message */
};

static int begin(struct list *l, enum gen_role role)
{
    l->msgs[l->n++].role = role;
    l->room = 0;
    l->assistant = role == GEN_ASSISTANT;
    return 0;
}

static int add(struct list *l, const struct gen_part *p)
{
    struct gen_msg *m = &l->msgs[l->n - 1];
    if (m->nparts == l->room) {
        size_t room = l->room ? l->room * 2 : 1;
        struct gen_part *bigger = arena_array(l->d->a, room, sizeof *bigger);
        if (!bigger)
            return dec_nomem(l->d);
        if (m->nparts)
            memcpy(bigger, m->parts, m->nparts * sizeof *bigger);
        m->parts = bigger;
        l->room = room;
    }
    m->parts[m->nparts++] = *p;
    return 0;
}

/* Into the assistant's turn that is under way, or a new one. */
static int add_assistant(struct list *l, const struct gen_part *p)
{
    if (!l->assistant)
        begin(l, GEN_ASSISTANT);
    return add(l, p);
}

/* ---- content ---- */

static int need_str(struct dec *d, const json_t *o, const char *key, struct str *out)
{
    int rc = dec_str(d, o, key, out);
    return rc < 0 ? rc : rc ? 0 : dec_fail(d, ERR_FORMAT, key, "is missing");
}

static int file_id(struct dec *d, struct str id, struct gen_part *p)
{
    const char *url = arena_printf(d->a, WIRE_FILE_ID "%.*s", STR_ARG(id));
    p->url = str_of(url);
    return url ? 0 : dec_nomem(d);
}

static int decode_image(struct dec *d, const json_t *part, struct gen_part *p)
{
    struct str s;
    p->type = GEN_PART_IMAGE;
    int rc = dec_str(d, part, "detail", &p->name);
    if (rc < 0)
        return rc;
    if ((rc = dec_str(d, part, "image_url", &s)) != 0)
        return rc < 0 ? rc : dec_url(d, s, p);
    if ((rc = dec_str(d, part, "file_id", &s)) != 0)
        return rc < 0 ? rc : file_id(d, s, p);
    return dec_fail(d, ERR_FORMAT, "image_url", "is missing, and so is file_id");
}

static int decode_file(struct dec *d, const json_t *part, struct gen_part *p)
{
    struct str s;
    p->type = GEN_PART_DOCUMENT;
    int rc = dec_str(d, part, "filename", &p->text);
    if (rc < 0)
        return rc;
    if ((rc = dec_str(d, part, "file_data", &s)) < 0)
        return rc;
    if (rc && str_istarts(s, STR("data:")))
        return dec_url(d, s, p);
    if (rc) { /* base64 by itself */
        p->data = s;
        return 0;
    }
    if ((rc = dec_str(d, part, "file_url", &p->url)) != 0)
        return rc < 0 ? rc : 0;
    if ((rc = dec_str(d, part, "file_id", &s)) != 0)
        return rc < 0 ? rc : file_id(d, s, p);
    return dec_fail(d, ERR_FORMAT, "file_data", "is missing, and so are file_url and file_id");
}

static int decode_content(struct dec *d, const json_t *part, struct gen_part *p)
{
    static const char *const texts[][2] = {
        {"input_text", "text"}, {"output_text", "text"}, {"refusal", "refusal"}};
    struct str type;
    if (!json_is_object(part))
        return dec_fail(d, ERR_FORMAT, "", "must be an object");
    int rc = need_str(d, part, "type", &type);
    if (rc)
        return rc;
    if (str_is(type, "input_image"))
        return decode_image(d, part, p);
    if (str_is(type, "input_file"))
        return decode_file(d, part, p);
    p->type = GEN_PART_TEXT;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (str_is(type, texts[i][0]))
            return need_str(d, part, texts[i][1], &p->text);
    return dec_fail(d, ERR_UNSUPPORTED, "type", "unknown kind of content \"%.*s\"", STR_ARG(type));
}

/* ---- messages ---- */

static int decode_role(struct dec *d, const json_t *item, enum gen_role *out)
{
    static const char *const names[] = {"system", "developer", "user", "assistant"};
    struct str role;
    int rc = need_str(d, item, "role", &role);
    if (rc)
        return rc;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (str_is(role, names[i])) {
            *out = (enum gen_role)i;
            return 0;
        }
    }
    return dec_fail(d, ERR_FORMAT, "role", "unknown role \"%.*s\"", STR_ARG(role));
}

/* The assistant's text goes on the turn under way, unless that has just said something. */
static bool goes_on(const struct list *l)
{
    const struct gen_msg *m = l->n ? &l->msgs[l->n - 1] : NULL;
    return l->assistant && m->nparts && m->parts[m->nparts - 1].type != GEN_PART_TEXT;
}

static int decode_message(struct list *l, const json_t *item)
{
    struct dec *d = l->d;
    enum gen_role role = GEN_USER;
    const json_t *content = json_object_get(item, "content");
    int rc = decode_role(d, item, &role);
    if (rc)
        return rc;
    if (!content || json_is_null(content))
        return dec_fail(d, ERR_FORMAT, "content", "is missing");
    if (!json_is_string(content) && !json_is_array(content))
        return dec_fail(d, ERR_FORMAT, "content", "must be a string or an array");
    if (role != GEN_ASSISTANT || !goes_on(l))
        begin(l, role);
    if (json_is_string(content)) {
        struct gen_part p = {.type = GEN_PART_TEXT};
        rc = dec_copy(d, wire_json_str(content), &p.text);
        return rc ? rc : add(l, &p);
    }
    d->sub = "content";
    for (d->j = 0; d->j < json_array_size(content); d->j++) {
        struct gen_part p = {0};
        rc = decode_content(d, json_array_get(content, d->j), &p);
        if (!rc)
            rc = add(l, &p);
        if (rc)
            return rc;
    }
    d->sub = NULL;
    return 0;
}

/* ---- calls and their results ---- */

static int custom_args(struct dec *d, const json_t *item, struct str *out)
{
    struct str input;
    struct buf b = BUF_INIT(8 * WIRE_MAX_BODY);
    int rc = need_str(d, item, "input", &input);
    if (!rc)
        responses_put_args(input, &b);
    if (!rc)
        rc = buf_failed(&b) ? dec_nomem(d) : dec_copy(d, buf_str(&b), out);
    buf_done(&b);
    return rc;
}

static int decode_call(struct list *l, const json_t *item, bool custom)
{
    struct dec *d = l->d;
    struct gen_part p = {.type = GEN_PART_TOOL_CALL};
    struct str space = STR_NONE;
    int rc = need_str(d, item, "call_id", &p.id);
    if (!rc)
        rc = need_str(d, item, "name", &p.name);
    if (!rc)
        rc = dec_str(d, item, "namespace", &space);
    if (rc < 0)
        return rc;
    if (responses_tool_name(d->a, space, p.name, &p.name))
        return dec_nomem(d);
    rc = custom ? custom_args(d, item, &p.args) : need_str(d, item, "arguments", &p.args);
    return rc ? rc : add_assistant(l, &p);
}

/* A list's texts are joined; its media follow as parts with the call's id. */
static int decode_output_list(struct list *l, const json_t *list, struct gen_part *result)
{
    struct dec *d = l->d;
    struct gen_msg *m = &l->msgs[l->n - 1];
    struct buf all = BUF_INIT(WIRE_MAX_BODY);
    int rc = add(l, result);
    d->sub = "output";
    for (d->j = 0; d->j < json_array_size(list) && !rc; d->j++) {
        struct gen_part p = {0};
        rc = decode_content(d, json_array_get(list, d->j), &p);
        p.id = result->id;
        if (!rc && p.type == GEN_PART_TEXT)
            buf_str_add(&all, p.text);
        else if (!rc)
            rc = add(l, &p);
        if (rc)
            break;
    }
    if (!rc)
        d->sub = NULL;
    if (!rc)
        rc = buf_failed(&all) ? dec_nomem(d) : dec_copy(d, buf_str(&all), &m->parts[0].text);
    buf_done(&all);
    return rc;
}

static int decode_output(struct list *l, const json_t *item)
{
    struct dec *d = l->d;
    const json_t *output = json_object_get(item, "output");
    struct gen_part p = {.type = GEN_PART_TOOL_RESULT};
    int rc = need_str(d, item, "call_id", &p.id);
    if (rc)
        return rc;
    if (!output || json_is_null(output))
        return dec_fail(d, ERR_FORMAT, "output", "is missing");
    begin(l, GEN_TOOL);
    if (json_is_array(output))
        return decode_output_list(l, output, &p);
    if (!json_is_string(output))
        return dec_fail(d, ERR_FORMAT, "output", "must be a string or an array");
    rc = dec_copy(d, wire_json_str(output), &p.text);
    return rc ? rc : add(l, &p);
}

/* ---- reasoning ---- */

/* The texts of item[key], `between` them. 1: there were some. */
static int join_texts(struct dec *d, const json_t *item, const char *key, const char *type,
                      const char *between, struct str *out)
{
    json_t *list;
    struct buf all = BUF_INIT(WIRE_MAX_BODY);
    int rc = dec_array(d, item, key, &list);
    if (rc <= 0 || !json_array_size(list))
        return rc < 0 ? rc : 0;
    rc = 0;
    d->sub = key;
    for (d->j = 0; d->j < json_array_size(list) && !rc; d->j++) {
        const json_t *part = json_array_get(list, d->j);
        struct str text;
        if (!json_is_object(part))
            rc = dec_fail(d, ERR_FORMAT, "", "must be an object");
        else if (!str_is(wire_json_get_str(part, "type"), type))
            rc = dec_fail(d, ERR_FORMAT, "type", "must be \"%s\"", type);
        else
            rc = need_str(d, part, "text", &text);
        if (rc)
            break;
        buf_puts(&all, d->j ? between : "");
        buf_str_add(&all, text);
    }
    if (!rc) {
        d->sub = NULL;
        rc = buf_failed(&all) ? dec_nomem(d) : dec_copy(d, buf_str(&all), out);
    }
    buf_done(&all);
    return rc ? rc : 1;
}

static int decode_reasoning(struct list *l, const json_t *item)
{
    struct dec *d = l->d;
    struct gen_part p = {.type = GEN_PART_REASONING};
    struct str summary = STR_NONE;
    int has_summary = join_texts(d, item, "summary", "summary_text", "\n\n", &summary);
    if (has_summary < 0)
        return has_summary;
    int has_content = join_texts(d, item, "content", "reasoning_text", "", &p.text);
    if (has_content < 0)
        return has_content;
    int rc = dec_str(d, item, "encrypted_content", &p.opaque);
    if (rc < 0)
        return rc;
    if (!has_content && has_summary) {
        p.text = summary;
        p.name = STR(RESPONSES_SUMMARY);
    } else if (!has_content) {
        p.type = GEN_PART_OPAQUE;
        if (!rc)
            return 0; /* an item without anything in it */
    }
    return add_assistant(l, &p);
}

static int decode_reference(struct list *l, const json_t *item)
{
    struct gen_part p = {.type = GEN_PART_OPAQUE, .name = STR(RESPONSES_REFERENCE)};
    int rc = need_str(l->d, item, "id", &p.id);
    return rc ? rc : add_assistant(l, &p);
}

/* ---- lists ---- */

static int decode_item(struct list *l, const json_t *item)
{
    struct dec *d = l->d;
    struct str type = STR_NONE;
    if (!json_is_object(item))
        return dec_fail(d, ERR_FORMAT, "", "must be an object");
    int rc = dec_str(d, item, "type", &type);
    if (rc < 0)
        return rc;
    if (!rc) /* both may be without a type */
        return json_object_get(item, "role") || !json_object_get(item, "id")
                   ? decode_message(l, item)
                   : decode_reference(l, item);
    if (str_is(type, "message"))
        return decode_message(l, item);
    if (str_is(type, "function_call") || str_is(type, "custom_tool_call"))
        return decode_call(l, item, str_is(type, "custom_tool_call"));
    if (str_is(type, "function_call_output") || str_is(type, "custom_tool_call_output"))
        return decode_output(l, item);
    if (str_is(type, "reasoning"))
        return decode_reasoning(l, item);
    if (str_is(type, RESPONSES_REFERENCE))
        return decode_reference(l, item);
    return dec_fail(d, ERR_UNSUPPORTED, "type", "unknown kind of item \"%.*s\"", STR_ARG(type));
}

int responses_read_items(struct dec *d, const json_t *list, struct gen_msg **msgs, size_t *nmsgs)
{
    struct list l = {.d = d};
    l.msgs = arena_array(d->a, json_array_size(list), sizeof *l.msgs);
    if (!l.msgs)
        return dec_nomem(d);
    d->list = "input";
    for (d->i = 0; d->i < json_array_size(list); d->i++) {
        int rc = decode_item(&l, json_array_get(list, d->i));
        if (rc)
            return rc;
    }
    d->list = NULL;
    *msgs = l.msgs;
    *nmsgs = l.n;
    return 0;
}
