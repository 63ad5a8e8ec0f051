// test_responses.mjs: /v1/responses with the official `openai` client against the real executable: a model that
// writes, and a provider at the network's edge in three dialects. All that was seen is held against OpenAI's own
// document at the end.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import OpenAI, { APIError } from 'openai';
import { makeHome, model, root, run, startProvider, startWeir, test } from './harness.mjs';

const home = makeHome();
const provider = await startProvider();
const row = (name, dialect) => [`[provider.${name}]`, `url = ${provider.url}/v1`, 'zone = cloud', `dialect = ${dialect}`,
  'models = ok, echo, tools, reasoning, cut, error-in-band, 429', ''];
fs.writeFileSync(path.join(home, 'weir.conf'),
  [...row('chat', 'openai'), ...row('anth', 'anthropic'), ...row('resp', 'responses')].join('\n'), { mode: 0o600 });
let w = await startWeir({ home });

// ---- what was seen ----

const seen = [];
const note = (schema, value) => seen.push(JSON.stringify({ schema, value }));
const camel = (s) => s.split(/[._]/).map((p) => p[0].toUpperCase() + p.slice(1)).join('');
const items = { message: 'OutputMessage', reasoning: 'ReasoningItem', function_call: 'FunctionToolCall', custom_tool_call: 'CustomToolCall' };
const offers = { function: 'FunctionTool', custom: 'CustomToolParam', namespace: 'NamespaceToolParam', web_search: 'WebSearchTool' };

function noteResponse(r) {
  note('Response', r);
  for (const o of r.output) note(items[o.type], o);
  for (const t of r.tools) note(offers[t.type], t);
}

function noteEvent(e) {
  note(e.type === 'error' ? 'ResponseErrorEvent' : `${camel(e.type).replace('OutputText', 'Text')}Event`, e);
  note('ResponseStreamEvent', e);
  if (e.response) noteResponse(e.response);
}

function noteBody(url, method, status, type, text) {
  if (!url.includes('/responses')) return undefined;
  if (status >= 400) return note('ErrorResponse', JSON.parse(text));
  if (type.startsWith('text/event-stream')) {
    const events = text.split('\n\n').filter((b) => b.includes('data: ')).map((b) => {
      const m = b.match(/^event: (.*)\ndata: (.*)$/);
      assert.ok(m, b);
      assert.equal(JSON.parse(m[2]).type, m[1]);
      return JSON.parse(m[2]);
    });
    events.forEach((e, i) => { assert.equal(e.sequence_number, i); noteEvent(e); });
    return undefined;
  }
  if (method === 'DELETE') return undefined;
  if (url.includes('/input_items')) return note('ResponseItemList', JSON.parse(text));
  if (url.includes('/input_tokens')) return note('TokenCountsResource', JSON.parse(text));
  return noteResponse(JSON.parse(text));
}

const reading = [];
async function watched(url, init) {
  const r = await fetch(url, init);
  const copy = r.clone();
  reading.push(copy.text().then((text) => noteBody(String(url), init?.method ?? 'GET', r.status, r.headers.get('content-type') ?? '', text)).catch((e) => e));
  return r;
}

const connect = () => new OpenAI({ baseURL: `${w.base}/v1`, apiKey: 'unused', maxRetries: 0, fetch: watched });
let client = connect();
const japan = 'What is the capital of Japan? Answer in one word.';
const brief = { model, temperature: 0, max_output_tokens: 24 };
const refused = async (p, status, word) => {
  await assert.rejects(p, (e) => {
    assert.ok(e instanceof APIError, String(e));
    assert.equal(e.status, status, e.message);
    assert.match(e.message, word);
    return true;
  });
};
const last = () => provider.requests().filter((r) => r.path?.endsWith('/responses')).at(-1).body;
const types = (list) => list.map((e) => e.type).filter((t, i, all) => t !== all[i - 1]);
async function collect(stream) {
  const out = [];
  for await (const e of stream) out.push(e);
  return out;
}

