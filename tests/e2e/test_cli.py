"""test_cli.py: the commands a person types, and what programs rely on: exit codes, streams, JSON."""
import json
import pathlib
import struct
import subprocess
import tempfile
import threading

from harness import ENDLESS, FIXTURES, MODEL, WEIR, Weir, environment, make_home, run, skip, test, until, weir

home = make_home()


@test
def ask_answers_on_standard_output_and_accounts_on_standard_error():
    p = weir(["ask", "--model", MODEL, "--temperature", "0", "-n", "16", "What is the capital of Japan?"], home)
    assert p.returncode == 0, p.err
    assert "Tokyo" in p.out, p.out
    assert "·" in p.err and "first token" in p.err and "$0" in p.err, p.err
    assert "\x1b" not in p.out + p.err


@test
def standard_input_joins_the_prompt():
    p = weir(["ask", "--model", MODEL, "-t", "0", "-n", "16", "What is the capital of this country?"], home, "Japan\n")
    assert p.returncode == 0 and "Tokyo" in p.out, p.out + p.err


@test
def ask_as_json():
    p = weir(["ask", "--json", "--model", MODEL, "-t", "0", "-n", "16", "What is the capital of Japan?"], home)
    o = json.loads(p.out)
    assert "Tokyo" in o["text"]
    assert o["account"]["zone"] == "device"
    assert o["account"]["cost_nano"] == 0, o["account"]


@test
def exit_codes():
    assert weir([], home).returncode == 2
    assert weir(["frobnicate"], home).returncode == 2
    assert weir(["ask", "--no-such-flag", "x"], home).returncode == 2
    assert weir(["ask"], home).returncode == 2
    assert weir(["ask", "--model", "no-such-model", "x"], home).returncode == 3
    assert weir(["show", "no-such-model"], home).returncode == 3
    p = weir(["ask", "--model", "openai/gpt-5", "--preset", "private", "x"], home, env={"OPENAI_API_KEY": "sk-test-0000"})
    assert p.returncode == 4, (p.returncode, p.err)
    assert weir(["--help"], home).returncode == 0


@test
def a_damaged_model_is_named_for_what_it_is():
    f = pathlib.Path(tempfile.mkdtemp()) / "bad.gguf"
    f.write_text("garbage")
    p = weir(["ask", "-m", str(f), "hi"], home)
    assert p.returncode == 1 and "not a GGUF file" in p.err, (p.returncode, p.err)
    p = weir(["embed", str(f)], home, "text\n")
    assert p.returncode == 1 and "not a GGUF file" in p.err, (p.returncode, p.err)


@test
def a_request_that_cannot_be_read_is_a_row_without_its_text():
    w = Weir()
    r, text = w.call("POST", "/v1/chat/completions", '{"model": "secretword')
    assert r.status == 400 and r.getheader("x-weir-id"), text
    _, rows = w.call("GET", "/weir/v1/requests?limit=5")
    row = json.loads(rows)["rows"][0]
    assert row["id"] == r.getheader("x-weir-id") and row["status"] == "error" and row["code"] == "FORMAT", rows
    assert "secretword" not in rows
    w.stop()


@test
def a_bad_configuration_names_file_line_and_key():
    h = make_home()
    pathlib.Path(h, "weir.conf").write_text("port = 9347\nthreds = 2\n")
    p = weir(["list"], h)
    assert p.returncode == 1 and "line 2" in p.err and "threds" in p.err, p.err


@test
def the_configuration_the_environment_and_flags_win_in_order():
    h = make_home()
    pathlib.Path(h, "weir.conf").write_text("max-tokens = 3\n")
    def tokens(args, env=None):
        p = weir(["ask", "--json", "--model", MODEL, "-t", "0", *args, "Count from one to a hundred in words."], h, env=env)
        return json.loads(p.out)["account"]["output"]
    assert tokens([]) == 3
    assert tokens([], {"WEIR_MAX_TOKENS": "4"}) == 4
    assert tokens(["-n", "5"], {"WEIR_MAX_TOKENS": "4"}) == 5


@test
def a_pull_of_what_is_here_says_so():
    o = json.loads(weir(["pull", MODEL, "--json", "-q"], home).out)
    assert o["name"] == MODEL and o["bytes"] == 98362432 and o["sha256"].startswith("b179c952"), o


@test
def list_and_show():
    p = weir(["list", "--json"], home)
    assert [m["name"] for m in json.loads(p.out)["models"]] == [MODEL], p.out
    p = weir(["show", MODEL, "--json"], home)
    o = json.loads(p.out)
    assert o["layers"] == 30 and o["vocabulary"] == 49152 and 134e6 < o["params"] < 136e6, o


@test
def breakeven_says_fifteen_months():
    p = weir(["breakeven", "--hardware", "3000", "--cloud-spend", "200"], home)
    assert "15 months" in p.out, p.out
    p = weir(["breakeven", "--hardware", "3000", "--cloud-spend", "10", "--watts", "600", "--kwh", "0.4"], home)
    assert "never" in p.out.lower(), p.out


