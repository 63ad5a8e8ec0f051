"""test_sampling.py: what people set, on the real program and the real model: the field reaches the sampler."""
import json

from harness import MODEL, Weir, run, test, weir

w = Weir()


def ids(text):
    p = weir(["tokenize", MODEL, "--json", "--no-special"], w.home, text)
    assert p.returncode == 0, p.err
    return json.loads(p.out)["ids"]


def say(text="Name a color.", **more):
    r, o = w.chat(text, None, **more)
    assert r.status == 200, o
    return o["choices"][0]["message"]["content"]


@test
def a_bias_forces_and_forbids_a_token():
    [cat] = ids(" cat")
    forced = say(logit_bias={str(cat): 100}, max_tokens=4)
    assert forced.count("cat") == 4, forced
    plain = say(max_tokens=1)
    banned = {str(i): -100 for i in ids(plain) + ids(" " + plain)}
    assert say(max_tokens=1, logit_bias=banned) != plain
    r, o = w.chat("Hi", None, logit_bias={"99999999": 1})
    assert r.status == 400 and "logit_bias" in o["error"]["message"], o
    r, o = w.chat("Hi", None, logit_bias={"x": 1})
    assert r.status == 400 and "logit_bias" in o["error"]["message"], o


@test
def repetition_is_punished():
    text = "Repeat after me: one two three one two three one two three one two three one two three"
    [cat] = ids(" cat")
    dull = {"logit_bias": {str(cat): 20}, "max_tokens": 24}
    assert say(text, **dull).count("cat") == 24
    dry = say(text, **dull, dry_multiplier=5, dry_allowed_length=2, dry_sequence_breakers=[])
    assert dry.count("cat") < 24, dry
    penalised = say(text, **dull, presence_penalty=2, frequency_penalty=2)
    assert penalised.count("cat") < 24, penalised


@test
def the_cuts_and_the_order_are_taken():
    greedy = say()
    for one in ({"typical_p": 1e-6, "temperature": 1}, {"top_n_sigma": 1e-6, "temperature": 1},
                {"samplers": ["top_k", "temperature"], "top_k": 1, "temperature": 2}):
        first, second = say(**one, seed=1), say(**one, seed=2)
        assert first == second, (one, first, second)
        if "typical_p" not in one:
            assert first == greedy, (one, first, greedy)
    assert say(temperature=1, xtc_probability=1, xtc_threshold=0.02, seed=1) != greedy
    r, o = w.chat("Hi", None, samplers=["nonsense"])
    assert r.status == 400 and "nonsense" in o["error"]["message"], o
    for key, value in (("typical_p", 2), ("xtc_threshold", -1), ("dry_base", "x"), ("top_n_sigma", [])):
        r, o = w.chat("Hi", None, **{key: value})
        assert r.status == 400 and key in o["error"]["message"], o


@test
def the_command_line_has_them_too():
    [cat] = ids(" cat")
    p = weir(["ask", "--model", MODEL, "--max-tokens", "3", "--logit-bias", f"{cat}=100", "Hi"], w.home)
    assert p.returncode == 0 and p.out.count("cat") == 3, p.out + p.err
    p = weir(["ask", "--model", MODEL, "--samplers", "top_k, nonsense", "Hi"], w.home)
    assert p.returncode != 0 and "nonsense" in p.err, p.err


run()
