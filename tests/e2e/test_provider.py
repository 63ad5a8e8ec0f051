"""test_provider.py: the cloud side, played by the scripted provider, in both dialects as provider and as caller."""
import concurrent.futures
import http.client
import json
import time

from cloud import (ANTHROPIC_KEY, COST, OPENAI_KEY, PRICE, ROW_KEY, USAGE, call, connected, counts, deadlines, ended_normally,
                   environment_of, events, files_with, home_with, prices, row, row_config, stream_error, stream_text,
                   whole_text)
from harness import Provider, Weir, run, test, until, weir

provider = Provider()
ROWS = ["openai", "anthropic", "own", "own-anthropic"]
CONFIG = (row_config(provider, "own", key=True) + row_config(provider, "own-anthropic", dialect="anthropic", key=True) +
          row_config(provider, "own-ollama", dialect="ollama", key=True) + row_config("http://127.0.0.1:1/v1", "dead") +
          prices(*ROWS, "dead"))
w = connected(provider, CONFIG)
hasty = connected(provider, CONFIG + deadlines(*ROWS, first=3000, whole=3000, idle=1000))
DIALECTS = ["openai", "anthropic"]
PAIRS = [(r, d) for r in ROWS for d in DIALECTS]
TEXT = "Hello from the script."


def last_request():
    return counts(provider)[1][-1]


@test
def plain_answers_through_every_row_in_both_dialects():
    for name, dialect in PAIRS:
        r, out = call(w, dialect, f"{name}/ok")
        assert r.status == 200 and whole_text(dialect, out) == TEXT, (name, dialect, out)
        assert f"model={name}/ok; zone=cloud" in r.getheader("x-weir-route"), r.getheader("x-weir-route")
        b = row(w, r)
        assert (b["status"], b["provider"], b["model"], b["zone"]) == ("ok", name, "ok", "cloud"), b
        assert {k: b[k] for k in USAGE} == USAGE and not b["estimated"], (name, b)
        assert b["cost_nano"] == COST and b["charged_nano"] == COST, (name, b["cost_nano"])
        assert b["reserved_nano"] >= COST and b["first_ms"] >= 0 and b["total_ms"] >= b["first_ms"], b
        usage = json.loads(out)["usage"]
        if dialect == "openai":
            assert (usage["prompt_tokens"], usage["completion_tokens"]) == (11, 5), usage
        else:
            assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (8, 3, 5), usage


@test
def streams_through_every_row_in_both_dialects():
    for name, dialect in PAIRS:
        r, out = call(w, dialect, f"{name}/ok", stream=True)
        assert r.status == 200 and r.getheader("Content-Type").startswith("text/event-stream"), r.getheaders()
        assert stream_text(dialect, out) == TEXT and ended_normally(dialect, out), (name, dialect, out)
        assert f"model={name}/ok" in r.getheader("x-weir-route")
        b = row(w, r)
        assert (b["status"], b["stream"], b["cost_nano"]) == ("ok", True, COST), b
        assert {k: b[k] for k in USAGE} == USAGE, b


@test
def an_ollama_server_answers_both_dialects():
    for dialect in DIALECTS:
        r, out = call(w, dialect, "own-ollama/ok")
        assert r.status == 200 and whole_text(dialect, out) == TEXT, (dialect, out)
        assert last_request()["path"] == "/api/chat" and last_request()["body"]["stream"] is False, last_request()
        b = row(w, r)
        assert (b["provider"], b["input"], b["cached"], b["output"]) == ("own-ollama", 11, 0, 5), b
        r, out = call(w, dialect, "own-ollama/reasoning", stream=True)
        assert stream_text(dialect, out) == TEXT and ended_normally(dialect, out) and "Let me think." in out, out
        tools = OPENAI_TOOLS if dialect == "openai" else ANTHROPIC_TOOLS
        for stream in (False, True):
            r, out = call(w, dialect, "own-ollama/tools", "Weather?", stream, tools=tools)
            got = [(name, args) for _, name, args in calls_in(dialect, stream, out)]
            assert got == [(name, args) for _, name, args in WANT_CALLS], (dialect, stream, out)
        r, out = call(w, dialect, "own-ollama/ok", second_turn(dialect), tools=tools)
        sent = last_request()["body"]["messages"]
        assert [m.get("tool_name") for m in sent if m["role"] == "tool"] == ["get_weather", "get_time"], sent
        r, out = call(w, dialect, "own-ollama/error-in-band", stream=True)
        assert stream_error(dialect, out)["message"] and not ended_normally(dialect, out), out


