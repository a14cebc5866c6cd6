/** Plots as tables: a row per contestant, its bar in a cell, its figure beside it. Readers of the table miss nothing. */
import { h } from '../dom'
import type { Contest, Download, Held, Start } from './model'

/** Whose bar it is. */
type Kind = 'ours' | 'twin' | 'other'

interface Row {
  readonly label: string
  readonly note?: string
  readonly kind: Kind
  readonly value: number
  readonly min?: number
  readonly max?: number
}

interface Plot {
  readonly title: string
  readonly unit: string
  readonly rows: readonly Row[]
}

const KINDS: readonly (readonly [start: string, Kind])[] = [['Tidewire', 'ours'], ['JS twin', 'twin']]

const kindOf = (label: string): Kind => KINDS.find(([start]) => label.startsWith(start))?.[1] ?? 'other'

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

const figure = (value: number): string =>
  value.toLocaleString('en', value >= 100 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 3 })

/** One workload of the hot path. */
export function hot({ label, results }: Contest): HTMLElement {
  return barPlot({
    title: label[0]!.toUpperCase() + label.slice(1),
    unit: 'µs an envelope',
    rows: results.map((result) => ({
      label: result.label,
      ...(result.gateRan === 'compiled' ? { note: 'compiled' } : result.gateRan === 'in JavaScript' && result.id.startsWith('tidewire') ? { note: 'gate in JavaScript' } : {}),
      kind: kindOf(result.label),
      value: median(result.microseconds),
      min: Math.min(...result.microseconds),
      max: Math.max(...result.microseconds),
    })),
  })
}

/** Memory, before and after everything was read. */
export function held(all: readonly Held[]): HTMLElement[] {
  const plot = (state: 'unread' | 'read', title: string): HTMLElement => barPlot({
    title, unit: 'bytes a record',
    rows: all.flatMap((each) => each[state] === undefined ? [] : [{
      label: each.label, note: `${each.count.toLocaleString('en')} records`, kind: kindOf(each.label), value: each[state] / each.count,
    }]),
  })
  return [plot('unread', 'Memory, nothing read'), plot('read', 'Memory, everything read')]
}

export function starts(all: readonly Start[]): HTMLElement {
  return barPlot({
    title: 'From import to the first record, warm cache', unit: 'ms',
    rows: all.map(({ label, milliseconds }) => ({
      label, kind: kindOf(label), value: median(milliseconds), min: Math.min(...milliseconds), max: Math.max(...milliseconds),
    })),
  })
}

export function download(all: readonly Download[]): Plot {
  return {
    title: 'Download', unit: 'KB after brotli',
    rows: all.map(({ label, script, wasm }) => ({ label, kind: kindOf(label), value: (script + wasm) / 1024 })),
  }
}

export function barPlot({ title, unit, rows }: Plot): HTMLElement {
  // One that is far out must not shrink all others to nothing: it is cut, and fades where it is.
  const limit = Math.min(Math.max(...rows.map(({ value }) => value)) * 1.2, median(rows.map(({ value }) => value)) * 6)
  const body = h('tbody')
  for (const row of rows) {
    const bar = h('div', { class: `bar bar-${row.kind}${row.value > limit ? ' bar-cut' : ''}` })
    bar.style.setProperty('--to', String(Math.min(1, row.value / limit)))
    const track = h('div', { class: 'track' }, bar)
    if (row.min !== undefined && row.max !== undefined && row.value <= limit) {
      const range = h('div', { class: 'range' })
      range.style.setProperty('--from', String(row.min / limit))
      range.style.setProperty('--to', String(Math.min(1, row.max / limit)))
      track.append(range)
    }
    body.append(h('tr', { class: `row-${row.kind}` },
      h('th', { scope: 'row' }, row.label, row.note ? h('small', {}, row.note) : null),
      h('td', { class: 'cell', 'aria-hidden': 'true' }, track),
      h('td', { class: 'figure' }, figure(row.value))))
  }
  return h('figure', { class: 'plot' },
    h('table', {},
      h('caption', {}, h('span', { class: 'title' }, title), h('span', { class: 'unit' }, unit)),
      h('colgroup', {}, h('col', { class: 'names' }), h('col'), h('col', { class: 'figures' })),
      h('thead', { class: 'visually-hidden' }, h('tr', {},
        h('th', { scope: 'col' }, 'Contestant'), h('td', {}), h('th', { scope: 'col' }, unit))),
      body))
}
