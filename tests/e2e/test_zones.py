"""test_zones.py: what must stay stays: not one connection off the machine and none to a provider, as the provider itself
and the kernel saw it, whatever the provider would have done. (The scripted provider is `cloud` although it stands on
loopback, so a connection to its port counts as leaving.)"""
import json
import os
import pathlib
import signal
import tempfile

from cloud import (ANTHROPIC_KEY, OPENAI_KEY, ROW_KEY, SCENARIOS, SENSITIVE, TRACE, call, can_trace, connected, counts,
                   deadlines, home_with, prices, row, row_config, stream_text, traced, whole_text)
from harness import MODEL, Provider, Weir, make_home, run, skip, test, weir

provider = Provider()
CONFIG = (row_config(provider, "own", key=True) + row_config(provider, "own-anthropic", dialect="anthropic", key=True) +
          deadlines("openai", "anthropic", "own", "own-anthropic") +
          prices("openai", "anthropic", "own", "own-anthropic"))
ROWS = ["openai", "anthropic", "own", "own-anthropic"]
TRACED = can_trace()
if not TRACED:
    skip("the kernel's view", "strace cannot attach here; the provider's view still counts")


class Watched:
    """A server under strace (where it can), and what both witnesses saw since mark()."""

    def __init__(self, config=CONFIG, **more):
        self.trace = tempfile.mktemp(prefix="weir-trace-")
        self.w = connected(provider, config, prefix=[*TRACE, "-o", self.trace] if TRACED else (), **more)
        self.mark()

    def kernel(self):
        return traced(self.trace) if TRACED else []

    def mark(self):
        self.before = (len(self.kernel()), counts(provider)[0])

    def left(self):
        """Connections off the machine or to the provider, by the kernel, and to the provider, by itself."""
        seen = self.kernel()[self.before[0]:]
        off = [(h, p) for h, p in seen if p == provider.port or not (h.startswith("127.") or h == "::1")]
        return off, counts(provider)[0] - self.before[1]

    def expect_nothing(self, what):
        off, dialled = self.left()
        assert off == [] and dialled == 0, (what, off, dialled)

    def stop(self):
        if TRACED:  # strace keeps signals to itself: the server is its child
            pid = self.w.child.pid
            os.kill(int(pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]), signal.SIGTERM)
            assert self.w.child.wait(60) == 0
            os.unlink(self.trace)
        else:
            assert self.w.stop() == 0


@test
def the_witnesses_see_a_request_that_may_leave():
    s = Watched()
    r, _ = call(s.w, "openai", "openai/ok")
    assert r.status == 200
    off, dialled = s.left()
    assert dialled == 1 and (not TRACED or [p for _, p in off] == [provider.port]), (off, dialled)
    s.stop()


@test
def nothing_leaves_at_start_with_keys_and_rows():
    s = Watched()
    s.before = (0, s.before[1])
    s.expect_nothing("start")
    s.stop()


@test
def a_device_request_reaches_no_scenario_of_any_row():
    s = Watched()
    for name in ROWS:
        for scenario in SCENARIOS:
            for stream in (False, True):
                dialect = "anthropic" if stream else "openai"
                r, out = call(s.w, dialect, f"{name}/{scenario}", SENSITIVE["card"], stream)
                assert r.status == 403, (name, scenario, r.status, out)
                assert json.loads(out)["error"]["type"] == "permission_error", out
                assert "4111" not in out and "none; why=zone" in r.getheader("x-weir-route"), (out, r.getheader("x-weir-route"))
                b = row(s.w, r)
                assert (b["status"], b["req_zone"], b["provider"], b["cost_nano"]) == ("error", "device", "none", 0), b
    s.expect_nothing("scenarios")
    s.stop()


@test
def everything_sensitive_stays_by_default_and_is_answered_here():
    s = Watched()
    for what, text in SENSITIVE.items():
        r, out = call(s.w, "openai", "auto", text, max_tokens=4)
        assert r.status == 200, (what, r.status, out)
        b = row(s.w, r)
        assert (b["provider"], b["zone"], b["req_zone"]) == ("local", "device", "device"), (what, b)
        r, out = call(s.w, "anthropic", "openai/ok", text)
        assert r.status == 403, (what, r.status, out)
    s.expect_nothing("sensitive")
    s.stop()


