// test_completions.mjs: /v1/completions, reranking, counting and cached prompts with the official `openai` and
// `@anthropic-ai/sdk` clients; every body and event of OpenAI's dialect against its own OpenAPI document.
import assert from 'node:assert/strict';
import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import { model, run, startWeir, test } from './harness.mjs';
import { Seen } from './schema_seen.mjs';

const w = await startWeir();
const seen = new Seen('openai.yaml');
const pick = (where, status, v) => {
  if (status >= 400) return 'ErrorResponse';
  if (where === '/v1/completions') { // OpenAI streams null until the end; its document knows only the whole answer
    for (const c of v.choices) c.finish_reason ??= 'stop';
    return 'CreateCompletionResponse';
  }
  if (where === '/v1/models') return 'ListModelsResponse';
  if (where === '/v1/chat/completions') return v.object === 'chat.completion.chunk' ? 'CreateChatCompletionStreamResponse' : 'CreateChatCompletionResponse';
  if (where === '/v1/responses') return v.object === 'response' ? 'Response' : 'ResponseStreamEvent';
  return null;
};
const client = new OpenAI({ baseURL: `${w.base}/v1`, apiKey: 'unused', maxRetries: 0, fetch: seen.fetch(pick) });
const anthropic = new Anthropic({ baseURL: w.base, apiKey: 'unused', maxRetries: 0 });
const prompt = 'The capital of France is';
const ask = { model, prompt, temperature: 0, max_tokens: 6 };
const refused = (p, status, word) => assert.rejects(p, (e) => e.status === status && word.test(e.message) || assert.fail(`${e.status} ${e.message}`));

test('a completion goes on from its prompt', async () => {
  const r = await client.completions.create(ask);
  assert.match(r.choices[0].text, /Paris/);
  assert.deepEqual([r.object, r.model, r.choices[0].index, r.choices[0].finish_reason], ['text_completion', model, 0, 'length']);
  assert.equal(r.usage.completion_tokens, 6);
  assert.ok(r.usage.prompt_tokens >= 5);
  assert.equal((await client.completions.create({ model, prompt, temperature: 0 })).usage.completion_tokens, 16, 'the dialect\'s own limit');
});

test('a stream says the same and counts', async () => {
  const whole = await client.completions.create(ask);
  let text = '', usage, finish;
  for await (const c of await client.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } })) {
    text += c.choices[0]?.text ?? '';
    finish = c.choices[0]?.finish_reason ?? finish;
    usage = c.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].text);
  assert.equal(finish, 'length');
  assert.equal(usage.completion_tokens, 6);
});

test('echo, stop and a prompt of tokens', async () => {
  const whole = await client.completions.create(ask);
  const echo = await client.completions.create({ ...ask, echo: true });
  assert.equal(echo.choices[0].text, prompt + whole.choices[0].text);
  const only = await client.completions.create({ ...ask, echo: true, max_tokens: 0 });
  assert.equal(only.choices[0].text, prompt);
  const stop = await client.completions.create({ ...ask, max_tokens: 30, stop: ['.', '\n'] });
  assert.ok(!/[.\n]/.test(stop.choices[0].text));
  assert.equal(stop.choices[0].finish_reason, 'stop');
  const ids = (await (await fetch(`${w.base}/tokenize`, { method: 'POST', body: JSON.stringify({ content: prompt }) })).json()).tokens;
  const r = await client.completions.create({ ...ask, prompt: ids });
  assert.equal(r.choices[0].text, whole.choices[0].text);
  assert.equal(r.usage.prompt_tokens, ids.length);
});

test('n answers, several prompts', async () => {
  const r = await client.completions.create({ ...ask, temperature: 1.2, seed: 3, n: 3, max_tokens: 12 });
  assert.deepEqual(r.choices.map((c) => c.index).sort(), [0, 1, 2]);
  assert.ok(new Set(r.choices.map((c) => c.text)).size > 1);
  const again = await client.completions.create({ ...ask, temperature: 1.2, seed: 3, n: 3, max_tokens: 12 });
  const texts = (x) => x.choices.toSorted((a, b) => a.index - b.index).map((c) => c.text);
  assert.deepEqual(texts(again), texts(r));
  const two = await client.completions.create({ ...ask, prompt: [prompt, 'The capital of Italy is'] });
  assert.match(texts(two)[0], /Paris/);
  assert.match(texts(two)[1], /Rome/);
  const streamed = ['', ''];
  for await (const c of await client.completions.create({ ...ask, prompt: [prompt, 'The capital of Italy is'], stream: true }))
    if (c.choices[0]) streamed[c.choices[0].index] += c.choices[0].text;
  assert.deepEqual(streamed, texts(two));
});

test('log-probabilities of what was written', async () => {
  const r = await client.completions.create({ ...ask, logprobs: 3 });
  const lp = r.choices[0].logprobs;
  assert.equal(lp.tokens.join(''), r.choices[0].text);
  assert.equal(lp.token_logprobs.length, 6);
  assert.equal(lp.text_offset.length, 6);
  for (const [i, top] of lp.top_logprobs.entries()) {
    assert.ok(Object.keys(top).length >= 3);
    assert.ok(lp.token_logprobs[i] <= 0 && Math.max(...Object.values(top)) >= lp.token_logprobs[i]);
  }
});

