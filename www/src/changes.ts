/**
 * What changed between two looks at a collection. Untouched records keep their identity, so the walk costs one
 * comparison per record; contents are compared only where identity differs.
 */
import { area, capitals, type Country } from './country'

export type Change =
  | { readonly kind: 'added'; readonly country: Country }
  | { readonly kind: 'removed'; readonly country: Country }
  | { readonly kind: 'changed'; readonly country: Country; readonly what: string }

export type Rows = ReadonlyMap<string, Country>

export function difference(before: Rows, after: Rows): Change[] {
  const changes: Change[] = []
  for (const [key, country] of after) {
    const old = before.get(key)
    if (old === undefined) changes.push({ kind: 'added', country })
    else if (old !== country && !isEqual(old, country)) changes.push({ kind: 'changed', country, what: describe(old, country) })
  }
  for (const [key, country] of before) if (!after.has(key)) changes.push({ kind: 'removed', country })
  return changes
}

const described: ReadonlyArray<readonly [string, (country: Country) => string]> = [
  ['name', (country) => country.name.common],
  ['official name', (country) => country.name.official],
  ['capital', capitals],
  ['region', (country) => country.region ?? ''],
  ['subregion', (country) => country.subregion ?? ''],
  ['area', area],
]

function describe(old: Country, country: Country): string {
  const parts = described
    .map(([label, read]) => [label, read(old), read(country)] as const)
    .filter(([, was, is]) => was !== is)
    .map(([label, was, is]) => `${label} ${was || 'none'} → ${is || 'none'}`)
  return parts.join('; ') || 'other fields'
}

function isEqual(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (Array.isArray(a) !== Array.isArray(b)) return false
  const keys = Object.keys(a)
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => key in b && isEqual((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]))
  )
}
