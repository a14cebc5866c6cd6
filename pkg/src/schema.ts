// The gate, seen from JavaScript: which shapes of schema there are, what comes out of them, and how one is run.

import { TidewireError } from './errors.js';

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

/** Everything that may be given as `schema`. */
export type Schema = TaggedSchema | StandardSchema;

/** The type of the values that pass `S`. */
export type Output<S> = S extends { readonly '~standard': { readonly types?: { readonly output: infer T } | undefined } }
  ? T
  : S extends { parse(value: never): infer R }
    ? R extends { readonly tag: 'Ok'; readonly value: infer T } ? T : never
    : unknown;

/** @internal The verdict on one value. */
export type Verdict = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly error: TidewireError };

/** @internal A schema made ready to run. It never throws. */
export type Gate = (value: unknown) => Verdict;

/** @internal The gate of `schema`; none where values are trusted. */
export function compileGate(schema: Schema | undefined): Gate | undefined {
  if (schema === undefined || schema === null) return undefined;
  // A library's schema may have a `parse` of its own that throws: the standard comes first.
  const standard = (schema as Partial<StandardSchema>)['~standard'];
  if (standard !== undefined && typeof standard.validate === 'function') {
    return guarded((value) => {
      const result = standard.validate(value);
      if (isThenable(result)) return refused('the schema is asynchronous; a gate must answer at once');
      return result.issues ? refused(describe(result.issues), result.issues) : { ok: true, value: result.value };
    });
  }
  const tagged = schema as Partial<TaggedSchema>;
  if (typeof tagged.parse === 'function') {
    return guarded((value) => {
      const result = (schema as TaggedSchema).parse(value) as ParseResult<unknown> | undefined;
      if (isThenable(result)) return refused('the schema is asynchronous; a gate must answer at once');
      if (result?.tag === 'Ok') return { ok: true, value: result.value };
      return result?.tag === 'Err'
        ? refused(typeof result.error === 'string' ? result.error : 'the value did not pass the schema', result.error)
        : refused("`parse` did not return { tag: 'Ok', value } or { tag: 'Err', error }", result);
    });
  }
  throw new TidewireError(
    'unsupported_schema',
    "this is no schema that can be run: give one with `parse` returning { tag: 'Ok' | 'Err' }, or a Standard Schema (zod, valibot, arktype); JSON Schema documents are not supported yet",
  );
}

function refused(message: string, cause?: unknown): Verdict {
  return { ok: false, error: new TidewireError('gate_failed', message, { cause }) };
}

function guarded(run: (value: unknown) => Verdict): Gate {
  return (value) => {
    try {
      return run(value);
    } catch (cause) {
      return refused(`the schema threw: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
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