@test
def the_key_goes_where_the_dialect_wants_it():
    for name, key in (("openai", OPENAI_KEY), ("anthropic", ANTHROPIC_KEY), ("own", ROW_KEY), ("own-anthropic", ROW_KEY)):
        call(w, "openai", f"{name}/ok")
        h = last_request()["headers"]
        if "anthropic" in name:
            assert h["x-api-key"] == key and "authorization" not in h and h["anthropic-version"], h
        else:
            assert h["authorization"] == f"Bearer {key}" and "x-api-key" not in h, h


@test
def reasoning_crosses_the_dialects():
    for name, dialect in PAIRS:
        r, out = call(w, dialect, f"{name}/reasoning", stream=True)
        assert r.status == 200 and stream_text(dialect, out) == TEXT, out
        assert "Let me think." in out, (name, dialect, out)


OPENAI_TOOLS = [{"type": "function", "function": {"name": n, "description": "a tool", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}}}} for n in ("get_weather", "get_time")]
ANTHROPIC_TOOLS = [{"name": t["function"]["name"], "description": "a tool", "input_schema": t["function"]["parameters"]}
                   for t in OPENAI_TOOLS]
WANT_CALLS = [("call_a", "get_weather", {"city": "Zürich"}), ("call_b", "get_time", {"zone": "CET"})]


def calls_in(dialect, stream, out):
    if not stream:
        o = json.loads(out)
        if dialect == "openai":
            assert o["choices"][0]["finish_reason"] == "tool_calls"
            return [(c["id"], c["function"]["name"], json.loads(c["function"]["arguments"]))
                    for c in o["choices"][0]["message"]["tool_calls"]]
        assert o["stop_reason"] == "tool_use"
        return [(b["id"], b["name"], b["input"]) for b in o["content"] if b["type"] == "tool_use"]
    found = {}
    for e in events(out):
        if e == "[DONE]":
            continue
        if dialect == "openai":
            for c in e.get("choices", []):
                for t in c["delta"].get("tool_calls", []):
                    f = found.setdefault(t["index"], [None, None, ""])
                    f[0] = t.get("id") or f[0]
                    f[1] = t["function"].get("name") or f[1]
                    f[2] += t["function"].get("arguments", "")
        elif e["type"] == "content_block_start" and e["content_block"]["type"] == "tool_use":
            found[e["index"]] = [e["content_block"]["id"], e["content_block"]["name"], ""]
        elif e["type"] == "content_block_delta" and e["delta"]["type"] == "input_json_delta":
            found[e["index"]][2] += e["delta"]["partial_json"]
    return [(i, n, json.loads(a)) for i, n, a in (found[k] for k in sorted(found))]


def second_turn(dialect):
    if dialect == "openai":
        return [{"role": "user", "content": "Weather?"},
                {"role": "assistant", "content": None, "tool_calls": [
                    {"id": i, "type": "function", "function": {"name": n, "arguments": json.dumps(a)}} for i, n, a in WANT_CALLS]},
                {"role": "tool", "tool_call_id": "call_a", "content": "sunny"},
                {"role": "tool", "tool_call_id": "call_b", "content": "noon"}]
    return [{"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": i, "name": n, "input": a} for i, n, a in WANT_CALLS]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_a", "content": "sunny"},
                                         {"type": "tool_result", "tool_use_id": "call_b", "content": "noon"}]}]


