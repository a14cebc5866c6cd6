// The native server, as a process of its own.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Where the server's program is, if the tests were told. `cargo xtask test` tells them. */
export const SERVER_BIN = process.env['TIDEWIRE_SERVER'];

export class NativeServer {
  readonly #data = mkdtempSync(join(tmpdir(), 'tidewire-pkg-'));
  #process: ChildProcess | undefined;
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
    const child = spawn(SERVER_BIN!, ['serve', '--listen', this.address, '--data', this.#data, ...this.options], {
      env: { ...process.env, ...this.env }, stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#process = child;
    let said = '';
    this.address = await new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`${SERVER_BIN} does not listen after 10 s: ${said}`)), 10_000);
      const listen = (chunk: Buffer): void => {
        said += chunk.toString();
        const address = /listening on http:\/\/([^/\s]+)/.exec(said)?.[1];
        if (address === undefined) return;
        clearTimeout(late);
        resolve(address);
      };
      child.stdout!.on('data', listen);
      child.stderr!.on('data', listen);
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`${SERVER_BIN} ended with ${code}: ${said}`)));
    });
  }

  /** Sends its process a signal. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#process!.kill(signal);
  }

  /** Kills it without a word. */
  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.#data, { recursive: true, force: true });
  }
}
