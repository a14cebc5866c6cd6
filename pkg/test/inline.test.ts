// The entry point with the WebAssembly inside: the same names, and there at once.

import { expect, test } from 'vitest';
import * as inline from 'tidewire/inline';
import * as main from 'tidewire';

test('it has the same names', () => {
  expect(Object.keys(inline).sort()).toEqual(Object.keys(main).sort());
});

test('it needs no init', () => {
  const transport = new inline.InProcessTransport();
  const replica = inline.createClientReplica<number>({ key: 'k', transport });
  transport.publish('k', { value: 5, schema_version: '1.0', sequence: 1 });
  expect(replica.get()).toBe(5);
  replica.dispose();
});

test('its errors are errors of the other entry point too', () => {
  expect(new inline.TidewireError('closed', 'x')).toBeInstanceOf(main.TidewireError);
  expect(new Error('x')).not.toBeInstanceOf(main.TidewireError);
});

test('init is memoised', async () => {
  expect(inline.init()).toBe(inline.init());
  await inline.init();
});
