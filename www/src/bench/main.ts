/**
 * The benchmark's page: the results of the last run as plots, and a button that runs the hot path in this browser. It
 * shares styles and no code with the demo; the benchmark's own modules are loaded when the button is pressed.
 */
import { h, setText } from '../dom'
import reportUrl from '../../../docs/bench/client.json?url'
import type { Environment, Report, Runner } from './model'
import { barPlot, download, held, hot, starts } from './plots'

const root = document.getElementById('bench') ?? document.body

const choice = h('div', { class: 'choice', role: 'radiogroup', 'aria-label': 'Measured in' })
const plots = h('div', { class: 'plots' })
const progress = h('progress', { max: 1, value: 0, hidden: true, 'aria-label': 'Progress' })
const said = h('p', { class: 'said', role: 'status' })
const button = h('button', { class: 'button button-strong', type: 'button', onclick: () => void runHere() }, 'Run in this browser')

root.append(
  h('div', { class: 'head' },
    h('h1', {}, 'The client, measured'),
    h('p', { class: 'lead' },
      'Frames in, plain objects out: Tidewire beside the same duty in plain JavaScript, in one page and one run, in turns.',
      ' Shorter is faster. The line across a bar is the range of its rounds.')),
  h('section', { class: 'controls', 'aria-label': 'What is shown' }, choice, h('div', { class: 'run' }, button, progress), said),
  plots,
)

let runner: Promise<Runner> | undefined
const environments: Environment[] = []
let report: Report | undefined

void load()

async function load(): Promise<void> {
  try {
    const response = await fetch(reportUrl)
    if (!response.ok) throw new Error(`the server answered ${response.status}`)
    report = await response.json() as Report
    environments.push(...report.environments)
    const { machine } = report
    setText(said, `${new Date(report.at).toLocaleDateString(undefined, { dateStyle: 'long' })}, ${machine.cpu}, ${machine.cores} cores, ${report.rounds} rounds.`)
    showChoice(environments[0])
  } catch (error) {
    setText(said, `The last results could not be loaded: ${error instanceof Error ? error.message : String(error)}`)
  }
}

function showChoice(chosen: Environment | undefined): void {
  if (chosen === undefined) return
  choice.replaceChildren(...environments.map((environment) => h('label', { class: 'option' },
    h('input', { type: 'radio', name: 'environment', checked: environment === chosen, onchange: () => show(environment) }),
    h('span', {}, environment.name))))
  show(chosen)
}

function show(environment: Environment): void {
  plots.replaceChildren(
    ...environment.contests.map(hot),
    ...(environment.held ? held(environment.held) : []),
    ...(environment.starts ? [starts(environment.starts)] : []),
    ...(report && report.downloads.length > 0 ? [barPlot(download(report.downloads))] : []),
  )
}

/** Runs the hot path here: the same modules, fewer rounds. */
async function runHere(): Promise<void> {
  button.disabled = true
  progress.hidden = false
  progress.value = 0
  try {
    const address = new URL('./bench/runner.js', document.baseURI).href
    const { run, WORKLOADS } = await (runner ??= import(/* @vite-ignore */ address) as Promise<Runner>)
    const workloads = WORKLOADS.map(({ id }) => id).filter((id) => id !== 'others')
    const contests = await run({
      rounds: 9, warmUp: 3, scale: 0.5, workloads,
      progress: (part, label) => {
        progress.value = part
        setText(said, `Measuring: ${label}`)
      },
    })
    const here: Environment = { name: 'This browser', version: navigator.userAgent, contests }
    const before = environments.findIndex(({ name }) => name === here.name)
    if (before >= 0) environments.splice(before, 1)
    environments.push(here)
    setText(said, 'Measured here, just now. What else this machine did slowed all contestants of a round alike.')
    showChoice(here)
  } catch (error) {
    runner = undefined
    setText(said, `It could not be measured here: ${error instanceof Error ? error.message : String(error)}`)
  } finally {
    button.disabled = false
    progress.hidden = true
  }
}
