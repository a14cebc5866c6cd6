import { expect, test } from 'vitest';
import { z } from 'zod';
import { createClientReplica, InProcessTransport } from 'tidewire';
import { compileGate } from '../src/schema.js';

const User = z.object({ name: z.string(), age: z.number().default(0), tags: z.array(z.object({ id: z.string() })).optional() });

test('a Standard Schema is run by its `validate`, not by a `parse` that throws', () => {
  const gate = compileGate(User)!;
  expect(gate({ name: 'Ada' })).toEqual({ ok: true, value: { name: 'Ada', age: 0 } });
  const verdict = gate({ name: 'Ada', tags: [{ id: 1 }] });
  expect(verdict.ok).toBe(false);
  expect(!verdict.ok && verdict.error.code).toBe('gate_failed');
  expect(!verdict.ok && verdict.error.message).toMatch(/^tags\.0\.id: /);
});

test('a zod schema gates a replica, and its output (defaults included) is shown', () => {
  const transport = new InProcessTransport();
  const replica = createClientReplica({ key: 'user:1', schema: User, transport });
  transport.publish('user:1', { value: { name: 5 }, schema_version: '1.0', sequence: 1 });
  expect(replica.get()).toBeUndefined();
  expect(replica.stats.parseErrors).toBe(1);
  expect(replica.meta().error?.message).toMatch(/^name: /);
  transport.publish('user:1', { value: { name: 'Ada' }, schema_version: '1.0', sequence: 2 });
  expect(replica.get()).toEqual({ name: 'Ada', age: 0 });
  replica.dispose();
});

test('an asynchronous schema is refused, not awaited', () => {
  const gate = compileGate(z.string().refine(async () => true))!;
  expect(gate('x').ok).toBe(false);
});

test('a schema may be a function that carries the standard', () => {
  const standard = Object.assign(() => {}, {
    '~standard': { version: 1 as const, vendor: 'test', validate: (value: unknown) => ({ value }) },
  });
  expect(compileGate(standard)!(1)).toEqual({ ok: true, value: 1 });
});

test('what is no schema is told at once', () => {
  for (const wrong of [() => true, 'string', 5]) {
    expect(() => compileGate(wrong as never)).toThrow(/no schema that can be run/);
  }
  expect(compileGate(undefined)).toBeUndefined();
});
