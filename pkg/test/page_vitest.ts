// As much of Vitest as a suite needs that also runs in a page: the bundle of the page takes this for `vitest`.

type Run = () => unknown;

interface Group {
  readonly name: string;
  readonly before: Run[];
  readonly after: Run[];
}

interface Planned {
  readonly name: string;
  readonly groups: readonly Group[];
  readonly run: Run;
}

const planned: Planned[] = [];
const open: Group[] = [];
const stubbed = new Map<string, unknown>();

export function describe(name: string, plan: () => void): void {
  open.push({ name, before: [], after: [] });
  plan();
  open.pop();
}

export function test(name: string, run: Run): void {
  planned.push({ name: [...open.map((group) => group.name), name].join(' > '), groups: [...open], run });
}

export function beforeEach(run: Run): void {
  open.at(-1)!.before.push(run);
}

export function afterEach(run: Run): void {
  open.at(-1)!.after.push(run);
}

export const vi = {
  stubGlobal(name: string, value: unknown): void {
    const all = globalThis as unknown as Record<string, unknown>;
    stubbed.set(name, all[name]);
    all[name] = value;
  },
  unstubAllGlobals(): void {
    for (const [name, value] of stubbed) (globalThis as unknown as Record<string, unknown>)[name] = value;
    stubbed.clear();
  },
};

/** Whether `actual` is `expected`; of objects in it, with `partly`, only what `expected` names. */
function equals(actual: unknown, expected: unknown, partly = false): boolean {
  if (Object.is(actual, expected)) return true;
  if (typeof actual !== 'object' || typeof expected !== 'object' || actual === null || expected === null) return false;
  if (Array.isArray(actual) !== Array.isArray(expected) || actual instanceof Uint8Array !== expected instanceof Uint8Array) return false;
  const [have, want] = [actual, expected].map((value) => new Map(Object.entries(value).filter(([, field]) => field !== undefined))) as [Map<string, unknown>, Map<string, unknown>];
  if ((!partly || Array.isArray(expected)) && have.size !== want.size) return false;
  return [...want].every(([name, field]) => have.has(name) && equals(have.get(name), field, partly));
}

function check(holds: boolean, actual: unknown, what: string, expected: unknown): void {
  if (!holds) throw new Error(`${JSON.stringify(actual)} ${what} ${JSON.stringify(expected)}`);
}

export function expect(actual: unknown) {
  return {
    toBe: (expected: unknown) => check(Object.is(actual, expected), actual, 'is not', expected),
    toEqual: (expected: unknown) => check(equals(actual, expected), actual, 'is not equal to', expected),
    toMatchObject: (expected: unknown) => check(equals(actual, expected, true), actual, 'does not match', expected),
    not: { toThrow: () => void (actual as Run)() },
  };
}

/** Runs what was planned, one after the other, and says what failed. */
export async function runPlanned(): Promise<{ checks: number; faults: string[] }> {
  const faults: string[] = [];
  for (const { name, groups, run } of planned) {
    try {
      for (const { before } of groups) for (const each of before) await each();
      try {
        await run();
      } finally {
        for (const { after } of groups) for (const each of after) await each();
      }
    } catch (error) {
      faults.push(`${name}: ${String((error as Error)?.stack ?? error)}`);
    }
  }
  return { checks: planned.length, faults };
}
