#!/usr/bin/env python3
"""Render small templates, one for each feature of the language, with jinja2 and with weir, and compare.

usage: tmpl_features.py TMPL_RENDER [-v]

jinja2 is set up as tmpl_diff.py does it. Where jinja2 refuses, weir must refuse, and its message must name a line.
Exit code 0 when all agree. Not
in the list, because weir has them not: integers of more than 64 bits, lipsum, the filter random, bytes.
"""
import json
import os
import subprocess
import sys
import tempfile

import tmpl_diff

VARS = {
    "s": "Hello, wörld", "t": "  a b  c\n", "n": 7, "f": 2.5, "z": 0, "neg": -7, "yes": True, "no": False, "nil": None,
    "l": [3, 1, 2], "ls": ["b", "A", "c", "a"], "e": [], "d": {"b": 2, "a": 1, "C": 3}, "nest": {"x": {"y": [1, {"z": "deep"}]}},
    "html": "<a href=\"x\">&'</a>", "big": 12345678901,
    "us": [{"n": "x", "g": 1, "a": {"k": 2}}, {"n": "y", "g": 2, "a": {"k": 1}}, {"n": "Z", "g": 1, "a": {"k": 3}}],
    "msgs": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}, {"role": "assistant", "content": None}],
}

EXPRESSIONS = r"""
1 + 2 * 3 - 4 / 2
7 // 2
-7 // 2
7 % 3
-7 % 3
7.5 // 2
7.5 % 2
2 ** 10
2 ** -1
2 ** 0.5
(-2) ** 2
-2 ** 2
1 / 3
10 / 5
1e3
1.0
1e100
1_000
0.1 + 0.2
'a' ~ 1 ~ none ~ true ~ 1.5 ~ [1, 'x']
'a' * 3
[1] * 3
[1] + [2]
(1, 2) + (3,)
'%s and %d' % ('x', 5)
'%05.2f|%-5s|%5s|%x|%%' % (3.14159, 'ab', 'cd', 255)
'%s' % 'only'
'%s' | format('x')
'%(a)s' % {'a': 1}
'{} {1} {x}'.format(1, 2, x=3) if false else 'no'
'{} {}'.format(1, 'b')
'{0} {1} {0}'.format('a', 'b')
'{x:>5}|{y:05d}|{z:.2f}'.format(x='a', y=42, z=3.14159)
1 < 2 < 3
1 < 2 > 3
1 == 1.0
1 == true
'a' < 'b'
[1, 2] < [1, 3]
not true
not none
none or 'x'
0 or '' or 'last'
1 and 2
'' and 2
1 if yes
1 if no
(1 if no) is defined
1 if no else 2
'a' in 'abc'
'z' not in 'abc'
1 in l
'a' in d
l[0]
l[-1]
l[1:]
l[:-1]
l[::-1]
l[::2]
l[5:]
s[1:4]
s[-3:]
s[::-1]
s[100] is defined
l[100] is defined
l[100]
d.a
d['a']
d.get('q')
d.get('q', 5)
d.items() | list
d.keys() | list
d.values() | list
d | items | list
nest.x.y[1].z
nest['x']['y'][1]['z']
missing
missing is defined
missing is undefined
missing | default('dflt')
'' | default('dflt')
'' | default('dflt', true)
none | default('x')
none | d('x', true)
missing.attr
missing['a']
missing + 1
missing ~ 'a'
missing | length
missing | list
missing == missing
missing or 1
'a' if missing else 'b'
s | upper
s | lower
s | title
s | capitalize
"it's a dog's-life 3rd x_y" | title
'HELLO wORLD' | capitalize
s | length
s | count
t | trim
t | trim(' a\n')
s | reverse
l | reverse | list
s | first
s | last
l | first
l | last
e | first
e | last
l | sort
l | sort(reverse=true)
ls | sort
ls | sort(case_sensitive=true)
us | sort(attribute='n') | map(attribute='n') | list
us | sort(attribute='g,n') | map(attribute='n') | list
us | sort(attribute='a.k') | map(attribute='n') | list
us | map(attribute='a.k') | list
us | map(attribute='q', default='?') | list
ls | map('upper') | list
ls | map('replace', 'a', 'x') | join(',')
l | map('string') | join('-')
l | select('odd') | list
l | select('gt', 1) | list
l | select | list
l | reject('odd') | list
[0, 1, '', 'a'] | select | list
[0, 1, '', 'a'] | reject | list
us | selectattr('g', 'eq', 1) | map(attribute='n') | list
us | selectattr('g', '==', 1) | list | length
us | selectattr('q', 'defined') | list
us | selectattr('a.k', 'gt', 1) | map(attribute='n') | join
us | rejectattr('g', 'equalto', 1) | map(attribute='n') | list
msgs | selectattr('role', 'in', ['user', 'assistant']) | list | length
msgs | rejectattr('content') | list | length
us | groupby('g') | map(attribute='grouper') | list
us | groupby('g') | map('first') | list
us | groupby('g') | map('last') | map('length') | list
us | groupby('q', default='none') | list | length
us | map(attribute='g') | sum
us | sum(attribute='g')
us | sum(attribute='g', start=10)
l | sum
l | max
l | min
ls | min
ls | max(case_sensitive=true)
us | max(attribute='g')
e | max
[1, 1, 2, 'a', 'A'] | unique | list
ls | unique(case_sensitive=true) | list
us | unique(attribute='g') | map(attribute='n') | list
l | join(', ')
us | join('|', attribute='n')
l | batch(2) | list
l | batch(2, 'x') | list
[1, 2, 3, 4, 5, 6, 7] | slice(3) | list
[1, 2, 3, 4, 5, 6, 7] | slice(3, 'x') | list
d | dictsort
d | dictsort(true)
d | dictsort(by='value')
d | dictsort(reverse=true)
d | tojson
d | tojson(indent=2)
d | tojson(sort_keys=true)
d | tojson(separators=(',', ':'))
s | tojson
s | tojson(ensure_ascii=true)
html | tojson
[1.0, 1e20, 1e-7, 0.1, 123456789.125, none, true] | tojson
e | tojson(indent=2)
{} | tojson(indent=2)
nest | tojson(indent=4)
html | escape
html | e
html | forceescape
html | safe
'<p>a  <b>b</b></p> c' | striptags
html | xmlattr if false else ''
{'a': 1, 'b': none, 'c': '<'} | xmlattr
{'a': 1} | xmlattr(false)
'a b&c/ü' | urlencode
{'a b': 1, 'c': 'ü'} | urlencode
'one two three four five' | wordwrap(9)
'averyveryverylongword here' | wordwrap(6)
'averyveryverylongword here' | wordwrap(6, false)
'one two three' | wordcount
'abcdefghijklmnop' | truncate(8)
'abc def ghi jkl' | truncate(9)
'abc def ghi jkl' | truncate(9, true)
'abc def ghi jkl' | truncate(9, true, '~', 0)
'a\nb\n\nc' | indent
'a\nb\n\nc' | indent(2, true)
'a\nb\n\nc' | indent(2, blank=true)
'a\nb' | indent('> ')
'ab' | center(7)
'ab' | center(6) | length
2.567 | round
2.567 | round(1)
2.567 | round(2, 'floor')
2.567 | round(1, 'ceil')
2.5 | round
3.5 | round
-2.5 | round
42 | round
'12' | int
'12.7' | int
'x' | int
'x' | int(5)
'0x1f' | int(base=16)
'11' | int(0, 2)
3.9 | int
true | int
'1.5' | float
'x' | float(2.0)
3 | float
-3 | abs
-3.5 | abs
5 | string
none | string
1.0 | string
[1, 'a'] | string
true | string
'a-b-a' | replace('a', 'x')
'a-b-a' | replace('a', 'x', 1)
1000000 | filesizeformat
1000 | filesizeformat(true)
'abc' | list
d | list
range(3) | list
range(1, 10, 3) | list
range(5, 0, -2) | list
d | length
'x' | attr('upper') is defined
us[0] | attr('n') is defined
'http://a.b' is string
l | pprint
s | pprint
n is odd
n is even
n is divisibleby 7
n is divisibleby(2)
s is string
n is number
n is integer
f is float
f is integer
yes is boolean
n is boolean
yes is integer
yes is number
nil is none
yes is true
no is false
1 is true
d is mapping
l is mapping
l is sequence
s is sequence
d is sequence
n is sequence
l is iterable
n is iterable
s is iterable
range is callable
n is callable
n is eq 7
n is equalto(7)
n is ne 8
n is lt 8
n is gt 6
n is le 7
n is ge 8
n is greaterthan 3
n is lessthan 3
'a' is in 'abc'
1 is in([1, 2])
3 is not in([1, 2])
'abc' is lower
'ABC' is upper
'aBC' is upper
l is sameas l
nil is sameas none
'upper' is filter
'nope' is filter
'odd' is test
'nope' is test
html is escaped
n is not odd
not n is odd
s.upper()
s.lower()
s.title()
s.capitalize()
s.swapcase()
t.strip()
t.lstrip()
t.rstrip()
'xxaxx'.strip('x')
'xxaxx'.lstrip('x')
'xxaxx'.rstrip('x')
'xyabc'.removeprefix('xy')
'abcxy'.removesuffix('xy')
'a,b,c'.split(',')
'a,b,c'.split(',', 1)
'a,b,c'.rsplit(',', 1)
' a  b '.split()
' a  b c'.split(none, 1)
'a b'.partition(' ')
'a b c'.rpartition(' ')
'a\nb\r\nc'.splitlines()
'a\nb\n'.splitlines(true)
s.startswith('He')
s.startswith(('x', 'H'))
s.endswith('d')
s.endswith('l', 0, 4)
s.find('l')
s.rfind('l')
s.find('zz')
s.index('l')
s.rindex('l')
s.count('l')
s.replace('l', 'L')
s.replace('l', 'L', 1)
', '.join(['a', 'b'])
'ab'.center(6, '*')
'ab'.ljust(5) ~ '|'
'ab'.rjust(5, '.')
'42'.zfill(5)
'-42'.zfill(5)
'12'.isdigit()
'1a'.isdigit()
'ab'.isalpha()
'a1'.isalnum()
'12'.isdecimal()
'12'.isnumeric()
' '.isspace()
'ab'.islower()
'AB'.isupper()
'Ab Cd'.istitle()
'ab'.isidentifier()
'ab'.isascii()
'a\tb'.expandtabs(4)
'ß'.casefold()
l.index(1)
l.count(1)
l.copy()
d.copy()
(1, 2, 1).count(1)
(1, 2).index(2)
{'a': 1, 'b': [1, 2, {'c': none}]}
{'a': 1}.a
{1: 'x'}[1]
[1, 'two', 3.0, none, true, [], {}, ()]
(1,)
()
(1, 2)
'a\tb\\n\'"\x41\u00e4'
"it's"
'say "x"'
['it\'s', 'say "x"', 'both \' "', 'nl\n', 'ü', '\x01']
{'k': 'it\'s'}
"a" "b"
namespace(a=1).a
dict(a=1, b=2)
dict(d, x=1)
cycler('a', 'b').next()
joiner(', ')()
'abc'[1]
'abc'[-1]
l[true]
n.bit_length()
f.is_integer()
(255).__class__ is defined
1 if 1 else 2 if 3 else 4
[1, 2, 3] | map('add', 1) | list
l | tojson | length
'a' | unknown_filter
1 is unknown_test
foo()
1 / 0
1 % 0
1 // 0
'a' + 1
'a' - 1
[] + 1
none.x
none['x']
nil | length
5 | length
1 < 'a'
'x' in 5
l['a']
d[[1]]
s.nope()
d.nope
l.nope
range('a')
'abc'.split('')
'abc'.index('z')
[1, 2].index(5)
'%d' % 'x'
'%s %s' % 'x'
'{}'.format()
[3, 'a'] | sort
[1, 'a'] | sum
'a' | int + 1
- 'a'
~ 1
1 +
(1
[1, 2
{'a': 1
'abc
1 2
a.b.
| upper
""".strip("\n").split("\n")

