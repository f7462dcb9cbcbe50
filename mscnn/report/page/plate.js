// The heat map of a plate.

class PlateView {
  constructor(root, state, colours, tip, models, prefix) {
    const { data } = state;
    const named = (numbers) => numbers.map((number) => data.plates.names_of[number]);
    const wells = { ...data.plates, known: named(data.plates.known), predicted: named(data.plates.predicted) };
    Object.assign(this, { state, colours, tip, wells, well: -1 });
    this.part = (name) => root.querySelector(`[data-part="${name}"]`);
    this.source = (name) => models.get_model_by_name(prefix + name);
    this.plot = models.get_model_by_name(`${prefix}plate`);
    fill(this.part("plate"), this.wells.names.map((name, number) => [number, name]));
    fill(this.part("measure"), this.measures());
    this.part("plate").addEventListener("change", (event) => state.set({ plate: Number(event.target.value) }));
    this.part("measure").addEventListener("change", () => { this.draw(); state.set({ measure: this.part("measure").value }); });
    this.listenToPointer();
    this.part("plate-plot").addEventListener("keydown", (event) => this.onKey(event));
    state.listen((names) => {
      if (names.has("measure") && state.measure !== this.part("measure").value) this.part("measure").value = state.measure;
      if (["plate", "shown", "measure"].some((name) => names.has(name))) this.draw();
      else if (names.has("treatment")) this.mark();
    });
  }

  /** Return what can be shown of wells: [value, text] each. */
  measures() {
    const of = this.wells;
    const found = [];
    if (of.predicted.some(Boolean)) found.push(["predicted", "predicted mechanism"], ["probability", "probability of the prediction"]);
    if (of.known.some(Boolean)) found.push(["known", "known mechanism"]);
    found.push(["treatment", "treated, control, selected"]);
    for (const [name, measure] of Object.entries(of.measures)) found.push([`m:${name}`, measure.title]);
    if (of.flags.some(Boolean)) found.push(["flags", "flags of quality"]);
    for (const name of Object.keys(of.probabilities)) found.push([`p:${name}`, `probability of ${name}`]);
    return found;
  }

  /** Return the wells of the plate that have a place on it. */
  here() {
    const of = this.wells;
    return [...of.plate.keys()].filter((well) => of.plate[well] === this.state.plate && of.row[well] >= 0);
  }

  draw() {
    const { wells, state } = this;
    this.part("plate").value = String(state.plate);
    this.shown = this.here();
    const colour = this.painter(this.part("measure").value);
    const place = (rows, more = {}) => ({ x: rows.map((well) => wells.column[well] + 1), y: rows.map((well) => wells.row[well] + 1), ...more });
    this.source("wells").data = place(this.shown, { colour: this.shown.map(colour) });
    this.source("controls").data = place(this.shown.filter((well) => wells.control[well]));
    const flagged = this.shown.filter((well) => wells.flags[well]);
    const flags = place(flagged);
    this.source("flags").data = { x: flags.x.map((x) => x + 0.28), y: flags.y.map((y) => y - 0.28) };
    this.tellRest(flagged.length);
    this.mark();
  }

  /** Say what the map cannot show: wells without a place, and what the marks are. */
  tellRest(flagged) {
    const of = this.wells;
    const lost = [...of.plate.keys()].filter((well) => of.plate[well] === this.state.plate && of.row[well] < 0);
    const names = lost.slice(0, 5).map((well) => of.well[well]).join(", ");
    this.part("plate-note").replaceChildren(...[
      this.shown.some((well) => of.control[well]) ? "○ control wells. " : "", flagged ? `△ ${counted(flagged, "well")} with a flag of quality. ` : "",
      lost.length ? `${counted(lost.length, "well")} with a name that is no place on a plate: ` : "", lost.length ? named(names) : ""]);
  }

  /** Return a function well -> colour, and write the legend. */
  painter(measure) {
    const of = this.wells;
    const { colours, shown } = this;
    const legend = this.part("plate-legend");
    if (measure === "predicted" || measure === "known") {
      const lacking = measure === "known" ? "not known" : "not predicted";
      const control = measure === "known" ? "control" : "control, not predicted";
      const names = (well) => of[measure][well] || (of.control[well] ? control : lacking);
      const paint = (name) => (name === control || name === this.state.data.control ? this.state.data.colours.control : colours.mechanism(name));
      legendOfGroups(legend, frequent(shown.map(names)).map(([name, number]) => [name, paint(name), "square", number]));
      return (well) => paint(names(well));
    }
    if (measure === "treatment" || measure === "flags") {
      const names = measure === "flags" ? (well) => of.flags[well] || "none" : (well) => this.kind(well);
      const groups = frequent(shown.map(names));
      const order = measure === "flags" ? ["none", ...new Set(of.flags.filter(Boolean))] : ["not shown in the table", "shown in the table", "control"];
      const all = [this.state.data.colours.unknown, ...this.state.data.lines];
      const paint = (name) => (name === "control" ? this.state.data.colours.control : all[order.indexOf(name) % all.length]);
      legendOfGroups(legend, groups.map(([name, number]) => [name, paint(name), "square", number]));
      return (well) => paint(names(well));
    }
    const values = this.values(measure);
    const [low, high] = measure.startsWith("m:") ? bounds(values) : [0, 1];
    legendOfNumbers(legend, colours, low, high, measure.startsWith("m:") ? "over all plates" : "");
    return (well) => colours.number(values[well], low, high);
  }

