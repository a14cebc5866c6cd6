// Compiled gates in a session: what is shown, what is refused and why, and which values JavaScript is asked about.

import { type as ark } from 'arktype';
import { Type } from '@sinclair/typebox';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { type Client, connect, createClientReplica, InProcessTransport, type Schema, type StandardSchema, TidewireError } from 'tidewire';
import { ReferenceServer } from 'tidewire/server';
import { convert } from '../src/gate/library.js';
import { turn, until } from './support.js';

let server: ReferenceServer;
let writer: Client;
let reader: Client;

beforeAll(async () => {
  server = await ReferenceServer.create();
  [writer, reader] = [await connect(server), await connect(server)];
  // The first schema of a library loads the code that compiles them.
  reader.synced('first', z.string()).dispose();
  await import('../dist/library.js' as string);
  await turn();
});

afterAll(() => {
  writer.close();
  reader.close();
});

let keys = 0;

/** What a replica makes of a value that somebody else wrote: the value it shows, or the error it keeps it back with. */
async function receive(schema: Schema, value: unknown): Promise<{ shown: unknown } | { error: TidewireError }> {
  const key = `gate:${keys++}`;
  await writer.put(key, value);
  const replica = reader.synced(key, schema);
  let error: TidewireError | undefined;
  replica.on('quarantine', (detail) => (error = detail));
  await until(() => replica.peekMeta().sequence >= 0 || error !== undefined, `a verdict on ${key}`);
  const result = error === undefined ? { shown: replica.peek() } : { error };
  replica.dispose();
  return result;
}

/** How often the library of `schema` was asked while `value` came in, and what came of it. */
async function watched(schema: StandardSchema, value: unknown): Promise<{ asked: number; shown?: unknown; error?: TidewireError }> {
  let asked = 0;
  const standard = schema['~standard'];
  const validate = (input: unknown): ReturnType<typeof standard.validate> => (asked++, standard.validate(input));
  // Same definition, and a `validate` that counts.
  const counting = new Proxy(schema, {
    get: (target, name) => name === '~standard' ? { version: 1, vendor: standard.vendor, validate } : Reflect.get(target, name),
    has: (target, name) => Reflect.has(target, name),
  });
  return { ...(await receive(counting, value)), asked };
}

