// test_ai.mjs: Vercel's `ai` with its providers for OpenAI, Anthropic and servers like them, against the real executable:
// the real model for what it can, the scripted provider for what it cannot (tools).
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { embed, embedMany, generateObject, generateText, jsonSchema, stepCountIs, streamObject, streamText, tool } from 'ai';
import { makeHome, model, run, startProvider, startWeir, test, until, weir, weirExe } from './harness.mjs';

globalThis.AI_SDK_LOG_WARNINGS = false;
const home = makeHome();
const encoder = path.join(home, 'tiny-bert.gguf');
execFileSync(path.join(path.dirname(weirExe), 'tests', 'tiny_encoder'), ['bert', encoder]);
assert.equal((await weir(['pull', encoder], { home })).code, 0);
const provider = await startProvider();
fs.writeFileSync(path.join(home, 'weir.conf'), [
  '[provider.script]', `url = ${provider.url}/v1`, 'zone = cloud', 'models = tools', 'caps = chat, tools',
  '[price.script/tools]', 'input = 1', 'output = 1', '',
].join('\n'), { mode: 0o600 });
const w = await startWeir({ home });

// The real model under a template that offers tools.
const template = `{% if tools %}<|im_start|>system
You call tools: <tools>{% for t in tools %}
{{ t | tojson }}{% endfor %}
</tools>
Answer with <tool_call>
{"name": ..., "arguments": ...}
</tool_call><|im_end|>
{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}{% for c in m.tool_calls or [] %}
<tool_call>
{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`;
const made = await fetch(`${w.base}/api/create`, { method: 'POST', body: JSON.stringify({ model: 'caller', from: model, template, stream: false }) });
assert.equal(made.status, 200, await made.text());

const openai = createOpenAI({ baseURL: `${w.base}/v1`, apiKey: 'unused' });
const anthropic = createAnthropic({ baseURL: `${w.base}/v1`, apiKey: 'unused' });
const compatible = createOpenAICompatible({ name: 'weir', baseURL: `${w.base}/v1`, includeUsage: true, supportsStructuredOutputs: true });
const ways = {
  'openai.chat': (m) => openai.chat(m), 'openai.responses': (m) => openai.responses(m),
  anthropic: (m) => anthropic(m), 'openai-compatible': (m) => compatible(m),
};
const prompt = 'What is the capital of Japan? Answer in one word.';
const ask = { prompt, temperature: 0, maxOutputTokens: 24, maxRetries: 0 };
const place = jsonSchema({ type: 'object', properties: { city: { type: 'string', maxLength: 12 } }, required: ['city'], additionalProperties: false });
const schema = jsonSchema({ type: 'object', properties: { city: { type: 'string', maxLength: 12 }, big: { type: 'boolean' } }, required: ['city', 'big'], additionalProperties: false });

