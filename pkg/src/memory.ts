// The memory of a core, which numbers alone cannot say: what is written there for it, and what it has written.

import { Ask, type Core, type Text } from './core.js';
import { utf8 } from './value/encode.js';

// A leading U+FEFF is part of the string.
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

export class Memory {
  /** Views of all of it, good from {@link look} until the next call into the core. */
  words = new Uint32Array(0);
  bytes = new Uint8Array(0);
  readonly #core: Core;
  readonly #memory: WebAssembly.Memory;
  /** Where the core reads what it is told, and how much there is room for. */
  #room = 0;
  #size = 0;

  constructor(core: Core, memory: WebAssembly.Memory) {
    this.#core = core;
    this.#memory = memory;
  }

  /** Renews the views if the memory has moved. */
  look(): void {
    // A memory that grows takes what it was away from its views. To ask the memory itself is a call into the engine.
    if (this.words.length > 0) return;
    const { buffer } = this.#memory;
    this.words = new Uint32Array(buffer);
    this.bytes = new Uint8Array(buffer);
  }

  /** Tells the core a text or bytes, behind what else ends at `from`, and returns where in the room they end. */
  put(told: string | Uint8Array, from = 0): number {
    if (typeof told === 'string') {
      const room = this.#at(from, told.length * 3);
      return from + utf8.encodeInto(told, this.bytes.subarray(room, room + told.length * 3)).written;
    }
    // Not one expression: what makes room renews the view.
    const room = this.#at(from, told.length);
    this.bytes.set(told, room);
    return from + told.length;
  }

  /** Where `length` bytes go behind `from` others. */
  #at(from: number, length: number): number {
    if (from + length > this.#size) {
      this.#size = from + length;
      this.#room = this.#core.room(this.#size);
    }
    this.look();
    return this.#room + from;
  }

  /** What the core says, if it says anything. */
  text(which: Text, number = 0): string | undefined {
    const at = this.#core.ask(Ask.Text, which, number) / 4;
    this.look();
    return at === 0 ? undefined : this.decode(this.words[at]!, this.words[at + 1]!);
  }

  decode(address: number, length: number): string {
    return decoder.decode(this.bytes.subarray(address, address + length));
  }

  /** The floats that the core wrote at `address`. Read before the next call into the core. */
  facts(address: number): Float64Array {
    return new Float64Array(this.#memory.buffer, address);
  }

  /** A copy of the words that the core wrote at `address`, behind their number. */
  list(address: number): Uint32Array {
    this.look();
    const from = address / 4 + 1;
    return this.words.slice(from, from + this.words[from - 1]!);
  }
}
