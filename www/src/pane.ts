/**
 * One pane: a client's status and position, its list, its editor and its last changes. Both panes are this class; they differ
 * only in the feed they are given.
 */
import { computed, effect, signal, type ReadonlySignal } from '@preact/signals-core'
import { Activity, type Entry, type Origin } from './activity'
import { difference } from './changes'
import type { Country } from './country'
import { h, setText } from './dom'
import { Editor } from './editor'
import { Notices } from './notices'
import type { Feed, Status } from './replica'
import { Rows } from './rows'
import { statusLamp } from './status'
import { Tide } from './tide'
import { reasonOf, Writes, type Outcome, type Verb } from './writes'

export interface PaneOptions {
  readonly id: 'wire' | 'page'
  readonly title: string
  readonly subtitle: string
  readonly elsewhere: string
  readonly search: ReadonlySignal<string>
  /** What else the head of the pane shows. */
  readonly head?: (status: ReadonlySignal<Status>) => HTMLElement | undefined
}

export class Pane {
  readonly element: HTMLElement
  readonly status: ReadonlySignal<Status>
  readonly #feed = signal<Feed | undefined>(undefined)
  readonly #opening = signal<Status>({ state: 'connecting' })
  readonly #writes = new Writes()
  readonly #rows: Rows
  readonly #editor: Editor
  readonly #activity: Activity
  readonly #notices: Notices
  readonly #tide = new Tide()
  readonly #empty = h('p', { class: 'empty', 'data-testid': 'empty' })
  readonly #body: HTMLElement
  readonly #content: HTMLElement
  readonly #add: HTMLButtonElement
  #known: ReadonlyMap<string, Country> = new Map()
  #hasBase = false
  #scroll = 0