TEMPLATES = [
    "{% for x in l %}{{ loop.index }}/{{ loop.index0 }}/{{ loop.revindex }}/{{ loop.revindex0 }}/{{ loop.first }}/{{ loop.last }}/{{ loop.length }};{% endfor %}",
    "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {{ loop.depth }}{{ loop.depth0 }};{% endfor %}",
    "{% for x in [1, 1, 2, 2, 1] %}{{ loop.changed(x) }} {% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}:{{ x }} {{ loop.length }};{% else %}none{% endfor %}",
    "{% for x in e %}x{% else %}empty{% endfor %}",
    "{% for x in l if x > 9 %}x{% else %}empty{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}",
    "{% for c in s %}{{ c }}.{% endfor %}",
    "{% for a, (b, c) in [(1, (2, 3)), (4, (5, 6))] %}{{ a }}{{ b }}{{ c }};{% endfor %}",
    "{% for x in missing %}x{% else %}none{% endfor %}",
    "{% for x in nil %}x{% endfor %}",
    "{% for x in 5 %}x{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% break %}",
    "{% for x in l %}{% for y in l %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}",
    "{% for x in l %}{% set outer = loop %}{% for y in [1] %}{{ outer.index }}{% endfor %}{% endfor %}",
    "{% for i in [{'v': 1, 'c': [{'v': 2, 'c': []}, {'v': 3, 'c': [{'v': 4, 'c': []}]}]}] recursive %}[{{ i.v }}@{{ loop.depth }}{{ loop(i.c) }}]{% endfor %}",
    "{% set x = 1 %}{% for i in l %}{% set x = i %}{% endfor %}{{ x }}",
    "{% set ns = namespace(x=1) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace() %}{% set ns.y = 'q' %}{{ ns.y }}{{ ns.z is defined }}",
    "{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns.b }}",
    "{% set d.x = 1 %}{{ d.x }}",
    "{% set a, b = 1, 2 %}{{ b }}{{ a }}",
    "{% set a, b = 1, 2, 3 %}",
    "{% set x %}a{{ n }}b{% endset %}{{ x }}|{{ x | length }}",
    "{% set x | upper %}a{{ n }}b{% endset %}{{ x }}",
    "{% if yes %}{% set v = 1 %}{% endif %}{{ v }}",
    "{% if no %}a{% elif n == 7 %}b{% else %}c{% endif %}",
    "{% if no %}a{% elif no %}b{% else %}c{% endif %}",
    "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}",
    "{% with %}{% set a = 1 %}{{ a }}{% endwith %}{{ a }}",
    "{% filter upper %}a{{ s }}{% endfilter %}",
    "{% filter replace('a', 'b') | upper %}aaa{% endfilter %}",
    "{% macro m(a, b=2, c='x' ~ n) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}|{{ m(1, 5) }}|{{ m(c=3, a=0) }}|{{ m() }}",
    "{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(q=2) }}",
    "{% macro m(a) %}{{ m.name }} {{ m.arguments }} {{ m.catch_kwargs }} {{ m.catch_varargs }} {{ m.caller }}{% endmacro %}{{ m(1) }}",
    "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}in{{ n }}{% endcall %}",
    "{% macro m() %}[{{ caller(1, 2) }}]{% endmacro %}{% call(a, b) m() %}{{ a }}{{ b }}{% endcall %}",
    "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}",
    "{% macro m() %}x{% endmacro %}{% call m() %}in{% endcall %}",
    "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
    "{% macro m() %}{{ n }}{% set n = 2 %}{{ n }}{% endmacro %}{{ m() }}{{ n }}",
    "{% macro m(x) %}{{ x }}{% endmacro %}{{ m('<') | upper }}{{ m('a') ~ 'b' }}{{ m(1) == '1' }}",
    "{% set l2 = [] %}{% for x in l %}{% do l2.append(x) %}{% endfor %}{{ l2 }}",
    "{% set l2 = [1] %}{% set _ = l2.extend([2, 3]) %}{% set _ = l2.insert(0, 9) %}{{ l2 }}{{ l2.pop() }}{{ l2.pop(0) }}{{ l2 }}{% set _ = l2.remove(2) %}{% set _ = l2.reverse() %}{{ l2 }}{% set _ = l2.clear() %}{{ l2 }}",
    "{% set l2 = [3, 1, 2] %}{% set _ = l2.sort() %}{{ l2 }}{% set _ = l2.sort(reverse=true) %}{{ l2 }}",
    "{% set d2 = {} %}{% set _ = d2.update({'a': 1}) %}{% set _ = d2.update(b=2) %}{{ d2 }}{{ d2.pop('a') }}{{ d2.setdefault('z', 5) }}{{ d2 }}{{ d2.popitem() }}",
    "{{ '{{' }}{% raw %}{{ x }}{% y %}{% endraw %}",
    "a {#- comment -#} b {# {{ x }} #} c",
    "  {% if yes %}\n  x\n  {% endif %}\n y",
    "  {%+ if yes %}\n  x\n  {%+ endif %}\n y",
    "a\n{%- if yes -%}\n x \n{%- endif -%}\n b",
    "{{- n -}}  \n  {{ n }}\n\n{{ n -}} \n x",
    "{% if yes -%}\n\n x{%- endif %}\n\n\ny",
    "a\n\n{% set x = 1 %}\nb\n{# c #}\nd",
    "line\r\nnext{% if yes %}\r\nx{% endif %}\r\n",
    "\n\n{{ n }}\n\n",
    "{% if yes %}a{% endif %}\n",
    "{% generation %}a{{ n }}{% endgeneration %}b",
    "{{ [1, 2, 3,] }}{{ (1, 2,) }}{{ {'a': 1,} }}",
    "{{ s if s else 'x' }}{{ loop is defined }}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.next() }}{% set _ = c.reset() %}{{ c.current }}",
    "{% set j = joiner('|') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}",
    "{% for g, items in us | groupby('g') %}{{ g }}:{{ items | map(attribute='n') | join }};{% endfor %}",
    "{% for g in us | groupby('g') %}{{ g.grouper }}:{{ g.list | length }};{% endfor %}",
    "{% set s2 = 'x' %}{% if s2 is string and s2 | length > 0 and not s2.startswith('y') %}ok{% endif %}",
    "{{ 'a' ~ 'b' | upper }}{{ ('a' ~ 'b') | upper }}",
    "{{ -1 | abs }}{{ (-1) | abs }}{{ 2 + 3 | string }}" ,
    "{{ 1 + 2 ~ 3 }}{{ 'a' ~ 1 + 2 }}",
    "{{ not 1 == 2 }}{{ 1 in [1] == true }}",
    "{{ n is odd and f is float or false }}{{ n is not none }}{{ n is divisibleby 7 and yes }}",
    "{{ msgs[0].role }}{{ msgs[-1]['content'] is none }}{{ msgs[1:] | length }}{{ (msgs | last).role }}",
    "{{ raise_exception('stop') }}",
    "{{ strftime_now('%Y-%m-%d %d %b %B') }}",
    "{% include 'x' %}", "{% import 'x' as y %}", "{% extends 'x' %}", "{% from 'x' import y %}",
    "{% block b %}x{% endblock %}",
    "{% autoescape false %}{{ html }}{% endautoescape %}",
    "{% unknown %}", "{% if %}", "{% endif %}", "{% for x in l %}", "{% if yes %}", "{{ n", "{% set = 1 %}", "{% for in l %}{% endfor %}", "{# open",
    "{% macro %}{% endmacro %}", "{% else %}", "{% raw %}x", "{{ }}", "{% set x %}", "{{ n }} }} %} ok",
    "{% set x = l | map('string') %}{{ x | list }}",
    "{{ l | map('string') }}" if False else "{{ n }}",
    "{% set l2 = l %}{% set l2 = l2 + [9] %}{{ l2 }}{{ l }}",
    "{{ s[:5] + '…' if s | length > 5 else s }}",
    "{% for x in range(3) %}{% for y in range(x) %}{{ x }}{{ y }} {% endfor %}{% endfor %}",
    "{% for x in (l | sort) | reverse %}{{ x }}{% endfor %}",
    "{% for i in range(l | length - 1, -1, -1) %}{{ l[i] }}{% endfor %}",
    "{{ 'yes' if 'a' in d and d['a'] is defined and d.a is number else 'no' }}",
    "{% set content = '<think>x</think>y' %}{{ content.split('</think>')[-1].lstrip('\\n') }}{{ content.split('</think>')[0].rstrip('\\n').split('<think>')[-1] }}",
    "{{ d | items | map('join', '=') | join('&') }}", "{{ d.items() | map('first') | list }}",
    "{{ us | map('tojson') | join('\\n') }}", "{{ us | selectattr('n', 'string') | map(attribute='n') | map('lower') | list }}",
    "{% for u in us %}{% if not loop.first %}, {% endif %}{{ loop.index ~ '.' ~ u.n }}{% endfor %}",
    "{{ 2 ** 62 }}", "{{ 9007199254740993 }}", "{{ 1.0e15 }} {{ 1.0e16 }} {{ 1e-5 }} {{ 0.0001 }}", "{{ (1 / 3) | round(3) }}", "{{ 10 // 3.0 }}",
]


def cases():
    for x in EXPRESSIONS:
        yield "{{ " + x + " }}"
    yield from TEMPLATES


def main():
    exe, verbose = sys.argv[1], "-v" in sys.argv
    env = tmpl_diff.environment()
    env.add_extension("jinja2.ext.do")
    failed = seen = 0
    with tempfile.TemporaryDirectory() as folder:
        path, vars_path = os.path.join(folder, "t.jinja"), os.path.join(folder, "v.json")
        with open(vars_path, "w", encoding="utf-8") as f:
            json.dump(VARS, f)
        for source in cases():
            with open(path, "w", encoding="utf-8", newline="") as f:
                f.write(source)
            want, why_want = tmpl_diff.theirs(env, path, VARS)
            got, why_got = tmpl_diff.ours(exe, path, vars_path)
            seen += 1
            good = want == got and (got is not None or "line " in why_got)
            if not good:
                failed += 1
                print(f"--- {source!r}\n    jinja2: {want if want is not None else why_want}\n"
                      f"    weir:   {got if got is not None else why_got}")
            elif verbose:
                print(f"ok  {source!r}: {got if got is not None else why_got}")
    print(f"{seen - failed} of {seen} agree")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
