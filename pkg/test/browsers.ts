// Pages in real browsers, where the tests were told where these are: the native server serves a page, and is told by it
// what came out.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { WebSocket } from 'ws';
import { connect } from 'tidewire';
import { NativeServer } from './native.js';

/** What a page tells: how many checks it made, and what was wrong. */
export interface PageResult { checks: number; faults: string[] }

/** Where the browsers are, as `cargo xtask test` says. */
export const PROGRAMS = { chromium: process.env['TIDEWIRE_CHROMIUM'], firefox: process.env['TIDEWIRE_FIREFOX'] };

/** How each is started so that it opens one page without a window. */
const ARGUMENTS = {
  chromium: (profile: string) => [
    '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update',
    '--disable-sync', '--no-first-run', `--user-data-dir=${profile}`,
  ],
  firefox: (profile: string) => ['--headless', '--no-remote', '--profile', profile],
};

export type Engine = keyof typeof PROGRAMS;

/** The browsers that there are. */
export const ENGINES = (Object.keys(PROGRAMS) as Engine[]).filter((engine) => PROGRAMS[engine] !== undefined);

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** A server that serves a page made of one module of this folder. */
export class PageServer {
  private constructor(readonly native: NativeServer, readonly folder: string) {}

  /** `alias` names what the module gets in the place of other packages. */
  static async start(entry: string, alias: Record<string, string> = {}): Promise<PageServer> {
    const folder = mkdtempSync(join(tmpdir(), 'tidewire-page-'));
    writeFileSync(join(folder, 'index.html'), '<!doctype html><title>tests</title><script type="module" src="page.js"></script>');
    await build({
      entryPoints: [here(entry)], outfile: join(folder, 'page.js'), bundle: true, format: 'esm', logLevel: 'error', target: 'es2022',
      alias: {
        tidewire: here('../dist/inline.js'),
        'tidewire/server': here('../dist/server.inline.js'),
        ...Object.fromEntries(Object.entries(alias).map(([name, path]) => [name, here(path)])),
      },
    });
    return new PageServer(await NativeServer.start({}, ['--www', folder]), folder);
  }

  /** Opens the page in a browser, and resolves with what it tells. */
  async run(engine: Engine): Promise<PageResult> {
    const profile = mkdtempSync(join(tmpdir(), `tidewire-${engine}-`));
    const client = await connect(this.native.url, { WebSocket });
    const result = client.synced<PageResult>(`result:${engine}`);
    const browser = spawn(PROGRAMS[engine]!, [...ARGUMENTS[engine](profile), `http://${this.native.address}/?engine=${engine}`], { stdio: 'ignore', detached: true });
    const ended = new Promise((resolve) => browser.once('exit', resolve));
    try {
      await result.ready();
      return result.get()!;
    } finally {
      // A browser is several processes, and all of them are its group.
      process.kill(-browser.pid!, 'SIGKILL');
      await ended;
      client.close();
      rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
    }
  }

  async stop(): Promise<void> {
    await this.native.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
