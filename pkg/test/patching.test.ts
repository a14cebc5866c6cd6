// What replicas show after a change: the parts that changed, and of everything else the same objects.

import { effect } from '@preact/signals-core';
import { describe, expect, test } from 'vitest';
import { type Client, connect } from 'tidewire';
import { z } from 'zod';
import { Feed } from './feed.js';
import { findUnpatched } from './patching.js';

interface Post { title: string; author: { name: string; tags: string[] }; comments: { id: number; text: string }[] }

const post = (): Post => ({
  title: 'first', author: { name: 'Ada', tags: ['a', 'b'] },
  comments: [{ id: 1, text: 'one' }, { id: 2, text: 'two' }, { id: 3, text: 'three' }],
});

const open = (feed: Feed): Promise<Client> => connect(feed as never);

async function posts(): Promise<{ feed: Feed; client: Client; send(sequence: number, value: unknown): void }> {
  const feed = new Feed(post);
  const client = await open(feed);
  return { feed, client, send: (sequence, value) => feed.deliver(['post', sequence, value]) };
}

test('of 100,000 random changes every one shows the value that was sent, and shares what stayed', async () => {
  expect(await findUnpatched(open, 100_000, 20_261_121)).toBeUndefined();
}, 120_000);

describe('an object', () => {
  test('is copied along the changed path only', async () => {
    const { client, send } = await posts();
    const replica = client.synced<Post>('post');
    await replica.ready();
    const before = replica.get()!;
    expect(before).toEqual(post());
    const next = post();
    next.comments[1]!.text = 'changed';
    send(2, next);
    const after = replica.get()!;
    expect(after).toEqual(next);
    expect(before).toEqual(post());
    expect(after.author).toBe(before.author);
    expect(after.comments).not.toBe(before.comments);
    expect([0, 2].map((i) => after.comments[i] === before.comments[i])).toEqual([true, true]);
    client.close();
  });

  test('keeps the elements of a list around one that was put in or taken out', async () => {
    const { client, send } = await posts();
    const replica = client.synced<Post>('post');
    await replica.ready();
    const [one, two, three] = replica.get()!.comments;
    const more = post();
    more.comments.splice(1, 0, { id: 9, text: 'new' });
    send(2, more);
    expect(replica.get()!.comments).toEqual(more.comments);
    expect(replica.get()!.comments.map((each) => [one, two, three].indexOf(each))).toEqual([0, -1, 1, 2]);
    const less = post();
    less.comments.shift();
    send(3, less);
    expect(replica.get()!.comments).toEqual(less.comments);
    expect(replica.get()!.comments[1]).toBe(three);
    client.close();
  });

  test('is the same after an update that says the same', async () => {
    const { client, send } = await posts();
    const replica = client.synced<Post>('post');
    await replica.ready();
    const before = replica.get();
    send(2, post());
    expect(replica.get()).toBe(before);
    expect(replica.meta().sequence).toBe(2);
    client.close();
  });

  test('that was deleted and comes again is made anew', async () => {
    const { feed, client, send } = await posts();
    const replica = client.synced<Post>('post');
    await replica.ready();
    replica.get();
    feed.deliver(['post', 2, { title: 'other' }]);
    expect(replica.get()).toEqual({ title: 'other' });
    send(3, 5);
    expect(replica.get()).toBe(5);
    send(4, post());
    expect(replica.get()).toEqual(post());
    client.close();
  });

  test('that was made stays readable after dispose', async () => {
    const { client, send } = await posts();
    const replica = client.synced<Post>('post');
    await replica.ready();
    replica.get();
    send(2, { ...post(), title: 'second' });
    replica.dispose();
    expect(replica.get()).toEqual({ ...post(), title: 'second' });
    client.close();
  });

  test('shows what its gate returned', async () => {
    const { client, send } = await posts();
    const schema = z.object({ title: z.string().transform((title) => title.toUpperCase()), author: z.unknown() });
    const replica = client.synced('post', schema);
    await replica.ready();
    expect(replica.get()!.title).toBe('FIRST');
    send(2, { ...post(), title: 'second' });
    expect(replica.get()!.title).toBe('SECOND');
    client.close();
  });
});

