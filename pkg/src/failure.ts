// What users' callbacks throw.

import { textOf, TidewireError } from './errors.js';

/** Says an error that nobody listens for, without stopping anything. */
export function report(error: unknown): void {
  if (typeof reportError === 'function') reportError(error);
  else console.error(error);
}

/** The error that wraps what a callback threw. */
export function failure(cause: unknown): TidewireError {
  return new TidewireError('subscriber_failed', `a subscriber threw: ${textOf(cause)}`, { cause });
}