// ---- answers ----

test('a text is answered and counted', async () => {
  const { data, response } = await client.responses.create({ ...brief, input: japan }).withResponse();
  assert.match(data.output_text, /Tokyo/);
  assert.equal(data.object, 'response');
  assert.equal(data.status, 'completed');
  assert.match(data.id, /^resp_/);
  assert.equal(data.id, `resp_${response.headers.get('x-weir-id')}`);
  assert.equal(data.output[0].role, 'assistant');
  assert.equal(data.usage.total_tokens, data.usage.input_tokens + data.usage.output_tokens);
  assert.match(response.headers.get('x-weir-route'), /local/);
});

test('the stream gives the same, in order', async () => {
  const whole = await client.responses.create({ ...brief, input: japan, store: false });
  const events = await collect(await client.responses.create({ ...brief, input: japan, store: false, stream: true }));
  assert.deepEqual(types(events), ['response.created', 'response.in_progress', 'response.output_item.added',
    'response.content_part.added', 'response.output_text.delta', 'response.output_text.done',
    'response.content_part.done', 'response.output_item.done', 'response.completed']);
  const text = events.filter((e) => e.type === 'response.output_text.delta').map((e) => e.delta).join('');
  assert.equal(text, whole.output_text);
  assert.equal(events.at(-1).response.usage.output_tokens, whole.usage.output_tokens);
  const helper = client.responses.stream({ ...brief, input: japan, store: false });
  let snapshot = '';
  helper.on('response.output_text.delta', (e) => { snapshot = e.snapshot; });
  const final = await helper.finalResponse();
  assert.equal(final.output_text, whole.output_text);
  assert.equal(snapshot, whole.output_text);
});

test('an answer that is cut off says so', async () => {
  const r = await client.responses.create({ model, input: 'Tell me a long story.', max_output_tokens: 5 });
  assert.equal(r.status, 'incomplete');
  assert.equal(r.incomplete_details.reason, 'max_output_tokens');
  assert.equal(r.output[0].status, 'incomplete');
});

test('what was asked for is shown again', async () => {
  const asked = {
    instructions: 'You are terse.', metadata: { a: 'b' }, user: 'u', safety_identifier: 's', prompt_cache_key: 'k',
    truncation: 'auto', top_p: 0.5, reasoning: { effort: 'low', summary: 'auto' },
    text: { format: { type: 'text' }, verbosity: 'low' },
  };
  const r = await client.responses.create({ ...brief, ...asked, input: japan });
  for (const [k, v] of Object.entries(asked)) assert.deepEqual(r[k], v, k);
  assert.equal(r.temperature, 0);
  assert.equal(r.max_output_tokens, 24);
  assert.equal(r.store, true);
  assert.deepEqual(await client.responses.retrieve(r.id), r);
});

test('messages of all kinds are understood', async () => {
  const r = await client.responses.create({
    ...brief, instructions: 'You are a helpful assistant.', input: [
      { role: 'user', content: 'What is the capital of France?' },
      { type: 'reasoning', id: 'rs_1', summary: [{ type: 'summary_text', text: 'Easy.' }] },
      { type: 'message', id: 'msg_1', role: 'assistant', status: 'completed', content: [{ type: 'output_text', text: 'Paris.', annotations: [] }] },
      { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'And the capital ' }, { type: 'input_text', text: 'of Japan?' }] },
    ],
  });
  assert.match(r.output_text, /Tokyo/);
});

test('a schema is kept to', async () => {
  const schema = { type: 'object', properties: { city: { type: 'string', maxLength: 12 } }, required: ['city'], additionalProperties: false };
  const format = { type: 'json_schema', name: 'place', strict: true, schema };
  const r = await client.responses.parse({ model, temperature: 0, max_output_tokens: 60, input: japan, text: { format } });
  assert.equal(typeof JSON.parse(r.output_text).city, 'string');
  assert.deepEqual(r.text.format, format);
  const o = await client.responses.create({ model, temperature: 0, max_output_tokens: 200, input: 'Write {"a":1} as JSON.', text: { format: { type: 'json_object' } } });
  if (o.status === 'completed') JSON.parse(o.output_text);
});

