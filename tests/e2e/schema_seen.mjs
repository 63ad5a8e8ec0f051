// schema_seen.mjs: records what a server answers and has it checked against an OpenAPI document. A test gives its
// client `seen.fetch(pick)`; pick(path, status, json) names the schema that a body, a line or an event has to fit.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { root, test } from './harness.mjs';

const fixtures = process.env.WEIR_FIXTURES || path.resolve(root, '../shared/fixtures');

export class Seen {
  constructor(document) {
    this.document = path.join(fixtures, 'openapi', document);
    this.rows = [];
    this.pending = [];
  }

  add(schema, value) { if (schema) this.rows.push({ schema, value }); }

  // Whole bodies, NDJSON and server-sent events; what the client aborts is recorded as far as it came.
  async #read(response, where, pick) {
    let text = '';
    const decoder = new TextDecoder();
    try {
      for await (const part of response.body ?? []) text += decoder.decode(part, { stream: true });
    } catch { /* aborted */ }
    const type = response.headers.get('content-type') ?? '';
    const put = (t) => { const v = JSON.parse(t); this.add(pick(where, response.status, v), v); };
    if (/event-stream/.test(type)) {
      for (const event of text.split('\n\n').slice(0, -1)) {
        const data = event.split('\n').filter((l) => l.startsWith('data: ')).map((l) => l.slice(6)).join('\n');
        if (data && data !== '[DONE]') put(data);
      }
    } else if (/ndjson/.test(type)) {
      for (const line of text.split('\n').slice(0, -1)) if (line) put(line);
    } else if (/json/.test(type) && text) {
      put(text);
    }
  }

  fetch(pick) {
    return async (input, init) => {
      const url = new URL(typeof input === 'string' || input instanceof URL ? input : input.url);
      const response = await fetch(input, init);
      this.pending.push(this.#read(response.clone(), url.pathname, pick).catch((e) => this.add('-', String(e))));
      return response;
    };
  }

  // Registers the case that checks everything recorded so far.
  check(name, least) {
    test(name, async () => {
      await Promise.all(this.pending);
      const broken = this.rows.filter((r) => r.schema === '-');
      if (broken.length) throw new Error(`no JSON: ${broken[0].value}`);
      if (this.rows.length < least) throw new Error(`only ${this.rows.length} bodies were seen`);
      const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'weir-seen-')), 'seen.jsonl');
      fs.writeFileSync(file, this.rows.map((r) => JSON.stringify(r)).join('\n') + '\n');
      const p = spawnSync('python3', [path.join(root, 'tests/e2e/schema_check.py'), this.document, file], { encoding: 'utf8' });
      fs.rmSync(path.dirname(file), { recursive: true });
      if (p.status === 77) return console.log(`skip ${name}: ${p.stdout.trim()}`);
      if (p.status !== 0) throw new Error(p.stdout + p.stderr);
    });
  }
}
