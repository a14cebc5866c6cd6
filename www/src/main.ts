/**
 * The countries: one datastore, twice. On the left its replica over a WebSocket; on the right the same server module, running in
 * this page, over the in-process link. For the console: `tidewire` (the module), `client` and `countries` (over the wire),
 * `server` and `pageClient` (in this page).
 */
import { signal } from '@preact/signals-core'
import * as tidewire from 'tidewire'
import { Cluster } from './cluster'
import type { Country } from './country'
import { frame } from './frame'
import { Pane } from './pane'
import { COUNTRIES, COUNTRIES_OPTIONS, type Countries } from './replica'

const address = new URL('/v1/sync', location.href)
address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:'

const search = signal('')
const cluster = Cluster.find(location)
const wire = new Pane({
  id: 'wire',
  title: 'Over the wire',
  subtitle: cluster ? 'WebSocket to any node of a cluster' : `WebSocket to ${address.host}`,
  elsewhere: 'elsewhere',
  search,
  head: (status) => cluster?.element(status),
})
const page = new Pane({ id: 'page', title: 'In this page', subtitle: 'The same server module, in WebAssembly', elsewhere: 'console', search })
page.wait('This server starts with a copy of the records that arrive over the wire.')

frame({ root: document.getElementById('app') ?? document.body, panes: [wire, page], search })

Object.assign(window, { tidewire })
void openWire()

async function openWire(): Promise<void> {
  try {
    await tidewire.init()
    const client = await tidewire.connect(cluster ? await cluster.addresses() : address)
    const countries: Countries = client.datastore<Country>(COUNTRIES, undefined, COUNTRIES_OPTIONS)
    Object.assign(window, { client, countries })
    wire.open({ status: () => client.status(), countries })
    void openPage(countries)
  } catch (error) {
    wire.fail(error, () => void openWire())
  }
}

async function openPage(original: Countries): Promise<void> {
  try {
    await original.ready()
    // Its wasm is a file of its own: the list over the wire does not wait for it.
    const { ReferenceServer } = await import('tidewire/server')
    const server = await ReferenceServer.create()
    const store = server.datastore(COUNTRIES, COUNTRIES_OPTIONS)
    for (const country of original.rows()) await store.set(country)
    const client = await tidewire.connect(server)
    Object.assign(window, { server, pageClient: client })
    const countries: Countries = client.datastore<Country>(COUNTRIES, undefined, COUNTRIES_OPTIONS)
    page.open({ status: () => client.status(), countries })
  } catch (error) {
    page.fail(error, () => void openPage(original))
  }
}