test('what a raw prompt marks is meant', async () => {
  const messages = [{ role: 'user', content: 'What is the capital of Japan? Answer in one word.' }];
  const rendered = await (await fetch(`${w.base}/apply-template`, { method: 'POST', body: JSON.stringify({ messages }) })).json();
  const r = await client.completions.create({ ...ask, prompt: rendered.prompt, max_tokens: 24 });
  const chat = await client.chat.completions.create({ model, messages, temperature: 0, max_tokens: 24 });
  assert.equal(r.choices[0].text, chat.choices[0].message.content);
  assert.equal(r.usage.prompt_tokens, chat.usage.prompt_tokens);
});

test('what cannot be is refused by name', async () => {
  await refused(client.completions.create({ ...ask, suffix: ' and that is all.' }), 400, /insert|suffix|infill/);
  await refused(client.completions.create({ ...ask, echo: true, logprobs: 1 }), 400, /echo/);
  await refused(client.completions.create({ ...ask, best_of: 3 }), 400, /best_of/);
  await refused(client.completions.create({ ...ask, logprobs: 'many' }), 400, /logprobs/);
  await refused(client.completions.create({ ...ask, prompt: [99999999] }), 400, /token|vocabulary/);
  await refused(client.completions.create({ ...ask, model: 'nobody' }), 404, /nobody/);
  for (const path of ['/rerank', '/v1/rerank', '/v2/rerank']) {
    const r = await fetch(w.base + path, { method: 'POST', body: JSON.stringify({ model, query: 'a', documents: ['b'] }) });
    assert.equal(r.status, 400);
    assert.match((await r.json()).error.message, /cannot rerank/);
  }
  await refused(client.post('/rerank', { body: { model, documents: ['b'] } }), 400, /query/);
});

test('chat, responses and models fit the document too', async () => {
  const messages = [{ role: 'user', content: 'Say hello.' }];
  for await (const m of client.models.list()) assert.ok(m.id);
  assert.equal((await client.models.retrieve(model)).id, model);
  await refused(client.models.retrieve('nobody'), 404, /nobody/);
  await client.chat.completions.create({ model, messages, max_tokens: 6, logprobs: true, top_logprobs: 2 });
  for await (const _ of await client.chat.completions.create({ model, messages, max_tokens: 6, stream: true, logprobs: true, stream_options: { include_usage: true } }));
  await client.responses.create({ model, input: 'Say hello.', max_output_tokens: 16 });
  let last;
  for await (const ev of await client.responses.create({ model, input: 'Say hello.', max_output_tokens: 16, stream: true })) last = ev.type;
  assert.ok(['response.completed', 'response.incomplete'].includes(last), last);
});

test('tokens are counted as they are used', async () => {
  const body = { model, system: 'You answer briefly.', messages: [{ role: 'user', content: 'What is the capital of Japan?' }] };
  const { input_tokens: n } = await anthropic.messages.countTokens(body);
  const r = await anthropic.messages.create({ ...body, max_tokens: 4, temperature: 0 });
  assert.equal(n, r.usage.input_tokens + (r.usage.cache_read_input_tokens ?? 0) + (r.usage.cache_creation_input_tokens ?? 0));
  await refused(anthropic.messages.countTokens({ ...body, model: 'nobody' }), 404, /nobody/);
  const { input_tokens: other } = await client.post('/responses/input_tokens', { body: { model, input: 'What is the capital of Japan?', instructions: 'You answer briefly.' } });
  assert.equal(other, n);
});

test('a version is a date', async () => {
  const send = async (version) => (await fetch(`${w.base}/v1/messages/count_tokens`, { method: 'POST', headers: { 'anthropic-version': version }, body: JSON.stringify({ model, messages: [{ role: 'user', content: 'hi' }] }) })).status;
  for (const version of ['2023-06-01', '2023-01-01', '2026-10-21', '']) assert.equal(await send(version), 200, version);
  for (const version of ['latest', '2023-6-1', '2022-01-01', '2023-06-01x']) assert.equal(await send(version), 400, version);
});

test('a cached system prompt is read from the cache', async () => {
  const text = 'You are a careful assistant who answers briefly and never guesses. '.repeat(30);
  const send = (q, extra = {}) => anthropic.messages.create({ model, max_tokens: 4, temperature: 0, system: [{ type: 'text', text, cache_control: { type: 'ephemeral' } }], messages: [{ role: 'user', content: q }], ...extra });
  const first = await send('What is one and one?');
  const second = await send('What is the capital of Peru?');
  assert.ok(first.usage.cache_creation_input_tokens > 300, JSON.stringify(first.usage));
  assert.ok(second.usage.cache_read_input_tokens > 300, JSON.stringify(second.usage));
  const all = (u) => u.input_tokens + u.cache_read_input_tokens + u.cache_creation_input_tokens;
  assert.ok(all(first.usage) > 380 && Math.abs(all(first.usage) - all(second.usage)) < 10);
  let usage;
  for await (const ev of await send('What is the capital of Cuba?', { stream: true })) if (ev.type === 'message_start') usage = ev.message.usage;
  assert.ok(usage.cache_read_input_tokens > 300, JSON.stringify(usage));
});

seen.check('every body and event is as OpenAI\'s own document says', 60);

await run();
await w.stop();
