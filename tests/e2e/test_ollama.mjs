// test_ollama.mjs: the official `ollama` client against the real executable and the real model; every answer and every
// line of every stream against Ollama's own OpenAPI document.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { Ollama } from 'ollama';
import { makeHome, model, run, startWeir, test, until, weir, weirExe } from './harness.mjs';
import { Seen } from './schema_seen.mjs';

const home = makeHome();
const encoder = path.join(home, 'tiny-bert.gguf');
execFileSync(path.join(path.dirname(weirExe), 'tests', 'tiny_encoder'), ['bert', encoder]);
assert.equal((await weir(['pull', encoder], { home })).code, 0);
const w = await startWeir({ home });

const whole = { '/api/chat': 'ChatResponse', '/api/generate': 'GenerateResponse', '/api/tags': 'ListResponse', '/api/ps': 'PsResponse', '/api/show': 'ShowResponse', '/api/embed': 'EmbedResponse', '/api/version': 'VersionResponse', '/api/create': 'StatusEvent', '/api/pull': 'StatusEvent' };
const seen = new Seen('ollama.yaml');
const pick = (where, status, value) => {
  if (status >= 400 || 'error' in value) return 'ErrorResponse';
  if (where === '/api/chat' && !value.done) return 'ChatStreamEvent';
  if (where === '/api/generate' && !value.done) return 'GenerateStreamEvent';
  return whole[where];
};
const fetching = seen.fetch(pick);
const client = new Ollama({ host: w.base, fetch: fetching });
const post = async (where, body, method = 'POST') => {
  const r = await fetching(w.base + where, { method, body: typeof body === 'string' ? body : JSON.stringify(body) });
  const text = await r.text();
  return { status: r.status, text, json: text.startsWith('{') ? JSON.parse(text.split('\n')[0]) : null };
};
const options = { temperature: 0, num_predict: 24 };
const japan = [{ role: 'user', content: 'What is the capital of Japan? Answer in one word.' }];
const refused = (p, status, word) => assert.rejects(p, (e) => {
  assert.equal(e.name, 'ResponseError', String(e));
  assert.equal(e.status_code, status, e.message);
  assert.match(e.error, word);
  return true;
});
const loaded = async () => (await client.ps()).models.map((m) => m.name);
const running = async () => (await client.ps()).models.find((m) => m.name === model);
const durations = (r) => {
  for (const k of ['total_duration', 'load_duration', 'prompt_eval_duration', 'eval_duration'])
    assert.ok(Number.isInteger(r[k]) && r[k] > 0, `${k} ${r[k]}`); // Ollama's own tests want each
  assert.ok(r.total_duration >= r.eval_duration && r.eval_duration > 1e5, JSON.stringify(r)); // nanoseconds
  assert.ok(r.prompt_eval_count > 10 && r.eval_count > 0, JSON.stringify(r));
};

test('a program that looks for Ollama finds it', async () => {
  assert.equal(await (await fetch(w.base)).text(), 'Ollama is running');
  assert.equal((await fetch(w.base, { method: 'HEAD' })).status, 200);
  assert.match((await client.version()).version, /^\d+\.\d+\.\d+$/);
});

test('models are listed and shown', async () => {
  const m = (await client.list()).models.find((x) => x.name === model);
  assert.equal(m.model, model);
  assert.match(m.digest, /^[0-9a-f]{64}$/);
  assert.ok(m.size > 1e7 && !Number.isNaN(Date.parse(m.modified_at)));
  assert.deepEqual([m.details.format, m.details.family, m.details.quantization_level], ['gguf', 'llama', 'Q4_1']);
  const s = await client.show({ model });
  assert.deepEqual(s.capabilities.slice(0, 1), ['completion']);
  assert.equal(s.model_info['general.architecture'], 'llama');
  assert.ok(s.model_info['llama.context_length'] >= 2048);
  assert.match(s.template, /im_start/);
  assert.match(s.modelfile, /^FROM /m);
  assert.deepEqual((await client.show({ model: 'tiny-bert' })).capabilities, ['embedding']);
});

