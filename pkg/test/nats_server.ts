// nats-server, as a process of its own.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Program } from './program.js';

/** Debian puts it where only root's search path leads. */
const PATH = `${process.env['PATH'] ?? ''}:/usr/sbin:/usr/local/sbin`;

/** A port that nobody listens on. */
async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve, reject) => probe.once('error', reject).listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as { port: number };
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

export class NatsServer {
  readonly #directory = mkdtempSync(join(tmpdir(), 'tidewire-nats-'));
  #process: Program | undefined;

  private constructor(readonly port: number, readonly webSocketPort: number, readonly settings: string) {}

  /** One with JetStream, over a directory of its own: without one it would find what others have left. */
  static async startWithStreams(): Promise<NatsServer> {
    return NatsServer.start('jetstream { store_dir: "streams" }');
  }

  /** @param settings What its configuration has beside where it listens. */
  static async start(settings = ''): Promise<NatsServer> {
    const server = new NatsServer(await freePort(), await freePort(), settings);
    await server.start();
    return server;
  }

  get url(): string {
    return `nats://127.0.0.1:${this.port}`;
  }

  get webSocketUrl(): string {
    return `ws://127.0.0.1:${this.webSocketPort}`;
  }

  /** Starts it, on the same ports as before. */
  async start(): Promise<void> {
    const file = join(this.#directory, 'nats.conf');
    writeFileSync(file, `listen: "127.0.0.1:${this.port}"\nwebsocket { listen: "127.0.0.1:${this.webSocketPort}", no_tls: true }\n${this.settings}\n`);
    this.#process = await Program.start('nats-server', ['-c', file], /Server is ready/, {
      cwd: this.#directory, env: { ...process.env, PATH }, hint: '`cargo xtask test` installs it',
    });
  }

  /** Kills it without a word. */
  async kill(): Promise<void> {
    const program = this.#process;
    this.#process = undefined;
    await program?.kill();
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
