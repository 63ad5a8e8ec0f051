// What this device remembers of its person's choices.
type Theme = 'system' | 'light' | 'dark';

function read<T>(name: string, or: T): T {
  try {
    const v = localStorage.getItem(`weir.${name}`);
    if (v === null) return or;
    return typeof or === 'string' ? (v as unknown as T) : (JSON.parse(v) as T);
  } catch {
    return or;
  }
}
function write(name: string, v: unknown) {
  try {
    localStorage.setItem(`weir.${name}`, typeof v === 'string' ? v : JSON.stringify(v));
  } catch { /* storage is full or off: the choice lasts as long as the page */ }
}

class Prefs {
  #private = $state(read('private', false));
  #theme = $state<Theme>(read<Theme>('theme', 'system'));
  #model = $state(read('model', 'auto'));
  #zone = $state(read('zone', ''));
  #temperature = $state(read('temperature', ''));
  #maxTokens = $state(read('maxTokens', ''));
  #side = $state(read('side', true));

  get private() { return this.#private; }
  set private(v) { this.#private = v; write('private', v); }
  get theme() { return this.#theme; }
  set theme(v) {
    this.#theme = v;
    write('theme', v);
    if (v === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = v;
  }
  get model() { return this.#model; }
  set model(v) { this.#model = v; write('model', v); }
  get zone() { return this.#zone; }
  set zone(v) { this.#zone = v; write('zone', v); }
  get temperature() { return this.#temperature; }
  set temperature(v) { this.#temperature = v; write('temperature', v); }
  get maxTokens() { return this.#maxTokens; }
  set maxTokens(v) { this.#maxTokens = v; write('maxTokens', v); }
  get side() { return this.#side; }
  set side(v) { this.#side = v; write('side', v); }
}
export const prefs = new Prefs();