test('a chat is answered; ps tells of the model', async () => {
  const r = await client.chat({ model, messages: japan, options });
  assert.match(r.message.content, /Tokyo/);
  assert.deepEqual([r.model, r.message.role, r.done], [model, 'assistant', true]);
  assert.ok(['stop', 'length'].includes(r.done_reason));
  durations(r);
  const p = await running();
  assert.ok(Date.parse(p.expires_at) > Date.now() + 1e10, 'it stays until its memory is wanted');
  assert.ok(p.size > 0 && p.context_length >= 2048);
});

test('a stream says the same, and its last line counts', async () => {
  const r = await client.chat({ model, messages: japan, options });
  let text = '', last, n = 0;
  for await (const c of await client.chat({ model, messages: japan, options, stream: true })) {
    assert.ok(!last, 'nothing after done');
    text += c.message.content;
    n++;
    if (c.done) last = c;
  }
  assert.equal(text, r.message.content);
  assert.ok(n > 3);
  assert.equal(last.eval_count, r.eval_count);
  assert.equal(last.done_reason, r.done_reason);
  durations(last);
});

test('options are heeded', async () => {
  const ask = (o) => client.chat({ model, messages: [{ role: 'user', content: 'Tell me a story about a river.' }], options: { num_predict: 20, ...o } });
  const [a, b, c] = await Promise.all([ask({ seed: 7, temperature: 1 }), ask({ seed: 7, temperature: 1 }), ask({ seed: 8, temperature: 1 })]);
  assert.equal(a.message.content, b.message.content);
  assert.notEqual(a.message.content, c.message.content);
  const few = await ask({ num_predict: 3 });
  assert.deepEqual([few.eval_count, few.done_reason], [3, 'length']);
  const one = await ask({ temperature: 2, top_k: 1 }), zero = await ask({ temperature: 0 });
  assert.equal(one.message.content, zero.message.content);
  const stopped = await client.chat({ model, messages: japan, options: { ...options, stop: ['Tokyo', ' is'] } });
  assert.ok(!/Tokyo| is/.test(stopped.message.content), stopped.message.content);
  assert.equal(stopped.done_reason, 'stop');
  await ask({ mirostat: 0, num_gpu: 99, num_thread: 2, penalize_newline: true, no_such_option: 1 });
});

test('format: json and a schema', async () => {
  const ask = { model, messages: [{ role: 'user', content: 'Tell me about Tokyo in JSON.' }] };
  const schema = { type: 'object', properties: { city: { type: 'string', maxLength: 12 }, big: { type: 'boolean' } }, required: ['city', 'big'], additionalProperties: false };
  const r = await client.chat({ ...ask, options: { temperature: 0, num_predict: 60 }, format: schema });
  const o = JSON.parse(r.message.content);
  assert.ok(typeof o.city === 'string' && typeof o.big === 'boolean', r.message.content);
  let text = '';
  for await (const c of await client.chat({ ...ask, options: { temperature: 0, num_predict: 60 }, format: schema, stream: true })) text += c.message.content;
  assert.equal(text, r.message.content);
  const j = await client.chat({ ...ask, options: { temperature: 0, num_predict: 200 }, format: 'json' });
  if (j.done_reason === 'stop') assert.equal(typeof JSON.parse(j.message.content), 'object');
  else assert.equal(j.message.content.trim()[0], '{');
  const g = await client.generate({ model, prompt: 'A city, as JSON.', format: schema, options: { temperature: 0, num_predict: 60 } });
  assert.equal(typeof JSON.parse(g.response).big, 'boolean');
  await refused(client.chat({ ...ask, format: { type: 'array', uniqueItems: true } }), 400, /uniqueItems/);
  await refused(client.chat({ ...ask, format: 'xml' }), 400, /format/);
});