@test
def fit_speaks_of_this_machine():
    o = json.loads(weir(["fit", "--json"], home).out)
    assert o["read_bytes_s"] > 1e8 and any(m["fits"] for m in o["models"])


@test
def tokenize_matches_the_reference():
    ref = FIXTURES / "models/smollm2/f32.json"
    if not ref.exists():
        return skip("tokenize", "fixtures are absent")
    d = json.loads(ref.read_text())
    ids = d.get("ids") or d.get("tokens")
    text = (FIXTURES / "models/smollm2/text.txt").read_bytes()
    p = weir(["tokenize", MODEL, "--json", "--no-special"], home, text)
    assert json.loads(p.out)["ids"] == ids


@test
def special_tokens_in_text_are_text_without_special():
    with_s = json.loads(weir(["tokenize", MODEL, "--json"], home, "<|im_end|>").out)["ids"]
    without = json.loads(weir(["tokenize", MODEL, "--json", "--no-special"], home, "<|im_end|>").out)["ids"]
    assert len(with_s) == 1 and len(without) > 4, (with_s, without)


@test
def template_renders_the_models_own():
    f = pathlib.Path(tempfile.mkdtemp()) / "m.json"
    f.write_text(json.dumps([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]))
    p = weir(["template", MODEL, "--messages", str(f)], home)
    assert p.out == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", p.out


@test
def greedy_text_of_the_small_model():
    gguf = FIXTURES / "models/stories260K/stories260K.gguf"
    if not gguf.exists():
        return skip("stories260K", "fixtures are absent")
    want = (FIXTURES / "models/stories260K/greedy.txt").read_bytes()
    p = weir(["ask", "--model", str(gguf), "--raw", "--temperature", "0", "--ctx", "256", "--max-tokens", "200", "-q", ""], home)
    assert p.returncode == 0, p.err
    got = p.stdout.rstrip(b"\n")
    n = min(len(got), len(want.rstrip(b"\n")))
    assert n > 400 and got[:n] == want[:n], (got, want)


@test
def eval_writes_the_references_logits():
    gguf = FIXTURES / "models/families/llama-dense.gguf"
    if not gguf.exists():
        return skip("eval", "fixtures are absent")
    ref = (FIXTURES / "models/families/llama-dense.logits").read_bytes()
    n, vocab = struct.unpack_from("<2i", ref)
    ids = struct.unpack_from(f"<{n}i", ref, 8)
    d = pathlib.Path(tempfile.mkdtemp())
    (d / "ids").write_text(" ".join(map(str, ids)))
    p = weir(["eval", str(gguf), "--tokens", str(d / "ids"), "--logits", str(d / "out")], home)
    assert p.returncode == 0, p.err
    got = (d / "out").read_bytes()
    assert got[:8 + 4 * n] == ref[:8 + 4 * n] and len(got) == len(ref)
    a = struct.unpack_from(f"<{n * vocab}f", ref, 8 + 4 * n)
    b = struct.unpack_from(f"<{n * vocab}f", got, 8 + 4 * n)
    nmse = sum((x - y) ** 2 for x, y in zip(a, b)) / sum(x * x for x in a)
    assert nmse <= 1e-8, nmse


@test
def route_explains_without_calling_anyone():
    p = weir(["route", "--json", "My card is 4111 1111 1111 1111, is it stolen?"], home)
    o = json.loads(p.out)
    assert p.returncode == 0 and "4111" not in json.dumps(o), p.out
    text = weir(["route", "What is the capital of Japan?"], home).out
    assert "local" in text, text


@test
def two_processes_on_one_home_share_it():
    w = Weir(home)
    p = weir(["ask", "--model", MODEL, "-t", "0", "-n", "8", "What is the capital of Japan?"], home)
    assert p.returncode == 0 and "Tokyo" in p.out, p.err
    second = subprocess.run([WEIR, "serve", "--port", "0"], env=environment(home), capture_output=True, text=True, timeout=30)
    assert second.returncode == 1 and "owned by another weir" in second.stderr, second.stderr
    r, rows = w.call("GET", "/weir/v1/requests?limit=5")
    row = json.loads(rows)["rows"][0]
    assert row["status"] == "ok" and row["plan"]["facts"]["candidates"], rows
    assert w.stop() == 0


@test
def sigterm_drains():
    w = Weir(home)
    done = {}
    def ask():
        done["r"] = w.chat("Tell me a story.", max_tokens=60, **ENDLESS)
    t = threading.Thread(target=ask)
    t.start()
    until("it is under way", lambda: w.queued() == 1)
    w.child.terminate()
    t.join(60)
    assert done["r"][0].status == 200, done
    assert w.child.wait(40) == 0


@test
def beyond_loopback_wants_a_key():
    p = weir(["serve", "--host", "0.0.0.0", "--port", "0"], home, timeout=20)
    assert p.returncode == 4 and "API key" in p.err, (p.returncode, p.err)


@test
def cost_and_egress_verify():
    o = json.loads(weir(["cost", "--json"], home).out)
    assert o["total"]["requests"] >= 2, o
    assert "requests" in weir(["cost"], home).out.lower()
    p = weir(["egress", "verify"], home)
    assert p.returncode == 0 and "whole" in p.out


run()
