/**
 * A network that is as bad as one likes: it loses, delays, doubles and overtakes what a server sends, by dice that a seed
 * throws. Only envelopes meet its faults, for it is about them; the answers between them come late, but whole and in order.
 */
import type { Link } from 'tidewire'
import { type FrameMessage, readFrame } from 'tidewire/inspector'

/** Shares from 0 to 1; the delay in milliseconds. */
export interface Weather {
  readonly loss: number
  readonly delay: number
  readonly duplication: number
  readonly reordering: number
}

/** One envelope on its way, or the answer to what a client asked: that has no sequence of its own. */
export interface Passage {
  readonly sequence: number
  /** How long it is under way, in milliseconds. */
  readonly takes: number
  readonly fate: 'arrives' | 'lost' | 'copy' | 'answer'
}

/** What becomes of the next envelope, whatever the weather. */
export type Fate = 'lost' | 'doubled'

export interface NetworkOptions {
  readonly seed: number
  readonly onPassage: (passage: Passage) => void
}

/** Anything that gives links. */
export interface Source {
  link(): Link
}

/** The kinds of an answer and an envelope in PROTOCOL.md. */
const ANSWER = 65
const ENVELOPE = 67
/** Of a link's `readyState`. */
const CONNECTING = 0
const OPEN = 1
/** A server that restarts says so with this code: come back. */
const RESTARTING = 4000
/** By how much an envelope that is overtaken is later than the others. */
const OVERTAKEN = 1_300

export class Network implements Source {
  weather: Weather = { loss: 0, delay: 0, duplication: 0, reordering: 0 }
  readonly #source: Source
  readonly #options: NetworkOptions
  readonly #dice: () => number
  #open: BadLink | undefined
  #isUp = true
  #next: Fate | undefined

  constructor(source: Source, options: NetworkOptions) {
    this.#source = source
    this.#options = options
    this.#dice = dice(options.seed)
  }

  link(): Link {
    const link = (this.#open = new BadLink(this.#source, (message) => this.#route(message)))
    if (this.#isUp) link.open()
    return link
  }

  /** Ends the connection, and has new ones wait for `millis`. */
  cut(millis: number): void {
    this.#isUp = false
    this.#open?.cut()
    setTimeout(() => {
      this.#isUp = true
      this.#open?.open()
    }, millis)
  }

  /** Decides what becomes of the next envelope. */
  doom(fate: Fate): void {
    this.#next = fate
  }

  /** When a message arrives: once, never, or twice. */
  #route({ kind, fields }: FrameMessage): Route {
    const { loss, delay, duplication, reordering } = this.weather
    const takes = delay * (0.85 + 0.3 * this.#dice())
    if (kind === ANSWER) this.#options.onPassage({ sequence: -1, takes, fate: 'answer' })
    if (kind !== ENVELOPE) return { takes, extra: [] }
    const sequence = fields[1] as number
    const doom = this.#next
    this.#next = undefined
    if (doom === 'lost' || (this.#dice() < loss && doom === undefined)) {
      this.#options.onPassage({ sequence, takes, fate: 'lost' })
      return { takes: undefined, extra: [] }
    }
    const isOvertaken = this.#dice() < reordering
    const isDoubled = this.#dice() < duplication || doom === 'doubled'
    const extra = [...(isOvertaken ? [takes + OVERTAKEN] : []), ...(isDoubled ? [takes + 350 + 300 * this.#dice()] : [])]
    this.#options.onPassage({ sequence, takes: isOvertaken ? takes + OVERTAKEN : takes, fate: 'arrives' })
    if (isDoubled) this.#options.onPassage({ sequence, takes: extra.at(-1) ?? takes, fate: 'copy' })
    return { takes: isOvertaken ? undefined : takes, extra }
  }
}

interface Route {
  /** In order with all others; `undefined` if it does not come in order. */
  readonly takes: number | undefined
  /** Out of order. */
  readonly extra: readonly number[]
}

interface Due {
  readonly at: number
  readonly data: ArrayBuffer
}

class BadLink implements Link {
  onopen: Link['onopen'] = null
  onmessage: Link['onmessage'] = null
  onclose: Link['onclose'] = null
  onerror: Link['onerror'] = null
  readonly #source: Source
  readonly #route: (message: FrameMessage) => Route
  #inner: Link | undefined
  #queue: Due[] = []
  #last = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  #isClosed = false

  constructor(source: Source, route: (message: FrameMessage) => Route) {
    this.#source = source
    this.#route = route
  }

  /** Reaches the server. Until then the link is one that is being opened. */
  open(): void {
    if (this.#inner || this.#isClosed) return
    const inner = (this.#inner = this.#source.link())
    inner.binaryType = 'arraybuffer'
    inner.onopen = () => this.onopen?.()
    inner.onerror = () => this.onerror?.()
    inner.onclose = (event) => this.#end(event)
    inner.onmessage = ({ data }) => this.#take(data)
    // One within the page is open from the start, and whoever dialed knows if that was just now.
    if (this.readyState === OPEN) this.onopen?.()
  }

  get bufferedAmount(): number {
    return this.#inner?.bufferedAmount ?? 0
  }

  get readyState(): number {
    return this.#inner === undefined ? CONNECTING : (this.#inner.readyState ?? OPEN)
  }

  send(bytes: Uint8Array): void {
    this.#inner?.send(bytes)
  }

  close(code?: number, reason?: string): void {
    if (this.#inner) this.#inner.close(code, reason)
    else this.#end({ code: code ?? 1000, reason: reason ?? '' })
  }

  cut(): void {
    if (this.#inner) {
      this.#inner.onclose = null
      this.#inner.onmessage = null
      this.#inner.close(1000)
    }
    this.#end({ code: RESTARTING, reason: 'the server is restarting' })
  }

  #take(data: ArrayBuffer): void {
    for (const each of readFrame(data)) {
      const { takes, extra } = this.#route(each)
      const message = data.slice(each.start, each.end)
      const now = performance.now()
      if (takes !== undefined) {
        this.#last = Math.max(this.#last, now + takes)
        this.#send(this.#last, message)
      }
      for (const later of extra) this.#send(now + later, message)
    }
  }

  #end(event: { code: number; reason: string }): void {
    if (this.#isClosed) return
    this.#isClosed = true
    clearTimeout(this.#timer)
    this.#queue = []
    this.onclose?.(event)
  }

  #send(at: number, data: ArrayBuffer): void {
    const place = this.#queue.findLastIndex((due) => due.at <= at) + 1
    this.#queue.splice(place, 0, { at, data })
    this.#wait()
  }

  #wait(): void {
    clearTimeout(this.#timer)
    const [next] = this.#queue
    if (next) this.#timer = setTimeout(() => this.#deliver(), Math.max(0, next.at - performance.now()))
  }

  #deliver(): void {
    // Timers are early by up to a millisecond.
    while (this.#queue[0] && this.#queue[0].at <= performance.now() + 1) this.onmessage?.({ data: this.#queue.shift()!.data })
    this.#wait()
  }
}

/** A small seeded generator (mulberry32), so that the same seed is the same weather. */
function dice(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}