test('what this model cannot do is refused by name', async () => {
  const tools = [{ type: 'function', function: { name: 'weather', description: 'd', parameters: { type: 'object', properties: {} } } }];
  await refused(client.chat({ model, messages: japan, tools }), 400, /does not support tools/);
  await refused(client.chat({ model, messages: japan, think: true }), 400, /does not support thinking/);
  await refused(client.generate({ model, prompt: 'def f(', suffix: 'return 1' }), 400, /does not support insert/);
  await refused(client.chat({ model, messages: [{ ...japan[0], images: ['iVBORw0KGgo='] }] }), 400, /image/i);
  await refused(client.generate({ model: 'tiny-bert', prompt: 'hello' }), 400, /does not support (generate|chat)/);
  await refused(client.chat({ model: 'tiny-bert', messages: japan }), 400, /does not support chat/);
  assert.ok((await client.chat({ model, messages: japan, think: false, options })).message.content);
});

test('generate: a system, a template, a raw prompt', async () => {
  const prompt = japan[0].content;
  const r = await client.generate({ model, prompt, options });
  assert.match(r.response, /Tokyo/);
  durations(r);
  let text = '', last;
  for await (const c of await client.generate({ model, prompt, options, stream: true })) { text += c.response; last = c; }
  assert.equal(text, r.response);
  assert.ok(last.done && last.eval_count === r.eval_count);
  const pirate = await client.generate({ model, prompt, system: 'You are a pirate. Answer in French.', options });
  assert.ok(pirate.prompt_eval_count !== r.prompt_eval_count, 'the system text replaces the template\'s own');
  const rendered = '<|im_start|>user\n' + prompt + '<|im_end|>\n<|im_start|>assistant\n';
  const raw = await client.generate({ model, prompt: rendered, raw: true, options });
  assert.match(raw.response, /Tokyo/);
  const own = await client.generate({ model, prompt, template: '<|im_start|>user\n{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n', options });
  assert.equal(own.prompt_eval_count, raw.prompt_eval_count);
  assert.equal(own.response, raw.response);
  await refused(client.generate({ model, prompt, raw: true, system: 'x' }), 400, /raw mode/);
});

test('a model is loaded and unloaded without a word', async () => {
  const off = await client.generate({ model, keep_alive: 0 });
  assert.deepEqual([off.done, off.done_reason, off.response], [true, 'unload', '']);
  assert.ok(!(await loaded()).includes(model));
  const on = await client.generate({ model });
  assert.deepEqual([on.done, on.done_reason], [true, 'load']);
  assert.ok((await loaded()).includes(model));
  const chat = await client.chat({ model, messages: [], keep_alive: '10m' });
  assert.deepEqual([chat.done, chat.done_reason], [true, 'load']);
  const left = Date.parse((await running()).expires_at) - Date.now();
  assert.ok(left > 500e3 && left < 601e3);
  await client.chat({ model, messages: japan, options, keep_alive: -1 });
  assert.ok(Date.parse((await running()).expires_at) - Date.now() > 1e10);
  await client.chat({ model, messages: japan, options, keep_alive: 0 });
  await until('it is unloaded', async () => !(await loaded()).includes(model));
  await refused(client.chat({ model, messages: japan, keep_alive: 'soon' }), 400, /keep_alive|duration/);
});

test('embeddings, the new way and the old', async () => {
  const r = await client.embed({ model: 'tiny-bert', input: ['hello world.', 'quick brown fox'] });
  assert.deepEqual([r.model, r.embeddings.length, r.embeddings[0].length], ['tiny-bert', 2, 64]);
  assert.ok(r.total_duration > 0 && r.prompt_eval_count > 4);
  const one = await client.embed({ model: 'tiny-bert', input: 'hello world.' });
  assert.deepEqual(one.embeddings[0], r.embeddings[0]);
  assert.equal((await client.embed({ model: 'tiny-bert', input: 'hello', dimensions: 16 })).embeddings[0].length, 16);
  assert.equal((await client.embeddings({ model: 'tiny-bert', prompt: 'hello world.' })).embedding.length, 64);
  const long = 'hello '.repeat(300);
  assert.equal((await client.embed({ model: 'tiny-bert', input: long })).embeddings.length, 1);
  await refused(client.embed({ model: 'tiny-bert', input: long, truncate: false }), 400, /exceeds|context|tokens/);
  await refused(client.embed({ model: 'nobody', input: 'x' }), 404, /not found/);
});

