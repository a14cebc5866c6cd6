// Reactive cells: where a replica shows its value. The default is a signal of @preact/signals-core.

import { Signal } from '@preact/signals-core';

/** A reactive value. `get` is a tracked read, `peek` an untracked one. */
export interface Cell<T> {
  get(): T;
  peek(): T;
  set(value: T): void;
}

/** Makes a cell that holds `initial`. */
export type CreateCell = <T>(initial: T) => Cell<T>;

/** The signal itself, with the names of a cell: closures over one would be thrice its memory. */
class SignalCell<T> extends Signal<T> implements Cell<T> {
  constructor(initial: T) {
    super(initial);
  }

  get(): T {
    return this.value;
  }

  set(value: T): void {
    this.value = value;
  }
}

/** A cell over a `@preact/signals-core` signal. */
export function signalCell<T>(initial: T): Cell<T> {
  return new SignalCell(initial);
}

/** @internal A value that is made when it is first read after a change. Its cell only counts the changes. */
export class Lazy<T> {
  readonly #createCell: CreateCell;
  /** Made by the first tracked read. */
  #changes: Cell<number> | undefined;
  readonly #make: () => T;
  /** Whether two values say the same: then the first one stays, and nobody is told. Without it a value is not made to be told of. */
  readonly #isSame: ((one: T, other: T) => boolean) | undefined;
  #value: T | undefined;
  #fresh = false;
  /** What those who read it have been told of. */
  #told: T | undefined;

  constructor(createCell: CreateCell, make: () => T, isSame?: (one: T, other: T) => boolean) {
    this.#createCell = createCell;
    this.#make = make;
    this.#isSame = isSame;
  }

  get(): T {
    if (this.#changes === undefined) {
      this.#changes = this.#createCell(0);
      if (this.#isSame) this.#told = this.peek();
    }
    this.#changes.get();
    return this.peek();
  }

  peek(): T {
    if (!this.#fresh) {
      const before = this.#value;
      const made = this.#make();
      if (before === undefined || !this.#isSame?.(before, made)) this.#value = made;
      this.#fresh = true;
    }
    return this.#value as T;
  }

  /** Forgets the value without telling anybody yet. */
  expire(): void {
    this.#fresh = false;
  }

  /** Sets the value for good, where it cannot be made again. */
  keep(value: T): void {
    this.#value = value;
    this.#fresh = true;
  }

  /** Tells the readers. */
  announce(): void {
    const changes = this.#changes;
    if (changes === undefined) return;
    if (this.#isSame) {
      const now = this.peek();
      if (now === this.#told) return;
      this.#told = now;
    }
    changes.set(changes.peek() + 1);
  }
}
