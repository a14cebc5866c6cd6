// Keys as subjects: no two share one, none reaches further than it may, and each comes back.

import { describe, expect, test } from 'vitest';
import { NatsTransport } from 'tidewire/nats';
import { randomFrom } from './support.js';

const { subjectOf, keyOf } = NatsTransport;

/** Keys that look like something else. */
const ODD = [
  '', '.', '..', '.a', 'a.', 'a..b', ' ', 'a b', 'a\tb', 'a\r\nPUB b 1\r\n', '\0', '\x7f', '\u0085', '\u00a0', '\u2028', '\ufeff',
  '*', '>', 'a.*', 'a.>', '*.a', 'a*b', 'a>b', '$', '$JS.API.STREAM.DELETE.x', '$SYS.>', '$a', '_INBOX', '_INBOX.>', '_INBOX.abc',
  '%', '%%', '%25', '%2A', '%2E', '%20', '%E2%82%AC', 'a%20b', 'a b%20', 'synced', 'synced.', 'synced.a', 'synced-escaped',
  'synced-escaped.', 'synced-escaped.%', 'synced-escaped.%2A', 'synced-escaped.%20', "!'()~", "a !'()~", '€', 'a €', '日本 語', '💧', ' 💧',
  'e\u0301', '\u00e9', 'user:123', 'User:123', 'a.b.c', 'a/b?c#d', '"', '\\', '{}', ',', 'constructor', '__proto__', ' __proto__',
  'x'.repeat(1024), ' '.repeat(1024), '€'.repeat(341), ' ' + '€'.repeat(341), '.'.repeat(1024),
];

/** What a server would make of it: one line's one word, tokens without wildcards. */
function isLiteral(subject: string): boolean {
  return /^[^\s\p{Cc}]+$/u.test(subject)
    && subject.split('.').every((token) => token !== '' && token !== '*' && token !== '>');
}

function held(keys: Iterable<string>): void {
  const owners = new Map<string, string>();
  for (const key of keys) {
    const subject = subjectOf(key);
    const bytes = Buffer.from(subject);
    // Two strings with the same bytes would be one subject.
    expect(bytes.toString()).toBe(subject);
    const owner = owners.get(subject);
    if (owner !== undefined && owner !== key) throw new Error(`${JSON.stringify(owner)} and ${JSON.stringify(key)} share ${subject}`);
    owners.set(subject, key);
    if (!isLiteral(subject)) throw new Error(`${JSON.stringify(key)} became ${JSON.stringify(subject)}`);
    if (!/^synced(-escaped)?\./.test(subject) || bytes.length > 3_200) throw new Error(`${JSON.stringify(key)} reaches ${subject}`);
    if (keyOf(subject) !== key) throw new Error(`${subject} is not ${JSON.stringify(key)} again`);
  }
}

describe('the subject of a key', () => {
  test('is the key behind a prefix, wherever that is a subject', () => {
    for (const key of ['user:123', 'a.b.c', '%', '%20', '_INBOX.x', 'synced.a', 'synced-escaped.a', '€', 'a$b', 'a/b?c#d']) {
      expect(subjectOf(key)).toBe(`synced.${key}`);
    }
  });

  test('is escaped where it would be none, or could be taken for something else', () => {
    expect(subjectOf('a b')).toBe('synced-escaped.a%20b');
    expect(subjectOf('a..b')).toBe('synced-escaped.a%2E%2Eb');
    expect(subjectOf('*.>')).toBe('synced-escaped.%2A%2E%3E');
    expect(subjectOf('$JS.API')).toBe('synced-escaped.%24JS%2EAPI');
    expect(subjectOf('')).toBe('synced-escaped.%');
    expect(subjectOf('\r\n')).toBe('synced-escaped.%0D%0A');
  });

  test('belongs to it alone, among keys that look like escapes, subjects and commands', () => {
    held(ODD);
    held(ODD.flatMap((key) => [key, ...ODD.map((other) => key + other)]).filter((key) => Buffer.byteLength(key) <= 1024));
    // What a subject is, as a key: each time one level further.
    held(ODD.filter((key) => key.length < 100).flatMap((key) => {
      const chain = [key];
      for (let i = 0; i < 4; i++) chain.push(subjectOf(chain.at(-1)!));
      return chain;
    }));
  });

  test('belongs to it alone, among 100,000 keys drawn from what is special', () => {
    const random = randomFrom(8);
    const parts = ['.', '*', '>', ' ', '%', '%2', '20', '2A', '$', '_INBOX', 'JS', 'synced', '-escaped', 'a', 'b', ':', '\t', '\n', '€', '💧', '\u0000', 'é', '~'];
    held((function* () {
      for (let i = 0; i < 100_000; i++) {
        let key = '';
        for (let n = Math.floor(random() * 7); n >= 0; n--) key += parts[Math.floor(random() * parts.length)]!;
        yield key;
      }
    })());
  });

  test('is refused for keys that are too long, or that UTF-8 cannot express', () => {
    expect(() => subjectOf('x'.repeat(1025))).toThrow('1 to 1024 bytes');
    expect(() => subjectOf('€'.repeat(342))).toThrow('1 to 1024 bytes');
    expect(() => subjectOf('\ud800')).toThrow('well-formed');
    expect(() => subjectOf(undefined as never)).toThrow('well-formed');
  });
});

describe('the key of a subject', () => {
  test('is none for what is no subject of a key', () => {
    for (const subject of [
      '', 'synced', 'synced.', 'synced..a', 'synced.$a', 'synced.a b', 'synced.>', 'other.a', 'Synced.a', 'synced-escaped', 'synced-escaped.',
      'synced-escaped.a', 'synced-escaped.%2a', 'synced-escaped.%', 'synced-escaped.%20%', 'synced-escaped.%FF', 'synced-escaped.a%2Eb',
      'synced-escaped.a%20b.c', '$JS.API', '_INBOX.a', `synced.${'x'.repeat(1025)}`, 'synced.\ud800',
    ]) {
      const key = keyOf(subject);
      expect(key === undefined || subject === 'synced-escaped.%', subject).toBe(true);
    }
  });
});

test('a subject of the application\'s own that could be anything else is refused, and nothing is sent', () => {
  const sent: string[] = [];
  const connection = { publish: (subject: string) => void sent.push(subject), subscribe: () => () => {} };
  for (const own of ['', 'a b', 'a..b', '.a', 'a.', 'a.*', '>', '$JS.API.INFO', '$SYS.x', '_INBOX', '_INBOX.x', 'a\r\nPUB b 0', 7 as never]) {
    const transport = new NatsTransport({ connection, subjectOf: () => own });
    expect(() => transport.publish('k', { value: 1, sequence: 1 }), JSON.stringify(own)).toThrow('no subject for envelopes');
    expect(() => transport.subscribe('k', () => {}), JSON.stringify(own)).toThrow('no subject for envelopes');
    expect(transport.keyCount()).toBe(0);
  }
  new NatsTransport({ connection, subjectOf: (key) => `app.${key}` }).publish('k', { value: 1, sequence: 1 });
  expect(sent).toEqual(['app.k']);
});
