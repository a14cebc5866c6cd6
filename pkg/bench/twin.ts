// The JS twin: what one would write in plain JavaScript for the same duty, as fast as plain JavaScript goes.
//
// It reads the messages of PROTOCOL.md, as arrays, from whatever codec it is given; gates each value; judges it by epoch
// and sequence, with a buffer for what lies beyond a gap; and shows it in a signal, once per frame. The benchmark holds
// Tidewire against it, so whoever finds a faster way to write it makes the comparison better.
//
// Deliberately missing: reconnecting, backoff, beacons, lineages and rollbacks. They cost nothing per envelope.

import { batch, type Signal, signal } from '@preact/signals-core';

/** What a gate returns for a value that it refuses; anything else is what is shown. */
export const REFUSED = Symbol('refused');

export type TwinGate = (value: unknown) => unknown;

/** As the server writes it: kind 67, topic, sequence, prev, schema version, record, has value, value. */
export type EnvelopeMessage = [
  67, topic: number, sequence: number, prev: number | null, version: string | null, record: string | null, has: boolean,
  value?: unknown,
];

/** Kind 65, subscription, attempt, topic, epoch, and here always an answer of the kind "snapshot". */
export type AnswerMessage = [
  65, subscription: number, attempt: number, topic: number, epoch: string,
  answer: [2, sequence: number, version: string | null, value: unknown, lineage: unknown[]],
];

export type TwinStatus = 'ok' | 'stale' | 'skew' | 'refetching';

/** Most envelopes that wait beyond a gap. */
const MAX_HELD = 1024;

export interface TwinMeta {
  schemaVersion: string | null;
  sequence: number;
  status: TwinStatus;
  epoch: string | null;
}

/** The copy of one object. */
export class TwinReplica {
  readonly #shown: Signal<unknown> = signal<unknown>(undefined);
  /** Made by the first tracked read of meta; counts the changes. */
  #metaChanges: Signal<number> | undefined;
  #next: unknown = undefined;
  #held: EnvelopeMessage[] | undefined;
  #isDue = false;
  sequence = -1;
  epoch: string | null = null;
  version: string | null = null;
  status: TwinStatus = 'stale';
  applied = 0;
  ignoredStale = 0;
  gaps = 0;
  parseErrors = 0;
  refetches = 0;

  constructor(
    readonly key: string,
    readonly gate: TwinGate | undefined,
    readonly refetch: (() => void) | undefined,
    /** The replicas to show when the frame is read; shared by all of a client. */
    readonly due: TwinReplica[],
  ) {}

  get(): unknown {
    return this.#shown.value;
  }

  meta(): TwinMeta {
    void (this.#metaChanges ??= signal(0)).value;
    return { schemaVersion: this.version, sequence: this.sequence, status: this.status, epoch: this.epoch };
  }

  /** Takes an envelope of the epoch that the replica is in. */
  receive(message: EnvelopeMessage): void {
    const sequence = message[2];
    const value = this.gate === undefined ? message[7] : this.gate(message[7]);
    if (value === REFUSED) {
      this.parseErrors++;
      if (sequence > this.sequence) this.#recover('skew');
      return;
    }
    const prev = message[3];
    if (sequence <= this.sequence) {
      this.ignoredStale++;
    } else if (this.sequence >= 0 && (prev === null ? sequence - 1 : prev) <= this.sequence) {
      this.#commit(value, sequence, message[4]);
      if (this.#held !== undefined) this.#drain();
    } else {
      this.gaps++;
      const held = (this.#held ??= []);
      if (held.length === MAX_HELD) held.length = 0;
      held.push(message);
      this.#recover('stale');
    }
  }

  /** Takes a snapshot: the base, unless the replica is further already. */
  install(value: unknown, sequence: number, version: string | null, epoch: string): void {
    if (this.epoch === epoch && sequence < this.sequence) return;
    const gated = this.gate === undefined ? value : this.gate(value);
    if (gated === REFUSED) {
      this.parseErrors++;
      this.status = 'skew';
      this.#touch();
      return;
    }
    if (this.epoch !== epoch) {
      this.#held = undefined;
      this.epoch = epoch;
    }
    this.#commit(gated, sequence, version);
    if (this.#held !== undefined) this.#drain();
  }

  /** Shows what came since it was last called. */
  show(): void {
    this.#isDue = false;
    this.#shown.value = this.#next;
    if (this.#metaChanges !== undefined) this.#metaChanges.value++;
  }

  #commit(value: unknown, sequence: number, version: string | null): void {
    this.#next = value;
    this.sequence = sequence;
    this.version = version;
    this.status = 'ok';
    this.applied++;
    this.#touch();
  }

  #drain(): void {
    const held = this.#held!.sort((a, b) => a[2] - b[2]);
    this.#held = undefined;
    for (const message of held) {
      if (message[2] > this.sequence) this.receive(message);
    }
  }

  #recover(failed: TwinStatus): void {
    if (this.refetch === undefined) this.status = failed;
    else if (this.status !== 'refetching') {
      this.status = 'refetching';
      this.refetches++;
      this.refetch();
    }
    this.#touch();
  }

  #touch(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    this.due.push(this);
  }
}

/** All replicas of one connection. */
export class TwinClient<Frame> {
  readonly #decode: (frame: Frame) => readonly (EnvelopeMessage | AnswerMessage)[];
  readonly #replicas: TwinReplica[] = [];
  readonly #topics: TwinReplica[] = [];
  readonly #due: TwinReplica[] = [];
  readonly #show = (): void => {
    const due = this.#due;
    for (let i = 0; i < due.length; i++) due[i]!.show();
    due.length = 0;
  };

