/* test_tmpl.c: the template language (Python's jinja2 is the reference: expected texts are what it
 * prints), outside ranges, limits, the binding of requests, and the parsers of what models write.
 * Real models' templates are compared by tests/tools/tmpl_diff.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "arena.h"
#include "tmpl.h"

/* ---- the language ---- */

static const char vars[] =
    "{\"s\":\"Hello\",\"n\":3,\"f\":1.5,\"t\":true,\"z\":null,\"l\":[3,1,2],\"e\":[],"
    "\"d\":{\"b\":1,\"a\":{\"x\":\"y\"}},\"u\":\"  \\u00e4b\\u4e2d \",\"q\":\"it's \\\"q\\\"\\n\","
    "\"m\":[{\"role\":\"user\",\"content\":\"A\",\"k\":2},{\"role\":\"bot\",\"content\":\"B\"},"
    "{\"role\":\"user\",\"content\":\"C\",\"k\":1}]}";

static int render(const char *source, const char *json, struct tmpl_out *out, struct err *e)
{
    struct tmpl *t = NULL;
    tmpl_out_init(out, 1 << 20);
    *e = (struct err){0};
    int rc = tmpl_parse(str_of(source), &t, e);
    if (!rc)
        rc = tmpl_render_json(t, str_of(json), STR("<s>"), STR("</s>"), 0, out, e);
    tmpl_free(t);
    return rc;
}

static void expect(const char *source, const char *want)
{
    struct tmpl_out out;
    struct err e;
    int rc = render(source, vars, &out, &e);
    if (rc)
        print_error("%s: %s\n", source, err_msg(&e));
    assert_int_equal(rc, 0);
    if (strcmp(out.text.p ? out.text.p : "", want) != 0)
        print_error("template %s\n", source);
    assert_string_equal(out.text.p ? out.text.p : "", want);
    tmpl_out_done(&out);
}

static void expect_all(const char *const (*v)[2], size_t n)
{
    for (size_t i = 0; i < n; i++)
        expect(v[i][0], v[i][1]);
}
#define EXPECT_ALL(...)                                                                            \
    do {                                                                                           \
        static const char *const cases[][2] = {__VA_ARGS__};                                       \
        expect_all(cases, sizeof cases / sizeof *cases);                                           \
    } while (0)

static void white_space(void **state)
{
    EXPECT_ALL({"a\n", "a"}, {"a\n\n", "a\n"}, {"a  {{- s -}}  b", "aHellob"},
               {"{% if t %}\nx\n{% endif %}\ny", "x\ny"},
               {"  {% if t %}  x  {% endif %}  ", "  x    "}, {"a\n   {# note #}\nb", "a\nb"},
               {"a {#- x -#} b", "ab"}, {"a\n  {%+ if t %}x{% endif +%}\nb", "a\n  x\nb"},
               {"\r\na\rb\r\n", "\na\nb"}, {"{% raw %}{{ s }}{% endraw %}!", "{{ s }}!"},
               {"  {{ s }}\n{{ n }}\n", "  Hello\n3"},
               {"x\n{%- if t -%}\n  y  {%- endif %}\nz", "xyz"}, {"x\xc2\xa0{{- s }}", "xHello"},
               {"{{ {'a': {'b': 1}}['a']['b'] }}", "1"});
}

static void values_print_as_python_does(void **state)
{
    EXPECT_ALL({"{{ t }} {{ z }} {{ f }} {{ nothing }}|", "True None 1.5 |"},
               {"{{ l }} {{ d }}", "[3, 1, 2] {'b': 1, 'a': {'x': 'y'}}"},
               {"{{ [q] }}", "['it\\'s \"q\"\\n']"}, {"{{ [\"it's\"] }}", "[\"it's\"]"},
               {"{{ (1,) }} {{ (1, 'a') }} {{ () }}", "(1,) (1, 'a') ()"},
               {"{{ 1e16 }} {{ 1e15 }} {{ 0.0001 }} {{ 1.0e-5 }} {{ 0.1 + 0.2 }}",
                "1e+16 1000000000000000.0 0.0001 1e-05 0.30000000000000004"},
               {"{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }}",
                "3 -4 2 3.5 1024 0.5"},
               {"{{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ 'a' ~ 1 + 2 ~ 'b' }}", "7 9 a12b"},
               {"{{ true == 1 }} {{ 1 == 1.0 }} {{ '1' == 1 }} {{ none == none }}",
                "True True False True"},
               {"{{ 'ab' * 2 }} {{ [1] * 2 + [3] }}", "abab [1, 1, 3]"});
}

