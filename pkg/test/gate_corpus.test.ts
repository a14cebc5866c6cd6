// Generated schemas of zod over generated values: what a collection shows is what zod makes of them, whoever decided it.

import { expect, test } from 'vitest';
import { z } from 'zod';
import { connect } from 'tidewire';
import { ReferenceServer } from 'tidewire/server';
import { randomFrom, turn } from './support.js';

const SCHEMAS = 400;
const VALUES = 150;

const NAMES = ['a', 'b', 'c', 'k'];
const TEXTS = ['', 'a', 'ab', 'abc', 'ada@example.org', 'é', '😀'];

type Random = () => number;
const below = (random: Random, count: number): number => Math.floor(random() * count);
const pick = <T>(random: Random, from: readonly T[]): T => from[below(random, from.length)]!;
const times = <T>(count: number, make: () => T): T[] => Array.from({ length: count }, make);

function value(random: Random, depth: number): unknown {
  switch (below(random, depth === 0 ? 7 : 12)) {
    case 0: return null;
    case 1: return random() < 0.5;
    case 2: case 3: return below(random, 8) - 3;
    case 4: return pick(random, [0.5, 1.5, 1e300, 2n ** 60n]);
    case 5: case 6: return pick(random, TEXTS);
    case 7: case 8: return times(below(random, 4), () => value(random, depth - 1));
    default: return Object.fromEntries(times(below(random, 4), () => [pick(random, NAMES), value(random, depth - 1)]));
  }
}

function schema(random: Random, depth: number): z.ZodType {
  const inner = (): z.ZodType => schema(random, depth - 1);
  const shape = (): z.ZodRawShape => Object.fromEntries(times(1 + below(random, 3), () => [pick(random, NAMES), random() < 0.4 ? inner().optional() : inner()]));
  switch (below(random, depth === 0 ? 10 : 24)) {
    case 0: return z.string();
    case 1: return pick(random, [z.string().min(1), z.string().max(2), z.string().length(1), z.string().regex(/^a/), z.email(), z.string().startsWith('ab')]);
    case 2: return z.number();
    case 3: return pick(random, [z.int(), z.number().int().min(0), z.number().gt(0).max(3), z.int32(), z.number().multipleOf(2)]);
    case 4: return z.boolean();
    case 5: return z.null();
    case 6: return pick(random, [z.literal('a'), z.literal([1, null]), z.enum(['a', 'ab']), z.literal(2)]);
    case 7: return pick(random, [z.any(), z.unknown(), z.never()]);
    case 8: return pick(random, [z.string().transform((text) => text.length), z.number().default(7), z.coerce.string(), z.number().catch(0)]);
    case 9: return pick(random, [z.string().trim(), z.number().refine((n) => n > 0), z.bigint(), z.date()]);
    case 10: case 11: case 12: return z.object(shape());
    case 13: return z.strictObject(shape());
    case 14: return z.looseObject(shape());
    case 15: return z.object(shape()).catchall(inner());
    case 16: return z.array(inner()).min(below(random, 2)).max(3);
    case 17: return random() < 0.5 ? z.tuple([inner(), inner()]) : z.tuple([inner()], inner());
    case 18: return z.record(z.string().max(1), inner());
    case 19: return z.discriminatedUnion('k', [z.object({ k: z.literal('a'), ...omit(shape()) }), z.object({ k: z.enum(['ab', 'abc']), ...omit(shape()) })]);
    case 20: case 21: return z.union([inner(), inner(), inner()]);
    case 22: return inner().nullable();
    default: return random() < 0.5 ? inner().brand('b') : z.lazy(inner);
  }
}

const omit = ({ k: _, ...rest }: z.ZodRawShape): z.ZodRawShape => rest;

test('what a collection shows is what zod makes of its rows', async () => {
  const server = await ReferenceServer.create();
  const client = await connect(server);
  // The first schema of a library loads the code that compiles them.
  client.synced('first', z.string()).dispose();
  await import('../dist/library.js' as string);
  await turn();
  const random = randomFrom(5);
  const all = client.datastore<{ id: string; v: unknown }>('rows', undefined, { kind: 'permanent' });
  await all.ready();
  await Promise.all(times(VALUES, () => value(random, 3)).map((v, id) => all.set({ id: String(id), v })));
  const rows = all.rows();
  expect(rows).toHaveLength(VALUES);
  const counts = { shown: 0, refused: 0, changed: 0, asked: 0 };
  for (let i = 0; i < SCHEMAS; i++) {
    const part = schema(random, 3);
    const whole = z.object({ id: z.string(), v: part });
    const standard = whole['~standard'];
    let asked = 0;
    const counting = new Proxy(whole, {
      get: (target, name) => name === '~standard'
        ? { ...standard, validate: (input: unknown) => (asked++, standard.validate(input)) }
        : Reflect.get(target, name),
    });
    const replica = client.datastore('rows', counting);
    await replica.ready();
    const shown = new Map((replica.rows() as unknown as { id: string }[]).map((row) => [row.id, row]));
    for (const row of rows) {
      const result = whole.safeParse(row);
      const told = (): string => `${JSON.stringify(part._zod.def)} over ${JSON.stringify(row, (_, v) => typeof v === 'bigint' ? String(v) : v)}`;
      expect(shown.has(row.id), told()).toBe(result.success);
      if (!result.success) counts.refused++;
      else {
        expect(shown.get(row.id), told()).toEqual(result.data);
        counts.shown++;
        if (JSON.stringify(result.data.v, big) !== JSON.stringify(row.v, big)) counts.changed++;
      }
    }
    counts.asked += asked;
    replica.dispose();
  }
  // Verdicts that are all the same, or all zod's own, would prove little.
  expect(counts.shown).toBeGreaterThan(5_000);
  expect(counts.refused).toBeGreaterThan(5_000);
  expect(counts.changed).toBeGreaterThan(100);
  expect(counts.shown + counts.refused - counts.asked).toBeGreaterThan(4_000);
  client.close();
}, 60_000);

const big = (_: string, v: unknown): unknown => typeof v === 'bigint' ? String(v) : v;
