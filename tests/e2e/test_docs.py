"""test_docs.py: what the pages say is so: the reference is generated, links resolve, commands and files exist."""
import json
import pathlib
import re

from harness import ROOT, make_home, run, test, weir

home = make_home()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def read(page):
    return page.read_text(encoding="utf-8")


@test
def the_reference_page_is_what_the_program_prints():
    p = weir(["help", "options"], home)
    assert p.returncode == 0, p.err
    assert read(ROOT / "docs/configuration.md") == p.out, "weir help options > docs/configuration.md"


@test
def every_relative_link_resolves():
    dead, seen = [], 0
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
            if re.match(r"[a-z]+:", target) or target.startswith("#"):
                continue
            seen += 1
            if not (page.parent / target.split("#")[0]).exists():
                dead.append(f"{page.name}: {target}")
    assert seen > 10 and dead == [], dead


def known_commands():
    return set(re.findall(r"^  weir (\w+) ", weir(["help"], home).out, re.M))


@test
def every_command_of_the_readme_exists_and_none_is_left_out():
    known = known_commands()
    named = set()
    for page in PAGES:
        named |= set(re.findall(r"(?:`|^    \$ )weir ([a-z]+)\b", read(page), re.M))
    assert len(known) > 15 and named - known == set(), named - known
    missing = known - set(re.findall(r"`weir ([a-z]+)", read(ROOT / "README.md"))) - {"hello"}
    assert missing == set(), missing


@test
def every_flag_of_the_pages_exists():
    reference = read(ROOT / "docs/configuration.md")
    known = set(re.findall(r"`--([a-z-]+)`", reference)) - {"no-"}
    for page in PAGES:
        for line in re.findall(r"weir (?:ask|run|serve|cost|breakeven|eval|bench|route|tokenize|template) [^`\n]*", read(page)):
            for flag in re.findall(r"--([a-z][a-z-]+)", line):
                assert flag in known, f"{page.name}: --{flag} in: {line}"


@test
def every_make_target_of_the_pages_exists():
    targets = set(re.findall(r"^([a-z]+):", read(ROOT / "Makefile"), re.M))
    for page in PAGES:
        for name in re.findall(r"(?:`|^    )make ([a-z]+)", read(page), re.M):
            assert name in targets, f"{page.name}: make {name}"


@test
def the_files_the_pages_name_exist():
    """A name with a folder is looked up from the root, or by its end; a pattern or a NAME stands for any."""
    names = [str(p.relative_to(ROOT)) for d in ("src", "tests", "tools", "fuzz", "docs", "bench", "web")
             for p in (ROOT / d).rglob("*") if "node_modules" not in p.parts]
    dead, seen = [], 0
    for page in PAGES:
        for said in re.findall(r"`([\w./-]+\.(?:c|h|py|mjs|build)|(?:src|tests|fuzz|docs|tools|bench)/[\w./-]+)`", read(page)):
            if re.search(r"[A-Z]{3}", said) or said.startswith(("build/", "kern_get")):
                continue
            seen += 1
            plain = said.rstrip("/")
            if not any(n in (plain, plain + ".c") or n.endswith("/" + plain) for n in names):
                dead.append(f"{page.name}: {said}")
    assert seen > 40 and dead == [], dead


@test
def the_configurations_the_pages_show_are_accepted():
    shown = 0
    for page in PAGES:
        blocks = re.findall(r"(?:^    .*\n|^\n)+", read(page), re.M) + re.findall(r"^```\n(.*?)^```", read(page), re.M | re.S)
        for block in blocks:
            if not re.search(r"^ *\[(?:privacy|provider|price)", block, re.M):
                continue
            h = make_home()
            text = re.sub(r"^    ", "", block, flags=re.M).replace("key_file", "; key_file")
            pathlib.Path(h, "weir.conf").write_text(text)
            p = weir(["route", "--json", "Hello"], h)
            assert p.returncode == 0 and json.loads(p.out)["verdict"] == "local", f"{page.name}: {p.err}\n{text}"
            shown += 1
    assert shown >= 4, shown


@test
def the_readme_shows_its_picture_only_if_it_is_there():
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", read(ROOT / "README.md"))
    assert [p for p in shown if not (ROOT / p).exists()] == []
    assert 100 <= len(read(ROOT / "README.md").splitlines()) <= 220


run()
