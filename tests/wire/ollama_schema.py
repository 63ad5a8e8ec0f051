"""ollama_schema.py: what the writers of the Ollama dialect gave in the golden files, against Ollama's own OpenAPI
document: every line of a stream, every body, every error."""
import json
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FIXTURES = pathlib.Path(os.environ.get("WEIR_FIXTURES", ROOT.parent / "shared" / "fixtures"))
SPEC = FIXTURES / "openapi" / "ollama.yaml"
GOLDEN = pathlib.Path(__file__).resolve().parent / "golden"


def strict(schema):
    """No field that the document does not name, except those that Ollama's server gives and its document forgets."""
    out = json.loads(json.dumps(schema))
    for form, said in (("Chat", "message"), ("Generate", "response")):
        whole, event = out[form + "Response"], out[form + "StreamEvent"]
        whole["properties"]["weir"] = {"type": "object"}
        for name, field in whole["properties"].items():
            event["properties"].setdefault(name, field)
        for o in (whole, event):
            o |= {"additionalProperties": False, "required": ["model", "created_at", said, "done"]}
            if said == "message":
                o["properties"][said] |= {"additionalProperties": False, "required": ["role", "content"]}
    out["ErrorResponse"] |= {"additionalProperties": False, "required": ["error"]}
    return out


def main():
    try:
        import jsonschema
        import yaml
    except ImportError as e:
        print(f"skipped: {e}")
        return 0
    if not SPEC.exists():
        print(f"skipped: no {SPEC}")
        return 0
    schemas = strict(yaml.safe_load(SPEC.read_text(encoding="utf-8"))["components"]["schemas"])
    checked = 0
    for path in sorted(GOLDEN.glob("*.script.ollama-*.txt")):
        script = json.loads(path.with_name(path.name.split(".")[0] + ".script.json").read_text())
        # The one that only loads answers in one object.
        stream = script["request"].get("stream", "prompt" in script["request"]) if "request" in script else script.get("stream")
        form = "Chat" if "chat" in path.name else "Generate"
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line or line.startswith("refused:"):
                continue
            value = json.loads(line)
            name = "ErrorResponse" if "error" in value else form + ("StreamEvent" if stream else "Response")
            jsonschema.validate(value, {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}})
            checked += 1
    print(f"{checked} values")
    return 0 if checked >= 10 else 1


sys.exit(main())
