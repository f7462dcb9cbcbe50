// Which treatments the table shows, and in which order.

const NEAR = 0.1; // p of none of the known up to which a known mechanism is believable, as in found.py

/** Return the filters that let everything through. */
function noFilters() {
  return { text: "", mechanism: "", active: false, unlike: false, least: 0 };
}

/** Return rows of treatments that pass. unlike: p of none of the known above NEAR. */
function passing(state, filters) {
  const of = state.data.treatments;
  const text = filters.text.trim().toLowerCase();
  const searched = ["Metadata_Compound", "Metadata_MOA", "Predicted_MOA", "Nearest_Compound"].filter((name) => of[name]);
  const sure = of.Confidence ?? of.Probability;
  const passes = (row) => (!state.brush || state.brush.has(row))
    && (!text || searched.some((name) => of[name][row].toLowerCase().includes(text)))
    && (!filters.mechanism || [of.Metadata_MOA, of.Predicted_MOA].some((names) => names && names[row] === filters.mechanism))
    && (!filters.active || of.Active[row] === "True")
    && (!filters.unlike || (of.None_Of_The_Known[row] !== null && of.None_Of_The_Known[row] > NEAR))
    && (!filters.least || (sure[row] !== null && sure[row] >= filters.least));
  return [...of.Metadata_Compound.keys()].filter(passes);
}

/** Return rows in the order of a column; entries that are missing come last, equal ones keep their order. */
function sorted(rows, values, isUp) {
  const order = new Intl.Collator("en", { numeric: true });
  const isMissing = (value) => value === null || value === "";
  const compare = (one, other) => (typeof one === "number" ? one - other : order.compare(one, other));
  return [...rows].sort((one, other) => {
    const [a, b] = [values[one], values[other]];
    if (isMissing(a) || isMissing(b)) return isMissing(a) - isMissing(b);
    return isUp ? compare(a, b) : compare(b, a);
  });
}
