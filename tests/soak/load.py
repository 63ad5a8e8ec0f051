"""load.py: what the soak sends, over plain sockets: every dialect, streams and not, and clients that behave badly.

Each function of GOOD makes one request and judges its answer; each of BAD does something a client should not, and
judges what comes back. A complaint is an AssertionError that names the path. A refusal counts as an answer if it has
the status and the body that its dialect gives it.
"""
import asyncio
import json
import random
import socket

MODELS = ["smollm2:135m", "copy"]
WORDS = ("river weir lock gate flood water stone bridge mill wheel salmon ladder bank gravel spring rain "
         "measure level height flow channel canal meadow winter ice thaw summer drought reed heron otter").split()
PATIENCE = 120


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


async def dial(port, small=False):
    s = socket.socket()
    s.setblocking(False)
    if small:  # what the kernel keeps for a slow reader, as little as it allows
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    await asyncio.get_running_loop().sock_connect(s, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=s, limit=2048 if small else 65536)


def request(method, path, body=None, headers=()):
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if body is not None:
        head += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data


async def read_head(r):
    head = b""
    while True:
        line = await r.readline()
        assert line, f"the connection ended in the head of an answer: {head!r}"
        if line == b"\r\n":
            break
        head += line
    lines = head.decode().split("\r\n")
    return int(lines[0].split()[1]), {k.lower(): v.strip() for k, v in (x.split(":", 1) for x in lines[1:] if x)}


async def read_answer(r, pause=0.0):
    """A whole answer; with a pause between two reads of a kilobyte."""
    status, headers = await read_head(r)
    body = b""
    if headers.get("transfer-encoding") == "chunked":
        while True:
            n = int((await r.readline()).strip() or b"x", 16)
            left = n + 2
            while left:
                piece = await r.readexactly(min(left, 1024 if pause else left))
                body += piece
                left -= len(piece)
                if pause:
                    await asyncio.sleep(pause)
            body = body[:-2]
            if n == 0:
                break
    else:
        body = await r.readexactly(int(headers.get("content-length", 0)))
    return Answer(status, headers, body)


def prompt(words):
    return " ".join(random.choices(WORDS, k=words))


# ---- dialects: path, body, what a whole answer and a stream must look like ----

def chat(model, stream, n, text):
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": n, "stream": stream}


def body_openai(m, s, n, t):
    return chat(m, s, n, t) | ({"stream_options": {"include_usage": True}} if s else {})


def body_ollama(m, s, n, t):
    out = {"model": m, "messages": [{"role": "user", "content": t}], "stream": s, "options": {"num_predict": n}}
    return out | ({"keep_alive": random.choice(["1s", "20s", "5m"])} if random.random() < 0.3 else {})


def sse(text):
    return [x[6:] for x in text.split("\n") if x.startswith("data: ")]


def end_done(text):
    return sse(text)[-1] == "[DONE]"


def end_ndjson(text):
    return json.loads(text.strip().split("\n")[-1]).get("done") is True


DIALECTS = {
    "/v1/chat/completions": (body_openai, lambda o: o["choices"][0]["message"]["role"], end_done),
    "/v1/completions": (lambda m, s, n, t: {"model": m, "prompt": t, "max_tokens": n, "stream": s},
                        lambda o: o["choices"][0]["finish_reason"], end_done),
    "/v1/responses": (lambda m, s, n, t: {"model": m, "input": t, "max_output_tokens": max(n, 16), "stream": s,
                                          "store": random.random() < 0.5},
                      lambda o: o["output"],
                      lambda x: json.loads(sse(x)[-1])["type"] in ("response.completed", "response.incomplete")),
    "/v1/messages": (chat, lambda o: o["stop_reason"], lambda x: json.loads(sse(x)[-1])["type"] == "message_stop"),
    "/api/chat": (body_ollama, lambda o: o["done"], end_ndjson),
    "/api/generate": (lambda m, s, n, t: {"model": m, "prompt": t, "stream": s, "options": {"num_predict": n}},
                      lambda o: o["done"], end_ndjson),
    "/api/v1/chat": (lambda m, s, n, t: {"model": m, "input": t, "stream": s, "max_output_tokens": n},
                     lambda o: o["output"], lambda x: json.loads(sse(x)[-1])["type"] == "chat.end"),
    "/completion": (lambda m, s, n, t: {"model": m, "prompt": t, "n_predict": n, "stream": s},
                    lambda o: o["stop"], lambda x: json.loads(sse(x)[-1])["stop"] is True),
}

