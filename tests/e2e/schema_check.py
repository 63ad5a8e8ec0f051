"""schema_check.py SPEC FILE: what the clients' tests have seen, against an OpenAPI document.

FILE has a line of JSON for each thing seen: {"schema": NAME, "value": ...}. Only the schemas that are reached from
those names are read out of the document, since the whole of a large one takes a minute to parse. Prints `checked N`,
or `bad NAME: why` for each line that does not fit and exits 1. Exits 77, saying why, where it cannot check.
"""
import json
import pathlib
import re
import sys

try:
    import jsonschema
    import yaml
except ImportError as e:
    print(f"no {e.name}")
    sys.exit(77)


def loosen(node):
    """OpenAPI 3.0's nullable is a type of JSON Schema; an item that is null would else be refused."""
    if isinstance(node, list):
        return [loosen(v) for v in node]
    if not isinstance(node, dict):
        return node
    node = {k: loosen(v) for k, v in node.items()}
    return {"anyOf": [node, {"type": "null"}]} if node.pop("nullable", False) is True else node


def read_schemas(text, names):
    out, want = {}, sorted(names)
    while want:
        name = want.pop()
        if name in out:
            continue
        block = re.search(rf"^    {re.escape(name)}:\n((?:      .*\n|\n)+)", text, re.M)
        if not block:
            sys.exit(f"the document has no schema {name}")
        out |= loosen(yaml.safe_load(f"{name}:\n{block.group(1)}"))
        want += re.findall(r"#/components/schemas/([\w.-]+)", block.group(1))
    return out


def main():
    spec, seen = map(pathlib.Path, sys.argv[1:3])
    if not spec.exists():
        print(f"no {spec}")
        sys.exit(77)
    lines = [json.loads(line) for line in seen.read_text(encoding="utf-8").splitlines()]
    names = {line["schema"] for line in lines}
    schemas = read_schemas(spec.read_text(encoding="utf-8"), names)
    checkers = {n: jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{n}",
                                                    "components": {"schemas": schemas}}) for n in names}
    bad = 0
    for line in lines:
        error = jsonschema.exceptions.best_match(checkers[line["schema"]].iter_errors(line["value"]))
        if error:
            bad += 1
            place = "/".join(map(str, error.absolute_path))
            print(f"bad {line['schema']}: at /{place}: {error.message[:300]} in {json.dumps(line['value'])[:600]}")
    print(f"checked {len(lines)}")
    sys.exit(1 if bad or not lines else 0)


main()
