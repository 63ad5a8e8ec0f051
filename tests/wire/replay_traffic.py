#!/usr/bin/env python3
"""Replays recorded exchanges with real providers through wire_replay.

Every chat completion and message in the fixtures: its request must decode and survive a round trip (or be refused for
a reason on the list below), its answer must decode to the same events whether it comes at once, in pieces of 1, 7 or
1,000 bytes, and, cut before its last event, it must be an error. Skips, saying so, without the fixtures or PyYAML.
"""
import glob
import json
import os
import pathlib
import re
import subprocess
import sys

REPLAY = sys.argv[1]
SOURCE = pathlib.Path(os.environ.get("WEIR_SOURCE", "."))
FIXTURES = pathlib.Path(os.environ.get("WEIR_FIXTURES") or SOURCE.parent / "shared" / "fixtures")
TRAFFIC = FIXTURES / "traffic"
# What a request may be refused for: it is not in the dialect's narrow scope, and the refusal says so.
ALLOWED = ("UNSUPPORTED ",)
# Recorded streams that end without any finish_reason: an error, although [DONE] came.
UNFINISHED = ("test_tools_streaming_variant_a.yaml#0", "test_tools_streaming_variant_b.yaml#0")
SKIP = 77

if not TRAFFIC.is_dir():
    print(f"skipped: no recorded traffic in {TRAFFIC}")
    sys.exit(SKIP)
try:
    import yaml
except ImportError:
    print("skipped: PyYAML is not installed (python3-yaml)")
    sys.exit(SKIP)
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

failures = []
counts = {"requests": 0, "refused requests": 0, "answers": 0, "streams": 0, "errors": 0, "cuts": 0}


def replay(dialect, what, split, body):
    p = subprocess.run([REPLAY, dialect, what, str(split)], input=body, stdout=subprocess.PIPE, timeout=60)
    if p.returncode not in (0, 1):
        failures.append(f"{dialect} {what}: exit code {p.returncode}")
    return p.returncode, p.stdout.decode()


def fail(name, what, text):
    failures.append(name)
    print(f"FAILED {name}: {what}\n{text[-1500:]}")


def dialect_of(uri):
    path = uri.split("?")[0]
    if path.endswith("/chat/completions"):
        return "openai"
    if path.endswith("/responses"):
        return "responses"
    return "anthropic" if path.endswith("/v1/messages") else None


def check_request(name, dialect, body):
    if not body:
        return
    if isinstance(body, str):
        body = body.encode()
    counts["requests"] += 1
    rc, out = replay(dialect, "request", 0, body)
    if rc == 0:
        return
    counts["refused requests"] += 1
    last = out.strip().splitlines()[-1] if out.strip() else ""
    if not last.startswith("refused") or not last.split(" ", 1)[1].startswith(ALLOWED):
        fail(name, "request", out)
    elif os.environ.get("VERBOSE"):
        print(name, last)


def check_answer(name, dialect, body, stream, cut=True):
    kind = "stream" if stream else "answer"
    counts[kind + "s"] += 1
    rc, whole = replay(dialect, kind, 0, body)
    if name.endswith(UNFINISHED):
        if rc != 1 or "refused CUT" not in whole:
            fail(name, "a stream without finish_reason", whole)
        return
    if rc != 0 or "\ndone " not in whole:
        fail(name, kind, whole)
        return
    for split in (1, 7, 1000):
        if replay(dialect, kind, split, body) != (rc, whole):
            fail(name, f"{kind} split at {split}", whole)
    if not stream or not cut:
        return
    counts["cuts"] += 1
    end = body.rstrip()
    if dialect == "openai":
        mark = max(end.rfind(b'"finish_reason":"'), end.rfind(b'"finish_reason": "'))
    elif dialect == "anthropic":
        mark = end.find(b"event: message_stop")
    else:
        mark = re.search(rb'"type": ?"response\.(completed|incomplete)"', end).start()
    rc, out = replay(dialect, kind, 0, end[:mark])
    if rc != 1 or "\ndone " in out or "refused CUT" not in out:
        fail(name, "a cut stream", out)


