// Values from tapes: the core says in numbers what to build, and gives one text that all strings are cut from. The Rust
// side, with the meaning of each operation, is src/value/tape.rs.
//
// Measured against a decoder of the bytes themselves, this is eight times as fast: one call of TextDecoder serves any
// number of values, and names of fields are not decoded at all.

import { Ask, type Core, NO_CELL } from '../core.js';
import type { Memory } from '../memory.js';

/** Set by the bundler: whether this is a development build, in which values are frozen. */
declare const DEVELOPMENT: boolean;

const FREEZES = typeof DEVELOPMENT === 'boolean' && DEVELOPMENT;

/** What to do: the low five bits of a node's first word. */
const enum Op {
  Nil, False, True, Small, Float, Signed, Unsigned, Text, Wide, Bytes, List, Map,
  Same, EditMap, ReorderMap, EditList, SpliceList, Absent,
}

const OP_BITS = 5;
const OP_MASK = 31;

/** A name's word that says: its text follows, and is to be remembered. */
const NAME_NEW = 0xffffffff;

/** In the place of a base: the value is looked at once. */
const ONCE = 0xfffffffe;

/** In the place of a base: it is the key of the cell's record that is wanted. */
const KEY = 0xfffffffd;

/** Shorter texts are looked for among those that were cut before: in records they recur. */
const MAX_SHORT = 10;

/** Longer texts are cut from the tape's, which then lives as long as they do. */
const MAX_COPIED = 48;

/** Longer texts are decoded. */
const MAX_SPELT = 24;

/** Longer lists keep the room that they have to spare: a part of what they take. */
const MAX_TRIMMED = 64;

/** Pairs of words that the core takes at a time. */
const MAX_WANTS = 512;

/** A value that is made when somebody looks, and patched from the one before. */
export interface Made {
  /** The cell of the value to show. */
  cell: number;
  /** The cell of `value`, whose bytes the core keeps; `NO_CELL` if there is none to patch. */
  base: number;
  value: unknown;
}

type Fields = Record<string, unknown>;

const halves = new Uint32Array(2);
const float = new Float64Array(halves.buffer);
const signed = new BigInt64Array(halves.buffer);
const unsigned = new BigUint64Array(halves.buffer);

// The tape that is read now. Reading runs no code of users, so there is only one.
let words: Uint32Array;
let at = 0;
let text = '';
let cut = 0;
let wide = '';
let wideCut = 0;
let names: string[];

/** Short texts, each in the place that its length and ends give it. */
const shorts: string[] = new Array<string>(256).fill('');

/** The codes of a text that is copied. */
const codes: number[] = [];

/** Makes values of the cells of one core. */
export class Maker {
  readonly #core: Core;
  readonly #memory: Memory;
  /** Where the core reads what is wanted. */
  readonly #wants: number;
  readonly #names: string[] = [];

  constructor(core: Core, memory: Memory) {
    this.#core = core;
    this.#memory = memory;
    this.#wants = core.ask(Ask.Wants) / 4;
  }

  /** Makes or patches all these values: as few calls and texts as possible. */
  make(list: readonly Made[]): void {
    for (let from = 0; from < list.length;) {
      const count = Math.min(list.length - from, MAX_WANTS);
      this.#memory.look();
      for (let i = 0; i < count; i++) this.#want(i, list[from + i]!.cell, list[from + i]!.base);
      const met = this.#open(this.#core.build(count));
      for (let i = 0; i < met; i++) update(list[from + i]!);
      from += met;
    }
  }

  /** Makes or patches one value. */
  makeOne(made: Made): void {
    this.#memory.look();
    this.#want(0, made.cell, made.base);
    this.#open(this.#core.build(1));
    update(made);
  }

  /** Makes or patches one part of a value, the one at the end of an encoded path. */
  makePart(made: Made, path: Uint8Array): void {
    this.#open(this.#core.ask(Ask.Part, made.cell, made.base, this.#memory.put(path)));
    made.value = node(made.value);
    // The core keeps the bytes also where there is no such part in them.
    made.base = made.cell;
  }

