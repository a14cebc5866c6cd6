// The replica of a datastore: rows that lie in WebAssembly memory until somebody reads them.

import { type Cell, type CreateCell, Lazy, signalCell } from './cell.js';
import { Change, Text, Write } from './core.js';
import { BaseReplica, type Observable } from './replica.js';
import type { Runtime } from './runtime.js';
import type { Gate } from './schema.js';
import { checkKey, encode } from './value/encode.js';

/** How to open a datastore, and how to show it. */
export interface DatastoreOptions {
  /** What to create where the datastore does not exist. Left out, it is not created. */
  kind?: 'permanent' | 'temp' | undefined;
  /** The field that names a record. Default: `id`. */
  primary?: string | undefined;
  /** How to make the cells of rows and meta. Default: signals. */
  createCell?: CreateCell | undefined;
}

/** A live, read-only copy of a datastore, and the way to change it. */
export interface Collection<T> extends Observable<readonly T[]> {
  readonly id: string;
  /** All records in the order of their last change (a tracked read). The array is the same until something changes. */
  rows(): readonly T[];
  /** All records (an untracked read). */
  peekRows(): readonly T[];
  /** One record (a tracked read). It is the same object until the record changes. */
  get(key: string): T | undefined;
  /** Inserts or replaces a record. Resolves when it is durable at the server and shown here. */
  set(value: T): Promise<void>;
  /** Deletes a record. Resolves when that is durable at the server and shown here. */
  delete(key: string): Promise<void>;
}

interface Row {
  cell: number;
  ticket: number;
  sequence: number;
  value: unknown;
  made: boolean;
  /** Made by the first tracked read; counts the changes. */
  changes: Cell<number> | undefined;
}

const bump = (cell: Cell<number> | undefined): void => cell?.set(cell.peek() + 1);

export class DatastoreCollection extends BaseReplica<readonly unknown[]> implements Collection<unknown> {
  readonly #createCell: CreateCell;
  readonly #list: Lazy<readonly unknown[]>;
  /** Counts the records that came and went, for readers of a record that is not there. */
  readonly #members: Cell<number>;
  /** In the order of their sequences, unless `#sorted` says otherwise. */
  readonly #rows = new Map<string, Row>();
  #sorted = true;
  #highest = -1;
  #membersChanged = false;
  #rowsChanged = new Set<Row>();

  constructor(runtime: Runtime, slot: number, gate: Gate | undefined, readonly id: string, createCell: CreateCell = signalCell) {
    super(runtime, slot, gate, createCell);
    this.#createCell = createCell;
    this.#members = createCell(0);
    this.#list = new Lazy(createCell, () => this.#readAll());
  }

  readonly rows = (): readonly unknown[] => this.#list.get();

  readonly peekRows = (): readonly unknown[] => this.#list.peek();

  readonly get = (key: string): unknown => {
    const row = this.#rows.get(key);
    if (row === undefined) {
      this.#members.get();
      return undefined;
    }
    (row.changes ??= this.#createCell(0)).get();
    return this.#read(row);
  };

  // `async`, so that a value that cannot be sent rejects like one that the server refuses.
  readonly set = async (value: unknown): Promise<void> => {
    const bytes = encode(value);
    return this.runtime.write(Write.Set, this.id, '', bytes);
  };

  readonly delete = async (key: string): Promise<void> => {
    checkKey(key, 'the key of a record');
    return this.runtime.write(Write.Remove, this.id, key);
  };

  protected current(): readonly unknown[] {
    return this.#list.peek();
  }

  protected takeValue(kind: Change, cell: number, ticket: number): void {
    switch (kind) {
      case Change.Row:
        this.#put(cell, ticket);
        break;
      case Change.Gone: {
        const key = this.core.text(Text.Key, cell) ?? '';
        const row = this.#rows.get(key);
        if (row === undefined) return;
        this.#rows.delete(key);
        this.#rowsChanged.add(row);
        this.#membersChanged = true;
        break;
      }
      case Change.Judge:
        this.judgeCell(cell, ticket);
        return;
      default:
        return;
    }
    this.#list.expire();
    this.valueChanged = true;
    this.metaDue();
  }

  protected showValue(): void {
    const rows = this.#rowsChanged;
    this.#rowsChanged = new Set();
    try {
      for (const row of rows) bump(row.changes);
      if (this.#membersChanged) bump(this.#members);
      this.#membersChanged = false;
      this.#list.announce();
    } catch (error) {
      this.raise(error);
    }
  }

  protected leave(): void {
    // Records that were never read go with the bytes; reading them all now could take long.
    for (const [key, row] of this.#rows) if (!row.made) this.#rows.delete(key);
    this.core.release(this.slot);
  }

  #put(cell: number, ticket: number): void {
    const key = this.core.text(Text.Key, cell) ?? '';
    const sequence = this.core.cellSequence(cell);
    let row = this.#rows.get(key);
    if (row === undefined) {
      row = { cell, ticket, sequence, value: undefined, made: false, changes: undefined };
      this.#membersChanged = true;
    } else {
      // A map keeps the order of insertion: a changed record goes to the end.
      this.#rows.delete(key);
      row.cell = cell;
      row.ticket = ticket;
      row.sequence = sequence;
    }
    this.#rows.set(key, row);
    row.made = false;
    row.value = undefined;
    if (sequence < this.#highest) this.#sorted = false;
    else this.#highest = sequence;
    this.#rowsChanged.add(row);
  }

  #read(row: Row): unknown {
    if (!row.made) {
      row.value = this.readCell(row.cell, row.ticket);
      row.made = true;
    }
    return row.value;
  }

  #readAll(): readonly unknown[] {
    if (!this.#sorted) {
      const entries = [...this.#rows].sort(([, a], [, b]) => a.sequence - b.sequence);
      this.#rows.clear();
      for (const [key, row] of entries) this.#rows.set(key, row);
      this.#sorted = true;
    }
    return Array.from(this.#rows.values(), (row) => this.#read(row));
  }
}