def check_exchange(name, item):
    request, response = item.get("request") or {}, item.get("response") or {}
    dialect = dialect_of(request.get("uri", ""))
    if not dialect:
        return
    body = request.get("body")
    if body is None and "parsed_body" in request:
        body = json.dumps(request["parsed_body"])
    check_request(name, dialect, body)
    answer = (response.get("body") or {}).get("string")
    if answer is None and "parsed_body" in response:
        answer = json.dumps(response["parsed_body"])
    if not answer:
        return
    answer = answer.encode() if isinstance(answer, str) else answer
    if answer[:2] == b"\x1f\x8b":
        import gzip
        answer = gzip.decompress(answer)
    status = (response.get("status") or {}).get("code", 200)
    if status >= 400:
        counts["errors"] += 1
        rc, out = replay(dialect, "error", status, answer)
        if f"HTTP {status}:" not in out:
            fail(name, "error", out)
        return
    stream = answer.lstrip()[:1] != b"{"
    if dialect == "responses" and not stream and json.loads(answer).get("status") == "queued":
        check_failed(name, answer, "answer")  # made in the background, and not to be had here
        return
    check_answer(name, dialect, answer, stream)


def check_cassettes():
    for path in sorted(glob.glob(str(TRAFFIC / "**" / "*.yaml"), recursive=True)):
        text = pathlib.Path(path).read_text()
        if not any(path in text for path in ("/chat/completions", "/v1/messages", "/responses")):
            continue
        doc = yaml.load(text, Loader=Loader)
        for i, item in enumerate(doc.get("interactions", [])):
            check_exchange(f"{os.path.relpath(path, TRAFFIC)}#{i}", item)


def check_chunks():
    """vercel-ai's files: one JSON payload a line, without the framing."""
    for path in sorted(glob.glob(str(TRAFFIC / "vercel-ai" / "**" / "*.chunks.txt"), recursive=True)):
        name = os.path.relpath(path, TRAFFIC)
        lines = [line for line in pathlib.Path(path).read_text().splitlines() if line.strip()]
        try:
            first = json.loads(lines[0])
        except ValueError:
            continue
        if first.get("object") == "chat.completion.chunk":
            body = "".join(f"data: {line}\n\n" for line in lines) + "data: [DONE]\n\n"
            check_answer(name, "openai", body.encode(), True)
        elif first.get("type") == "message_start":
            body = "".join(f"event: {json.loads(line)['type']}\ndata: {line}\n\n" for line in lines)
            check_answer(name, "anthropic", body.encode(), True)
        elif first.get("type") == "response.created":
            body = "".join(f"event: {json.loads(line)['type']}\ndata: {line}\n\n" for line in lines)
            if "event: response.failed" in body or "event: error" in body:
                check_failed(name, body.encode())
            else:
                check_answer(name, "responses", body.encode(), True)


def check_failed(name, body, kind="stream"):
    counts["errors"] += 1
    rc, out = replay("responses", kind, 0, body)
    if rc != 1 or "\ndone " in out:
        fail(name, "an answer that failed", out)


def check_bodies():
    for path in sorted(glob.glob(str(TRAFFIC / "vercel-ai" / "**" / "*.json"), recursive=True)):
        body = pathlib.Path(path).read_bytes()
        doc = json.loads(body)
        if not isinstance(doc, dict):
            continue
        if doc.get("object") == "chat.completion":
            check_answer(os.path.relpath(path, TRAFFIC), "openai", body, False)
        elif doc.get("object") == "response" and doc.get("status") in ("completed", "incomplete"):
            check_answer(os.path.relpath(path, TRAFFIC), "responses", body, False)
        elif doc.get("type") == "message" and doc.get("stop_reason"):
            check_answer(os.path.relpath(path, TRAFFIC), "anthropic", body, False)


check_cassettes()
check_chunks()
check_bodies()
print(", ".join(f"{n} {what}" for what, n in counts.items()), f"- {len(failures)} failed")
if counts["requests"] == 0 or counts["streams"] == 0:
    print("the fixtures hold no exchange of these dialects")
    sys.exit(1)
sys.exit(1 if failures else 0)
