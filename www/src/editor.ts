/**
 * The sheet that edits one record or adds one. It holds a draft of the fields the user touched and nothing else: untouched
 * fields keep following the replica, a touched one keeps the user's text and says so when the authority's value moved meanwhile.
 * A draft outlives the sheet, so neither Escape nor a refused write loses what was typed.
 */
import { computed, signal, type ReadonlySignal } from '@preact/signals-core'
import { coordinates, nativeNames, type Country } from './country'
import { h, setText } from './dom'
import { blank, FIELDS, refuseCode, type Field } from './fields'
import type { Outcome } from './writes'

/** What the sheet asks of its pane. */
export interface EditorHost {
  find(key: string): Country | undefined
  save(country: Country, isNew: boolean): Promise<Outcome>
  remove(country: Country): void
  closed(key: string | undefined): void
  open(key: string): void
}

interface Draft {
  /** The text of each touched field, and what the replica said when it was first touched. */
  readonly touched: Map<string, { text: string; base: string }>
}

type Mode = { readonly tag: 'closed' } | { readonly tag: 'edit'; readonly key: string } | { readonly tag: 'add' }

interface Control {
  readonly field: Field
  readonly input: HTMLInputElement | HTMLSelectElement
  readonly note: HTMLElement
}

/** The draft of a record that has no key yet. */
const NEW = '+'

export class Editor {
  readonly element: HTMLElement
  readonly #host: EditorHost
  readonly #drafts = new Map<string, Draft>()
  readonly #controls: readonly Control[]
  readonly #code: HTMLInputElement
  readonly #codeRow: HTMLElement
  readonly #codeNote: HTMLElement
  readonly #title: HTMLElement
  readonly #subtitle = h('p', { class: 'sheet-sub' })
  readonly #facts = h('dl', { class: 'facts' })
  readonly #error = h('p', { class: 'sheet-error', role: 'alert', 'data-testid': 'edit-error' })
  readonly #save = h('button', { type: 'submit', class: 'button button-strong', 'data-testid': 'save' }, 'Save')
  readonly #remove: HTMLButtonElement
  readonly #reset: HTMLButtonElement
  readonly #newKey = signal('')
  readonly #shown = signal<Mode>({ tag: 'closed' })
  #isSaving = false