test('log-probabilities come when they are included', async () => {
  const r = await client.responses.create({ ...brief, input: japan, top_logprobs: 2, include: ['message.output_text.logprobs'] });
  const lp = r.output[0].content[0].logprobs;
  assert.equal(lp.map((t) => t.token).join(''), r.output_text);
  assert.equal(lp[0].top_logprobs.length, 2);
  const events = await collect(await client.responses.create({
    ...brief, input: japan, top_logprobs: 2, include: ['message.output_text.logprobs'], stream: true,
  }));
  const streamed = events.filter((e) => e.type === 'response.output_text.delta').flatMap((e) => e.logprobs);
  assert.deepEqual(streamed.map((t) => t.token), lp.map((t) => t.token));
  assert.equal((await client.responses.create({ ...brief, input: japan })).output[0].content[0].logprobs.length, 0);
});

// ---- state ----

test('a conversation goes on, over a restart of the server', async () => {
  const one = await client.responses.create({ ...brief, instructions: 'You are a pirate.', input: 'My name is Ada Lovelace. Say hello.' });
  await w.stop();
  w = await startWeir({ home });
  client = connect();
  const two = await client.responses.create({ ...brief, input: 'What is my name?', previous_response_id: one.id });
  assert.equal(two.previous_response_id, one.id);
  assert.match(two.output_text, /Ada|Lovelace/);
  assert.equal(two.instructions, null);
  const alone = await client.responses.inputTokens.count({ model, input: 'What is my name?' });
  const all = await client.responses.inputTokens.count({ model, input: 'What is my name?', previous_response_id: one.id });
  assert.equal(all.input_tokens, two.usage.input_tokens);
  assert.ok(alone.input_tokens < all.input_tokens);
  const three = await client.responses.create({ ...brief, input: 'Thanks.', previous_response_id: two.id, store: false });
  assert.ok(three.usage.input_tokens > two.usage.input_tokens);
  await refused(client.responses.retrieve(three.id), 404, /not found/);
});

test('the whole conversation reaches a provider, which keeps nothing', async () => {
  const one = await client.responses.create({ model: 'resp/reasoning', instructions: 'Be kind.', input: 'First.' });
  assert.deepEqual(one.output.map((o) => o.type), ['reasoning', 'message']);
  assert.equal(one.output[0].encrypted_content, 'c2VhbGVk');
  const two = await client.responses.create({ model: 'resp/tools', input: 'Second.', previous_response_id: one.id });
  const sent = last();
  assert.equal(sent.store, false);
  assert.equal(sent.previous_response_id, undefined);
  assert.equal(sent.instructions, undefined);
  assert.deepEqual(sent.input.map((i) => i.role ?? i.type), ['user', 'reasoning', 'assistant', 'user']);
  assert.equal(sent.input[1].encrypted_content, 'c2VhbGVk');
  const calls = two.output.filter((o) => o.type === 'function_call');
  assert.deepEqual(calls.map((c) => [c.call_id, c.name]), [['call_a', 'get_weather'], ['call_b', 'get_time']]);
  await client.responses.create({
    model: 'resp/ok', previous_response_id: two.id, input: calls.map((c) => ({ type: 'function_call_output', call_id: c.call_id, output: 'fine' })),
  });
  assert.deepEqual(last().input.map((i) => i.role ?? i.type),
    ['user', 'reasoning', 'assistant', 'user', 'assistant', 'function_call', 'function_call', 'function_call_output', 'function_call_output']);
});