test('copy, create and delete', async () => {
  assert.equal((await client.copy({ source: model, destination: 'second' })).status, 'success');
  assert.match((await client.chat({ model: 'second', messages: japan, options })).message.content, /Tokyo/);
  const lines = [];
  for await (const c of await client.create({ model: 'short', from: model, system: 'You answer in one word.', parameters: { num_predict: 2, temperature: 0, stop: ['Kyoto'] }, stream: true })) lines.push(c.status);
  assert.equal(lines.at(-1), 'success');
  const s = await client.show({ model: 'short' });
  assert.equal(s.system, 'You answer in one word.');
  assert.match(s.parameters, /num_predict +2/);
  const r = await client.chat({ model: 'short', messages: japan });
  assert.deepEqual([r.eval_count, r.done_reason], [2, 'length']);
  const more = await client.chat({ model: 'short', messages: japan, options: { num_predict: 4 } });
  assert.equal(more.eval_count, 4, 'a request\'s options come before the model\'s');
  assert.equal((await client.create({ model: 'shorter', from: 'short', parameters: { num_predict: 1 } })).status, 'success');
  assert.equal((await client.chat({ model: 'shorter', messages: japan })).eval_count, 1);
  assert.equal((await client.delete({ model: 'short' })).status, 'success');
  await refused(client.show({ model: 'short' }), 404, /not found/);
  await refused(client.delete({ model: 'short' }), 404, /not found/);
  await refused(client.copy({ source: 'short', destination: 'x' }), 404, /not found/);
  await refused(client.create({ model: 'x', from: model, quantize: 'q4_0' }), 400, /quantize/);
  await refused(client.push({ model }), 400, /push/);
});

test('a template of Ollama\'s kind that offers tools', async () => {
  const template = `{{- if or .System .Tools }}<|im_start|>system
{{ .System }}{{ if .Tools }}
<tools>{{ range .Tools }}
{{ . }}{{ end }}
</tools>
Answer with <tool_call>
{"name": ..., "arguments": ...}
</tool_call>{{ end }}<|im_end|>
{{ end }}{{ range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}{{ range .ToolCalls }}<tool_call>
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
</tool_call>{{ end }}<|im_end|>
{{ end }}<|im_start|>assistant
`;
  await client.create({ model: 'caller', from: model, template });
  const shown = await client.show({ model: 'caller' });
  assert.ok(shown.capabilities.includes('tools'), shown.capabilities.join());
  assert.equal(shown.template, template);
  const tools = [{ type: 'function', function: { name: 'get_weather', description: 'The weather of a city.', parameters: { type: 'object', properties: { city: { type: 'string', maxLength: 12 } }, required: ['city'] } } }];
  const messages = [{ role: 'user', content: 'Call get_weather for Oslo.' }];
  const plain = await client.chat({ model: 'caller', messages, options });
  const offered = await client.chat({ model: 'caller', messages, tools, options: { ...options, num_predict: 60 } });
  assert.ok(offered.prompt_eval_count > plain.prompt_eval_count + 40);
  for (const c of offered.message.tool_calls ?? []) assert.equal(typeof c.function.arguments, 'object');
  let calls = 0, last;
  for await (const c of await client.chat({ model: 'caller', messages, tools, options: { ...options, num_predict: 60 }, stream: true })) {
    calls += c.message.tool_calls?.length ?? 0;
    last = c;
  }
  assert.ok(last.done);
  assert.equal(calls, offered.message.tool_calls?.length ?? 0);
  const after = await client.chat({ model: 'caller', tools, options, messages: [...messages,
    { role: 'assistant', content: '', tool_calls: [{ function: { name: 'get_weather', arguments: { city: 'Oslo' } } }] },
    { role: 'tool', content: 'sunny', tool_name: 'get_weather' }] });
  assert.ok(after.prompt_eval_count > offered.prompt_eval_count + 15);
});

