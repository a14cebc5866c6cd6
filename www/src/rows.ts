/**
 * The list of countries. Rows are keyed: a change touches the row it belongs to and nothing else, and a row moves only when
 * its place in the order changed. The list is one tab stop; arrow keys move inside it.
 */
import { area, byName, capitals, fold, haystack, nativeName, type Country } from './country'
import { h, setText } from './dom'

export type Tint = 'own' | 'other'

export class Rows {
  readonly element = h('ul', { class: 'rows', role: 'list', 'data-testid': 'rows' })
  readonly #rows = new Map<string, Row>()
  #order: Row[] = []
  #query = ''
  #current: Row | undefined

  constructor(onOpen: (key: string) => void) {
    this.element.addEventListener('click', (event) => {
      const key = keyOf(event.target)
      if (key !== undefined) onOpen(key)
    })
    this.element.addEventListener('focusin', (event) => {
      const row = this.#rows.get(keyOf(event.target) ?? '')
      if (row) this.#makeCurrent(row)
    })
    this.element.addEventListener('keydown', (event) => this.#onKey(event))
  }

  /** How many rows pass the search. */
  get shown(): number {
    return this.#order.reduce((count, row) => count + (row.isHidden ? 0 : 1), 0)
  }

  update(countries: readonly Country[]): void {
    const gone = new Set(this.#rows.keys())
    for (const country of countries) {
      gone.delete(country.cca3)
      const row = this.#rows.get(country.cca3)
      if (row === undefined) this.#rows.set(country.cca3, new Row(country))
      else row.show(country)
    }
    const hadFocus = this.#current?.button === document.activeElement
    const place = this.#current ? this.#order.indexOf(this.#current) : 0
    for (const key of gone) {
      this.#rows.get(key)?.item.remove()
      this.#rows.delete(key)
    }
    this.#order = [...this.#rows.values()].sort((a, b) => byName(a.country, b.country))
    this.#place()
    this.#filter()
    if (!this.#current || !this.#rows.has(this.#current.country.cca3)) {
      const next = this.#order[Math.min(place, this.#order.length - 1)]
      if (next) this.#makeCurrent(next)
    }
    // A row that moves or goes drops the focus.
    if (hadFocus && document.activeElement === document.body) this.#current?.button.focus({ preventScroll: true })
  }

  search(query: string): void {
    this.#query = fold(query)
    this.#filter()
  }

  /** Tints a row for a moment, so that the eye finds what has just changed. */
  tint(key: string, tint: Tint): void {
    this.#rows.get(key)?.tint(tint)
  }

  /** Marks the rows whose write is under way or was refused. */
  markWrites(pending: ReadonlySet<string>, failed: ReadonlySet<string>): void {
    for (const [key, row] of this.#rows) row.mark(pending.has(key) ? 'pending' : failed.has(key) ? 'failed' : '')
  }

  /** Focuses the row of a key, or the list's present row. False if there is nothing to focus. */
  focus(key?: string): boolean {
    const row = (key === undefined ? undefined : this.#rows.get(key)) ?? this.#current ?? this.#order[0]
    if (!row || row.isHidden) return this.#focusVisible(0, 1)
    row.button.focus()
    return true
  }

  #place(): void {
    let before: Element | null = this.element.firstElementChild
    for (const row of this.#order) {
      if (before !== null && before !== row.item && before.nextElementSibling === row.item) {
        // One row left its place: take it out instead of moving all that follow it.
        this.element.append(before)
        before = row.item
      }
      if (row.item === before) before = before.nextElementSibling
      else this.element.insertBefore(row.item, before)
    }
  }

  #filter(): void {
    for (const row of this.#order) row.hide(!row.matches(this.#query))
    if (this.#current?.isHidden) {
      const first = this.#order.find((row) => !row.isHidden)
      if (first) this.#makeCurrent(first)
    }
  }

  #makeCurrent(row: Row): void {
    if (this.#current) this.#current.button.tabIndex = -1
    row.button.tabIndex = 0
    this.#current = row
  }

  #onKey(event: KeyboardEvent): void {
    if (event.altKey || event.ctrlKey || event.metaKey) return
    const at = this.#current ? this.#order.indexOf(this.#current) : 0
    const page = 10
    const moves: Record<string, () => boolean> = {
      ArrowDown: () => this.#focusVisible(at + 1, 1),
      ArrowUp: () => this.#focusVisible(at - 1, -1),
      Home: () => this.#focusVisible(0, 1),
      End: () => this.#focusVisible(this.#order.length - 1, -1),
      PageDown: () => this.#focusVisible(Math.min(at + page, this.#order.length - 1), 1),
      PageUp: () => this.#focusVisible(Math.max(at - page, 0), -1),
    }
    if (moves[event.key]?.()) event.preventDefault()
  }

  #focusVisible(from: number, step: 1 | -1): boolean {
    for (let at = from; at >= 0 && at < this.#order.length; at += step) {
      const row = this.#order[at]
      if (row && !row.isHidden) {
        row.button.focus()
        return true
      }
    }
    return false
  }
}

class Row {
  country: Country
  readonly item: HTMLLIElement
  readonly button: HTMLButtonElement
  readonly #flag = h('span', { class: 'row-flag', 'aria-hidden': 'true' })
  readonly #name = h('span', { class: 'row-name', dir: 'auto' })
  readonly #native = h('bdi', { class: 'row-native' })
  readonly #code = h('span', { class: 'row-code' })
  readonly #capital = h('span', { class: 'row-capital', dir: 'auto' })
  readonly #area = h('span', { class: 'row-area' })
  #haystack = ''
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(country: Country) {
    this.country = country
    this.button = h(
      'button',
      { type: 'button', class: 'row', tabindex: -1, 'data-testid': `row-${country.cca3}`, 'data-key': country.cca3 },
      this.#flag,
      h('span', { class: 'row-names' }, this.#name, h('span', { class: 'row-second' }, this.#code, this.#native)),
      this.#capital,
      this.#area,
    )
    this.item = h('li', {}, this.button)
    this.#paint()
  }

  get isHidden(): boolean {
    return this.item.hidden !== false
  }

  show(country: Country): void {
    if (country === this.country) return
    this.country = country
    this.#paint()
  }

  matches(query: string): boolean {
    return query === '' || this.#haystack.includes(query)
  }

  hide(hidden: boolean): void {
    if (this.item.hidden !== hidden) this.item.hidden = hidden
  }

  mark(write: 'pending' | 'failed' | ''): void {
    if ((this.button.dataset['write'] ?? '') === write) return
    if (write) this.button.dataset['write'] = write
    else delete this.button.dataset['write']
  }

  tint(tint: Tint): void {
    clearTimeout(this.#timer)
    delete this.item.dataset['changed']
    // Two changes in a row shall show twice: reading the layout lets the animation start anew.
    void this.item.offsetWidth
    this.item.dataset['changed'] = tint
    this.#timer = setTimeout(() => delete this.item.dataset['changed'], 2600)
  }

  #paint(): void {
    const { country } = this
    const native = nativeName(country)
    setText(this.#flag, country.flag || '·')
    setText(this.#name, country.name.common)
    setText(this.#code, country.cca3)
    setText(this.#native, native?.text ?? '')
    this.#native.lang = native?.lang ?? ''
    setText(this.#capital, capitals(country))
    setText(this.#area, area(country))
    this.#haystack = haystack(country)
  }
}

function keyOf(target: EventTarget | null): string | undefined {
  return target instanceof Element ? target.closest<HTMLElement>('[data-key]')?.dataset['key'] : undefined
}
