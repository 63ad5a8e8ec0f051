// The server's API key, for this tab only.
const NAME = 'weir.key';

class Keys {
  value = sessionStorage.getItem(NAME) ?? '';
  asking = $state(false);
  wrong = $state(false);
  private waiting: Promise<boolean> | null = null;
  private answer: (ok: boolean) => void = () => {};

  // True: there is a new key to try. Callers that need one at the same time wait for the same dialog.
  ask(wrong: boolean): Promise<boolean> {
    this.wrong = wrong;
    this.asking = true;
    this.waiting ??= new Promise<boolean>((res) => { this.answer = res; }).finally(() => { this.waiting = null; });
    return this.waiting;
  }

  give(key: string | null) {
    this.asking = false;
    if (key) {
      this.value = key;
      sessionStorage.setItem(NAME, key);
    }
    this.answer(Boolean(key));
  }
}
export const keys = new Keys();