for (const [name, of] of Object.entries(ways)) {
  test(`${name}: a text, whole and streamed, with its usage`, async () => {
    const whole = await generateText({ model: of(model), system: 'You answer briefly.', ...ask });
    assert.match(whole.text, /Tokyo/);
    assert.ok(['stop', 'length'].includes(whole.finishReason), whole.finishReason);
    assert.ok(whole.usage.inputTokens > 10 && whole.usage.outputTokens > 0, JSON.stringify(whole.usage));
    const r = streamText({ model: of(model), system: 'You answer briefly.', ...ask, onError: () => {} });
    let text = '', n = 0;
    for await (const part of r.textStream) { text += part; n++; }
    assert.equal(text, whole.text);
    assert.ok(n > 1);
    assert.equal(await r.finishReason, whole.finishReason);
    assert.equal((await r.usage).outputTokens, whole.usage.outputTokens);
  });

  test(`${name}: an object as its schema says`, async () => {
    const r = await generateObject({ model: of(name === 'anthropic' ? 'caller' : model), schema, prompt: 'Tell me about Tokyo.', temperature: 0, maxOutputTokens: 80, maxRetries: 0 })
      .catch((e) => assert.fail(`${e.message} ${e.cause?.message ?? ''} ${e.text ?? ''} ${e.responseBody ?? ''}`));
    assert.deepEqual(Object.keys(r.object).sort(), ['big', 'city']);
    assert.equal(typeof r.object.big, 'boolean');
  });

  test(`${name}: what is refused is said`, async () => {
    await assert.rejects(generateText({ model: of('nobody'), ...ask }), (e) => e.statusCode === 404 && /nobody/.test(e.message) || assert.fail(`${e.statusCode} ${e.message}`));
    const tools = { weather: tool({ description: 'd', inputSchema: jsonSchema({ type: 'object', properties: {} }) }) };
    await assert.rejects(generateText({ model: of(model), tools, ...ask }), (e) => e.statusCode === 400 && /tools/.test(e.message) || assert.fail(`${e.statusCode} ${e.message}`));
    let error;
    for await (const _ of streamText({ model: of('nobody'), ...ask, onError: (e) => { error = e.error; } }).textStream);
    assert.equal(error?.statusCode, 404);
  });

  test(`${name}: tools are called and their results go back`, async () => {
    const calls = [];
    const tools = {
      get_weather: tool({ description: 'The weather.', inputSchema: place, execute: async (input) => { calls.push(input); return 'sunny'; } }),
      get_time: tool({ description: 'The time.', inputSchema: jsonSchema({ type: 'object', properties: { zone: { type: 'string' } } }), execute: async (input) => { calls.push(input); return { hour: 12 }; } }),
    };
    const wanted = { tools, stopWhen: stepCountIs(2), prompt: 'How is the weather in Zürich?', maxRetries: 0 };
    const r = await generateText({ model: of('script/tools'), ...wanted });
    assert.deepEqual(calls.slice(0, 2), [{ city: 'Zürich' }, { zone: 'CET' }]);
    assert.equal(r.steps.length, 2);
    assert.equal(r.steps[0].finishReason, 'tool-calls');
    const sent = JSON.stringify(provider.requests().at(-1).body);
    assert.match(sent, /sunny/);
    assert.match(sent, /call_a/);
    const s = streamText({ model: of('script/tools'), ...wanted, onError: () => {} });
    const steps = await s.steps;
    assert.deepEqual(steps[0].toolCalls.map((c) => c.input), r.steps[0].toolCalls.map((c) => c.input));
    assert.equal(steps[0].text, r.steps[0].text);
  });

  test(`${name}: the model here is made to call a tool`, async () => {
    const tools = { get_weather: tool({ description: 'The weather.', inputSchema: place }) };
    const wanted = { model: of('caller'), tools, toolChoice: { type: 'tool', toolName: 'get_weather' }, prompt: 'How is the weather in Oslo?', temperature: 0, maxOutputTokens: 60, maxRetries: 0 };
    const r = await generateText(wanted);
    assert.equal(r.toolCalls.length, 1, JSON.stringify(r.content));
    assert.equal(r.toolCalls[0].toolName, 'get_weather');
    assert.equal(typeof r.toolCalls[0].input.city, 'string');
    assert.equal(r.finishReason, 'tool-calls');
    const s = streamText({ ...wanted, onError: () => {} });
    assert.deepEqual((await s.toolCalls).map((c) => c.input), r.toolCalls.map((c) => c.input));
  });
}

test('objects are streamed', async () => {
  for (const of of [ways['openai.chat'], ways['openai.responses']]) {
    const r = streamObject({ model: of(model), schema, prompt: 'Tell me about Tokyo.', temperature: 0, maxOutputTokens: 80, onError: () => {} });
    let last;
    for await (const part of r.partialObjectStream) last = part;
    assert.deepEqual(last, await r.object);
  }
});

test('embeddings', async () => {
  for (const m of [openai.embeddingModel('tiny-bert'), compatible.embeddingModel('tiny-bert')]) {
    const one = await embed({ model: m, value: 'hello world.' });
    assert.equal(one.embedding.length, 64);
    assert.equal(one.usage.tokens, 5);
    const many = await embedMany({ model: m, values: ['hello world.', 'quick brown fox'] });
    assert.deepEqual(many.embeddings[0], one.embedding);
  }
});

test('a completion model', async () => {
  const r = await generateText({ model: openai.completion(model), prompt: 'The capital of France is', temperature: 0, maxOutputTokens: 6, maxRetries: 0 });
  assert.match(r.text, /Paris/);
});

test('abortSignal frees the engine', async () => {
  for (const of of Object.values(ways)) {
    const abort = new AbortController();
    const r = streamText({ model: of(model), prompt: 'Write a very long story about the sea.', maxOutputTokens: 2000, abortSignal: abort.signal, onError: () => {} });
    let n = 0;
    for await (const _ of r.textStream) if (++n === 4) abort.abort();
    assert.equal(n, 4);
    await until('the engine is free', async () => {
      const slots = await (await fetch(`${w.base}/slots`)).json();
      return slots.length && slots.every((s) => !s.is_processing);
    });
  }
});

await run();
await w.stop();
await provider.stop();
