"""test_llama.py: llama-server's paths by plain HTTP, as programs written for it call them."""
import json
import re

from harness import MODEL, Weir, make_home, run, test, until

PROMPT = "The capital of France is"
w = Weir(make_home())


def post(path, body, status=200):
    r, out = w.call("POST", path, body)
    assert r.status == status, (path, r.status, out)
    return json.loads(out)


def get(path):
    r, out = w.call("GET", path)
    assert r.status == 200, (path, r.status, out)
    return json.loads(out)


def events(path, body):
    r, out = w.call("POST", path, {**body, "stream": True})
    assert r.status == 200 and r.getheader("Content-Type").startswith("text/event-stream"), (r.status, out)
    return [json.loads(x[6:]) for x in out.split("\n\n") if x.startswith("data: ") and x != "data: [DONE]"]


@test
def health_says_ok():
    assert get("/health")["status"] == "ok"
    assert get("/v1/models")["data"]


@test
def a_completion_and_its_stream():
    ask = {"prompt": PROMPT, "n_predict": 6, "temperature": 0}
    whole = post("/completion", ask)
    assert "Paris" in whole["content"]
    assert whole["stop"] is True and whole["stop_type"] == "limit", whole
    assert whole["tokens_predicted"] == 6 and whole["tokens_evaluated"] >= 5
    assert whole["timings"]["predicted_n"] == 6 and whole["timings"]["predicted_ms"] > 0
    assert whole["generation_settings"]["n_predict"] == 6
    parts = events("/completion", ask)
    assert "".join(p["content"] for p in parts) == whole["content"]
    assert [p["stop"] for p in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1]["tokens_predicted"] == 6
    word = post("/completion", {**ask, "n_predict": 40, "stop": ["."]})
    assert word["stop_type"] == "word" and word["stopping_word"] == "." and "." not in word["content"]


@test
def its_own_fields_are_heeded():
    ask = {"prompt": PROMPT, "n_predict": 8, "temperature": 1.5, "seed": 5}
    assert post("/completion", ask)["content"] == post("/completion", ask)["content"]
    assert post("/completion", {**ask, "top_k": 1})["content"] == post("/completion", {**ask, "temperature": 0})["content"]
    probs = post("/completion", {**ask, "n_predict": 2, "n_probs": 3})["completion_probabilities"]
    assert len(probs) == 2 and all(len(p["top_logprobs"]) == 3 for p in probs), probs
    held = post("/completion", {**ask, "n_predict": 20, "grammar": 'root ::= " yes" | " no"'})
    assert held["content"] in (" yes", " no"), held["content"]
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": False}
    assert set(json.loads(post("/completion", {**ask, "n_predict": 40, "json_schema": schema})["content"])) == {"a"}
    many = post("/completion", {**ask, "prompt": [1, 2, 3], "n_predict": 1})
    assert many["tokens_evaluated"] == 3
    empty = post("/completion", {"prompt": PROMPT, "n_predict": 0})
    assert empty["content"] == ""


@test
def the_prompt_is_kept():
    ask = {"prompt": "One two three four five. " * 20, "n_predict": 2, "temperature": 0, "cache_prompt": True}
    post("/completion", ask)
    again = post("/completion", ask)
    assert again["tokens_cached"] > 100 and again["timings"]["cache_n"] > 100, again["timings"]
    assert again["timings"]["prompt_n"] < 5


@test
def tokens_there_and_back():
    text = "Grüße, 世界! <|im_start|>"
    ids = post("/tokenize", {"content": text})["tokens"]
    assert all(isinstance(i, int) for i in ids)
    plain = post("/tokenize", {"content": text, "parse_special": False})["tokens"]
    assert len(plain) > len(ids)
    for some in (ids, plain):
        assert post("/detokenize", {"tokens": some})["content"] == text
    pieces = post("/tokenize", {"content": text, "with_pieces": True})["tokens"]
    assert [p["id"] for p in pieces] == ids
    raw = b"".join(bytes(p["piece"]) if isinstance(p["piece"], list) else p["piece"].encode() for p in pieces)
    assert raw.decode() == text
    assert post("/tokenize", {"content": ""})["tokens"] == []


@test
def a_template_is_applied_and_completed():
    messages = [{"role": "user", "content": "What is the capital of Japan? Answer in one word."}]
    prompt = post("/apply-template", {"messages": messages})["prompt"]
    assert prompt.endswith("<|im_start|>assistant\n") and messages[0]["content"] in prompt
    done = post("/completion", {"prompt": prompt, "n_predict": 24, "temperature": 0})
    chat = post("/v1/chat/completions", {"model": MODEL, "messages": messages, "max_tokens": 24, "temperature": 0})
    assert done["content"] == chat["choices"][0]["message"]["content"]
    assert done["tokens_evaluated"] == chat["usage"]["prompt_tokens"]


@test
def props_and_slots():
    p = get("/props")
    assert p["total_slots"] >= 1 and p["default_generation_settings"]["n_ctx"] >= 2048
    assert "im_start" in p["chat_template"] and p["model_path"].endswith(".gguf")
    until("nobody is served", lambda: w.queued() == 0)
    slots = get("/slots")
    assert len(slots) == p["total_slots"]
    assert all(s["is_processing"] is False and s["n_ctx"] >= 2048 for s in slots)


@test
def metrics_are_prometheus_text():
    until("nobody is served", lambda: w.queued() == 0)
    r, out = w.call("GET", "/metrics")
    assert r.status == 200 and r.getheader("Content-Type").startswith("text/plain; version=0.0.4")
    kinds, values = {}, {}
    for line in out.splitlines():
        head = re.fullmatch(r"# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)", line)
        if head:
            if head[1] == "TYPE":
                assert head[3] in ("counter", "gauge") and head[2] not in kinds, line
                kinds[head[2]] = head[3]
            continue
        row = re.fullmatch(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-z_]+="(?:[^"\\]|\\.)*"\})? ([-+0-9.e]+)', line)
        assert row and row[1] in kinds, line
        values[row[1]] = float(row[3])
    assert out.endswith("\n")
    assert values["llamacpp:tokens_predicted_total"] > 20 and values["llamacpp:prompt_tokens_total"] > 20
    assert values["llamacpp:requests_processing"] == 0


@test
def what_cannot_be_is_refused():
    for path, body in (("/infill", {"input_prefix": "def f(", "input_suffix": "return 1"}), ("/completion", {"prompt": 5}),
                       ("/completion", {"prompt": PROMPT, "n_predict": "many"}), ("/completion", {"prompt": PROMPT, "grammar": "root ::= ("}),
                       ("/tokenize", {}), ("/detokenize", {"tokens": ["a"]}), ("/detokenize", {"tokens": [99999999]}),
                       ("/apply-template", {}), ("/completion", "{")):
        error = post(path, body, 400)["error"]
        assert error["code"] == 400 and error["type"] == "invalid_request_error" and error["message"], error
    assert post("/completion", {"prompt": PROMPT, "model": "nobody"}, 404)["error"]["code"] == 404
    assert "insert" in post("/infill", {"input_prefix": "a", "input_suffix": "b"}, 400)["error"]["message"]


@test
def it_ends():
    assert w.stop() == 0


run()
