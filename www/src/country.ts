/** The record of this page: a country as the `world-countries` data set writes it, and how it is read for display. */

export interface NativeName {
  readonly common: string
  readonly official: string
}

export interface Country {
  readonly cca3: string
  readonly name: {
    readonly common: string
    readonly official: string
    readonly native?: Readonly<Record<string, NativeName>>
    readonly nativeName?: Readonly<Record<string, NativeName>>
  }
  readonly flag?: string
  readonly capital?: readonly string[]
  readonly region?: string
  readonly subregion?: string
  readonly area?: number
  readonly languages?: Readonly<Record<string, string>>
  readonly currencies?: Readonly<Record<string, { readonly name: string; readonly symbol?: string }>>
  readonly borders?: readonly string[]
  readonly latlng?: readonly number[]
}

/** A name with the language tag that lets the browser choose fonts and voices. */
export interface TaggedName {
  readonly lang: string
  readonly text: string
}

const collator = new Intl.Collator('en')
const numbers = new Intl.NumberFormat('en', { maximumFractionDigits: 2 })

export const byName = (a: Country, b: Country): number =>
  collator.compare(a.name.common, b.name.common) || collator.compare(a.cca3, b.cca3)

/** Every native name, in the data set's order. */
export function nativeNames(country: Country): TaggedName[] {
  const names = country.name.native ?? country.name.nativeName ?? {}
  return Object.entries(names).map(([code, name]) => ({ lang: languageTag(code), text: name.common }))
}

/** The one native name worth a line in a list: another script first, else another spelling, else none. */
export function nativeName(country: Country): TaggedName | undefined {
  const names = nativeNames(country).filter(({ text }) => text !== country.name.common)
  return names.find(({ text }) => !/\p{Script=Latin}/u.test(text)) ?? names[0]
}

export const capitals = (country: Country): string => (country.capital ?? []).filter(Boolean).join(', ')

/** The area for display; -1 stands for "unknown" in the data set. */
export const area = (country: Country): string =>
  country.area === undefined || country.area < 0 ? '' : numbers.format(country.area)

/** Degrees and minutes as a chart prints them: `26° 30′ N, 30° 00′ E`. */
export function coordinates(country: Country): string {
  const [latitude, longitude] = country.latlng ?? []
  if (latitude === undefined || longitude === undefined) return ''
  return `${degrees(latitude, 'N', 'S')}, ${degrees(longitude, 'E', 'W')}`
}

/** What a search looks through, folded once per record instead of once per keystroke. */
export function haystack(country: Country): string {
  return fold(
    [
      country.cca3,
      country.name.common,
      country.name.official,
      ...nativeNames(country).map(({ text }) => text),
      capitals(country),
      country.region ?? '',
      country.subregion ?? '',
      ...Object.values(country.languages ?? {}),
    ].join('\n'),
  )
}

/** Case and accents do not matter to somebody who types. */
export const fold = (text: string): string => text.normalize('NFD').replace(/\p{Mark}/gu, '').toLowerCase().trim()

function degrees(value: number, positive: string, negative: string): string {
  const minutes = Math.round(Math.abs(value) * 60)
  const rest = String(minutes % 60).padStart(2, '0')
  return `${Math.floor(minutes / 60)}° ${rest}′ ${value < 0 ? negative : positive}`
}

/** ISO 639-3 to the shortest BCP 47 tag: fonts are chosen by `zh`, not by `zho`. */
function languageTag(code: string): string {
  try {
    return Intl.getCanonicalLocales(code)[0] ?? code
  } catch {
    return ''
  }
}
