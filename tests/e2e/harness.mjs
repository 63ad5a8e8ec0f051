// harness.mjs: starts the real executable in a home of its own and counts cases. Each test file prints
// `ok NAME` or `not ok NAME` a case; tests/run reads that.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
export const root = path.resolve(here, '../..');
export const weirExe = process.env.WEIR_EXE || path.join(root, 'build', 'weir');
export const model = 'smollm2:135m';

// A fresh home that shares the models tests/run has pulled (hard links, so a test may remove them).
export function makeHome() {
  const home = fs.mkdtempSync(path.join(os.tmpdir(), 'weir-e2e-'));
  const from = process.env.WEIR_TEST_HOME || path.join(root, 'build', 'test-home');
  const models = path.join(from, 'models');
  if (!fs.existsSync(models)) throw new Error(`no models in ${models}: run tests/run`);
  fs.mkdirSync(path.join(home, 'models'), { recursive: true, mode: 0o700 });
  for (const f of fs.readdirSync(models)) {
    const p = path.join(models, f);
    if (fs.statSync(p).isFile()) fs.linkSync(p, path.join(home, 'models', f));
  }
  return home;
}

const clean = { PATH: process.env.PATH, HOME: process.env.HOME, LANG: 'C.UTF-8' };
for (const k of Object.keys(process.env)) if (/SAN_OPTIONS$/.test(k)) clean[k] = process.env[k];

const children = new Set();
process.on('exit', () => { for (const c of children) c.kill('SIGKILL'); });

// Starts a program and waits until a line of its output matches.
export function start(cmd, args, { env = {}, ready, timeout = 60000 } = {}) {
  const child = spawn(cmd, args, { env: { ...clean, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  children.add(child);
  const p = { child, out: '', match: null };
  p.done = new Promise((res) => child.on('exit', (code, signal) => { children.delete(child); res({ code, signal }); }));
  p.ready = new Promise((res, rej) => {
    const timer = setTimeout(() => rej(new Error(`${cmd}: not ready:\n${p.out}`)), timeout);
    const look = (d) => {
      p.out += d;
      const m = p.out.match(ready);
      if (m && !p.match) { p.match = m; clearTimeout(timer); res(p); }
    };
    child.stdout.on('data', look);
    child.stderr.on('data', look);
    child.on('exit', (code) => { clearTimeout(timer); rej(new Error(`${cmd} ended with ${code}:\n${p.out}`)); });
  });
  p.ready.catch(() => {});
  p.stop = async (signal = 'SIGTERM') => { child.kill(signal); return p.done; };
  return p;
}

export async function startWeir({ home = makeHome(), env = {}, args = [] } = {}) {
  const p = start(weirExe, ['serve', '--port', '0', ...args], {
    env: { WEIR_HOME: home, ...env }, ready: /http:\/\/127\.0\.0\.1:(\d+)/,
  });
  await p.ready;
  p.home = home;
  p.port = Number(p.match[1]);
  p.base = `http://127.0.0.1:${p.port}`;
  return p;
}

// The scripted provider: the only fake, at the network's edge.
export async function startProvider() {
  const log = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'weir-provider-')), 'requests.jsonl');
  const p = start('python3', [path.join(root, 'tests/tools/scripted_provider.py'), '--port', '0', '--log', log], {
    ready: /^(\d+)\n/,
  });
  await p.ready;
  p.port = Number(p.match[1]);
  p.log = log;
  p.url = `http://127.0.0.1:${p.port}`;
  p.requests = () => (fs.existsSync(log) ? fs.readFileSync(log, 'utf8').split('\n').filter(Boolean).map((l) => JSON.parse(l)) : []);
  return p;
}

export function weir(args, { home, env = {}, input = '' } = {}) {
  return new Promise((res) => {
    const child = spawn(weirExe, args, { env: { ...clean, WEIR_HOME: home, ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
    let out = '', err = '';
    child.stdout.on('data', (d) => { out += d; });
    child.stderr.on('data', (d) => { err += d; });
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    child.on('exit', (code, signal) => res({ code, signal, out, err }));
  });
}

const cases = [];
export function test(name, fn) { cases.push([name, fn]); }

export async function run() {
  let bad = 0;
  for (const [name, fn] of cases) {
    try {
      await fn();
      console.log(`ok ${name}`);
    } catch (e) {
      bad++;
      console.log(`not ok ${name}`);
      console.log(String(e && e.stack || e).split('\n').slice(0, 12).map((l) => `  ${l}`).join('\n'));
    }
  }
  process.exitCode = bad ? 1 : 0;
}

export function sleep(ms) { return new Promise((r) => setTimeout(r, ms)); }

// Waits for what comes soon on a machine that is not busy.
export async function until(what, ok, ms = 60000) {
  for (const end = Date.now() + ms; Date.now() < end; await sleep(20)) if (await ok()) return;
  throw new Error(`not within ${ms} ms: ${what}`);
}