  kind(well) {
    if (this.wells.control[well]) return "control";
    return this.state.isShown.has(this.wells.treatment[well]) ? "shown in the table" : "not shown in the table";
  }

  values(measure) {
    if (measure.startsWith("p:")) return this.wells.probabilities[measure.slice(2)].map((share) => (share === null ? null : share / 1000));
    return measure.startsWith("m:") ? this.wells.measures[measure.slice(2)].values : this.wells.probability;
  }

  /** Frame the wells of the chosen treatment, or the one well that keys have moved to. */
  mark() {
    const of = this.wells;
    const chosen = this.shown.filter((well) => (this.state.treatment >= 0 && of.treatment[well] === this.state.treatment) || well === this.well);
    this.source("chosen").data = { x: chosen.map((well) => of.column[well] + 1), y: chosen.map((well) => of.row[well] + 1) };
  }

  listenToPointer() {
    const source = this.source("wells");
    source.inspect.connect(() => {
      const [index] = source.inspected.indices;
      if (index === undefined) this.tip.hide();
      else this.tip.show(this.lines(this.shown[index]), this.pictureOf(this.shown[index]));
    });
    this.part("plate-plot").addEventListener("pointerleave", () => this.tip.hide());
    source.selected.change.connect(() => {
      const [index] = source.selected.indices;
      if (index !== undefined) this.choose(this.shown[index]);
    });
  }

  choose(well) {
    this.well = well;
    this.part("plate-readout").replaceChildren(...this.lines(well));
    if (this.wells.treatment[well] >= 0) this.state.choose(this.wells.treatment[well]);
    this.mark();
  }

  /** Return lines on a well. */
  lines(well) {
    const of = this.wells;
    const measure = this.part("measure").value;
    const treatment = of.treatment[well];
    const name = of.control[well] ? `${this.state.data.control} (control)` : of.compound[well];
    const lines = treatment >= 0 ? [linesOf(this.state, treatment)[0]] : [make("div", {}, make("strong", {}, named(name)))];
    lines.unshift(make("div", { class: "where" }, named(this.wells.names[of.plate[well]]), ` ${of.well[well]}`));
    if (of.known[well]) lines.push(make("div", {}, "known: ", named(of.known[well])));
    const sure = of.probability[well] ?? null;
    if (of.predicted[well]) lines.push(make("div", {}, "this well: ", named(of.predicted[well]), sure === null ? "" : ` (probability ${sure.toFixed(2)})`));
    if (measure.startsWith("m:")) lines.push(make("div", {}, `${this.wells.measures[measure.slice(2)].title}: ${digits(this.values(measure)[well])}`));
    if (measure.startsWith("p:")) lines.push(make("div", {}, "probability of ", named(measure.slice(2)), `: ${digits(this.values(measure)[well])}`));
    if (of.flags[well]) lines.push(make("div", {}, `flags: ${of.flags[well].replaceAll(";", ", ")}`));
    return lines;
  }

  pictureOf(well) {
    return this.wells.control[well] ? this.state.control(this.wells.names[this.state.plate]) : this.state.picture(this.wells.treatment[well]);
  }

  /** Move from well to well with the arrow keys. */
  onKey(event) {
    const of = this.wells;
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (event.key === "Enter" && this.well >= 0) this.choose(this.well);
    else if (event.key in steps && this.shown.length) {
      const [down, right] = steps[event.key];
      const from = this.shown.includes(this.well) ? this.well : null;
      const ahead = (well) => (from === null ? 0 : (of.row[well] - of.row[from]) * down + (of.column[well] - of.column[from]) * right);
      const aside = (well) => (from === null ? 0 : Math.abs((of.row[well] - of.row[from]) * right) + Math.abs((of.column[well] - of.column[from]) * down));
      const next = this.shown.filter((well) => from === null || ahead(well) > 0)
        .sort((one, other) => aside(one) - aside(other) || ahead(one) - ahead(other))[0];
      if (next !== undefined) this.well = next;
      this.part("plate-readout").replaceChildren(...this.lines(this.well));
      this.mark();
    } else return;
    event.preventDefault();
  }
}
