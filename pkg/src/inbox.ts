// The mailbox of a client's user, and what becomes of the notifications that the client sent.

import { Ask, Message, Question, Target, Write } from './core.js';
import { checkListener, closed, invalid, TidewireError } from './errors.js';
import { Feed, type Fields } from './feed.js';
import { report, type Runtime } from './runtime.js';
import { checkKey, encode } from './value/encode.js';
import { message } from './value/message.js';

/** How to notify. */
export interface NotifyOptions {
  /** Whether a reply is asked for. */
  suit?: boolean | undefined;
  /** Milliseconds that it waits for its target. Default: 24 hours. */
  ttl?: number | undefined;
}

/** A message that waited in the mailbox. */
export interface Notification<T = unknown> {
  /** Its id: 32 hex digits. */
  readonly trace: string;
  /** Who sent it: a user, or `server`. */
  readonly from: string;
  readonly pack: T;
  /** Whether a reply is asked for. */
  readonly suit: boolean;
  /** When it was sent and when it ends, in milliseconds since 1970 on the server's clock. */
  readonly created: number;
  readonly expires: number;
  /** Replies to it. Resolves when the reply is durable at the server. */
  reply(value: unknown): Promise<void>;
}

/** What became of a notification. Times are in milliseconds since 1970 on the server's clock. */
export interface NotificationStatus {
  readonly from: string;
  readonly to: string;
  readonly suit: boolean;
  readonly created: number;
  readonly expires: number;
  /** When the target had taken it; `null` before. */
  readonly delivered: number | null;
  /** When the last reply came; `null` before. */
  readonly replied: number | null;
  readonly reply: unknown;
}

/**
 * The mailbox of this client's user.
 *
 * A notification counts as delivered once every listener has taken it: has returned, or its promise has resolved. One that
 * throws has not: the notification comes again in the next session. Nothing is told twice otherwise, however often the
 * connection breaks.
 */
export interface Inbox extends AsyncIterable<Notification> {
  /** Calls `listener` with every pending notification and with those to come. The returned function ends it. */
  subscribe(listener: (notification: Notification) => unknown): () => void;
  /** Calls `listener` with every reply to a notification that this user sent, while this is connected. */
  onReply(listener: (trace: string, reply: unknown) => void): () => void;
  /** Replies to a notification of this mailbox. Resolves when the reply is durable at the server. */
  reply(trace: string, value: unknown): Promise<void>;
  /**
   * Resolves with the reply to a notification that this user sent with `suit`, also if it came while this was away.
   * Rejects with `not_found` once the notification has expired.
   */
  replyTo(trace: string, options?: { signal?: AbortSignal | undefined }): Promise<unknown>;
  /** What became of a notification that this user sent or received; `undefined` if there is none, or it has expired. */
  status(trace: string): Promise<NotificationStatus | undefined>;
}

interface Waiter {
  readonly trace: string;
  resolve(reply: unknown): void;
  reject(error: unknown): void;
  /** Asks what became of it: a reply that came while nobody listened is not sent again, nor is the end told. */
  look(): void;
}

/** The longest delay of a timer. */
const MAX_DELAY = 2 ** 31 - 1;

/** Puts a notification into the mailbox of `to`, and resolves with its trace. */
export async function notify(runtime: Runtime, to: string, pack: unknown, { suit = false, ttl }: NotifyOptions): Promise<string> {
  checkKey(to, 'notify: whom');
  return await runtime.write(message(Write.Notify, to, pack, suit, lifetime(ttl))) as string;
}

/** A life in milliseconds for the wire. */
export function lifetime(ttl: number | undefined): number | null {
  if (ttl === undefined) return null;
  const millis = Math.ceil(ttl);
  if (Number.isSafeInteger(millis) && millis > 0) return millis;
  throw invalid('`ttl` must be a number of milliseconds above 0');
}