  constructor(id: string, host: EditorHost) {
    this.#host = host
    this.#title = h('h3', { id: `${id}-sheet`, class: 'sheet-title', dir: 'auto' })
    this.#code = h('input', { id: `${id}-code`, 'data-testid': 'edit-code', maxlength: 3, autocomplete: 'off', autocapitalize: 'characters', spellcheck: 'false', 'aria-describedby': `${id}-code-note` })
    this.#codeNote = h('p', { id: `${id}-code-note`, class: 'field-note' })
    this.#codeRow = h('div', { class: 'field field-code' }, h('label', { for: `${id}-code` }, 'Code'), this.#code, this.#codeNote)
    this.#controls = FIELDS.map((field) => control(id, field))
    this.#remove = h('button', { type: 'button', class: 'button button-danger', 'data-testid': 'delete', onclick: () => this.#delete() }, 'Delete')
    this.#reset = h('button', { type: 'button', class: 'button', 'data-testid': 'reset', onclick: () => this.#discard() }, 'Reset')

    const form = h(
      'form',
      { class: 'sheet-form', novalidate: true, onsubmit: (event: SubmitEvent) => this.#submit(event) },
      h('div', { class: 'fields' }, this.#codeRow, ...this.#controls.map(({ field, input, note }) => row(field, input, note))),
      this.#error,
      h('div', { class: 'sheet-actions' }, this.#save, this.#reset, this.#remove),
    )
    this.element = h(
      'section',
      { class: 'sheet', hidden: true, 'aria-labelledby': `${id}-sheet`, 'data-testid': 'editor', onkeydown: (event: KeyboardEvent) => this.#onKey(event) },
      h(
        'header',
        { class: 'sheet-head' },
        h('div', { class: 'sheet-heading' }, this.#title, this.#subtitle),
        h('button', { type: 'button', class: 'button button-quiet', 'data-testid': 'close', onclick: () => this.close() }, 'Close', h('kbd', { 'aria-hidden': 'true' }, 'Esc')),
      ),
      form,
      this.#facts,
    )
    for (const each of this.#controls) each.input.addEventListener('input', () => this.#touch(each))
    this.#code.addEventListener('input', () => this.#touchCode())
  }

  /** The key of the record in the sheet: while one is added, the code typed so far. */
  readonly key: ReadonlySignal<string | undefined> = computed(() => {
    const mode = this.#shown.value
    return mode.tag === 'edit' ? mode.key : mode.tag === 'add' ? this.#newKey.value : undefined
  })

  get isOpen(): boolean {
    return this.#mode.tag !== 'closed'
  }

  get #mode(): Mode {
    return this.#shown.peek()
  }

  edit(key: string): void {
    if (!this.#host.find(key)) return
    this.#enter({ tag: 'edit', key })
    const first = this.#controls[0]?.input
    first?.focus({ preventScroll: true })
    if (first instanceof HTMLInputElement) first.select()
  }

  add(): void {
    this.#enter({ tag: 'add' })
    this.#code.focus({ preventScroll: true })
  }

  close(): void {
    if (this.#mode.tag === 'closed') return
    const key = this.#mode.tag === 'edit' ? this.#mode.key : undefined
    this.#shown.value = { tag: 'closed' }
    this.element.hidden = true
    this.#host.closed(key)
  }

  /** The replica changed: untouched fields follow, touched ones compare. A record deleted elsewhere can still be saved back. */
  refresh(): void {
    if (this.#mode.tag !== 'closed') this.#paint()
  }

  #enter(mode: Mode): void {
    this.#shown.value = mode
    this.#isSaving = false
    setText(this.#error, '')
    this.element.hidden = false
    this.element.scrollTop = 0
    this.#paint()
  }

  #draft(): Draft {
    const key = this.#mode.tag === 'edit' ? this.#mode.key : NEW
    let draft = this.#drafts.get(key)
    if (!draft) this.#drafts.set(key, (draft = { touched: new Map() }))
    return draft
  }

  #current(): Country {
    if (this.#mode.tag !== 'edit') return blank('')
    return this.#host.find(this.#mode.key) ?? blank(this.#mode.key)
  }

  #paint(): void {
    const isNew = this.#mode.tag === 'add'
    const country = this.#current()
    const { touched } = this.#draft()
    setText(this.#title, isNew ? 'Add a country' : `${country.flag ?? ''} ${country.name.common}`.trim())
    setText(this.#subtitle, isNew ? 'The code is its key in the datastore.' : country.cca3)
    this.#codeRow.hidden = !isNew
    this.#remove.hidden = isNew
    if (isNew) this.#code.value = touched.get('code')?.text ?? ''
    for (const { field, input, note } of this.#controls) {
      const now = field.read(country)
      const draft = touched.get(field.id)
      const text = draft?.text ?? now
      if (input instanceof HTMLSelectElement) offer(input, text)
      if (input.value !== text) input.value = text
      this.#note(field, note, input, draft !== undefined && draft.base !== now && draft.text !== now ? now : undefined)
    }
    this.#paintFacts(isNew ? undefined : country)
    this.#paintActions()
  }

  #note(field: Field, note: HTMLElement, input: HTMLElement, theirs: string | undefined): void {
    input.removeAttribute('aria-invalid')
    note.classList.remove('field-refused')
    if (theirs === undefined) {
      setText(note, '')
      return
    }
    const take = h('button', { type: 'button', class: 'link', onclick: () => this.#take(field) }, 'Use it')
    note.replaceChildren(h('span', {}, 'Changed meanwhile to '), h('bdi', {}, theirs || 'nothing'), '. ', take)
  }

  #paintActions(): void {
    const { touched } = this.#draft()
    // Not `disabled`: a disabled button drops the focus, and with it Escape.
    this.#save.setAttribute('aria-disabled', String(this.#isSaving))
    this.#remove.disabled = this.#isSaving
    setText(this.#save, this.#isSaving ? 'Saving…' : this.#mode.tag === 'add' ? 'Add' : 'Save')
    this.#reset.hidden = touched.size === 0
    this.#reset.disabled = this.#isSaving
  }

  #paintFacts(country: Country | undefined): void {
    if (country === undefined) {
      this.#facts.replaceChildren()
      return
    }
    const names = nativeNames(country).map(({ lang, text }) => h('bdi', { lang, class: 'chip' }, text))
    const languages = Object.values(country.languages ?? {})
    const currencies = Object.entries(country.currencies ?? {}).map(([code, { name }]) => `${name} (${code})`)
    const borders = (country.borders ?? []).flatMap((key) => {
      const neighbour = this.#host.find(key)
      return neighbour ? [h('button', { type: 'button', class: 'chip', onclick: () => this.#host.open(key) }, neighbour.name.common)] : []
    })
    const facts: Array<[string, ReadonlyArray<Node | string>]> = [
      ['Own names', names],
      ['Languages', languages.length > 0 ? [languages.join(', ')] : []],
      ['Currencies', currencies.length > 0 ? [currencies.join(', ')] : []],
      ['Position', coordinates(country) ? [coordinates(country)] : []],
      ['Borders', borders],
    ]
    this.#facts.replaceChildren(
      ...facts.filter(([, nodes]) => nodes.length > 0).map(([term, nodes]) => {
        const value = h('dd')
        value.append(...nodes)
        return h('div', { class: 'fact' }, h('dt', {}, term), value)
      }),
    )
  }

  #touch({ field, input, note }: Control): void {
    const { touched } = this.#draft()
    const now = field.read(this.#current())
    const base = touched.get(field.id)?.base ?? now
    if (input.value === now) touched.delete(field.id)
    else touched.set(field.id, { text: input.value, base })
    this.#note(field, note, input, base !== now && input.value !== now ? now : undefined)
    this.#paintActions()
  }

  #touchCode(): void {
    this.#code.value = this.#code.value.toUpperCase()
    this.#newKey.value = this.#code.value
    this.#draft().touched.set('code', { text: this.#code.value, base: '' })
    refuse(this.#code, this.#codeNote, undefined)
    this.#paintActions()
  }

  #take(field: Field): void {
    this.#draft().touched.delete(field.id)
    this.#paint()
    this.#controls.find((each) => each.field === field)?.input.focus()
  }

  #discard(): void {
    this.#draft().touched.clear()
    setText(this.#error, '')
    this.#paint()
    const first = this.#mode.tag === 'add' ? this.#code : this.#controls[0]?.input
    first?.focus()
  }

  async #submit(event: SubmitEvent): Promise<void> {
    event.preventDefault()
    if (this.#isSaving || !this.#isAcceptable()) return
    const mode = this.#mode
    const draft = this.#draft()
    const isNew = mode.tag === 'add'
    if (draft.touched.size === 0) {
      this.close()
      return
    }
    const sent = new Map([...draft.touched].map(([id, { text }]) => [id, text]))
    let country = isNew ? blank(this.#code.value) : this.#current()
    for (const { field } of this.#controls) {
      const text = sent.get(field.id)
      if (text !== undefined) country = field.write(country, text.trim())
    }
    if (country.name.official === '') country = { ...country, name: { ...country.name, official: country.name.common } }

    this.#isSaving = true
    setText(this.#error, '')
    this.#paintActions()
    const outcome = await this.#host.save(country, isNew)
    if (outcome.ok) for (const [id, text] of sent) if (draft.touched.get(id)?.text === text) draft.touched.delete(id)
    // The sheet may show another record by now: then the outcome is told by the pane's notices alone.
    if (this.#mode !== mode) return
    this.#isSaving = false
    if (outcome.ok) {
      this.close()
      return
    }
    setText(this.#error, `Not saved: ${outcome.reason}`)
    this.#paintActions()
  }

  #isAcceptable(): boolean {
    let first: HTMLElement | undefined
    if (this.#mode.tag === 'add') {
      const reason = refuseCode(this.#code.value, (key) => this.#host.find(key)?.name.common)
      refuse(this.#code, this.#codeNote, reason)
      if (reason) first = this.#code
    }
    for (const { field, input, note } of this.#controls) {
      const reason = field.refuse?.(input.value.trim())
      if (!reason) continue
      refuse(input, note, reason)
      first ??= input
    }
    first?.focus()
    return first === undefined
  }

  #delete(): void {
    if (this.#mode.tag !== 'edit') return
    const country = this.#host.find(this.#mode.key)
    this.close()
    if (country) this.#host.remove(country)
  }

  #onKey(event: KeyboardEvent): void {
    if (event.key === 'Escape' && !event.isComposing) {
      event.preventDefault()
      this.close()
    } else if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
      this.element.querySelector('form')?.requestSubmit()
    }
  }
}

function control(id: string, field: Field): Control {
  const shared = { id: `${id}-${field.id}`, 'data-testid': `edit-${field.id}`, 'aria-describedby': `${id}-${field.id}-note` }
  const input = field.choices
    ? h('select', shared, h('option', { value: '' }, 'None'), ...field.choices.map((choice) => h('option', { value: choice }, choice)))
    : h('input', { ...shared, dir: 'auto', autocomplete: 'off', inputmode: field.numeric ? 'decimal' : undefined })
  return { field, input, note: h('p', { id: `${id}-${field.id}-note`, class: 'field-note' }) }
}

function row(field: Field, input: HTMLElement, note: HTMLElement): HTMLElement {
  const label = h('label', { for: input.id }, field.label, field.hint ? h('span', { class: 'field-hint' }, field.hint) : undefined)
  return h('div', { class: `field field-${field.id}` }, label, input, note)
}

function refuse(input: HTMLElement, note: HTMLElement, reason: string | undefined): void {
  input.toggleAttribute('aria-invalid', false)
  if (reason) input.setAttribute('aria-invalid', 'true')
  note.classList.toggle('field-refused', reason !== undefined)
  setText(note, reason ?? '')
}

/** A select can only show what it offers: a value from the record that is not in the list joins it. */
function offer(select: HTMLSelectElement, value: string): void {
  if (![...select.options].some((option) => option.value === value)) select.append(h('option', { value }, value))
}
