// What a transport is: a dumb pipe. It retains nothing, checks nothing and removes no duplicates.

import type { Environment } from '../environment.js';
import { report } from '../failure.js';

/** A whole new value on its way, with its place in the order of changes. */
export interface Envelope<T = unknown> {
  /** The whole value. */
  value: T;
  /** The schema version it was written under, `"major.minor"`. */
  schema_version?: string | undefined;
  /** Its number in the key's order of changes. */
  sequence: number;
  /** The history that the sequence belongs to. */
  epoch?: string | undefined;
  /** The sequence before it, where that is not `sequence - 1`. */
  prev?: number | undefined;
}

/** Hears the envelopes of a key. What it throws is reported, and robs nobody else. */
export type EnvelopeHandler = (envelope: Envelope) => void;

/** What a subscriber may hear of the pipe itself, where the pipe knows. */
export interface TransportObserver {
  /** Envelopes may have been lost, for instance while the connection was down. A replica asks the authority then. */
  onLoss?: (() => void) | undefined;
}

/** Ends a subscription. Calling it again does nothing. */
export type Unsubscribe = () => void;

/** The pipe. A subscriber hears only what is published after it subscribed. */
export interface Transport {
  /** Where time and chance are not the page's: those of replicas over this transport. */
  readonly environment?: Environment | undefined;
  /** Hands `envelope` to every present subscriber of `key`; nothing happens where there is none. */
  publish(key: string, envelope: Envelope): void;
  subscribe(key: string, handler: EnvelopeHandler, observer?: TransportObserver): Unsubscribe;
}

/** @internal Tells each observer that something may be lost. */
export function lose(observers: Iterable<TransportObserver>): void {
  for (const { onLoss } of [...observers]) {
    try {
      onLoss?.();
    } catch (error) {
      report(error);
    }
  }
}

/** @internal Calls each handler: who joins during the delivery does not hear this envelope, who leaves still does. */
export function deliver(handlers: ReadonlySet<EnvelopeHandler>, envelope: Envelope): void {
  // Most keys have one subscriber: a list of it is as long in the making as a publish is otherwise.
  if (handlers.size > 1) {
    for (const handler of [...handlers]) hand(handler, envelope);
    return;
  }
  for (const handler of handlers) {
    hand(handler, envelope);
    break;
  }
}

function hand(handler: EnvelopeHandler, envelope: Envelope): void {
  try {
    handler(envelope);
  } catch (error) {
    report(error);
  }
}
