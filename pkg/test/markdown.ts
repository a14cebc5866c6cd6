// The blocks of code in the repository's Markdown, and how each kind is tried.

import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { transformSync } from 'esbuild';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export interface Block {
  /** `docs/start.md:12` */
  readonly where: string;
  readonly file: string;
  readonly language: string;
  /** Why it is not run, if it is not. */
  readonly notRun: string | undefined;
  readonly code: string;
}

/** Every Markdown file that people read. */
export function files(): string[] {
  const below = (folder: string): string[] => readdirSync(join(ROOT, folder)).filter((name) => name.endsWith('.md')).map((name) => join(folder, name));
  return [...below('.'), ...below('docs'), ...below('pkg')];
}

export function blocks(): Block[] {
  return files().flatMap((file) => {
    const text = readFileSync(join(ROOT, file), 'utf8');
    return [...text.matchAll(/^( *)```([^\n]*)\n([^]*?)^\1```$/gm)].map(({ 2: info = '', 3: code = '', index }) => ({
      where: `${file}:${text.slice(0, index).split('\n').length}`,
      file,
      language: info.split(' ', 1)[0]!,
      notRun: /not run: (.+)$/.exec(info)?.[1],
      code,
    }));
  });
}

/** The pages that another test runs, because they need more than a process: a browser, a framework, a broker. */
export function triedElsewhere(): Set<string> {
  const folder = join(ROOT, 'pkg/test');
  const others = readdirSync(folder).filter((name) => name.endsWith('.test.ts') && name !== 'markdown.test.ts').map((name) => readFileSync(join(folder, name), 'utf8')).join('\n');
  return new Set(files().filter((file) => file.startsWith('docs/') && new RegExp(`\\b${file.slice('docs/'.length).replace('.', '\\.')}\\b`).test(others)));
}

/** What the block says that it prints: the comments `// prints: …`. */
export function promised(code: string): string[] {
  return [...code.matchAll(/\/\/ prints: (.+)$/gm)].map(([, text]) => text!);
}

// Programs of the docs speak to servers of the network. Here all of these are one server in the process itself. They need
// not end, as a page does not.
const HOST = `
import { ReferenceServer } from 'tidewire/server'
const server = await ReferenceServer.create()
globalThis.WebSocket = function () { return server.link() }
const answers = { '/token': 'a token', '/v1/objects/price:tea': { value: { pence: 480 }, sequence: 7 } }
globalThis.fetch = async (url) => {
  const answer = answers[new URL(url, 'https://example.com').pathname]
  return new Response(typeof answer === 'string' ? answer : JSON.stringify(answer), { status: answer === undefined ? 404 : 200 })
}
await import('./program.mjs')
await new Promise((resolve) => setTimeout(resolve, 50))
process.exit(0)
`;

/** Runs JavaScript or TypeScript as a program of its own against the built package, and returns the lines it printed. */
export async function run({ language, code }: Block): Promise<string[]> {
  // Below the package, so that its name resolves to itself.
  const folder = mkdtempSync(join(ROOT, 'pkg/dist/docs-'));
  try {
    writeFileSync(join(folder, 'host.mjs'), HOST);
    writeFileSync(join(folder, 'program.mjs'), language === 'ts' ? transformSync(code, { loader: 'ts' }).code : code);
    const { stdout } = await promisify(execFile)(process.execPath, ['host.mjs'], { cwd: folder, timeout: 20_000 });
    return stdout.trim() === '' ? [] : stdout.trim().split('\n');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What the compiler says of programs in TypeScript, all at once. */
export async function typeErrors(programs: readonly Block[]): Promise<string> {
  // Beside the tests, where their settings find every package.
  const folder = mkdtempSync(join(ROOT, 'pkg/dist/docs-types-'));
  try {
    programs.forEach(({ code, where }, at) => writeFileSync(join(folder, `${at}.ts`), `// ${where}\n${code}\nexport {}\n`));
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ extends: '../../tsconfig.json', compilerOptions: { noEmit: true, noUnusedLocals: false }, include: ['*.ts', '../../src/glue.d.ts'] }));
    const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc');
    return await promisify(execFile)(process.execPath, [tsc, '-p', folder]).then(() => '', ({ stdout }: { stdout: string }) => stdout);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');
const exists = (path: string): boolean => {
  try {
    return readdirSync(join(ROOT, dirname(path))).includes(path.split('/').at(-1)!);
  } catch {
    return false;
  }
};
const sources = (folder: string): string => readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.rs')).map((name) => read(join(folder, name))).join('\n');
/** `--write-rate` is a field `write_rate`. */
const hasFields = (rust: string, flags: readonly string[]): string | undefined =>
  flags.filter((flag) => !['--help', '--version'].includes(flag)).find((flag) => !new RegExp(`\\b${flag.slice(2).replaceAll('-', '_')}:`).test(rust));
/** `tidewire-server serve` is a variant `Serve`. */
const hasVariant = (rust: string, name: string): boolean => {
  const variant = name.split('-').map((word) => word[0]!.toUpperCase() + word.slice(1)).join('');
  return new RegExp(`^    ${variant}\\b`, 'm').test(rust) || name === 'help';
};

/** Programs that are not ours. */
const FOREIGN = ['curl', 'openssl', 'wasm-pack', 'git', 'rustup', 'docker', 'export', 'cd', 'nats-server'];

/** What is wrong with a line for a shell: a command, script, file or flag that does not exist. */
export function faultOf(line: string): string | undefined {
  const commands = line.replace(/(^|\s)#.*$/, '').split(/&&|\||;/).map((command) => command.trim()).filter(Boolean);
  for (const command of commands) {
    const words = command.split(/\s+/).filter((word) => !/^[A-Z_]+=/.test(word));
    const flags = words.filter((word) => word.startsWith('--') && word !== '--').map((flag) => flag.split('=', 1)[0]!);
    const after = (flag: string): string | undefined => (words.includes(flag) ? words[words.indexOf(flag) + 1] : undefined);
    const [program = '', second = '', third = ''] = words;
    const fault = ((): string | undefined => {
      switch (program) {
        case 'cargo': {
          if (second === 'xtask') {
            const rust = sources('xtask/src');
            if (!hasVariant(rust, third)) return `there is no task ${third}`;
            // What follows the name of a benchmark belongs to its own program.
            return third === 'bench' ? undefined : hasFields(rust, flags);
          }
          const test = after('--test');
          if (test && !exists(`tests/${test}.rs`) && !exists(`tests/${test}`)) return `there is no test ${test}`;
          return ['test', 'bench', 'add', 'build', 'run', 'install', 'doc'].includes(second) ? undefined : `cargo has no ${second} here`;
        }
        case 'npm': {
          if (['install', 'ci', 'i'].includes(second)) return undefined;
          const { scripts } = JSON.parse(read(`${after('--workspace') ?? '.'}/package.json`)) as { scripts?: Record<string, string> };
          const script = second === 'run' ? third : second;
          return scripts?.[script] ? undefined : `there is no script ${script}`;
        }
        case 'node':
          return exists(second) ? undefined : `there is no file ${second}`;
        case 'tidewire-server': {
          const rust = sources('crates/server/src');
          return hasVariant(rust, second) ? hasFields(rust, flags) : `there is no command ${second}`;
        }
        case 'tidewire-load': {
          const rust = sources('crates/load/src');
          return hasVariant(rust, second) ? hasFields(rust, flags) : `there is no command ${second}`;
        }
        default:
          return FOREIGN.includes(program) ? undefined : `nobody knows the command ${program}`;
      }
    })();
    if (fault) return `${command}: ${fault}`;
  }
  return undefined;
}
