// Conversations on this device: a list to show (meta) and what was said (body), in IndexedDB.
import type { Message } from './types';

export interface Meta {
  id: string; title: string; updated: number; private: boolean; keep: boolean; system: string;
}

let opening: Promise<IDBDatabase | null> | null = null;

function open(): Promise<IDBDatabase | null> {
  opening ??= new Promise((res) => {
    let req: IDBOpenDBRequest;
    try {
      req = indexedDB.open('weir', 1);
    } catch {
      res(null);
      return;
    }
    req.onupgradeneeded = () => {
      req.result.createObjectStore('meta', { keyPath: 'id' });
      req.result.createObjectStore('body');
    };
    req.onsuccess = () => res(req.result);
    req.onerror = () => res(null);
  });
  return opening;
}

async function run<T>(mode: IDBTransactionMode, work: (t: IDBTransaction) => IDBRequest<T> | void): Promise<T | undefined> {
  const db = await open();
  if (!db) return undefined;
  return new Promise((res, rej) => {
    const t = db.transaction(['meta', 'body'], mode);
    const r = work(t);
    t.oncomplete = () => res(r ? r.result : undefined);
    t.onerror = t.onabort = () => rej(t.error);
  });
}

export const db = {
  list: () => run<Meta[]>('readonly', (t) => t.objectStore('meta').getAll()).then((v) => v ?? []),
  body: (id: string) => run<Message[]>('readonly', (t) => t.objectStore('body').get(id)).then((v) => v ?? []),
  save: (meta: Meta, body: Message[]) => run('readwrite', (t) => {
    t.objectStore('meta').put(meta);
    t.objectStore('body').put(body, meta.id);
  }),
  remove: (id: string) => run('readwrite', (t) => {
    t.objectStore('meta').delete(id);
    t.objectStore('body').delete(id);
  }),
};
