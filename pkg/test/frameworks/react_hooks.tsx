// What single hooks of React do: each scenario mounts something, and reports what it saw.

import { Component, type ReactElement, type ReactNode, StrictMode, Suspense, useLayoutEffect, useState } from 'react';
import { createRoot, type Root } from 'react-dom/client';
import { type Client, connect, createClientReplica, InProcessTransport } from 'tidewire';
import {
  TidewireProvider, useClient, useCollection, usePool, useReplica, useSelect, useStatus, useSynced, useSyncedReplica,
} from 'tidewire/react';
import { ReferenceServer } from 'tidewire/server';
import { z } from 'zod';
import { Line } from './line.js';

const User = z.object({ name: z.string(), address: z.object({ city: z.string() }) });

interface Rig {
  readonly server: ReferenceServer;
  readonly line: Line;
  readonly client: Client;
  readonly root: Root;
  readonly element: HTMLElement;
  render(node: ReactNode): Promise<void>;
  /** What has changed at the server is shown. */
  shown(): Promise<void>;
}

/** Whatever is under way between server, client and React. */
const pause = (millis = 20): Promise<void> => new Promise((resolve) => { setTimeout(resolve, millis); });

/** Does something to a tree, and lets React do the rest. */
const act = (what: () => void): Promise<void> => {
  what();
  return pause();
};

async function rig(): Promise<Rig> {
  const server = await ReferenceServer.create();
  server.put('user:1', { name: 'Ada', address: { city: 'London' } });
  server.put('user:2', { name: 'Grace', address: { city: 'Arlington' } });
  const line = new Line(server);
  const client = await connect(line);
  const element = document.createElement('div');
  document.body.append(element);
  const root = createRoot(element);
  return {
    server, line, client, root, element, shown: pause,
    render: async (node) => {
      await act(() => root.render(<StrictMode><TidewireProvider client={client}>{node}</TidewireProvider></StrictMode>));
    },
  };
}

const move = (server: ReferenceServer, city: string): void => void server.put('user:1', { name: 'Ada', address: { city } });

/** A part renders when it changes, and is the same object until then. */
async function select(): Promise<unknown> {
  const { server, element, render, shown } = await rig();
  const renders = { name: 0, address: 0, length: 0 };
  const addresses = new Set<unknown>();
  const Name = (): ReactElement => {
    renders.name++;
    return <i>{useSynced('user:1', User, { select: 'name' })} </i>;
  };
  const Address = (): ReactElement => {
    renders.address++;
    const address = useSynced('user:1', User, { select: ['address'] });
    addresses.add(address);
    return <i>{address?.city} </i>;
  };
  const Length = (): ReactElement => {
    renders.length++;
    return <i>{useSynced('user:1', User, { select: (user) => user?.name.length ?? 0 })}</i>;
  };
  await render(<><Name /><Address /><Length /></>);
  const before = { text: element.textContent, ...renders };
  move(server, 'Paris');
  await shown();
  const after = { text: element.textContent, name: renders.name - before.name, address: renders.address - before.address, length: renders.length - before.length };
  server.put('user:1', { name: 'Augusta', address: { city: 'Paris' } });
  await shown();
  return { before: before.text, after, last: element.textContent, addresses: addresses.size };
}

/** Another key lets the old one go; none asks for nothing. */
async function keys(): Promise<unknown> {
  const { server, line, element, render, shown } = await rig();
  const texts: (string | null)[] = [];
  let choose: (key: string | null) => void = () => {};
  const Shown = (): ReactElement => {
    const [key, setKey] = useState<string | null>(null);
    choose = setKey;
    return <i>{useSynced(key, User)?.name ?? 'nobody'}</i>;
  };
  await render(<Shown />);
  const asked = line.travelled('user:').up;
  for (const key of ['user:1', 'user:2', 'user:1', null]) {
    texts.push(element.textContent);
    await act(() => choose(key));
    await shown();
  }
  texts.push(element.textContent);
  const subscriptions = line.travelled('user:').up;
  await pause(1_300);
  server.put('user:1', { name: 'Unheard', address: { city: '' } });
  await shown();
  return { asked, texts, subscriptions, heard: line.travelled('Unheard').down };
}

