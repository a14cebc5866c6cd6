/** The sliders of the network, and the three kinds of weather that set them all at once. */
import type { Weather } from './network'

type Name = keyof Weather
export type Preset = 'calm' | 'rough' | 'storm'

/** In the units of the sliders: percent and milliseconds. */
const PRESETS: Record<Preset, Record<Name, number>> = {
  calm: { loss: 0, delay: 200, duplication: 0, reordering: 0 },
  rough: { loss: 12, delay: 450, duplication: 12, reordering: 8 },
  storm: { loss: 35, delay: 700, duplication: 30, reordering: 30 },
}
const NAMES: readonly Name[] = ['loss', 'delay', 'duplication', 'reordering']

export interface WeatherControls {
  now(): Weather
  preset(preset: Preset): void
}

export function weatherControls(changed: (weather: Weather) => void): WeatherControls {
  const inputs = new Map(NAMES.map((name) => [name, document.getElementById(name) as HTMLInputElement]))
  const outputs = new Map(NAMES.map((name) => [name, document.getElementById(`${name}-out`) as HTMLElement]))
  const buttons = [...document.querySelectorAll<HTMLButtonElement>('[data-preset]')]
  const read = (name: Name): number => Number(inputs.get(name)?.value ?? 0)
  const now = (): Weather => ({
    loss: read('loss') / 100, delay: read('delay'), duplication: read('duplication') / 100, reordering: read('reordering') / 100,
  })
  const show = (): void => {
    for (const [name, output] of outputs) {
      const words = `${read(name)} ${name === 'delay' ? 'ms' : '%'}`
      output.textContent = words
      inputs.get(name)?.setAttribute('aria-valuetext', words)
    }
    for (const button of buttons) {
      const preset = PRESETS[button.dataset['preset'] as Preset]
      button.setAttribute('aria-pressed', String(NAMES.every((name) => read(name) === preset[name])))
    }
    changed(now())
  }
  const preset = (chosen: Preset): void => {
    for (const [name, input] of inputs) input.value = String(PRESETS[chosen][name])
    show()
  }
  for (const input of inputs.values()) input.addEventListener('input', show)
  for (const button of buttons) button.addEventListener('click', () => preset(button.dataset['preset'] as Preset))
  preset('calm')
  return { now, preset }
}
