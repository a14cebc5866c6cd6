// The replica of a datastore: rows that lie in WebAssembly memory until somebody reads them.

import { type Cell, type CreateCell, Lazy, signalCell } from './cell.js';
import { Ask, Change, MetaFact, NO_CELL, Target, Write } from './core.js';
import { BaseReplica, type Observable } from './replica.js';
import type { Runtime, Shown } from './runtime.js';
import type { Gate } from './schema.js';
import { datastoreState, type DehydratedState } from './state.js';
import { checkKey } from './value/encode.js';
import { toJson } from './value/json.js';
import { message } from './value/message.js';
import { type Part, partOf, type Words } from './value/path.js';

/** How to open a datastore, and how to show it. */
export interface DatastoreOptions<T = unknown> {
  /** What to create where the datastore does not exist. Left out, it is not created. */
  kind?: 'permanent' | 'temp' | undefined;
  /** The field that names a record. Default: `id`. */
  primary?: string | undefined;
  /** How `rows` are ordered, as `sort` takes it. Default: by their last change, the newest at the end. */
  order?(one: T, other: T): number;
  /** How to make the cells of rows and meta. Default: signals. */
  createCell?: CreateCell | undefined;
}

/** A live, read-only copy of a datastore, and the way to change it. */
export interface Collection<T> extends Observable<readonly T[], Readonly<Record<string, T>>> {
  readonly id: string;
  /** All records, in the order of their last change or as `order` says (a tracked read). The array is the same until something changes. */
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

class Row implements Shown {
  base = NO_CELL;
  value: unknown = undefined;
  isExpected = false;
  /** Whether somebody has looked at what is shown. */
  wasRead = false;
  /** Whether `value` is what the gate made of the cell. */
  isOutput = false;
  /** Known when somebody has to know it. */
  key: string | undefined;
  /** Made by the first tracked read; counts the changes. */
  changes: Cell<number> | undefined;

  constructor(public cell: number, public ticket: number, public sequence: number) {}

  get isFresh(): boolean {
    return this.isOutput || this.base === this.cell;
  }
}

/** Rows that are looked up one by one before all are: the first that a page shows need not wait for the others' keys. */
const MAX_SINGLES = 8;

const bump = (cell: Cell<number> | undefined): void => cell?.set(cell.peek() + 1);

/** The records of a datastore or pool, and what is made of all of them together. */
export abstract class RowsReplica<V> extends BaseReplica<V> {
  readonly #all: Lazy<V>;
  /** Counts the records that came and went, for readers of a record that is not there. */
  readonly #members: Cell<number>;
  /** In the order of their sequences, unless `#sorted` says otherwise. */
  readonly #rows = new Map<string, Row>();
  readonly #byCell = new Map<number, Row>();
  /**
   * The cells of rows that are not among `#rows` yet, because nobody asked for their keys: that is one call for all. What
   * nobody reads is no more than a number here.
   */
  #unnamed: number[] = [];
  /** Whether all that is not here is one of them: a first snapshot is announced as a whole. */
  #hasHidden = false;
  /** How often one of them was asked for alone. */
  #singles = 0;
  #sorted = true;
  /** Whether the rows are those of a core that has trapped. */
  #isKept = false;
  /** What it follows: the kind of target, and the field that names a record. */
  origin: readonly [target: Target, primary: string] = [Target.Datastore, ''];
  #highest = -1;
  #membersChanged = false;
  #rowsChanged = new Set<Row>();

  constructor(runtime: Runtime, slot: number, gate: Gate | undefined, readonly id: string, createCell: CreateCell = signalCell) {
    super(runtime, slot, gate, createCell);
    this.#members = createCell(0);
    this.#all = new Lazy(createCell, () => this.assemble(this.#readAll()));
  }

  override get isSingle(): boolean {
    return false;
  }

  /** What is made of all records, in the order of their last change. */
  protected abstract assemble(rows: readonly (readonly [string, unknown])[]): V;

  /** All of it (a tracked read). */
  protected all(): V {
    return this.#all.get();
  }

  readonly get = (key: string): unknown => {
    const row = this.#find(key);
    if (row === undefined) {
      this.#members.get();
      return undefined;
    }
    (row.changes ??= this.createCell(0)).get();
    return this.#read(row);
  };

  protected current(): V {
    return this.#all.peek();
  }

