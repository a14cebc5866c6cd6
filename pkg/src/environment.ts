// Time and chance: the page's, or those of a world of its own, for tests that must come out the same each time.

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

/** @internal The page's own. Tests replace its functions, so they are looked up at every call. */
export const page: Environment = {
  now: () => Date.now(),
  setTimeout: (callback, delay) => setTimeout(callback, delay),
  clearTimeout: (handle) => clearTimeout(handle as ReturnType<typeof setTimeout>),
  randomBytes: (length) => crypto.getRandomValues(new Uint8Array(length)),
};