@test
def tools_make_the_round_trip_across_dialects():
    for name, dialect in PAIRS:
        tools = OPENAI_TOOLS if dialect == "openai" else ANTHROPIC_TOOLS
        for stream in (False, True):
            r, out = call(w, dialect, f"{name}/tools", "Weather?", stream, tools=tools)
            assert r.status == 200 and calls_in(dialect, stream, out) == WANT_CALLS, (name, dialect, stream, out)
            assert row(w, r)["end_reason"] == "tools"
        r, out = call(w, dialect, f"{name}/ok", second_turn(dialect), tools=tools)
        assert r.status == 200 and whole_text(dialect, out) == TEXT, out
        sent = last_request()["body"]["messages"]
        if "anthropic" in name:
            assert [b["id"] for b in sent[1]["content"]] == ["call_a", "call_b"], sent
            assert [(b["tool_use_id"], b["content"] if isinstance(b["content"], str) else b["content"][0]["text"])
                    for b in sent[2]["content"]] == [("call_a", "sunny"), ("call_b", "noon")], sent
        else:
            assert [c["id"] for c in sent[1]["tool_calls"]] == ["call_a", "call_b"], sent
            assert [(m["tool_call_id"], m["content"]) for m in sent[2:]] == [("call_a", "sunny"), ("call_b", "noon")], sent


def function_in(stream, out):
    """The one call of an answer to who asked with `functions`."""
    if not stream:
        c = json.loads(out)["choices"][0]
        assert c["finish_reason"] == "function_call" and "tool_calls" not in c["message"], c
        return c["message"]["function_call"]["name"], json.loads(c["message"]["function_call"]["arguments"])
    chunks = [c for e in events(out) if e != "[DONE]" for c in e["choices"]]
    assert chunks[-1]["finish_reason"] == "function_call" and not any("tool_calls" in c["delta"] for c in chunks), out
    parts = [c["delta"]["function_call"] for c in chunks if "function_call" in c["delta"]]
    return "".join(p.get("name", "") for p in parts), json.loads("".join(p["arguments"] for p in parts))


@test
def functions_are_tools_of_an_older_name():
    functions = [t["function"] for t in OPENAI_TOOLS]
    for name in [name for name, dialect in PAIRS if dialect == "openai"]:
        for stream in (False, True):
            r, out = call(w, "openai", f"{name}/tools", "Weather?", stream, functions=functions, function_call="auto")
            assert r.status == 200 and function_in(stream, out) == WANT_CALLS[0][1:], (name, stream, out)
            sent = last_request()["body"]
            assert len(sent["tools"]) == 2 and "functions" not in sent and "function_call" not in sent, sent
        turn = [{"role": "user", "content": "Weather?"},
                {"role": "assistant", "content": None,
                 "function_call": {"name": "get_weather", "arguments": json.dumps(WANT_CALLS[0][2])}},
                {"role": "function", "name": "get_weather", "content": "sunny"}]
        r, out = call(w, "openai", f"{name}/ok", turn, functions=functions)
        assert r.status == 200 and whole_text("openai", out) == TEXT, out
        sent = last_request()["body"]["messages"]
        if "anthropic" in name:
            assert sent[1]["content"][0]["id"] == sent[2]["content"][0]["tool_use_id"], sent
        else:
            assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"] and sent[2]["role"] == "tool", sent


def heal(*rows, v=w):
    """Three failures in a row rest a provider; an answer makes it well again."""
    for name in rows or ROWS:
        assert call(v, "openai", f"{name}/ok")[0].status == 200, name


def at_once(model, stream):
    """The same from every row in every dialect at the same time: two from each row."""
    heal(v=hasty)
    with concurrent.futures.ThreadPoolExecutor(len(PAIRS)) as pool:
        answers = [pool.submit(call, hasty, dialect, f"{name}/{model}", stream=stream) for name, dialect in PAIRS]
    return [(name, dialect, *a.result()) for (name, dialect), a in zip(PAIRS, answers)]


@test
def http_errors_keep_their_status_and_cost_nothing():
    want = {"401": (401, "AUTH"), "500": (502, "UPSTREAM"), "503": (503, "OVERLOAD"), "context": (400, "CONTEXT")}
    for scenario, (status, code) in want.items():
        for name, dialect in PAIRS:
            for stream in (False, True):
                heal(name)
                r, out = call(w, dialect, f"{name}/{scenario}", stream=stream)
                assert r.status == status and json.loads(out)["error"]["message"], (scenario, name, dialect, r.status, out)
                assert f"model={name}/{scenario}" in r.getheader("x-weir-route"), r.getheaders()
                b = row(w, r)
                assert (b["status"], b["code"], b["cost_nano"], b["charged_nano"], b["input"], b["output"]) == (
                    "error", code, 0, 0, 0, 0), b


