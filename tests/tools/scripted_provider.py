#!/usr/bin/env python3
"""A provider that plays what the model's name says: the only fake there is, at the network's edge.

    scripted_provider.py [--port N] [--log FILE]

Listens on 127.0.0.1 and prints its port. Speaks POST /v1/chat/completions, POST /v1/messages, POST /v1/responses
(reasoning is a summary and a sealed blob), POST /v1/embeddings
(rows of 6 numbers, the first how long the input is, the second its number; 401 and the like as below; given in
reverse order where the model is named "reverse") and GET /v1/models; and Ollama's POST /api/chat, /api/generate,
/api/embed and GET /api/tags.
The scenario is the model's name (or what stands behind its last "/"):

    ok, stream      text in three pieces, usage, a proper end
    echo            the last user message's text, and nothing else
    tools           text, then two parallel tool calls
    reasoning       reasoning, then text
    401 429 500 503 an HTTP error (401 repeats the key it was given; 429 says Retry-After: 7)
    context         400, a prompt that is too long
    cut             the stream's body ends in the middle, connection closed properly
    reset           the connection is dropped in the middle
    stall           one event, then keep-alive comments for ever
    silent          keep-alive comments only
    slow            ten pieces, 100 ms apart
    gate            ok, but not before somebody has said GET /script/open
    long            4,000 pieces at once, about 1 MB
    error-in-band   text, then the dialect's error in the stream
    linger          ok, but the body does not end after the end mark
    no-usage        ok, without usage
    json            one JSON body although a stream was asked for
    redirect        302 to another host

Each connection and each request is a line of JSON in FILE: {"connection": n} or {"connection": n, "method", "path",
"headers", "body"}. GET /script/counts gives {"connections": n, "requests": n}; what is below /script is not counted.
"""
import argparse
import base64
import json
import socket
import socketserver
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler

PIECES = ["Hello", " from the", " script."]
CALLS = [("call_a", "get_weather", '{"city":"Zürich"}'), ("call_b", "get_time", '{"zone":"CET"}')]
USAGE = {"input": 11, "cached": 3, "output": 5}
ERRORS = {
    "401": (401, "authentication_error", "Incorrect API key provided: {key}. You can find it in your account."),
    "429": (429, "rate_limit_error", "Rate limit reached for requests"),
    "500": (500, "api_error", "The server had an error"),
    "503": (503, "overloaded_error", "The engine is overloaded"),
    "context": (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
}


class State:
    lock = threading.Lock()
    gate = threading.Event()
    log = None
    accepted = 0
    connections = 0  # without those that only asked for the counts
    requests = 0

    @classmethod
    def note(cls, row):
        with cls.lock:
            if cls.log:
                cls.log.write(json.dumps(row) + "\n")
                cls.log.flush()


def text_of(content):
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or [] if isinstance(part, dict))