describe('a JSON Schema', () => {
  const Person = Type.Object({
    name: Type.String({ minLength: 1 }),
    age: Type.Optional(Type.Integer({ minimum: 0 })),
    mail: Type.Optional(Type.String({ pattern: '^[^@]+@[^@]+$' })),
    tags: Type.Array(Type.Union([Type.Literal('a'), Type.Literal('b')]), { uniqueItems: true }),
  }, { additionalProperties: false });

  test('lets good values in as they are', async () => {
    const ada = { name: 'Ada', age: 36, mail: 'ada@example.org', tags: ['a', 'b'] };
    expect(await receive(Person, ada)).toEqual({ shown: ada });
  });

  test.each([
    [{ name: '', tags: [] }, '/name', 'minLength'],
    [{ name: 'Ada', tags: [], age: 1.5 }, '/age', 'type'],
    [{ name: 'Ada', tags: [], mail: 'ada' }, '/mail', 'pattern'],
    [{ name: 'Ada', tags: ['a', 'c'] }, '/tags/1', 'anyOf'],
    [{ name: 'Ada', tags: ['a', 'a'] }, '/tags', 'uniqueItems'],
    [{ name: 'Ada', tags: [], 'x/y': 1 }, '/x~1y', 'additionalProperties'],
    [{ tags: [] }, '', 'required'],
  ])('refuses %j at "%s" by %s, and says nothing else of it', async (value, path, rule) => {
    const { error } = await receive(Person, value) as { error: TidewireError };
    expect(error).toMatchObject({ code: 'gate_failed', path, rule });
    expect(error.message).toBe(`the value at "${path}" breaks "${rule}"`);
  });

  test('names what it cannot compile, where it is used', () => {
    for (const open of [
      () => reader.synced('k', { properties: { a: { unevaluatedProperties: false } } }),
      () => createClientReplica({ key: 'k', transport: new InProcessTransport(), schema: { properties: { a: { unevaluatedProperties: false } } } }),
    ]) {
      expect(open).toThrowError(expect.objectContaining({ code: 'unsupported_schema', message: expect.stringMatching(/"unevaluatedProperties" at "\/properties\/a"/) }));
    }
    expect(() => reader.synced('k', { pattern: '(' })).toThrowError(/"pattern" at ""/);
    expect(() => reader.synced('k', { pasre: () => 1 })).toThrowError(expect.objectContaining({ code: 'unsupported_schema' }));
  });

  test('judges values of own transports too', () => {
    const transport = new InProcessTransport();
    const replica = createClientReplica({ key: 'p', schema: Person, transport });
    const ada = { name: 'Ada', tags: [] };
    transport.publish('p', { value: { name: 'Ada', tags: [1] }, schema_version: '1.0', sequence: 1 });
    expect(replica.meta().error).toMatchObject({ path: '/tags/0', rule: 'anyOf' });
    transport.publish('p', { value: ada, schema_version: '1.0', sequence: 2 });
    expect(replica.get()).toBe(ada);
    replica.dispose();
  });

  test('a schema that leads nowhere ends, and so does one that branches for ever', async () => {
    const deep = (value: unknown, levels: number): unknown => levels === 0 ? value : [deep(value, levels - 1)];
    const again = { items: { $ref: '#' } };
    for (const schema of [{ $ref: '#' }, { type: 'array', anyOf: [again, again] }]) {
      expect(await receive(schema, deep(1, 60))).toMatchObject({ error: { rule: 'too_complex' } });
    }
    const nested = { anyOf: [{ type: 'number' }, { allOf: [{ type: 'array' }, { items: { $ref: '#' } }] }] };
    expect(await receive(nested, deep(1, 60))).toEqual({ shown: deep(1, 60) });
  });

  test('every row that is refused has its own fault', async () => {
    const rows = writer.datastore('gated', undefined, { kind: 'permanent' });
    await Promise.all([rows.set({ id: '1', n: 1 }), rows.set({ id: '2', n: 'x' }), rows.set({ id: '3', m: 1 })]);
    const errors: TidewireError[] = [];
    const gated = reader.datastore('gated', { properties: { n: { type: 'number' }, m: false } });
    gated.on('quarantine', (error) => errors.push(error));
    await gated.ready();
    expect(gated.rows()).toEqual([{ id: '1', n: 1 }]);
    expect(errors.map(({ path, rule }) => [path, rule])).toEqual([['/n', 'type'], ['/m', 'false']]);
    await rows.set({ id: '1', n: 2 });
    await until(() => (gated.get('1') as { n: number }).n === 2, 'the change');
    gated.dispose();
  });
});

const Leaf: z.ZodType = z.lazy(() => z.object({ next: Leaf.nullable() }));
type Tree = { readonly children: Tree[] };
const ValibotTree: v.GenericSchema<Tree> = v.object({ children: v.array(v.lazy(() => ValibotTree)) });

