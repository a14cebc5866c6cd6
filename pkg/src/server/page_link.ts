// A link within the page, shaped like a WebSocket that is open from the start.

import type { Link } from '../core.js';
import type { Network, Wire } from './network.js';

/** What browsers report for a link that ended without a word. */
const ABNORMAL = 1006;

export class PageLink implements Link {
  readonly bufferedAmount = 0;
  onopen: Link['onopen'] = null;
  onmessage: Link['onmessage'] = null;
  onclose: Link['onclose'] = null;
  onerror: Link['onerror'] = null;
  readonly #network: Network;
  readonly #up: Wire;
  readonly #down: Wire;
  readonly #receive: (bytes: Uint8Array) => void;
  readonly #leave: () => void;
  #isOpen = true;
  /** Whether nothing that is under way will arrive. */
  #isBroken = false;

  constructor(network: Network, id: number, receive: (bytes: Uint8Array) => void, leave: () => void) {
    this.#network = network;
    this.#up = network.wire(id, 'up');
    this.#down = network.wire(id, 'down');
    this.#receive = receive;
    this.#leave = leave;
  }

  send(bytes: Uint8Array): void {
    if (!this.#isOpen) throw new Error('the link is closed');
    // The caller may use its buffer again before the frame arrives.
    const frame = bytes.slice();
    if (this.#strikes(this.#up, frame.length)) return;
    this.#network.tell(this.#up, 'sent', frame.length);
    this.#network.carry(this.#up, () => {
      if (!this.#isOpen || this.#isBroken) return;
      this.#network.tell(this.#up, 'delivered', frame.length);
      this.#receive(frame);
    });
  }

  close(code = 1000, reason = ''): void {
    if (!this.#isOpen) return;
    this.#network.carry(this.#up, () => {
      if (this.#isBroken) return;
      if (this.#isOpen) this.#leave();
      this.#ended(code, reason);
    });
  }

  /** Brings a frame from the server. */
  deliver(frame: Uint8Array<ArrayBuffer>): void {
    if (this.#strikes(this.#down, frame.length)) return;
    this.#network.tell(this.#down, 'sent', frame.length);
    this.#network.carryMessages(this.#down, frame, (arrived) => {
      if (!this.#isOpen || this.#isBroken) return;
      this.#network.tell(this.#down, 'delivered', arrived.length);
      this.onmessage?.({ data: arrived.buffer });
    });
  }

  /** The server ends the link, after what it sent before. */
  end(code: number, reason: string): void {
    this.#network.carry(this.#down, () => {
      if (!this.#isBroken) this.#ended(code, reason);
    });
  }

  /** The link breaks: what is under way is lost, and both sides notice as soon as they are looked at. */
  break(): void {
    if (this.#isBroken) return;
    this.#isBroken = true;
    // On a wire of its own: the others' frames are lost, not waited for.
    this.#network.carry(this.#network.wire(this.#up.link, 'up'), () => {
      if (!this.#isOpen) return;
      this.#leave();
      this.#ended(ABNORMAL, '');
    });
  }

  #strikes(wire: Wire, bytes: number): boolean {
    if (this.#isBroken) return true;
    if (!this.#network.breaks()) return false;
    this.#network.tell(wire, 'broken', bytes);
    this.break();
    return true;
  }

  #ended(code: number, reason: string): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.onclose?.({ code, reason });
  }
}
