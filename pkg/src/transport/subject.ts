// Keys as subjects of NATS, and back. Every key has a subject of its own, and none reaches beyond its two prefixes.

import { badKey } from '../errors.js';
import { checkKey } from '../value/encode.js';

/** Before keys that are subjects as they are. */
const PLAIN = 'synced.';

/**
 * Before keys that are none, percent-encoded into one token. It is not within `synced.`, where every subject is the plain
 * one of some key.
 */
const ESCAPED = 'synced-escaped.';

/** After `ESCAPED`: the key without a character. No other is encoded so. */
const EMPTY = '%';

/** As everywhere else; with every byte escaped it fits the 4,096 bytes that nats-server takes for a line. */
const MAX_BYTES = 1024;

// What ends a token or a line of the protocol, or stands for other tokens.
const SPECIAL = /[\s\p{Cc}*>]/u;

const utf8 = new TextEncoder();

/** Whether `subject` names exactly one subject. */
export function isSubject(subject: string): boolean {
  return !SPECIAL.test(subject) && !subject.split('.').includes('');
}

/**
 * The subject of `key`: `synced.` and the key, wherever that is a subject; else `synced-escaped.` and the key in
 * percent-encoding.
 *
 * @throws TidewireError `invalid_argument` for a key of more than 1,024 bytes of UTF-8, or one that is not well-formed.
 */
export function subjectOf(key: string): string {
  checkKey(key, 'the key');
  if (key.length * 3 > MAX_BYTES && utf8.encode(key).length > MAX_BYTES) throw badKey();
  if (isSubject(key) && !key.startsWith('$')) return PLAIN + key;
  return ESCAPED + (key === '' ? EMPTY : encodeURIComponent(key).replace(/[.*!'()~]/g, escape));
}

/** The key whose subject this is; `undefined` where there is none. */
export function keyOf(subject: string): string | undefined {
  const key = subject.startsWith(PLAIN) ? subject.slice(PLAIN.length) : unescaped(subject);
  // Of the many ways to escape a key, one is its subject.
  try {
    return key !== undefined && subjectOf(key) === subject ? key : undefined;
  } catch {
    return undefined;
  }
}

/** What `encodeURIComponent` leaves as it is, for a character of ASCII. */
function escape(char: string): string {
  return `%${char.charCodeAt(0).toString(16).toUpperCase()}`;
}

function unescaped(subject: string): string | undefined {
  if (!subject.startsWith(ESCAPED)) return undefined;
  const token = subject.slice(ESCAPED.length);
  if (token === EMPTY) return '';
  try {
    return decodeURIComponent(token);
  } catch {
    return undefined;
  }
}