static void expressions(void **state)
{
    EXPECT_ALL(
        {"{{ 'yes' if n > 2 else 'no' }} {{ 'x' if false }}|", "yes |"},
        {"{{ 1 < n <= 3 }} {{ 2 in l }} {{ 9 not in l }} {{ 'ell' in s }} {{ 'b' in d }}",
         "True True True True True"},
        {"{{ not t or z }} {{ z or 'd' }} {{ t and 'x' }}", "None d x"},
        {"{{ s[0] }}{{ s[-1] }} {{ s[1:3] }} {{ s[::-1] }} {{ l[1:] }} {{ l[:-1] }}",
         "Ho el olleH [1, 2] [3, 1]"},
        {"{{ u[2] }}{{ u[4] }} {{ u|length }} {{ u.strip()[1:] }}", "ä中 6 b中"},
        {"{{ d.a.x }} {{ d['a']['x'] }} {{ d.get('c', 5) }} {{ d.c is defined }}", "y y 5 False"},
        {"{{ -n|abs }} {{ -2 ** 2 }}", "3 4"},
        {"{{ s is string and n is number and d is mapping and l is iterable }}", "True"},
        {"{{ n is odd }} {{ n is divisibleby 3 }} {{ n is not none }} {{ n is in [3] }}",
         "True True True True"},
        {"{{ 'a' 'b' }} {{ \"\\x41\\u00e9\\n\\q\" }}", "ab A\xc3\xa9\n\\q"},
        {"{{ '%s-%d-%.2f' % ('a', 2, 1.239) }} {{ '{} {1} {k}'.format('x', 'y', k=1) }}",
         "a-2-1.24 x y 1"},
        {"{{ m[0].items() | list | length }} {{ m[-1]['k'] }}", "3 1"});
}

