#!/usr/bin/env python3
"""Render every template of a folder with jinja2 and with weir, and compare byte by byte.

usage: tmpl_diff.py TMPL_RENDER FOLDER [-v] [NAME...]

jinja2 is set up as Hugging Face's apply_chat_template does it (trim_blocks, lstrip_blocks,
loopcontrols, the generation tag, tojson without HTML escapes), but with mutable lists.
Both sides refusing a conversation counts as agreement; a case on which jinja2 fails by Python's own
limits (a generator given to json.dumps, a sum of str and None) has no reference and is not compared. Exit code 0 when all agree.
"""
import datetime
import json
import os
import subprocess
import sys
import tempfile

import jinja2
import jinja2.ext
import jinja2.sandbox

NOW_MS = 1764009600000
CALL = {"name": "get_weather", "arguments": {"city": "Köln \"west\"", "days": 3, "metric": True, "x": None, "f": 1.5,
                                             "l": [1, "two", {"three": 3.0}]}}
TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "Weather <now> & 'later' in \"a\" city.",
        "parameters": {"type": "object", "properties": {
            "city": {"type": "string", "description": "The city's name"},
            "days": {"type": "integer", "description": "How many", "default": 1, "minimum": 0},
            "unit": {"type": "string", "enum": ["c", "f"], "description": "Unit"},
            "tags": {"type": "array", "items": {"type": "string"}, "description": "Tags"},
            "opt": {"type": "object", "properties": {"deep": {"type": "number"}}, "description": "Options"}},
            "required": ["city"]}}},
    {"type": "function", "function": {
        "name": "noop", "description": "Nothing", "parameters": {"type": "object", "properties": {}}}},
]
S = {"role": "system", "content": "You are terse.  "}
U = {"role": "user", "content": "  Hello, wörld! <b>&\n<|im_end|>\n"}
A = {"role": "assistant", "content": "Hi."}


def call(i="abc123def"):
    return {"id": i, "type": "function", "function": CALL}


def cases():
    yield "user", {"messages": [U]}
    yield "system", {"messages": [S, U]}
    yield "turns", {"messages": [S, U, A, {"role": "user", "content": "And?"}]}
    yield "turns-no-prompt", {"messages": [U, A], "add_generation_prompt": False}
    yield "tools", {"messages": [S, U], "tools": TOOLS}
    yield "tools-no-system", {"messages": [U], "tools": TOOLS}
    yield "call", {"messages": [S, U, {"role": "assistant", "content": "", "tool_calls": [call()]},
                                {"role": "tool", "tool_call_id": "abc123def", "name": "get_weather",
                                 "content": "{\"t\": 21}"}], "tools": TOOLS}
    yield "call-null", {"messages": [U, {"role": "assistant", "content": None, "tool_calls": [call()]},
                                     {"role": "tool", "tool_call_id": "abc123def", "name": "get_weather",
                                      "content": "21"}, A, {"role": "user", "content": "Thanks"}], "tools": TOOLS}
    yield "calls", {"messages": [U, {"role": "assistant", "content": "Let me see.",
                                     "tool_calls": [call("aaaaaaaa1"), call("aaaaaaaa2")]},
                                 {"role": "tool", "tool_call_id": "aaaaaaaa1", "name": "get_weather", "content": "1"},
                                 {"role": "tool", "tool_call_id": "aaaaaaaa2", "name": "get_weather", "content": "2"}],
                    "tools": TOOLS}
    yield "call-text-args", {"messages": [U, {"role": "assistant", "content": "", "tool_calls": [
        {"id": "abc123def", "type": "function", "function": {"name": "noop", "arguments": "{\"a\": 1}"}}]},
        {"role": "tool", "tool_call_id": "abc123def", "name": "noop", "content": "ok"}], "tools": TOOLS}
    yield "reasoning", {"messages": [U, {"role": "assistant", "content": "Hi.", "reasoning_content": "They greet.\n"},
                                     {"role": "user", "content": "Why?"}]}
    yield "think-in-text", {"messages": [U, {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nHi."},
                                         {"role": "user", "content": "Why?"}]}
    yield "thinking-on", {"messages": [U], "enable_thinking": True, "thinking": True}
    yield "thinking-off", {"messages": [U], "enable_thinking": False, "thinking": False}
    yield "parts", {"messages": [{"role": "user", "content": [{"type": "text", "text": "One"},
                                                              {"type": "text", "text": " two"}]}]}
    yield "image", {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]}
    yield "system-parts", {"messages": [{"role": "system", "content": [{"type": "text", "text": "Be kind."}]}, U]}
    yield "assistant-parts", {"messages": [U, {"role": "assistant", "content": [{"type": "text", "text": "Hi "},
                                                                                {"type": "text", "text": "you"}]},
                                           {"role": "user", "content": [{"type": "text", "text": "?"}]}]}
    yield "images", {"messages": [S, {"role": "user", "content": [
        {"type": "text", "text": "A"}, {"type": "image_url", "image_url": {"url": "x:y"}}, {"type": "text", "text": "B"},
        {"type": "image", "image": "x:z"}]}, A, U]}
    yield "empty", {"messages": [{"role": "system", "content": ""}, {"role": "user", "content": ""},
                                 {"role": "assistant", "content": ""}, {"role": "user", "content": ""}]}
    yield "null", {"messages": [U, {"role": "assistant", "content": None}, U]}
    yield "unicode", {"messages": [{"role": "user", "content": "\u00e4\u4f60\u597d\U0001f600\u0301\u200d\u2028\ufeff \t"},
                                   {"role": "assistant", "content": "\u0130\u00df"}, {"role": "user", "content": "\u3000x\u00a0"}]}
    yield "long", {"messages": [S] + [U, A] * 12 + [U], "tools": TOOLS}
    yield "calls-reasoning", {"messages": [
        S, U, {"role": "assistant", "content": "First.", "reasoning_content": "One.", "tool_calls": [call("aaaaaaaa1")]},
        {"role": "tool", "tool_call_id": "aaaaaaaa1", "name": "get_weather", "content": "1"},
        {"role": "assistant", "content": "Then.", "reasoning_content": "Two.", "tool_calls": [call("aaaaaaaa2")]},
        {"role": "tool", "tool_call_id": "aaaaaaaa2", "name": "get_weather", "content": "2"},
        {"role": "assistant", "content": "Last.", "reasoning_content": "Three."}, U],
        "tools": TOOLS, "enable_thinking": True, "reasoning_effort": "low"}
    yield "call-no-tools", {"messages": [U, {"role": "assistant", "content": None, "tool_calls": [call()]},
                                         {"role": "tool", "tool_call_id": "abc123def", "name": "get_weather", "content": [
                                             {"type": "text", "text": "21"}]}]}
    yield "call-no-args", {"messages": [U, {"role": "assistant", "content": "", "tool_calls": [
        {"id": "abc123def", "type": "function", "function": {"name": "noop", "arguments": {}}}]},
        {"role": "tool", "tool_call_id": "abc123def", "name": "noop", "content": ""}, A, U], "tools": TOOLS}
    yield "developer", {"messages": [{"role": "developer", "content": "Be kind."}, U]}
    yield "bad-order", {"messages": [U, U, A, A]}
    yield "nothing", {"messages": []}
    yield "reasoning-call", {"messages": [S, U, {"role": "assistant", "content": "", "reasoning_content": "Ask.",
                                                 "tool_calls": [call()]},
                                          {"role": "tool", "tool_call_id": "abc123def", "name": "get_weather",
                                           "content": "warm"}], "tools": TOOLS, "enable_thinking": True}


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


