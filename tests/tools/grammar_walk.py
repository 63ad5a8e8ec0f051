#!/usr/bin/env python3
"""Random texts of schema grammars, judged by another validator: every schema of the
JSON-Schema-Test-Suite that is not refused must give only texts that python-jsonschema accepts.

usage: grammar_walk.py BUILD/tests/grammar_walk FIXTURES [TEXTS] [SEED]
"""
import decimal
import json
import pathlib
import subprocess
import sys
import warnings

warnings.simplefilter('ignore')
try:
    import jsonschema
except ImportError:
    print('skipped: no python-jsonschema here')
    sys.exit(77)


def rounded(error):
    """The judge divides doubles: 11.1 is a multiple of 0.0001 all the same."""
    if isinstance(error, str) or error.validator != 'multipleOf':
        return False
    return decimal.Decimal(str(error.instance)) % decimal.Decimal(str(error.validator_value)) == 0


def main():
    tool, fixtures = sys.argv[1], pathlib.Path(sys.argv[2])
    texts = sys.argv[3] if len(sys.argv) > 3 else '6'
    seed = sys.argv[4] if len(sys.argv) > 4 else '1'
    vocabulary = fixtures / 'tokenizer/qwen2/vocab.gguf'
    if not vocabulary.exists() or not (fixtures / 'json/schema').exists():
        print(f'skipped: no {fixtures}')
        return 77
    schemas = []
    for draft in ('draft7', 'draft2020-12'):
        for path in sorted((fixtures / 'json/schema' / draft).rglob('*.json')):
            if path.stem == 'ecmascript-regex':
                continue  # Python's \s and \W are not ECMAScript's
            schemas += [(draft, path.stem, g['description'], g['schema'])
                        for g in json.loads(path.read_text())]
    lines = '\n'.join(json.dumps(s[3]) for s in schemas) + '\n'
    out = subprocess.run([tool, str(vocabulary), texts, seed], input=lines, capture_output=True,
                         text=True, check=True).stdout.splitlines()
    assert len(out) == len(schemas), (len(out), len(schemas))
    checked = refused = wrong = 0
    for (draft, file, name, schema), line in zip(schemas, out):
        got = json.loads(line)
        if got is None:
            refused += 1
            continue
        cls = jsonschema.Draft7Validator if draft == 'draft7' else jsonschema.Draft202012Validator
        judge = cls(schema, format_checker=cls.FORMAT_CHECKER)
        for text in got:
            checked += 1
            try:
                error = next(judge.iter_errors(json.loads(text)), None)
            except ValueError as e:
                error = f'not JSON: {e}'
            except Exception:  # the judge cannot follow this schema's references
                continue
            if error and not rounded(error):
                wrong += 1
                print(f'{draft}/{file}: {name}: {text[:200]!r}: {str(error).splitlines()[0]}')
    print(f'{len(schemas)} schemas, {refused} refused; {checked} texts judged, {wrong} wrong')
    return 1 if wrong or not checked else 0


if __name__ == '__main__':
    sys.exit(main())
