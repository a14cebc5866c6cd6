// Listens at a client's links, and says what became of every envelope. The core is not asked to keep a diary: what a replica
// counts is compared before and after each frame, and the frame's headers say which envelope it was about.

import type { LinkSource, WebSocketClass } from '../client.js';
import type { Link } from '../core.js';
import type { Observable, ReplicaStats, ReplicaStatus } from '../replica.js';
import type { Envelope, Transport } from '../transport/transport.js';
import { readFrame } from './frame.js';

/**
 * What became of an envelope.
 *
 * `applied`: it is shown. `ignored`: it was old, or there twice. `gap`: something before it is missing; it is held back.
 * `refetch`: the authority was asked for what is missing. `quarantined`: it did not pass the gate, or is of another schema
 * version. `rollback`: the authority went back. `lost`: it never arrived, as whoever lost it says.
 */
export type Outcome = 'applied' | 'ignored' | 'gap' | 'refetch' | 'quarantined' | 'rollback' | 'lost';

/** One thing that happened to a replica. */
export interface Happening {
  readonly key: string;
  /** When, as `performance.now()` counts. */
  readonly at: number;
  readonly outcome: Outcome;
  /** The sequence that it is about, where it is about one. */
  readonly sequence: number | null;
  /** Why, for people. */
  readonly reason: string;
}

/** A replica or collection; what is in it does not matter. */
export type Watchable = Pick<Observable<never>, 'peekMeta' | 'stats' | 'on'>;

/** What of a frame concerns one key. */
type Item =
  | { readonly tag: 'envelope'; readonly key: string; readonly sequence: number; readonly prev: number }
  | { readonly tag: 'answer'; readonly key: string; readonly attempt: number; readonly what: Answer };

type Envelopes = readonly Extract<Item, { tag: 'envelope' }>[];

const ANSWERS = ['current', 'tail', 'snapshot', 'page', 'absent'] as const;
type Answer = (typeof ANSWERS)[number];

/** What a replica says of itself at one moment. */
interface Look {
  readonly sequence: number;
  readonly cursor: number;
  readonly status: ReplicaStatus;
  readonly error: string;
  readonly stats: ReplicaStats;
}

interface Watched {
  readonly key: string;
  readonly replica: Watchable;
  seen: Look;
}

/**
 * Listens at the links of one client.
 *
 * ```js
 * const tap = new Tap();
 * const client = await connect(url, { WebSocket: tap.WebSocket });   // or: connect(tap.through(server))
 * tap.watch('user:1', client.synced('user:1'));
 * tap.on(({ outcome, reason }) => console.log(outcome, reason));
 * ```
 */
export class Tap {
  /** What `connect` takes as its `WebSocket`. */
  readonly WebSocket: WebSocketClass;
  readonly #watched = new Set<Watched>();
  readonly #listeners = new Set<(happening: Happening) => void>();

  constructor() {
    const tap = this;
    // A constructor that gives back another object: `connect` needs no more of a WebSocket than a link has.
    this.WebSocket = function (url: string, protocols: string[]) {
      return new TappedLink(tap, new WebSocket(url, protocols) as unknown as Link);
    } as unknown as WebSocketClass;
  }

  /** What `connect` takes in the place of `source`. */
  through(source: LinkSource): LinkSource {
    return { link: () => new TappedLink(this, source.link()) };
  }

  /** What `createClientReplica` takes in the place of `transport`. */
  transport(transport: Pick<Transport, 'subscribe'>): Pick<Transport, 'subscribe'> {
    return {
      subscribe: (key, handler) => transport.subscribe(key, (envelope) => {
        this.during(itemsOf(key, envelope), () => handler(envelope));
      }),
    };
  }

  /** Watches a replica of this client. The returned function ends it. */
  watch(key: string, replica: Watchable): () => void {
    const watched: Watched = { key, replica, seen: look(replica) };
    this.#watched.add(watched);
    const end = replica.on('rollback', ({ sequence }) => {
      this.#tell(key, 'rollback', sequence, `The authority lost changes that were shown here; this replica went back to ${sequence}.`);
    });
    return () => {
      this.#watched.delete(watched);
      end();
    };
  }

  /** Calls `listener` with everything that happens. The returned function ends it. */
  on(listener: (happening: Happening) => void): () => void {
    const own = (happening: Happening): void => listener(happening);
    this.#listeners.add(own);
    return () => void this.#listeners.delete(own);
  }

  /** Says that an envelope was lost on its way: for networks that lose on purpose. */
  lost(key: string, sequence: number): void {
    this.#tell(key, 'lost', sequence, `Sequence ${sequence} was lost on its way. Nobody here knows yet.`);
  }

