"""validate_schema.py GOLDEN TEST...: the openai dialect's answers against OpenAI's own OpenAPI document: those of the
golden files, and the random ones that the TESTs write when WEIR_WIRE_DUMP names a folder. Exits 77 (skipped) where the
document or a Python package is missing."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(os.environ.get("WEIR_SOURCE", ".")).resolve()
FIXTURES = pathlib.Path(os.environ.get("WEIR_FIXTURES") or ROOT.parent / "shared" / "fixtures")
SPEC = FIXTURES / "openapi" / "openai.yaml"
ROOTS = {"openai": ("CreateChatCompletionResponse", "CreateChatCompletionStreamResponse"),
         "completions": ("CreateCompletionResponse", "CreateCompletionResponse")}


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


try:
    import jsonschema
    import yaml
except ImportError as e:
    skip(str(e))
if not SPEC.exists():
    skip(f"no {SPEC}")


def modern(node):
    """OpenAPI's `nullable` in JSON Schema's words."""
    if isinstance(node, list):
        return [modern(n) for n in node]
    if not isinstance(node, dict):
        return node
    out = {k: modern(v) for k, v in node.items() if k != "nullable"}
    if node.get("nullable"):
        return {"anyOf": [out, {"type": "null"}]}
    return out


def load():
    """The schemas that are looked at, and what they refer to; the whole document takes a minute to parse."""
    text = SPEC.read_text(encoding="utf-8")
    out, todo = {}, ["ErrorResponse"] + [n for pair in ROOTS.values() for n in pair]
    while todo:
        name = todo.pop()
        if name in out:
            continue
        block = re.search(rf"^    {name}:\n((?:      .*\n|\n)+)", text, re.M).group(1)
        out[name] = modern(yaml.safe_load(f"{name}:\n{block}")[name])
        todo += re.findall(r"#/components/schemas/(\w+)", block)
    return out


SCHEMAS = load()
CHECKS = {name: jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{name}",
                                                 "components": {"schemas": SCHEMAS}})
          for name in ["ErrorResponse"] + [n for pair in ROOTS.values() for n in pair]}


def check(value, name, where):
    if "error" in value:
        name = "ErrorResponse"
    if name == "CreateCompletionResponse":
        # A stream's pieces have no reason yet, as OpenAI sends them; the document forgets that they share this schema.
        for c in value["choices"]:
            if c["finish_reason"] is None:
                c["finish_reason"] = "stop"
    bad = jsonschema.exceptions.best_match(CHECKS[name].iter_errors(value))
    if bad:
        sys.exit(f"{where}: {bad.json_path}: {bad.message}\n{json.dumps(value)}")


def check_file(path, form):
    whole, chunk = ROOTS[form]
    text, n = path.read_text(encoding="utf-8"), 0
    if not text.startswith("data: "):
        if text.startswith("refused:"):
            return 0
        check(json.loads(text), whole, path.name)
        return 1
    for line in text.split("\n"):
        if line.startswith("data: ") and line != "data: [DONE]":
            check(json.loads(line[6:]), chunk, path.name)
            n += 1
    return n


def main():
    golden, tests = pathlib.Path(sys.argv[1]), sys.argv[2:]
    seen = 0
    for form in ROOTS:
        for path in sorted(golden.glob(f"*.script.{form}.txt")):
            seen += check_file(path, form)
    with tempfile.TemporaryDirectory() as dump:
        for exe in tests:
            subprocess.run([exe], env={**os.environ, "WEIR_WIRE_DUMP": dump}, check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for form in ROOTS:
            files = sorted(pathlib.Path(dump).glob(f"{form}-*.txt"))
            assert len(files) >= 100, f"{len(files)} answers of {form}"
            for path in files:
                seen += check_file(path, form)
    print(f"{seen} answers and pieces are as the document says")


main()
