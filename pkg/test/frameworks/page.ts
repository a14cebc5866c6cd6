// What every framework's page has: a server in the page with five countries, the application's client over a line that
// can be cut and that counts what travels, another client, and a way to mount and unmount the application.

import { type Client, connect } from 'tidewire';
import { type DehydratedState, fromScript } from 'tidewire/ssr';
import { ReferenceServer } from 'tidewire/server';
import { COUNTRIES, type Country, NOTES, OPTIONS, renders } from './country.js';
import { Line } from './line.js';

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
  for (const [key, note] of Object.entries(NOTES)) server.put(key, note);
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
