#!/usr/bin/env python3
"""One way out: no room but egress/ may refer to a function that opens a connection or asks a name
server. Reads what each room's library leaves undefined (nm -u), so a call cannot hide behind a
macro or a header.

usage: check_symbols.py NM APP_OBJECTS LIBROOM.a...
"""
import pathlib
import re
import subprocess
import sys

# Serving is not dialling: net/ may use the rest of libuv, uv_listen and uv_accept among it.
WAY_OUT = re.compile(
    r'^(connect|sendto|sendmsg|sendmmsg|getaddrinfo|getaddrinfo_a|gethostby\w+|getnameinfo|(__)?res_n?(query|search|send|mkquery|querydomain)'
    r'|curl_\w+|uv_tcp_connect|uv_pipe_connect\w*|uv_udp_\w+|uv_getaddrinfo|uv_getnameinfo'
    r'|SSL_connect|BIO_\w*connect\w*)$')
ALLOWED = {'egress'}
EXPECTED = {'egress': {'connect', 'curl_easy_init', 'curl_multi_init'}}


def ways_out(nm_text):
    found = set()
    for line in nm_text.splitlines():
        parts = line.split()
        if len(parts) == 2 and parts[0] in ('U', 'w'):
            name = parts[1].split('@')[0]
            if WAY_OUT.match(name):
                found.add(name)
    return found


def judge(room, found):
    """What is wrong with this room, as lines."""
    if room in ALLOWED:
        missing = EXPECTED.get(room, set()) - found
        return [f'{room}: expected to find {name}; does this check still see?'
                for name in sorted(missing)]
    return [f'{room}: refers to {name}: only egress/ may' for name in sorted(found)]


def self_check():
    text = 'x.o:\n                 U connect@GLIBC_2.2.5\n                 U uv_listen\n' \
           '                 U curl_easy_perform\n0000000000000000 T curl_mine\n'
    assert ways_out(text) == {'connect', 'curl_easy_perform'}, ways_out(text)
    assert judge('wire', {'connect'}) and not judge('net', ways_out(' U uv_listen\n U uv_accept\n'))
    assert judge('net', ways_out(' U uv_pipe_connect2\n'))
    assert judge('egress', set()) and not judge('egress', EXPECTED['egress'])


def main():
    self_check()
    nm, app_objects, libs = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:]
    groups = {pathlib.Path(lib).name.removeprefix('lib').removesuffix('.a'): [lib] for lib in libs}
    objects = sorted(str(p) for p in app_objects.glob('*.o'))
    if objects:
        groups['app'] = objects
    wrong = [] if 'egress' in groups else ['no egress library among what was given']
    for room, files in sorted(groups.items()):
        text = subprocess.run([nm, '-u', *files], check=True, capture_output=True, text=True).stdout
        wrong += judge(room, ways_out(text))
    print('\n'.join(wrong) if wrong else f'{len(groups)} rooms, one way out')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
