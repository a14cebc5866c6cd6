// What can go wrong, as values that a program can branch on.

/**
 * The stable name of an error.
 *
 * The first group comes from the server, the second from a closed session, the third from this package.
 * docs/errors.md says of each what it means and what to do; its texts are in docs/errors.json.
 */
export type ErrorCode =
  | 'invalid_request' | 'not_found' | 'forbidden' | 'invalid_value' | 'limit_exceeded' | 'request_expired'
  | 'conflict' | 'quota_exceeded' | 'storage_failed' | 'unavailable' | 'outcome_unknown' | 'refused'
  | 'malformed' | 'unexpected' | 'unsupported' | 'unauthorized' | 'closed'
  | 'not_initialized' | 'init_failed' | 'invalid_argument' | 'unsupported_schema' | 'unencodable' | 'malformed_value'
  | 'gate_failed' | 'core_failed' | 'disposed' | 'subscriber_failed' | 'denied';

const BRAND = Symbol.for('tidewire.error');

/** Every error that this package throws, rejects with or raises. */
export class TidewireError extends Error {
  override readonly name = 'TidewireError';
  /** What consoles show, also where names are made short. */
  static override readonly name = 'TidewireError';
  /** @internal */
  readonly [BRAND] = true;

  constructor(
    /** What went wrong, for programs. */
    readonly code: ErrorCode,
    /** What went wrong and what to do, for people. */
    message: string,
    options: {
      /** What lies beneath. */
      cause?: unknown;
      /** Whether the same call may succeed later. */
      retryable?: boolean;
      /** Where a value is bad. */
      path?: string;
      /** What it breaks there. */
      rule?: string;
    } = {},
  ) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.retryable = options.retryable ?? false;
    this.path = options.path;
    this.rule = options.rule;
  }

  /** Whether the same call may succeed later. */
  readonly retryable: boolean;

  /** Of `gate_failed` by a JSON Schema: a JSON Pointer to the part of the value that is bad. */
  readonly path: string | undefined;

  /** Of `gate_failed` by a JSON Schema: the keyword that it breaks. */
  readonly rule: string | undefined;

  /** A page may hold two copies of this class (`tidewire` and `tidewire/server`): the brand counts, not the copy. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return typeof value === 'object' && value !== null && BRAND in value;
  }
}

// The numbers are those of the wire.
const REFUSALS: Record<number, ErrorCode> = {
  1: 'invalid_request', 2: 'not_found', 3: 'forbidden', 4: 'invalid_value', 5: 'limit_exceeded', 6: 'request_expired',
  7: 'conflict', 8: 'quota_exceeded', 100: 'storage_failed', 101: 'unavailable', 65535: 'outcome_unknown',
};

const CLOSURES: Record<number, ErrorCode> = {
  4500: 'malformed', 4501: 'unexpected', 4502: 'limit_exceeded', 4503: 'unsupported', 4504: 'unauthorized',
};

/** The error of a write that was settled with `number`, which is not 0. */
export function refusal(number: number, message: string): TidewireError {
  const code = REFUSALS[number] ?? 'refused';
  return new TidewireError(code, message || `the write was refused (${code})`, {
    retryable: number >= 100 && number < 65535,
  });
}

/** The error of a session that ended for good with the close code `number`. */
export function closure(number: number, message: string): TidewireError {
  return new TidewireError(CLOSURES[number] ?? 'closed', message || 'the session is closed');
}

/** The error of a value that a gate refused, from the core's text: the rule, a line feed, and the path. */
export function gateFault(text: string): TidewireError {
  const rule = text.split('\n', 1)[0]!;
  const path = text.slice(rule.length + 1);
  return new TidewireError('gate_failed', `the value at "${path}" breaks "${rule}"`, { path, rule });
}

/** What was thrown, in words. */
export function textOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** What to throw where there is no session any more. */
export function closed(): TidewireError {
  return new TidewireError('closed', 'the client is closed');
}

/** What becomes of a subscription to `name` that the server denies. */
export function denied(name: string, reason: string | undefined): TidewireError {
  return new TidewireError('denied', `${name}: ${reason || 'the server denied the subscription'}`);
}

/** What to throw for wrong arguments. */
export function invalid(message: string): TidewireError {
  return new TidewireError('invalid_argument', message);
}

/** Refuses at the call what would fail at the first change. */
export function checkListener(listener: unknown): void {
  if (typeof listener !== 'function') throw invalid('a listener must be a function');
}

/** What the core says about a key that is too short or too long. */
export function badKey(): TidewireError {
  return invalid('a key, id or field name has 1 to 1024 bytes of UTF-8');
}

/** What becomes of a question that nobody answers. */
export function unanswered(): TidewireError {
  return new TidewireError('unavailable', 'the server did not answer in time, or the client was closed: ask again', { retryable: true });
}

/** What the core says of one write more than it takes. */
export function tooMany(): TidewireError {
  return new TidewireError('limit_exceeded', '10,000 writes (or 1,000 questions), or 16 MiB, wait for the server already: await some of them first', { retryable: true });
}
