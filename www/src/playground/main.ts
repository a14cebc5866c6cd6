/**
 * The playground: ties the controls to the world, and the world to the scene and the inspector. It starts by itself, unless
 * the visitor prefers less motion. For the console: `tidewire` (the module) and `world`.
 */
import { effect } from '@preact/signals-core'
import * as tidewire from 'tidewire'
import { defineInspector, type TidewireInspector } from 'tidewire/inspector'
import { Scene } from './scene'
import { FLAGS, KEY, World, type Person, type Place } from './world'
import { weatherControls } from './weather'

const PEOPLE = [
  { id: 'you', name: 'You', seed: 7 },
  { id: 'bob', name: 'Bob', seed: 23 },
] as const
type Id = (typeof PEOPLE)[number]['id']

/** How often Bob sets the flag. */
const BOB = 5_300

const byId = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T

defineInspector()
const inspector = byId<TidewireInspector>('inspector')
const scene = new Scene()
const isCalmVisitor = matchMedia('(prefers-reduced-motion: reduce)').matches
const run = byId<HTMLButtonElement>('run')
const second = byId<HTMLInputElement>('second')

let world: World | undefined
let opening: Promise<void> = Promise.resolve()
let wantsToRun = !isCalmVisitor
const inside = new Map<Id, { person: Person; leave: () => void }>()

const weather = weatherControls((now) => {
  if (world) world.weather = now
})
if (!isCalmVisitor) weather.preset('rough')

Object.assign(window, { tidewire })
open('page')

run.addEventListener('click', () => {
  wantsToRun = !wantsToRun
  pace()
  if (!wantsToRun) scene.say('The gauge is paused. What is still on its way arrives.')
})
byId('restart').addEventListener('click', () => {
  world?.restart()
  scene.say('Every connection ends. The copies stay, the clients come back by themselves and ask for what they missed.')
})
byId('spoil').addEventListener('click', () => {
  world?.spoil()
  scene.say('The gauge sends words where a number belongs. The gate of each copy puts that aside; the last good value stays.')
})
byId('write').addEventListener('click', () => {
  const shown = inside.get('you')?.person.replica.peek()?.flag
  hoist('you', FLAGS.find((flag) => flag !== shown) ?? 'green')
  scene.say('You ask for another flag. It shows once the server has numbered the change and it has come back: nothing is guessed.')
})
byId('lose').addEventListener('click', () => {
  withYou((person) => world?.doom(person, 'lost'))
  scene.say('The next envelope to you will be lost. Your copy notices with the one after it, which has to wait.')
})
byId('double').addEventListener('click', () => {
  withYou((person) => world?.doom(person, 'doubled'))
  scene.say('The next envelope to you will come twice. The second one says nothing new.')
})
byId('strand').addEventListener('click', () => {
  withYou((person) => world?.strand(person))
  scene.say('One envelope to you will be lost, and then the line is cut: your copy knows that something is missing, and cannot ask.')
})
for (const button of document.querySelectorAll<HTMLButtonElement>('[data-flag]')) {
  button.addEventListener('click', () => hoist('you', FLAGS.find((flag) => flag === button.dataset['flag']) ?? 'green'))
}
second.addEventListener('change', () => void (opening = opening.then(() => (second.checked ? enter('bob') : leave('bob')))))
for (const radio of document.querySelectorAll<HTMLInputElement>('[name=place]')) {
  radio.addEventListener('change', () => radio.checked && open(radio.value as Place))
}
document.addEventListener('visibilitychange', pace)
setInterval(() => {
  if (!world?.isRunning || !inside.has('bob')) return
  hoist('bob', FLAGS[Math.floor(Math.random() * FLAGS.length)] ?? 'green')
}, BOB)

/** Leaves the old world, if there is one, and opens another. One after the other, however fast somebody switches. */
function open(place: Place): void {
  opening = opening.then(async () => {
    for (const { id } of PEOPLE) leave(id)
    world?.close()
    world = undefined
    try {
      world = await World.open(place, weather.now())
    } catch (error) {
      scene.say(`The server could not be reached: ${error instanceof Error ? error.message : String(error)}`)
      return
    }
    Object.assign(window, { world })
    const { station } = world
    const opened = world
    scene.showServer({ station, line: () => opened.line() }, place)
    await enter('you')
    if (second.checked) await enter('bob')
    pace()
  })
}

async function enter(id: Id): Promise<void> {
  const known = PEOPLE.find((each) => each.id === id)
  if (!world || !known || inside.has(id)) return
  const view = scene.person(id)
  const person = await world.enter(known.name, known.seed, (passage) => view.pass(passage))
  const unwatch = inspector.watch({ tap: person.tap, key: KEY, replica: person.replica, label: known.name })
  const { station } = world
  const ends = [
    unwatch,
    person.tap.on((happening) => view.tell(known.name, happening)),
    effect(() => view.show(person.replica.get(), person.replica.meta(), station.meta())),
    effect(() => view.connection(person.client.status().state)),
  ]
  const leaveNow = (): void => {
    for (const end of ends) end()
    person.close()
    view.away()
  }
  inside.set(id, { person, leave: leaveNow })
}

function leave(id: Id): void {
  inside.get(id)?.leave()
  inside.delete(id)
}

function hoist(id: Id, flag: (typeof FLAGS)[number]): void {
  const there = inside.get(id)
  if (!there || !world) return
  world.hoist(there.person, flag).catch((error: unknown) => scene.say(`The flag was not set: ${error instanceof Error ? error.message : String(error)}`))
}

function withYou(act: (person: Person) => void): void {
  const there = inside.get('you')
  if (there) act(there.person)
}

/** The gauge runs while it is wanted and somebody can see it. */
function pace(): void {
  if (wantsToRun && !document.hidden) world?.run()
  else world?.pause()
  run.textContent = wantsToRun ? 'Pause the gauge' : 'Start the gauge'
}
