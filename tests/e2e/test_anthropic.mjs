// test_anthropic.mjs: the official `@anthropic-ai/sdk` client against the real executable and the real model.
import assert from 'node:assert/strict';
import Anthropic from '@anthropic-ai/sdk';
import { model, run, startWeir, test } from './harness.mjs';

const w = await startWeir();
const client = new Anthropic({ baseURL: w.base, apiKey: 'unused', maxRetries: 0 });
const france = [{ role: 'user', content: 'What is the capital of Japan? Answer in one word.' }];

test('a message is answered', async () => {
  const { data, response } = await client.messages.create({ model, max_tokens: 24, temperature: 0, messages: france }).withResponse();
  assert.equal(data.type, 'message');
  assert.equal(data.role, 'assistant');
  assert.match(data.content[0].text, /Tokyo/);
  assert.ok(['end_turn', 'max_tokens'].includes(data.stop_reason));
  assert.ok(data.usage.input_tokens + (data.usage.cache_read_input_tokens ?? 0) > 10);
  assert.ok(data.usage.output_tokens > 0);
  assert.match(response.headers.get('x-weir-route'), /local/);
});

test('a stream has the exact event order and the same text', async () => {
  const whole = await client.messages.create({ model, max_tokens: 24, temperature: 0, messages: france });
  const stream = client.messages.stream({ model, max_tokens: 24, temperature: 0, messages: france });
  const types = [];
  for await (const ev of stream) types.push(ev.type);
  const final = await stream.finalMessage();
  assert.equal(final.content[0].text, whole.content[0].text);
  assert.equal(types[0], 'message_start');
  assert.equal(types.find((t) => t !== 'message_start' && t !== 'ping'), 'content_block_start');
  assert.deepEqual(types.slice(-3), ['content_block_stop', 'message_delta', 'message_stop']);
  assert.equal(final.usage.output_tokens, whole.usage.output_tokens);
});

test('system prompts, as text and as blocks', async () => {
  for (const system of ['Answer in one word.', [{ type: 'text', text: 'Answer in one word.' }]]) {
    const r = await client.messages.create({ model, max_tokens: 24, temperature: 0, system, messages: [{ role: 'user', content: [{ type: 'text', text: 'What is the capital of Japan?' }] }] });
    assert.match(r.content[0].text, /Tokyo/);
  }
});

test('stop sequences are named', async () => {
  const r = await client.messages.create({ model, max_tokens: 60, temperature: 0, stop_sequences: ['Tokyo'], messages: france });
  assert.equal(r.stop_reason, 'stop_sequence');
  assert.equal(r.stop_sequence, 'Tokyo');
  assert.ok(!r.content.some((b) => b.text.includes('Tokyo')));
});

test('max_tokens is a stop reason', async () => {
  const r = await client.messages.create({ model, max_tokens: 3, temperature: 0, messages: [{ role: 'user', content: 'Tell me a long story.' }] });
  assert.equal(r.stop_reason, 'max_tokens');
  assert.equal(r.usage.output_tokens, 3);
});

test('errors have the dialect\'s shape', async () => {
  await assert.rejects(client.messages.create({ model: 'no-such-model', max_tokens: 8, messages: france }),
    (e) => e instanceof Anthropic.NotFoundError && e.error?.type === 'error' || assert.fail(`${e.status} ${e.message}`));
  await assert.rejects(client.messages.create({ model, max_tokens: 8, messages: france, tools: [{ name: 'weather', input_schema: { type: 'object' } }] }),
    (e) => e.status === 400 && /tool/i.test(e.message) || assert.fail(`${e.status} ${e.message}`));
  await assert.rejects(client.messages.create({ model, max_tokens: 8, messages: [{ role: 'user', content: [{ type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'iVBORw0KGgo=' } }] }] }),
    (e) => e.status === 400 && /image/i.test(e.message) || assert.fail(`${e.status} ${e.message}`));
  await assert.rejects(client.messages.create({ model, messages: france }),
    (e) => e.status === 400 && /max_tokens/.test(e.message) || assert.fail(`${e.status} ${e.message}`));
});

await run();
await w.stop();
