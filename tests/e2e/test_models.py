"""test_models.py: several models in too little memory: who waits, who goes, who is never sent away."""
import http.client
import json
import re
import threading
import time

from harness import ENDLESS, MODEL, Weir, make_home, run, test, until, weir

home = make_home()
for name in ("second", "third"):
    made = weir(["cp", MODEL, name], home)
    assert made.returncode == 0, made.err
SMALL = ["--ctx", "2048", "--parallel", "2", "--offline"]


def loaded(w):
    return sorted(m["name"] for m in json.loads(w.call("GET", "/weir/v1/loaded")[1])["models"])


def chat(w, model, text="Say hello.", **more):
    r, out = w.chat(text, model=model, **more)
    assert r.status == 200, out
    return out


def row(w, ident):
    return json.loads(w.call("GET", f"/weir/v1/requests/{ident}")[1])


class Stream(threading.Thread):
    """A long answer that is read as it comes; .began is set with its first text, .finish when it is whole."""

    def __init__(self, w, model, tokens):
        super().__init__(daemon=True)
        self.w, self.model, self.tokens = w, model, tokens
        self.began, self.finish = threading.Event(), None
        self.start()
        assert self.began.wait(60)

    def run(self):
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=120)
        c.request("POST", "/v1/chat/completions", json.dumps({
            "model": self.model, "stream": True, "max_tokens": self.tokens, "temperature": 0, **ENDLESS,
            "messages": [{"role": "user", "content": "Write a very long story about the sea."}]}))
        answer = c.getresponse()
        self.id = answer.getheader("x-weir-id")
        for line in answer:
            if line.startswith(b"data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    self.finish = choice["finish_reason"] or self.finish
                self.began.set()


def needs():
    """MiB that one model takes with the options above, as the refusal says it."""
    w = Weir(home, args=[*SMALL, "--memory", "8"])
    answers = [w.call("POST", path, {"model": MODEL, "max_tokens": 4, "messages": [{"role": "user", "content": "hi"}]})
               for path in ("/v1/chat/completions", "/v1/messages", "/api/chat")]
    w.stop()
    for r, out in answers:
        said = re.search(r"needs (\d+) MiB of memory and 8 MiB may be used", out)
        assert r.status >= 500 and said, (r.status, out)
    return int(said[1])


NEED = needs()


@test
def too_large_a_model_is_refused_with_both_numbers():
    assert 80 < NEED < 2000


@test
def the_second_waits_until_the_first_is_idle():
    w = Weir(home, args=[*SMALL, "--memory", str(NEED * 3 // 2)])
    first = Stream(w, MODEL, 150)
    chat(w, "second")
    first.join(60)
    assert first.finish == "length", "its answer is whole"
    one, other = row(w, first.id), json.loads(w.call("GET", "/weir/v1/requests?limit=1")[1])["rows"][0]
    assert other["model"] == "second", other
    assert one["time_ms"] + one["total_ms"] <= other["time_ms"] + other["first_ms"], (one, other)  # only then it was loaded
    assert loaded(w) == ["second"]
    chat(w, MODEL)
    assert loaded(w) == [MODEL]
    assert w.stop() == 0


@test
def the_least_recently_used_goes_and_a_busy_one_never():
    w = Weir(home, args=[*SMALL, "--memory", str(NEED * 5 // 2 + 1)])
    chat(w, MODEL)
    chat(w, "second")
    assert loaded(w) == sorted([MODEL, "second"])
    chat(w, MODEL)
    chat(w, "third")
    assert loaded(w) == sorted([MODEL, "third"]), "the second was used least recently"
    busy = Stream(w, MODEL, 500)
    chat(w, "third", max_tokens=2)
    chat(w, "second", max_tokens=2)
    assert busy.finish is None, "loading a model does not wait for another's answer"
    assert loaded(w) == sorted([MODEL, "second"])
    busy.join(120)
    assert busy.finish == "length"
    assert w.stop() == 0


@test
def a_client_that_leaves_while_it_waits_is_forgotten():
    w = Weir(home, args=[*SMALL, "--memory", str(NEED * 3 // 2)])
    busy = Stream(w, MODEL, 120)
    c = http.client.HTTPConnection("127.0.0.1", w.port, timeout=60)
    c.request("POST", "/v1/chat/completions", json.dumps({"model": "second", "messages": [{"role": "user", "content": "hi"}]}))
    time.sleep(0.1)
    c.close()
    busy.join(60)
    assert busy.finish == "length"
    chat(w, MODEL)
    assert w.stop() == 0


@test
def idle_models_leave_when_their_time_is_over():
    w = Weir(home, args=SMALL)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": False, "options": {"num_predict": 2}}
    begin = time.time()
    assert w.call("POST", "/api/chat", {**body, "keep_alive": "2s"})[0].status == 200
    until("it leaves", lambda: not loaded(w))
    assert time.time() - begin > 2
    assert w.call("POST", "/api/chat", {**body, "keep_alive": 0})[0].status == 200
    until("it leaves at once", lambda: not loaded(w))
    assert w.stop() == 0


@test
def weir_ps_and_weir_stop():
    w = Weir(home, args=SMALL)
    chat(w, "second")
    shown = weir(["ps"], home)
    assert shown.returncode == 0 and re.search(r"^second +\d+ MiB", shown.out, re.M), shown.out
    assert json.loads(weir(["ps", "--json"], home).out)["models"][0]["name"] == "second"
    assert weir(["stop", "second"], home).returncode == 0
    assert loaded(w) == []
    gone = weir(["stop", "nobody"], home)
    assert gone.returncode != 0 and "nobody" in gone.err, gone.err
    busy = Stream(w, MODEL, 80)
    assert weir(["stop", MODEL], home).returncode == 0
    busy.join(60)
    assert busy.finish == "length", "a busy one goes when it has answered"
    until("it leaves", lambda: not loaded(w))
    assert w.stop() == 0


run()