@test
def error_types_are_the_dialects_own():
    want = {"401": ("authentication_error", "authentication_error"), "500": ("server_error", "api_error"),
            "503": ("server_error", "overloaded_error"), "context": ("invalid_request_error", "invalid_request_error")}
    for scenario, types in want.items():
        for dialect, kind in zip(DIALECTS, types):
            heal("own")
            error = json.loads(call(w, dialect, f"own/{scenario}")[1])["error"]
            assert error["type"] == kind, (scenario, dialect, error)
    assert json.loads(call(w, "openai", "own/context")[1])["error"]["code"] == "context_length_exceeded"
    heal()


@test
def a_429_says_when_to_come_back_and_is_not_asked_again():
    v = connected(provider, CONFIG)
    for name in ROWS:
        r, out = call(v, "openai", f"{name}/429", stream=True)
        assert r.status == 429 and r.getheader("Retry-After") == "7", (name, r.status, r.getheaders(), out)
        assert json.loads(out)["error"]["type"] == "rate_limit_error", out
        assert (row(v, r)["code"], row(v, r)["cost_nano"]) == ("RATE", 0)
        before = counts(provider)[0]
        r, out = call(v, "anthropic", f"{name}/ok")
        assert r.status == 429 and json.loads(out)["error"]["type"] == "rate_limit_error", (name, r.status, out)
        assert r.getheader("Retry-After"), r.getheaders()
        assert counts(provider)[0] == before, "a limited provider was dialled"
        assert (row(v, r)["status"], row(v, r)["cost_nano"]) == ("error", 0)
    assert v.stop() == 0


@test
def a_stream_that_breaks_off_is_an_error_in_band():
    # "Hello": 5 bytes make two tokens, as an estimate; the prompt is estimated too, or told by message_start.
    for scenario, code in (("cut", "CUT"), ("reset", None), ("stall", "TIMEOUT"), ("error-in-band", None)):
        for name, dialect, r, out in at_once(scenario, True):
            if scenario == "reset" and r.status == 502:
                continue  # the reset overtook the text, so the client never saw a beginning
            assert r.status == 200 and "Hello" in stream_text(dialect, out), (scenario, name, dialect, r.status, out)
            assert not ended_normally(dialect, out), (scenario, name, dialect, out)
            error = stream_error(dialect, out)
            assert error and error["message"], (scenario, name, dialect, out)
            if scenario == "error-in-band":
                assert "it broke" in error["message"], error
            b = row(hasty, r)
            assert b["status"] == "error" and (code is None or b["code"] == code), b
            assert b["estimated"] and b["output"] >= 2 and b["input"] > 0 and 0 < b["cost_nano"] <= b["reserved_nano"], b
            if "anthropic" in name:
                assert (b["input"], b["cached"]) == (11, 3), b


@test
def silence_before_the_first_event_ends_at_the_deadline():
    for stream in (False, True):
        began = time.time()
        for name, dialect, r, out in at_once("silent", stream):
            assert r.status == 504 and 2.5 < time.time() - began, (name, dialect, stream, r.status, out)
            assert json.loads(out)["error"]["message"], out
            b = row(hasty, r)
            assert (b["status"], b["code"], b["cost_nano"]) == ("error", "TIMEOUT", None), b
            # What it cost nobody knows: it goes on holding what was reserved.
            assert b["charged_nano"] == b["reserved_nano"] > 0, b


@test
def a_refused_connection_is_a_502_and_free():
    for dialect in DIALECTS:
        for stream in (False, True):
            r, out = call(w, dialect, "dead/ok", stream=stream)
            assert r.status == 502, (r.status, out)
            b = row(w, r)
            assert b["status"] == "error" and b["code"] == "CONNECT" and b["cost_nano"] == 0, b


@test
def an_answer_without_usage_is_estimated_and_marked():
    for name in ("openai", "own"):
        r, out = call(w, "openai", f"{name}/no-usage", stream=True)
        b = row(w, r)
        assert b["status"] == "ok" and b["estimated"] and b["output"] == 6 and b["cost_nano"] > 0, b
    r, _ = call(w, "openai", "own/json", stream=True)
    assert r.status == 200 and row(w, r)["cost_nano"] == COST


