// The regular expressions of compiled gates, which the core knows by number.

const made: RegExp[] = [];

/** Makes what a gate's text stands for. */
let make: (text: string) => RegExp;

/** Has `compile` run by a core: what it asks for, `by` makes. */
export function making<T>(by: (text: string) => RegExp, compile: () => T): T {
  make = by;
  return compile();
}

/** @internal What the core calls. */
export const host = {
  /** The number of a regular expression, or -1 where there is none of that text. */
  prepare(text: string): number {
    try {
      const regex = make(text);
      // Gates are compiled again in other cores.
      const known = made.findIndex((each) => String(each) === String(regex));
      return known < 0 ? made.push(regex) - 1 : known;
    } catch {
      return -1;
    }
  },
  isMatch(number: number, text: string): boolean {
    return made[number]!.test(text);
  },
};
