// What a suite of vitest needs, in a page: it collects tests where they are declared, and runs them when it is asked to.

import { GLOBAL_EXPECT, JestAsymmetricMatchers, JestChaiExpect, JestExtend, setState } from '@vitest/expect';
import * as chai from 'chai';

chai.use(JestExtend);
chai.use(JestChaiExpect);
chai.use(JestAsymmetricMatchers);

type Hook = () => unknown;

interface Scope { readonly name: string; readonly before: Hook[]; readonly after: Hook[] }

const scopes: Scope[] = [];
const tests: { readonly name: string; readonly scopes: readonly Scope[]; readonly run: Hook }[] = [];

export const expect = chai.expect;

// Where its matchers keep what they count.
Object.defineProperty(globalThis, GLOBAL_EXPECT, { value: expect, configurable: true });
setState({ assertionCalls: 0, isExpectingAssertions: false, expectedAssertionsNumber: null, suppressedErrors: [] } as never, expect as never);

export function describe(name: string, declare: () => void): void {
  scopes.push({ name, before: [], after: [] });
  declare();
  scopes.pop();
}

export function test(name: string, run: Hook): void {
  tests.push({ name: [...scopes.map((scope) => scope.name), name].join(': '), scopes: [...scopes], run });
}

export const beforeEach = (hook: Hook): void => void scopes.at(-1)!.before.push(hook);
export const afterEach = (hook: Hook): void => void scopes.at(-1)!.after.push(hook);

const stubbed = new Map<string, unknown>();
const globals = globalThis as unknown as Record<string, unknown>;

export const vi = {
  stubGlobal(name: string, value: unknown): void {
    if (!stubbed.has(name)) stubbed.set(name, globals[name]);
    globals[name] = value;
  },
  unstubAllGlobals(): void {
    for (const [name, value] of stubbed) globals[name] = value;
    stubbed.clear();
  },
};

/** Runs all tests that were declared. Returns how many there are, and what failed. */
export async function runAll(): Promise<{ ran: number; failed: string[] }> {
  const failed: string[] = [];
  for (const { name, scopes: around, run } of tests) {
    try {
      for (const scope of around) for (const hook of scope.before) await hook();
      try {
        await run();
      } finally {
        for (const scope of around) for (const hook of scope.after) await hook();
      }
    } catch (error) {
      failed.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return { ran: tests.length, failed };
}
