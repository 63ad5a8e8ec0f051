// Conversations and the one answer under way.
import { ApiError, events, get, post } from './api';
import { db, type Meta } from './db';
import { house } from './house.svelte';
import { prefs } from './prefs.svelte';
import type { Message, Plan, Row, StreamEvent } from './types';

export function newId(): string {
  const b = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(b, (x) => x.toString(16).padStart(2, '0')).join('');
}

class Conversation {
  id = newId();
  title = $state('New conversation');
  updated = $state(Date.now());
  private = $state(false); // once private, always private
  keep = $state(false); // the person said that a private one may be kept
  system = $state('');
  messages = $state<Message[]>([]);
  loaded = true;

  constructor(meta?: Meta) {
    if (!meta) return;
    this.id = meta.id;
    this.title = meta.title;
    this.updated = meta.updated;
    this.private = meta.private;
    this.keep = meta.keep;
    this.system = meta.system;
    this.loaded = false;
  }
}
export type { Conversation };

const FLUSH_MS = 40;

class Chat {
  list = $state<Conversation[]>([]);
  current = $state<Conversation>(new Conversation());
  busy = $state<Conversation | null>(null); // whose answer is under way
  announce = $state(''); // for screen readers
  storeError = $state('');
  #abort: AbortController | null = null;

  get streaming(): boolean { return this.busy === this.current; }
  get isPrivate(): boolean { return prefs.private || house.forced; }

  async load() {
    try {
      const kept = await db.list();
      const known = new Set(this.list.map((c) => c.id));
      this.list.push(...kept.filter((m) => !known.has(m.id)).map((m) => new Conversation(m)));
      this.#sort();
    } catch {
      this.storeError = 'This browser keeps no conversations: its storage is off.';
    }
  }

  #sort() { this.list.sort((a, b) => b.updated - a.updated); }

  fresh() { this.current = new Conversation(); }

  async open(c: Conversation) {
    if (!c.loaded) {
      c.messages = await db.body(c.id);
      c.loaded = true;
    }
    this.current = c;
  }

  async remove(c: Conversation) {
    if (this.busy === c) this.stop();
    this.list = this.list.filter((x) => x !== c);
    if (this.current === c) this.fresh();
    await db.remove(c.id).catch(() => {});
  }

  rename(c: Conversation, title: string) {
    if (title.trim()) c.title = title.trim().slice(0, 120);
    return this.save(c);
  }

  keep(c: Conversation) {
    c.keep = true;
    return this.save(c);
  }

  // A private conversation is on this device only where its person said so.
  async save(c: Conversation) {
    try {
      if (c.private && !c.keep) {
        await db.remove(c.id);
        return;
      }
      const body = c.messages.map(({ plan: _, ...m }) => {
        const plain = $state.snapshot(m) as Message;
        if (plain.row) delete plain.row.plan;
        return plain;
      });
      await db.save({ id: c.id, title: c.title, updated: c.updated, private: c.private, keep: c.keep, system: c.system }, body);
      this.storeError = '';
    } catch {
      this.storeError = 'This conversation could not be kept: the browser refused the space.';
    }
  }

  // ---- sending ----

  // What the model is told. A question that got no answer is not repeated.
  body(c: Conversation, draft?: string) {
    const messages: { role: string; content: string }[] = [];
    if (c.system.trim()) messages.push({ role: 'system', content: c.system });
    c.messages.forEach((m, i) => {
      const next = c.messages[i + 1];
      const unanswered = m.role === 'user' && next !== undefined && !next.text;
      if (m.text && !unanswered) messages.push({ role: m.role, content: m.text });
    });
    if (draft !== undefined) messages.push({ role: 'user', content: draft });
    const body: Record<string, unknown> = { model: prefs.model, messages, stream: true };
    const t = Number(prefs.temperature), n = Number(prefs.maxTokens);
    if (prefs.temperature !== '' && Number.isFinite(t)) body.temperature = t;
    if (prefs.maxTokens !== '' && n >= 1) body.max_completion_tokens = Math.floor(n);
    return body;
  }

  headers(c: Conversation): Record<string, string> {
    const h: Record<string, string> = { 'x-weir-conversation': c.id, 'x-weir-client': 'page' };
    if (this.isPrivate || c.private) h['x-weir-preset'] = 'private';
    if (prefs.zone) h['x-weir-zone'] = prefs.zone;
    return h;
  }

