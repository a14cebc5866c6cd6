// What an application says about its values and its users, in the terms of the server's core.

import { TidewireError } from '../errors.js';
import { runner, type Schema } from '../schema.js';
import { decode } from '../value/decode.js';
import { encode } from '../value/encode.js';
import type { ServerRules } from './core.js';

/** Who somebody is, and what they may do until when. */
export interface Grant {
  /** Whose mailbox it reads, and as whom it sees values. */
  readonly user: string;
  /** When it ends, in milliseconds since 1970. Default: never. */
  readonly expires?: number | undefined;
  /** What may be read, as patterns such as `object:user:*` or `datastore:todos`. Default: everything. */
  readonly read?: readonly string[] | undefined;
  /** What may be written. Default: everything. */
  readonly write?: readonly string[] | undefined;
}

/**
 * Makes a grant of a token; a string stands for a user who may do everything. What it throws, `null` and `false` refuse the
 * token. It answers at once, and calls nothing of the server.
 */
export type Authorize = (token: string | undefined, context: { readonly now: number }) => Grant | string | null | false | undefined;

/** Somebody looks at a value. */
export interface View {
  /** Who: the user of its token. */
  readonly viewer: string;
  /** The key of the object or record. */
  readonly key: string;
  /** The whole value. */
  readonly value: unknown;
}

/** Which fields of a value are seen by whom; `'*'` stands for the others. What is not named, nobody sees. */
export type Projection = Readonly<Record<string, boolean | ((view: View) => boolean)>>;

/** What holds for the values of some datastores. */
export interface DatastoreRule {
  /** The gate of every write: a schema with `parse`, or a Standard Schema. What it changes is not stored. */
  readonly schema?: Schema | undefined;
  /** Stamped on what is written, as in `"3.1"`. */
  readonly schemaVersion?: string | undefined;
  /** Which fields are seen by whom. Default: all by everybody. */
  readonly project?: Projection | undefined;
}

/** What holds for the values of some objects. */
export interface ObjectRule extends DatastoreRule {
  /** Computes an object that was never written, when somebody first asks for it; `undefined` where there is none. */
  readonly resolve?: ((key: string, context: { readonly now: number }) => unknown) | undefined;
}

/** The rules of a server. Patterns are names, or beginnings of names followed by `*`; the most specific one holds. */
export interface Rules {
  authorize?: Authorize | undefined;
  objects?: Readonly<Record<string, ObjectRule>> | undefined;
  datastores?: Readonly<Record<string, DatastoreRule>> | undefined;
}

/** The core's rule that lets everybody see a field. */
const EVERYONE = 'everyone';

/** Tells the core all rules. Who has the token `own` is the server's own, and may read everything. */
export function tell(core: ServerRules, { authorize, objects = {}, datastores = {} }: Rules, own: string): void {
  if (authorize) {
    core.authorize((now, token) => {
      if (token === own) return [own, undefined, undefined, []];
      const granted = authorize(token, { now });
      if (!granted) throw new Error(token === undefined ? 'a token is needed' : 'the token is not accepted');
      const { user, expires, read, write }: Grant = typeof granted === 'string' ? { user: granted } : granted;
      return [user, expires, read, write];
    });
  }
  for (const [pattern, rule] of Object.entries(objects)) {
    tellRule(core, true, pattern, rule);
    const { resolve } = rule;
    if (!resolve) continue;
    core.resolver(pattern, (now, key) => {
      const value = resolve(key, { now });
      return value === undefined || value === null ? undefined : encode(value);
    });
  }
  for (const [pattern, rule] of Object.entries(datastores)) tellRule(core, false, pattern, rule);
}

function tellRule(core: ServerRules, isObject: boolean, pattern: string, { schema, schemaVersion, project }: DatastoreRule): void {
  const shown: string[] | undefined = project && [];
  for (const [field, rule] of Object.entries(project ?? {})) {
    if (rule === false) continue;
    let name = EVERYONE;
    if (rule !== true) {
      name = `${isObject ? 'object' : 'datastore'} ${pattern} ${field}`;
      core.viewer(name, (viewer, key, bytes) => rule({ viewer, key, value: decode(bytes) }));
    }
    shown!.push(field, name);
  }
  core.rule(isObject, pattern, schemaVersion, schema && writeGate(schema, pattern), shown);
}

/** Says what is wrong with an encoded value, if anything. */
function writeGate(schema: Schema, pattern: string): (bytes: Uint8Array) => string | undefined {
  const gate = runner(schema);
  if (gate === undefined) {
    throw new TidewireError(
      'unsupported_schema',
      `the server in the page runs no JSON Schema: give "${pattern}" a schema with \`parse\`, or a Standard Schema (zod, valibot, arktype)`,
    );
  }
  return (bytes) => {
    const verdict = gate(decode(bytes));
    return verdict.ok ? undefined : verdict.error.message;
  };
}
