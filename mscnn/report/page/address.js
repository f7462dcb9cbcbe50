// The selection in the page's address, so that a link opens it again: #treatment=taxol&dose=0.3&plate=P1&show=predicted

/** Return the selection of an address; null for an address that names none, such as that of a section. */
function readAddress(text) {
  const entries = new URLSearchParams(text.replace(/^#/, ""));
  return ["treatment", "plate", "show"].some((name) => entries.has(name)) ? entries : null;
}

/** Choose what an address names; names that the run does not have are left out. */
function follow(state, entries) {
  const of = state.data.treatments;
  if (entries.has("treatment")) {
    const [compound, asked] = [entries.get("treatment"), entries.get("dose")];
    const has = (row) => of.Metadata_Compound[row] === compound
      && (asked === null || String(of.Metadata_Concentration?.[row] ?? "") === asked);
    const row = [...of.Metadata_Compound.keys()].find(has);
    if (row !== undefined) state.choose(row);
  }
  const plate = state.data.plates.names.indexOf(entries.get("plate"));
  const measure = entries.get("show");
  state.set({ ...(plate >= 0 ? { plate } : {}), ...(measure ? { measure } : {}) });
}

/** Return the address of a selection; run: its number on the page, or "" where there is one only. */
function toAddress(state, run) {
  const entries = new URLSearchParams();
  if (run) entries.set("run", run);
  if (state.treatment >= 0) {
    entries.set("treatment", state.of(state.treatment, "Metadata_Compound"));
    const of = state.of(state.treatment, "Metadata_Concentration");
    if (of !== null) entries.set("dose", String(of));
  }
  if (state.data.plates.names.length) entries.set("plate", state.data.plates.names[state.plate]);
  if (state.measure) entries.set("show", state.measure);
  return `#${entries}`;
}