  constructor(options: PaneOptions) {
    const { id, search } = options
    this.#rows = new Rows((key) => this.edit(key))
    this.#activity = new Activity(id, options.elsewhere)
    this.#editor = new Editor(id, {
      find: (key) => this.#known.get(key),
      save: (country, isNew) => this.#set(isNew ? 'add' : 'save', country),
      remove: (country) => void this.#remove(country),
      closed: (key) => this.#closed(key),
      open: (key) => this.edit(key),
    })
    this.#notices = new Notices(this.#writes, this.#editor.key, (write) => (write.verb === 'add' ? this.#openNew() : this.edit(write.key)))
    this.status = computed(() => this.#feed.value?.status() ?? this.#opening.value)

    this.#add = h('button', { type: 'button', class: 'button', 'data-testid': 'add', disabled: true, onclick: () => this.#openNew() }, 'Add a country')
    this.#content = h(
      'div',
      { class: 'pane-content' },
      h(
        'div',
        { class: 'list' },
        h('div', { class: 'list-head' }, h('span', { class: 'list-name' }, this.#add), h('span', { class: 'list-capital' }, 'Capital'), h('span', { class: 'list-area' }, 'Area, km²')),
        this.#rows.element,
        this.#empty,
      ),
      this.#activity.element,
    )
    this.#body = h('div', { class: 'pane-body' }, this.#content, this.#editor.element, this.#notices.element)
    const readings = this.#readings()
    this.element = h(
      'section',
      { id: `pane-${id}`, class: `pane pane-${id}`, 'data-testid': `pane-${id}`, 'aria-labelledby': `${id}-title` },
      h(
        'header',
        { class: 'pane-head' },
        h('div', { class: 'pane-titles' }, h('h2', { id: `${id}-title`, class: 'pane-title' }, options.title), statusLamp(this.status)),
        h('p', { class: 'pane-sub' }, options.subtitle),
        options.head?.(this.status),
        readings.element,
      ),
      this.#tide.element,
      this.#body,
    )

    effect(() => {
      this.#rows.search(search.value)
      this.#count(readings.count)
    })
    effect(() => {
      const countries = this.#feed.value?.countries
      if (!countries) return
      const { sequence, epoch, status } = countries.meta()
      const isCurrent = status === 'ok' || sequence < 0
      this.#follow(countries.rows(), sequence)
      setText(readings.sequence, sequence < 0 ? '–' : String(sequence))
      setText(readings.term, isCurrent ? 'Sequence' : `Sequence, ${status}`)
      setText(readings.epoch, epoch ? epoch.slice(0, 8) : '–')
      readings.epoch.title = epoch ?? ''
      this.#count(readings.count)
    })
    effect(() => {
      const pending = new Set(this.#writes.pending.value.map(({ key }) => key))
      const failed = new Set(this.#writes.failed.value.map(({ key }) => key))
      setText(readings.pending, String(pending.size))
      readings.pending.dataset['busy'] = String(pending.size > 0)
      this.#rows.markWrites(pending, failed)
    })
  }

  /** Hands the pane its client. Until then it waits, and says for what. */
  open(feed: Feed): void {
    setText(this.#empty, 'Waiting for the first snapshot.')
    this.#add.disabled = false
    this.#feed.value = feed
    feed.countries.on('error', (error) => this.#notices.say(reasonOf(error)))
    feed.countries.on('rollback', ({ sequence }) => {
      this.#notices.say(`The server lost changes that were shown here. This replica went back to sequence ${sequence}.`)
    })
  }

  /** Says what the pane is waiting for. */
  wait(text: string): void {
    setText(this.#empty, text)
  }

  /** Nothing will feed this pane: why, and one thing to do. */
  fail(error: unknown, again: () => void): void {
    this.#opening.value = { state: 'closed', error: error instanceof Error ? error : new Error(String(error)) }
    const retry = (): void => {
      this.#opening.value = { state: 'connecting' }
      this.#empty.replaceChildren()
      again()
    }
    this.#empty.replaceChildren(
      h('span', { role: 'alert' }, `This replica could not be opened: ${reasonOf(error)}`),
      h('button', { type: 'button', class: 'button', 'data-testid': 'reopen', onclick: retry }, 'Try again'),
    )
  }

  edit(key: string): void {
    if (!this.#known.has(key)) return
    this.#cover()
    this.#editor.edit(key)
  }

  /** Moves the focus into the list: true if there was a row to take it. */
  focusRows(): boolean {
    return !this.#editor.isOpen && this.#rows.focus()
  }

  #openNew(): void {
    this.#cover()
    this.#editor.add()
  }

  #readings(): { element: HTMLElement } & Record<'sequence' | 'term' | 'epoch' | 'count' | 'pending', HTMLElement> {
    const reading = (name: string, testid: string): [HTMLElement, HTMLElement, HTMLElement] => {
      const term = h('dt', {}, name)
      const value = h('dd', { 'data-testid': testid }, '–')
      return [h('div', { class: 'reading' }, term, value), value, term]
    }
    const [sequenceBox, sequence, term] = reading('Sequence', 'sequence')
    const [epochBox, epoch] = reading('Epoch', 'epoch')
    const [countBox, count] = reading('Countries', 'count')
    const [pendingBox, pending] = reading('Pending', 'pending')
    const element = h('dl', { class: 'readings' }, sequenceBox, epochBox, countBox, pendingBox)
    return { element, sequence, term, epoch, count, pending }
  }

  /** Follows the replica: paints what changed, tells what changed, and whose it was. */
  #follow(countries: readonly Country[], sequence: number): void {
    if (sequence < 0) return
    const known = new Map(countries.map((country) => [country.cca3, country]))
    const changes = difference(this.#known, known)
    this.#known = known
    this.#rows.update(countries)
    this.#empty.replaceChildren()
    if (!this.#hasBase) {
      this.#hasBase = true
      this.#activity.note(`Snapshot of ${countries.length} countries at sequence ${sequence}`)
      return
    }
    if (changes.length > 0) {
      const entries = changes.map((change): Entry => ({ change, sequence, origin: this.#originOf(change.country.cca3) }))
      for (const { change, origin } of entries) if (change.kind !== 'removed') this.#rows.tint(change.country.cca3, origin)
      this.#activity.add(entries)
      for (const origin of ['other', 'own'] as const) {
        const records = entries.filter((entry) => entry.origin === origin).length
        if (records > 0) this.#tide.mark(origin, records)
      }
    }
    this.#editor.refresh()
  }

  #originOf(key: string): Origin {
    return this.#writes.isPending(key) ? 'own' : 'other'
  }

  async #set(verb: Verb, country: Country): Promise<Outcome> {
    const feed = this.#feed.peek()
    if (!feed) return { ok: false, reason: 'the replica is not open yet' }
    return this.#writes.start(verb, country.cca3, country.name.common, () => feed.countries.set(country))
  }

  async #remove(country: Country): Promise<void> {
    const feed = this.#feed.peek()
    if (!feed) return
    const outcome = await this.#writes.start('delete', country.cca3, country.name.common, () => feed.countries.delete(country.cca3))
    if (!outcome.ok) return
    this.#notices.say(`${country.name.common} is deleted.`, { label: 'Undo', testid: 'undo', run: () => void this.#restore(country) })
  }

  async #restore(country: Country): Promise<void> {
    const outcome = await this.#set('restore', country)
    if (outcome.ok) this.#rows.focus(country.cca3)
  }

  #count(reading: HTMLElement): void {
    const { shown } = this.#rows
    const all = this.#known.size
    setText(reading, !this.#hasBase ? '–' : shown === all ? String(all) : `${shown} of ${all}`)
    if (this.#hasBase) setText(this.#empty, all === 0 ? 'No countries yet. Add the first one.' : shown === 0 ? 'No country matches the search.' : '')
  }

  #cover(): void {
    if (this.#editor.isOpen) return
    this.#scroll = scrollY
    this.#content.inert = true
    this.#body.classList.add('is-covered')
    // Where the pages scrolls as a whole (phones), the sheet takes the list's place: start it at its top.
    this.element.scrollIntoView({ block: 'nearest' })
  }

  #closed(key: string | undefined): void {
    this.#content.inert = false
    this.#body.classList.remove('is-covered')
    scrollTo({ top: this.#scroll, behavior: 'instant' })
    if (key !== undefined && this.#known.has(key)) this.#rows.focus(key)
    else this.#add.focus({ preventScroll: true })
  }
}