def environment():
    env = jinja2.sandbox.SandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def refuse(message):
        raise jinja2.exceptions.TemplateError(message)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = refuse
    env.globals["strftime_now"] = lambda f: datetime.datetime.fromtimestamp(NOW_MS / 1000).strftime(f)
    return env


def ours(exe, path, vars_path):
    r = subprocess.run([exe, path, vars_path, "<s>", "</s>", str(NOW_MS)], capture_output=True)
    if r.returncode:
        return None, r.stderr.decode(errors="replace").strip()
    return r.stdout, ""


def theirs(env, path, variables):
    # json round trip: a template may change what it is given
    data = json.loads(json.dumps(variables))
    try:
        text = env.from_string(open(path, encoding="utf-8", newline="").read()).render(
            bos_token="<s>", eos_token="</s>", **data)
        return text.encode(), ""
    except jinja2.exceptions.TemplateError as error:
        return None, f"{type(error).__name__}: {error}"
    except Exception as error:  # Python's own trouble (a generator to tojson): nothing to compare with
        return None, f"- {type(error).__name__}: {error}"


def show(name, case, want, got, why_want, why_got):
    print(f"--- {name} / {case}")
    if want is None or got is None:
        print(f"    jinja2: {'text' if want is not None else why_want}")
        print(f"    weir:   {'text' if got is not None else why_got}")
        return
    i = next((k for k in range(min(len(want), len(got))) if want[k] != got[k]), min(len(want), len(got)))
    print(f"    differ at byte {i}:\n    jinja2: {want[max(0, i - 60):i + 60]!r}\n    weir:   {got[max(0, i - 60):i + 60]!r}")


def main():
    args = [a for a in sys.argv[1:] if a != "-v"]
    verbose = "-v" in sys.argv
    if len(args) < 2:
        sys.exit(__doc__)
    exe, folder, only = args[0], args[1], args[2:]
    env = environment()
    good = rendered = total = 0
    names = sorted(n for n in os.listdir(folder) if n.endswith(".jinja") and (not only or any(o in n for o in only)))
    with tempfile.TemporaryDirectory() as tmp:
        vars_path = os.path.join(tmp, "vars.json")
        for name in names:
            bad = []
            for case, variables in cases():
                variables.setdefault("add_generation_prompt", True)
                with open(vars_path, "w", encoding="utf-8") as f:
                    json.dump(variables, f, ensure_ascii=False)
                path = os.path.join(folder, name)
                want, why_want = theirs(env, path, variables)
                got, why_got = ours(exe, path, vars_path)
                total += 1
                rendered += want is not None
                python_only = want is None and why_want.startswith("- ")
                if want != got and not python_only:
                    bad.append(case)
                    show(name, case, want, got, why_want, why_got)
                elif verbose and want is None:
                    print(f"    both refuse: {name} / {case}: {why_want} | {why_got}")
            good += not bad
            if bad:
                print(f"{name}: {len(bad)} differ: {', '.join(bad)}")
    print(f"{good} of {len(names)} templates agree on all {len(list(cases()))} conversations "
          f"({rendered} of {total} rendered, the others refused)")
    sys.exit(good != len(names))


if __name__ == "__main__":
    main()
