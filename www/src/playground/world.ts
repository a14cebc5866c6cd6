/**
 * Who takes part: a tide gauge that writes over a good line, and two people, each with a client, a replica and a bad network
 * of their own. All of it is the package as it is published; the server is the one in this page or the one behind it.
 */
import { connect, init, type Client, type ClientStatus, type Replica } from 'tidewire'
import { Tap } from 'tidewire/inspector'
import { type Fate, Network, type Passage, type Source, type Weather } from './network'

export const KEY = 'gauge:north-pier'

export const FLAGS = ['green', 'amber', 'red'] as const
export type Flag = (typeof FLAGS)[number]

export interface Gauge {
  /** Metres above chart datum. */
  readonly level: number
  readonly trend: 'rising' | 'falling'
  readonly flag: Flag
  readonly by: string
}

/** The gate of both replicas. */
const SCHEMA = {
  type: 'object',
  required: ['level', 'trend', 'flag', 'by'],
  properties: {
    level: { type: 'number', minimum: 0, maximum: 5 },
    trend: { enum: ['rising', 'falling'] },
    flag: { enum: ['green', 'amber', 'red'] },
    by: { type: 'string' },
  },
} as const

/** How often the gauge writes: fast enough to see something, slow enough to follow one envelope with the eye. */
const PACE = 900
/** Seconds from one high water to the next; at the pier it takes twelve hours. */
const TIDE = 45
/** How long a restart takes. */
const RESTART = 1_500
/** How long a line stays cut: long enough to read what the copy says of itself meanwhile. */
const CUT = 4_500

export type Place = 'page' | 'wire'

export interface Person {
  readonly name: string
  readonly tap: Tap
  readonly client: Client
  readonly replica: Replica<Gauge>
  readonly network: Network
  close(): void
}

export class World {
  readonly place: Place
  readonly station: Replica<Gauge>
  readonly #source: Source
  readonly #client: Client
  readonly #people = new Map<string, Person>()
  #weather: Weather
  #timer: ReturnType<typeof setInterval> | undefined
  #ticks = Math.round(Math.random() * TIDE)

  private constructor(place: Place, source: Source, client: Client, weather: Weather) {
    this.place = place
    this.#source = source
    this.#client = client
    this.#weather = weather
    this.station = client.synced<Gauge>(KEY)
  }

  static async open(place: Place, weather: Weather): Promise<World> {
    await init()
    const source = await sourceOf(place)
    const world = new World(place, source, await connect(source), weather)
    world.tick()
    return world
  }

  /** Someone comes in, over a network of their own. */
  async enter(name: string, seed: number, onPassage: (passage: Passage) => void): Promise<Person> {
    const tap = new Tap()
    const network = new Network(this.#source, {
      seed,
      onPassage: (passage) => {
        onPassage(passage)
        if (passage.fate === 'lost') tap.lost(KEY, passage.sequence)
      },
    })
    network.weather = this.#weather
    const client = await connect(tap.through(network))
    const replica = client.synced(KEY, SCHEMA) as Replica<Gauge>
    const close = (): void => {
      this.#people.delete(name)
      replica.dispose()
      client.close()
    }
    const person: Person = { name, tap, client, replica, network, close }
    this.#people.set(name, person)
    return person
  }

  set weather(weather: Weather) {
    this.#weather = weather
    for (const { network } of this.#people.values()) network.weather = weather
  }

  /** How the gauge's own line to the server is; a tracked read. */
  line(): ClientStatus['state'] {
    return this.#client.status().state
  }

  get isRunning(): boolean {
    return this.#timer !== undefined
  }

  run(): void {
    this.#timer ??= setInterval(() => this.tick(), PACE)
  }

  pause(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** The gauge writes what it reads. */
  tick(): void {
    const at = (2 * Math.PI * ++this.#ticks * PACE) / 1000 / TIDE
    const level = Math.round((2.4 + 1.7 * Math.sin(at)) * 100) / 100
    this.#put({ level, trend: Math.cos(at) > 0 ? 'rising' : 'falling', flag: this.station.peek()?.flag ?? 'green', by: 'gauge' })
  }

  /** The gauge is broken for a moment: the server has no schema for it, so everybody is sent this. */
  spoil(): void {
    const broken = { ...(this.station.peek() ?? {}), level: 'ice on the sensor', by: 'gauge' }
    this.#put(broken)
  }

  /** Somebody sets the flag, in the whole value as they see it. */
  async hoist(person: Person, flag: Flag): Promise<void> {
    const seen = person.replica.peek()
    if (seen) await person.client.put(KEY, { ...seen, flag, by: person.name })
  }

  /** The next envelope to somebody meets this fate. */
  doom(person: Person, fate: Fate): void {
    person.network.doom(fate)
    if (this.isRunning) return
    this.tick()
    // A loss is noticed with what comes after it.
    if (fate === 'lost') setTimeout(() => this.tick(), PACE)
  }

  /** Loses one envelope to somebody, and cuts the line as soon as it is missed: now nobody can be asked. */
  strand(person: Person): void {
    this.doom(person, 'lost')
    const end = person.tap.on(({ outcome }) => {
      if (outcome !== 'refetch') return
      end()
      person.network.cut(CUT)
    })
  }

  /** Ends every connection of the people, as a server does that restarts. */
  restart(): void {
    for (const { network } of this.#people.values()) network.cut(RESTART)
  }

  close(): void {
    this.pause()
    for (const person of [...this.#people.values()]) person.close()
    this.#client.close()
  }

  #put(value: unknown): void {
    // The next tick writes anew; a line that is down is shown where the status is.
    this.#client.put(KEY, value).catch(() => undefined)
  }
}

async function sourceOf(place: Place): Promise<Source> {
  if (place === 'wire') {
    const address = new URL('/v1/sync', location.href)
    address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:'
    return { link: () => new WebSocket(address, ['tidewire.v1.msgpack']) as never }
  }
  const { ReferenceServer } = await import('tidewire/server')
  return ReferenceServer.create({ seed: 1 })
}
