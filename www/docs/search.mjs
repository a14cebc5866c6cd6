/** How the docs are searched: the same words when the index is made and when it is asked. */
import MiniSearch from 'minisearch'

export const OPTIONS = {
  fields: ['heading', 'title', 'text'],
  storeFields: ['heading', 'title', 'url', 'excerpt'],
  // `createClientReplica` is found whole, and by each of its words.
  processTerm: (term) => {
    const parts = term.split(/(?<=[a-z0-9])(?=[A-Z])|_/)
    const words = parts.length > 1 ? [term, ...parts] : [term]
    return words.map((word) => word.toLowerCase()).filter((word) => word.length > 1 && !COMMON.has(word))
  },
  searchOptions: {
    boost: { heading: 5, title: 2 },
    prefix: true,
    // Short words have too many neighbours.
    fuzzy: (term) => (term.length > 4 ? 0.2 : false),
    combineWith: 'AND',
  },
}

/** Of these every section has some. */
const COMMON = new Set(['a', 'an', 'and', 'are', 'as', 'at', 'be', 'but', 'by', 'for', 'from', 'has', 'if', 'in', 'is', 'it', 'its', 'no', 'not', 'of', 'on', 'one', 'or', 'so', 'that', 'the', 'then', 'there', 'they', 'this', 'to', 'was', 'what', 'which', 'who', 'with', 'you', 'your'])

const EXCERPT = 150

/** The index of all sections of all pages, as JSON. `pages`: `{ file, title, sections, isGenerated }`. */
export function index(pages) {
  const search = new MiniSearch(OPTIONS)
  let id = 0
  for (const { file, title, sections, isGenerated } of pages) {
    for (const [at, { level, id: anchor, heading, text }] of sections.entries()) {
      // Of generated pages a name is enough: `Returns` stands there a hundred times.
      if (isGenerated && (level > 2 || text.startsWith('Re-exports'))) continue
      const rest = isGenerated ? '' : text
      search.add({ id: id++, title, heading: at === 0 ? title : heading, text: rest, url: at === 0 ? file : `${file}#${anchor}`, excerpt: shorten(text) })
    }
  }
  return JSON.stringify(search)
}

/** Whole words, and a sign that there are more. */
export function shorten(text, most = EXCERPT) {
  const plain = text.replace(/\s+/g, ' ').trim()
  return plain.length <= most ? plain : `${plain.slice(0, plain.lastIndexOf(' ', most)).replace(/[,;:.]$/, '')} …`
}
