#!/usr/bin/env python3
"""The house's rules that a compiler does not check: who may include whom (the table in
src/meson.build), plain names in includes, private headers that stay at home, one public header a
room, file names that are unique, and files that have not grown past one idea.

usage: check_layers.py SOURCE_ROOT
"""
import pathlib
import re
import sys
import tempfile

MAX_LINES = 800
# base/ is a box of tools, one idea a header; nobody stands before app/, so its headers are its own.
MANY_HEADERS = {'base', 'app'}
# Headers beside their room's own, each a decision: small pure things that stand alone, or private
# ones that do not carry the name. One that is gone must leave this list too.
BESIDE = {
    'engine': {'grammar.h'},
    'ledger': {'breakeven.h', 'money.h'},
}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]*)"', re.M)
ROW = re.compile(r"^\s*\['(\w+)', \[([^\]]*)\]\],", re.M)


def read_rooms(meson):
    """room -> every room it may include, itself included. app/ sees all."""
    rows = {name: re.findall(r"'(\w+)'", behind) for name, behind in ROW.findall(meson)}
    seen = {}

    def closure(name):
        if name not in seen:
            seen[name] = {name}.union(*(closure(b) for b in rows[name]))
        return seen[name]
    rooms = {name: closure(name) for name in rows}
    rooms['app'] = set(rows) | {'app'}
    return rooms


def check_includes(src, rooms):
    wrong = []
    owner = {h.name: h.relative_to(src).parts[0] for h in src.rglob('*.h')}
    for f in sorted(src.rglob('*.[ch]')):
        room = f.relative_to(src).parts[0]
        where = f.relative_to(src.parent)
        if room not in rooms:
            wrong.append(f'{where}: {room} is not in the table of src/meson.build')
            continue
        for name in INCLUDE.findall(f.read_text(errors='replace')):
            home = owner.get(pathlib.PurePath(name).name)
            if '/' in name:
                wrong.append(f'{where}: "{name}": an include is a plain name')
            elif home is None:
                wrong.append(f'{where}: "{name}" is no header of this house')
            elif home not in rooms[room]:
                wrong.append(f'{where}: "{name}": {home} does not stand behind {room}')
            elif name.endswith('_int.h') and home != room:
                wrong.append(f'{where}: "{name}" is private to {home}')
    return wrong


def check_headers(src, rooms, beside):
    wrong = []
    for room in sorted(set(rooms) - MANY_HEADERS):
        public = {h.name for h in (src / room).rglob('*.h') if not h.name.endswith('_int.h')}
        extra = beside.get(room, set())
        wrong += [f'src/{room}: {name} is gone: take it off the list' for name in extra - public]
        if len(public - extra) > 1:
            wrong.append(f'src/{room}: more than one public header: {", ".join(sorted(public))}')
    return wrong


def check_files(root):
    wrong, first = [], {}
    for top in ('src', 'tests', 'fuzz', 'bench'):
        for f in sorted((root / top).rglob('*.[ch]')):
            where = f.relative_to(root)
            if 'node_modules' in where.parts:
                continue
            if f.name in first:
                wrong.append(f'{where}: the name is taken by {first[f.name]}')
            first.setdefault(f.name, where)
            lines = f.read_text(errors='replace').count('\n')
            if top == 'src' and lines > MAX_LINES:
                wrong.append(f'{where}: {lines} lines: which second idea crept in?')
    return wrong


def check(root, beside):
    rooms = read_rooms((root / 'src/meson.build').read_text())
    return check_includes(root / 'src', rooms) + check_headers(root / 'src', rooms, beside) + \
        check_files(root)


def self_check():
    """A house with one fault of each kind, and each must be seen."""
    files = {
        'src/meson.build': "rooms = [\n  ['base', []],\n  ['gen', ['base']],\n  ['wire', ['gen']],\n"
                           "  ['net', ['base']],\n]\n",
        'src/base/str.h': '', 'src/base/buf.h': '#include "str.h"\n',
        'src/gen/gen.h': '#include "str.h"\n', 'src/gen/gen_int.h': '',
        'src/wire/wire.h': '#include "gen.h"\n#include "str.h"\n',
        'src/wire/a.c': '#include "gen_int.h"\n', 'src/wire/b.c': ' # include "gen/gen.h"\n',
        'src/wire/c.c': '#include "nowhere.h"\n', 'src/net/net.h': '', 'src/net/more.h': '',
        'src/net/d.c': '#include "gen.h"\n', 'src/app/main.c': '#include "wire.h"\n',
        'src/attic/e.c': '', 'tests/unit/a.c': '', 'src/net/long.c': '\n' * (MAX_LINES + 1),
    }
    with tempfile.TemporaryDirectory() as d:
        for name, text in files.items():
            p = pathlib.Path(d) / name
            p.parent.mkdir(parents=True, exist_ok=True)
            p.write_text(text)
        wrong = check(pathlib.Path(d), {'net': {'gone.h'}})
    expected = ['src/wire/a.c: "gen_int.h" is private', 'src/wire/b.c: "gen/gen.h": an include',
                'src/wire/c.c: "nowhere.h" is no header', 'src/net/d.c: "gen.h": gen does not stand',
                'src/attic/e.c: attic is not in', 'src/net: more than one', 'tests/unit/a.c: the name',
                'src/net/long.c: 801 lines', 'src/net: gone.h is gone']
    for e in expected:
        assert any(w.startswith(e) for w in wrong), (e, wrong)
    assert len(wrong) == len(expected), wrong


def main():
    self_check()
    root = pathlib.Path(sys.argv[1])
    wrong = check(root, BESIDE)
    rooms = read_rooms((root / 'src/meson.build').read_text())
    if len(rooms) < 10:
        wrong.append('the table of src/meson.build cannot be read')
    print('\n'.join(wrong) if wrong else f'{len(rooms)} rooms, every include within its layer')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