class OpenAI:
    def __init__(self, body):
        self.body = body
        options = body.get("stream_options") or {}
        self.wants_usage = options.get("include_usage", False)

    def chunk(self, delta, finish=None):
        return self.frame({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    def frame(self, fields):
        head = {"id": "chatcmpl-script", "object": "chat.completion.chunk", "created": 1764000000,
                "model": "script-" + self.body["model"]}
        return "data: " + json.dumps({**head, **fields}) + "\n\n"

    def start(self):
        return self.chunk({"role": "assistant", "content": ""})

    def text(self, piece):
        return self.chunk({"content": piece})

    def reasoning(self, piece):
        return self.chunk({"reasoning_content": piece})

    def tool(self, i, call):
        head = {"index": i, "id": call[0], "type": "function", "function": {"name": call[1], "arguments": ""}}
        half = len(call[2]) // 2
        return (self.chunk({"tool_calls": [head]}) +
                self.chunk({"tool_calls": [{"index": i, "function": {"arguments": call[2][:half]}}]}) +
                self.chunk({"tool_calls": [{"index": i, "function": {"arguments": call[2][half:]}}]}))

    def usage_object(self):
        return {"prompt_tokens": USAGE["input"], "completion_tokens": USAGE["output"],
                "total_tokens": USAGE["input"] + USAGE["output"],
                "prompt_tokens_details": {"cached_tokens": USAGE["cached"]}}

    def end(self, tools, usage):
        out = self.chunk({}, "tool_calls" if tools else "stop")
        if usage and self.wants_usage:
            out += self.frame({"choices": [], "usage": self.usage_object()})
        return out + "data: [DONE]\n\n"

    def in_band(self):
        return "data: " + json.dumps({"error": {"message": "it broke", "type": "server_error", "code": None}}) + "\n\n"

    def error(self, kind, message):
        return {"error": {"message": message, "type": kind, "param": None, "code": None}}

    def whole(self, text, reasoning, calls, usage):
        message = {"role": "assistant", "content": text, "refusal": None}
        if reasoning:
            message["reasoning_content"] = reasoning
        if calls:
            message["tool_calls"] = [{"id": c[0], "type": "function", "function": {"name": c[1], "arguments": c[2]}}
                                     for c in calls]
        out = {"id": "chatcmpl-script", "object": "chat.completion", "created": 1764000000,
               "model": "script-" + self.body["model"],
               "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}]}
        if usage:
            out["usage"] = self.usage_object()
        return out


class Anthropic:
    def __init__(self, body):
        self.body = body
        self.index = -1
        self.open = None

    def frame(self, kind, fields):
        return f"event: {kind}\ndata: " + json.dumps({"type": kind, **fields}) + "\n\n"

    def message(self, content, stop, usage):
        return {"id": "msg_script", "type": "message", "role": "assistant", "model": "script-" + self.body["model"],
                "content": content, "stop_reason": stop, "stop_sequence": None, "usage": usage}

    def start(self):
        usage = {"input_tokens": USAGE["input"] - USAGE["cached"], "cache_read_input_tokens": USAGE["cached"],
                 "cache_creation_input_tokens": 0, "output_tokens": 1}
        return self.frame("message_start", {"message": self.message([], None, usage)}) + self.frame("ping", {})

    def block(self, kind, start):
        out = self.close()
        self.index += 1
        self.open = kind
        return out + self.frame("content_block_start", {"index": self.index, "content_block": start})

    def close(self):
        if self.open is None:
            return ""
        self.open = None
        return self.frame("content_block_stop", {"index": self.index})

    def delta(self, fields):
        return self.frame("content_block_delta", {"index": self.index, "delta": fields})

    def text(self, piece):
        out = "" if self.open == "text" else self.block("text", {"type": "text", "text": ""})
        return out + self.delta({"type": "text_delta", "text": piece})

    def reasoning(self, piece):
        out = self.block("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        return (out + self.delta({"type": "thinking_delta", "thinking": piece}) +
                self.delta({"type": "signature_delta", "signature": "c2lnbmVk"}) + self.close())

    def tool(self, _, call):
        out = self.block("tool", {"type": "tool_use", "id": call[0], "name": call[1], "input": {}})
        half = len(call[2]) // 2
        for piece in (call[2][:half], call[2][half:]):
            out += self.delta({"type": "input_json_delta", "partial_json": piece})
        return out + self.close()

    def end(self, tools, usage):
        fields = {"delta": {"stop_reason": "tool_use" if tools else "end_turn", "stop_sequence": None}}
        fields["usage"] = {"output_tokens": USAGE["output"]}
        return self.close() + self.frame("message_delta", fields) + self.frame("message_stop", {})

    def in_band(self):
        return self.frame("error", {"error": {"type": "overloaded_error", "message": "it broke"}})

    def error(self, kind, message):
        return {"type": "error", "error": {"type": kind, "message": message}}

    def whole(self, text, reasoning, calls, usage):
        content = []
        if reasoning:
            content.append({"type": "thinking", "thinking": reasoning, "signature": "c2lnbmVk"})
        content.append({"type": "text", "text": text})
        content += [{"type": "tool_use", "id": c[0], "name": c[1], "input": json.loads(c[2])} for c in calls]
        usage = {"input_tokens": USAGE["input"] - USAGE["cached"], "cache_read_input_tokens": USAGE["cached"],
                 "cache_creation_input_tokens": 0, "output_tokens": USAGE["output"]}
        return self.message(content, "tool_use" if calls else "end_turn", usage)


class Ollama:
    """Lines of JSON; a call whole, without an id; no count of cached tokens."""

    def __init__(self, body, chat=True):
        self.body = body
        self.chat = chat

    def frame(self, fields, done=False, end=""):
        head = {"model": "script-" + self.body["model"], "created_at": "2025-11-24T16:00:00.123456789Z"}
        if self.chat:
            said = {"message": {"role": "assistant", "content": "", **fields}}
        else:
            said = {"response": fields.pop("content", ""), **fields}
        out = {**head, **said, "done": done}
        if done:
            out |= {"done_reason": "stop", "total_duration": 50_000_000, "load_duration": 1_000_000}
        if end:
            out |= {"prompt_eval_count": USAGE["input"], "prompt_eval_duration": 3_000_000,
                    "eval_count": USAGE["output"], "eval_duration": 4_000_000}
        return out

    def line(self, *args):
        return json.dumps(self.frame(*args)) + "\n"

    def start(self):
        return ""

    def text(self, piece):
        return self.line({"content": piece})

    def reasoning(self, piece):
        return self.line({"thinking": piece})

    def call(self, call):
        return {"function": {"name": call[1], "arguments": json.loads(call[2])}}

    def tool(self, _, call):
        return self.line({"tool_calls": [self.call(call)]})

    def end(self, tools, usage):
        return self.line({}, True, usage)

    def in_band(self):
        return json.dumps({"error": "it broke"}) + "\n"

    def error(self, kind, message):
        return {"error": message}

    def whole(self, text, reasoning, calls, usage):
        said = {"content": text}
        if reasoning:
            said["thinking"] = reasoning
        if calls:
            said["tool_calls"] = [self.call(c) for c in calls]
        return self.frame(said, True, usage)


class Responses:
    """Items are streamed as OpenAI does: each is added, grows and is done; the last event has all of them."""

    def __init__(self, body):
        self.body = body
        self.items = []
        self.open = None
        self.sequence = 0

    def frame(self, kind, fields):
        self.sequence += 1
        data = {"type": kind, "sequence_number": self.sequence - 1, **fields}
        return f"event: {kind}\ndata: " + json.dumps(data) + "\n\n"

    def response(self, status, usage=False):
        out = {"id": "resp_script", "object": "response", "created_at": 1764000000, "status": status, "error": None,
               "incomplete_details": None, "model": "script-" + self.body["model"], "output": self.items}
        if usage:
            out["usage"] = {"input_tokens": USAGE["input"], "input_tokens_details": {"cached_tokens": USAGE["cached"]},
                            "output_tokens": USAGE["output"], "output_tokens_details": {"reasoning_tokens": 2},
                            "total_tokens": USAGE["input"] + USAGE["output"]}
        return out

    def start(self):
        return (self.frame("response.created", {"response": self.response("in_progress")}) +
                self.frame("response.in_progress", {"response": self.response("in_progress")}))

    def add(self, item):
        self.items.append(item)
        return self.frame("response.output_item.added", {"output_index": len(self.items) - 1, "item": item})

    def part(self, kind, fields):
        i = len(self.items) - 1
        return self.frame(kind, {"item_id": self.items[i]["id"], "output_index": i, **fields})

    def done(self):
        return self.frame("response.output_item.done", {"output_index": len(self.items) - 1, "item": self.items[-1]})

    def message(self, text):
        return {"id": f"msg_{len(self.items)}", "type": "message", "status": "completed", "role": "assistant",
                "content": [{"type": "output_text", "annotations": [], "text": text}]}

    def text(self, piece):
        out = ""
        if self.open is None:
            self.open = self.message("")
            out = self.add({**self.open, "status": "in_progress", "content": []})
            self.items[-1] = self.open
            out += self.part("response.content_part.added", {"content_index": 0, "part": self.open["content"][0]})
        self.open["content"][0]["text"] += piece
        return out + self.part("response.output_text.delta", {"content_index": 0, "delta": piece, "logprobs": []})

    def close(self):
        if self.open is None:
            return ""
        self.open = None
        return self.done()

    def thought(self, piece):
        return {"id": f"rs_{len(self.items)}", "type": "reasoning", "encrypted_content": "c2VhbGVk",
                "summary": [{"type": "summary_text", "text": piece}]}

    def reasoning(self, piece):
        item = self.thought(piece)
        out = self.add({**item, "summary": [], "encrypted_content": ""})
        self.items[-1] = item
        part = {"summary_index": 0, "part": {"type": "summary_text", "text": ""}}
        return (out + self.part("response.reasoning_summary_part.added", part) +
                self.part("response.reasoning_summary_text.delta", {"summary_index": 0, "delta": piece}) + self.done())

    def call(self, call):
        return {"id": f"fc_{len(self.items)}", "type": "function_call", "status": "completed", "call_id": call[0],
                "name": call[1], "arguments": call[2]}

    def tool(self, _, call):
        item = self.call(call)
        out = self.close() + self.add({**item, "arguments": "", "status": "in_progress"})
        self.items[-1] = item
        half = len(call[2]) // 2
        for piece in (call[2][:half], call[2][half:]):
            out += self.part("response.function_call_arguments.delta", {"delta": piece})
        return out + self.part("response.function_call_arguments.done", {"arguments": call[2]}) + self.done()

    def end(self, tools, usage):
        return self.close() + self.frame("response.completed", {"response": self.response("completed", usage)})

    def in_band(self):
        return self.frame("error", {"code": "server_error", "message": "it broke", "param": None})

    def error(self, kind, message):
        return {"error": {"message": message, "type": kind, "param": None, "code": None}}

    def whole(self, text, reasoning, calls, usage):
        if reasoning:
            self.items.append(self.thought(reasoning))
        self.items.append(self.message(text))
        for c in calls:
            self.items.append(self.call(c))
        return self.response("completed", usage)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.ours = False
        with State.lock:
            State.connections += 1
            State.accepted += 1
            self.number = State.accepted
        State.note({"connection": self.number})

    def log_message(self, *args):
        pass

    def note_request(self, body):
        with State.lock:
            State.requests += 1
        State.note({"connection": self.number, "method": self.command, "path": self.path,
                    "headers": {k.lower(): v for k, v in self.headers.items()}, "body": body})

    def send_json(self, status, value, headers=()):
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers:
            self.send_header(name, text)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path.startswith("/script/"):
            if self.path == "/script/open":
                State.gate.set()
            with State.lock:
                State.connections -= 0 if self.ours else 1
                self.ours = True
            self.send_json(200, {"connections": State.connections, "requests": State.requests})
            return
        self.note_request(None)
        if self.path == "/api/tags":
            self.send_json(200, {"models": [{"name": name, "model": name, "size": 1}
                                            for name in ("ok", "big:cloud", "nomic-embed-text:latest")]})
        elif self.path.endswith("/models"):
            self.send_json(200, {"object": "list", "data": [{"id": "ok", "object": "model", "max_model_len": 4096},
                                                            {"id": "big:cloud", "object": "model"},
                                                            {"id": "text-embedding-x", "object": "model"}]})
        else:
            self.send_json(404, {"error": {"message": "no such path"}})

    def do_POST(self):
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.loads(raw)
        self.note_request(body)
        if self.path.endswith("/embeddings"):
            self.embed(body)
            return
        if self.path == "/api/embed":
            self.embed_ollama(body)
            return
        if self.path in ("/api/chat", "/api/generate"):
            dialect = Ollama(body, self.path == "/api/chat")
        elif self.path.endswith("/chat/completions"):
            dialect = OpenAI(body)
        elif self.path.endswith("/v1/messages"):
            dialect = Anthropic(body)
        elif self.path.endswith("/v1/responses"):
            dialect = Responses(body)
        else:
            self.send_json(404, {"error": {"message": f"no such path: {self.path}"}})
            return
        scenario = body.get("model", "ok").split("/")[-1]
        try:
            self.play(dialect, scenario, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def fail(self, dialect, scenario):
        status, kind, message = ERRORS[scenario]
        key = self.headers.get("x-api-key") or self.headers.get("authorization", "").removeprefix("Bearer ")
        headers = [("Retry-After", "7")] if scenario == "429" else []
        self.send_json(status, dialect.error(kind, message.format(key=key)), headers)

    def embed(self, body):
        scenario = body.get("model", "ok").split("/")[-1]
        if scenario in ERRORS:
            self.fail(OpenAI(body), scenario)
            return
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        data = []
        for i, text in enumerate(inputs):
            row = [float(len(text)), float(i), 0.5, -0.25, 0.125, 1.0][:body.get("dimensions", 6)]
            if body.get("encoding_format") == "base64":
                row = base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode()
            data.append({"object": "embedding", "index": i, "embedding": row})
        if scenario == "reverse":
            data.reverse()
        tokens = sum(len(text) for text in inputs)
        self.send_json(200, {"object": "list", "data": data, "model": body["model"],
                             "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})

    def embed_ollama(self, body):
        scenario = body.get("model", "ok").split("/")[-1]
        if scenario in ERRORS:
            self.fail(Ollama(body), scenario)
            return
        rows = [[float(len(text)), float(i), 0.5, -0.25, 0.125, 1.0][:body.get("dimensions", 6)]
                for i, text in enumerate(body["input"])]
        self.send_json(200, {"model": body["model"], "embeddings": rows, "total_duration": 14143917,
                             "load_duration": 1019500, "prompt_eval_count": sum(len(t) for t in body["input"])})

    def play(self, dialect, scenario, body):
        if scenario in ERRORS:
            self.fail(dialect, scenario)
            return
        if scenario == "redirect":
            self.send_response(302)
            self.send_header("Location", "http://example.org/v1/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        pieces = PIECES
        if scenario == "echo":
            said = body.get("messages") or body.get("input") or [{"role": "user", "content": body["prompt"]}]
            pieces = [text_of([m for m in said if m.get("role") == "user"][-1]["content"])]
        elif scenario == "slow":
            pieces = [f"{i} " for i in range(10)]
        elif scenario == "long":
            pieces = ["x" * 250] * 4000
        reasoning = "Let me think." if scenario == "reasoning" else ""
        calls = CALLS if scenario == "tools" else []
        usage = scenario != "no-usage"
        if scenario == "gate":
            State.gate.wait()
        if not body.get("stream") or scenario == "json":
            if scenario in ("stall", "silent", "slow"):
                time.sleep(3600 if scenario != "slow" else 1)
            self.send_json(200, dialect.whole("".join(pieces), reasoning, calls, usage))
            return
        self.stream(dialect, scenario, pieces, reasoning, calls, usage)

    def write(self, text):
        data = text.encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def stream(self, dialect, scenario, pieces, reasoning, calls, usage):
        self.send_response(200)
        lines = isinstance(dialect, Ollama)
        self.send_header("Content-Type", "application/x-ndjson" if lines else "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while scenario == "silent":
            self.write("\n" if lines else ": keep-alive\n\n")
            time.sleep(0.05)
        first = dialect.start()
        if first:
            self.write(first)
        if reasoning:
            self.write(dialect.reasoning(reasoning))
        for i, piece in enumerate(pieces):
            self.write(dialect.text(piece))
            if scenario == "slow":
                time.sleep(0.1)
            if i == 0 and scenario in ("stall", "cut", "reset", "error-in-band"):
                self.break_off(dialect, scenario)
                return
        for i, call in enumerate(calls):
            self.write(dialect.tool(i, call))
        self.write(dialect.end(bool(calls), usage))
        while scenario == "linger":
            self.write("\n" if lines else ": still here\n\n")
            time.sleep(0.05)
        self.wfile.write(b"0\r\n\r\n")

    def break_off(self, dialect, scenario):
        while scenario == "stall":
            self.write("\n" if isinstance(dialect, Ollama) else ": keep-alive\n\n")
            time.sleep(0.05)
        if scenario == "error-in-band":
            self.write(dialect.in_band())
        if scenario == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.wfile.write(b"0\r\n\r\n")


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log")
    args = parser.parse_args()
    if args.log:
        State.log = open(args.log, "a", encoding="utf-8")
    with Server(("127.0.0.1", args.port), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
