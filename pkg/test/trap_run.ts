// A core that traps while it is used, and what its page sees of that. It runs in Node and in a page.
//
// The trap is a real one, provoked from outside: the package's program is given a place far outside of its memory, once.

import type { Client, Replica } from 'tidewire';
import type { ReferenceServer as Server } from 'tidewire/testing';

let armed: string | undefined;
let traps = 0;

const { Instance } = WebAssembly;
// Before the package is loaded.
WebAssembly.Instance = class extends Instance {
  constructor(module: WebAssembly.Module, imports?: WebAssembly.Imports) {
    super(module, imports);
    if (!WebAssembly.Module.exports(module).some(({ name }) => name === 'core_new')) return;
    const own = Object.entries(this.exports).map(([name, member]) => {
      if (typeof member !== 'function') return [name, member] as const;
      return [name, (...args: unknown[]): unknown => {
        if (name !== armed) return (member as (...args: unknown[]) => unknown)(...args);
        armed = undefined;
        traps++;
        return (member as (...args: unknown[]) => unknown)(0xfffffff0, ...args.slice(1));
      }] as const;
    });
    Object.defineProperty(this, 'exports', { value: Object.fromEntries(own) });
  }
};

export interface Outcome {
  readonly traps: number;
  /** The codes of what was reported. */
  readonly reported: readonly string[];
  readonly before: unknown;
  /** Right after the trap. */
  readonly kept: unknown;
  readonly after: unknown;
  readonly later: unknown;
  readonly write: string;
}

/** @param at The export that traps, at the next call. */
export async function runTrap(at: string): Promise<Outcome> {
  const reported: string[] = [];
  (globalThis as { reportError: unknown }).reportError = (error: { code?: string; message: string }) => void reported.push(error.code ?? error.message);
  const { connect, createClientReplica } = await import('tidewire');
  const { ReferenceServer } = await import('tidewire/testing');
  const server: Server = await ReferenceServer.create({ seed: 1, clock: 'manual' });
  const todos = server.datastore<{ id: string; n: number }>('todos', { kind: 'permanent' });
  for (const id of ['a', 'b']) todos.set({ id, n: 1 });
  server.put('note', { text: 'one', by: { name: 'Ada' } });
  server.put('unread', 1);
  const [client, other]: [Client, Client] = [await connect(server), await connect(server)];
  const views = {
    note: client.synced<{ text: string; by: { name: string } }>('note'),
    unread: client.synced<number>('unread'),
    others: other.synced<{ text: string }>('note') as Replica<{ text: string }>,
    rows: client.datastore<{ id: string; n: number }>('todos'),
    own: createClientReplica<{ text: string }>({ key: 'note', transport: server.transport(), refetch: () => server.snapshot('note') }),
  };
  const picked: unknown[] = [];
  views.note.select('by.name', (name) => { if (name !== undefined) picked.push(name); });
  await views.own.refresh();
  await server.settle();
  const look = (): unknown => ({
    note: views.note.get(), others: views.others.get(), rows: views.rows.rows().map(({ id, n }) => `${id}${n}`).sort(), own: views.own.get()?.text,
    status: [client.status().state, other.status().state],
  });
  const before = look();

  armed = at;
  const write = client.put('mine', 1).then(() => 'done', (error: { code: string }) => error.code);
  server.put('note', { text: 'two', by: { name: 'Ada' } });
  await server.settle();
  armed = undefined;
  const kept = look();
  todos.set({ id: 'c', n: 1 });
  todos.delete('a');
  await server.advance(20_000);
  const after = look();
  server.put('note', { text: 'three', by: { name: 'Bob' } });
  todos.set({ id: 'b', n: 2 });
  const late = client.put('later', 1);
  await server.settle();
  await late;
  const later = { ...(look() as object), unread: views.unread.get(), picked, sequence: views.note.meta().sequence, stats: views.note.stats.gaps };
  const outcome = { traps, reported, before, kept, after, later, write: await write };
  client.close();
  other.close();
  views.own.dispose();
  server.close();
  return outcome;
}

(globalThis as { runTrap?: typeof runTrap }).runTrap = runTrap;
