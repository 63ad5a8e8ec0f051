"""test_money.py: every call is booked, to the nano-dollar; the budget holds, also when 20 come at once and when the
server is killed in the middle."""
import concurrent.futures
import http.client
import json
import sqlite3
import threading

from cloud import COST, call, connected, counts, ended_normally, environment_of, home_with, prices, row, rows_of, stream_error
from harness import MODEL, Provider, Weir, run, test, until, weir

provider = Provider()
ENV = environment_of(provider)


@test
def built_in_prices_are_exact_to_the_nano_dollar():
    w = connected(provider)
    # 8 fresh, 3 cached and 5 written tokens, at dollars a million.
    for model, cost in (("openai/gpt-5", 8 * 1250 + 3 * 125 + 5 * 10000), ("openai/gpt-4o-mini", 8 * 150 + 3 * 75 + 5 * 600),
                        ("anthropic/claude-sonnet-4-5", 8 * 3000 + 3 * 300 + 5 * 15000),
                        ("anthropic/claude-haiku-4-5", 8 * 1000 + 3 * 100 + 5 * 5000)):
        for dialect in ("openai", "anthropic"):
            for stream in (False, True):
                r, out = call(w, dialect, model, stream=stream)
                b = row(w, r)
                assert r.status == 200 and b["cost_nano"] == cost, (model, b["cost_nano"], cost, out)
                assert b["baseline_nano"] == 60375 and b["saved_nano"] == 60375 - cost, b
    report = json.loads(weir(["cost", "--json"], w.home).out)
    with sqlite3.connect(f"file:{w.home}/weir.db?mode=ro", uri=True) as db:
        total = db.execute("SELECT sum(cost) FROM requests").fetchone()[0]
    assert report["total"]["requests"] == 16 and report["total"]["cost_nano"] == total, report["total"]
    assert w.stop() == 0


@test
def an_unknown_price_is_unknown_and_never_nothing():
    w = connected(provider)
    r, _ = call(w, "openai", "openai/never-heard-of")
    b = row(w, r)
    assert r.status == 200 and b["cost_nano"] is None and b["cost"] == "unknown", b
    report = json.loads(weir(["cost", "--json"], w.home).out)
    assert report["total"]["unknown_cost"] == 1, report["total"]
    p = weir(["ask", "--model", "openai/never-heard-of", "Hi"], w.home, env=ENV)
    assert p.returncode == 0 and "unknown" in p.err, p.err
    assert w.stop() == 0
    # With a budget it may not go out: nobody could say what it takes from it.
    w = connected(provider, args=["--budget", "5"])
    before = counts(provider)[0]
    r, out = call(w, "openai", "openai/never-heard-of")
    assert r.status == 402 and counts(provider)[0] == before, (r.status, out)
    assert w.stop() == 0


@test
def local_answers_cost_nothing_and_save_the_baseline():
    w = connected(provider)
    r, _ = call(w, "openai", MODEL, max_tokens=8)
    b = row(w, r)
    assert b["cost_nano"] == 0 and b["baseline_nano"] == b["input"] * 1250 + b["output"] * 10000, b
    assert w.stop() == 0


@test
def what_does_not_fit_the_month_is_refused_before_dialling():
    home = home_with("budget = 0.01\n" + prices("openai"))
    w = Weir(home, env=ENV)
    before = counts(provider)[0]
    for dialect in ("openai", "anthropic"):
        r, out = call(w, dialect, "openai/ok", max_tokens=5000)  # 5000 * 8000 nano-dollars are 4 cents
        assert r.status == 402, (r.status, out)
        kind = json.loads(out)["error"]["type"]
        assert kind == {"openai": "insufficient_quota", "anthropic": "billing_error"}[dialect], out
        assert (row(w, r)["code"], row(w, r)["cost_nano"]) == ("BUDGET", 0)
    p = weir(["ask", "--model", "openai/ok", "-n", "5000", "Hi"], home, env=ENV)
    assert p.returncode == 4 and "$" in p.err, (p.returncode, p.err)
    assert counts(provider)[0] == before, "a refused call was dialled"
    r, out = call(w, "openai", "openai/ok", max_tokens=100)
    assert r.status == 200, out
    p = weir(["ask", "--model", "openai/ok", "-n", "100", "Hi"], home, env=ENV)
    assert p.returncode == 0, p.err
    status = json.loads(w.call("GET", "/weir/v1/status")[1])["budget"]
    assert status["limit_nano"] == 10_000_000 and status["charged_nano"] == 2 * COST, status
    # `auto` goes where it is free.
    r, out = call(w, "openai", "auto", max_tokens=8)
    assert r.status == 200, out
    assert w.stop() == 0
    # What is spent stays spent.
    w = Weir(home, env=ENV)
    status = json.loads(w.call("GET", "/weir/v1/status")[1])["budget"]
    assert status["charged_nano"] >= 2 * COST, status
    assert w.stop() == 0


def month(home):
    with sqlite3.connect(f"file:{home}/weir.db?mode=ro", uri=True) as db:
        months = dict(db.execute("SELECT month, charged FROM months").fetchall())
        rows = dict(db.execute("SELECT month, sum(charged) FROM requests GROUP BY month").fetchall())
    assert {m: c for m, c in months.items() if c} == {m: c for m, c in rows.items() if c}, (months, rows)
    return sum(months.values())


