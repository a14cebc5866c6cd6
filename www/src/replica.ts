/** What the page uses of a Tidewire client: the narrow view that both panes share, whatever feeds them. */
import type { Country } from './country'

export interface Status {
  readonly state: 'connecting' | 'live' | 'reconnecting' | 'offline' | 'closed'
  readonly reason?: string | undefined
  /** Milliseconds since 1970. */
  readonly nextAttemptAt?: number | undefined
  readonly error?: unknown
}

export interface Meta {
  /** -1 before the first value. */
  readonly sequence: number
  readonly epoch?: string | null | undefined
  readonly status: string
}

/** The replica of the datastore `countries`. Reads inside an effect are tracked. */
export interface Countries {
  rows(): readonly Country[]
  meta(): Meta
  ready(): Promise<unknown>
  set(country: Country): Promise<unknown>
  delete(key: string): Promise<unknown>
}

/** One pane's feed: `undefined` until it is open. */
export interface Feed {
  readonly status: () => Status
  readonly countries: Countries
}

export const COUNTRIES = 'countries'
export const COUNTRIES_OPTIONS = { kind: 'permanent', primary: 'cca3' } as const
