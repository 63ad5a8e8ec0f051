// test_embeddings.mjs: the official `openai` client against the real executable: a tiny encoder, a model that
// writes, and a provider at the network's edge.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import OpenAI, { APIError } from 'openai';
import { makeHome, model, run, startProvider, startWeir, test, weir, weirExe } from './harness.mjs';

const home = makeHome();
const make = path.join(path.dirname(weirExe), 'tests', 'tiny_encoder');
const encoder = path.join(home, 'tiny-bert.gguf');
execFileSync(make, ['bert', encoder]);
const pulled = await weir(['pull', encoder], { home });
assert.equal(pulled.code, 0, pulled.err);

const provider = await startProvider();
fs.writeFileSync(path.join(home, 'weir.conf'), [
  '[provider.script]', `url = ${provider.url}/v1`, 'zone = cloud', 'models = embed-ok, reverse, 401, embed-private',
  'caps = embed', '[price.script/embed-ok]', 'input = 1', 'output = 0', '',
].join('\n'), { mode: 0o600 });
const w = await startWeir({ home });
const client = new OpenAI({ baseURL: `${w.base}/v1`, apiKey: 'unused', maxRetries: 0 });
const bert = 'tiny-bert';
const length = (v) => Math.sqrt(v.reduce((s, x) => s + x * x, 0));
const refused = async (p, status, word) => {
  await assert.rejects(p, (e) => {
    assert.ok(e instanceof APIError, String(e));
    assert.equal(e.status, status, e.message);
    assert.match(e.message, word);
    return true;
  });
};

test('texts become rows of length 1', async () => {
  const { data, response } = await client.embeddings
    .create({ model: bert, input: ['hello world.', 'quick brown fox'], encoding_format: 'float' }).withResponse();
  assert.equal(data.object, 'list');
  assert.equal(data.model, bert);
  assert.deepEqual(data.data.map((d) => [d.object, d.index, d.embedding.length]), [['embedding', 0, 64], ['embedding', 1, 64]]);
  for (const d of data.data) assert.ok(Math.abs(length(d.embedding) - 1) < 1e-5);
  assert.equal(data.usage.prompt_tokens, 5 + 15);
  assert.equal(data.usage.total_tokens, data.usage.prompt_tokens);
  assert.match(response.headers.get('x-weir-route'), /local/);
  assert.ok(response.headers.get('x-weir-id'));
});

test('base64, which the client asks for by itself, says the same', async () => {
  const a = await client.embeddings.create({ model: bert, input: 'hello' });
  const b = await client.embeddings.create({ model: bert, input: 'hello', encoding_format: 'float' });
  assert.deepEqual(a.data[0].embedding, b.data[0].embedding.map(Math.fround));
  const raw = await fetch(`${w.base}/v1/embeddings`, {
    method: 'POST', body: JSON.stringify({ model: bert, input: 'hello', encoding_format: 'base64' }),
  }).then((r) => r.json());
  assert.equal(typeof raw.data[0].embedding, 'string');
});

test('tokens are taken as they are', async () => {
  const text = await client.embeddings.create({ model: bert, input: 'hello world' });
  const ids = await client.embeddings.create({ model: bert, input: [2, 56, 57, 3] });
  const lists = await client.embeddings.create({ model: bert, input: [[2, 56, 57, 3], [2, 3]] });
  assert.deepEqual(ids.data[0].embedding, text.data[0].embedding);
  assert.deepEqual(lists.data[0].embedding, text.data[0].embedding);
  assert.equal(lists.usage.prompt_tokens, 6);
});

test('company changes nothing', async () => {
  const texts = Array.from({ length: 300 }, (_, i) => 'a b c d '.repeat(1 + (i * 7) % 20));
  const all = await client.embeddings.create({ model: bert, input: texts });
  assert.equal(all.data.length, 300);
  const some = await Promise.all([0, 17, 299].map((i) => client.embeddings.create({ model: bert, input: texts[i] })));
  [0, 17, 299].forEach((i, k) => assert.deepEqual(some[k].data[0].embedding, all.data[i].embedding));
});

test('dimensions cut a row and give it its length again', async () => {
  const all = await client.embeddings.create({ model: bert, input: 'hello' });
  const few = await client.embeddings.create({ model: bert, input: 'hello', dimensions: 8 });
  const want = all.data[0].embedding.slice(0, 8);
  const n = length(want);
  assert.equal(few.data[0].embedding.length, 8);
  few.data[0].embedding.forEach((x, i) => assert.ok(Math.abs(x - want[i] / n) < 1e-6));
});