test('the ollama command finds what it asks for', async () => {
  // It sends every field of its requests, the empty ones too, and the model under its older name.
  const s = (await post('/api/show', { model: '', system: '', template: '', verbose: true, options: null, name: model })).json;
  assert.equal(s.model_info['general.parameter_count'], 134515008);
  const t = s.tensors.find((x) => x.name === 'token_embd.weight');
  assert.deepEqual([t.type, t.shape], ['Q8_0', [576, 49152]]);
  assert.equal((await client.show({ model })).tensors, undefined);
  await client.create({ model: 'untagged', from: model, parameters: { temperature: 0.2, top_p: 1, stop: ['a'] } });
  assert.deepEqual((await client.show({ model: 'untagged' })).parameters.split('\n').map((l) => l.split(/ +/).join(' ')).sort(), ['stop "a"', 'temperature 0.2', 'top_p 1']);
  assert.ok((await client.list()).models.some((m) => m.name === 'untagged:latest' && m.model === m.name)); // every name has a tag
  await client.delete({ model: 'untagged:latest' });
  for (const [where, method, status, word] of [['/api/me', 'POST', 400, /no account/], ['/api/signout', 'POST', 401, /not.*signed in/], ['/api/user/keys/abc', 'DELETE', 401, /not.*signed in/]]) {
    const r = await post(where, '', method); // `ollama signin`, `push` and `signout` say why
    assert.equal(r.status, status, r.text);
    assert.match(r.json.error, word);
  }
  const bad = await fetch(`${w.base}/api/show`, { method: 'POST', body: '{' });
  assert.deepEqual([bad.status, bad.statusText], [400, 'Bad Request']); // it prints both
});

test('a name is understood as people write it', async () => {
  for (const name of ['caller:latest', 'Caller', 'SmolLM2:135M', `local/${model}`]) {
    assert.equal((await client.chat({ model: name, messages: japan, options })).done, true);
    assert.equal((await client.generate({ model: name, prompt: 'hi', options })).done, true);
    assert.ok((await client.show({ model: name })).details.family);
  }
  assert.equal((await client.embed({ model: 'tiny-bert:latest', input: 'hello' })).embeddings.length, 1);
});

test('create from an uploaded file', async () => {
  const bytes = fs.readFileSync(encoder), digest = 'sha256:' + createHash('sha256').update(bytes).digest('hex');
  const blob = `${w.base}/api/blobs/${digest}`;
  assert.equal((await fetch(`${w.base}/api/blobs/sha256:${'0'.repeat(64)}`, { method: 'HEAD' })).status, 404);
  assert.equal((await fetch(blob, { method: 'POST', body: bytes })).status, 201);
  assert.equal((await fetch(blob, { method: 'HEAD' })).status, 200);
  assert.equal((await fetch(blob.replace(/.$/, (c) => (c === '0' ? '1' : '0')), { method: 'POST', body: bytes })).status, 400);
  assert.equal((await client.create({ model: 'uploaded', files: { 'm.gguf': digest } })).status, 'success');
  assert.equal((await client.embed({ model: 'uploaded', input: 'hello' })).embeddings[0].length, 64);
});

test('a pull that cannot be', async () => {
  await refused(client.pull({ model: 'bad name!' }), 400, /name/);
  const r = await client.pull({ model: 'http://127.0.0.1:1/nothing.gguf', stream: true });
  await assert.rejects((async () => { for await (const c of r) assert.ok(c.status !== 'success'); })(), /127\.0\.0\.1|connect|refused|http/i);
});