/** A render that never comes to anything leaves no subscription. */
async function suspended(): Promise<unknown> {
  const { server, line, root, render, shown } = await rig();
  const never = new Promise<never>(() => {});
  const Suspended = (): ReactElement => {
    useSynced('user:1', User);
    throw never;
  };
  await render(<Suspense fallback="…"><Suspended /></Suspense>);
  const asked = line.travelled('user:1').up;
  await act(() => root.unmount());
  await pause(1_300);
  move(server, 'Unheard');
  await shown();
  return { asked, heard: line.travelled('Unheard').down };
}

/** Whatever is committed shows one state of the server, and in all components the same. */
async function tearing(): Promise<unknown> {
  const { server, client, render, shown } = await rig();
  server.put('left', 0);
  server.put('right', 0);
  const [left, right] = [client.synced<number>('left'), client.synced<number>('right')];
  const seen: string[] = [];
  const latest: Record<string, number | undefined> = {};
  const Side = ({ name, slow }: { name: string; slow: boolean }): ReactElement => {
    const value = useSynced<number>(name);
    const again = useSynced<number>(name);
    for (const end = performance.now() + 3; slow && performance.now() < end;);
    latest[name] = value;
    if (value !== again) seen.push(`${value} beside ${again}`);
    return <i>{value}</i>;
  };
  const Both = (): ReactElement => {
    const whole = useSynced<number>('left');
    useLayoutEffect(() => {
      if (whole !== latest['left']) seen.push(`${whole} above ${latest['left']}`);
    });
    return <>{Array.from({ length: 5 }, (_, i) => <Side key={i} name={i % 2 ? 'left' : 'right'} slow={i > 2} />)}</>;
  };
  await render(<Both />);
  for (let n = 1; n <= 20; n++) {
    server.put('left', n);
    server.put('right', n);
    await new Promise((resolve) => { setTimeout(resolve, n % 4); });
  }
  await shown();
  const result = { seen, latest: { ...latest }, own: [left.peek(), right.peek()] };
  for (const replica of [left, right]) replica.dispose();
  return result;
}

/** A client that is promised: nothing is shown before it comes, and writes wait for it. */
async function promised(): Promise<unknown> {
  const { server, element, root, shown } = await rig();
  const texts: (string | null)[] = [];
  let arrive: (client: Client) => void = () => {};
  const coming = new Promise<Client>((resolve) => { arrive = resolve; });
  let write: Promise<void> | undefined;
  const Shown = (): ReactElement => {
    const client = useClient();
    const { rows, isReady, set } = useCollection<{ id: string }>('things', undefined, { kind: 'permanent' });
    const { state } = useStatus();
    const user = useSyncedReplica('user:1', User);
    const meta = useStatus(user);
    write ??= set({ id: 'first' });
    return <i>{[client ? 'client' : 'none', isReady, rows.length, state, meta?.sequence ?? '-'].join(' ')}</i>;
  };
  await act(() => root.render(<StrictMode><TidewireProvider client={coming}><Shown /></TidewireProvider></StrictMode>));
  texts.push(element.textContent);
  arrive(await connect(server));
  await shown();
  await write;
  await shown();
  texts.push(element.textContent);
  return texts;
}

/** What a client fails by is its state. */
async function failed(): Promise<unknown> {
  const element = document.createElement('div');
  const root = createRoot(element);
  const Shown = (): ReactElement => {
    const status = useStatus();
    return <i>{status.state} {status.state === 'closed' ? `${status.error?.code}: ${status.error?.message}` : ''} {useSynced('user:1', User)?.name}</i>;
  };
  let fail: (error: Error) => void;
  const client = new Promise<never>((_, reject) => { fail = reject; });
  await act(() => root.render(<TidewireProvider client={client}><Shown /></TidewireProvider>));
  await act(() => fail(new Error('no network')));
  await pause();
  return element.textContent;
}