WHOLE = [
    ("POST", "/v1/embeddings", lambda m: {"model": m, "input": prompt(20)}, lambda o: o["data"][0]["embedding"]),
    ("POST", "/api/embed", lambda m: {"model": m, "input": [prompt(9), prompt(9)]}, lambda o: o["embeddings"][1]),
    ("POST", "/v1/messages/count_tokens", lambda m: chat(m, False, 1, prompt(50)), lambda o: o["input_tokens"]),
    ("POST", "/v1/responses/input_tokens", lambda m: {"model": m, "input": prompt(50)}, lambda o: o["input_tokens"]),
    ("POST", "/tokenize", lambda m: {"model": m, "content": prompt(300)}, lambda o: o["tokens"]),
    ("POST", "/detokenize", lambda m: {"model": m, "tokens": [6004, 665]}, lambda o: o["content"]),
    ("POST", "/apply-template", lambda m: chat(m, False, 1, "Hi"), lambda o: o["prompt"]),
    ("POST", "/api/show", lambda m: {"model": m}, lambda o: o["details"]),
    ("GET", "/v1/models", None, lambda o: o["data"]),
    ("GET", "/api/tags", None, lambda o: o["models"]),
    ("GET", "/api/ps", None, lambda o: "models" in o),
    ("GET", "/api/v1/models", None, lambda o: o["models"]),
    ("GET", "/api/version", None, lambda o: o["version"]),
    ("GET", "/health", None, lambda o: o["status"]),
    ("GET", "/props", None, lambda o: o),
    ("GET", "/weir/v1/status", None, lambda o: o),
]


def is_error_of(path, o):
    """The dialect's own shape, with a reason in it."""
    if path == "/v1/messages" or path.startswith("/v1/messages/"):
        return o.get("type") == "error" and o["error"]["type"] and o["error"]["message"]
    if path.startswith("/api/") and not path.startswith("/api/v1/"):
        return isinstance(o.get("error"), str) and o["error"]
    return isinstance(o.get("error"), dict) and o["error"].get("message")


def refused(path, a, statuses):
    assert a.status in statuses, f"{path}: {a.status} {a.body[:300]!r}"
    assert is_error_of(path, a.json()), f"{path}: not an error of its dialect: {a.body[:300]!r}"
    if a.status in (429, 503):
        assert int(a.headers["retry-after"]) >= 0, f"{path}: {a.status} without Retry-After"


def judge(path, a, check):
    """Answered, or refused for want of room."""
    if a.status != 200:
        refused(path, a, (429, 503))
        return "refused"
    assert check(a.json()), f"{path}: {a.body[:300]!r}"
    return "answered"


def judge_stream(path, a, check):
    if a.status != 200:
        refused(path, a, (429, 503))
        return "refused"
    text = a.body.decode()
    assert check(text), f"{path}: a stream that ends so: {text[-300:]!r}"
    return "answered"


# ---- good clients ----

class Client:
    """One connection that stays open from request to request, as people's libraries hold it."""

    def __init__(self, port):
        self.port, self.pair = port, None

    async def ask(self, data, pause=0.0):
        fresh = self.pair is None
        if fresh:
            self.pair = await dial(self.port, small=pause > 0)
        r, w = self.pair
        try:
            w.write(data)
            await w.drain()
            a = await asyncio.wait_for(read_answer(r, pause), PATIENCE)
        except BaseException:
            self.close()
            raise
        if a.headers.get("connection", "") == "close":
            self.close()
        return a

    def close(self):
        if self.pair:
            self.pair[1].transport.abort()
        self.pair = None


async def talk(c, stream, pause=0.0, words=None, n=None, path=None):
    path = path or random.choice(list(DIALECTS))
    make, whole, end = DIALECTS[path]
    words, n = words or random.choice([3, 20, 80, 300]), n or random.choice([1, 8, 24])
    a = await c.ask(request("POST", path, make(random.choice(MODELS), stream, n, prompt(words))), pause)
    return judge_stream(path, a, end) if stream else judge(path, a, whole)


