"""test_lmstudio.py: LM Studio's REST API, as its document describes it."""
import json
import time

from harness import MODEL, Weir, make_home, run, test

w = Weir(make_home())


def call(method, path, body=None, status=200):
    r, out = w.call(method, path, body)
    assert r.status == status, (path, r.status, out)
    return json.loads(out)


def listed():
    return next(m for m in call("GET", "/api/v1/models")["models"] if m["key"] == MODEL)


@test
def models_are_listed():
    m = listed()
    assert m["type"] == "llm" and m["format"] == "gguf" and m["architecture"] == "llama"
    assert m["quantization"]["name"] == "Q4_1" and m["size_bytes"] > 1e7 and m["max_context_length"] >= 2048
    assert m["capabilities"] == {"vision": False, "trained_for_tool_use": False}
    assert m["loaded_instances"] == []


@test
def a_model_is_loaded_and_unloaded():
    r = call("POST", "/api/v1/models/load", {"model": MODEL, "echo_load_config": True})
    assert r["status"] == "loaded" and r["type"] == "llm" and r["load_time_seconds"] >= 0
    assert r["load_config"]["context_length"] >= 2048
    assert [i["id"] for i in listed()["loaded_instances"]] == [r["instance_id"]]
    assert call("POST", "/api/v1/models/unload", {"instance_id": r["instance_id"]})["instance_id"] == r["instance_id"]
    assert listed()["loaded_instances"] == []
    call("POST", "/api/v1/models/unload", {"instance_id": r["instance_id"]}, 404)
    assert "nobody" in json.dumps(call("POST", "/api/v1/models/load", {"model": "nobody"}, 404)["error"])
    assert "context_length" in call("POST", "/api/v1/models/load", {"model": MODEL, "context_length": 10**9}, 400)["error"]["message"]
    call("POST", "/api/v1/models/load", {}, 400)


@test
def a_chat_is_answered():
    ask = {"model": MODEL, "input": "What is the capital of Japan? Answer in one word.", "temperature": 0, "max_output_tokens": 24}
    r = call("POST", "/api/v1/chat", ask)
    assert r["model_instance_id"] == MODEL
    text = "".join(o["content"] for o in r["output"] if o["type"] == "message")
    assert "Tokyo" in text
    s = r["stats"]
    assert s["input_tokens"] > 10 and s["total_output_tokens"] > 0 and s["tokens_per_second"] > 0, s
    assert s["time_to_first_token_seconds"] >= 0
    system = call("POST", "/api/v1/chat", {**ask, "system_prompt": "You answer in French."})
    assert system["stats"]["input_tokens"] != s["input_tokens"]


@test
def a_chat_is_streamed():
    ask = {"model": MODEL, "input": "What is the capital of Japan? Answer in one word.", "temperature": 0, "max_output_tokens": 24}
    whole = call("POST", "/api/v1/chat", ask)
    r, out = w.call("POST", "/api/v1/chat", {**ask, "stream": True})
    assert r.status == 200 and r.getheader("Content-Type").startswith("text/event-stream")
    events = []
    for block in out.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        data = json.loads(lines["data"])
        assert data["type"] == lines["event"]
        events.append(data)
    kinds = [e["type"] for e in events]
    assert kinds[0] == "chat.start" and kinds[-1] == "chat.end", kinds
    text = "".join(e["content"] for e in events if e["type"] == "message.delta")
    assert text == "".join(o["content"] for o in whole["output"] if o["type"] == "message")
    assert events[-1]["result"]["stats"]["total_output_tokens"] == whole["stats"]["total_output_tokens"]


@test
def errors_have_their_shape():
    for body, status in (({"model": "nobody", "input": "x"}, 404), ({"model": MODEL}, 400), ({"model": MODEL, "input": 5}, 400),
                         ({"model": MODEL, "input": "x", "temperature": "hot"}, 400)):
        error = call("POST", "/api/v1/chat", body, status)["error"]
        assert error["message"] and error["type"], error
    call("GET", "/api/v1/nothing", None, 404)


@test
def a_chat_goes_on_from_its_answer():
    ask = {"model": MODEL, "temperature": 0, "max_output_tokens": 8}
    first = call("POST", "/api/v1/chat", {**ask, "input": "My name is Ann."})
    alone = call("POST", "/api/v1/chat", {**ask, "input": "What is my name?"})
    on = call("POST", "/api/v1/chat", {**ask, "input": "What is my name?", "previous_response_id": first["response_id"]})
    assert on["stats"]["input_tokens"] > alone["stats"]["input_tokens"] + 10, (alone, on)
    error = call("POST", "/api/v1/chat", {**ask, "input": "x", "previous_response_id": "resp_none"}, 404)["error"]
    assert "resp_none" in error["message"], error
    assert "response_id" not in call("POST", "/api/v1/chat", {**ask, "input": "x", "store": False})


@test
def downloads_are_followed():
    assert call("POST", "/api/v1/models/download", {"model": MODEL})["status"] == "already_downloaded"
    job = call("POST", "/api/v1/models/download", {"model": "http://127.0.0.1:1/nothing.gguf"})
    end = time.time() + 20
    while job["status"] == "downloading":
        assert time.time() < end
        time.sleep(0.05)
        job = call("GET", f"/api/v1/models/download/status/{job['job_id']}")
    assert job["status"] == "failed" and job["error"], job
    call("GET", "/api/v1/models/download/status/99999", None, 404)


@test
def it_ends():
    assert w.stop() == 0


run()