test('what cannot be is an error in the dialect', async () => {
  await refused(client.embeddings.create({ model: bert, input: 'hello', dimensions: 65 }), 400, /dimensions/);
  await refused(client.embeddings.create({ model: bert, input: '' }), 400, /input/);
  await refused(client.embeddings.create({ model: bert, input: [] }), 400, /input/);
  await refused(client.embeddings.create({ model: bert, input: ['a', 5] }), 400, /input\[1\]/);
  await refused(client.embeddings.create({ model: bert, input: [2, 64] }), 400, /vocabulary/);
  await refused(client.embeddings.create({ model: bert, input: 'a', encoding_format: 'hex' }), 400, /encoding_format/);
  await refused(client.embeddings.create({ input: 'a' }), 400, /model/);
  await refused(client.embeddings.create({ model: bert, input: 'a '.repeat(300) }), 400, /102 too many/);
  await refused(client.embeddings.create({ model: 'nowhere', input: 'a' }), 404, /nowhere/);
  const cut = await client.embeddings.create({ model: bert, input: 'a '.repeat(300), truncate: true });
  assert.equal(cut.usage.prompt_tokens, 200);
});

test('an encoder does not chat', async () => {
  const messages = [{ role: 'user', content: 'hi' }];
  await assert.rejects(client.chat.completions.create({ model: bert, messages }), /does not support chat/);
});

test('auto takes the encoder, and a model that writes gives rows too', async () => {
  const auto = await client.embeddings.create({ model: 'auto', input: 'hello' });
  assert.equal(auto.model, bert);
  const d = await client.embeddings.create({ model, input: ['hello', 'world'] });
  assert.equal(d.data[0].embedding.length, 576);
  assert.notDeepEqual(d.data[0].embedding, d.data[1].embedding);
});

test('a provider answers in its own words', async () => {
  for (const format of ['float', 'base64']) {
    const before = provider.requests().length;
    const { data, response } = await client.embeddings
      .create({ model: 'script/embed-ok', input: ['one', 'three'], dimensions: 4, encoding_format: format }).withResponse();
    const rows = data.data.map((d) => d.embedding);
    if (format === 'float') assert.deepEqual(rows, [[3, 0, 0.5, -0.25], [5, 1, 0.5, -0.25]]);
    else assert.equal(Buffer.from(rows[1], 'base64').readFloatLE(0), 5);
    assert.equal(data.usage.prompt_tokens, 8);
    assert.match(response.headers.get('x-weir-route'), /script/);
    const sent = provider.requests().slice(before).find((r) => r.path);
    assert.equal(sent.path, '/v1/embeddings');
    assert.deepEqual(sent.body.input, ['one', 'three']);
    assert.equal(sent.body.dimensions, 4);
  }
  const back = await client.embeddings.create({ model: 'script/reverse', input: ['a', 'bb'], encoding_format: 'float' });
  assert.deepEqual(back.data.map((d) => [d.index, d.embedding[0]]), [[0, 1], [1, 2]]);
  await refused(client.embeddings.create({ model: 'script/401', input: 'a' }), 401, /./);
});

test('what is private stays here', async () => {
  const before = provider.requests().length;
  await refused(client.embeddings.create(
    { model: 'script/embed-private', input: ['ok', 'write to jane.doe@example.com'] }, { headers: { 'x-weir-zone': 'device' } },
  ), 403, /device/);
  assert.equal(provider.requests().length, before);
});

test('rows are booked', async () => {
  const { data, response } = await client.embeddings.create({ model: 'script/embed-ok', input: 'four' }).withResponse();
  assert.equal(data.usage.prompt_tokens, 4);
  const row = await fetch(`${w.base}/weir/v1/requests/${response.headers.get('x-weir-id')}`).then((r) => r.json());
  assert.equal(row.kind, 'embed');
  assert.equal(row.provider, 'script');
});

test('the command line has it', async () => {
  const r = await weir(['embed', bert], { home, input: 'hello world.\n\nquick brown fox\n' });
  assert.equal(r.code, 0, r.err);
  const out = JSON.parse(r.out);
  const same = await client.embeddings.create({ model: bert, input: ['hello world.', 'quick brown fox'] });
  assert.deepEqual(out.data.map((d) => d.embedding.map(Math.fround)), same.data.map((d) => d.embedding));
  const few = await weir(['embed', bert, '--dimensions', '3'], { home, input: 'hello' });
  assert.equal(JSON.parse(few.out).data[0].embedding.length, 3);
  const none = await weir(['embed', 'nowhere'], { home, input: 'hello' });
  assert.equal(none.code, 3);
});

await run();
await w.stop();
await provider.stop();
fs.rmSync(home, { recursive: true, force: true });
