/**
 * The nodes of the cluster that `cargo xtask cluster` runs: which of them serves this tab, and a button that kills one.
 *
 * The page's address says where to ask, as in `?cluster=40123`: a port of this machine. Elsewhere it is not looked at, so
 * no link can send the page of a public server to somebody's own machine.
 */
import { effect, signal, type ReadonlySignal } from '@preact/signals-core'
import { h, setText } from './dom'
import type { Status } from './replica'

/** How often the nodes are asked how they are. */
const LOOK = 1_000

interface Node {
  readonly name: string
  /** Where its WebSocket is. */
  readonly url: string
  readonly condition: 'ready' | 'joining' | 'down'
}

interface Row {
  readonly element: HTMLElement
  show(node: Node, isServing: boolean): void
}

export class Cluster {
  readonly #control: string
  readonly #nodes = signal<readonly Node[]>([])
  readonly #fault = signal('')
  #timer: ReturnType<typeof setInterval> | undefined

  private constructor(control: string) {
    this.#control = control
  }

  /** The cluster that this page's address names, if it names one. */
  static find({ hostname, search }: Location): Cluster | undefined {
    const port = new URLSearchParams(search).get('cluster')
    const isHere = hostname === 'localhost' || hostname === '127.0.0.1'
    return isHere && port !== null && /^\d{1,5}$/.test(port) ? new Cluster(`http://127.0.0.1:${port}`) : undefined
  }

  /** Where its nodes are. */
  async addresses(): Promise<string[]> {
    await this.#look()
    this.#timer ??= setInterval(() => {
      if (document.visibilityState === 'visible') void this.#look()
    }, LOOK)
    return this.#nodes.peek().map(({ url }) => url)
  }

  /** The nodes, for the head of the pane whose client is at one of them. */
  element(status: ReadonlySignal<Status>): HTMLElement {
    const words = h('p', { class: 'cluster-words', role: 'status', 'data-testid': 'served-by' })
    const list = h('ul', { class: 'cluster-nodes', 'aria-label': 'Nodes of the service' })
    const rows = new Map<string, Row>()
    effect(() => {
      const nodes = this.#nodes.value
      const now = status.value
      const address = now.state === 'live' ? now.address : null
      for (const node of nodes) {
        let row = rows.get(node.name)
        if (!row) {
          rows.set(node.name, (row = this.#row(node.name)))
          list.append(row.element)
        }
        row.show(node, node.url === address)
      }
      const serving = nodes.find(({ url }) => url === address)
      setText(words, this.#fault.value || (serving ? `This tab is served by ${serving.name}.` : 'This tab looks for a node.'))
    })
    return h('div', { class: 'cluster', 'data-testid': 'cluster' }, words, list)
  }

  #row(name: string): Row {
    const condition = h('span', { class: 'cluster-condition' })
    const kill = h(
      'button',
      { type: 'button', class: 'button button-danger', 'aria-label': `Kill ${name}`, 'data-testid': `kill-${name}`, onclick: () => void this.#kill(name, kill) },
      'Kill',
    )
    const element = h('li', { class: 'cluster-node', 'data-testid': name }, h('span', { class: 'cluster-name' }, name), condition, kill)
    return {
      element,
      show(node, isServing) {
        element.dataset['condition'] = node.condition
        // What is told of a node may be a second old; that a link to it is open is true now.
        setText(condition, isServing ? 'serves this tab' : node.condition)
        if (isServing) element.setAttribute('aria-current', 'true')
        else element.removeAttribute('aria-current')
        // It stays where the focus is, which a disabled button would lose.
        kill.setAttribute('aria-disabled', String(node.condition === 'down'))
      },
    }
  }

  async #kill(name: string, button: HTMLElement): Promise<void> {
    if (button.getAttribute('aria-disabled') === 'true') return
    await this.#ask(`/kill/${name}`, 'POST')
    await this.#look()
  }

  async #look(): Promise<void> {
    const answer = await this.#ask('/nodes', 'GET')
    if (answer) this.#nodes.value = (await answer.json()) as Node[]
  }

  async #ask(path: string, method: string): Promise<Response | undefined> {
    try {
      const answer = await fetch(this.#control + path, { method })
      this.#fault.value = answer.ok ? '' : await answer.text()
      return answer.ok ? answer : undefined
    } catch {
      this.#fault.value = 'The cluster has ended: start it again with cargo xtask cluster, and open the address that it prints.'
      return undefined
    }
  }
}
