// Makes and ends replicas and clients by the thousand, and says what memory was taken before and after. It runs in Node and
// in a page, both started so that garbage can be collected when it is asked for.

import type { InProcessTransport as Pipe } from 'tidewire';

let client: WebAssembly.Instance | undefined;
const { Instance } = WebAssembly;
// Before the package is loaded, which shows its memory to nobody. The server's is not looked at: it remembers for a day what
// it answered to whom.
WebAssembly.Instance = class extends Instance {
  constructor(module: WebAssembly.Module, imports?: WebAssembly.Imports) {
    super(module, imports);
    if (WebAssembly.Module.exports(module).some(({ name }) => name === 'core_new')) client = this;
  }
};

/** What one phase left behind. */
export interface Level {
  /** Bytes of the clients' WebAssembly memory, which never shrinks. */
  readonly wasm: number;
  /** Bytes of live JavaScript objects. */
  readonly heap: number;
}

/** Levels after each phase. */
export type Levels = Record<'warm' | 'replicas' | 'held' | 'heldAgain' | 'clients' | 'clientsAgain' | 'forgotten' | 'forgottenAgain', Level>;

declare const process: { memoryUsage(): { heapUsed: number } } | undefined;

async function level(): Promise<Level> {
  // Finalizers run in turns of their own, and free what only the next collection finds.
  for (let i = 0; i < 6; i++) {
    (globalThis as { gc?: () => void }).gc!();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const memory = (performance as { memory?: { usedJSHeapSize: number } }).memory;
  return {
    wasm: (client!.exports['memory'] as WebAssembly.Memory).buffer.byteLength,
    heap: memory?.usedJSHeapSize ?? process!.memoryUsage().heapUsed,
  };
}

export async function runMemory(): Promise<Levels> {
  const { connect, createClientReplica, InProcessTransport } = await import('tidewire');
  const { ReferenceServer } = await import('tidewire/testing');
  const server = await ReferenceServer.create();
  const transport = new InProcessTransport();
  const text = 'x'.repeat(100);

  /** Replicas over a transport, used as an application would. */
  const replicas = (count: number, from: Pipe): { dispose(): void }[] => Array.from({ length: count }, (_, i) => {
    const replica = createClientReplica<{ n: number; text: string }>({ key: `k:${i}`, transport: from });
    from.publish(`k:${i}`, { value: { n: i, text }, schema_version: '1.0', sequence: 1 });
    replica.get();
    replica.meta();
    return replica;
  });
  const passing = (rounds: number): void => {
    for (let round = 0; round < rounds; round++) for (const replica of replicas(1_000, transport)) replica.dispose();
  };
  const held = (count: number): void => {
    for (const replica of replicas(count, transport)) replica.dispose();
  };
  /** Clients with replicas that nobody disposes of. */
  const clients = async (count: number): Promise<void> => {
    for (let round = 0; round < count / 50; round++) {
      const opened = await Promise.all(Array.from({ length: 50 }, async (_, i) => {
        const client = await connect(server);
        const note = client.synced<number>(`note:${i}`);
        await client.put(`note:${i}`, i);
        note.get();
        note.subscribe(() => {});
        return client;
      }));
      for (const client of opened) client.close();
      await server.settle();
    }
  };
  const forgotten = (count: number): void => void replicas(count, new InProcessTransport());

  const levels: Partial<Record<keyof Levels, Level>> = {};
  passing(30);
  await clients(100);
  forgotten(1_000);
  levels.warm = await level();
  passing(100);
  levels.replicas = await level();
  held(20_000);
  levels.held = await level();
  held(20_000);
  levels.heldAgain = await level();
  await clients(500);
  levels.clients = await level();
  await clients(500);
  levels.clientsAgain = await level();
  forgotten(10_000);
  levels.forgotten = await level();
  forgotten(10_000);
  levels.forgottenAgain = await level();
  server.close();
  return levels as Levels;
}

(globalThis as { runMemory?: typeof runMemory }).runMemory = runMemory;
