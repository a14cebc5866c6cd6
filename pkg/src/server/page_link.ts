// A link within the page, shaped like a WebSocket that is open from the start.

import type { Link } from '../core.js';

export class PageLink implements Link {
  readonly bufferedAmount = 0;
  onopen: Link['onopen'] = null;
  onmessage: Link['onmessage'] = null;
  onclose: Link['onclose'] = null;
  onerror: Link['onerror'] = null;
  readonly #send: (bytes: Uint8Array) => void;
  readonly #leave: () => void;
  #open = true;

  constructor(send: (bytes: Uint8Array) => void, leave: () => void) {
    this.#send = send;
    this.#leave = leave;
  }

  send(bytes: Uint8Array): void {
    if (!this.#open) throw new Error('the link is closed');
    // The caller may use its buffer again before the frame arrives.
    const frame = bytes.slice();
    queueMicrotask(() => {
      if (this.#open) this.#send(frame);
    });
  }

  close(code = 1000, reason = ''): void {
    if (!this.#open) return;
    queueMicrotask(() => {
      if (this.#open) this.#leave();
      this.#ended(code, reason);
    });
  }

  /** Brings a frame from the server. */
  deliver(data: ArrayBuffer): void {
    queueMicrotask(() => {
      if (this.#open) this.onmessage?.({ data });
    });
  }

  /** The server ends the link, after what it sent before. */
  end(code: number, reason: string): void {
    queueMicrotask(() => this.#ended(code, reason));
  }

  #ended(code: number, reason: string): void {
    if (!this.#open) return;
    this.#open = false;
    this.onclose?.({ code, reason });
  }
}
