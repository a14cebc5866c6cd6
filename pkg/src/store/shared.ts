// Something that is kept open for as long as anybody uses it, and a little longer.

/**
 * How long what nobody uses any more stays open, in milliseconds. Long enough for React's StrictMode, which takes a
 * component away and puts it back, and for a change of route between two pages that show the same; short enough that
 * nobody pays for what is gone.
 */
export const LINGER = 1_000;

/** Has users and, once these have left, an end. */
export abstract class Shared {
  readonly #users = new Set<() => void>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isOpen = false;

  protected abstract open(): void;
  protected abstract close(): void;

  get hasUsers(): boolean {
    return this.#users.size > 0;
  }

  /** Opens it for a look: a render that may or may not be followed by a use. What `open` throws is thrown each time. */
  touch(): void {
    if (this.#isOpen) return;
    this.open();
    this.#isOpen = true;
    if (!this.hasUsers) this.#linger();
  }

  /** Opens it for a user, who hears of changes. The returned function ends that. */
  retain(onChange: () => void): () => void {
    this.touch();
    const user = (): void => onChange();
    this.#users.add(user);
    clearTimeout(this.#timer);
    return () => {
      if (this.#users.delete(user) && !this.hasUsers) this.#linger();
    };
  }

  protected notify(): void {
    for (const user of [...this.#users]) if (this.#users.has(user)) user();
  }

  #linger(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (this.hasUsers) return;
      this.#isOpen = false;
      this.close();
    }, LINGER);
    // No reason for Node to stay.
    (this.#timer as { unref?: () => void }).unref?.();
  }
}