  constructor(decode: (frame: Frame) => readonly (EnvelopeMessage | AnswerMessage)[]) {
    this.#decode = decode;
  }

  /** The subscription's number is how many there were before it. */
  subscribe(key: string, gate: TwinGate | undefined, refetch?: () => void): TwinReplica {
    const replica = new TwinReplica(key, gate, refetch, this.#due);
    this.#replicas.push(replica);
    return replica;
  }

  receive(frame: Frame): void {
    const messages = this.#decode(frame);
    for (let i = 0; i < messages.length; i++) {
      const message = messages[i]!;
      if (message[0] === 67) this.#topics[message[1]]?.receive(message);
      else this.#answered(message);
    }
    if (this.#due.length === 1) this.#show();
    else batch(this.#show);
  }

  #answered(message: AnswerMessage): void {
    const replica = this.#replicas[message[1]];
    if (replica === undefined) return;
    this.#topics[message[3]] = replica;
    const answer = message[5];
    replica.install(answer[3], answer[1], answer[2], message[4]);
  }
}

/** An envelope that is a JavaScript object, as the seed's transports carry it. */
export interface TwinEnvelope {
  value: unknown;
  schema_version: string;
  sequence: number;
}

/** The seed's pipe, within the process. */
export class TwinTransport {
  readonly #subscribers = new Map<string, Set<(envelope: TwinEnvelope) => void>>();

  publish(key: string, envelope: TwinEnvelope): void {
    const handlers = this.#subscribers.get(key);
    if (handlers === undefined) return;
    if (handlers.size === 1) for (const handler of handlers) handler(envelope);
    else for (const handler of [...handlers]) handler(envelope);
  }

  subscribe(key: string, handler: (envelope: TwinEnvelope) => void): () => void {
    let handlers = this.#subscribers.get(key);
    if (handlers === undefined) this.#subscribers.set(key, (handlers = new Set()));
    handlers.add(handler);
    return () => {
      handlers.delete(handler);
      if (handlers.size === 0 && this.#subscribers.get(key) === handlers) this.#subscribers.delete(key);
    };
  }
}

/** The seed's replica over such a pipe: no epochs, every publish shown at once. */
export function twinReplica(transport: TwinTransport, key: string, gate: TwinGate | undefined, seed: TwinEnvelope): TwinReplica {
  const due: TwinReplica[] = [];
  const replica = new TwinReplica(key, gate, undefined, due);
  const show = (): void => {
    if (due.length === 0) return;
    due.length = 0;
    replica.show();
  };
  replica.install(seed.value, seed.sequence, seed.schema_version, '');
  show();
  transport.subscribe(key, (envelope) => {
    replica.receive([67, 0, envelope.sequence, null, envelope.schema_version, null, true, envelope.value]);
    show();
  });
  return replica;
}