  protected override part([key = '', ...words]: Words): Part {
    return partOf(this.runtime, words, () => {
      const row = this.#find(key);
      if (row === undefined) return NO_CELL;
      return this.disposed || row.isOutput || this.#hasOutput(row) ? undefined : row.cell;
    }, () => this.#read(this.#find(key)!));
  }

  protected shownAt(sequence: number): DehydratedState {
    this.#name();
    const rows = Array.from(this.#rows, ([key, row]) => (
      [row.sequence, key, toJson(this.runtime.maker.once(row.cell))] as const
    ));
    return datastoreState(this.id, { rows: rows.sort(([a], [b]) => a - b), sequence, epoch: this.epoch() });
  }

  protected takeValue(kind: Change, cell: number, ticket: number, previous: number): void {
    switch (kind) {
      case Change.Table:
        this.#hasHidden = true;
        this.#membersChanged = true;
        break;
      case Change.Row:
        this.#put(cell | 0, ticket, previous | 0);
        break;
      case Change.Gone: {
        const row = this.#known(cell);
        if (row === undefined) {
          if (!this.#hasHidden) return;
          this.#membersChanged = true;
          break;
        }
        this.#byCell.delete(cell);
        this.#rows.delete(row.key!);
        row.isExpected = false;
        this.runtime.maker.drop(row);
        this.#changed(row);
        this.#membersChanged = true;
        break;
      }
      case Change.Judge:
        this.judgeCell(cell, ticket);
        return;
      default:
        return;
    }
    this.#all.expire();
    this.valueDue();
    this.metaDue();
  }

  protected showValue(): void {
    const rows = this.#rowsChanged;
    this.#rowsChanged = new Set();
    try {
      for (const row of rows) bump(row.changes);
      if (this.#membersChanged) bump(this.#members);
      this.#membersChanged = false;
      this.#all.announce();
    } catch (error) {
      this.raise(error);
    }
  }

  protected enter(): number {
    const [target, primary] = this.origin;
    return this.runtime.subscribe(target, this.id, primary, this.runtime.gate(this.gate));
  }

  save(): void {
    for (const [key, row] of this.#rows) {
      // What was never read lay in the core.
      if (this.#hasOutput(row)) row.value = this.runtime.outputs.get(row.ticket);
      else if (row.base === NO_CELL && !row.isOutput) this.#rows.delete(key);
      row.base = NO_CELL;
      row.ticket = 0;
      row.isOutput = true;
      row.isExpected = false;
    }
    this.#unnamed = [];
    this.#hasHidden = false;
    this.#byCell.clear();
    this.#isKept = true;
  }

  override take(kind: Change, a: number, b: number, c: number): void {
    if (this.#isKept && (kind === Change.Row || kind === Change.Table || (kind === Change.Meta && this.fact(MetaFact.Sequence) >= 0))) this.#letGo();
    super.take(kind, a, b, c);
  }

  /** The first snapshot after a trap is here: it has all that there is. */
  #letGo(): void {
    this.#isKept = false;
    for (const row of this.#rows.values()) this.#changed(row);
    this.#rows.clear();
    this.#highest = -1;
    this.#sorted = true;
    this.#membersChanged = true;
    this.#all.expire();
    this.valueDue();
  }

  protected leave(): void {
    this.#unnamed = [];
    this.#hasHidden = false;
    for (const [key, row] of this.#rows) {
      // Records that were never read go with the bytes; reading them all now could take long.
      if (row.base === NO_CELL && !row.isOutput) this.#rows.delete(key);
      else this.#read(row);
      row.isExpected = false;
    }
    for (const row of this.#rows.values()) {
      this.runtime.maker.drop(row);
      row.isOutput = true;
    }
    this.core.ask(Ask.Release, this.slot);
  }

  #find(key: string): Row | undefined {
    const row = this.#rows.get(key);
    if (row !== undefined || (this.#unnamed.length === 0 && !this.#hasHidden)) return row;
    // Where a gate may have made something of it, its ticket is listed with all others.
    if (this.#hasHidden && this.gate === undefined && this.#singles++ < MAX_SINGLES) {
      const cell = this.core.ask(Ask.Row, this.slot, this.runtime.memory.put(key)) | 0;
      if (cell !== NO_CELL) return this.#enter(this.#rowOf(cell), key);
    }
    this.#name();
    return this.#rows.get(key);
  }

  /** What is there of a cell that was announced. */
  #known(cell: number): Row | undefined {
    const row = this.#byCell.get(cell);
    if (row?.key !== undefined || this.#hasHidden) return row;
    this.#name();
    return this.#byCell.get(cell);
  }

  /** Those who read the row are to be told. */
  #changed(row: Row): void {
    if (row.changes !== undefined) this.#rowsChanged.add(row);
  }

  #rowOf(cell: number, ticket = 0): Row {
    let row = this.#byCell.get(cell);
    if (row === undefined) this.#byCell.set(cell, (row = new Row(cell, ticket, this.core.cellSequence(cell))));
    return row;
  }

  #put(cell: number, ticket: number, previous: number): void {
    const row = previous === NO_CELL ? undefined : this.#known(previous);
    if (row === undefined) {
      this.#membersChanged = true;
      if (this.#hasHidden) return;
      // What a gate has made is kept by the cell.
      if (ticket !== 0) this.#rowOf(cell, ticket);
      this.#unnamed.push(cell);
    } else {
      this.#byCell.delete(previous);
      if (ticket !== 0) row.isExpected = false;
      else if (row.wasRead && row.base !== NO_CELL) this.runtime.expect(row);
      row.wasRead = false;
      row.cell = cell;
      row.ticket = ticket;
      row.sequence = this.core.cellSequence(cell);
      row.isOutput = false;
      // A map keeps the order of insertion: a changed record goes to the end.
      this.#rows.delete(row.key!);
      this.#enter(row, row.key!);
      this.#byCell.set(cell, row);
      this.#changed(row);
    }
  }

  #enter(row: Row, key: string): Row {
    row.key = key;
    this.#rows.set(key, row);
    if (row.sequence < this.#highest) this.#sorted = false;
    else this.#highest = row.sequence;
    return row;
  }

  /** Finds out the keys of new rows. */
  #name(): void {
    if (this.#hasHidden) {
      this.#hasHidden = false;
      this.#singles = 0;
      const listed = this.runtime.memory.list(this.core.ask(Ask.Rows, this.slot));
      for (let i = 0; i < listed.length; i += 2) {
        const cell = listed[i]!;
        if (this.#byCell.get(cell)?.key !== undefined) continue;
        if (listed[i + 1] !== 0) this.#rowOf(cell, listed[i + 1]);
        this.#unnamed.push(cell);
      }
    }
    if (this.#unnamed.length === 0) return;
    const cells = this.#unnamed;
    this.#unnamed = [];
    const keys = this.runtime.maker.keys(cells);
    cells.forEach((cell, i) => this.#enter(this.#rowOf(cell), keys[i]!));
  }

  #hasOutput(row: Row): boolean {
    return row.ticket !== 0 && this.runtime.outputs.has(row.ticket);
  }

  #read(row: Row): unknown {
    row.wasRead = true;
    if (!row.isFresh && !this.#takeOutput(row)) this.runtime.make(row);
    return row.value;
  }

  /** Shows what the gate made of a row. Says whether there is such a thing. */
  #takeOutput(row: Row): boolean {
    if (!this.#hasOutput(row)) return false;
    this.runtime.maker.drop(row);
    row.value = this.runtime.outputs.get(row.ticket);
    row.isOutput = true;
    return true;
  }

  #readAll(): readonly (readonly [string, unknown])[] {
    this.#name();
    if (!this.#sorted) {
      const entries = [...this.#rows].sort(([, a], [, b]) => a.sequence - b.sequence);
      this.#rows.clear();
      for (const [key, row] of entries) this.#rows.set(key, row);
      this.#sorted = true;
    }
    this.runtime.makeAll([...this.#rows.values()].filter((row) => !row.isFresh && !this.#takeOutput(row)));
    return Array.from(this.#rows, ([key, row]) => {
      row.wasRead = true;
      return [key, row.value];
    });
  }
}

export class DatastoreCollection extends RowsReplica<readonly unknown[]> implements Collection<unknown> {
  readonly #order: ((one: never, other: never) => number) | undefined;

  constructor(
    runtime: Runtime, slot: number, gate: Gate | undefined, id: string,
    order?: (one: never, other: never) => number, createCell?: CreateCell,
  ) {
    super(runtime, slot, gate, id, createCell);
    this.#order = order;
  }

  readonly rows = (): readonly unknown[] => this.all();

  readonly peekRows = (): readonly unknown[] => this.current();

  // `async`, so that a value that cannot be sent rejects like one that the server refuses.
  readonly set = async (value: unknown): Promise<void> => {
    await this.runtime.write(message(Write.Set, this.id, value));
  };

  readonly delete = async (key: string): Promise<void> => {
    checkKey(key, 'the key of a record');
    await this.runtime.write(message(Write.Remove, this.id, key));
  };

  protected assemble(rows: readonly (readonly [string, unknown])[]): readonly unknown[] {
    const values = rows.map(([, value]) => value);
    if (this.#order === undefined) return values;
    try {
      // A copy: half sorted they would be no order at all.
      return values.slice().sort(this.#order as (one: unknown, other: unknown) => number);
    } catch (error) {
      this.raise(error);
      return values;
    }
  }
}
