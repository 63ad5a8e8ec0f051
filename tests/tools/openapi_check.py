#!/usr/bin/env python3
"""openapi_check.py: values against OpenAI's own OpenAPI document.

    openapi_check.py openai.yaml < FILE

FILE has lines of JSON: {"schema": NAME, "value": ...}. Prints what does not fit and exits 1; says so and exits 77 where
a library it needs is missing. Only the schemas that are reached are parsed: the whole document takes a minute.
"""
import json
import pathlib
import re
import sys


def find_schemas(text, names):
    import yaml
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = text[text.index("\ncomponents:\n"):]
    out, queue = {}, sorted(names)
    while queue:
        name = queue.pop()
        if name in out:
            continue
        block = re.search(rf"^    {re.escape(name)}:\n((?:      .*\n|\n)+)", text, re.M)
        if not block:
            sys.exit(f"the document has no schema {name}")
        out |= yaml.load(f"{name}:\n{block.group(1)}", loader)
        queue += re.findall(r"#/components/schemas/([\w.-]+)", block.group(1))
    return out


def main():
    try:
        import jsonschema
        import yaml  # noqa: F401
    except ImportError as e:
        print(e)
        sys.exit(77)
    rows = [json.loads(line) for line in sys.stdin if line.strip()]
    schemas = find_schemas(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"), {r["schema"] for r in rows})
    components = {"components": {"schemas": schemas}}
    bad = 0
    for row in rows:
        v = jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{row['schema']}", **components})
        e = jsonschema.exceptions.best_match(v.iter_errors(row["value"]))
        if e:
            bad += 1
            print(f"{row['schema']}: {e.json_path}: {e.message[:300]}\n  {json.dumps(row['value'])[:600]}")
    print(f"{len(rows)} values, {bad} that do not fit")
    sys.exit(1 if bad else 0)


main()