async def small_things(c, case=None):
    method, path, make, check = case or random.choice(WHOLE)
    a = await c.ask(request(method, path, make(random.choice(MODELS)) if make else None))
    return judge(path, a, check)


async def pipelined(c):
    """Three requests at once are answered in order."""
    r, w = await dial(c.port)
    try:
        w.write(request("GET", "/health") + request("GET", "/v1/models") + request("GET", "/api/version"))
        for check in ("status", "data", "version"):
            a = await asyncio.wait_for(read_answer(r), PATIENCE)
            assert a.status == 200 and check in a.json(), a.body
    finally:
        w.transport.abort()
    return "answered"


async def unload(c):
    path = random.choice(["/api/generate", "/api/chat"])
    a = await c.ask(request("POST", path, {"model": random.choice(MODELS), "keep_alive": 0}))
    return judge(path, a, lambda o: o["done"])


GOOD = [(6, lambda c: talk(c, True)), (4, lambda c: talk(c, False)), (4, small_things), (1, pipelined), (0.3, unload)]


# ---- bad clients ----

async def leaves(port):
    """Gone before the answer, or in the middle of the stream; politely or not."""
    path = random.choice(list(DIALECTS))
    r, w = await dial(port)
    try:
        body = DIALECTS[path][0](random.choice(MODELS), random.random() < 0.8, 400, prompt(random.choice([5, 600])))
        data = request("POST", path, body)
        w.write(data[:random.randrange(1, len(data))] if random.random() < 0.2 else data)
        await w.drain()
        if random.random() < 0.6:
            await asyncio.wait_for(r.read(random.choice([1, 400, 3000])), PATIENCE)
        else:
            await asyncio.sleep(random.random() * 0.3)
    except (ConnectionError, asyncio.IncompleteReadError) as e:
        raise AssertionError(f"{path}: the server left first: {e}") from e
    finally:
        if random.random() < 0.5:
            w.transport.abort()
        else:
            w.close()
    return "left"


async def slow_reader(port):
    c = Client(port)
    try:
        return await talk(c, True, pause=0.02, words=20, n=48)
    finally:
        c.close()


async def sleeper(port):
    """Reads nothing for longer than the server waits; then takes what is there, to the end or the cut."""
    path = random.choice(list(DIALECTS))
    r, w = await dial(port, small=True)
    try:
        w.write(request("POST", path, DIALECTS[path][0](random.choice(MODELS), True, 300, prompt(10))))
        await asyncio.sleep(36)
        while await asyncio.wait_for(r.read(65536), 1):
            pass
    except (TimeoutError, asyncio.TimeoutError, ConnectionError):
        pass
    finally:
        w.transport.abort()
    return "slept"


async def idler(port):
    """Asks once and stays; or says nothing at all; or half a header."""
    r, w = await dial(port)
    try:
        w.write(random.choice([b"", b"GET /v1/mod", request("GET", "/v1/models")]))
        await asyncio.sleep(random.choice([1, 4, 14]))
    finally:
        w.transport.abort()
    return "idled"


