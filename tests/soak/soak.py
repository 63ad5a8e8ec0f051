#!/usr/bin/env python3
"""The real server under an hour of everything: mixed dialects, clients that leave, slow readers, malformed requests,
models that load and unload.

    tests/soak/soak.py [--seconds 3600] [--clients 10] [--seed N] [--verbose]

Two models that do not fit into memory together (the test model, and the same file under another name), short keep
times, and clients that keep asking. The load stops a few times for a look: all connections are closed, both models are
unloaded, and then one is loaded by the same request each time. Like is compared with like:

    descriptors     with nothing loaded and no connection: never more than at the first look
    idle memory     resident, with nothing loaded
    loaded memory   resident, with one model that has answered one request: at the end at most 1 % above the look
                    that closes the first quarter

Before the load each case is tried once, so that no run leaves one out. Every request must be answered or refused with a reason in its own dialect. At the end SIGTERM must end the server with
status 0; a sanitizer's complaint is one (WEIR_EXE=build-asan/weir; memory is not judged then, as a sanitizer keeps what
was freed). Prints `ok NAME` or `not ok NAME` a check, and exits 0 when all are ok.
"""
import argparse
import asyncio
import collections
import os
import pathlib
import random
import re
import sys
import time
import traceback

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parent.parent / "e2e")]
import load  # noqa: E402
from harness import WEIR, Weir, make_home  # noqa: E402

SANITIZED = any(x in pathlib.Path(WEIR).read_bytes() for x in (b"__asan_init", b"__tsan_init"))
MEMORY_MIB = 190  # one model and its sessions fit, two do not


class Look:
    def __init__(self, at, fds, idle, loaded, requests):
        self.at, self.fds, self.idle, self.loaded, self.requests = at, fds, idle, loaded, requests

    def __str__(self):
        return (f"{self.at:6.0f} s: {self.requests} requests, {self.fds} descriptors, {self.idle >> 10} KiB idle, "
                f"{self.loaded >> 10} KiB with a model")


class Soak:
    def __init__(self, server, clients, patient):
        self.v, self.port, self.clients, self.patient = server, server.port, clients, patient
        self.counts, self.complaints = collections.Counter(), collections.Counter()
        self.over = False
        self.running = asyncio.Event()
        self.busy = 0
        self.looks = []

    # ---- the load ----

    async def work(self, once):
        self.busy += 1
        try:
            self.counts[await once()] += 1
        except Exception as e:
            text = str(e) or repr(e)
            if not isinstance(e, AssertionError):
                text = f"{once.__qualname__}: " + traceback.format_exc(limit=-3)
            self.complaints[text] += 1
            if self.v.child.poll() is not None:
                self.over = True
        finally:
            self.busy -= 1

    async def good_client(self):
        c = load.Client(self.port)
        while not self.over:
            if not self.running.is_set():
                c.close()
                await self.running.wait()
            what = load.pick(load.GOOD)
            await self.work(lambda: what(c))
            if random.random() < 0.1:
                c.close()
            await asyncio.sleep(random.random() * 0.05)
        c.close()

    async def bad_client(self):
        table = [x for x in load.BAD if self.patient or x[1] is not load.sleeper]
        while not self.over:
            await self.running.wait()
            what = load.pick(table)
            await self.work(lambda: what(self.port))
            await asyncio.sleep(random.random() * 0.05)

    # ---- the looks ----

    def status(self, name):
        text = pathlib.Path(f"/proc/{self.v.child.pid}/status").read_text()
        return int(re.search(rf"^{name}:\s+(\d+)", text, re.M)[1]) * 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.v.child.pid}/fd"))

    async def ask(self, method, path, body=None):
        c = load.Client(self.port)
        try:
            return await c.ask(load.request(method, path, body))
        finally:
            c.close()

    async def settle(self, seconds=90):
        """Nothing loaded, no request, no connection of ours; the smallest number of descriptors in that time."""
        end = time.monotonic() + seconds
        empty = 0
        while empty < 4:  # a load that nobody waits for any more ends all the same, and is not listed until then
            assert time.monotonic() < end, "a model that nobody uses stays loaded"
            for m in load.MODELS:
                await self.ask("POST", "/api/generate", {"model": m, "keep_alive": 0})
            await asyncio.sleep(0.2)
            empty = 0 if (await self.ask("GET", "/api/ps")).json()["models"] else empty + 1
        least = self.descriptors()
        wanted = self.looks[0].fds if self.looks else 0
        settled = time.monotonic() + (2 if not self.looks else seconds)
        while least > wanted and time.monotonic() < settled:
            await asyncio.sleep(0.1)
            least = min(least, self.descriptors())
        return least

    async def resting(self):
        """Resident memory once it falls no more: a worker closes models, and a mapped file counts until it is unmapped."""
        least, since = self.status("VmRSS"), time.monotonic()
        end = since + 10
        while time.monotonic() < min(since + 1, end):
            await asyncio.sleep(0.1)
            if self.status("VmRSS") < least:
                least, since = self.status("VmRSS"), time.monotonic()
        return least

    async def look(self, began):
        self.running.clear()
        end = time.monotonic() + 2 * load.PATIENCE
        while self.busy and time.monotonic() < end:
            await asyncio.sleep(0.05)
        if self.busy:
            self.complaints[f"{self.busy} clients still wait when the load stops"] += 1
        fds = await self.settle()
        idle = await self.resting()
        a = await self.ask("POST", "/v1/chat/completions", load.chat(load.MODELS[0], False, 16, "Hi") | {
            "temperature": 0})
        if a.status != 200:
            self.complaints[f"a request alone is refused: {a.status} {a.body[:200]!r}"] += 1
        loaded = await self.resting()
        self.looks.append(Look(time.monotonic() - began, fds, idle, loaded, sum(self.counts.values())))
        print(f"  {self.looks[-1]}", flush=True)
        self.running.set()

    async def run(self, seconds, looks):
        began = time.monotonic()
        await self.look(began)
        c = load.Client(self.port)
        for once in load.everything_once(c):
            await self.work(once)
        c.close()
        began = time.monotonic()
        tasks = [asyncio.create_task(self.good_client()) for _ in range(self.clients)]
        tasks += [asyncio.create_task(self.bad_client()) for _ in range(self.clients)]
        for i in range(1, looks + 1):
            while time.monotonic() - began < seconds * i / looks and not self.over:
                await asyncio.sleep(0.2)
            if self.over:
                break
            await self.look(began)
        self.over = True
        await asyncio.wait(tasks, timeout=load.PATIENCE)
        for t in tasks:
            t.cancel()