test('items can be named instead of sent', async () => {
  const one = await client.responses.create({ model: 'resp/tools', input: 'First.' });
  const named = one.output.map((o) => ({ type: 'item_reference', id: o.id }));
  const two = await client.responses.create({
    model: 'resp/ok', input: [{ role: 'user', content: 'First.' }, ...named, { type: 'function_call_output', call_id: 'call_a', output: 'x' }],
  });
  assert.deepEqual(last().input.map((i) => i.role ?? i.type), ['user', 'assistant', 'function_call', 'function_call', 'function_call_output']);
  assert.equal(last().input[1].content[0].text, 'Hello from the script.');
  const own = await client.responses.inputItems.list(two.id, { order: 'asc' });
  assert.deepEqual(own.data.map((i) => i.type), ['message', 'message', 'function_call', 'function_call', 'function_call_output']);
  await refused(client.responses.create({ model, input: [{ type: 'item_reference', id: 'msg_none' }] }), 404, /msg_none/);
});

test('what was sent can be listed, page by page', async () => {
  const input = ['one', 'two', 'three', 'four', 'five'].map((content) => ({ role: 'user', content }));
  const r = await client.responses.create({ model: 'chat/ok', input });
  const all = [];
  for await (const i of client.responses.inputItems.list(r.id, { limit: 2, order: 'asc' })) all.push(i.content[0].text);
  assert.deepEqual(all, ['one', 'two', 'three', 'four', 'five']);
  const page = await client.responses.inputItems.list(r.id, { limit: 2 });
  assert.deepEqual(page.data.map((i) => i.content[0].text), ['five', 'four']);
  assert.equal(page.has_more, true);
  await refused(client.responses.inputItems.list(r.id, { limit: 101 }), 400, /limit/);
  await refused(client.responses.inputItems.list(r.id, { after: 'msg_none' }), 404, /msg_none/);
});

test('what is deleted is gone', async () => {
  const one = await client.responses.create({ model: 'chat/ok', input: 'First.' });
  const two = await client.responses.create({ model: 'chat/ok', input: 'Second.', previous_response_id: one.id });
  await client.responses.delete(one.id);
  await refused(client.responses.retrieve(one.id), 404, /not found/);
  await refused(client.responses.delete(one.id), 404, /not found/);
  await refused(client.responses.inputItems.list(one.id), 404, /not found/);
  await refused(client.responses.create({ model: 'chat/ok', input: 'x', previous_response_id: two.id }), 404, /not found/);
  await assert.rejects(client.responses.create({ model, input: 'x', previous_response_id: 'resp_none' }),
    (e) => e.status === 404 && e.code === 'previous_response_not_found' && e.param === 'previous_response_id'
      && /Previous response with id 'resp_none' not found\./.test(e.message));
});

test('a conversation that had to stay here stays here, after a restart too', async () => {
  const one = await client.responses.create({ ...brief, input: 'The plan is blue.' }, { headers: { 'x-weir-zone': 'device' } });
  const free = await client.responses.create({ ...brief, input: 'The plan is red.' });
  await w.stop();
  w = await startWeir({ home });
  client = connect();
  const before = provider.requests().length;
  await refused(client.responses.create({ model: 'resp/ok', input: 'Go on.', previous_response_id: one.id }), 403, /./);
  await refused(client.responses.create({ model: 'resp/ok', input: [{ type: 'item_reference', id: one.output[0].id }, { role: 'user', content: 'Go on.' }] }), 403, /./);
  assert.equal(provider.requests().length, before);
  const here = await client.responses.create({ ...brief, input: 'Go on.', previous_response_id: one.id });
  await refused(client.responses.create({ model: 'resp/ok', input: 'And on.', previous_response_id: here.id }), 403, /./);
  await client.responses.create({ model: 'resp/ok', input: 'Go on.', previous_response_id: free.id });
  const told = await client.responses.create({ ...brief, input: 'Write to jane.doe@example.com.' });
  await refused(client.responses.create({ model: 'resp/ok', input: 'Go on.', previous_response_id: told.id }), 403, /./);
});

