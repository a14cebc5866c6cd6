// What every framework's page has: a server in the page with five countries, the application's client over a line that
// can be cut and that counts what travels, another client, and a way to mount and unmount the application.

import { type Client, connect, type Link } from 'tidewire';
import { type DehydratedState, fromScript } from 'tidewire/ssr';
import { ReferenceServer } from 'tidewire/server';
import { COUNTRIES, type Country, OPTIONS, renders } from './country.js';

/** What one framework does with a client. */
export interface Application {
  /** Shows the countries in `root`, as a server has rendered them from `state`. Returns what takes them away. */
  mount(root: HTMLElement, client: Client, state: DehydratedState | undefined): () => void;
}

/** What the test drives, as `window.page`. */
export interface Page {
  readonly server: ReferenceServer;
  /** Another client's write, or the server's own. */
  write(country: Country): Promise<void>;
  remove(cca3: string): Promise<void>;
  mount(): void;
  unmount(): void;
  cut(): void;
  mend(): void;
  /** Which countries were rendered since this was asked last. */
  rendered(): string[];
  /** How often a text has travelled: to the server, and from it. */
  travelled(text: string): { readonly up: number; readonly down: number };
}

declare global {
  interface Window {
    page?: Page;
  }
}

/** Brings the page up. The title says that it stands, or why it does not. */
export function run(application: Application): void {
  start(application).then(
    (page) => {
      window.page = page;
      document.title = 'up';
    },
    (error: unknown) => { document.title = `failed: ${error instanceof Error ? error.stack ?? error.message : String(error)}`; },
  );
}

async function start(application: Application): Promise<Page> {
  const server = await ReferenceServer.create({ seed: 7 });
  const store = server.datastore<Country>('countries', OPTIONS);
  for (const country of COUNTRIES) store.set(country);
  const line = new Line(server);
  const state = fromScript();
  const client = await connect(line);
  const other = (await connect(server)).datastore<Country>('countries');
  await other.ready();
  const root = document.getElementById('root')!;
  let unmount: (() => void) | undefined;
  const page: Page = {
    server,
    write: (country) => other.set(country),
    remove: (cca3) => other.delete(cca3),
    mount: () => { unmount = application.mount(root, client, state); },
    unmount: () => unmount?.(),
    rendered: () => {
      const keys = Object.keys(renders.counts);
      renders.counts = {};
      return keys;
    },
    cut: () => line.cut(),
    mend: () => line.mend(),
    travelled: (text) => line.travelled(text),
  };
  page.mount();
  return page;
}

const utf8 = new TextDecoder();

/** The way to the server. */
class Line {
  readonly #server: ReferenceServer;
  readonly #links = new Set<Link>();
  readonly #up: string[] = [];
  readonly #down: string[] = [];
  #isCut = false;

  constructor(server: ReferenceServer) {
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
    window.dispatchEvent(new Event('online'));
  }

  travelled(text: string): { readonly up: number; readonly down: number } {
    const count = (frames: readonly string[]): number => frames.reduce((sum, frame) => sum + frame.split(text).length - 1, 0);
    return { up: count(this.#up), down: count(this.#down) };
  }
}
