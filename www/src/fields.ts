/** The fields that can be edited: how each is read from a record, checked, and written into the next one. */
import { capitals, type Country } from './country'

export interface Field {
  readonly id: string
  readonly label: string
  /** A word behind the label: the unit, or how to write several. */
  readonly hint?: string
  readonly choices?: readonly string[]
  readonly numeric?: boolean
  readonly read: (country: Country) => string
  /** The reason why this text cannot be stored, if there is one. */
  readonly refuse?: (text: string) => string | undefined
  readonly write: (country: Country, text: string) => Country
}

const REGIONS = ['Africa', 'Americas', 'Antarctic', 'Asia', 'Europe', 'Oceania'] as const

export const FIELDS: readonly Field[] = [
  {
    id: 'name',
    label: 'Common name',
    read: (country) => country.name.common,
    refuse: (text) => (text === '' ? 'Enter a name.' : undefined),
    write: (country, text) => ({ ...country, name: { ...country.name, common: text } }),
  },
  {
    id: 'official',
    label: 'Official name',
    read: (country) => country.name.official,
    write: (country, text) => ({ ...country, name: { ...country.name, official: text } }),
  },
  {
    id: 'capital',
    label: 'Capital',
    hint: 'several with commas',
    read: capitals,
    write: (country, text) => ({ ...country, capital: list(text) }),
  },
  {
    id: 'area',
    label: 'Area',
    hint: 'km²',
    numeric: true,
    read: (country) => (country.area === undefined || country.area < 0 ? '' : String(country.area)),
    refuse: (text) => (text === '' || parseArea(text) !== undefined ? undefined : 'Enter a number, such as 49037.'),
    write: (country, text) => {
      const { area: _, ...rest } = country
      const area = parseArea(text)
      return area === undefined ? rest : { ...rest, area }
    },
  },
  {
    id: 'region',
    label: 'Region',
    choices: REGIONS,
    read: (country) => country.region ?? '',
    write: (country, text) => ({ ...country, region: text }),
  },
  {
    id: 'subregion',
    label: 'Subregion',
    read: (country) => country.subregion ?? '',
    write: (country, text) => ({ ...country, subregion: text }),
  },
]

/** A record that is new: nothing but its code, ready for the fields to be written into. */
export const blank = (cca3: string): Country => ({ cca3, name: { common: '', official: '', native: {} }, flag: '' })

export function refuseCode(text: string, isTaken: (key: string) => string | undefined): string | undefined {
  if (!/^[A-Z]{3}$/.test(text)) return 'Enter three letters, such as ATL.'
  const owner = isTaken(text)
  return owner === undefined ? undefined : `${text} belongs to ${owner}. Choose another code.`
}

const list = (text: string): string[] =>
  text
    .split(',')
    .map((part) => part.trim())
    .filter(Boolean)

function parseArea(text: string): number | undefined {
  const value = Number(text.replace(/[\s,_]/g, ''))
  return text !== '' && Number.isFinite(value) && value >= 0 ? value : undefined
}
