// The links of one client: opened, fed and closed as the core says. Bytes and lifecycle, nothing else; what the bytes mean
// is the core's business, and so is when there is to be another link.

import { Ask, Change, type Core, type Link } from './core.js';
import type { Memory } from './memory.js';

/** `WebSocket.OPEN`. */
const OPEN = 1;

/** What browsers report for a link that failed. */
const ABNORMAL = 1006;

/** The close code for a frame over the limit. */
const TOO_LARGE = 1009;

const MAX_FRAME_BYTES = 1024 * 1024;

/** Frames wait here while a socket has as much as this to send: what it has taken cannot be taken back. */
const MAX_BACKLOG_BYTES = 512 * 1024;

/** How often a socket that has too much to send is looked at: it does not say when that is over. */
const LOOK = 50;

/** What links tell their client. */
export interface LinkHost {
  readonly core: Core;
  readonly memory: Memory;
  /** Runs an input of the core, and deals with what comes of it. */
  input(run: () => void): void;
  /** Takes a frame in. */
  receive(link: number, frame: ArrayBuffer): void;
}

export class Links {
  readonly #host: LinkHost;
  readonly #dial: () => Link;
  readonly #fetch: ((link: number, reason: number) => void) | undefined;
  #link: Link | undefined;
  #number = 0;
  /** Frames for the present link that wait for its socket. */
  #held: Uint8Array[] = [];
  #look: ReturnType<typeof setTimeout> | undefined;

  constructor(host: LinkHost, dial: () => Link, readonly addresses: number, fetch?: (link: number, reason: number) => void) {
    this.#host = host;
    this.#dial = dial;
    this.#fetch = fetch;
  }

  /** Whether each link is opened after a token was asked for. */
  get asksForTokens(): boolean {
    return this.#fetch !== undefined;
  }

  /** Closes the present link: whom it was for is gone. */
  end(): void {
    this.#hang();
  }

  /** Does what the core asks for. `bytes` is a view of the core's memory, good for this call. */
  take(kind: Change, link: number, argument: number, bytes: () => Uint8Array): void {
    if (kind === Change.Fetch) this.#fetch?.(link, argument);
    else if (kind === Change.Dial) this.#open(link);
    else if (link !== this.#number) return;
    else if (kind === Change.Transmit) this.#send(bytes());
    else this.#hang(argument);
  }

  #open(number: number): void {
    const { core } = this.#host;
    this.#drop();
    let link: Link;
    try {
      link = this.#dial();
    } catch (error) {
      this.#closed(number, ABNORMAL, error instanceof Error ? error.message : 'the link could not be opened');
      return;
    }
    this.#link = link;
    this.#number = number;
    link.binaryType = 'arraybuffer';
    link.onopen = () => this.#host.input(() => core.ask(Ask.Opened, number));
    link.onmessage = ({ data }) => this.#receive(number, data);
    link.onclose = ({ code, reason }) => {
      this.#host.input(() => this.#closed(number, code ?? ABNORMAL, reason ?? ''));
    };
    // A link without `readyState`, such as the one within the page, is open from the start.
    if ((link.readyState ?? OPEN) === OPEN) core.ask(Ask.Opened, number);
  }

  #closed(number: number, code: number, reason: string): void {
    this.#host.core.ask(Ask.Closed, number, code, this.#host.memory.put(reason));
  }

  #receive(number: number, data: unknown): void {
    // A socket may still speak that nobody listens to any more.
    if (number !== this.#number) return;
    if (!(data instanceof ArrayBuffer)) {
      // Text is no frame of the protocol, and neither is an empty one.
      this.#host.receive(number, new ArrayBuffer(0));
    } else if (data.byteLength > MAX_FRAME_BYTES) {
      this.#hang();
      this.#host.input(() => this.#closed(number, TOO_LARGE, 'the server sent a frame over the limit'));
    } else {
      this.#host.receive(number, data);
    }
  }

  #send(bytes: Uint8Array): void {
    if (this.#held.length > 0 || !this.#hasRoom()) {
      this.#held.push(bytes.slice());
      this.#lookAgain();
    } else {
      this.#transmit(bytes);
    }
  }

  #hasRoom(): boolean {
    return this.#link !== undefined && this.#link.bufferedAmount <= MAX_BACKLOG_BYTES;
  }

  #transmit(bytes: Uint8Array): void {
    try {
      this.#link?.send(bytes);
    } catch {
      const number = this.#number;
      this.#drop();
      this.#closed(number, ABNORMAL, 'the link could not send');
    }
  }

  #lookAgain(): void {
    this.#look ??= setTimeout(() => {
      this.#look = undefined;
      this.#host.input(() => {
        while (this.#held.length > 0 && this.#hasRoom()) this.#transmit(this.#held.shift()!);
        if (this.#held.length > 0) this.#lookAgain();
      });
    }, LOOK);
  }

  #hang(code?: number): void {
    const link = this.#link;
    this.#drop();
    try {
      link?.close(code);
    } catch {
      // A socket that cannot be closed any more is closed.
    }
  }

  /** Forgets the link: nothing is heard of it any more. */
  #drop(): void {
    if (this.#link !== undefined) this.#link.onopen = this.#link.onmessage = this.#link.onclose = null;
    this.#link = undefined;
    this.#number = 0;
    this.#held = [];
    clearTimeout(this.#look);
    this.#look = undefined;
  }
}
