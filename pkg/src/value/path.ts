// A part of a value: the way to it, its type, and how to look at it without making the rest.

import { NO_CELL } from '../core.js';
import type { Runtime } from '../runtime.js';
import { encode } from './encode.js';
import type { Made } from './tape.js';

/** The way to a part: `'author.name'`, `'tags.0'` or, for names with dots in them, `['author', 'name']`. */
export type Path = string | readonly (string | number)[];

/** @internal The steps of a path. */
export type Words = readonly string[];

type Step<V, K> = V extends null | undefined ? undefined
  : V extends readonly (infer E)[] ? K extends number | `${number}` ? E | undefined : undefined
    : K extends keyof V ? V[K]
      : K extends `${infer N extends number}` ? N extends keyof V ? V[N] : unknown
        : unknown extends V ? unknown
          : V extends object ? unknown : undefined;

/** The type of the part of `V` at the path `P`; `unknown` where the types do not say. */
export type PartAt<V, P extends Path> = P extends readonly []
  ? V
  : P extends readonly [infer K, ...infer Rest extends readonly (string | number)[]]
    ? PartAt<Step<V, K>, Rest>
    : P extends string
      ? string extends P ? unknown : P extends `${infer K}.${infer Rest}` ? PartAt<Step<V, K>, Rest> : Step<V, P>
      : unknown;

/** @internal */
export function wordsOf(path: Path): Words {
  return typeof path === 'string' ? path.split('.') : path.map(String);
}

/** @internal The part of a made value at the end of `words`. */
export function walk(value: unknown, words: Words): unknown {
  for (const word of words) {
    if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return undefined;
    const isThere = Array.isArray(value) ? String(Number(word) >>> 0) === word : Object.hasOwn(value, word);
    if (!isThere) return undefined;
    value = (value as Record<string, unknown>)[word];
  }
  return value;
}

/** @internal A part that is looked at again and again. Looking runs no code of users. */
export interface Part {
  read(): unknown;
  /** Lets go of what it keeps. */
  end(): void;
}

/**
 * @internal The part of the value in `cell()`, made alone; where that gives `undefined`, the part of `whole()`.
 */
export function partOf(
  runtime: Runtime, words: Words, cell: () => number | undefined, whole: () => unknown,
): Part {
  const path = encode(words);
  const made: Made = { cell: NO_CELL, base: NO_CELL, value: undefined };
  let { generation } = runtime;
  /** Forgets the cells of a core that is gone. */
  const renew = (): void => {
    if (generation === runtime.generation) return;
    generation = runtime.generation;
    made.cell = made.base = NO_CELL;
  };
  const end = (): void => {
    renew();
    runtime.maker.drop(made);
  };
  return {
    read() {
      renew();
      const shown = cell();
      if (shown === undefined) {
        end();
        return walk(whole(), words);
      }
      if (shown === made.cell) return made.value;
      made.cell = shown;
      if (shown !== NO_CELL) {
        runtime.maker.makePart(made, path);
      } else {
        end();
        made.value = undefined;
      }
      return made.value;
    },
    end,
  };
}
