// Chance that is the same on every run: sfc32, which passes the usual batteries of tests and is small.

/** Draws numbers from a seed. */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  /** @param seed At least 12 bytes count. */
  constructor(seed: Uint8Array) {
    const words = new Uint32Array(3);
    // Every byte counts, wherever a seed has its bits.
    seed.forEach((byte, i) => { words[i % 3] = Math.imul(words[i % 3]! ^ byte, 0x01000193) + i; });
    [this.#a, this.#b, this.#c] = [words[0]!, words[1]!, words[2]!];
    for (let i = 0; i < 12; i++) this.#next();
  }

  #next(): number {
    const sum = (this.#a + this.#b + this.#counter++) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum | 0;
    return sum >>> 0;
  }

  /** From 0, without 1. */
  fraction(): number {
    return this.#next() / 0x1_0000_0000;
  }

  /** Whether something of this probability happens. Draws nothing where the answer is certain. */
  happens(probability: number): boolean {
    return probability > 0 && this.fraction() < probability;
  }

  bytes(length: number): Uint8Array<ArrayBuffer> {
    return Uint8Array.from({ length }, () => this.#next() & 0xff);
  }
}
