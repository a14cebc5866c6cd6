// Time and chance of a world of its own, for tests that must come out the same each time.

/** What a client asks its world for. */
export interface Environment {
  /** Milliseconds since 1970. */
  now(): number;
  /** Calls `callback` once, `delay` milliseconds from now. */
  setTimeout(callback: () => void, delay: number): unknown;
  /** Takes a call back that has not come. */
  clearTimeout(handle: unknown): void;
  randomBytes(length: number): Uint8Array;
}