static void statements(void **state)
{
    EXPECT_ALL(
        {"{% for x in l %}{{ loop.index }}{{ x }}{{ ',' if not loop.last }}{% endfor %}",
         "13,21,32"},
        {"{% for x in l if x > 1 %}{{ loop.length }}{{ x }} {% endfor %}", "23 22 "},
        {"{% for x in e %}x{% else %}none{% endfor %}", "none"},
        {"{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "b=1;a={'x': 'y'};"},
        {"{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "32"},
        {"{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}", "3"},
        {"{% set x = 1 %}{% for i in l %}{% set x = i %}{% endfor %}{{ x }}", "1"},
        {"{% set n = namespace(x=1) %}{% for i in l %}{% set n.x = n.x + i %}{% endfor %}{{ n.x }}",
         "7"},
        {"{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c %}<{{ a }}>{% endset %}{{ c }}", "12<1>"},
        {"{% set c | upper | trim %} x{{ s }} {% endset %}{{ c }}", "XHELLO"},
        {"{% if z %}a{% elif n == 3 %}b{% else %}c{% endif %}", "b"},
        {"{% macro f(a, b='d', c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ f(1) }} {{ f(1, c=2) "
         "}}",
         "1d1 1d2"},
        {"{% macro w() %}[{{ caller() }}]{% endmacro %}{% call w() %}in{% endcall %}", "[in]"},
        {"{% macro f(n) %}{{ n }}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
         "3210"},
        {"{% filter upper %}a{{ s }}{% endfilter %}", "AHELLO"},
        {"{% generation %}{{ s }}{% endgeneration %}", "Hello"},
        {"{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}", "3"},
        {"{% for c in 'a\xc3\xa4' %}{{ c }}.{% endfor %}{% for i in range(2, 0, -1) %}{{ i }}{% "
         "endfor %}",
         "a.\xc3\xa4.21"},
        {"{% for x in l %}{{ loop.cycle('a', 'b') }}{{ loop.previtem|default('-') }}{% endfor %}",
         "a-b3a1"},
        {"{% set l2 = [] %}{% for x in l %}{% set _ = l2.append(x) %}{% endfor %}{{ l2 }}",
         "[3, 1, 2]"});
}

static void filters(void **state)
{
    EXPECT_ALL(
        {"{{ u|trim }}{{ '--a-'.strip('-') }} {{ 'a b  c'.split() }} {{ 'a,b,c'.split(',', 1) }}",
         "äb中a ['a', 'b', 'c'] ['a', 'b,c']"},
        {"{{ d|tojson }}", "{\"b\": 1, \"a\": {\"x\": \"y\"}}"},
        {"{{ d|tojson(indent=2) }}", "{\n  \"b\": 1,\n  \"a\": {\n    \"x\": \"y\"\n  }\n}"},
        {"{{ [1.0, none, true, q, '<é>']|tojson }}",
         "[1.0, null, true, \"it's \\\"q\\\"\\n\", \"<é>\"]"},
        {"{{ d|tojson(sort_keys=true, separators=(',', ':')) }}", "{\"a\":{\"x\":\"y\"},\"b\":1}"},
        {"{{ '\\u00e9\\U0001F600'|tojson(ensure_ascii=true) }}", "\"\\u00e9\\ud83d\\ude00\""},
        {"{{ l|join('-') }} {{ m|join(',', attribute='content') }}", "3-1-2 A,B,C"},
        {"{{ l|sort }} {{ l|sort(reverse=true) }} {{ ['b','A','a']|sort }} {{ l|reverse|list }}",
         "[1, 2, 3] [3, 2, 1] ['A', 'a', 'b'] [2, 1, 3]"},
        {"{{ m|map(attribute='content')|list }} {{ l|map('string')|join }}", "['A', 'B', 'C'] 312"},
        {"{{ m|selectattr('role', 'equalto', 'user')|map(attribute='content')|join }}", "AC"},
        {"{{ m|rejectattr('k')|list|length }} {{ l|select('odd')|list }} {{ z|select|list }}",
         "1 [3, 1] []"},
        {"{{ m|sort(attribute='content', reverse=true)|map(attribute='content')|join }}", "CBA"},
        {"{{ l|sum }} {{ l|min }} {{ l|max }} {{ [1,2,1]|unique|list }} {{ l|first }}{{ l|last }}",
         "6 1 3 [1, 2] 32"},
        {"{{ nothing|default('x') }} {{ ''|default('x') }}|{{ ''|default('x', true) }}", "x |x"},
        {"{{ 'hello wORLD'|title }} {{ 'hELLO'|capitalize }} {{ 'ä'|upper }} {{ \"it's\".title() "
         "}}",
         "Hello World Hello Ä It'S"},
        {"{{ 'aXbX'|replace('X', '-') }} {{ 'aXbX'.replace('X', '', 1) }} {{ 'ab'.replace('', '.') "
         "}}",
         "a-b- abX .a.b."},
        {"{{ 'a\nb\n\nc'|indent(2) }}", "a\n  b\n\n  c"},
        {"{{ '42'|int + 1 }} {{ 'x'|int(7) }} {{ '1.9'|int }} {{ '2.5'|float }} {{ 2.567|round(2) "
         "}}",
         "43 7 1 2.5 2.57"},
        {"{{ d|dictsort }} {{ d|items|list|length }}", "[('a', {'x': 'y'}), ('b', 1)] 2"},
        {"{{ '<a&\"b'|e }} {{ '<b>'|safe + '<i>' }}", "&lt;a&amp;&#34;b <b>&lt;i&gt;"},
        {"{{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith('bc') }} {{ 'a.b.c'.rsplit('.', 1) "
         "}}",
         "True True ['a.b', 'c']"},
        {"{{ ['a', 'b']|length }} {{ s|list|count }} {{ '-'.join(['a', 'b']) }} {{ "
         "'abcab'.find('b') }}",
         "2 5 a-b 1"});
}

static void fails(const char *source, int code, const char *part)
{
    struct tmpl_out out;
    struct err e;
    int rc = render(source, vars, &out, &e);
    if (rc != code || !strstr(err_msg(&e), part))
        print_error("%.60s: %d %s (wanted %s)\n", source, rc, err_msg(&e), part);
    assert_int_equal(rc, code);
    assert_non_null(strstr(err_msg(&e), part));
    assert_int_equal(out.text.n, 0);
    assert_int_equal(out.nruns, 0);
    tmpl_out_done(&out);
}

static void errors_name_line_and_construct(void **state)
{
    fails("a\n\n{{ s", ERR_FORMAT, "line 3: '{{' without '}}'");
    fails("{% if s %}\nx", ERR_FORMAT, "line 2: the template ends before 'elif'");
    fails("\n{% include 'x' %}", ERR_FORMAT, "line 2: unknown or misplaced statement 'include'");
    fails("{{ s | }}", ERR_FORMAT, "expected a name, found '}}'");
    fails("{{ 'abc }}", ERR_FORMAT, "string without an end");
    fails("{{ 1 $ 2 }}", ERR_FORMAT, "unexpected character '$'");
    fails("\n{{ nothing.x }}", ERR_FORMAT, "line 2: 'nothing' is undefined");
    fails("{{ l[7].x }}", ERR_FORMAT, "'[7]' is undefined");
    fails("{{ s + n }}", ERR_FORMAT, "the sum of a string and an integer");
    fails("{{ s | nofilter }}", ERR_UNSUPPORTED, "no filter named 'nofilter'");
    fails("{{ s is notest }}", ERR_UNSUPPORTED, "no test named 'notest'");
    fails("{{ raise_exception('no ' ~ s) }}", ERR_UNSUPPORTED, "refuses: no Hello");
    fails("{% break %}", ERR_FORMAT, "'break' outside a loop");
    fails("{{ 1 // 0 }}", ERR_FORMAT, "division by zero");
    fails("{{ s() }}", ERR_FORMAT, "a string cannot be called");
    fails("{% for a, b in l %}{% endfor %}", ERR_FORMAT, "cannot iterate over an integer");
    fails("{% for a in n %}{% endfor %}", ERR_FORMAT, "cannot iterate over an integer");
    fails("{% set s.x = 1 %}", ERR_FORMAT, "not a namespace");
}

static void limits_hold(void **state)
{
    fails("{% for i in range(10000000) %}{% endfor %}", ERR_LIMIT, "more than 5000000 steps");
    fails("{% set r = range(100000) %}{% for i in r %}{% if -1 in r %}{% endif %}{% endfor %}",
          ERR_LIMIT, "steps");
    fails("{% set r = range(2000) %}{% for i in r %}{% for j in r %}{% endfor %}{% endfor %}",
          ERR_LIMIT, "take more than");
    fails("\n{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", ERR_LIMIT,
          "line 2: evaluation nested");
    fails("{{ 'aaaaaaaaaaaaaaaa' * 100000 }}", ERR_LIMIT, "bytes of text");
    fails("{% set n = namespace(s='ab') %}{% for i in range(40) %}{% set n.s = n.s + n.s %}{% "
          "endfor %}",
          ERR_LIMIT, "bytes of text");
    fails("{% set l = [] %}{% set _ = l.append(l) %}{{ l }}", ERR_LIMIT, "nested more than");
    fails("{% set l = [] %}{% set _ = l.append(l) %}{{ l|tojson }}", ERR_LIMIT, "nested more than");
    fails("{{ 9223372036854775807 + 1 }}", ERR_LIMIT, "out of range");
    fails("{{ 10 ** 100 }}", ERR_LIMIT, "out of range");
    char deep[4096] = "{{ ";
    memset(deep + 3, '(', 1000);
    deep[1003] = '1';
    memset(deep + 1004, ')', 1000);
    strcat(deep, " }}");
    fails(deep, ERR_LIMIT, "nested more than");
    memset(deep + 3, '-', 2001); /* signs are a cycle of the grammar too */
    deep[2003] = '1';
    fails(deep, ERR_LIMIT, "nested more than");
    char blocks[200 * 13 + 64 * 13 + 1] = "";
    for (int i = 0; i < 260; i++)
        strcat(blocks, "{% if true %}");
    fails(blocks, ERR_LIMIT, "nested more than");
    struct tmpl *t = NULL;
    char *big = calloc(1, (1 << 20) + 1);
    assert_non_null(big);
    assert_int_equal(tmpl_parse(str_n(big, (1 << 20) + 1), &t, NULL), ERR_LIMIT);
    free(big);
}

/* What jinja2 prints of each; tests/tools/tmpl_features.py has them all. */
static void the_rest_of_the_language(void **state)
{
    expect("{{ '%05.2f|%-5s|%5s|%x|%%' % (3.14159, 'ab', 'cd', 255) }}", "03.14|ab   |   cd|ff|%");
    expect("{{ '{x:>5}|{y:05d}|{z:.2f}'.format(x='a', y=42, z=3.14159) }}", "    a|00042|3.14");
    expect("{{ [3, 1, 2] | batch(2, 'x') | list }}", "[[3, 1], [2, 'x']]");
    expect("{{ [1, 2, 3, 4, 5, 6, 7] | slice(3, 'x') | list }}",
           "[[1, 2, 3], [4, 5, 'x'], [6, 7, 'x']]");
    expect("{{ '<p>a  <b>b</b></p> c' | striptags }}", "a b c");
    expect("{{ {'a': 1, 'b': none, 'c': '<'} | xmlattr }}", " a=\"1\" c=\"&lt;\"");
    expect("{{ 'a b&c/ü' | urlencode }}", "a%20b%26c/%C3%BC");
    expect("{{ {'a b': 1, 'c': 'ü'} | urlencode }}", "a+b=1&c=%C3%BC");
    expect("{{ 'one two three four five' | wordwrap(9) }}", "one two\nthree\nfour five");
    expect("{{ 'averyveryverylongword here' | wordwrap(6) }}", "averyv\neryver\nylongw\nord\nhere");
    expect("{{ 'abc def ghi jkl' | truncate(9) }}", "abc...");
    expect("{{ 'abc def ghi jkl' | truncate(9, true, '~', 0) }}", "abc def ~");
    expect("{{ 'ab' | center(7) }}", "   ab  ");
    expect("{{ 42 | round }}", "42");
    expect("{{ '11' | int(0, 2) }}", "3");
    expect("{{ 1000000 | filesizeformat }}", "1.0 MB");
    expect("{{ 'a b c'.rpartition(' ') }}", "('a b', ' ', 'c')");
    expect("{{ '-42'.zfill(5) }}", "-0042");
    expect("{{ 'a\\tb'.expandtabs(4) }}", "a   b");
    expect("{{ 'Ab Cd'.istitle() }}", "True");
    expect("{{ 'ß'.casefold() }}", "ss");
    expect("{{ cycler('a', 'b').next() }}", "a");
    expect("{% for i in [{'v': 1, 'c': [{'v': 2, 'c': []}, {'v': 3, 'c': [{'v': 4, 'c': []}]}]}] "
           "recursive %}[{{ i.v }}@{{ loop.depth }}{{ loop(i.c) }}]{% endfor %}",
           "[1@1[2@2][3@2[4@3]]]");
    expect("{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}",
           "1(2, 3){'x': 4}");
    expect("{% set l = [3, 1] %}{% do l.append(2) %}{% do l.sort() %}{{ l }}", "[1, 2, 3]");
    expect("{% for g in [{'g': 1, 'n': 'x'}, {'g': 2, 'n': 'y'}, {'g': 1, 'n': 'z'}] | "
           "groupby('g') %}{{ g.grouper }}:{{ g.list | map(attribute='n') | join }};{% endfor %}",
           "1:xz;2:y;");
    expect("{% set j = joiner('|') %}{% for x in [1, 2, 3] %}{{ j() }}{{ x }}{% endfor %}",
           "1|2|3");
    expect("{% block b %}x{% endblock %}{% autoescape false %}<{% endautoescape %}", "x<");
    expect("{% set d = {'a': 1, 'b': 2} %}{{ d.popitem() }}{{ d }}", "('b', 2){'a': 1}");
}

/* What loops, explodes or recurses through built-ins ends too. */
static void hostile_templates_end(void **state)
{
    static const char *const endless[] = {
        "{{ [0] * 10**9 }}",
        "{{ range(10**9)|list }}",
        "{% set l = [1] %}{% for i in range(60) %}{% do l.extend(l) %}{% endfor %}",
        "{% set n = namespace(s='a') %}{% for i in range(60) %}"
        "{% set n.s = n.s|replace('a', 'aaaaaaaaaaaaaaaa') %}{% endfor %}",
        "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{{ loop([1]) }}{% endfor %}",
        "{{ 'x'|center(10**9) }}",
        "{{ 'x'.ljust(10**9) }}",
        "{{ 'x'.zfill(10**9) }}",
        "{{ 'x'|indent(10**9, true) }}",
        "{{ '\\t'.expandtabs(10**9) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%.999999999f' % 1 }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{% for i in range(100000) %}{{ 'x'.ljust(1000000)|length }}{% endfor %}",
        "{{ [1]|slice(10**9)|list }}",
        "{% set l = range(100000)|list %}{% for i in l %}{% do l.reverse() %}{% endfor %}",
        "{% set l = range(100000)|list %}{{ l|unique|list }}",
        "{% set l = [] %}{% do l.append(l) %}{{ l|pprint }}",
        "{% set d = {} %}{% do d.update(a=d) %}{{ d }}",
        "{% set s = 'a' * 1000000 %}{% for i in range(4000000) %}{% if s.rpartition('b') %}"
        "{% endif %}{% endfor %}",
    };
    for (size_t i = 0; i < sizeof endless / sizeof *endless; i++)
        fails(endless[i], ERR_LIMIT, "template line 1: ");
    /* linear, however many tags never end */
    expect("{{ ('<!--' * 100000)|striptags|length }}", "400000");
}

/* ---- outside ranges ---- */

/* The text with outside ranges in brackets. */
static void marked(const char *source, const char *json, const char *want)
{
    struct tmpl_out out;
    struct err e;
    int rc = render(source, json, &out, &e);
    assert_int_equal(rc, 0);
    struct buf b = BUF_INIT(4096);
    size_t at = 0;
    for (size_t i = 0; i < out.nruns; i++) {
        const struct tmpl_run *r = &out.runs[i];
        assert_int_equal(r->from, at);
        assert_true(r->to > r->from);
        if (i)
            assert_true(r->untrusted != r[-1].untrusted);
        buf_printf(&b, r->untrusted ? "[%.*s]" : "%.*s", (int)(r->to - r->from),
                   out.text.p + r->from);
        at = r->to;
    }
    assert_int_equal(at, out.text.n);
    assert_string_equal(b.p, want);
    buf_done(&b);
    tmpl_out_done(&out);
}

static void outside_ranges_are_carried(void **state)
{
    static const char v[] = "{\"x\":\" <|im_end|> \",\"l\":[\"a\"]}";
    marked("{{ bos_token }}{{ x }}{{ eos_token }}", v, "<s>[ <|im_end|> ]</s>");
    marked("{{ 'a' + x|trim + 'b' }}", v, "a[<|im_end|>]b");
    marked("{{ ('a' ~ x ~ 'b')[:4] }}", v, "a[ <|]");
    marked("{{ ('p:' + x).split(':')[1] }}", v, "[ <|im_end|> ]");
    marked("{{ ('a-' + x.strip() + '-b').replace('-', '+') }}", v, "a+[<|im_end|>]+b");
    marked("{{ x|upper }}", v, "[ <|IM_END|> ]");
    marked("{{ {'k': x}|tojson }}", v, "[{\"k\": \" <|im_end|> \"}]");
    marked("{{ ['k', l] }}", v, "[['k', ['a']]]");
    marked("{% set b %}({{ x.strip() }}){% endset %}{{ b }}", v, "([<|im_end|>])");
    marked("{% macro f(a) %}<{{ a }}>{% endmacro %}{{ f(l[0]) ~ f('t') }}", v, "<[a]><t>");
    marked("{{ '%s|%s' % (l[0], 'b') }} {{ '{}.'.format(l[0]) }}", v, "[a]|b [a].");
    marked("{{ ['<', l[0], '>']|join }}{{ l[0]|indent }}", v, "<[a]>[a]");
    marked("{% for c in l[0] + 'b' %}{{ c }}{% endfor %}", v, "[a]b");
    marked("{{ l[0] == 'a' }}{{ 'lit' if l else x }}", v, "Truelit");
}

/* ---- requests ---- */

static struct gen_part text(const char *z)
{
    return (struct gen_part){.type = GEN_PART_TEXT, .text = str_of(z)};
}

static void render_req(const char *source, const struct gen_req *req, const char *want)
{
    struct tmpl *t = NULL;
    struct tmpl_out out;
    struct err e = {0};
    struct tmpl_vars v = {.req = req,
                          .add_generation_prompt = true,
                          .bos = STR("<s>"),
                          .eos = STR("</s>"),
                          .extra = STR("{\"flag\":true}")};
    tmpl_out_init(&out, 1 << 16);
    assert_int_equal(tmpl_parse(str_of(source), &t, &e), 0);
    int rc = tmpl_render(t, &v, &out, &e);
    if (rc)
        print_error("%s\n", err_msg(&e));
    assert_int_equal(rc, 0);
    assert_string_equal(out.text.p, want);
    tmpl_out_done(&out);
    tmpl_free(t);
}

/* What SmolLM2-Instruct's file holds. */
static const char smol[] =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}";

static void a_conversation_in_chatml(void **state)
{
    struct gen_part p[] = {text("One"), text(" two"), text("Answer"), text("Be brief.")};
    struct gen_msg m[] = {{.role = GEN_DEVELOPER, .parts = &p[3], .nparts = 1},
                          {.role = GEN_USER, .parts = p, .nparts = 2},
                          {.role = GEN_ASSISTANT, .parts = &p[2], .nparts = 1}};
    struct gen_req req = {.msgs = m, .nmsgs = 3};
    render_req(smol, &req,
               "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne two<|im_end|>\n"
               "<|im_start|>assistant\nAnswer<|im_end|>\n<|im_start|>assistant\n");
    struct gen_req one = {.msgs = m + 1, .nmsgs = 1};
    render_req(
        smol, &one,
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
        "Face<|im_end|>\n<|im_start|>user\nOne two<|im_end|>\n<|im_start|>assistant\n");
    render_req("{{ messages[0].role }} developer {{ flag }} {{ tools }}", &req,
               "developer developer True None");
}

static void calls_results_and_reasoning(void **state)
{
    struct gen_part call = {.type = GEN_PART_TOOL_CALL,
                            .id = STR("c1"),
                            .name = STR("f"),
                            .args = STR("{\"a\": [1, null]}")};
    struct gen_part a[] = {{.type = GEN_PART_REASONING, .text = STR("hm")}, call};
    struct gen_part r[] = {{.type = GEN_PART_TOOL_RESULT, .id = STR("c1"), .text = STR("r1")},
                           text("and?")};
    struct gen_part image[] = {{.type = GEN_PART_IMAGE, .url = STR("x")}, text("see")};
    struct gen_msg m[] = {{.role = GEN_ASSISTANT, .parts = a, .nparts = 2},
                          {.role = GEN_USER, .parts = r, .nparts = 2},
                          {.role = GEN_USER, .parts = image, .nparts = 2}};
    struct gen_tool tool = {
        .name = STR("f"), .description = STR("does"), .schema = STR("{\"type\": \"object\"}")};
    struct gen_req req = {.msgs = m, .nmsgs = 3, .tools = &tool, .ntools = 1};
    render_req("{{ messages[0]|tojson }}", &req,
               "{\"role\": \"assistant\", \"content\": \"\", \"reasoning_content\": \"hm\", "
               "\"tool_calls\": [{\"id\": \"c1\", \"type\": \"function\", \"function\": {\"name\": "
               "\"f\", \"arguments\": {\"a\": [1, null]}}}]}");
    render_req(
        "{{ messages[1:]|tojson }}", &req,
        "[{\"role\": \"tool\", \"content\": \"r1\", \"tool_call_id\": \"c1\", \"name\": \"f\"}, "
        "{\"role\": \"user\", \"content\": \"and?\"}, {\"role\": \"user\", \"content\": "
        "[{\"type\": \"image\"}, {\"type\": \"text\", \"text\": \"see\"}]}]");
    render_req(
        "{{ tools|tojson }}", &req,
        "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"description\": \"does\", "
        "\"parameters\": {\"type\": \"object\"}}}]");
    /* A template that wants the arguments as text gets them so. */
    render_req("{{ 'x' + messages[0].tool_calls[0].function.arguments }}", &req,
               "x{\"a\": [1, null]}");
    req.tool_choice = GEN_CHOICE_NONE;
    render_req("{{ tools is none }}", &req, "True");
}

static void traits_are_what_it_does(void **state)
{
    struct tmpl *t = NULL;
    struct tmpl_traits is;
    assert_int_equal(tmpl_parse(str_of(smol), &t, NULL), 0);
    tmpl_describe(t, &is);
    assert_true(is.system && !is.tools && !is.reasoning);
    assert_int_equal(tmpl_syntax_of(t), TMPL_SYNTAX_PLAIN);
    tmpl_free(t);
    assert_int_equal(
        tmpl_parse(STR("{% if messages[0].role == 'system' %}{{ raise_exception('no') }}"
                       "{% endif %}{{ tools|tojson }}<tool_call></tool_call><think>"),
                   &t, NULL),
        0);
    tmpl_describe(t, &is);
    assert_true(!is.system && is.tools && is.reasoning);
    assert_int_equal(tmpl_syntax_of(t), TMPL_SYNTAX_HERMES);
    tmpl_free(t);
}

/* Every real template parses, and renders a plain question or refuses with a reason of its own. */
static void real_templates_render(void **state)
{
    const char *base = getenv("WEIR_FIXTURES"), *root = getenv("WEIR_SOURCE");
    char path[1024];
    if (base)
        snprintf(path, sizeof path, "%s/templates/jinja", base);
    else
        snprintf(path, sizeof path, "%s/../shared/fixtures/templates/jinja", root ? root : ".");
    DIR *dir = opendir(path);
    if (!dir) {
        print_message("no templates at %s\n", path);
        skip();
    }
    struct gen_part p = text("What is a weir?");
    struct gen_msg m = {.role = GEN_USER, .parts = &p, .nparts = 1};
    struct gen_req req = {.msgs = &m, .nmsgs = 1};
    struct tmpl_vars v = {.req = &req,
                          .add_generation_prompt = true,
                          .extra = STR("{\"functions\":\"\",\"datetime\":\"\"}")};
    int seen = 0;
    for (struct dirent *d; (d = readdir(dir));) {
        char file[2048];
        struct buf b = BUF_INIT(1 << 20);
        if (!str_ends(str_of(d->d_name), STR(".jinja")))
            continue;
        snprintf(file, sizeof file, "%s/%s", path, d->d_name);
        FILE *f = fopen(file, "rb");
        assert_non_null(f);
        for (char block[4096]; !feof(f);)
            buf_add(&b, block, fread(block, 1, sizeof block, f));
        fclose(f);
        struct tmpl *t = NULL;
        struct tmpl_out out;
        struct err e = {0};
        tmpl_out_init(&out, 1 << 20);
        assert_int_equal(tmpl_parse(buf_str(&b), &t, &e), 0);
        int rc = tmpl_render(t, &v, &out, &e);
        if (rc)
            print_error("%s: %s\n", d->d_name, err_msg(&e));
        assert_int_equal(rc, 0);
        assert_true(str_find(buf_str(&out.text), p.text, 0) != SIZE_MAX);
        tmpl_out_done(&out);
        tmpl_free(t);
        buf_done(&b);
        seen++;
    }
    closedir(dir);
    assert_true(seen > 0);
}

/* ---- what models write ---- */

static struct gen_tool offered = {.name = {"f", 1}};
static const struct gen_req offer = {.tools = &offered, .ntools = 1};

struct log {
    struct buf text;
    enum gen_event_type last;
    int nlp;
    int cancel_after;
};

static enum gen_verdict note(void *ctx, const struct gen_event *ev)
{
    struct log *l = ctx;
    static const char *const open[] = {[GEN_EV_TEXT] = "T:", [GEN_EV_REASONING] = "R:"};
    assert_int_equal(ev->index, 4);
    l->nlp += (int)ev->nlogprobs;
    if (ev->type == GEN_EV_TEXT || ev->type == GEN_EV_REASONING) {
        if (l->last != ev->type)
            buf_puts(&l->text, open[ev->type]);
        buf_str_add(&l->text, ev->text);
    } else if (ev->type == GEN_EV_TOOL_BEGIN) {
        assert_true(str_starts(ev->id, STR("call_")));
        buf_printf(&l->text, "B%d:%.*s", ev->tool, STR_ARG(ev->name));
    } else if (ev->type == GEN_EV_TOOL_ARGS) {
        buf_printf(&l->text, "A%d:%.*s", ev->tool, STR_ARG(ev->text));
    } else {
        assert_int_equal(ev->type, GEN_EV_TOOL_END);
        buf_printf(&l->text, "E%d", ev->tool);
    }
    l->last = ev->type;
    return l->cancel_after && --l->cancel_after == 0 ? GEN_CANCEL : GEN_GO;
}

/* The same events whatever the pieces: whole, byte by byte, and cut once at every place. */
static void writes(const char *z, bool tools, bool thinks, bool called, const char *want)
{
    size_t n = strlen(z);
    for (size_t cut = 0; cut <= n + 1; cut++) {
        struct log l = {.text = BUF_INIT(4096), .last = GEN_EV_DONE};
        struct tmpl_parser *p = tmpl_parser_new(TMPL_SYNTAX_HERMES, tools ? &offer : NULL, 4,
                                                (struct gen_sink){.event = note, .ctx = &l});
        assert_non_null(p);
        if (thinks)
            tmpl_parser_thinks(p);
        if (cut == n + 1) {
            for (size_t i = 0; i < n; i++)
                assert_int_equal(tmpl_parser_feed(p, str_n(z + i, 1), NULL, 0), GEN_GO);
        } else {
            tmpl_parser_feed(p, str_n(z, cut), NULL, 0);
            tmpl_parser_feed(p, str_n(z + cut, n - cut), NULL, 0);
        }
        bool was = !called;
        assert_int_equal(tmpl_parser_end(p, &was), GEN_GO);
        assert_int_equal(was, called);
        assert_string_equal(l.text.p ? l.text.p : "", want);
        buf_done(&l.text);
        tmpl_parser_free(p);
    }
}

static void hermes_calls_and_thinking(void **state)
{
    writes("plain < text <tool>", true, false, false, "T:plain < text <tool>");
    writes("Sure.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>", true,
           false, true, "T:Sure.B0:fA0:{\"x\":1}E0");
    writes("<tool_call>{\"name\":\"f\"}</tool_call>\n<tool_call>{\"name\":\"g\",\"arguments\":"
           "{\"s\":\"</tool_call>\"}}</tool_call>",
           true, false, true, "B0:fA0:{}E0B1:gA1:{\"s\":\"</tool_call>\"}E1");
    writes("<tool_call>{\"name\":\"f\",\"arguments\":\"{\\\"a\\\": 1}\"}", true, false, true,
           "B0:fA0:{\"a\": 1}E0");
    writes("<tool_call>{\"name\":\"f\",\"argu", true, false, false,
           "T:<tool_call>{\"name\":\"f\",\"argu");
    writes("<tool_call>nonsense</tool_call> after", true, false, false,
           "T:<tool_call>nonsense</tool_call> after");
    writes("x <tool_call>{\"name\":\"f\"}</tool_call>", false, false, false,
           "T:x <tool_call>{\"name\":\"f\"}</tool_call>");
    writes("<think>\nHm \xc3\xa4\n</think>\n\nHi.", true, false, false, "R:Hm \xc3\xa4T:Hi.");
    writes("\n <think>a<b</think>c <think>", false, false, false, "R:a<bT:c <think>");
    writes("Hm.</think> Hi. \n", true, true, false, "R:Hm.T:Hi. \n");
    writes("<think>never ends </thin", true, false, false, "R:never ends </thin");
    writes("<thin", false, false, false, "T:<thin");
    writes(" \n", true, false, false, "T: \n");
    writes("<think></think>", true, false, false, "");
}

static void log_probabilities_stay_with_their_text(void **state)
{
    struct gen_logprob alt = {.token = STR("other"), .id = 9, .logprob = -3};
    struct gen_token_logprobs lp = {
        .chosen = {.token = STR("<to"), .id = 1, .logprob = -1}, .top = &alt, .ntop = 1};
    struct log l = {.text = BUF_INIT(4096)};
    struct tmpl_parser *p =
        tmpl_parser_new(TMPL_SYNTAX_HERMES, &offer, 4, (struct gen_sink){.event = note, .ctx = &l});
    tmpl_parser_feed(p, STR("<to"), &lp, 1);
    assert_int_equal(l.nlp, 0);
    lp.chosen.token = STR("y");
    tmpl_parser_feed(p, STR("y"), &lp, 1);
    assert_int_equal(l.nlp, 2);
    tmpl_parser_end(p, NULL);
    tmpl_parser_free(p);
    buf_done(&l.text);

    struct tmpl_hold h;
    const struct gen_token_logprobs *out;
    size_t n;
    tmpl_hold_init(&h, 100);
    struct gen_token_logprobs two[2] = {{.chosen = {.token = STR("ab")}},
                                        {.chosen = {.token = STR("cd")}, .top = &alt, .ntop = 1}};
    tmpl_hold_add(&h, STR("abcd"), two, 2);
    assert_true(str_is(tmpl_hold_take(&h, 3, &out, &n), "abc"));
    assert_int_equal(n, 1);
    assert_true(str_is(tmpl_hold_text(&h), "d"));
    assert_true(str_is(tmpl_hold_take(&h, 1, &out, &n), "d"));
    assert_int_equal(n, 1);
    assert_true(str_is(out[0].chosen.token, "cd") && str_is(out[0].top[0].token, "other"));
    assert_false(h.failed);
    tmpl_hold_done(&h);
}

static void a_cancelled_parser_is_silent(void **state)
{
    struct log l = {.text = BUF_INIT(4096), .cancel_after = 1};
    struct tmpl_parser *p =
        tmpl_parser_new(TMPL_SYNTAX_PLAIN, NULL, 4, (struct gen_sink){.event = note, .ctx = &l});
    assert_int_equal(tmpl_parser_feed(p, STR("a"), NULL, 0), GEN_CANCEL);
    assert_int_equal(tmpl_parser_feed(p, STR("b"), NULL, 0), GEN_CANCEL);
    assert_int_equal(tmpl_parser_end(p, NULL), GEN_CANCEL);
    assert_true(str_ends(buf_str(&l.text), STR("a")));
    tmpl_parser_free(p);
    buf_done(&l.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(white_space),
        cmocka_unit_test(values_print_as_python_does),
        cmocka_unit_test(expressions),
        cmocka_unit_test(statements),
        cmocka_unit_test(filters),
        cmocka_unit_test(errors_name_line_and_construct),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(hostile_templates_end),
        cmocka_unit_test(the_rest_of_the_language),
        cmocka_unit_test(outside_ranges_are_carried),
        cmocka_unit_test(a_conversation_in_chatml),
        cmocka_unit_test(calls_results_and_reasoning),
        cmocka_unit_test(traits_are_what_it_does),
        cmocka_unit_test(real_templates_render),
        cmocka_unit_test(hermes_calls_and_thinking),
        cmocka_unit_test(log_probabilities_stay_with_their_text),
        cmocka_unit_test(a_cancelled_parser_is_silent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
