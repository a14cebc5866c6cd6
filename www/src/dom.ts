/** Building elements: the one place that knows how attributes, properties and handlers reach the DOM. */

type Child = Node | string | null | undefined | false

type Attributes = Record<string, string | number | boolean | undefined | ((event: never) => void)>

/**
 * Creates an element. `on…` entries are event handlers, `true` sets an empty attribute, `false` and `undefined`
 * leave it out. Text always goes in as text: nothing here parses HTML.
 */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') {
      element.addEventListener(name.slice(2), value as EventListener)
    } else if (value === true) {
      element.setAttribute(name, '')
    } else if (value !== undefined && value !== false) {
      element.setAttribute(name, String(value))
    }
  }
  append(element, children)
  return element
}

const SVG = 'http://www.w3.org/2000/svg'

/** The same for SVG, attributes only. */
export function svg(tag: string, attributes: Record<string, string | number>, ...children: Node[]): SVGElement {
  const element = document.createElementNS(SVG, tag)
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value))
  element.append(...children)
  return element
}

/** Replaces the text only if it differs, so that untouched nodes cause no layout and no announcement. */
export function setText(node: Node, text: string): void {
  if (node.textContent !== text) node.textContent = text
}

function append(parent: Element, children: Child[]): void {
  for (const child of children) if (child) parent.append(child)
}
