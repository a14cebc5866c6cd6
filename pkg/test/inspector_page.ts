// The inspector in a page that is as hostile as pages are: it tells the test what became of it through `report`.

import { connect } from 'tidewire';
import { defineInspector, Tap, type TidewireInspector } from 'tidewire/inspector';
import { ReferenceServer } from 'tidewire/server';

declare global {
  var report: { violations: string[]; add(count: number): Promise<void>; put(key: string, value: unknown): void; inspectors: TidewireInspector[] };
}

const violations: string[] = [];
document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => violations.push(`${violatedDirective} ${blockedURI}`));

const policy = document.createElement('meta');
policy.httpEquiv = 'Content-Security-Policy';
policy.content = "default-src 'self'; style-src 'none'; script-src 'self' 'wasm-unsafe-eval'; require-trusted-types-for 'script'";
document.head.append(policy);

// A sheet of the page's own, as it would come from its server.
const sheet = new CSSStyleSheet();
sheet.replaceSync(`
  html { font-size: 50%; }
  * { color: rgb(255 0 0) !important; font-size: 60px !important; line-height: 4 !important; letter-spacing: 9px !important; text-transform: uppercase !important;
      text-align: right !important; visibility: inherit; direction: rtl !important; white-space: pre !important; word-spacing: 20px !important; }
  div, section, button, p, h3, i, b, span { display: inline !important; float: right; position: static !important; background: rgb(255 255 0) !important; }
`);
document.adoptedStyleSheets = [sheet];
document.documentElement.dir = 'rtl';

defineInspector();
const server = await ReferenceServer.create({ seed: 1 });
const inspectors = [0, 1].map(() => document.createElement('tidewire-inspector') as TidewireInspector);
document.body.append(...inspectors);
const tap = new Tap();
const client = await connect(tap.through(server));
let added = 0;

globalThis.report = {
  violations,
  inspectors,
  put: (key, value) => server.put(key, value),
  async add(count) {
    for (let n = 0; n < count; n++) {
      const key = `record:${added++}`;
      const replica = client.synced(key);
      for (const inspector of inspectors) inspector.watch({ tap, key, replica });
      server.put(key, { n: added, text: 'x'.repeat(100_000) });
      await replica.ready();
    }
  },
};