export class SessionInbox implements Inbox {
  readonly #runtime: Runtime;
  readonly #listeners = new Set<(notification: Notification) => unknown>();
  readonly #replies = new Set<(trace: string, reply: unknown) => void>();
  readonly #waiters = new Set<Waiter>();
  /** What ends each loop over it. */
  readonly #loops = new Set<() => void>();
  /** The traces of those that are taken, until the end of this microtask. */
  readonly #taken: string[] = [];
  /** What came while nobody listened. */
  #pending: Notification[] = [];
  #feed: Feed | undefined;

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  subscribe(listener: (notification: Notification) => unknown): () => void {
    checkListener(listener);
    // An own function per call, so that one listener can be subscribed twice.
    const own = (notification: Notification): unknown => listener(notification);
    this.#open();
    this.#listeners.add(own);
    const pending = this.#pending;
    this.#pending = [];
    for (const notification of pending) queueMicrotask(() => this.#take(notification));
    return () => {
      if (this.#listeners.delete(own)) this.#close();
    };
  }

  onReply(listener: (trace: string, reply: unknown) => void): () => void {
    checkListener(listener);
    const own = (trace: string, reply: unknown): void => listener(trace, reply);
    this.#open();
    this.#replies.add(own);
    return () => {
      if (this.#replies.delete(own)) this.#close();
    };
  }

  async reply(trace: string, value: unknown): Promise<void> {
    checkKey(trace, 'reply: the trace');
    await this.#runtime.write(message(Write.Reply, trace, value));
  }

  replyTo(trace: string, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      checkKey(trace, 'replyTo: the trace');
      signal?.throwIfAborted();
      let timer: ReturnType<typeof setTimeout> | undefined;
      const end = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
        this.#waiters.delete(waiter);
        this.#close();
      };
      const abort = (): void => waiter.reject(signal!.reason);
      const judge = (status: NotificationStatus | undefined): void => {
        if (!this.#waiters.has(waiter)) return;
        if (status === undefined) waiter.reject(new TidewireError('not_found', 'there is no such notification, or it has expired without a reply'));
        else if (!status.suit) waiter.reject(invalid('the notification was sent without `suit`: nobody may reply to it'));
        else if (status.replied !== null) waiter.resolve(status.reply);
        else {
          clearTimeout(timer);
          timer = setTimeout(waiter.look, Math.min(status.expires - status.created + 1_000, MAX_DELAY));
          (timer as { unref?: () => void }).unref?.();
        }
      };
      const waiter: Waiter = {
        trace,
        resolve: (reply) => (end(), resolve(reply)),
        reject: (error) => (end(), reject(error)),
        // What cannot be asked now is asked when the mailbox is followed again.
        look: () => void this.status(trace).then(judge, (error: TidewireError) => { if (!error.retryable) waiter.reject(error); }),
      };
      this.#open();
      signal?.addEventListener('abort', abort);
      this.#waiters.add(waiter);
      waiter.look();
    });
  }

  async status(trace: string): Promise<NotificationStatus | undefined> {
    checkKey(trace, 'status: the trace');
    try {
      return await this.#runtime.query(message(Question.Notification, trace)) as NotificationStatus;
    } catch (error) {
      if (error instanceof TidewireError && error.code === 'not_found') return undefined;
      throw error;
    }
  }

  [Symbol.asyncIterator](): AsyncIterator<Notification, undefined> & AsyncIterable<Notification> {
    interface Item { readonly notification: Notification; take(): void; leave(error: Error): void }
    const queue: Item[] = [];
    /** What the loop has, until it comes back for another. */
    const given: Item[] = [];
    const callers: ((result: IteratorResult<Notification, undefined>) => void)[] = [];
    let ended = false;
    const serve = (): void => {
      while (callers.length > 0 && (queue.length > 0 || ended)) {
        const next = queue.shift();
        if (next !== undefined) given.push(next);
        callers.shift()!(next === undefined ? { done: true, value: undefined } : { done: false, value: next.notification });
      }
    };
    const off = this.subscribe((notification) => new Promise<void>((take, leave) => {
      queue.push({ notification, take, leave });
      serve();
    }));
    const end = (): void => {
      if (ended) return;
      ended = true;
      this.#loops.delete(end);
      off();
      // What the loop did not come to the end of is not taken.
      for (const { leave } of [...given, ...queue.splice(0)]) leave(LEFT);
      serve();
    };
    this.#loops.add(end);
    return {
      next: () => {
        for (const { take } of given.splice(0)) take();
        return new Promise((resolve) => {
          callers.push(resolve);
          serve();
        });
      },
      return: () => {
        end();
        return Promise.resolve({ done: true, value: undefined });
      },
      [Symbol.asyncIterator]() { return this; },
    };
  }

  /** The session is over. */
  close(): void {
    for (const end of [...this.#loops]) end();
    for (const waiter of [...this.#waiters]) waiter.reject(closed());
  }

  #open(): void {
    if (this.#feed !== undefined) return;
    this.#feed = new Feed(this.#runtime, Target.Mailbox, '', '', {
      hear: (fields) => this.#hear(fields),
      deny: (error) => {
        for (const waiter of [...this.#waiters]) waiter.reject(error);
        report(error);
      },
    });
  }

  /** Follows the mailbox no more, if nobody listens. */
  #close(): void {
    if (this.#listeners.size + this.#replies.size + this.#waiters.size > 0) return;
    this.#feed?.end();
    this.#feed = undefined;
    this.#settle(this.#pending.map(({ trace }) => trace), false);
    this.#pending = [];
  }

  #hear([kind, , trace, ...fields]: Fields): void {
    if (kind === Message.Notification) {
      const [from, pack, suit, created, expires] = fields as [string, unknown, boolean, number, number];
      const id = trace as string;
      const notification: Notification = { trace: id, from, pack, suit, created, expires, reply: (value) => this.reply(id, value) };
      this.#take(notification);
    } else if (kind === Message.Reply) {
      const [reply] = fields;
      for (const waiter of [...this.#waiters]) if (waiter.trace === trace) waiter.resolve(reply);
      for (const listener of [...this.#replies]) {
        try {
          listener(trace as string, reply);
        } catch (error) {
          report(error);
        }
      }
    } else if (kind === Message.Following) {
      for (const waiter of this.#waiters) waiter.look();
    }
  }

  #take(notification: Notification): void {
    if (this.#listeners.size > 0) void this.#tell(notification);
    else if (this.#feed !== undefined) this.#pending.push(notification);
    else this.#settle([notification.trace], false);
  }

  async #tell(notification: Notification): Promise<void> {
    const calls = [...this.#listeners].map(async (listener) => listener(notification));
    const ends = await Promise.allSettled(calls);
    const failures = ends.flatMap((end) => end.status === 'rejected' ? [end.reason as unknown] : []);
    for (const failure of failures) if (failure !== LEFT) report(failure);
    // What loops have left, and nobody else has heard, is for whoever comes next.
    if (failures.length === ends.length && failures.every((failure) => failure === LEFT)) this.#take(notification);
    else this.#settle([notification.trace], failures.length === 0);
  }

  /** Says what became of notifications. Those that are taken together are told together. */
  #settle(traces: readonly string[], ok: boolean): void {
    if (ok) {
      if (this.#taken.push(...traces) > traces.length) return;
      queueMicrotask(() => this.#say(this.#taken.splice(0), true));
    } else if (traces.length > 0) {
      this.#say(traces, false);
    }
  }

  #say(traces: readonly string[], ok: boolean): void {
    this.#runtime.input(() => this.#runtime.core.ask(Ask.Taken, this.#runtime.memory.put(encode(traces)), ok));
  }
}

/** Why a notification was not taken that a loop has left. */
const LEFT = new Error('the loop was left');