test('what is kept has an end: by age, number and size', async () => {
  for (const change of ['time_ms=0', 'seq=(SELECT max(seq) FROM responses)-10000', 'seq=-5000,bytes=1073741825']) {
    const old = await client.responses.create({ model: 'chat/ok', input: 'Old.' });
    const recent = await client.responses.create({ model: 'chat/ok', input: 'Recent.' });
    await w.stop();
    const sql = `import sqlite3,sys; d=sqlite3.connect(sys.argv[1]); d.execute("UPDATE responses SET ${change} WHERE id=?",(sys.argv[2],)); d.commit()`;
    const p = spawnSync('python3', ['-c', sql, path.join(home, 'weir.db'), old.id], { encoding: 'utf8' });
    assert.equal(p.status, 0, p.stderr);
    w = await startWeir({ home });
    client = connect();
    await client.responses.retrieve(old.id);
    await client.responses.create({ model: 'chat/ok', input: 'New.' });
    await refused(client.responses.retrieve(old.id), 404, /not found/);
    if (!change.includes('bytes')) await client.responses.retrieve(recent.id);
  }
});

// ---- providers ----

test('calls stream from every dialect', async () => {
  const tools = [{ type: 'function', name: 'get_weather', description: 'Weather.', strict: true, parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false } },
    { type: 'function', name: 'get_time', strict: false, parameters: null }];
  for (const row of ['chat', 'anth', 'resp']) {
    const stream = client.responses.stream({ model: `${row}/tools`, input: 'Weather?', tools: row === 'anth' ? tools.slice(0, 1) : tools, tool_choice: 'auto' });
    const events = await collect(stream);
    const final = await stream.finalResponse();
    assert.deepEqual(final.output.map((o) => o.type), ['message', 'function_call', 'function_call'], row);
    assert.deepEqual(final.output.slice(1).map((o) => JSON.parse(o.arguments)), [{ city: 'Zürich' }, { zone: 'CET' }]);
    assert.equal(final.output[1].call_id, 'call_a');
    const done = events.filter((e) => e.type === 'response.function_call_arguments.done');
    assert.deepEqual(done.map((e) => e.arguments), final.output.slice(1).map((o) => o.arguments));
    const whole = await client.responses.create({ model: `${row}/tools`, input: 'Weather?', tools: tools.slice(0, 1) });
    assert.deepEqual(whole.output.map((o) => [o.type, o.name]), final.output.map((o) => [o.type, o.name]));
    assert.equal(whole.tools[0].name, 'get_weather');
  }
});

// As coding agents send them: function tools beside namespaces, custom tools and tools of the service's own.
test('tools of every kind are taken', async () => {
  const tools = [
    { type: 'function', name: 'get_weather', strict: false, parameters: { type: 'object', properties: {} } },
    { type: 'namespace', name: 'agents', description: 'Agents.', tools: [{ type: 'function', name: 'close', description: 'Closes.', parameters: { type: 'object', properties: {} } }] },
    { type: 'custom', name: 'get_time', description: 'Time.' },
    { type: 'web_search', external_web_access: false },
  ];
  const history = [{ role: 'user', content: 'Close it.' },
    { type: 'function_call', call_id: 'c1', namespace: 'agents', name: 'close', arguments: '{}' },
    { type: 'custom_tool_call', call_id: 'c2', name: 'get_time', input: 'now\n' },
    { type: 'function_call_output', call_id: 'c1', output: 'closed' },
    { type: 'custom_tool_call_output', call_id: 'c2', output: 'noon' }];
  for (const row of ['chat', 'resp']) {
    const stream = client.responses.stream({ model: `${row}/tools`, input: history, tools });
    const events = await collect(stream);
    const final = await stream.finalResponse();
    const custom = final.output[2];
    assert.deepEqual([custom.type, custom.name, JSON.parse(custom.input)], ['custom_tool_call', 'get_time', { zone: 'CET' }], row);
    assert.deepEqual(events.filter((e) => e.type.startsWith('response.custom_tool_call_input')).map((e) => e.delta ?? e.input), [custom.input, custom.input]);
    const sent = provider.requests().at(-1).body;
    if (row === 'resp') {
      assert.deepEqual(sent.tools, tools);
      assert.deepEqual(sent.input.slice(1), history.slice(1));
    } else {
      assert.deepEqual(sent.tools.map((t) => t.function.name), ['get_weather', 'agents__close', 'get_time']);
      assert.deepEqual(sent.messages[1].tool_calls.map((c) => [c.function.name, JSON.parse(c.function.arguments)]), [['agents__close', {}], ['get_time', { input: 'now\n' }]]);
    }
    const more = await client.responses.create({ model: `${row}/tools`, previous_response_id: final.id, input: [{ type: 'custom_tool_call_output', call_id: custom.call_id, output: 'ok' }], tools });
    assert.equal(more.output[2].type, 'custom_tool_call');
  }
  const local = await client.responses.create({ ...brief, input: japan, tools: tools.slice(3) });
  assert.match(local.output_text, /Tokyo/);
  assert.equal(local.tools[0].type, 'web_search');
});