  /** The value in `cell`, to be looked at once; `undefined` where there is none. */
  once(cell: number): unknown {
    this.#memory.look();
    this.#want(0, cell, ONCE);
    this.#open(this.#core.build(1));
    return node(undefined);
  }

  /** The keys of the records in these cells. */
  keys(cells: readonly number[]): string[] {
    const keys: string[] = [];
    while (keys.length < cells.length) {
      const count = Math.min(cells.length - keys.length, MAX_WANTS);
      this.#memory.look();
      for (let i = 0; i < count; i++) this.#want(i, cells[keys.length + i]!, KEY);
      const met = this.#open(this.#core.build(count));
      for (let i = 0; i < met; i++) keys.push((node(undefined) as string | undefined) ?? '');
    }
    return keys;
  }

  /** Gives up the value, which stays as it is but is patched no more. */
  drop(made: Made): void {
    if (made.base !== NO_CELL) this.#core.letGo(made.base);
    made.base = NO_CELL;
  }

  #want(index: number, cell: number, base: number): void {
    const place = this.#wants + index * 2;
    const { words } = this.#memory;
    words[place] = cell;
    words[place + 1] = base;
  }

  /** Begins to read the tape that the core has written, and returns how many wants it meets. */
  #open(header: number): number {
    this.#memory.look();
    words = this.#memory.words;
    names = this.#names;
    const from = header / 4;
    at = words[from + 1]! / 4;
    text = this.#ascii(words[from + 3]!, words[from + 4]!);
    wide = this.#decoded(words[from + 5]!, words[from + 6]!);
    cut = wideCut = 0;
    return words[from]!;
  }

  /** A text of ASCII. A call of TextDecoder takes 200 ns whatever it decodes, so short texts are spelt. */
  #ascii(address: number, length: number): string {
    if (length > MAX_SPELT) return this.#decoded(address, length);
    const { bytes } = this.#memory;
    const end = address + length;
    let text = '';
    for (; address + 3 < end; address += 4) {
      text += String.fromCharCode(bytes[address]!, bytes[address + 1]!, bytes[address + 2]!, bytes[address + 3]!);
    }
    for (; address < end; address++) text += String.fromCharCode(bytes[address]!);
    return text;
  }

  #decoded(address: number, length: number): string {
    return length === 0 ? '' : this.#memory.decode(address, length);
  }
}

function update(made: Made): void {
  made.value = node(made.value);
  made.base = made.value === undefined ? NO_CELL : made.cell;
}

/** Reads one node: a whole value, or what to make of `old`. */
function node(old: unknown): unknown {
  const word = words[at++]!;
  switch (word & OP_MASK) {
    case Op.Nil: return null;
    case Op.False: return false;
    case Op.True: return true;
    case Op.Small: return (word | 0) >> OP_BITS;
    case Op.Float: return load()[0];
    case Op.Signed: return load() && signed[0];
    case Op.Unsigned: return load() && unsigned[0];
    case Op.Text: return cutText(word >>> OP_BITS);
    case Op.Wide: return wide.substring(wideCut, (wideCut += word >>> OP_BITS));
    case Op.Bytes: return bytes(word >>> OP_BITS);
    case Op.List: return list(word >>> OP_BITS);
    case Op.Map: return map(word >>> OP_BITS);
    case Op.Same: return old;
    case Op.EditMap: return editMap(old as Fields, word >>> OP_BITS);
    case Op.ReorderMap: return reorderMap(old as Fields, word >>> OP_BITS);
    case Op.EditList: return editList(old as unknown[], word >>> OP_BITS);
    case Op.SpliceList: return spliceList(old as unknown[], word >>> OP_BITS);
    default: return undefined;
  }
}

function load(): Float64Array {
  halves[0] = words[at++]!;
  halves[1] = words[at++]!;
  return float;
}

