"""test_embeddings_schema.py: answers of /v1/embeddings against OpenAI's own OpenAPI document."""
import json
import pathlib
import re
import subprocess

from harness import FIXTURES, WEIR, Weir, make_home, run, skip, test, weir

SPEC = FIXTURES / "openapi" / "openai.yaml"
NEEDED = ["CreateEmbeddingResponse", "Embedding", "ErrorResponse", "Error"]


def schemas():
    """The few schemas that are looked at; the whole document takes a minute to parse."""
    import yaml
    text = SPEC.read_text(encoding="utf-8")
    out = {}
    for name in NEEDED:
        block = re.search(rf"^    {name}:\n((?:      .*\n|\n)+)", text, re.M)
        out |= yaml.safe_load(f"{name}:\n{block.group(1)}")
    return out


def check(value, name):
    import jsonschema
    jsonschema.validate(value, {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas()}})


@test
def answers_and_errors_are_as_the_document_says():
    try:
        import jsonschema  # noqa: F401
        import yaml  # noqa: F401
    except ImportError as e:
        return skip("openapi", str(e))
    if not SPEC.exists():
        return skip("openapi", f"no {SPEC}")
    home = make_home()
    encoder = pathlib.Path(home) / "tiny-bert.gguf"
    subprocess.run([pathlib.Path(WEIR).parent / "tests" / "tiny_encoder", "bert", encoder], check=True)
    p = weir(["pull", str(encoder)], home)
    assert p.returncode == 0, p.err
    w = Weir(home)
    for body in ({"input": "hello"}, {"input": ["hello", "world"], "dimensions": 3}, {"input": [[2, 3], [2, 5, 3]]}):
        r, out = w.call("POST", "/v1/embeddings", json.dumps({"model": "tiny-bert", **body}))
        assert r.status == 200, out
        check(json.loads(out), "CreateEmbeddingResponse")
    for body in ({"input": ""}, {"input": "a " * 300}, {"input": "a", "dimensions": 1000}):
        r, out = w.call("POST", "/v1/embeddings", json.dumps({"model": "tiny-bert", **body}))
        assert r.status == 400, (r.status, out)
        check(json.loads(out), "ErrorResponse")
    w.stop()


run()
