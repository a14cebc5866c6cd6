// A way to the server in the page that can be cut, and that counts what travels.

import type { Link, LinkSource } from 'tidewire';

const utf8 = new TextDecoder();

/** The way to a server. */
export class Line {
  readonly #server: LinkSource;
  readonly #links = new Set<Link>();
  readonly #up: string[] = [];
  readonly #down: string[] = [];
  #isCut = false;

  constructor(server: LinkSource) {
    this.#server = server;
  }

  link(): Link {
    const link = this.#server.link();
    const send = link.send.bind(link);
    link.send = (bytes) => {
      this.#up.push(utf8.decode(bytes));
      send(bytes);
    };
    const down = this.#down;
    let hear: Link['onmessage'] = null;
    Object.defineProperty(link, 'onmessage', {
      get: () => hear && ((event: { data: ArrayBuffer }) => {
        down.push(utf8.decode(event.data));
        hear?.(event);
      }),
      set: (listener: Link['onmessage']) => { hear = listener; },
    });
    this.#links.add(link);
    if (this.#isCut) link.close(1006, 'the line is cut');
    return link;
  }

  cut(): void {
    this.#isCut = true;
    for (const link of this.#links) link.close(1006, 'the line is cut');
    this.#links.clear();
  }

  mend(): void {
    this.#isCut = false;
    globalThis.dispatchEvent?.(new Event('online'));
  }

  travelled(text: string): { readonly up: number; readonly down: number } {
    const count = (frames: readonly string[]): number => frames.reduce((sum, frame) => sum + frame.split(text).length - 1, 0);
    return { up: count(this.#up), down: count(this.#down) };
  }
}
