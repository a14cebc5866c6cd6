/**
 * The picture: the record at the server, the envelopes on their way, what waits at the gate of a copy, and the copies. Every
 * envelope that is drawn is a real one; what is said of it comes from the replica.
 */
import { effect } from '@preact/signals-core'
import type { ClientStatus, Replica, ReplicaMeta } from 'tidewire'
import type { Happening, Outcome } from 'tidewire/inspector'
import { h, setText } from '../dom'
import type { Passage } from './network'
import type { Gauge, Place } from './world'

/** The gauge's scale, in metres. */
const FULL = 5
/** A sentence stays at least so long, or nobody can read it. */
const READ = 4_500
/** What tells more may cut in after this. */
const GLANCE = 2_000
/** Chips at a gate; more are counted. */
const CHIPS = 5
/** How long a request is drawn on its way. The network delays answers, not requests. */
const ASKING = 350
/** How long a term stays lit. */
const LIT = 2_500

const byId = (id: string): HTMLElement => document.getElementById(id) as HTMLElement

const WEIGHT: Record<Outcome, number> = { applied: 0, lost: 1, ignored: 2, refetch: 3, gap: 4, quarantined: 5, rollback: 6 }

/** The card that explains an outcome. */
const TERM: Partial<Record<Outcome | 'stale', string>> = { applied: 'applied', gap: 'gap', refetch: 'gap', ignored: 'ignored', quarantined: 'quarantined', stale: 'stale' }

export class Scene {
  #saidAt = 0
  #weight = 0
  #endServer: (() => void) | undefined
  #next: { name: string; happening: Happening } | undefined
  #timer: ReturnType<typeof setTimeout> | undefined

  /** Says something under the picture now, and to who listens: it answers what a visitor did. */
  say(text: string): void {
    this.#saidAt = performance.now()
    this.#weight = 10
    this.#next = undefined
    setText(byId('story'), text)
    setText(byId('said'), text)
  }

