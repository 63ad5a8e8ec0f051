// Numbers as people read them. What is not known is said to be unknown.
import type { Model, Plan, Row, Zone } from './types';

export function money(nano: number | null | undefined): string {
  if (nano === null || nano === undefined) return 'unknown';
  const x = nano / 1e9;
  if (x === 0) return '$0';
  const a = Math.abs(x);
  const digits = a >= 1 ? 2 : a >= 0.01 ? 4 : Math.min(9, 1 - Math.floor(Math.log10(a)));
  return `${x < 0 ? '−' : ''}$${a.toFixed(digits)}`;
}

export function seconds(ms: number | null | undefined): string {
  if (ms === null || ms === undefined || ms < 0) return 'unknown';
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(ms < 10000 ? 1 : 0)} s`;
  return `${Math.floor(ms / 60000)} min ${Math.round((ms % 60000) / 1000)} s`;
}

export function count(n: number): string {
  return n.toLocaleString('en-US');
}

export function bytes(n: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let i = 0;
  while (n >= 1000 && i < units.length - 1) { n /= 1000; i++; }
  return `${n.toFixed(n < 10 && i > 1 ? 1 : 0)} ${units[i]}`;
}

export function params(n: number): string {
  if (n >= 1e9) return `${(n / 1e9).toFixed(n < 1e10 ? 1 : 0)}B`;
  return `${Math.round(n / 1e6)}M`;
}

export function speed(tps: number): string {
  return tps >= 10 ? tps.toFixed(0) : tps.toFixed(1);
}

export function percent(x: number): string {
  return `${Math.round(x * 100)} %`;
}

const placeOf: Record<Zone, string> = { device: 'this machine', site: 'your network', cloud: 'cloud' };
export function place(z: Zone): string {
  return placeOf[z];
}

export function clock(ms: number): string {
  return new Date(ms).toLocaleString(undefined, { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit' });
}

// The router's one-word reason, in words that fit a line.
const whys: Record<string, string> = {
  pinned: 'you chose it', only: 'the only one that can', privacy: 'kept here for privacy', offline: 'offline',
  budget: 'the budget is spent', quota: 'the others are rate-limited', health: 'the others do not answer',
  'no-key': 'no provider has a key', 'no-local': 'no local model', capability: 'it can do what this needs',
  context: 'it holds a prompt this long', latency: 'it answers soonest', agent: 'a long agent run',
  suffices: 'good enough for this', difficulty: 'hard: a better model', fresh: 'asks about the present',
  client: 'goes out under your name', long: 'very long', time: 'faster', cost: 'cheaper',
};
export function why(plan: Plan): string {
  return whys[plan.why] ?? plan.why;
}

// local/NAME and NAME are the same model.
export function bare(id: string): string {
  return id.startsWith('local/') ? id.slice(6) : id;
}

export function answeredBy(row: Row): string {
  const m = row.model ?? row.model_answered ?? row.model_asked ?? 'nobody';
  return row.provider && row.provider !== 'local' && row.provider !== 'none' ? `${row.provider}/${m}` : m;
}

export function modelNote(m: Model): string {
  const parts: string[] = [];
  if (m.params) parts.push(params(m.params));
  if (m.decode_tps) parts.push(`${speed(m.decode_tps)} tokens/s`);
  if (m.context > 0) parts.push(`${m.context >= 1024 ? `${Math.round(m.context / 1024)}k` : m.context} context`);
  if (m.queued) parts.push(`${m.queued} waiting`);
  return parts.join(' · ');
}

// What went wrong, and what to do about it.
const advice: Record<string, string> = {
  POLICY: 'Nothing was sent. Choose a model on this machine, take out what must not leave, or loosen the rule yourself: turn Private off, or change the zone under Options.',
  BUDGET: 'Nothing was sent to a provider. Choose a local model, or raise the monthly budget (weir serve --budget, or budget in weir.conf).',
  NO_ROUTE: 'Nobody is left who may answer. The explanation names each model and what stands against it.',
  CONTEXT: 'Shorten the message or start a new conversation; a model with a longer context would take it, too.',
  NOT_FOUND: 'Choose another model. weir pull NAME brings one to this machine.',
  AUTH: 'The provider did not accept its key, or has none. Machine & providers says where keys are read from.',
  RATE: 'The provider limits how much may be asked. Wait a little, or choose another model.',
  OVERLOAD: 'The server is busy. Try again in a moment.',
  TIMEOUT: 'The model took too long. Try again, or choose a faster one.',
  CONNECT: 'The model server could not be reached. Is it running? Is this machine online?',
  UPSTREAM: 'The provider failed. Try again, or choose another model.',
  CUT: 'The answer broke off on its way, so it is not whole. Try again.',
  UNSUPPORTED: 'No model that may answer can do this. The explanation says what is missing.',
  NETWORK: 'weir itself does not answer. Is it still running? Start it with: weir serve',
};
export function whatToDo(code: string): string {
  return advice[code] ?? 'Try again. If it happens each time, weir serve --verbose says more.';
}
