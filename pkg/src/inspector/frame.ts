// What a frame says, read for the eye: the kinds, names and numbers of its messages. Nothing is decided by it: the core
// reads every frame for itself. PROTOCOL.md has the messages.

/** One message of a frame. */
export interface FrameMessage {
  /** Its number in PROTOCOL.md. */
  readonly kind: number;
  /** Its fields in order. Maps are left out: they stand as `undefined`. */
  readonly fields: readonly unknown[];
  /** Where it begins in the frame. */
  readonly start: number;
  /** Where it ends. */
  readonly end: number;
}

/** The messages of a binary frame. What cannot be read ends the list: a frame is never a reason to throw. */
export function readFrame(data: ArrayBuffer | Uint8Array): FrameMessage[] {
  const reader = new Reader(data instanceof Uint8Array ? data : new Uint8Array(data));
  const messages: FrameMessage[] = [];
  try {
    while (!reader.isDone) {
      const start = reader.at;
      const message = reader.value();
      if (!Array.isArray(message) || typeof message[0] !== 'number') break;
      messages.push({ kind: message[0], fields: message.slice(1), start, end: reader.at });
    }
  } catch {
    // The core says what is wrong with it.
  }
  return messages;
}

const utf8 = new TextDecoder();

class Reader {
  at = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get isDone(): boolean {
    return this.at >= this.#bytes.length;
  }

  value(): unknown {
    const tag = this.#view.getUint8(this.#skip(1));
    if (tag < 0x80) return tag;
    if (tag >= 0xe0) return tag - 0x100;
    if (tag < 0x90) return this.#map(tag & 0x0f);
    if (tag < 0xa0) return this.#array(tag & 0x0f);
    if (tag < 0xc0) return this.#text(tag & 0x1f);
    switch (tag) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: case 0xd9: return this.#blob(tag, this.#uint(1));
      case 0xc5: case 0xda: return this.#blob(tag, this.#uint(2));
      case 0xc6: case 0xdb: return this.#blob(tag, this.#uint(4));
      case 0xca: return this.#view.getFloat32(this.#skip(4));
      case 0xcb: return this.#view.getFloat64(this.#skip(8));
      case 0xcc: return this.#uint(1);
      case 0xcd: return this.#uint(2);
      case 0xce: return this.#uint(4);
      case 0xcf: return Number(this.#view.getBigUint64(this.#skip(8)));
      case 0xd0: return this.#view.getInt8(this.#skip(1));
      case 0xd1: return this.#view.getInt16(this.#skip(2));
      case 0xd2: return this.#view.getInt32(this.#skip(4));
      case 0xd3: return Number(this.#view.getBigInt64(this.#skip(8)));
      case 0xdc: return this.#array(this.#uint(2));
      case 0xdd: return this.#array(this.#uint(4));
      case 0xde: return this.#map(this.#uint(2));
      case 0xdf: return this.#map(this.#uint(4));
      default: throw new RangeError('a token that the protocol does not have');
    }
  }

  /** Moves past `count` bytes, and says where they begin. */
  #skip(count: number): number {
    const from = this.at;
    this.at += count;
    if (this.at > this.#bytes.length) throw new RangeError('the frame ends too early');
    return from;
  }

  #uint(bytes: 1 | 2 | 4): number {
    const from = this.#skip(bytes);
    if (bytes === 1) return this.#view.getUint8(from);
    return bytes === 2 ? this.#view.getUint16(from) : this.#view.getUint32(from);
  }

  #text(length: number): string {
    const from = this.#skip(length);
    return utf8.decode(this.#bytes.subarray(from, this.at));
  }

  #blob(tag: number, length: number): unknown {
    if (tag >= 0xd9) return this.#text(length);
    const from = this.#skip(length);
    return this.#bytes.slice(from, this.at);
  }

  #array(length: number): unknown[] {
    const items: unknown[] = [];
    for (let i = 0; i < length; i++) items.push(this.value());
    return items;
  }

  #map(length: number): undefined {
    for (let i = 0; i < 2 * length; i++) this.value();
  }
}
