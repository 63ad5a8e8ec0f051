"""tok_diff.py TOK_WORDS [FIXTURES]: the hand-written pre-tokenizers against the regular expressions
they stand for, run by PyPI's `regex`, on random Unicode text (fixed seeds) and, where they are, on
the fixtures' texts. Exit 77 (skipped) without that module.

The expressions are those that the models' own tokenizer.json files have. Not compared: that
`(?i:'s)` takes a long s (U+017F) as well, which the reference engine does not follow either."""
import glob
import os
import random
import subprocess
import sys
import unicodedata

try:
    import regex
except ImportError:
    print("no Python module `regex`: the pre-tokenizers are not compared")
    sys.exit(77)

SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACES = r"\s+(?!\S)|\s+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|" + SPACES
LLAMA = SHORT + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|" + SPACES
UP = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
LOW = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CASED = (r"[^\r\n\p{L}\p{N}]?" + UP + "*" + LOW + r"+%s|[^\r\n\p{L}\p{N}]?" + UP + "+" + LOW +
         r"*%s|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|" + SPACES)
DS3 = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
       r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|" + SPACES)
HAN = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
ASIA = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"
# The cased letters of DeepSeek LLM, as ranges of code points.
DSL = "".join(
    chr(a) + "-" + chr(b) for a, b in (
        (0x41, 0x5A), (0x61, 0x7A), (0xB5, 0xB5), (0xC0, 0xD6), (0xD8, 0xF6), (0xF8, 0x1BA),
        (0x1BC, 0x1BF), (0x1C4, 0x293), (0x295, 0x2AF), (0x370, 0x373), (0x376, 0x376), (0x377,
        0x377), (0x37B, 0x37D), (0x37F, 0x37F), (0x386, 0x386), (0x388, 0x38A), (0x38C, 0x38C),
        (0x38E, 0x3A1), (0x3A3, 0x3F5), (0x3F7, 0x481), (0x48A, 0x52F), (0x531, 0x556), (0x10A0,
        0x10C5), (0x13A0, 0x13F5), (0x13F8, 0x13FD), (0x1C90, 0x1CBA), (0x1CBD, 0x1CBF),
        (0x1D00, 0x1D2B), (0x1D6B, 0x1D77), (0x1D79, 0x1D9A), (0x1E00, 0x1F15), (0x1F18,
        0x1F1D), (0x1F20, 0x1F45), (0x1F48, 0x1F4D), (0x1F50, 0x1F57), (0x1F59, 0x1F59),
        (0x1F5B, 0x1F5B), (0x1F5D, 0x1F5D), (0x1F5F, 0x1F7D), (0x1F80, 0x1FB4), (0x1FB6,
        0x1FBC), (0x1FBE, 0x1FBE), (0x1FC2, 0x1FC4), (0x1FC6, 0x1FCC), (0x1FD0, 0x1FD3),
        (0x1FD6, 0x1FDB), (0x1FE0, 0x1FEC), (0x1FF2, 0x1FF4), (0x1FF6, 0x1FFC), (0x2102,
        0x2102), (0x2107, 0x2107), (0x210A, 0x2113), (0x2115, 0x2115), (0x2119, 0x211D),
        (0x2124, 0x2124), (0x2126, 0x2126), (0x2128, 0x2128), (0x212A, 0x212D), (0x212F,
        0x2134), (0x2139, 0x2139), (0x213C, 0x213F), (0x2145, 0x2149), (0x214E, 0x214E),
        (0x2183, 0x2183), (0x2184, 0x2184), (0x2C00, 0x2C7B), (0x2C7E, 0x2CE4), (0x2CEB,
        0x2CEE), (0x2CF2, 0x2CF2), (0x2CF3, 0x2CF3), (0xA640, 0xA66D), (0xA680, 0xA69B),
        (0xA722, 0xA76F), (0xA771, 0xA787), (0xA78B, 0xA78E), (0xAB70, 0xABBF), (0xFB00,
        0xFB06), (0xFB13, 0xFB17), (0xFF21, 0xFF3A), (0xFF41, 0xFF5A), (0x10400, 0x1044F),
        (0x104B0, 0x104D3), (0x104D8, 0x104FB), (0x10C80, 0x10CB2), (0x10CC0, 0x10CF2),
        (0x118A0, 0x118DF), (0x1E900, 0x1E943),
    ))

