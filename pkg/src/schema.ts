// The gate, seen from JavaScript: which shapes of schema there are, what comes out of them, and how one is run.

import { textOf, TidewireError } from './errors.js';
import { encode } from './value/encode.js';

/** What a `parse` of the first kind of schema returns. */
export type ParseResult<T> = { readonly tag: 'Ok'; readonly value: T } | { readonly tag: 'Err'; readonly error: unknown };

/** A schema with a `parse` that returns a tagged result and never throws. */
export interface TaggedSchema<T = unknown> {
  parse(value: unknown): ParseResult<T>;
}

/** A schema of any library that follows the Standard Schema specification, version 1: zod, valibot, arktype and others. */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

/** What `validate` of a Standard Schema returns. */
export type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: ReadonlyArray<StandardIssue> };

/** One complaint of a Standard Schema. */
export interface StandardIssue {
  readonly message: string;
  readonly path?: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }> | undefined;
}

/** A JSON Schema of version 2020-12, written by hand or by TypeBox. docs/gate.md has the keywords. */
export interface JsonSchema {
  readonly parse?: never;
  readonly '~standard'?: never;
  // Options of what is synced, which come after its schema.
  readonly kind?: never;
  readonly primary?: never;
  readonly presence?: never;
  readonly create?: never;
  readonly createCell?: never;
  readonly [keyword: string]: unknown;
}

/** Everything that may be given as `schema`. */
export type Schema = TaggedSchema | StandardSchema | JsonSchema;

/** The type of the values that pass `S`. */
export type Output<S> = S extends { readonly '~standard': { readonly types?: { readonly output: infer T } | undefined } }
  ? T
  : S extends { parse(value: never): infer R }
    ? R extends { readonly tag: 'Ok'; readonly value: infer T } ? T : never
    : S extends { readonly static: infer T } ? T : unknown;

/** @internal The verdict on one value. */
export type Verdict = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly error: TidewireError };

/** @internal What the core makes a gate of that runs over encoded values. */
export interface Compiled {
  readonly bytes: Uint8Array;
  /** Whether a library stands behind it, which is asked about values that do not pass. */
  readonly isLibrary: boolean;
  /** The regular expression that a pattern of `bytes` stands for. It may throw. */
  readonly regex: (pattern: string) => RegExp;
}

/** @internal A schema made ready to run. It never throws. */
export interface Gate {
  (value: unknown): Verdict;
  compiled?: Compiled;
  /** Resolves when it is known whether there is `compiled`. */
  loading?: Promise<void>;
}

/** Where it is there at all. */
declare const process: { readonly env: { readonly NODE_ENV?: string } };

const gates = new WeakMap<object, Gate>();

/** @internal The gate of `schema`, the same one for the same schema; none where values are trusted. */
export function compileGate(schema: Schema | undefined): Gate | undefined {
  if (schema === undefined || schema === null) return undefined;
  const known = gates.get(schema);
  if (known !== undefined) return known;
  const gate = makeGate(schema);
  gates.set(schema, gate);
  return gate;
}

function makeGate(schema: Schema): Gate {
  const gate = runner(schema);
  if (gate !== undefined) {
    const standard = (schema as Partial<StandardSchema>)['~standard'];
    return typeof standard?.validate === 'function' ? compileLibrary(gate, schema, standard.vendor) : gate;
  }
  if (typeof schema === 'object') return compileJson(schema);
  throw new TidewireError(
    'unsupported_schema',
    "this is no schema that can be run: give one with `parse` returning { tag: 'Ok' | 'Err' }, a Standard Schema (zod, valibot, arktype), or a JSON Schema",
  );
}

/** @internal What runs a schema in JavaScript; nothing for a JSON Schema. */
export function runner(schema: Schema): Gate | undefined {
  // A library's schema may have a `parse` of its own that throws: the standard comes first.
  const standard = (schema as Partial<StandardSchema>)['~standard'];
  if (standard !== undefined && typeof standard.validate === 'function') {
    return guarded((value) => {
      const result = standard.validate(value);
      if (isThenable(result)) return refused('the schema is asynchronous; a gate must answer at once');
      return result.issues ? refused(describe(result.issues), result.issues) : { ok: true, value: result.value };
    });
  }
  if (typeof (schema as Partial<TaggedSchema>).parse !== 'function') return undefined;
  return guarded((value) => {
    const result = (schema as TaggedSchema).parse(value) as ParseResult<unknown> | undefined;
    if (isThenable(result)) return refused('the schema is asynchronous; a gate must answer at once');
    if (result?.tag === 'Ok') return { ok: true, value: result.value };
    return result?.tag === 'Err'
      ? refused(typeof result.error === 'string' ? result.error : 'the value did not pass the schema', result.error)
      : refused("`parse` did not return { tag: 'Ok', value } or { tag: 'Err', error }", result);
  });
}

function compileJson(schema: object): Gate {
  let compiled: Compiled;
  try {
    compiled = { bytes: encode(schema), isLibrary: false, regex: (pattern) => new RegExp(pattern, 'u') };
  } catch (cause) {
    throw new TidewireError('unsupported_schema', 'this is no JSON Schema: it holds what JSON has not', { cause });
  }
  return Object.assign(() => refused('a JSON Schema is run by the core'), { compiled });
}

type Library = typeof import('./gate/library.js');

let library: Library | undefined;

/** Compiles a library's schema, once the code for it is here: pages without such a schema do not load it. */
function compileLibrary(gate: Gate, schema: object, vendor: string): Gate {
  if (library !== undefined) return Object.assign(gate, convertWith(library, schema, vendor));
  gate.loading = import('./gate/library.js').then(
    (loaded) => {
      library = loaded;
      Object.assign(gate, convertWith(loaded, schema, vendor));
    },
    // Without it the library runs, as it does now.
    () => {},
  ).then(() => void delete gate.loading);
  return gate;
}

function convertWith({ convert, Lossy }: Library, schema: object, vendor: string): { compiled?: Compiled } {
  try {
    const { schema: converted, patterns } = convert(schema, vendor);
    return { compiled: { bytes: encode(converted), isLibrary: true, regex: (pattern) => patterns[Number.parseInt(pattern, 10)]! } };
  } catch (reason) {
    explain(reason instanceof Lossy ? reason.message : 'its definition is of no known form');
    return {};
  }
}

/** @internal Says in development why a schema is run by its library, on decoded values. */
export function explain(reason: string): void {
  try {
    // Bundlers put the text of the environment here; elsewhere there is none, and nothing is said.
    if (process.env.NODE_ENV === 'development') console.info(`tidewire: a schema is run in JavaScript, value by value: ${reason}`);
  } catch {
    // No environment.
  }
}

function refused(message: string, cause?: unknown): Verdict {
  return { ok: false, error: new TidewireError('gate_failed', message, { cause }) };
}

function guarded(run: (value: unknown) => Verdict): Gate {
  return (value) => {
    try {
      return run(value);
    } catch (cause) {
      return refused(`the schema threw: ${textOf(cause)}`, cause);
    }
  };
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | undefined)?.then === 'function';
}

function describe(issues: ReadonlyArray<StandardIssue>): string {
  const [first] = issues;
  if (first === undefined) return 'the value did not pass the schema';
  const path = first.path?.map((step) => String(typeof step === 'object' ? step.key : step)).join('.');
  return path ? `${path}: ${first.message}` : first.message;
}
