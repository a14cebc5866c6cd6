// The records that every framework's page shows.

import { z } from 'zod';

export const Country = z.object({ cca3: z.string(), name: z.string(), capital: z.string() });

export type Country = z.infer<typeof Country>;

/** What there is to say of a country that was chosen. */
export const Note = z.object({ text: z.string() });

export const NOTES: Readonly<Record<string, z.infer<typeof Note>>> = {
  'note:ITA': { text: 'has the shape of a boot' }, 'note:POL': { text: 'has a sea in the north' },
};

/** How a country is edited by the page's own button. */
export const edited = (country: Country): Country => ({ ...country, capital: `${country.capital}!` });

/** What opens the datastore. */
export const OPTIONS = { kind: 'permanent', primary: 'cca3' } as const;

/** What there is at first. */
export const COUNTRIES: readonly Country[] = [
  { cca3: 'DEU', name: 'Germany', capital: 'Berlin' },
  { cca3: 'ESP', name: 'Spain', capital: 'Madrid' },
  { cca3: 'FRA', name: 'France', capital: 'Paris' },
  { cca3: 'ITA', name: 'Italy', capital: 'Rome' },
  { cca3: 'POL', name: 'Poland', capital: 'Warsaw' },
];

/** How often each country was rendered. */
export const renders: { counts: Record<string, number> } = { counts: {} };

/** Counts a render of a country. */
export function rendered({ cca3 }: Country): void {
  renders.counts[cca3] = (renders.counts[cca3] ?? 0) + 1;
}
