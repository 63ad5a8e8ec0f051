// Talking to weir, and to nobody else. A key, where the server wants one, is asked for once and kept for this tab.
import type { Failure, StreamEvent } from './types';
import { keys } from './keys.svelte';

export class ApiError extends Error implements Failure {
  constructor(public code: string, public status: number, message: string) { super(message); }
}

function withKey(init: RequestInit): RequestInit {
  const headers = new Headers(init.headers);
  if (keys.value) headers.set('authorization', `Bearer ${keys.value}`);
  return { ...init, headers, credentials: 'same-origin' };
}

async function failure(res: Response): Promise<ApiError> {
  try {
    const e = (await res.json()).error;
    return new ApiError(e.code ?? 'INTERNAL', res.status, e.message ?? res.statusText);
  } catch {
    return new ApiError('INTERNAL', res.status, res.statusText || `the server answered ${res.status}`);
  }
}

// A 401 may be a provider's: it is ours when the server refuses its own status, too.
async function ours(path: string): Promise<boolean> {
  if (path !== '/weir/v1/chat') return true;
  return (await fetch('/weir/v1/status', withKey({}))).status === 401;
}

export async function call(path: string, init: RequestInit = {}): Promise<Response> {
  for (;;) {
    let res: Response;
    const sent = keys.value;
    try {
      res = await fetch(path, withKey(init));
    } catch (e) {
      if ((e as Error).name === 'AbortError') throw e;
      throw new ApiError('NETWORK', 0, 'weir cannot be reached.');
    }
    if (res.ok) return res;
    if (res.status === 401 && (await ours(path))) {
      if (keys.value !== sent || (await keys.ask(sent !== ''))) continue;
    }
    throw await failure(res);
  }
}

export async function get<T>(path: string): Promise<T> {
  return (await call(path)).json();
}

export function post(path: string, body: unknown, headers: Record<string, string> = {}, signal?: AbortSignal) {
  return call(path, {
    method: 'POST', body: JSON.stringify(body), signal: signal ?? null,
    headers: { 'content-type': 'application/json', ...headers },
  });
}

// Lines of JSON, as they come. Blank lines only keep the connection alive.
export async function* events(res: Response): AsyncGenerator<StreamEvent> {
  const reader = res.body!.getReader();
  const decoder = new TextDecoder();
  let rest = '', done = false, value: Uint8Array | undefined;
  try {
    for (;;) {
      ({ done, value } = await reader.read());
      rest += decoder.decode(value, { stream: !done });
      const lines = rest.split('\n');
      rest = done ? '' : lines.pop()!;
      for (const line of lines) if (line.trim()) yield JSON.parse(line) as StreamEvent;
      if (done) return;
    }
  } finally {
    if (!done) reader.cancel().catch(() => {});
  }
}
