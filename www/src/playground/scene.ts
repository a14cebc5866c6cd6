/**
 * The picture: the record at the server, the envelopes on their way, and the copies. Every envelope that is drawn is a real
 * one; what is said of it comes from the replica.
 */
import { effect } from '@preact/signals-core'
import type { ClientStatus, Replica, ReplicaMeta } from 'tidewire'
import type { Happening } from 'tidewire/inspector'
import { h, setText } from '../dom'
import type { Passage } from './network'
import type { Gauge, Place } from './world'

/** The gauge's scale, in metres. */
const FULL = 5
/** A sentence stays at least so long, or nobody can read it. */
const READ = 2_600

const byId = (id: string): HTMLElement => document.getElementById(id) as HTMLElement

const WEIGHT: Record<Happening['outcome'], number> = { applied: 0, lost: 1, ignored: 2, refetch: 3, gap: 4, quarantined: 5, rollback: 6 }

export class Scene {
  #saidAt = 0
  #weight = 0
  #endServer: (() => void) | undefined

  /** Says something under the picture, now. */
  say(text: string): void {
    this.#saidAt = performance.now()
    this.#weight = 10
    setText(byId('story'), text)
  }

  showServer(station: Replica<Gauge>, place: Place): void {
    this.#endServer?.()
    setText(byId('server-note'), place === 'page' ? 'runs in this page' : 'native, over a WebSocket')
    this.#endServer = effect(() => {
      paint('server', station.get())
      const { sequence } = station.meta()
      setText(byId('server-sequence'), sequence < 0 ? '–' : String(sequence))
    })
  }

  person(id: string): PersonView {
    return new PersonView(id, (name, happening) => this.#tell(name, happening))
  }

  /** Of what happens at once, the most telling thing is told, and long enough to be read. */
  #tell(name: string, { outcome, reason }: Happening): void {
    const now = performance.now()
    const weight = WEIGHT[outcome]
    if (now - this.#saidAt < READ && weight <= this.#weight) return
    this.#saidAt = now
    this.#weight = weight
    byId('story').replaceChildren(h('b', { class: `outcome-${outcome}` }, `${name}: ${outcome}. `), reason)
  }
}

export class PersonView {
  readonly #id: string
  readonly #lane: HTMLElement
  readonly #tell: (name: string, happening: Happening) => void

  constructor(id: string, tell: (name: string, happening: Happening) => void) {
    this.#id = id
    this.#lane = byId(`${id}-lane`)
    this.#tell = tell
    this.#root.classList.remove('is-away')
  }

  get #root(): HTMLElement {
    return document.querySelector<HTMLElement>(`[data-person=${this.#id}]`) as HTMLElement
  }

  /** Draws an envelope on its way. */
  pass({ sequence, takes, fate }: Passage): void {
    if (document.hidden || matchMedia('(prefers-reduced-motion: reduce)').matches) return
    const dot = h('span', { class: `dot dot-${fate}` }, String(sequence))
    const runner = h('div', { class: 'runner' }, dot)
    this.#lane.append(runner)
    const isLost = fate === 'lost'
    const way = runner.animate({ transform: ['translateX(0)', `translateX(${isLost ? 55 : 100}%)`] }, { duration: Math.max(200, isLost ? takes * 0.55 : takes), fill: 'forwards' })
    way.finished.then(async () => {
      if (isLost) await dot.animate({ transform: ['none', 'translateY(1.6rem) rotate(25deg)'], opacity: [1, 0] }, { duration: 700, easing: 'ease-in', fill: 'forwards' }).finished
      runner.remove()
    }, () => runner.remove())
  }

  tell(name: string, happening: Happening): void {
    const { outcome, sequence } = happening
    const last = byId(`${this.#id}-last`)
    last.className = `last outcome-${outcome}`
    setText(last, sequence === null ? outcome : `${sequence} ${outcome}`)
    this.#tell(name, happening)
  }

  show(value: Gauge | undefined, { sequence, status, epoch }: ReplicaMeta, server: ReplicaMeta): void {
    paint(this.#id, value)
    setText(byId(`${this.#id}-sequence`), sequence < 0 ? '–' : String(sequence))
    const behind = server.sequence - sequence
    const isComparable = sequence >= 0 && epoch === server.epoch
    setText(byId(`${this.#id}-behind`), !isComparable || behind <= 0 ? '' : `${behind} behind`)
    this.#root.dataset['status'] = status
  }

  connection(state: ClientStatus['state']): void {
    setText(byId(`${this.#id}-link`), state)
    this.#root.dataset['link'] = state
  }

  away(): void {
    this.#root.classList.add('is-away')
    this.#lane.replaceChildren()
    setText(byId(`${this.#id}-link`), 'away')
    setText(byId(`${this.#id}-behind`), '')
  }
}

function paint(id: string, value: Gauge | undefined): void {
  // What the server holds may be the bad value that no gate has let through.
  const level = typeof value?.level === 'number' ? value.level : undefined
  setText(byId(`${id}-level`), value === undefined ? '–' : level === undefined ? '?' : `${level.toFixed(2)} m`)
  byId(`${id}-water`).style.transform = `scaleY(${Math.min(1, (level ?? 0) / FULL)})`
  const flag = byId(`${id}-flag`)
  flag.dataset['flag'] = value?.flag ?? ''
  setText(flag, value?.flag ?? '–')
}
