// The native server, as a process of its own.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Program } from './program.js';

/** Where the server's program is, if the tests were told. `cargo xtask test` tells them. */
export const SERVER_BIN = process.env['TIDEWIRE_SERVER'];

export class NativeServer {
  readonly #data = mkdtempSync(join(tmpdir(), 'tidewire-pkg-'));
  #process: Program | undefined;
  address = '127.0.0.1:0';

  /**
   * @param env What its environment has beside this process's.
   * @param options What is said on its command line beside where it listens and keeps its data.
   */
  constructor(readonly env: Record<string, string> = {}, readonly options: readonly string[] = []) {}

  static async start(env?: Record<string, string>, options?: readonly string[]): Promise<NativeServer> {
    const server = new NativeServer(env, options);
    await server.start();
    return server;
  }

  get url(): string {
    return `ws://${this.address}/v1/sync`;
  }

  /** Starts it, on the same address and data as before. */
  async start(): Promise<void> {
    const args = ['serve', '--listen', this.address, '--data', this.#data, ...this.options];
    this.#process = await Program.start(SERVER_BIN!, args, /listening on http:\/\/([^/\s]+)/, { env: { ...process.env, ...this.env } });
    this.address = this.#process.ready[1]!;
  }

  /** Sends its process a signal. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#process!.signal(signal);
  }

  /** Kills it without a word. */
  async kill(): Promise<void> {
    const program = this.#process;
    this.#process = undefined;
    await program?.kill();
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.#data, { recursive: true, force: true });
  }
}