PATTERNS = {
    "gpt-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "llama-bpe": [LLAMA % "{1,3}"],
    "qwen2": [LLAMA % ""],
    "minicpm5": [r"\p{N}{1,3}", LLAMA % "+"],
    "laguna": [r"[^\n]+|\n+", LLAMA % ""],
    "qwen35": [SHORT + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
               r"|\s*[\r\n]+|" + SPACES],
    "ufakzeka": [r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|" + SPACES],
    "seed-coder": [SHORT + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|" +
                   SPACES],
    "bailingmoe": [r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}"
                   r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|" + SPACES],
    "tekken": [CASED % ("", "", "")],
    "gpt-4o": [CASED % (SHORT + "?", SHORT + "?", "{1,3}")],
    "deepseek-llm": ["[\r\n]", r"\s?[" + DSL + "]+",
                     "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", r"\s+$",
                     ASIA, r"\p{N}+"],
    "deepseek-coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", ASIA, r"\p{N}"],
    "deepseek-v3": [r"\p{N}{1,3}", HAN, DS3],
    "spark2_5": [r"\p{N}{1,3}", HAN, DS3.replace(r"[\r\n]*|\s*[\r\n]+", r"|[\r\n]"), r"\p{N}"],
    "bloom": [BLOOM],
    "viking": [BLOOM, r"\p{N}"],
    "gemma4": [r"[^\n]+|\n+"],
}

FRAGMENTS = ["'s", "'T", "'RE", "'ll", " ", "  ", "\n", "\r\n", "\t", "\n\n\n", "a", "B",
             "\u00c9co", "\u00c9COLE", "e\u00c9", "\u00df", "\u01c5", "\u02b0", "\u00aa", "\u4e00",
             "\u65e5\u672c", "\u304b", "\u30ab", "\ud55c\uad6d", "\u0e44\u0e17\u0e22", "\u0928\u092e",
             "\u0627\u0644", "1", "12", "1234567", "\u00b2", "\u2167", "\u0663", "\u00bd", "!", "...",
             "/", "\n/", "$+", "<=>", "^~|", "`", "_", "#", "\u20ac", "\U0001f600", "\u200d", "\ufe0f",
             "\u0301", "\u0308", "\u200b", "\u00a0", "\u3000", "\u2028", "\u0085", "\x01", "\x7f",
             "foo", "Bar", "fooBAR", "HTTPServer", "I'M", "<tag>", "\u3002", "\uff0c", "\u2018",
             "\ue000", "\ufffd", "\U00010400", "\U0001d538", "\u1100", "\u1c80", "\u060c"]


def settled(c):
    """False for what Unicode has added or moved between the versions in use."""
    return regex.match(r"\p{%s}" % unicodedata.category(c), c) and unicodedata.category(c) != "Cn"


def texts(fixtures):
    r = random.Random(20)
    out = ["".join(r.choice(FRAGMENTS) for _ in range(r.randint(1, 14))) for _ in range(4000)]
    spans = [(1, 0x7f), (1, 0x7f), (0x80, 0x5ff), (0x900, 0xdff), (0x2000, 0x2bff), (0x3000, 0x4dbf),
             (0x4e00, 0x9fa5), (0xac00, 0xd7a3), (0xf900, 0xffff), (0x10400, 0x1044f),
             (0x1f300, 0x1f64f)]
    for _ in range(3000):
        chars = (chr(r.randint(*r.choice(spans))) for _ in range(r.randint(1, 20)))
        out.append("".join(c for c in chars if settled(c)))
    for path in glob.glob(os.path.join(fixtures, "tokenizer", "*", "*.inp")):
        with open(path, encoding="utf-8") as f:
            out += f.read().split("\n__ggml_vocab_test__\n")
    return [t for t in out if "\0" not in t]


def cut(pieces, pattern):
    out = []
    for piece in pieces:
        at = 0
        for m in pattern.finditer(piece):
            if m.start() > at:
                out.append(piece[at:m.start()])
            if m.end() > m.start():
                out.append(m.group())
            at = m.end()
        if at < len(piece):
            out.append(piece[at:])
    return out


def compare(program, name, stages, all_texts):
    joined = "".join(t + "\0" for t in all_texts).encode()
    run = subprocess.run([program, name], input=joined, stdout=subprocess.PIPE, check=True)
    lines = run.stdout.decode().splitlines()
    assert len(lines) == len(all_texts), (name, len(lines), len(all_texts))
    compiled = [regex.compile(p) for p in stages]
    bad = 0
    for text, line in zip(all_texts, lines):
        want = [text]
        for pattern in compiled:
            want = cut(want, pattern)
        got = [int(n) for n in line.split()]
        if got != [len(w.encode()) for w in want]:
            bad += 1
            if bad <= 3:
                print(f"{name}: {text!a} is cut {got}, want {[len(w.encode()) for w in want]}")
    print(f"{name}: {len(all_texts)} texts, {bad} differ")
    return bad


def main():
    fixtures = sys.argv[2] if len(sys.argv) > 2 else "."
    all_texts = texts(fixtures)
    bad = sum(compare(sys.argv[1], name, stages, all_texts) for name, stages in PATTERNS.items())
    sys.exit(1 if bad else 0)


main()