@test
def a_redirect_is_not_followed():
    r, out = call(w, "openai", "own/redirect")
    assert r.status == 502, (r.status, out)


@test
def a_paid_call_always_has_a_limit_and_reserves_no_more():
    for name in ROWS:
        r, _ = call(w, "openai", f"{name}/ok")
        sent = last_request()["body"]
        limit = sent.get("max_tokens") or sent.get("max_completion_tokens")
        assert limit == 8192, sent
        b = row(w, r)
        assert limit * 8000 < b["reserved_nano"] < limit * 8000 + 1_000_000, b
        r, _ = call(w, "openai", f"{name}/ok", max_tokens=100)
        sent = last_request()["body"]
        assert (sent.get("max_tokens") or sent.get("max_completion_tokens")) == 100, sent
        assert 800_000 < row(w, r)["reserved_nano"] < 1_500_000, row(w, r)


@test
def a_client_that_leaves_is_booked_as_cancelled_streaming_and_not():
    for name in ("openai", "anthropic"):
        for stream, scenario in ((True, "stall"), (False, "stall"), (False, "silent")):
            since = len(counts(provider)[1])
            c = http.client.HTTPConnection("127.0.0.1", w.port, timeout=20)
            c.request("POST", "/v1/chat/completions", json.dumps({
                "model": f"{name}/{scenario}", "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}),
                {"Content-Type": "application/json"})
            if stream:
                c.getresponse().read(300)
            else:
                until("it is asked", lambda: len(counts(provider)[1]) > since)
            c.sock.close() if c.sock else None
            c.close()
            b = newest_when_closed(w)
            assert (b["status"], b["model"], b["provider"]) == ("cancelled", scenario, name), b
            if stream:
                assert b["estimated"] and b["output"] > 0 and 0 < b["cost_nano"] < b["reserved_nano"], b
            else:
                assert b["cost_nano"] is None and b["charged_nano"] == b["reserved_nano"], b


def newest_when_closed(v):
    def newest():
        b = json.loads(v.call("GET", "/weir/v1/requests?limit=1")[1])["rows"][0]
        b.pop("plan", None)
        return b["status"] != "open" and b
    return until("it is booked", newest)


# ---- fail-over ----

# Two providers; the first is cheaper, so it is tried first. Tools, which the local model does not have, keep `auto` out.
def pair(first, second, zone1="cloud", zone2="cloud", dialect2="openai"):
    dear = PRICE.replace("= 2", "= 4").replace("= 8", "= 16")
    more = "caps = chat,tools\n"
    return (row_config(provider, "first", zone1, models=first, more=more + "first_ms = 2000\nwhole_ms = 2000\nidle_ms = 700\n") +
            row_config(provider, "second", zone2, dialect2, models=second, more=more) +
            f"[price.first/{first}]\n{PRICE}[price.second/{second}]\n{dear}")


SECOND_COST = 8 * 4000 + 3 * 500 + 5 * 16000


def auto(v, dialect="openai", stream=True, **more):
    tools = OPENAI_TOOLS if dialect == "openai" else ANTHROPIC_TOOLS
    return call(v, dialect, "auto", "Weather?", stream, tools=tools, **more)


def dialled(since):
    return [r["body"]["model"] for r in counts(provider)[1][since:]]


@test
def before_the_first_event_another_provider_takes_over():
    for first in ("500", "429", "401", "silent", "503"):
        v = connected(provider, pair(first, "ok", dialect2="anthropic"), keys=False)
        for dialect, stream in (("openai", True), ("anthropic", False)):
            since = len(counts(provider)[1])
            r, out = auto(v, dialect, stream)
            text = stream_text(dialect, out) if stream else whole_text(dialect, out)
            assert r.status == 200 and text == TEXT, (first, r.status, out)
            assert "model=second/ok" in r.getheader("x-weir-route"), (first, r.getheader("x-weir-route"))
            b = row(v, r)
            assert (b["status"], b["provider"], b["attempts"]) == ("ok", "second", 1 if first == "429" and dialect == "anthropic" else 2), b
            if first == "silent":
                assert b["carried_nano"] > 0 and b["cost_nano"] == SECOND_COST + b["carried_nano"], b
            else:
                assert b["carried_nano"] == 0 and b["cost_nano"] == SECOND_COST, b
            if b["attempts"] == 2:
                assert "first/" in b["reason"], b["reason"]
                assert dialled(since) == [first, "ok"], dialled(since)
        assert v.stop() == 0


@test
def after_the_first_event_nobody_takes_over():
    for first in ("cut", "stall", "error-in-band"):
        v = connected(provider, pair(first, "ok"), keys=False)
        since = len(counts(provider)[1])
        r, out = auto(v)
        assert r.status == 200 and stream_error("openai", out) and not ended_normally("openai", out), (first, out)
        assert dialled(since) == [first], dialled(since)
        assert (row(v, r)["status"], row(v, r)["provider"]) == ("error", "first")
        assert v.stop() == 0


@test
def never_to_a_looser_zone():
    v = connected(provider, pair("500", "ok", "site", "cloud"), keys=False)
    since = len(counts(provider)[1])
    r, out = auto(v)
    assert r.status == 502, (r.status, out)
    assert dialled(since) == ["500"], dialled(since)
    assert v.stop() == 0


@test
def to_a_stricter_zone_it_may():
    # The dear site row comes second; the cloud row fails first.
    text = pair("500", "ok", "cloud", "site")
    v = connected(provider, text.replace("= 16", "= 60").replace("= 4\n", "= 30\n"), keys=False)
    r, out = auto(v)
    assert r.status == 200 and row(v, r)["provider"] == "second" and row(v, r)["zone"] == "site", (r.status, out)
    assert v.stop() == 0


# ---- keys ----

@test
def without_a_key_nothing_is_sent():
    v = connected(provider, CONFIG, keys=False)
    before = counts(provider)[0]
    for name in ROWS:
        for dialect in DIALECTS:
            r, out = call(v, dialect, f"{name}/ok")
            assert r.status == 401 and "key" in json.loads(out)["error"]["message"], (name, r.status, out)
    r, out = call(v, "openai", "auto", "Prove that there are infinitely many primes of the form 4k+3, rigorously.", max_tokens=8)
    assert r.status == 200 and row(v, r)["provider"] == "local", out
    assert counts(provider)[0] == before, "something was dialled without a key"
    assert v.stop() == 0


@test
def a_key_is_in_no_log_error_status_or_file():
    texts = []
    for name in ROWS:
        for scenario in ("401", "500", "cut"):
            texts.append(call(w, "openai", f"{name}/{scenario}", stream=True)[1])
            heal(name)
    for path in ("/weir/v1/status", "/weir/v1/models", "/weir/v1/requests?limit=1000", "/v1/models", "/weir/v1/costs"):
        texts.append(w.call("GET", path)[1])
    p = weir(["provider", "list", "--json"], w.home, env=environment_of(provider))
    texts += [p.out, p.err]
    v = Weir(home_with(CONFIG), args=["--verbose"], env=environment_of(provider))
    call(v, "openai", "openai/401"), call(v, "anthropic", "anthropic/401")
    assert v.stop() == 0
    texts += [v.output(), w.output()]
    for key in (OPENAI_KEY, ANTHROPIC_KEY, ROW_KEY):
        assert not any(key in t or key[-16:] in t for t in texts), [t for t in texts if key[-16:] in t]
        assert files_with(w.home, key) == [] and files_with(v.home, key) == []
    for pid in (w.child.pid,):
        assert OPENAI_KEY not in open(f"/proc/{pid}/cmdline").read()


@test
def the_command_line_speaks_of_failures_with_its_exit_codes():
    env = environment_of(provider)
    p = weir(["ask", "--model", "openai/ok", "Hi"], w.home, env=env)
    assert p.returncode == 0 and TEXT in p.out and "$0.00" in p.err, (p.out, p.err)
    p = weir(["ask", "--model", "openai/cut", "Hi"], w.home, env=env)
    assert p.returncode == 1 and "Hello" in p.out and p.err.count("weir: "), (p.returncode, p.out, p.err)
    heal("openai")


run()
