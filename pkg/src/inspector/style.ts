// How the inspector looks. Colours follow the page's `color-scheme`; each can be set from outside.

export const STYLE = `
:host {
  --ink: var(--tidewire-ink, light-dark(#12242e, #e2edf2));
  --soft: var(--tidewire-soft, light-dark(#4a606d, #9ab0bc));
  --panel: var(--tidewire-panel, light-dark(#fbfdfd, #101d25));
  --line: var(--tidewire-line, light-dark(#c9d6dc, #24353f));
  --applied: var(--tidewire-applied, light-dark(#12704c, #63cf9f));
  --ignored: var(--tidewire-ignored, light-dark(#5d707b, #8fa5b1));
  --gap: var(--tidewire-gap, light-dark(#8b5500, #eab35f));
  --refetch: var(--tidewire-refetch, light-dark(#0f5b7d, #8cc9e4));
  --quarantined: var(--tidewire-quarantined, light-dark(#a3125f, #f58bbf));
  --lost: var(--tidewire-lost, light-dark(#b02318, #ff9c8f));
  display: block;
  container-type: inline-size;
  color: var(--ink);
  font: 400 0.875rem/1.4 var(--tidewire-font, system-ui, sans-serif);
  font-variant-numeric: tabular-nums;
}
:host([hidden]) { display: none; }
*, *::before, *::after { box-sizing: border-box; }
h3, p, dl, dd { margin: 0; }
.tracks { display: grid; gap: 1rem; }
.empty { color: var(--soft); }
.track { border: 1px solid var(--line); border-radius: 6px; background: var(--panel); overflow: hidden; }
.head { display: grid; grid-template-columns: auto auto minmax(0, 1fr); align-items: center; gap: 0.25rem 0.75rem; padding: 0.625rem 0.875rem; }
.name { font-size: 1rem; font-weight: 650; }
.status { padding: 0.1rem 0.6rem; border: 1px solid currentcolor; border-radius: 99px; font-size: 0.75rem; font-weight: 600; min-width: 6rem; text-align: center; }
.status[data-status='ok'] { color: var(--applied); }
.status[data-status='refetching'] { color: var(--refetch); }
.status[data-status='stale'] { color: var(--gap); }
.status[data-status='skew'] { color: var(--quarantined); }
.facts { display: flex; flex-wrap: wrap; gap: 0 1.25rem; justify-content: end; font-size: 0.8125rem; }
.facts div { display: flex; gap: 0.35rem; }
.facts dt { color: var(--soft); }
.facts dd { min-width: 2.5rem; font-weight: 600; }
.facts .wide { min-width: 5rem; }
.value { grid-column: 1 / -1; overflow: hidden; color: var(--soft); font: 0.8125rem/1.5 ui-monospace, monospace; text-overflow: ellipsis; white-space: nowrap; }
.plot { position: relative; display: grid; grid-template-columns: 8.5rem minmax(0, 1fr); border-block: 1px solid var(--line); cursor: default; }
.plot:focus-visible { outline: 2px solid var(--refetch); outline-offset: -2px; }
.names { border-inline-end: 1px solid var(--line); }
.lane { display: flex; align-items: center; gap: 0.4rem; height: 1.5rem; padding-inline: 0.875rem 0.5rem; font-size: 0.75rem; }
.lane b { margin-inline-start: auto; font-weight: 600; }
.lane + .lane { border-block-start: 1px solid var(--line); }
.paper { position: relative; overflow: hidden; contain: strict; background: repeating-linear-gradient(transparent 0 calc(1.5rem - 1px), var(--line) calc(1.5rem - 1px) 1.5rem) 0 0.5px; }
.marks { position: absolute; inset: 0; will-change: transform; }
.mark { position: absolute; width: 1.5rem; height: 1.5rem; margin-inline-start: -0.75rem; padding: 0; border: 0; background: none; }
.mark::before, .key::before { content: ''; display: block; width: 0.625rem; height: 0.625rem; border: 2px solid var(--colour); }
.mark::before { position: absolute; inset: 0; margin: auto; }
.mark.is-chosen { border-radius: 4px; box-shadow: inset 0 0 0 2px var(--ink); }
[data-outcome='applied'] { --colour: var(--applied); }
[data-outcome='applied']::before { border-radius: 50%; background: var(--colour); }
[data-outcome='ignored'] { --colour: var(--ignored); }
[data-outcome='ignored']::before { border-radius: 50%; }
[data-outcome='gap'] { --colour: var(--gap); }
[data-outcome='gap']::before { border-block-width: 0; border-inline-width: 3px; }
[data-outcome='refetch'] { --colour: var(--refetch); }
[data-outcome='refetch']::before { rotate: 45deg; background: var(--colour); }
[data-outcome='quarantined'] { --colour: var(--quarantined); }
[data-outcome='quarantined']::before { background: var(--colour); }
[data-outcome='rollback'] { --colour: var(--quarantined); }
[data-outcome='rollback']::before { border-block-end-width: 0; }
[data-outcome='lost'] { --colour: var(--lost); }
.mark[data-outcome='lost']::before, .key[data-outcome='lost']::before { border: 0; background: linear-gradient(45deg, transparent 42%, var(--colour) 42% 58%, transparent 58%), linear-gradient(-45deg, transparent 42%, var(--colour) 42% 58%, transparent 58%); }
.why { height: calc(2lh + 1rem); padding: 0.5rem 0.875rem; overflow: hidden; }
.why b { color: var(--colour); font-weight: 650; }
@container (max-width: 40rem) {
  .head { grid-template-columns: minmax(0, 1fr) auto; }
  .facts { grid-column: 1 / -1; justify-content: start; }
  .plot { grid-template-columns: 7.75rem minmax(0, 1fr); }
  .lane { padding-inline-start: 0.625rem; }
  .why { height: calc(3lh + 1rem); padding-inline: 0.625rem; }
}
`;