  /** Looks for what happened without a frame, such as a refetch that was tried again. */
  look(): void {
    for (const watched of this.#watched) this.#compare(watched, []);
  }

  /** @internal Compares before and after `deliver`, which brings `items`. */
  during(items: readonly Item[], deliver: () => void): void {
    this.look();
    try {
      deliver();
    } finally {
      for (const watched of this.#watched) this.#compare(watched, items.filter(({ key }) => key === watched.key));
    }
  }

  #compare(watched: Watched, items: readonly Item[]): void {
    const was = watched.seen;
    const is = (watched.seen = look(watched.replica));
    for (const { outcome, sequence, reason } of judge(was, is, items)) this.#tell(watched.key, outcome, sequence, reason);
  }

  #tell(key: string, outcome: Outcome, sequence: number | null, reason: string): void {
    const happening: Happening = { key, at: performance.now(), outcome, sequence, reason };
    for (const listener of [...this.#listeners]) listener(happening);
  }
}

/** Why something happened to an envelope that its number alone does not explain. */
const AGAINST_ITS_NUMBER: Partial<Record<Outcome, (sequence: number) => string>> = {
  ignored: (sequence) => `Sequence ${sequence} is here already, and waits for what is missing before it: a second copy changes nothing.`,
  gap: (sequence) => `Sequence ${sequence} cannot be placed yet: it is held back until the order is whole.`,
};

type Judged = Pick<Happening, 'outcome' | 'sequence' | 'reason'>;

/** What happened between two looks. The counters say what and how often; the headers say to which envelope. */
function judge(was: Look, is: Look, items: readonly Item[]): Judged[] {
  const more = (name: keyof ReplicaStats): number => is.stats[name] - was.stats[name];
  const envelopes = items.filter((item) => item.tag === 'envelope');
  const answers = items.filter((item) => item.tag === 'answer');
  const { old, beyond, next } = sort(was.cursor, envelopes);
  const refused = more('quarantined') + more('schemaSkews');
  const found: Judged[] = [];

  const each = (outcome: Outcome, count: number, of: Envelopes, why: (envelope: Envelopes[number]) => string): void => {
    if (count === of.length) found.push(...of.map((envelope) => ({ outcome, sequence: envelope.sequence, reason: why(envelope) })));
    // By its number it is another case, but it is the only one there: a copy of what is held back, for one.
    else if (count > 0 && count === envelopes.length) found.push(...envelopes.map(({ sequence }) => ({ outcome, sequence, reason: AGAINST_ITS_NUMBER[outcome]?.(sequence) ?? `Sequence ${sequence}: ${outcome}.` })));
    // The headers do not tell which: then none is named.
    else if (count > 0) found.push({ outcome, sequence: null, reason: `${count} of ${Math.max(count, envelopes.length)} envelopes of one frame: ${outcome}.` });
  };

  each('ignored', more('ignoredStale'), old, ({ sequence }) => `Sequence ${sequence} is not beyond ${was.cursor}: this copy has been here, so nothing changes.`);
  each('gap', more('gaps'), beyond, ({ sequence, prev }) => `Sequence ${sequence} follows ${prev}, but this replica stands at ${was.cursor}: it is held back until the order is whole.`);
  if (refused > 0) {
    const sequence = next.length === refused ? next[0]!.sequence : null;
    const name = sequence === null ? 'A value' : `Sequence ${sequence}`;
    const why = more('schemaSkews') > 0 ? 'is of a schema version that this code was not written for' : `did not pass the gate (${is.error || 'no reason was given'})`;
    found.push({ outcome: 'quarantined', sequence, reason: `${name} ${why}: it is kept apart, and the last good value stays.` });
  }
  found.push(...applied(was, is, more('applied'), next.slice(refused), answers));
  const odd = more('parseErrors') - more('quarantined');
  if (odd > 0) found.push({ outcome: 'ignored', sequence: null, reason: `${odd} refused: malformed, or a copy of what was refused before.` });
  if (more('refetches') > 0) {
    const from = is.sequence < 0 ? 'for its value' : `for everything after ${is.sequence}`;
    const again = more('retries') > 0 ? ' once more, after a pause' : '';
    found.push({ outcome: 'refetch', sequence: null, reason: `The authority is asked ${from}${again}. What is shown stays meanwhile.` });
  }
  return found;
}

function applied(was: Look, is: Look, count: number, next: Envelopes, answers: readonly Item[]): Judged[] {
  if (count <= 0) return [];
  const outcome = 'applied';
  const answer = answers.find((item) => item.tag === 'answer');
  if (next.length === 0 || count < next.length) {
    const what = answer?.tag === 'answer' && answer.what !== 'current' && answer.what !== 'tail'
      ? `The answer to ${answer.attempt === 0 ? 'the subscription' : 'the refetch'} is a ${answer.what} at ${is.sequence}: it takes the place of what was shown.`
      : `What was held back is in order now: shown up to ${is.sequence}.`;
    return [{ outcome, sequence: is.sequence, reason: what }];
  }
  const found = next.map(({ sequence, prev }): Judged => ({
    outcome, sequence, reason: `Sequence ${sequence} follows ${Math.max(prev, was.sequence < 0 ? prev : was.cursor)}${answer ? ', and came as the answer to the refetch' : ''}: it is shown.`,
  }));
  if (count > next.length) {
    found.push({ outcome, sequence: is.sequence, reason: `With that, what was held back is in order too: shown up to ${is.sequence}.` });
  }
  return found;
}

/** Sorts envelopes by their headers, as a replica at `cursor` meets them one after the other. */
function sort(cursor: number, envelopes: Envelopes): { old: Envelopes; beyond: Envelopes; next: Envelopes } {
  const [old, beyond, next]: [Item[], Item[], Item[]] = [[], [], []];
  let at = cursor;
  for (const envelope of envelopes) {
    if (at >= 0 && envelope.sequence <= at) old.push(envelope);
    else if (at >= 0 && envelope.prev > at) beyond.push(envelope);
    else {
      next.push(envelope);
      at = envelope.sequence;
    }
  }
  return { old, beyond, next } as { old: Envelopes; beyond: Envelopes; next: Envelopes };
}

function look(replica: Watchable): Look {
  const { sequence, cursor, status, error } = replica.peekMeta();
  return { sequence, cursor, status, error: error?.message ?? '', stats: { ...replica.stats } };
}

function itemsOf(key: string, envelope: Envelope): Item[] {
  const { sequence, prev } = envelope ?? {};
  return typeof sequence === 'number' ? [{ tag: 'envelope', key, sequence, prev: prev ?? sequence - 1 }] : [];
}

/** The numbers of PROTOCOL.md. */
const enum Kind { Subscribe = 2, Answer = 65, Envelope = 67 }

/** A link that is listened at. */
class TappedLink implements Link {
  onopen: Link['onopen'] = null;
  onmessage: Link['onmessage'] = null;
  onclose: Link['onclose'] = null;
  onerror: Link['onerror'] = null;
  readonly #inner: Link;
  /** What the numbers of this connection stand for. */
  readonly #subscriptions = new Map<number, string>();
  readonly #topics = new Map<number, string>();

  constructor(tap: Tap, inner: Link) {
    this.#inner = inner;
    inner.onopen = () => this.onopen?.();
    inner.onclose = (event) => this.onclose?.(event);
    inner.onerror = () => this.onerror?.();
    inner.onmessage = (event) => tap.during(this.#read(event.data), () => this.onmessage?.(event));
  }

  get bufferedAmount(): number {
    return this.#inner.bufferedAmount;
  }

  get readyState(): number {
    // A link without it is open from the start.
    return this.#inner.readyState ?? 1;
  }

  set binaryType(type: string) {
    this.#inner.binaryType = type;
  }

  send(bytes: Uint8Array): void {
    for (const { kind, fields: [wanted] } of readFrame(bytes)) {
      if (kind === Kind.Subscribe && Array.isArray(wanted)) for (const each of wanted) this.#subscribe(each);
    }
    this.#inner.send(bytes);
  }

  close(code?: number, reason?: string): void {
    this.#inner.close(code, reason);
  }

  #subscribe(wanted: unknown): void {
    if (!Array.isArray(wanted)) return;
    const [subscription, target] = wanted as unknown[];
    const key: unknown = Array.isArray(target) ? target[1] : undefined;
    if (typeof subscription === 'number' && typeof key === 'string') this.#subscriptions.set(subscription, key);
  }

  #read(data: unknown): Item[] {
    if (!(data instanceof ArrayBuffer)) return [];
    const items: Item[] = [];
    for (const { kind, fields } of readFrame(data)) {
      if (kind === Kind.Answer) {
        const [subscription, attempt, topic, , answer] = fields as [number, number, number, unknown, unknown];
        const key = this.#subscriptions.get(subscription);
        const what = Array.isArray(answer) ? ANSWERS[answer[0] as number] : undefined;
        if (key === undefined || what === undefined) continue;
        this.#topics.set(topic, key);
        items.push({ tag: 'answer', key, attempt, what });
      } else if (kind === Kind.Envelope) {
        const [topic, sequence, prev] = fields as [number, number, number | null];
        const key = this.#topics.get(topic);
        if (key !== undefined) items.push({ tag: 'envelope', key, sequence, prev: prev ?? sequence - 1 });
      }
    }
    return items;
  }
}
