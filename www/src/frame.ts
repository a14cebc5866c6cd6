/** The page around the panes: masthead, search, and the switch that phones need because two lists do not fit side by side. */
import { effect, signal, type Signal } from '@preact/signals-core'
import { h, svg } from './dom'
import type { Pane } from './pane'
import { showStatus } from './status'

export interface FrameOptions {
  readonly root: HTMLElement
  readonly panes: readonly [Pane, Pane]
  readonly search: Signal<string>
}

export function frame({ root, panes, search }: FrameOptions): void {
  const [wire, page] = panes
  const shown = signal<Pane>(wire)
  const field = searchField(search, () => shown.peek().focusRows() || panes.some((pane) => pane.focusRows()))

  root.replaceChildren(
    h('a', { class: 'skip', href: '#pane-wire' }, 'Skip to the countries'),
    h('header', { class: 'masthead' }, brand(), intro(), field.element),
    h('nav', { class: 'switch', 'aria-label': 'Shown replica' }, tab(wire, 'Over the wire', 'wire', shown), tab(page, 'In this page', 'page', shown)),
    h('main', { class: 'panes' }, wire.element, page.element),
  )
  effect(() => {
    for (const pane of panes) pane.element.classList.toggle('is-shown', pane === shown.value)
  })
  document.addEventListener('keydown', (event) => {
    if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return
    event.preventDefault()
    field.input.focus()
    field.input.select()
  })
}

function brand(): HTMLElement {
  const mark = svg(
    'svg',
    { viewBox: '0 0 44 28', class: 'mark', 'aria-hidden': 'true' },
    svg('path', { class: 'mark-datum', d: 'M2 25h40' }),
    svg('path', { class: 'mark-tide', d: 'M2 18c6.5 0 7-10 13.3-10s7 10 13.4 10S35.5 8 42 8' }),
    svg('circle', { class: 'mark-buoy', cx: 28.7, cy: 5, r: 3 }),
  )
  const name = h('span', { class: 'wordmark' }, 'Tidewire')
  const box = h('h1', { class: 'brand' })
  box.append(mark, name)
  return box
}

function intro(): HTMLElement {
  const page = (href: string, name: string, isThis = false): HTMLElement => h('li', {}, h('a', { href, 'aria-current': isThis && 'page' }, name))
  return h(
    'div',
    { class: 'intro' },
    h('p', {}, 'Edit a country, and every other open tab has it at once. Stop the server: the list stays, and catches up by itself.'),
    h('nav', { 'aria-label': 'Pages' }, h('ul', { class: 'intro-pages' }, page('./', 'Playground'), page('./countries.html', 'Countries', true), page('./bench.html', 'Benchmark'), page('./docs/', 'Docs'))),
  )
}

function searchField(search: Signal<string>, toRows: () => boolean): { element: HTMLElement; input: HTMLInputElement } {
  const input = h('input', {
    id: 'search',
    type: 'search',
    class: 'search-input',
    placeholder: 'Name, capital, code, language',
    autocomplete: 'off',
    spellcheck: 'false',
    dir: 'auto',
    'data-testid': 'search',
    oninput: () => (search.value = input.value),
    onkeydown: (event: KeyboardEvent) => {
      if ((event.key === 'ArrowDown' || event.key === 'Enter') && !event.isComposing && toRows()) event.preventDefault()
      if (event.key === 'Escape') {
        input.value = ''
        search.value = ''
      }
    },
  })
  const element = h('div', { class: 'search', role: 'search' }, h('label', { for: 'search', class: 'search-label' }, 'Search'), input, h('kbd', { class: 'search-key', 'aria-hidden': 'true' }, '/'))
  return { element, input }
}

function tab(pane: Pane, title: string, id: string, shown: Signal<Pane>): HTMLElement {
  const words = h('span', { class: 'tab-status' })
  const button = h('button', { type: 'button', class: `tab tab-${id}`, 'data-testid': `show-${id}`, onclick: () => (shown.value = pane) }, h('span', { class: 'lamp', 'aria-hidden': 'true' }), h('span', { class: 'tab-title' }, title), words)
  effect(() => button.setAttribute('aria-pressed', String(shown.value === pane)))
  effect(() => {
    button.dataset['state'] = pane.status.value.state
  })
  showStatus(words, pane.status)
  return button
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
}