/** Replicas that the application made are shown, and stay its own. */
async function own(): Promise<unknown> {
  const { server, client, element, root, render, shown } = await rig();
  const transport = new InProcessTransport();
  const replica = createClientReplica<{ n: number }>({ key: 'k', transport });
  const things = client.datastore<{ id: string; n: number }>('things', undefined, { kind: 'permanent' });
  server.datastore('things', { kind: 'permanent' }).set({ id: 'a', n: 1 });
  const Shown = (): ReactElement => (
    <i>{[useReplica(replica)?.n ?? '-', useSelect(things, ['a', 'n']) ?? '-', useSelect(things, (rows) => rows.length), useCollection(things).rows.length].join(' ')}</i>
  );
  await render(<Shown />);
  const texts = [element.textContent];
  transport.publish('k', { value: { n: 1 }, sequence: 1 });
  await things.set({ id: 'a', n: 2 });
  await things.set({ id: 'b', n: 3 });
  await shown();
  texts.push(element.textContent);
  await act(() => root.unmount());
  await pause(1_300);
  await things.set({ id: 'c', n: 4 });
  return [...texts, `${things.rows().length} rows`];
}

/** A pool is left a moment after the last component that shows it, and takes this client's presence along. */
async function pool(): Promise<unknown> {
  const { server, element, root, render, shown } = await rig();
  const bob = (await connect(server)).pool<number>('doc:1', undefined, { presence: true });
  let point: (fields: Record<string, number>) => Promise<void> = async () => {};
  const Shown = (): ReactElement => {
    const { fields, isReady, set } = usePool<number>('doc:1', undefined, { presence: true });
    point = set;
    return <i>{isReady ? JSON.stringify(fields) : '…'}</i>;
  };
  await render(<Shown />);
  const texts = [element.textContent];
  await point({ ada: 1 });
  await bob.set({ bob: 2 });
  await shown();
  texts.push(element.textContent);
  await act(() => root.unmount());
  await pause(1_300);
  return [...texts, JSON.stringify(bob.peekFields())];
}

/** Components that show one datastore in two orders. */
async function order(): Promise<unknown> {
  const { server, element, render, shown } = await rig();
  const store = server.datastore('things', { kind: 'permanent' });
  for (const id of ['b', 'c', 'a']) store.set({ id });
  const byName = (one: { id: string }, other: { id: string }): number => one.id.localeCompare(other.id);
  const Shown = ({ isSorted }: { isSorted: boolean }): ReactElement => {
    const { rows } = useCollection<{ id: string }>('things', undefined, isSorted ? { order: byName } : {});
    return <i>{rows.map(({ id }) => id).join('')} </i>;
  };
  await render(<><Shown isSorted={false} /><Shown isSorted /></>);
  store.set({ id: 'c' });
  await shown();
  return element.textContent;
}

/** Errors say what to do. */
async function mistakes(): Promise<unknown> {
  const messages: string[] = [];
  class Boundary extends Component<{ children: ReactNode }, { failed: boolean }> {
    override state = { failed: false };
    static getDerivedStateFromError = (): { failed: boolean } => ({ failed: true });
    override componentDidCatch(error: Error): void { messages.push(`${error.name}: ${error.message}`); }
    override render(): ReactNode { return this.state.failed ? null : this.props.children; }
  }
  const Lost = (): ReactElement => <i>{useSynced('user:1', User)?.name}</i>;
  const root = createRoot(document.createElement('div'), { onCaughtError: () => {} });
  await act(() => root.render(<Boundary><Lost /></Boundary>));
  const { client, render, element } = await rig();
  client.close();
  await render(<Lost />);
  // Nothing is remembered of a failure but what it takes to fail again.
  const Unsupported = (): ReactElement => <i>{String(useSynced('user:1', { $dynamicRef: '#here' }))}</i>;
  const server = await ReferenceServer.create();
  for (const given of [await connect(server), connect(server)]) {
    const other = createRoot(document.createElement('div'), { onCaughtError: () => {} });
    await act(() => other.render(<TidewireProvider client={given}><Boundary><Unsupported /></Boundary></TidewireProvider>));
    await pause();
  }
  return { messages, closed: element.textContent };
}

const scenarios = { select, keys, suspended, tearing, promised, failed, own, pool, order, mistakes };

declare global {
  interface Window {
    scenarios: typeof scenarios;
  }
}

window.scenarios = scenarios;
document.title = 'up';
