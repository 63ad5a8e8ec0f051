"""test_restart.py: what outlives the server, and how it ends: prompts that were read, open answers, signals."""
import http.client
import json
import pathlib
import signal
import threading
import time

from harness import ENDLESS, MODEL, Weir, make_home, run, test

LONG = "".join(f"Line {i}: the ship number {i * 37 % 101} left the harbour with {i * 53 % 89} sailors.\n" for i in range(75))
home = make_home()
cache = pathlib.Path(home) / "cache"


def ask(w, question):
    r, out = w.chat(question, messages=[{"role": "system", "content": LONG}, {"role": "user", "content": question}], max_tokens=8)
    assert r.status == 200, out
    return out["choices"][0]["message"]["content"], out["usage"]["prompt_tokens"], out["usage"]["prompt_tokens_details"]["cached_tokens"]


def files():
    return [p for p in cache.rglob("*") if p.is_file()]


@test
def a_prompt_is_remembered_over_a_restart():
    global first
    w = Weir(home)
    first, n, cached = ask(w, "Which ship left first?")
    assert n > 1400 and cached == 0, (n, cached)
    assert w.stop() == 0
    assert files(), "it is on the disk"
    w = Weir(home)
    again, n, cached = ask(w, "Which ship left first?")
    assert cached > 0.9 * n, (n, cached)
    assert again == first, "and says the same"
    _, n, cached = ask(w, "Which ship left last?")
    assert cached > 0.9 * n, (n, cached)
    assert w.stop() == 0


@test
def damaged_files_are_removed():
    before = files()
    for i, p in enumerate(before):
        data = bytearray(p.read_bytes())
        if i % 3 == 2:
            data = data[:len(data) // 2]
        else:
            for at in range(len(data) // 3, len(data), max(len(data) // 7, 1)):
                data[at] ^= 0x5A
        p.write_bytes(data)
    (cache / "stranger").write_bytes(b"not a prefix")
    damaged = {p: p.read_bytes() for p in before}
    w = Weir(home)
    again, n, cached = ask(w, "Which ship left first?")
    assert again == first, (again, first)
    assert cached < 0.1 * n, (n, cached)
    assert w.stop() == 0
    left = [p for p in before if p.exists() and p.read_bytes() == damaged[p]]
    assert len(left) < len(before), "what was found to be damaged is gone"
    w = Weir(home)
    assert ask(w, "Which ship left first?")[2] > 0.9 * n, "and was written anew"
    assert w.stop() == 0


class Reader(threading.Thread):
    def __init__(self, w, path, body):
        super().__init__(daemon=True)
        self.w, self.path, self.body, self.text, self.whole = w, path, body, "", False
        self.began = threading.Event()
        self.start()

    def run(self):
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=60)
        c.request("POST", self.path, json.dumps(self.body), {"Content-Type": "application/json", "anthropic-version": "2023-06-01"})
        r = c.getresponse()
        try:
            for line in r:
                self.text += line.decode()
                if len(self.text) > 600:
                    self.began.set()
            self.whole = True  # the last chunk came
        except (http.client.HTTPException, OSError):
            pass
        self.began.set()


STORY = "Write a very long story about the sea."
CHAT = [{"role": "user", "content": STORY}]
DIALECTS = {
    "/v1/chat/completions": {"messages": CHAT, "max_tokens": 1500, **ENDLESS},
    "/v1/completions": {"prompt": STORY, "max_tokens": 1500, **ENDLESS},
    "/v1/responses": {"input": STORY, "max_output_tokens": 1500},
    "/v1/messages": {"messages": CHAT, "max_tokens": 1500},
    "/api/chat": {"messages": CHAT, "options": {"num_predict": 1500}},
    "/api/generate": {"prompt": STORY, "options": {"num_predict": 1500}},
    "/completion": {"prompt": STORY, "n_predict": 1500, "ignore_eos": True},
    "/api/v1/chat": {"input": STORY, "max_output_tokens": 1500},
}


@test
def the_first_signal_lets_answers_end():
    w = Weir(home)
    r = Reader(w, "/v1/chat/completions", {"model": MODEL, "stream": True, "messages": CHAT, "max_tokens": 60, **ENDLESS})
    assert r.began.wait(30)
    w.drain()
    w.lets_nobody_in()
    assert w.child.wait(60) == 0
    r.join(10)
    assert r.whole and '"finish_reason":"length"' in r.text and r.text.rstrip().endswith("data: [DONE]"), r.text[-300:]


def last_event(text):
    """(its name, its data) of a stream of events, [DONE] left out."""
    blocks = [b for b in text.strip().split("\n\n") if "data: {" in b]
    lines = dict(line.split(": ", 1) for line in blocks[-1].split("\n") if ": " in line)
    return lines.get("event"), json.loads(lines["data"])


@test
def the_second_signal_ends_them_with_an_error_in_each_dialect():
    w = Weir(home, args=["--parallel", "10"])
    readers = {path: Reader(w, path, {"model": MODEL, "stream": True, "temperature": 0.7, "seed": 3, **body}) for path, body in DIALECTS.items()}
    for r in readers.values():
        assert r.began.wait(60), r.path
    w.drain()
    w.child.send_signal(signal.SIGTERM)
    assert w.child.wait(25) == 0, "not only when 30 s of draining are over"
    said = {}
    for path, r in readers.items():
        r.join(10)
        assert r.whole, f"{path}: the body was cut: {r.text[-300:]}"
        if path in ("/api/chat", "/api/generate"):
            last = json.loads(r.text.strip().split("\n")[-1])
            if last.get("done"):
                continue  # it was short
            assert isinstance(last["error"], str) and set(last) == {"error"}, (path, last)
        else:
            name, last = last_event(r.text)
            if path == "/v1/messages":
                if name == "message_stop":
                    continue
                assert name == "error" and last["type"] == "error" and last["error"]["type"] and last["error"]["message"], last
            elif path == "/v1/responses":
                if name in ("response.completed", "response.incomplete"):
                    continue
                assert name in ("response.failed", "error"), last
            elif path == "/api/v1/chat":
                if name == "chat.end" and '"type":"error"' not in r.text:
                    continue
                assert '"type":"error"' in r.text, r.text[-400:]
            else:
                assert last.get("error", {}).get("message"), (path, last)
        assert "the server is stopping" in r.text, r.text[-300:]
        said[path] = True
    assert "/v1/chat/completions" in said and "/completion" in said and len(said) >= 6, said


run()
