"""cloud.py: a server with the scripted provider as its cloud, and what tests look at: streams, rows, traces."""
import json
import pathlib
import re
import sqlite3
import subprocess

from harness import Weir, make_home

OPENAI_KEY = "sk-proj-e2eOpenaiKey0123456789abcdefghij"
ANTHROPIC_KEY = "sk-ant-e2eAnthropicKey0123456789abcdefg"
ROW_KEY = "weirrowkey-0123456789abcdefghijklmnop"
SCENARIOS = ["ok", "echo", "tools", "reasoning", "401", "429", "500", "503", "context", "cut", "reset", "stall", "silent",
             "slow", "gate", "long", "error-in-band", "no-usage", "json", "redirect"]
USAGE = {"input": 11, "cached": 3, "output": 5}
# Dollars per million tokens: 8 * 2000 + 3 * 500 + 5 * 8000 nano-dollars for the usage above.
PRICE = "input = 2\ncached = 0.5\ncache-write = 2.5\noutput = 8\n"
COST = 57500
# What a person would have: a card, an address, an account, a secret, a number of insurance.
SENSITIVE = {
    "e-mail": "Please write to anna.keller@example.org about the invoice.",
    "card": "My card is 4111 1111 1111 1111, is it stolen?",
    "IBAN": "Transfer the rent to DE89 3704 0044 0532 0130 00 today.",
    "SSN": "My social security number is 536-90-4399.",
    "key": "Why does AKIAIOSFODNN7EXAMPLE with secret wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY fail?",
    "phone": "Call me at +49 30 901820 tomorrow.",
}


def environment_of(provider):
    return {"OPENAI_BASE_URL": provider.url + "/v1", "OPENAI_API_KEY": OPENAI_KEY, "ANTHROPIC_BASE_URL": provider.url,
            "ANTHROPIC_API_KEY": ANTHROPIC_KEY, "E2E_ROW_KEY": ROW_KEY}


def prices(*names):
    return "".join(f"[price.{row}/{s}]\n{PRICE}" for row in names for s in SCENARIOS)


def deadlines(*rows, first=1500, whole=1500, idle=700):
    return "".join(f"[provider.{r}]\nfirst_ms = {first}\nwhole_ms = {whole}\nidle_ms = {idle}\n" for r in rows)


def row_config(provider, name, zone="cloud", dialect="openai", models=None, key=False, more=""):
    url = provider if isinstance(provider, str) else provider.url + ("/v1" if dialect == "openai" else "")
    return (f"[provider.{name}]\nurl = {url}\ndialect = {dialect}\nzone = {zone}\n" +
            (f"models = {models}\n" if models else "") + ("key_env = E2E_ROW_KEY\n" if key else "") + more)


def home_with(text):
    home = make_home()
    pathlib.Path(home, "weir.conf").write_text(text)
    return home


def connected(provider, config="", args=(), keys=True, prefix=()):
    return Weir(home_with(config), args=args, env=environment_of(provider) if keys else None, prefix=prefix)


# ---- calls ----

def body_of(dialect, model, text, stream=False, **more):
    messages = text if isinstance(text, list) else [{"role": "user", "content": text}]
    body = {"model": model, "messages": messages, "stream": stream, **more}
    if dialect == "anthropic":
        body.setdefault("max_tokens", 64)
    return body


PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}


def call(w, dialect, model, text="What is the tallest tower?", stream=False, headers=None, timeout=60, **more):
    r, out = w.call("POST", PATHS[dialect], body_of(dialect, model, text, stream, **more), headers, timeout)
    return r, out


def events(text):
    """The JSON of every data line; "[DONE]" as it is."""
    data = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [d if d == "[DONE]" else json.loads(d) for d in data]


def stream_text(dialect, text):
    out = ""
    for e in events(text):
        if e == "[DONE]":
            continue
        if dialect == "openai":
            out += "".join(c["delta"].get("content") or "" for c in e.get("choices", []))
        elif e["type"] == "content_block_delta":
            out += e["delta"].get("text", "")
    return out


def whole_text(dialect, text):
    o = json.loads(text)
    if dialect == "openai":
        return o["choices"][0]["message"]["content"]
    return "".join(b.get("text", "") for b in o["content"])


def ended_normally(dialect, text):
    if dialect == "openai":
        return "[DONE]" in events(text) and any(c.get("finish_reason") for e in events(text) if e != "[DONE]"
                                                for c in e.get("choices", []))
    return any(e["type"] == "message_stop" for e in events(text))


def stream_error(dialect, text):
    """The in-band error in the caller's dialect, or None."""
    for e in events(text):
        if e == "[DONE]":
            continue
        if dialect == "openai" and "error" in e:
            return e["error"]
        if dialect == "anthropic" and e["type"] == "error":
            return e["error"]
    return None


def row(w, r):
    """The ledger's row of an answer."""
    ident = r.getheader("x-weir-id")
    assert ident, dict(r.getheaders())
    answer, text = w.call("GET", f"/weir/v1/requests/{ident}")
    assert answer.status == 200, (ident, text)
    b = json.loads(text)
    b.pop("plan")  # long
    return b


def rows_of(home):
    """Every row, straight from the file."""
    with sqlite3.connect(f"file:{home}/weir.db?mode=ro", uri=True) as db:
        db.row_factory = sqlite3.Row
        return [dict(r) for r in db.execute("SELECT * FROM requests ORDER BY time_ms, id")]


def counts(provider):
    rows = provider.requests()
    return sum(1 for r in rows if "path" not in r), [r for r in rows if "path" in r]


def files_with(home, secret):
    """Files under the home that hold the bytes, models aside."""
    found = []
    for f in pathlib.Path(home).rglob("*"):
        if f.is_file() and not f.name.endswith(".gguf") and secret.encode() in f.read_bytes():
            found.append(str(f.relative_to(home)))
    return found


# ---- what the kernel saw ----

TRACE = ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-e", "signal=none"]


def can_trace():
    try:
        return subprocess.run([*TRACE, "true"], capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def traced(path):
    """Every address the process opened a connection or sent a datagram to: (host, port), sockets of files aside."""
    out = []
    for line in pathlib.Path(path).read_text(errors="replace").splitlines():
        if "sa_family=AF_INET" not in line or not re.search(r"\b(connect|sendto|sendmsg)\(", line):
            continue
        host = re.search(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"', line)
        port = re.search(r"sin6?_port=htons\((\d+)\)", line)
        out.append(((host[1] or host[2]) if host else "?", int(port[1]) if port else 0))
    return out