/** Schemas that the gate answers for, each with a value that it lets in unasked. */
const lossless: [string, Schema & StandardSchema, unknown][] = [
  ['zod object', z.object({ a: z.string(), b: z.number().optional() }), { a: 'x' }],
  ['zod strict', z.strictObject({ a: z.string().nullable() }), { a: null }],
  ['zod loose', z.looseObject({ a: z.string() }), { a: 'x', b: 1 }],
  ['zod catchall', z.object({ a: z.string() }).catchall(z.number()), { a: 'x', b: 1 }],
  ['zod brand', z.object({ id: z.string().min(2).brand('Id') }), { id: 'ab' }],
  ['zod discriminated union', z.discriminatedUnion('k', [z.object({ k: z.literal('a'), n: z.int() }), z.object({ k: z.enum(['b', 'c']), s: z.string() })]), { k: 'c', s: '' }],
  ['zod recursive', z.object({ get child() { return z.array(z.object({ leaf: Leaf })); } }), { child: [{ leaf: { next: { next: null } } }] }],
  ['zod record and tuple', z.object({ r: z.record(z.string().regex(/^k/), z.boolean()), t: z.tuple([z.string(), z.number()]).rest(z.null()) }), { r: { k1: true }, t: ['a', 1.5, null, null] }],
  ['zod formats', z.object({ mail: z.email(), when: z.iso.datetime(), id: z.uuid() }), { mail: 'ada@example.org', when: '2024-01-02T03:04:05Z', id: '5f1cdb1e-6a8e-4c9b-9c59-0d7f6c1a2b3c' }],
  ['zod bounds', z.array(z.number().min(1).lt(5)).min(1).max(2), [4.5]],
  ['zod int32', z.int32(), -5],
  ['valibot', v.object({ a: v.pipe(v.string(), v.minLength(1), v.email()), b: v.optional(v.nullable(v.number())), p: v.picklist(['x', 1]) }), { a: 'a@b.cd', p: 1 }],
  ['valibot strict and loose', v.strictObject({ a: v.looseObject({ b: v.boolean() }) }), { a: { b: true, c: 1 } }],
  ['valibot recursive', ValibotTree, { children: [{ children: [] }] }],
  ['valibot record, tuple, union', v.object({ r: v.record(v.string(), v.pipe(v.number(), v.integer(), v.minValue(0))), t: v.strictTuple([v.literal(1)]), u: v.union([v.string(), v.array(v.any())]) }), { r: { a: 0 }, t: [1], u: [2] }],
  ['arktype', ark({ a: 'string>1', 'b?': 'number.integer|null', c: '"x"|"y"', d: 'boolean', e: 'number[]<3' }), { a: 'xy', b: null, c: 'y', d: false, e: [1] }],
  ['arktype records and tuples', ark({ r: 'Record<string, string.email>', t: ['string', 'number'], '+': 'reject' }), { r: { x: 'a@b.cd' }, t: ['a', 1] }],
];

/** Schemas that only their library can run, each with a value that it lets in and perhaps changes. */
const lossy: [string, Schema & StandardSchema, unknown][] = [
  ['zod refine', z.object({ a: z.string().refine((text) => text !== 'bad') }), { a: 'good' }],
  ['zod transform', z.object({ a: z.string().transform((text) => text.length) }), { a: 'four' }],
  ['zod trim', z.string().trim(), ' x '],
  ['zod coerce', z.object({ n: z.coerce.number() }), { n: '5' }],
  ['zod default', z.object({ n: z.number().default(7) }), {}],
  ['zod catch', z.number().catch(0), 'x'],
  ['zod readonly', z.array(z.string()).readonly(), ['a']],
  ['zod preprocess', z.preprocess(String, z.string()), 5],
  ['zod url', z.url(), 'https://example.org'],
  ['zod custom format', z.stringFormat('email', (text) => text.length === 3), 'abc'],
  ['zod multipleOf', z.number().multipleOf(0.1), 0.3],
  ['zod inherited key', z.object({ toString: z.any().optional() }), {}],
  ['valibot transform', v.pipe(v.string(), v.transform(Number)), '5'],
  ['valibot default', v.object({ n: v.optional(v.number(), 3) }), {}],
  ['valibot check', v.pipe(v.number(), v.check((n) => n > 1)), 2],
  ['valibot fallback', v.fallback(v.number(), 1), 'x'],
  ['valibot tuple', v.tuple([v.number()]), [1, 2]],
  ['arktype morph', ark('string.trim'), ' x '],
  ['arktype narrow', ark('number').narrow((n) => n > 1), 2],
  ['arktype delete', ark({ '+': 'delete', a: 'string' }), { a: 'x', b: 1 }],
  ['arktype default', ark({ n: 'number = 5' }), {}],
];

const outcome = (schema: StandardSchema, value: unknown): unknown => {
  const result = schema['~standard'].validate(value) as { value?: unknown; issues?: unknown };
  return result.issues ? 'refused' : { shown: result.value };
};

