// `tidewire/ssr`: what was shown on a server, taken along in the page. Nothing here needs the WebAssembly.

import { type DehydratedState, merged } from './state.js';
import type { Envelope } from './transport/transport.js';
import { fromJson } from './value/json.js';

export type { DehydratedDatastore, DehydratedObject, DehydratedState } from './state.js';

/** Something that shows values: a replica, a collection, a client with all of its replicas. */
export interface Dehydratable {
  dehydrate(): DehydratedState;
}

/** Values and positions of all these, as plain JSON. What has no value yet is left out: await its `ready()` before. */
export function dehydrate(...shown: readonly Dehydratable[]): DehydratedState {
  return merged(shown.map((each) => each.dehydrate()));
}

/** The name of the element that carries the state, where none is given. */
const ID = 'tidewire-state';

// Within a script element, HTML ends it at `</script`, and hides its end behind `<!--` and `<script`. The two separators
// are white space to JSON, but ends of lines to scripts of old.
const ESCAPES = /[<>&\u2028\u2029]/g;

/** A state as text that can stand inside of a script element: JSON, with everything escaped that HTML looks for. */
export function toText(state: DehydratedState): string {
  return JSON.stringify(state).replace(ESCAPES, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/**
 * A state as an element of HTML, to be read by {@link fromScript}. It holds data, so a content security policy that
 * forbids inline scripts lets it through.
 */
export function toScript(state: DehydratedState, id: string = ID): string {
  const name = id.replace(/[&"<>]/g, (char) => `&#${char.charCodeAt(0)};`);
  return `<script type="application/json" id="${name}">${toText(state)}</script>`;
}

/** The state that {@link toScript} has put into this page; nothing where there is none. */
export function fromScript(id: string = ID): DehydratedState | undefined {
  const text = document.getElementById(id)?.textContent;
  return text ? JSON.parse(text) as DehydratedState : undefined;
}

/** The envelope of an object in a state: the `seed` of a replica over a transport of its own. */
export function seedOf(state: DehydratedState, key: string): Envelope | undefined {
  const object = Object.hasOwn(state.objects, key) ? state.objects[key] : undefined;
  if (object === undefined || !('value' in object)) return undefined;
  const { value, schema_version, sequence, epoch } = object;
  return {
    value: fromJson(value), sequence, ...(schema_version === null ? {} : { schema_version }), ...(epoch === null ? {} : { epoch }),
  };
}
