/** What feeds a pane: a client's status and its replica of the datastore `countries`. */
import type { ClientStatus, Collection } from 'tidewire'
import type { Country } from './country'

export type Countries = Collection<Country>

/** The client's own states, and that of a pane whose client could not be made. */
export type Status = ClientStatus | { readonly state: 'closed'; readonly error: Error | null }

export interface Feed {
  /** A tracked read. */
  readonly status: () => Status
  readonly countries: Countries
}

export const COUNTRIES = 'countries'
export const COUNTRIES_OPTIONS = { kind: 'permanent', primary: 'cca3' } as const
