/** The last changes of a pane, newest first, each with the sequence it arrived with and whose it was. */
import type { Change } from './changes'
import { h } from './dom'

const KEPT = 30

export type Origin = 'own' | 'other'

export interface Entry {
  readonly change: Change
  readonly origin: Origin
  readonly sequence: number
}

export class Activity {
  readonly element: HTMLElement
  readonly #list = h('ol', { class: 'activity-list', 'data-testid': 'activity' })
  readonly #elsewhere: string

  /** `elsewhere` names the others who write here: another tab, or nobody but the page's console. */
  constructor(id: string, elsewhere: string) {
    this.#elsewhere = elsewhere
    this.element = h(
      'div',
      { class: 'activity', role: 'group', 'aria-labelledby': `${id}-activity` },
      h('h3', { id: `${id}-activity`, class: 'activity-title' }, 'Last changes'),
      this.#list,
    )
    this.note('Waiting for the first snapshot')
  }

  note(text: string): void {
    this.#list.replaceChildren(h('li', { class: 'activity-note' }, text))
  }

  add(entries: readonly Entry[]): void {
    this.#list.querySelector('.activity-note')?.remove()
    for (const entry of entries.slice(-KEPT)) this.#list.prepend(this.#item(entry))
    while (this.#list.childElementCount > KEPT) this.#list.lastElementChild?.remove()
  }

  #item({ change, origin, sequence }: Entry): HTMLElement {
    const { country } = change
    return h(
      'li',
      { class: `activity-item activity-${origin}` },
      h('span', { class: 'activity-sequence' }, String(sequence)),
      h(
        'span',
        { class: 'activity-text' },
        h('strong', { dir: 'auto' }, country.name.common),
        ' ',
        h('span', { dir: 'auto' }, change.kind === 'changed' ? change.what : change.kind),
      ),
      h('span', { class: 'activity-origin' }, origin === 'own' ? 'you' : this.#elsewhere),
    )
  }
}