@test
def wherever_in_the_request_it_hides():
    s = Watched()
    card, mail = "4111 1111 1111 1111", "anna.keller@example.org"
    tool = {"type": "function", "function": {"name": "pay", "description": f"pays with {card}", "parameters": {"type": "object"}}}
    bodies = {
        "system": {"messages": [{"role": "system", "content": f"The user is {mail}"}, {"role": "user", "content": "Hi"}]},
        "an earlier turn": {"messages": [{"role": "user", "content": f"I am {mail}"}, {"role": "assistant", "content": "Hello"},
                                         {"role": "user", "content": "Tell me about rivers"}]},
        "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "my card 4111 1111"}, {"type": "text", "text": " 1111 1111"}]}]},
        "a tool": {"messages": [{"role": "user", "content": "Hi"}], "tools": [tool]},
        "a tool's result": {"messages": [{"role": "user", "content": "Hi"},
                                         {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "pay", "arguments": "{}"}}]},
                                         {"role": "tool", "tool_call_id": "c", "content": card}]},
        "a call's arguments": {"messages": [{"role": "user", "content": "Hi"},
                                            {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {
                                                "name": "pay", "arguments": json.dumps({"card": card})}}]},
                                            {"role": "tool", "tool_call_id": "c", "content": "done"}]},
        "an unknown field": {"messages": [{"role": "user", "content": "Hi"}], "metadata": {"customer": mail}},
        "escapes": {"messages": [{"role": "user", "content": "write to anna.keller@example.org"}]},
        "the user field": {"messages": [{"role": "user", "content": "Hi"}], "user": mail},
    }
    for what, body in bodies.items():
        r, out = s.w.call("POST", "/v1/chat/completions", {"model": "openai/ok", **body})
        assert r.status == 403, (what, r.status, out)
    raw = json.dumps({"model": "openai/ok", "messages": [{"role": "user", "content": "MAIL"}]}).replace(
        "MAIL", "".join(f"\\u{ord(c):04x}" for c in mail))
    r, out = s.w.call("POST", "/v1/chat/completions", raw)
    assert r.status == 403, out
    s.expect_nothing("hidden")
    s.stop()


@test
def the_caller_tightens_by_header_and_preset():
    s = Watched()
    for header, value in (("x-weir-zone", "device"), ("x-weir-preset", "private")):
        for name in ROWS:
            r, out = call(s.w, "openai", f"{name}/ok", headers={header: value})
            assert r.status == 403, (header, name, r.status, out)
        r, out = call(s.w, "openai", "auto", headers={header: value}, max_tokens=4)
        assert r.status == 200 and row(s.w, r)["provider"] == "local", (header, r.status, out)
    r, out = call(s.w, "openai", "openai/ok", headers={"x-weir-zone": "devise"})
    assert r.status == 400, (r.status, out)
    # A header cannot loosen what was found.
    r, out = call(s.w, "openai", "openai/ok", SENSITIVE["card"], headers={"x-weir-zone": "cloud"})
    assert r.status == 403, (r.status, out)
    s.expect_nothing("headers")
    s.stop()


@test
def preset_private_lets_nothing_out_whatever_is_asked():
    s = Watched(args=["--preset", "private"])
    for name in ROWS:
        for headers in ({}, {"x-weir-zone": "cloud"}, {"x-weir-preset": "hybrid"}):
            r, out = call(s.w, "openai", f"{name}/ok", headers=headers)
            assert r.status == 403, (name, headers, r.status, out)
    r, out = call(s.w, "anthropic", "auto", max_tokens=4)
    assert r.status == 200 and row(s.w, r)["zone"] == "device", out
    s.expect_nothing("preset private")
    s.stop()


@test
def offline_lets_nothing_off_the_machine():
    far = row_config("https://192.0.2.1/v1", "far") + row_config("https://llm.example.org/v1", "named")
    s = Watched(CONFIG + far, args=["--offline"])
    for name in ("far", "named"):
        r, out = call(s.w, "openai", f"{name}/ok")
        assert r.status >= 400 and "none" in r.getheader("x-weir-route"), (r.status, out)
    r, out = call(s.w, "openai", "auto", max_tokens=4)
    assert r.status == 200 and row(s.w, r)["provider"] == "local", out
    s.expect_nothing("offline")
    s.stop()


@test
def taint_stays_with_the_conversation():
    s = Watched()
    # By name: a later, harmless turn that does not even repeat the history.
    head = {"x-weir-conversation": "customer-17"}
    r, out = call(s.w, "openai", "auto", SENSITIVE["IBAN"], headers=head, max_tokens=4)
    assert r.status == 200 and row(s.w, r)["zone"] == "device"
    for dialect in ("openai", "anthropic"):
        r, out = call(s.w, dialect, "openai/ok", "And what is a haiku?", headers=head)
        assert r.status == 403, (dialect, r.status, out)
    # By content: the answer to a sensitive question, sent back without the question.
    r, out = call(s.w, "openai", "auto", "Repeat after me: the river Weser flows slowly to the northern sea. " + SENSITIVE["card"], max_tokens=40)
    answer = whole_text("openai", out)
    if len(answer) > 40:
        r, out = call(s.w, "openai", "openai/ok", [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": answer},
                                                   {"role": "user", "content": "Thanks, now a haiku?"}])
        assert r.status == 403, (r.status, out)
    s.expect_nothing("taint")
    # Another conversation is free.
    r, out = call(s.w, "openai", "openai/ok", "And what is a haiku?", headers={"x-weir-conversation": "customer-18"})
    assert r.status == 200, (r.status, out)
    s.stop()


