// The replica of one object of a client's session. Its value lies in WebAssembly memory until somebody reads it, and
// after a change only what changed is made anew.

import { type Cell, type CreateCell, signalCell } from './cell.js';
import { Ask, Change, NO_CELL, Target } from './core.js';
import { BaseReplica, bindOnUse, Mark, type Replica } from './replica.js';
import type { Runtime, Shown } from './runtime.js';
import type { Gate } from './schema.js';
import { type DehydratedState, objectState } from './state.js';
import { toJson } from './value/json.js';
import { type Part, partOf, type Words } from './value/path.js';

/** How to show a synced object. */
export interface SyncedOptions<T> {
  /** Where to show the value. Default: a signal that makes the value when it is first read. */
  cell?: Cell<T | undefined> | undefined;
  /** How to make the cells of value and meta. Default: signals. */
  createCell?: CreateCell | undefined;
}

export class SyncedReplica extends BaseReplica<unknown> implements Replica<unknown>, Shown {
  /** Where to show the value; or, made by the first tracked read, what counts its changes. */
  #shown: Cell<unknown> | undefined;
  #ticket = 0;
  /** @internal */ cell = NO_CELL;
  /** @internal */ base = NO_CELL;
  /** @internal */ value: unknown = undefined;

  constructor(
    runtime: Runtime, slot: number, gate: Gate | undefined, readonly key: string,
    { cell, createCell = signalCell }: SyncedOptions<unknown>,
  ) {
    super(runtime, slot, gate, createCell);
    this.#shown = cell;
    this.mark(Mark.Eager, cell !== undefined);
  }

  static {
    bindOnUse(this.prototype, ['get', 'peek']);
  }

  get(): unknown {
    if (this.has(Mark.Eager)) return this.#shown!.get();
    (this.#shown ??= this.createCell<unknown>(0)).get();
    return this.#read();
  }

  peek(): unknown {
    return this.has(Mark.Eager) ? this.#shown!.peek() : this.#read();
  }

  protected current(): unknown {
    return this.peek();
  }

  protected override part(words: Words): Part {
    return partOf(this.runtime, words, () => this.#hasOutput() || this.disposed ? undefined : this.cell, () => this.peek());
  }

  protected shownAt(sequence: number): DehydratedState {
    const { cell } = this;
    const value = cell === NO_CELL ? {} : { value: toJson(this.runtime.maker.once(cell)) };
    return objectState(this.key, { ...value, schema_version: this.schemaVersion(), sequence, epoch: this.epoch() });
  }

  protected takeValue(kind: Change, cell: number, ticket: number): void {
    switch (kind) {
      case Change.Value:
        cell |= 0;
        if (cell === NO_CELL || ticket !== 0) this.isExpected = false;
        else if (this.has(Mark.Fresh) && this.base !== NO_CELL) this.runtime.expect(this);
        this.cell = cell;
        this.#ticket = ticket;
        this.mark(Mark.Fresh, false);
        this.valueDue();
        this.metaDue();
        break;
      case Change.Judge:
        this.judgeCell(cell, ticket);
        break;
    }
  }

  protected showValue(): void {
    try {
      if (this.has(Mark.Eager)) this.#shown!.set(this.#read());
      else this.#shown?.set((this.#shown.peek() as number) + 1);
    } catch (error) {
      this.raise(error);
    }
  }

  protected enter(): number {
    return this.runtime.subscribe(Target.Object, this.key, '', this.runtime.gate(this.gate));
  }

  save(): void {
    // What was never read lay in the core.
    if (!this.has(Mark.Fresh) && this.#hasOutput()) this.value = this.runtime.outputs.get(this.#ticket);
    this.mark(Mark.Fresh, true);
    this.#ticket = 0;
    this.cell = this.base = NO_CELL;
    this.isExpected = false;
  }

  protected leave(): void {
    // What was shown stays readable, and its bytes are about to go.
    this.#read();
    this.isExpected = false;
    this.runtime.maker.drop(this);
    this.core.ask(Ask.Release, this.slot);
  }

  #hasOutput(): boolean {
    return this.#ticket !== 0 && this.runtime.outputs.has(this.#ticket);
  }

  #read(): unknown {
    // Made together with others: then it is as fresh as its cell.
    if (this.has(Mark.Fresh) || (this.base === this.cell && this.base !== NO_CELL)) {
      this.mark(Mark.Fresh, true);
      return this.value;
    }
    this.mark(Mark.Fresh, true);
    if (this.cell !== NO_CELL && !this.#hasOutput()) {
      this.runtime.make(this);
    } else {
      this.runtime.maker.drop(this);
      this.value = this.cell === NO_CELL ? undefined : this.runtime.outputs.get(this.#ticket);
    }
    return this.value;
  }
}