@test
def concurrent_requests_never_overspend():
    limit = 50_000_000  # six reservations of 1,000 tokens at 8 dollars a million
    home = home_with("budget = 0.05\n" + prices("openai"))
    w = Weir(home, env=ENV)
    since = len(counts(provider)[1])

    def ask(i):
        return call(w, ("openai", "anthropic")[i % 2], "openai/gate", stream=i % 3 > 0, max_tokens=1000)[0].status

    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        asked = [pool.submit(ask, i) for i in range(40)]
        try:
            until("all but six are refused", lambda: sum(a.done() for a in asked) >= 34)
            until("six are let out", lambda: len(counts(provider)[1]) - since >= 6)
            charged = json.loads(w.call("GET", "/weir/v1/status")[1])["budget"]["charged_nano"]
        finally:
            provider.open_gate()
        statuses = [a.result() for a in asked]
    assert statuses.count(200) == 6 and statuses.count(402) == 34, statuses
    assert len(counts(provider)[1]) - since == 6
    assert 6 * 8_000_000 <= charged <= limit, charged
    assert month(home) == 6 * COST, month(home)
    # What was reserved and not used is free again.
    assert call(w, "openai", "openai/ok", max_tokens=1000)[0].status == 200
    assert w.stop() == 0


SLOTS, STAY = 20, 3


def one(w, i, seen):
    """One request of the mix; notes the id once its end was seen."""
    kinds = [("openai/ok", True), ("openai/slow", True), (MODEL, True), ("openai/ok", False), ("anthropic/slow", True),
             (MODEL, False), ("openai/slow", False), ("anthropic/cut", True)]
    model, stream = kinds[i % len(kinds)]
    dialect = ("openai", "anthropic")[i // len(kinds) % 2]
    try:
        r, out = call(w, dialect, model, f"Request {i}: what is a river?", stream, {"x-weir-client": f"client-{i}"},
                      max_tokens=12)
    except (OSError, http.client.HTTPException):
        return
    whole = not stream or r.status != 200 or ended_normally(dialect, out) or stream_error(dialect, out)
    if whole:
        normal = r.status == 200 and not (stream and stream_error(dialect, out))
        seen.append((r.getheader("x-weir-id"), i, normal))


@test
def kill_9_in_the_middle_of_200_loses_nothing_that_was_seen():
    limit = 0.02
    home = home_with(f"budget = {limit}\n" + prices("openai", "anthropic"))
    w = Weir(home, env=ENV)
    call(w, "openai", MODEL, max_tokens=1)  # loaded
    before = len(rows_of(home))
    seen = []
    since = len(counts(provider)[1])

    def kill():
        until("90 are seen finished", lambda: len(seen) >= 90, 300)
        w.child.kill()

    def stay(i):
        try:
            call(w, "openai", "openai/stall", stream=True, headers={"x-weir-client": f"stays-{i}"}, timeout=300, max_tokens=12)
        except (OSError, http.client.HTTPException):
            pass

    t = threading.Thread(target=kill)
    with concurrent.futures.ThreadPoolExecutor(SLOTS + STAY) as pool:
        staying = [pool.submit(stay, i) for i in range(STAY)]  # these are under way when it is killed
        until("they are let out", lambda: len(counts(provider)[1]) - since == STAY)
        t.start()
        list(pool.map(lambda i: one(w, i, seen), range(200)))
    t.join()
    w.child.wait()
    assert all(s.done() for s in staying)
    assert 90 <= len(seen) < 200, len(seen)
    again = Weir(home, env=ENV)
    rows = rows_of(home)
    by_id = {b["id"]: b for b in rows}
    for ident, i, normal in seen:
        b = by_id.get(ident)
        assert b, f"request {i} was seen finished and is not booked"
        assert b["client"] == f"client-{i}", (i, b["client"])
        assert b["status"] == ("ok" if normal else "error"), (i, normal, b["status"], b["message"])
        if normal:
            assert b["cost"] is not None and b["charged"] == b["cost"], (i, b["cost"], b["charged"])
    clients = [b["client"] for b in rows if b["client"]]
    assert len(clients) == len(set(clients)), "a request is booked twice"
    assert len(rows) - before <= 200 + STAY
    assert not [b for b in rows if b["status"] == "open"]
    crashed = [b for b in rows if b["status"] == "crashed"]
    assert {f"stays-{i}" for i in range(STAY)} <= {b["client"] for b in crashed}, crashed
    for b in crashed:
        assert b["reserved"] > 0 and b["charged"] == b["reserved"] == b["cost"], b
    assert month(home) <= limit * 1e9, month(home)
    charged = json.loads(again.call("GET", "/weir/v1/status")[1])["budget"]["charged_nano"]
    assert charged == month(home), (charged, month(home))
    assert weir(["egress", "verify"], home).returncode == 0
    r, _ = call(again, "openai", MODEL, max_tokens=4)
    assert r.status == 200
    assert again.stop() == 0
    print(f"  killed after {len(seen)} of 200 were seen finished; {len(crashed)} were charged as crashed", flush=True)


@test
def two_processes_under_load_share_one_home():
    home = home_with("budget = 1\n" + prices("openai", "anthropic"))
    w = Weir(home, env=ENV)
    before = len(rows_of(home))
    seen = []

    def ask(i):
        p = weir(["ask", "--json", "--model", MODEL if i % 2 else "openai/ok", "-n", "8", f"Question {i}"], home, env=ENV)
        return p.returncode, p.out, p.err

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        asks = [pool.submit(ask, i) for i in range(12)]
        list(pool.map(lambda i: one(w, i, seen), range(40)))
        answers = [a.result() for a in asks]
    assert all(code == 0 for code, _, _ in answers), [a for a in answers if a[0]]
    rows = rows_of(home)
    assert len(rows) - before == 52 and not [b for b in rows if b["status"] == "open"], len(rows)
    ids = {b["id"] for b in rows}
    assert all(json.loads(out)["account"]["id"] in ids for _, out, _ in answers)
    assert len(seen) == 40 and all(s[0] in ids for s in seen)
    month(home)
    assert w.stop() == 0


run()
