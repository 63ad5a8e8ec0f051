"""harness.py: the same for tests in Python: homes, servers, cases."""
import atexit
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
WEIR = os.environ.get("WEIR_EXE", str(ROOT / "build" / "weir"))
MODEL = "smollm2:135m"
ENDLESS = {"logit_bias": {"2": -100, "0": -100}}  # its ends are forbidden: only the limit ends an answer
FIXTURES = pathlib.Path(os.environ.get("WEIR_FIXTURES", ROOT.parent / "shared" / "fixtures"))
_cases = []
_started = []


def make_home():
    home = tempfile.mkdtemp(prefix="weir-e2e-")
    atexit.register(shutil.rmtree, home, True)
    models = pathlib.Path(os.environ.get("WEIR_TEST_HOME", ROOT / "build" / "test-home")) / "models"
    os.makedirs(f"{home}/models", mode=0o700)
    for f in models.iterdir():
        if f.is_file():
            os.link(f, f"{home}/models/{f.name}")
    return home


def environment(home, extra=None):
    keep = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG") or k.endswith("SAN_OPTIONS")}
    return {**keep, "WEIR_HOME": home, **(extra or {})}


def weir(args, home, stdin="", env=None, timeout=300, prefix=()):
    p = subprocess.run([*prefix, WEIR, *args], input=stdin.encode() if isinstance(stdin, str) else stdin,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(home, env), timeout=timeout)
    p.out, p.err = p.stdout.decode(errors="replace"), p.stderr.decode(errors="replace")
    return p


class Process:
    """A program that runs until stop(); ready when a line of its output matches."""

    def __init__(self, cmd, ready, env=None, timeout=60):
        self.log = tempfile.NamedTemporaryFile(prefix="weir-log-", delete=False)
        self.child = subprocess.Popen(cmd, stdout=self.log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env)
        _started.append(self)
        end = time.time() + timeout
        while True:
            m = re.search(ready, self.output())
            if m:
                self.match = m
                return
            if self.child.poll() is not None or time.time() > end:
                raise RuntimeError(f"{cmd[0]} is not ready: {self.output()}")
            time.sleep(0.02)

    def output(self):
        return pathlib.Path(self.log.name).read_text(errors="replace")

    def stop(self, sig=signal.SIGTERM, timeout=60):
        if self.child.poll() is None:
            self.child.send_signal(sig)
        return self.child.wait(timeout)


class Weir(Process):
    def __init__(self, home=None, args=(), env=None, prefix=()):
        self.home = home or make_home()
        super().__init__([*prefix, WEIR, "serve", "--port", "0", *args], r"ready: http://127\.0\.0\.1:(\d+)/",
                         environment(self.home, env))
        self.port = int(self.match[1])
        self.base = f"http://127.0.0.1:{self.port}"

    def call(self, method, path, body=None, headers=None, timeout=120):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        data = json.dumps(body) if isinstance(body, (dict, list)) else body
        c.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
        r = c.getresponse()
        text = r.read().decode(errors="replace")
        c.close()
        return r, text

    def queued(self, model=MODEL):
        """Requests to a model that are not answered yet."""
        models = json.loads(self.call("GET", "/weir/v1/models")[1])["models"]
        return next(m["queued"] for m in models if m["id"] == model)

    def drain(self):
        """The first signal, taken: a second one is another."""
        self.child.send_signal(signal.SIGTERM)
        until("it stops", lambda: "stopping: " in self.output())

    def lets_nobody_in(self):
        def refused():
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            except OSError:
                return True
        until("nobody is let in any more", refused)

    def chat(self, text, headers=None, **more):
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 16, **more}
        r, out = self.call("POST", "/v1/chat/completions", body, headers)
        return r, json.loads(out)


class Provider(Process):
    """The scripted provider: the only fake."""

    def __init__(self):
        self.requests_file = tempfile.mktemp(prefix="weir-provider-")
        super().__init__([sys.executable, str(ROOT / "tests/tools/scripted_provider.py"), "--port", "0",
                          "--log", self.requests_file], r"^(\d+)\n")
        self.port = int(self.match[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def open_gate(self):
        urllib.request.urlopen(self.url + "/script/open", timeout=30).close()

    def requests(self):
        p = pathlib.Path(self.requests_file)
        return [json.loads(x) for x in p.read_text().splitlines()] if p.exists() else []


def test(fn):
    _cases.append(fn)
    return fn


def until(what, ok, seconds=60):
    """Waits for what comes soon on a machine that is not busy; the first true answer of ok()."""
    end = time.time() + seconds
    while not (got := ok()):
        assert time.time() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return got


def skip(name, why):
    print(f"skip {name}: {why}", flush=True)


def run():
    bad = 0
    for fn in _cases:
        name = fn.__name__.replace("_", " ")
        try:
            fn()
            print(f"ok {name}", flush=True)
        except Exception:
            bad += 1
            print(f"not ok {name}", flush=True)
            print("  " + traceback.format_exc(limit=4).replace("\n", "\n  "), flush=True)
    for p in _started:
        if p.child.poll() is None:
            p.child.kill()
    sys.exit(1 if bad else 0)
