// How the inspector looks. Colours follow the page's `color-scheme`; each can be set from outside.
//
// Nothing else of a page reaches it: rules stop at the shadow root, what would be inherited is reset at `.root`, and sizes
// are those of the reader's own font size, so that a page with `html { font-size: 62.5% }` does not shrink it.

export const STYLE = `
:host { display: block; }
:host([hidden]) { display: none; }
.root {
  all: initial;
  color-scheme: inherit;
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
  font: 400 medium/1.4 var(--tidewire-font, system-ui, sans-serif);
  font-size: var(--tidewire-size, medium);
  font-variant-numeric: tabular-nums;
}
*, *::before, *::after { box-sizing: border-box; }
h3, p, dl, dd, ul { margin: 0; padding: 0; }
.tracks { display: grid; gap: 1em; }
.empty { color: var(--soft); font-size: 0.875em; }
[hidden] { display: none; }
.track { border: 1px solid var(--line); border-radius: 6px; background: var(--panel); overflow: hidden; }
.head { display: grid; grid-template-columns: minmax(0, auto) auto minmax(0, 1fr); align-items: center; gap: 0.25em 0.75em; padding: 0.625em 0.875em; }
.name { min-width: 0; font-size: 1em; font-weight: 650; }
.fold { display: flex; align-items: center; gap: 0.5em; max-width: 100%; padding: 0; border: 0; background: none; color: inherit; font: inherit; cursor: pointer; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.fold::before { content: ''; flex: none; width: 0.4em; height: 0.4em; border: solid var(--soft); border-width: 0 2px 2px 0; rotate: 45deg; translate: 0 -0.1em; }
.is-folded .fold::before { rotate: -45deg; translate: 0; }
.is-folded :is(.plot, .why) { display: none; }
.fold:focus-visible, .paper:focus-visible { outline: 2px solid var(--refetch); outline-offset: -2px; border-radius: 3px; }
.status { padding: 0.15em 0.8em; border: 1px solid currentcolor; border-radius: 99px; font-size: 0.75em; font-weight: 600; min-width: 8em; text-align: center; }
.status[data-status='ok'] { color: var(--applied); }
.status[data-status='refetching'] { color: var(--refetch); }
.status[data-status='stale'] { color: var(--gap); }
.status[data-status='skew'] { color: var(--quarantined); }
.facts { display: flex; flex-wrap: wrap; gap: 0 1.5em; justify-content: end; font-size: 0.8125em; }
.facts div { display: flex; gap: 0.4em; }
.facts dt { color: var(--soft); }
.facts dd { min-width: 3em; font-weight: 600; }
.facts .wide { min-width: 6em; }
.value { grid-column: 1 / -1; overflow: hidden; color: var(--soft); font: 0.8125em/1.5 ui-monospace, monospace; text-overflow: ellipsis; white-space: nowrap; min-height: 1.5em; }
.plot { display: grid; grid-template-columns: 8.5em minmax(0, 1fr); border-block: 1px solid var(--line); cursor: default; }
.names { border-inline-end: 1px solid var(--line); list-style: none; }
.lane { display: flex; align-items: center; gap: 0.5em; height: 2em; padding-inline: 1.167em 0.667em; font-size: 0.75em; }
.lane b { margin-inline-start: auto; font-weight: 600; }
.lane + .lane { border-block-start: 1px solid var(--line); }
.paper { position: relative; overflow: hidden; contain: strict; background: repeating-linear-gradient(transparent 0 calc(1.5em - 1px), var(--line) calc(1.5em - 1px) 1.5em); touch-action: pan-y; }
.marks { position: absolute; inset: 0; will-change: transform; }
.mark { position: absolute; top: calc(1.5em * var(--lane)); left: calc(var(--second) * var(--at)); width: 1.5em; height: 1.5em; margin-left: -0.75em; }
.mark::before, .key::before { content: ''; display: block; width: 10px; height: 10px; border: 2px solid var(--colour); }
.mark::before { position: absolute; inset: 0; margin: auto; }
.mark.is-chosen { border-radius: 4px; box-shadow: inset 0 0 0 2px var(--ink); }
.scale { grid-column: 2; display: flex; justify-content: space-between; padding: 0.1em 0.5em; border-block-start: 1px solid var(--line); color: var(--soft); font-size: 0.6875em; }
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
.why { height: calc(2lh + 1em); padding: 0.5em 1em; overflow-y: auto; font-size: 0.875em; overflow-wrap: anywhere; }
.why b { color: var(--colour); font-weight: 650; }
@container (max-width: 40em) {
  .head { grid-template-columns: minmax(0, 1fr) auto; }
  .facts { grid-column: 1 / -1; justify-content: start; }
  .plot { grid-template-columns: 7.75em minmax(0, 1fr); }
  .why { height: calc(3lh + 1em); }
}
@media (forced-colors: active) {
  .mark, .key { forced-color-adjust: none; --colour: CanvasText; }
  .mark.is-chosen { box-shadow: inset 0 0 0 2px Highlight; }
}
`;
