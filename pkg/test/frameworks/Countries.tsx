// The countries in React.

import { memo, type ReactElement, useCallback, useState } from 'react';
import { useCollection, useStatus, useSynced } from 'tidewire/react';
import { Country, edited, Note, OPTIONS, rendered } from './country.js';

interface RowProps {
  readonly country: Country;
  readonly onChoose: (key: string) => void;
  readonly onEdit: (country: Country) => void;
  readonly onDelete: (country: Country) => void;
}

const Row = memo(function Row({ country, onChoose, onEdit, onDelete }: RowProps): ReactElement {
  rendered(country);
  return (
    <li data-key={country.cca3}>
      <span onClick={() => onChoose(country.cca3)}>{country.name}: {country.capital}</span>
      <button className="edit" onClick={() => onEdit(country)}>Edit</button>
      <button className="delete" onClick={() => onDelete(country)}>Delete</button>
    </li>
  );
});

export function Countries(): ReactElement {
  const { rows, isReady, set, delete: remove } = useCollection('countries', Country, OPTIONS);
  const [chosen, choose] = useState<string>();
  const note = useSynced(chosen && `note:${chosen}`, Note);
  const status = useStatus();
  const onEdit = useCallback((country: Country) => void set(edited(country)), [set]);
  const onDelete = useCallback((country: Country) => void remove(country.cca3), [remove]);
  return (
    <main>
      <p id="status">{status.state}</p>
      <p id="count">{isReady ? rows.length : '…'}</p>
      <p id="note">{note?.text ?? '…'}</p>
      <ul>
        {rows.map((country) => (
          <Row key={country.cca3} country={country} onChoose={choose} onEdit={onEdit} onDelete={onDelete} />
        ))}
      </ul>
    </main>
  );
}
