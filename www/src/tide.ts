/**
 * The scale along the top of a pane: the last minute, five seconds a division, one mark per frame of changes. A mark's height is
 * the number of records it changed; its colour says whose change it was.
 */
import { h } from './dom'

const MINUTE = 60_000

export class Tide {
  readonly element = h('div', { class: 'tide', 'aria-hidden': 'true', title: 'Changes in the last minute' })

  mark(origin: 'own' | 'other', records: number): void {
    const mark = h('i', { class: `tide-mark tide-mark-${origin}` })
    mark.style.setProperty('--height', `${Math.min(100, 80 + 10 * Math.log2(records))}%`)
    this.element.append(mark)
    setTimeout(() => mark.remove(), MINUTE)
  }
}