RIGHT = chat(MODELS[0], False, 4, "Hi")
MALFORMED = [  # path, body, statuses
    ("/v1/chat/completions", b"{bad", (400,)),
    ("/v1/chat/completions", b"", (400,)),
    ("/v1/chat/completions", b"\xff\xfe{}", (400,)),
    ("/v1/chat/completions", b"[" * 5000, (400,)),
    ("/v1/chat/completions", RIGHT | {"messages": "x"}, (400,)),
    ("/v1/chat/completions", RIGHT | {"messages": []}, (400,)),
    ("/v1/chat/completions", RIGHT | {"temperature": "hot"}, (400,)),
    ("/v1/chat/completions", RIGHT | {"max_tokens": -5}, (400,)),
    ("/v1/chat/completions", RIGHT | {"stream": 1}, (400,)),
    ("/v1/chat/completions", RIGHT | {"model": "no-such"}, (404,)),
    ("/v1/chat/completions", RIGHT | {"messages": [{"role": "user", "content": "word " * 60000}]}, (400,)),
    ("/v1/chat/completions", RIGHT | {"response_format": {"type": "json_schema", "json_schema": {
        "name": "x", "schema": {"type": "no-such"}}}}, (400,)),
    ("/v1/completions", {"model": MODELS[0], "prompt": 5.5}, (400,)),
    ("/v1/embeddings", {"model": MODELS[0], "input": {"a": 1}}, (400,)),
    ("/v1/rerank", {"model": MODELS[0], "query": "x", "documents": ["y"]}, (400, 404, 501)),
    ("/v1/responses", {"model": MODELS[0], "input": 7}, (400,)),
    ("/v1/responses", {"model": MODELS[0], "input": "x", "previous_response_id": "resp_none"}, (400, 404)),
    ("/v1/messages", b"{bad", (400,)),
    ("/v1/messages", RIGHT | {"max_tokens": "many"}, (400,)),
    ("/v1/messages", {"model": MODELS[0], "messages": RIGHT["messages"]}, (400,)),
    ("/api/chat", b'{"model":', (400,)),
    ("/api/chat", {"model": MODELS[0], "messages": 3}, (400,)),
    ("/api/chat", {"model": "no-such:1b", "messages": []}, (404,)),
    ("/api/generate", {"model": 1}, (400,)),
    ("/api/generate", {"model": MODELS[0], "prompt": "x", "options": {"temperature": []}}, (400,)),
    ("/api/embed", {"model": MODELS[0], "input": [1]}, (400,)),
    ("/api/push", {"model": MODELS[0]}, (400, 403, 501)),
    ("/api/v1/chat", {"model": MODELS[0], "input": 4}, (400,)),
    ("/completion", {"prompt": {"x": 1}}, (400,)),
    ("/tokenize", {"content": 1}, (400,)),
    ("/api/nothing", {}, (404,)),
    ("/v1/nothing", {}, (404,)),
]


async def malformed(port, case=None):
    path, body, statuses = case or random.choice(MALFORMED)
    c = Client(port)
    try:
        a = await c.ask(request("POST", path, body))
        refused(path, a, statuses + (429, 503))
    finally:
        c.close()
    return "refused"


HOST = b"Host: localhost\r\n"
FRAMING = [  # bytes, status
    (b"GET /v1/models HTTP/1.1\n" + HOST + b"\r\n", 400),
    (b"GET /v1/models HTTP/1.1\r\n\r\n", 400),
    (b"GET  /v1/models HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /v1/models HTTP/3.7\r\n" + HOST + b"\r\n", (400, 505)),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    (b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n", (400, 403, 421)),
    (b"GET /v1/models HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 20000 + b"\r\n\r\n", 431),
    (b"GET /v1/models HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 120 + b"\r\n", 431),
    (b"POST /api/chat HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n{}  ", 400),
    (b"POST /api/chat HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST /api/chat HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", 400),
    (b"POST /api/chat HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\n{} \r\n0\r\n\r\n", 400),
    (b"POST /api/chat HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n", (400, 501)),
    (b"POST /api/chat HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 9000000\r\n\r\n", 413),
]


async def bad_framing(port, case=None):
    data, status = case or random.choice(FRAMING)
    r, w = await dial(port)
    try:
        w.write(data)
        got, _ = await asyncio.wait_for(read_head(r), PATIENCE)
        assert got in (status if isinstance(status, tuple) else (status,)), f"{data[:80]!r}: {got}"
    finally:
        w.transport.abort()
    return "refused"


def everything_once(c):
    """Each case by itself, so that no run leaves one out: functions that make one request."""
    for path in DIALECTS:
        for stream in (True, False):
            yield lambda path=path, stream=stream: talk(c, stream, words=20, n=4, path=path)
    for case in WHOLE:
        yield lambda case=case: small_things(c, case)
    for case in MALFORMED:
        yield lambda case=case: malformed(c.port, case)
    for case in FRAMING:
        yield lambda case=case: bad_framing(c.port, case)


BAD = [(4, leaves), (1, slow_reader), (0.2, sleeper), (1, idler), (5, malformed), (3, bad_framing)]


def pick(table):
    return random.choices([f for _, f in table], [n for n, _ in table])[0]
