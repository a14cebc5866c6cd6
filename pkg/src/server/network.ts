// What lies between clients and the server in the page: nothing, or a network as bad as one asks for.

import { invalid } from '../errors.js';
import { ends } from '../value/decode.js';
import type { Clock } from './clock.js';
import type { Random } from './random.js';

/**
 * How bad the network is. Shares are probabilities, from 0 to 1; left out, a fault does not happen.
 *
 * `drop`, `duplicate` and `reorder` strike what a server says again if it has to: changes, beacons and relayed envelopes.
 * What a session needs answered comes in order or not at all, as over a WebSocket: then the link breaks.
 */
export interface Faults {
  /** The share of changes and beacons that are lost. */
  drop?: number | undefined;
  /** The share of changes and beacons that come twice. */
  duplicate?: number | undefined;
  /** The share of changes and beacons that later ones overtake. */
  reorder?: number | undefined;
  /** How many milliseconds a frame takes: always as many, or drawn from a range. */
  delay?: number | readonly [least: number, most: number] | undefined;
  /** The share of frames, both ways, that break their link and are lost with all that is under way on it. */
  disconnect?: number | undefined;
}

/** What became of a frame, or of a message that a fault struck. */
export interface Traffic {
  /** When, in milliseconds since 1970. */
  readonly at: number;
  /** The number of the link, from 1. */
  readonly link: number;
  /** `up` to the server, `down` to the client. */
  readonly direction: 'up' | 'down';
  readonly fate: 'sent' | 'delivered' | 'dropped' | 'duplicated' | 'reordered' | 'broken';
  /** How many bytes it has. */
  readonly bytes: number;
}

/** Messages that may be lost, by the kind that is their second byte: envelope, beacon, relayed. */
const EXPENDABLE = new Set([67, 68, 80]);

/** An overtaken message comes at most so many milliseconds late: long enough for a person's next change to be faster. */
const MOST_LATE = 250;

/** One direction of one link: what is sent on it arrives in order. */
export interface Wire {
  readonly link: number;
  readonly direction: 'up' | 'down';
  readonly queue: (() => void)[];
  /** How many of them wait for a time, rather than for their turn. */
  timed: number;
  /** When the last of them is due. */
  due: number;
}

/** Carries frames, and counts those under way. */
export class Network {
  readonly clock: Clock;
  readonly #random: Random;
  readonly #isManual: boolean;
  readonly #observe: ((traffic: Traffic) => void) | undefined;
  #faults: Faults = {};
  #underWay = 0;

  constructor(clock: Clock, isManual: boolean, random: Random, observe: ((traffic: Traffic) => void) | undefined) {
    this.clock = clock;
    this.#isManual = isManual;
    this.#random = random;
    this.#observe = observe;
  }

  get faults(): Faults {
    return this.#faults;
  }

  set faults(faults: Faults) {
    for (const name of ['drop', 'duplicate', 'reorder', 'disconnect'] as const) {
      const share = faults[name] ?? 0;
      if (!(share >= 0 && share <= 1)) throw invalid(`faults: \`${name}\` is a probability, from 0 to 1`);
    }
    const [least, most] = range(faults.delay);
    if (!(least >= 0 && least <= most && Number.isFinite(most))) {
      throw invalid('faults: `delay` is a number of milliseconds, or a pair of the least and the most');
    }
    this.#faults = { ...faults };
  }

  /** How many frames are under way. */
  get underWay(): number {
    return this.#underWay;
  }

  wire(link: number, direction: 'up' | 'down'): Wire {
    return { link, direction, queue: [], timed: 0, due: 0 };
  }

  /** Whether the link breaks now. */
  breaks(): boolean {
    return this.#random.happens(this.#faults.disconnect ?? 0);
  }

  /** Calls `arrive` after all that was carried on `wire` before, and never at once. */
  carry(wire: Wire, arrive: () => void): void {
    const now = this.clock.now();
    wire.due = Math.max(wire.due, now + this.#delay());
    wire.queue.push(arrive);
    this.#underWay++;
    // The first of the queue, whose callback ever this is: two timers for the same time may come in either order.
    if (!this.#isManual && wire.timed === 0 && wire.due <= now) {
      queueMicrotask(() => this.#arrived(wire.queue.shift()!));
      return;
    }
    wire.timed++;
    this.clock.setTimeout(() => {
      wire.timed--;
      this.#arrived(wire.queue.shift()!);
    }, wire.due - now);
  }

  /** Carries a frame of the server: the messages in it that may be lost meet their fates. */
  carryMessages(wire: Wire, frame: Uint8Array<ArrayBuffer>, arrive: (frame: Uint8Array<ArrayBuffer>) => void): void {
    const { drop = 0, duplicate = 0, reorder = 0 } = this.#faults;
    if (drop + duplicate + reorder === 0) {
      this.carry(wire, () => arrive(frame));
      return;
    }
    const kept: Uint8Array[] = [];
    let from = 0;
    for (const end of ends(frame)) {
      const message = frame.subarray(from, end);
      from = end;
      if (!EXPENDABLE.has(message[1]!)) {
        kept.push(message);
      } else if (this.#random.happens(drop)) {
        this.tell(wire, 'dropped', message.length);
      } else if (this.#random.happens(reorder)) {
        this.tell(wire, 'reordered', message.length);
        const alone = message.slice();
        this.#carryLate(() => arrive(alone));
      } else {
        kept.push(message);
        if (!this.#random.happens(duplicate)) continue;
        this.tell(wire, 'duplicated', message.length);
        kept.push(message);
      }
    }
    if (kept.length > 0) {
      const rest = joined(kept);
      this.carry(wire, () => arrive(rest));
    }
  }

  /** Carries something that may be lost. */
  carryAny(wire: Wire, bytes: number, arrive: () => void): void {
    const { drop = 0, duplicate = 0, reorder = 0 } = this.#faults;
    const fated = (fate: Traffic['fate'], share: number): boolean => {
      const strikes = this.#random.happens(share);
      if (strikes) this.tell(wire, fate, bytes);
      return strikes;
    };
    this.tell(wire, 'sent', bytes);
    const told = (): void => {
      this.tell(wire, 'delivered', bytes);
      arrive();
    };
    if (fated('dropped', drop)) return;
    if (fated('reordered', reorder)) {
      this.#carryLate(told);
      return;
    }
    this.carry(wire, told);
    if (fated('duplicated', duplicate)) this.carry(wire, told);
  }

  tell({ link, direction }: Wire, fate: Traffic['fate'], bytes: number): void {
    this.#observe?.({ at: this.clock.now(), link, direction, fate, bytes });
  }

  #carryLate(arrive: () => void): void {
    const late = 1 + Math.floor(this.#random.fraction() * MOST_LATE);
    this.#underWay++;
    this.clock.setTimeout(() => this.#arrived(arrive), this.#delay() + late);
  }

  #arrived(arrive: () => void): void {
    this.#underWay--;
    arrive();
  }

  #delay(): number {
    const [least, most] = range(this.#faults.delay);
    return least === most ? least : least + this.#random.fraction() * (most - least);
  }
}

function range(delay: Faults['delay']): readonly [number, number] {
  return typeof delay === 'object' ? delay : [delay ?? 0, delay ?? 0];
}

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