function name(): string {
  const number = words[at++]!;
  if (number < names.length) return names[number]!;
  const text = node(undefined) as string;
  if (number === NAME_NEW) names.push(text);
  return text;
}

function bytes(length: number): Uint8Array {
  const from = at * 4;
  at += (length + 3) >>> 2;
  return new Uint8Array(words.buffer.slice(from, from + length));
}

/**
 * The next text. Engines make a part of a text by pointing into it, so that a name of twenty letters would keep all texts of
 * a tape: parts of middling length are copied.
 */
function cutText(length: number): string {
  const from = cut;
  cut += length;
  if (length <= MAX_SHORT) return length === 0 ? '' : shortText(from, length);
  if (length > MAX_COPIED || length === text.length) return text.substring(from, cut);
  codes.length = length;
  for (let i = 0; i < length; i++) codes[i] = text.charCodeAt(from + i);
  return String.fromCharCode.apply(null, codes);
}

function shortText(from: number, length: number): string {
  const place = (text.charCodeAt(from) * 7 + text.charCodeAt(from + length - 1) * 31 + length) & 255;
  const known = shorts[place]!;
  if (known.length === length && text.startsWith(known, from)) return known;
  return (shorts[place] = text.substring(from, from + length));
}

/** A list with no room for more: those that grow by `push` have room for seventeen at once. */
function list(length: number): unknown[] {
  switch (length) {
    case 1: return frozen([node(undefined)]);
    case 2: return frozen([node(undefined), node(undefined)]);
    case 3: return frozen([node(undefined), node(undefined), node(undefined)]);
    case 4: return frozen([node(undefined), node(undefined), node(undefined), node(undefined)]);
  }
  const items: unknown[] = [];
  for (let i = 0; i < length; i++) items.push(node(undefined));
  return frozen(length < MAX_TRIMMED ? items.slice() : items);
}

function map(count: number): Fields {
  const object: Fields = {};
  for (; count > 0; count--) set(object, name(), node(undefined));
  return frozen(object);
}

function editMap(old: Fields, edits: number): Fields {
  let copy: Fields | undefined;
  for (; edits > 0; edits--) {
    const key = name();
    if ((words[at]! & OP_MASK) < Op.Same) {
      // The core says nothing of what is equal, so what was there need not be looked at.
      set((copy ??= { ...old }), key, node(undefined));
    } else {
      const before = old[key];
      const after = node(before);
      if (after !== before) set((copy ??= { ...old }), key, after);
    }
  }
  return copy === undefined ? old : frozen(copy);
}

function reorderMap(old: Fields, edits: number): Fields {
  const edited = editMap(old, edits);
  const gone = new Set<string>();
  for (let count = words[at++]!; count > 0; count--) gone.add(name());
  const object: Fields = {};
  for (const key of Object.keys(edited)) if (!gone.has(key)) set(object, key, edited[key]);
  for (let count = words[at++]!; count > 0; count--) {
    const key = name();
    set(object, key, node(old[key]));
  }
  return frozen(object);
}

function editList(old: unknown[], edits: number): unknown[] {
  let copy: unknown[] | undefined;
  for (; edits > 0; edits--) {
    const index = words[at++]!;
    const after = node(old[index]);
    if (after !== old[index]) (copy ??= old.slice())[index] = after;
  }
  return copy === undefined ? old : frozen(copy);
}

function spliceList(old: unknown[], length: number): unknown[] {
  const first = words[at++]!;
  const last = words[at++]!;
  const end = old.length - last;
  const items = old.slice(0, first);
  for (let i = first; i < length - last; i++) items.push(node(i < end ? old[i] : undefined));
  for (let i = end; i < old.length; i++) items.push(old[i]);
  return frozen(items);
}

function set(object: Fields, key: string, value: unknown): void {
  // Assigning to `__proto__` would change the prototype instead of making a property.
  if (key === '__proto__') {
    Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
  } else {
    object[key] = value;
  }
}

function frozen<T extends object>(value: T): T {
  return FREEZES ? Object.freeze(value) : value;
}