test('a choice among tools reaches the provider', async () => {
  const tools = ['a', 'b'].map((name) => ({ type: 'function', name, parameters: { type: 'object', properties: {} }, strict: false }));
  const allowed = { type: 'allowed_tools', mode: 'required', tools: [{ type: 'function', name: 'b' }] };
  const r = await client.responses.create({ model: 'resp/ok', input: 'x', tools, tool_choice: allowed });
  assert.deepEqual(last().tool_choice, allowed);
  assert.equal(last().tools.length, 2);
  assert.deepEqual(r.tool_choice, allowed);
  assert.equal(r.tools.length, 2);
  await client.responses.create({ model: 'chat/ok', input: 'x', tools, tool_choice: allowed });
  const chat = provider.requests().at(-1).body;
  assert.deepEqual(chat.tools.map((t) => t.function.name), ['b']);
  assert.equal(chat.tool_choice, 'required');
  const named = await client.responses.create({ model: 'resp/ok', input: 'x', tools, tool_choice: { type: 'function', name: 'a' }, parallel_tool_calls: false });
  assert.deepEqual(named.tool_choice, { type: 'function', name: 'a' });
  assert.equal(named.parallel_tool_calls, false);
});

test('reasoning comes as it is, or as the summary that was asked for', async () => {
  for (const row of ['chat', 'anth', 'resp']) {
    const open = await client.responses.create({ model: `${row}/reasoning`, input: 'x' });
    assert.equal(open.output[0].content[0].text, 'Let me think.', row);
    assert.equal(open.output_text, 'Hello from the script.');
    const stream = client.responses.stream({ model: `${row}/reasoning`, input: 'x', reasoning: { effort: 'low', summary: 'auto' } });
    const events = await collect(stream);
    const final = await stream.finalResponse();
    assert.equal(final.output[0].summary[0].text, 'Let me think.', row);
    assert.ok(events.some((e) => e.type === 'response.reasoning_summary_text.delta'), row);
    const raw = await collect(await client.responses.create({ model: `${row}/reasoning`, input: 'x', stream: true }));
    assert.ok(raw.some((e) => e.type === 'response.reasoning_text.delta'), row);
  }
});

test('a provider of this dialect answers chats and messages too', async () => {
  const chat = await client.chat.completions.create({ model: 'resp/tools', messages: [{ role: 'user', content: 'x' }] });
  assert.deepEqual(chat.choices[0].message.tool_calls.map((c) => c.function.name), ['get_weather', 'get_time']);
  assert.equal(chat.usage.prompt_tokens, 11);
  const text = [];
  for await (const c of await client.chat.completions.create({ model: 'resp/reasoning', messages: [{ role: 'user', content: 'x' }], stream: true })) {
    text.push(c.choices[0]?.delta?.reasoning_content ?? c.choices[0]?.delta?.content ?? '');
  }
  assert.equal(text.join(''), 'Let me think.Hello from the script.');
});