  async preview(draft: string, signal?: AbortSignal): Promise<Plan> {
    const c = this.current;
    return (await post('/weir/v1/route', this.body(c, draft || undefined), this.headers(c), signal)).json();
  }

  async send(text: string) {
    const c = this.current;
    if (this.busy || !text.trim()) return;
    if (c.messages.length === 0) {
      c.title = text.trim().split('\n')[0]!.slice(0, 80);
      this.list.unshift(c);
    }
    c.messages.push({ id: newId(), role: 'user', text });
    await this.#answer(c);
  }

  // Ask again from a person's message on, changed or not; what followed is replaced.
  async again(userId: string, text?: string) {
    const c = this.current;
    const i = c.messages.findIndex((m) => m.id === userId);
    if (this.busy || i < 0) return;
    if (text !== undefined) c.messages[i]!.text = text;
    c.messages.splice(i + 1);
    await this.#answer(c);
  }

  stop() { this.#abort?.abort(); }

  async #answer(c: Conversation) {
    if (this.isPrivate) c.private = true;
    const request = this.body(c), headers = this.headers(c);
    c.messages.push({ id: newId(), role: 'assistant', text: '' });
    const m = c.messages.at(-1)!;
    this.busy = c;
    this.announce = 'Answering.';
    c.updated = Date.now();
    this.#sort();
    const saved = this.save(c); // the question is kept even if the page is closed now
    this.#abort = new AbortController();
    try {
      const res = await post('/weir/v1/chat', request, headers, this.#abort.signal);
      m.requestId = res.headers.get('x-weir-id') ?? undefined;
      await this.#take(m, res);
    } catch (e) {
      if (this.#abort.signal.aborted) m.stopped = true;
      else if (e instanceof ApiError) m.failure = { code: e.code, status: e.status, message: e.message };
      else m.failure = { code: 'CUT', status: 0, message: 'The connection to weir broke off.' };
    }
    if (!m.end && !m.failure && !m.stopped) m.failure = { code: 'CUT', status: 0, message: 'The answer ended without its end.' };
    this.announce = m.failure ? `Not answered. ${m.failure.message}` : m.stopped ? 'Stopped.' : 'Answer complete.';
    this.busy = null;
    this.#abort = null;
    if (!m.row && m.requestId) await this.#account(m);
    await saved;
    await this.save(c);
    house.refresh();
  }

  // Text is shown some 25 times a second, however fast it comes.
  async #take(m: Message, res: Response) {
    let text = '', reasoning = '';
    let timer: ReturnType<typeof setTimeout> | null = null;
    const flush = () => {
      timer = null;
      if (text) m.text += text;
      if (reasoning) m.reasoning = (m.reasoning ?? '') + reasoning;
      text = reasoning = '';
    };
    try {
      for await (const e of events(res)) {
        if (e.type === 'text') text += e.text;
        else if (e.type === 'reasoning') reasoning += e.text;
        else this.#note(m, e);
        if ((text || reasoning) && !timer) timer = setTimeout(flush, FLUSH_MS);
      }
    } finally {
      if (timer) clearTimeout(timer);
      flush();
    }
  }

  #note(m: Message, e: StreamEvent) {
    if (e.type === 'route') {
      const { type: _, ...plan } = e;
      m.plan = plan;
    } else if (e.type === 'tool') {
      (m.tools ??= []).push({ tool: e.tool, id: e.id, name: e.name, args: '' });
    } else if (e.type === 'tool_args') {
      const t = m.tools?.find((x) => x.tool === e.tool);
      if (t) t.args += e.text;
    } else if (e.type === 'done') {
      m.end = e.reason;
    } else if (e.type === 'error') {
      m.failure = { code: e.code, status: e.status, message: e.message };
    } else if (e.type === 'account') {
      const { type: _, ...row } = e;
      m.row = row;
      if (row.plan) m.plan = row.plan;
    }
  }

  // After a stop the row comes from the books, once it is closed there.
  async #account(m: Message) {
    for (let wait = 100; wait <= 1600; wait *= 2) {
      try {
        const row = await get<Row>(`/weir/v1/requests/${m.requestId}`);
        m.row = row;
        if (row.plan) m.plan = row.plan;
        if (row.status !== 'open') return;
      } catch { /* not booked yet */ }
      await new Promise((r) => setTimeout(r, wait));
    }
  }
}
export const chat = new Chat();
