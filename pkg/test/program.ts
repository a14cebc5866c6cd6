// A program that a test starts, in a process of its own.

import { type ChildProcess, spawn } from 'node:child_process';

/** How a program is started. */
export interface ProgramOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** What to do where it cannot be started at all. */
  readonly hint?: string;
}

/** How long a program may take until it is ready, in milliseconds: a hundred times what any takes alone. */
const LIMIT = 10_000;

export class Program {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, readonly ready: RegExpExecArray) {
    this.#child = child;
  }

  /** Starts `file`, and resolves when `ready` matches what it has said. */
  static async start(file: string, args: readonly string[], ready: RegExp, { hint, ...options }: ProgramOptions = {}): Promise<Program> {
    const child = spawn(file, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    try {
      return new Program(child, await new Promise((resolve, reject) => {
        const late = setTimeout(() => reject(new Error(`${file} is not ready after ${LIMIT / 1_000} s: ${said}`)), LIMIT);
        const listen = (chunk: Buffer): void => {
          said += chunk.toString();
          const found = ready.exec(said);
          if (found === null) return;
          clearTimeout(late);
          resolve(found);
        };
        child.stdout.on('data', listen);
        child.stderr.on('data', listen);
        child.once('error', ({ message }) => reject(new Error(`${file} cannot be started (${message})${hint === undefined ? '' : `; ${hint}`}`)));
        child.once('exit', (code) => reject(new Error(`${file} ended with ${code}: ${said}`)));
      }));
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Kills it without a word. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await ended;
  }
}
