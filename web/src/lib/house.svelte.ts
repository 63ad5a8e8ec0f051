// What the server says of itself: models, providers, budget, machine.
import { get } from './api';
import type { Model, Status } from './types';

class House {
  status = $state.raw<Status | null>(null);
  error = $state('');
  #under: Promise<void> | null = null;

  get models(): Model[] { return this.status?.models ?? []; }
  get forced(): boolean { return this.status?.preset === 'private'; }

  refresh(): Promise<void> {
    this.#under ??= this.#load().finally(() => { this.#under = null; });
    return this.#under;
  }

  async #load() {
    try {
      this.status = await get<Status>('/weir/v1/status');
      this.error = '';
    } catch (e) {
      this.error = (e as Error).message;
    }
  }
}
export const house = new House();