describe('records of a collection', () => {
  const rows = (): Record<string, Post> => ({ a: post(), b: post(), c: post() });

  test('are patched one by one, whoever reads them', async () => {
    const feed = new Feed(rows);
    const client = await open(feed);
    const store = client.datastore<Post>('posts');
    await store.ready();
    const before = store.rows();
    const changed = { ...post(), title: 'second' };
    feed.deliverRows('posts', ['b', 4, changed], ['d', 5, post()]);
    expect(store.get('b')).toEqual(changed);
    expect(store.get('b')!.author).toBe(before[1]!.author);
    const after = store.rows();
    expect(after.map((row) => row.title)).toEqual(['first', 'first', 'second', 'first']);
    expect(after[0]).toBe(before[0]);
    feed.deliverRows('posts', ['b', 6, undefined], ['b', 7, post()]);
    expect(store.rows()).toHaveLength(4);
    expect(store.get('b')).toEqual(post());
    client.close();
  });

  test('are selected by their keys', async () => {
    const feed = new Feed(rows);
    const client = await open(feed);
    const store = client.datastore<Post>('posts');
    await store.ready();
    const names: unknown[] = [];
    const titles: unknown[] = [];
    const missing: unknown[] = [];
    store.select('b.author.name', (name) => names.push(name));
    store.select((all) => all.map((row) => row.title).join(), (all) => titles.push(all));
    store.select(['x'], (record) => missing.push(record));
    feed.deliverRows('posts', ['b', 4, { ...post(), title: 'second' }]);
    feed.deliverRows('posts', ['b', 5, { ...post(), title: 'second', author: { name: 'Grace', tags: [] } }]);
    feed.deliverRows('posts', ['b', 6, undefined]);
    feed.deliverRows('posts', ['x', 7, 'here']);
    expect(names).toEqual(['Ada', 'Grace', undefined]);
    expect(titles).toEqual(['first,first,first', 'first,first,second', 'first,first', 'first,first,']);
    expect(missing).toEqual([undefined, 'here']);
    client.close();
  });
});

describe('select', () => {
  test('tells of a part now and whenever that part changed', async () => {
    const { client, send } = await posts();
    const replica = client.synced<Post>('post');
    await replica.ready();
    const heard: Record<string, unknown[]> = { name: [], comment: [], tags: [], none: [] };
    const off = replica.select('author.name', (name) => heard['name']!.push(name));
    replica.select(['comments', 1], (comment) => heard['comment']!.push(comment));
    replica.select((value) => value?.author.tags.length, (length) => heard['tags']!.push(length));
    replica.select('author.nothing.at.all', (part) => heard['none']!.push(part));
    send(2, { ...post(), title: 'second' });
    send(3, { ...post(), author: { name: 'Grace', tags: ['a', 'b'] } });
    off();
    send(4, { ...post(), author: { name: 'Edsger', tags: [] } });
    const moved = post();
    moved.comments[1]!.text = 'changed';
    send(5, moved);
    expect(heard).toEqual({
      name: ['Ada', 'Grace'], comment: [{ id: 2, text: 'two' }, { id: 2, text: 'changed' }], tags: [2, 0, 2], none: [undefined],
    });
    replica.dispose();
    client.close();
  });

  test('keeps what did not change inside of a part', async () => {
    const { client, send } = await posts();
    const replica = client.synced<Post>('post');
    await replica.ready();
    const heard: Post['comments'][] = [];
    replica.select('comments', (comments) => heard.push(comments!));
    const next = post();
    next.comments[0]!.text = 'changed';
    send(2, next);
    expect(heard).toHaveLength(2);
    expect(heard[1]![2]).toBe(heard[0]![2]);
    client.close();
  });

  test('of an object with a gate looks at what the gate returned', async () => {
    const { client, send } = await posts();
    const schema = z.object({ title: z.string().transform((title) => title.length), author: z.unknown() });
    const replica = client.synced('post', schema);
    await replica.ready();
    const heard: unknown[] = [];
    replica.select('title', (title) => heard.push(title));
    send(2, { ...post(), title: 'other' });
    send(3, { ...post(), title: 'longer' });
    expect(heard).toEqual([5, 6]);
    client.close();
  });

  test('robs nobody when a listener or a picker throws', async () => {
    const { client, send } = await posts();
    const replica = client.synced<Post>('post');
    await replica.ready();
    const errors: string[] = [];
    const heard: unknown[] = [];
    replica.on('error', (error) => errors.push(error.code));
    replica.select('title', () => { throw new Error('mine'); });
    replica.select(() => { throw new Error('mine'); }, () => {});
    replica.select('title', (title) => heard.push(title));
    send(2, { ...post(), title: 'second' });
    expect(heard).toEqual(['first', 'second']);
    expect(errors).toEqual(['subscriber_failed', 'subscriber_failed', 'subscriber_failed', 'subscriber_failed']);
    client.close();
  });
});

test('values read in one frame are made together, and effects see each once', async () => {
  const feed = new Feed((key) => ({ key, n: 0 }));
  const client = await open(feed);
  const keys = Array.from({ length: 600 }, (_, i) => `k${i}`);
  const replicas = keys.map((key) => client.synced<{ key: string; n: number }>(key));
  await Promise.all(replicas.map((replica) => replica.ready()));
  const seen = replicas.map(() => [] as number[]);
  const stops = replicas.map((replica, i) => effect(() => void seen[i]!.push(replica.get()!.n)));
  for (const n of [1, 2]) feed.deliver(...keys.map((key) => [key, n + 1, { key, n }] as const));
  expect(new Set(seen.map(String))).toEqual(new Set(['0,1,2']));
  for (const stop of stops) stop();
  client.close();
});