test('errors have Ollama\'s shape and codes', async () => {
  await refused(client.chat({ model: 'nobody', messages: japan }), 404, /model 'nobody' not found/);
  await refused(client.generate({ model: 'nobody', prompt: 'x' }), 404, /model 'nobody' not found/);
  await refused(client.chat({ model: 'nobody', messages: japan, stream: true }), 404, /not found/);
  await refused(client.chat({ model, messages: [{ role: 'wizard', content: 'x' }] }), 400, /role/);
  await refused(client.chat({ model, messages: japan, options: { temperature: 'hot' } }), 400, /temperature/);
  await refused(client.chat({ model, messages: [{ role: 'user', content: 'word '.repeat(20000) }], truncate: false }), 400, /\d{4}/);
  for (const [where, body, status] of [['/api/chat', '{"model":', 400], ['/api/chat', '', 400], ['/api/chat', '[]', 400], ['/api/show', {}, 400], ['/api/copy', {}, 400], ['/api/nothing', {}, 404]]) {
    const r = await post(where, body);
    assert.equal(r.status, status, `${where} ${body}: ${r.text}`);
    assert.deepEqual(Object.keys(r.json), ['error'], r.text);
    assert.equal(typeof r.json.error, 'string');
  }
  assert.equal((await post('/api/chat', {}, 'PUT')).status, 405);
});

test('num_ctx is a context that is had, or refused', async () => {
  const tight = await startWeir({ args: ['--ctx', '256', '--memory', '280'] });
  const small = new Ollama({ host: tight.base, fetch: fetching });
  const had = async () => (await small.ps()).models.map((m) => [m.name, m.context_length]);
  const long = [{ role: 'user', content: 'word '.repeat(400) }];
  const ask = (o, messages = long, more = {}) => small.chat({ model, messages, options: { ...options, num_predict: 4, ...o }, ...more });
  await refused(ask({}), 400, /256/);
  assert.deepEqual(await had(), [[model, 256]]);
  // Who writes is not cut off by who wants more, and waits for nobody.
  const story = await ask({ num_predict: 150 }, [{ role: 'user', content: 'Tell a long story of a river.' }], { stream: true });
  let other, last;
  for await (const c of story) {
    other ??= ask({ num_ctx: 1024 });
    last = c;
  }
  assert.ok(last.done && last.eval_count > 20, JSON.stringify(last));
  assert.ok((await other).prompt_eval_count > 400);
  assert.deepEqual(await had(), [[model, 1024]]);
  assert.ok((await ask({})).prompt_eval_count > 400); // what is had is had by all
  assert.ok((await ask({ num_ctx: 64 })).prompt_eval_count > 400);
  assert.deepEqual(await had(), [[model, 1024]]);
  await refused(ask({ num_ctx: 8192 }), 503, /memory/); // it does not fit, and changes nothing
  await refused(small.generate({ model, prompt: '', options: { num_ctx: 8192 } }), 503, /memory/);
  assert.deepEqual(await had(), [[model, 1024]]);
  assert.equal((await ask({ num_ctx: 512 })).done, true);
  await small.create({ model: 'longer', from: model, parameters: { num_ctx: 2048 } });
  await small.generate({ model: 'longer', prompt: '', keep_alive: '5m' }); // `ollama run` begins so
  assert.deepEqual((await had()).filter(([name]) => name === 'longer:latest'), [['longer:latest', 2048]]);
  await tight.stop();
  const roomy = await startWeir({ args: ['--ctx', '256'] });
  const big = new Ollama({ host: roomy.base, fetch: fetching });
  await big.chat({ model, messages: long, options: { num_predict: 1, num_ctx: 1000000 } });
  assert.equal((await big.ps()).models[0].context_length, 8192); // all it was trained with
  await roomy.stop();
});

test('abort() frees the engine', async () => {
  const mine = new Ollama({ host: w.base, fetch: fetching });
  const stream = await mine.chat({ model, stream: true, messages: [{ role: 'user', content: 'Write a very long story about the sea.' }], options: { num_predict: 2000 } });
  let n = 0;
  await assert.rejects((async () => { for await (const c of stream) if (++n === 5) stream.abort(); })(), { name: 'AbortError' });
  await until('the engine is free', async () => {
    const slots = await (await fetch(`${w.base}/slots`)).json();
    return slots.length && slots.every((s) => !s.is_processing);
  });
});

seen.check('every answer and line is as Ollama\'s own document says', 100);

await run();
await w.stop();