@test
def a_device_request_does_not_fail_over_outwards():
    # The local model cannot take tools, so nobody may answer: better nobody than the cloud.
    s = Watched()
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    r, out = call(s.w, "openai", "auto", SENSITIVE["e-mail"], tools=tools)
    assert r.status in (400, 403), (r.status, out)
    r, out = call(s.w, "openai", "auto", "word " * 20000, headers={"x-weir-zone": "device"})
    assert r.status == 400, (r.status, out)
    s.expect_nothing("no fail-over")
    s.stop()


@test
def a_second_weir_is_a_site_provider():
    office = Weir(make_home())
    config = CONFIG + row_config(office.base + "/v1", "office", "site", models=MODEL)
    s = Watched(config)
    since = json.loads(office.call("GET", "/weir/v1/requests?limit=1000")[1])["rows"]
    assert since == []

    def at_office():
        return len(json.loads(office.call("GET", "/weir/v1/requests?limit=1000")[1])["rows"])

    def to_office():
        return [p for h, p in s.kernel()[s.before[0]:] if p == office.port]

    # Site requests go there, in both dialects, streamed and not, and never to a cloud row.
    for dialect in ("openai", "anthropic"):
        for stream in (False, True):
            r, out = call(s.w, dialect, f"office/{MODEL}", "What is the capital of Japan?", stream,
                          headers={"x-weir-zone": "site"}, max_tokens=16, temperature=0)
            text = stream_text(dialect, out) if stream else whole_text(dialect, out)
            assert r.status == 200 and "Tokyo" in text, (dialect, stream, r.status, out)
            assert "zone=site" in r.getheader("x-weir-route"), r.getheader("x-weir-route")
            b = row(s.w, r)
            assert (b["provider"], b["zone"], b["req_zone"], b["cost_nano"]) == ("office", "site", "site", 0), b
            assert b["output"] > 0 and not b["estimated"], b
    assert at_office() == 4
    for name in ROWS:
        r, out = call(s.w, "openai", f"{name}/ok", headers={"x-weir-zone": "site"})
        assert r.status == 403, (name, r.status, out)
    off, dialled = s.left()
    assert dialled == 0 and off == [], (off, dialled)
    # Device requests do not.
    calls = len(to_office())
    assert not TRACED or calls >= 1
    for headers, text in (({"x-weir-zone": "device"}, "Hi"), ({"x-weir-preset": "private"}, "Hi"), ({}, SENSITIVE["card"])):
        r, out = call(s.w, "openai", f"office/{MODEL}", text, headers=headers, max_tokens=4)
        assert r.status == 403, (headers, r.status, out)
        r, out = call(s.w, "openai", "auto", text, headers=headers, max_tokens=4)
        assert r.status == 200 and row(s.w, r)["provider"] == "local", (headers, r.status, out)
    assert at_office() == 4 and len(to_office()) == calls
    # When the office is shut: an error, and no cloud instead.
    assert office.stop() == 0
    r, out = call(s.w, "openai", f"office/{MODEL}", headers={"x-weir-zone": "site"})
    assert r.status == 502, (r.status, out)
    s.expect_nothing("office shut")
    s.stop()


@test
def the_egress_log_is_whole_and_tells_no_tales():
    s = Watched()
    secret = "the heron stands in the reeds at dawn"
    for name in ROWS:
        call(s.w, "openai", f"{name}/ok", f"Please note: {secret}.", stream=True)
        call(s.w, "openai", f"{name}/401", f"Please note: {secret}.")
    call(s.w, "openai", "auto", SENSITIVE["e-mail"], max_tokens=4)
    home = s.w.home
    s.stop()
    log = pathlib.Path(home, "egress.log")
    text = log.read_text()
    for what in (secret, "heron", "anna.keller", OPENAI_KEY, ANTHROPIC_KEY, ROW_KEY, OPENAI_KEY[-12:]):
        assert what not in text, what
    for name in ROWS:
        assert f'"{name}/ok"' in text, text
    lines = text.splitlines()
    assert weir(["egress", "verify"], home).returncode == 0
    # Any byte of any line but the last break.
    for at in (len(text) // 2, 60, len(text) - 80):
        bytes_ = bytearray(text.encode())
        bytes_[at] = bytes_[at] ^ 1
        log.write_bytes(bytes_)
        p = weir(["egress", "verify"], home)
        assert p.returncode == 1 and "line" in p.out + p.err, (at, p.returncode, p.out, p.err)
    # A line taken out, two swapped.
    log.write_text("\n".join(lines[:2] + lines[3:]) + "\n")
    assert weir(["egress", "verify"], home).returncode == 1
    log.write_text("\n".join([lines[1], lines[0], *lines[2:]]) + "\n")
    assert weir(["egress", "verify"], home).returncode == 1
    log.write_text(text)
    assert weir(["egress", "verify"], home).returncode == 0


run()