def verdicts(s, code, log):
    quarter, last = s.looks[len(s.looks) // 4], s.looks[-1]
    growth = (last.loaded - quarter.loaded) / quarter.loaded
    yield "every request is answered or refused with a reason", not s.complaints, "\n".join(
        f"{n} x {text}" for text, n in s.complaints.most_common(20))
    yield "answers of each kind", all(s.counts[k] for k in ("answered", "refused", "left")), str(dict(s.counts))
    yield "no descriptor is leaked", last.fds <= s.looks[0].fds, f"{s.looks[0].fds} before, {last.fds} after"
    if not SANITIZED:
        yield "memory is flat within 1 %", growth <= 0.01, f"{growth:+.2%}"
    yield "the server lives to the end and leaves with status 0", code == 0, f"status {code}\n{log[-4000:]}"
    yield "no complaint of a sanitizer", not re.search(r"ERROR: \w+Sanitizer|runtime error:", log), log[-8000:]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--seconds", type=float, default=3600)
    p.add_argument("--clients", type=int, default=10, help="good ones, and as many bad ones")
    p.add_argument("--looks", type=int, default=8)
    p.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    p.add_argument("--verbose", action="store_true", help="print the server's log at the end")
    o = p.parse_args()
    random.seed(o.seed)
    home = make_home()
    models = pathlib.Path(home, "models")
    os.link(models / "smollm2:135m.gguf", models / "copy.gguf")
    v = Weir(home, args=["--memory", str(MEMORY_MIB), "--keep", "1", "--ctx", "2048", "--cache-disk", "64"])
    s = Soak(v, o.clients, o.seconds >= 300)
    try:
        asyncio.run(s.run(o.seconds, o.looks))
    except BaseException:
        v.child.kill()
        raise
    try:
        code = v.stop(timeout=90)
    except Exception as e:
        code = str(e)
        v.child.kill()
    if o.verbose:
        print(v.output())
    print(f"  seed {o.seed}; {dict(s.counts)}")
    bad = 0
    for name, ok, detail in verdicts(s, code, v.output()):
        bad += not ok
        print(f"{'ok' if ok else 'not ok'} {name}: {detail}" if not ok or "\n" not in detail else f"ok {name}", flush=True)
    return 1 if bad else 0


sys.exit(main())
