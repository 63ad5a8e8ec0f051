#!/usr/bin/env python3
"""Turns the built page (a folder) into a C file: embed.py FOLDER OUT.c

Each file is embedded as it is and gzipped (for clients that accept it), with its type and a digest for ETag.
"""
import gzip
import hashlib
import pathlib
import sys

TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
         ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png",
         ".woff2": "font/woff2", ".json": "application/json", ".webmanifest": "application/manifest+json"}


def array(name, data):
    rows = [",".join(str(b) for b in data[i:i + 32]) for i in range(0, len(data), 32)]
    return f"static const unsigned char {name}[] = {{\n" + ",\n".join(rows or ["0"]) + "};\n"


def main(folder, out):
    root = pathlib.Path(folder)
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.suffix in TYPES)
    text = ["/* Made from the built page by tools/embed.py. */\n#include \"page.h\"\n"]
    rows = []
    for i, p in enumerate(files):
        raw = p.read_bytes()
        gz = gzip.compress(raw, 9, mtime=0)
        text.append(array(f"raw{i}", raw))
        text.append(array(f"gz{i}", gz))
        tag = hashlib.sha256(raw).hexdigest()[:16]
        path = "/" + p.relative_to(root).as_posix()
        rows.append(f'    {{"{path}", "{TYPES[p.suffix]}", "\\"{tag}\\"", raw{i}, {len(raw)}, gz{i}, {len(gz)}}},')
    rows.append("    {0},")
    text.append("const struct page_file page_files[] = {\n" + "\n".join(rows) + "\n};\n")
    pathlib.Path(out).write_text("\n".join(text))


main(*sys.argv[1:])