describe('a schema of a library', () => {
  test('the core judges as soon as the code that compiles such schemas is loaded', async () => {
    // A copy of the package of its own, which has loaded nothing yet.
    vi.resetModules();
    const fresh = await import('tidewire');
    const client = await fresh.connect(server);
    await writer.put('early', { n: 1 });
    let asked = 0;
    const schema = z.object({ n: z.number() });
    const standard = schema['~standard'];
    const counting = new Proxy(schema, {
      get: (target, name) => name === '~standard'
        ? { ...standard, validate: (input: unknown) => (asked++, standard.validate(input)) }
        : Reflect.get(target, name),
    });
    const replica = client.synced('early', counting);
    await replica.ready();
    await turn();
    await turn();
    const before = asked;
    for (const n of [2, 3, 4]) await writer.put('early', { n });
    await until(() => replica.peek()?.n === 4, 'the last value');
    expect(asked).toBe(before);
    client.close();
  });

  test.each(lossless)('%s: the gate lets good values in unasked', async (_, schema, value) => {
    expect(outcome(schema, value)).toEqual({ shown: value });
    expect(await watched(schema, value)).toEqual({ asked: 0, shown: value });
  });

  test.each(lossless)('%s: what it refuses is the library\'s to refuse, with its own words', async (_, schema) => {
    const { asked, error } = await watched(schema, { surely: ['wrong'] });
    expect(asked).toBeGreaterThan(0);
    expect(error).toMatchObject({ code: 'gate_failed', path: undefined });
  });

  test.each(lossy)('%s: the library runs, and its output is shown', async (_, schema, value) => {
    const { asked, shown } = await watched(schema, value);
    expect(asked).toBeGreaterThan(0);
    expect({ shown }).toEqual(outcome(schema, value));
  });

  test('keys that an object takes away are the library\'s to take', async () => {
    for (const schema of [z.object({ a: z.string() }), v.object({ a: v.string() })]) {
      expect(await watched(schema, { a: 'x', b: 1 })).toEqual({ asked: 1, shown: { a: 'x' } });
    }
    const either = z.union([z.object({ a: z.string() }), z.looseObject({ a: z.string(), b: z.number() })]);
    expect(await watched(either, { a: 'x', b: 1 })).toEqual({ asked: 1, shown: { a: 'x' } });
  });

  test('numbers beyond 2^53 and binary data are the library\'s to judge', async () => {
    const Anything = z.union([z.number(), z.string(), z.bigint(), z.instanceof(Uint8Array)]);
    for (const value of [2n ** 60n, new Uint8Array([1])]) expect(await receive(Anything, value)).toEqual({ shown: value });
    expect(await watched(z.object({ n: z.number() }), { n: 2n ** 60n })).toMatchObject({ error: { code: 'gate_failed' } });
    // How long such a text is, libraries do not agree on.
    for (const schema of [z.string().max(2), v.pipe(v.string(), v.maxLength(2))]) {
      const { asked, shown } = await watched(schema, '😀a');
      expect(asked).toBeGreaterThan(0);
      expect(shown === undefined ? 'refused' : { shown }).toEqual(outcome(schema, '😀a'));
    }
  });

  test('a Date is of no type that travels: such a schema refuses all', async () => {
    expect(await watched(z.date(), '2024-01-01')).toMatchObject({ asked: expect.any(Number), error: { code: 'gate_failed' } });
  });

  test('why it runs in JavaScript is said once, in development', async () => {
    const info = vi.spyOn(console, 'info').mockImplementation(() => {});
    vi.stubEnv('NODE_ENV', 'development');
    try {
      const schema = z.object({ a: z.string().transform(Number) });
      reader.synced('said', schema).dispose();
      reader.synced('said', schema).dispose();
      expect(info.mock.calls).toEqual([[expect.stringMatching(/run in JavaScript.*pipe/)]]);
      vi.stubEnv('NODE_ENV', 'production');
      reader.synced('said', z.string().trim()).dispose();
      expect(info).toHaveBeenCalledTimes(1);
    } finally {
      vi.unstubAllEnvs();
      info.mockRestore();
      await turn();
    }
  });

  test('a vendor that is not known is not guessed at', () => {
    expect(() => convert({}, 'somebody')).toThrow(/somebody/);
  });
});