  showServer({ station, line }: { station: Replica<Gauge>; line: () => ClientStatus['state'] }, place: Place): void {
    this.#endServer?.()
    let wasAway = false
    const endNote = effect(() => {
      const state = line()
      const isAway = state === 'reconnecting' || state === 'offline'
      setText(byId('server-note'), isAway ? 'cannot be reached' : place === 'page' ? 'runs in this page' : 'native, over a WebSocket')
      byId('server').classList.toggle('is-away', isAway)
      if (isAway && !wasAway) this.say('The server cannot be reached. The copies go on showing what they have; the clients come back by themselves.')
      wasAway = isAway
    })
    const lines = [...byId('server-history').children]
    const history: string[] = []
    for (const line of lines) setText(line, '')
    let before: Gauge | undefined
    let last = -1
    const endValue = effect(() => {
      const value = station.get()
      const { sequence } = station.meta()
      paint('server', value)
      setText(byId('server-sequence'), sequence < 0 ? '–' : String(sequence))
      if (sequence === last || value === undefined) return
      history.unshift(`${String(sequence).padStart(3, '\u2007')}\u2002${change(before, value)}`)
      history.length = Math.min(history.length, lines.length)
      // The lines stay and their words go on, so that nothing moves.
      for (const [at, text] of history.entries()) setText(lines[at] as Element, text)
      before = value
      last = sequence
    })
    this.#endServer = () => {
      endNote()
      endValue()
    }
  }

  person(id: string): PersonView {
    return new PersonView(id, (name, happening) => this.#tell(name, happening))
  }

  /** Of what happens while a sentence is being read, the most telling thing is told next. */
  #tell(name: string, happening: Happening): void {
    if (this.#next === undefined || WEIGHT[happening.outcome] >= WEIGHT[this.#next.happening.outcome]) this.#next = { name, happening }
    this.#turn()
  }

  #turn(): void {
    clearTimeout(this.#timer)
    if (this.#next === undefined) return
    const { name, happening: { outcome, reason } } = this.#next
    const weight = WEIGHT[outcome]
    const wait = this.#saidAt + (weight > this.#weight ? GLANCE : READ) - performance.now()
    if (wait > 0) {
      this.#timer = setTimeout(() => this.#turn(), wait)
      return
    }
    this.#next = undefined
    this.#saidAt = performance.now()
    this.#weight = weight
    byId('story').replaceChildren(h('b', { class: `outcome-${outcome}` }, `${name}: ${outcome}. `), reason)
  }
}

export class PersonView {
  readonly #id: string
  readonly #lane: HTMLElement
  readonly #tell: (name: string, happening: Happening) => void
  /** Sequences that wait for what is missing before them. */
  readonly #held = new Set<number>()
  /** The last one that the gate refused. */
  #apart: number | undefined
  #epoch: string | null = null

  constructor(id: string, tell: (name: string, happening: Happening) => void) {
    this.#id = id
    this.#lane = byId(`${id}-lane`)
    this.#tell = tell
    this.#root.classList.remove('is-away')
    this.#drawGate()
  }

  get #root(): HTMLElement {
    return document.querySelector<HTMLElement>(`[data-person=${this.#id}]`) as HTMLElement
  }

  /** Draws an envelope on its way. */
  pass({ sequence, takes, fate }: Passage): void {
    const isLost = fate === 'lost'
    // An answer sets out when its question has been seen to arrive.
    const delay = fate === 'answer' ? ASKING : 0
    const dot = this.#run(fate, fate === 'answer' ? 'answer' : String(sequence), ['translateX(0)', `translateX(${isLost ? 55 : 100}%)`], (isLost ? takes * 0.55 : takes) - delay, delay)
    if (isLost) dot?.then((each) => each.animate({ transform: ['none', 'translateY(1.6rem) rotate(25deg)'], opacity: [1, 0] }, { duration: 700, easing: 'ease-in', fill: 'forwards' }).finished.then(() => each.parentElement?.remove()))
    else void dot?.then((each) => each.parentElement?.remove())
  }

  tell(name: string, happening: Happening): void {
    const { outcome, sequence } = happening
    const last = byId(`${this.#id}-last`)
    last.className = `last outcome-${outcome}`
    setText(last, sequence === null ? outcome : `${sequence} ${outcome}`)
    if (outcome === 'gap' && sequence !== null) this.#held.add(sequence)
    if (outcome === 'quarantined' && sequence !== null) this.#apart = sequence
    if (outcome === 'gap' || outcome === 'quarantined') this.#drawGate()
    if (outcome === 'refetch') void this.#run('request', 'what is missing?', ['translateX(100%)', 'translateX(0)'], ASKING)?.then((dot) => dot.parentElement?.remove())
    light(outcome)
    this.#tell(name, happening)
  }

  show(value: Gauge | undefined, { sequence, status, epoch, cursor }: ReplicaMeta, server: ReplicaMeta): void {
    paint(this.#id, value)
    setText(byId(`${this.#id}-sequence`), sequence < 0 ? '–' : String(sequence))
    const behind = server.sequence - sequence
    const isComparable = sequence >= 0 && epoch === server.epoch
    setText(byId(`${this.#id}-behind`), !isComparable || behind <= 0 ? '' : `${behind} behind`)
    const pill = byId(`${this.#id}-status`)
    setText(pill, status)
    pill.dataset['status'] = status
    if (status === 'stale' && sequence >= 0) light('stale')
    const isOther = epoch !== this.#epoch
    this.#epoch = epoch
    for (const each of this.#held) if (isOther || each <= cursor) this.#held.delete(each)
    if (this.#apart !== undefined && (isOther || sequence > this.#apart)) this.#apart = undefined
    this.#drawGate()
  }

  connection(state: ClientStatus['state']): void {
    setText(byId(`${this.#id}-link`), state)
    this.#root.dataset['link'] = state
    // What was on its way went with the connection.
    if (state !== 'live') this.#lane.replaceChildren()
  }

  away(): void {
    this.#root.classList.add('is-away')
    this.#lane.replaceChildren()
    this.#held.clear()
    this.#apart = undefined
    this.#drawGate()
    setText(byId(`${this.#id}-link`), 'away')
    setText(byId(`${this.#id}-behind`), '')
    const pill = byId(`${this.#id}-status`)
    setText(pill, '–')
    delete pill.dataset['status']
  }

  /** Runs a chip along the line; resolves with it at the end. */
  #run(kind: string, text: string, transform: string[], takes: number, delay = 0): Promise<HTMLElement> | undefined {
    if (document.hidden || matchMedia('(prefers-reduced-motion: reduce)').matches) return undefined
    const dot = h('span', { class: `dot dot-${kind}` }, text)
    const runner = h('div', { class: 'runner' }, dot)
    this.#lane.append(runner)
    return runner.animate({ transform }, { duration: Math.max(200, takes), delay, fill: 'both' }).finished.then(() => dot, () => dot)
  }

  /** What waits in front of the copy, and what was put aside. */
  #drawGate(): void {
    const held = [...this.#held].sort((a, b) => a - b)
    const chips = [
      ...(held.length > 0 ? [h('span', { class: 'gate-word outcome-gap' }, 'held back'), ...held.slice(0, CHIPS).map((each) => h('b', { class: 'chip chip-held' }, String(each)))] : []),
      ...(held.length > CHIPS ? [h('span', { class: 'gate-word outcome-gap' }, `+ ${held.length - CHIPS}`)] : []),
      ...(this.#apart === undefined ? [] : [h('span', { class: 'gate-word outcome-quarantined' }, 'put aside'), h('b', { class: 'chip chip-apart' }, String(this.#apart))]),
    ]
    const gate = byId(`${this.#id}-gate`)
    const words = chips.map((chip) => chip.textContent).join(' ')
    if (gate.dataset['words'] === words) return
    gate.dataset['words'] = words
    gate.replaceChildren(...chips)
  }
}

const lights = new Map<string, ReturnType<typeof setTimeout>>()

/** Lights the card that says what this is. */
function light(what: Outcome | 'stale'): void {
  const term = TERM[what]
  const card = term === undefined ? null : document.querySelector<HTMLElement>(`[data-term=${term}]`)
  if (!card || term === undefined) return
  card.classList.add('is-lit')
  clearTimeout(lights.get(term))
  lights.set(term, setTimeout(() => card.classList.remove('is-lit'), LIT))
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

/** What a change is about, in a few words. */
function change(before: Gauge | undefined, { level, flag, by }: Gauge): string {
  if (typeof level !== 'number') return 'a bad value'
  return before !== undefined && before.flag !== flag ? `${flag} flag, by ${by}` : `${level.toFixed(2)} m`
}