test('what breaks on the way is an error in the stream', async () => {
  for (const name of ['chat/error-in-band', 'resp/error-in-band', 'resp/cut', 'anth/cut']) {
    const events = [];
    await assert.rejects(async () => {
      for await (const e of await client.responses.create({ model: name, input: 'x', stream: true })) events.push(e);
    }, APIError, name);
    assert.equal(events.at(-1).type, 'response.failed', name);
    assert.equal(events.at(-1).response.status, 'failed');
    assert.ok(events.at(-1).response.error.message);
    await refused(client.responses.retrieve(events.at(-1).response.id), 404, /not found/);
  }
  await refused(client.responses.create({ model: 'resp/429', input: 'x' }), 429, /Rate limit/);
});

// ---- refusals ----

test('what cannot be is an error in the dialect', async () => {
  const bad = (more, status, word) => refused(client.responses.create({ model, input: 'x', ...more }), status, word);
  await bad({ tools: [{ type: 'web_search' }], tool_choice: { type: 'web_search' } }, 400, /tool_choice/);
  await bad({ tools: [{ type: 'namespace', name: 'n', description: '' }] }, 400, /tools\[0\]\.tools/);
  await bad({ conversation: 'conv_1' }, 400, /conversation/);
  await bad({ background: true }, 400, /background/);
  await bad({ model: 'nowhere' }, 404, /nowhere/);
  await bad({ input: [{ role: 'user', content: 'a' }, { role: 'user', content: [{ type: 'input_text', text: 5 }] }] }, 400, /input\[1\]\.content\[0\]\.text/);
  await bad({ input: [{ role: 'user', content: [{ type: 'input_image', image_url: 'data:image/png;base64,iVBORw0KGgo=' }] }] }, 400, /image/);
  await bad({ text: { format: { type: 'json_schema', name: 'x', strict: true, schema: { type: 'array', uniqueItems: true } } } }, 400, /uniqueItems/);
  await bad({ temperature: 3 }, 400, /temperature/);
  await bad({ metadata: { a: 1 } }, 400, /metadata/);
  const r = await client.responses.create({ model: 'chat/ok', input: 'x' });
  await refused(client.responses.cancel(r.id), 400, /background/);
  await refused(client.responses.cancel('resp_none'), 404, /not found/);
  await refused(client.responses.retrieve(r.id, { stream: true }), 400, /stream/);
  const wrong = await fetch(`${w.base}/v1/responses/${r.id}/elsewhere`);
  assert.equal(wrong.status, 404);
});

test('the server ends as it should', async () => {
  await Promise.all(reading);
  assert.deepEqual(await w.stop(), { code: 0, signal: null }, w.out.slice(-2000));
});

test('everything that was seen is as the document says', async () => {
  for (const e of await Promise.all(reading)) if (e instanceof assert.AssertionError || e instanceof SyntaxError) throw e;
  const spec = path.join(process.env.WEIR_FIXTURES || path.join(root, '..', 'shared', 'fixtures'), 'openapi', 'openai.yaml');
  if (!fs.existsSync(spec)) return console.log(`skip openapi: no ${spec}`);
  const p = spawnSync('python3', [path.join(root, 'tests/tools/openapi_check.py'), spec], { input: seen.join('\n'), encoding: 'utf8' });
  if (p.status === 77) return console.log(`skip openapi: ${p.stdout}`);
  assert.ok(seen.length > 500, String(seen.length));
  return assert.equal(p.status, 0, p.stdout.slice(0, 4000) + p.stderr);
});

await run();
await provider.stop();
fs.rmSync(home, { recursive: true, force: true });
