// The map of profiles: treatments that look alike lie together.

class MapView {
  constructor(root, state, colours, tip, models, prefix) {
    Object.assign(this, { state, colours, tip });
    this.part = (name) => root.querySelector(`[data-part="${name}"]`);
    this.plot = models.get_model_by_name(`${prefix}map`);
    this.source = models.get_model_by_name(`${prefix}treatments`);
    this.ring = models.get_model_by_name(`${prefix}mark`);
    fill(this.part("projection"), Object.keys(state.data.places).map((name) => [name, name]));
    fill(this.part("colour"), this.modes());
    for (const name of ["projection", "colour"]) this.part(name).addEventListener("change", () => this.draw());
    if (matchMedia("(pointer: coarse)").matches) this.plot.toolbar.active_drag = null; // a finger scrolls the page
    this.part("all").addEventListener("click", () => state.set({ brush: null }));
    this.source.inspect.connect(() => {
      const [point] = this.source.inspected.indices;
      if (point === undefined) tip.hide();
      else tip.show(linesOf(state, this.rows[point]), state.picture(this.rows[point]));
    });
    this.part("map-plot").addEventListener("pointerleave", () => tip.hide());
    this.source.selected.change.connect(() => this.onSelected());
    state.listen((names) => {
      if (names.has("shown") || names.has("brush")) this.draw();
      else if (names.has("treatment")) this.mark();
    });
  }

  /** Return what points can be coloured by: [value, text] each. */
  modes() {
    const { data } = this.state;
    const of = data.treatments;
    const has = (values) => values && values.some((value) => value !== null && value !== "");
    return [["Metadata_MOA", "known mechanism", of.Metadata_MOA], ["Predicted_MOA", "predicted mechanism", of.Predicted_MOA],
      ["Confidence", "confidence", of.Confidence], ["Probability", "probability", of.Probability], ["Active", "activity", of.Active],
      ["None_Of_The_Known", "none of the known, p", of.None_Of_The_Known], ["plate", "plate of most wells", data.most.plate],
      ["week", "week of most wells", data.most.week], ["dose", `dose, ${data.unit}`, of.Metadata_Concentration]]
      .filter(([, , values]) => has(values)).map(([value, text]) => [value, text]);
  }

  draw() {
    const place = this.state.data.places[this.part("projection").value];
    this.rows = [...place.x.keys()].filter((row) => place.x[row] !== null);
    const mode = this.part("colour").value;
    const names = this.state.data.treatments[mode];
    if (mode.endsWith("MOA")) this.rows.sort((one, other) => Boolean(names[one]) - Boolean(names[other])); // known ones on top
    const [colour, marker] = this.painter(mode);
    const { isShown } = this.state;
    this.source.data = {
      x: this.rows.map((row) => place.x[row]), y: this.rows.map((row) => place.y[row]), colour: this.rows.map(colour),
      marker: this.rows.map(marker), alpha: this.rows.map((row) => (isShown.has(row) ? 0.9 : 0.12)) };
    this.plot.below[0].axis_label = place.axes[0];
    this.plot.left[0].axis_label = place.axes[1];
    this.part("all").hidden = !this.state.brush;
    this.part("map-note").textContent = this.state.brush ? `${counted(this.state.brush.size, "treatment")} framed in the map. ` : "";
    this.mark();
  }

  /** Return functions row -> colour and row -> marker, and write the legend. */
  painter(mode) {
    const { data } = this.state;
    const legend = this.part("map-legend");
    const circle = () => "circle";
    if (mode === "Metadata_MOA" || mode === "Predicted_MOA") {
      const names = data.treatments[mode];
      legendOfGroups(legend, frequent(this.rows.map((row) => names[row])).map(([name, number]) => [name || "not known", this.colours.mechanism(name), this.colours.marker(name), number]));
      return [(row) => this.colours.mechanism(names[row]), (row) => this.colours.marker(names[row])];
    }
    if (["plate", "week", "Active"].includes(mode)) {
      const names = data.most[mode] ?? data.treatments[mode];
      const order = [...new Set(names)].filter(Boolean).sort(new Intl.Collator("en", { numeric: true }).compare);
      const paint = (name) => (name ? data.lines[order.indexOf(name) % data.lines.length] : data.colours.unknown);
      const titles = mode === "Active" ? { True: "differs from the control", False: "does not" } : {};
      legendOfGroups(legend, frequent(this.rows.map((row) => names[row])).map(([name, number]) => [titles[name] ?? (name || "not known"), paint(name), "circle", number]));
      return [(row) => paint(names[row]), circle];
    }
    return [this.scaled(mode, legend), circle];
  }

  scaled(mode, legend) {
    const { data } = this.state;
    const isDose = mode === "dose";
    const values = isDose ? data.treatments.Metadata_Concentration : data.treatments[mode];
    const [low, high] = isDose ? bounds(values.filter((value) => value > 0)) : [0, 1];
    legendOfNumbers(legend, this.colours, low, high, isDose ? `${data.unit}, logarithmic` : "");
    const log = (value) => (value > 0 ? Math.log(value) : Math.log(low));
    return (row) => (isDose && values[row] !== null ? this.colours.number(log(values[row]), Math.log(low), Math.log(high)) : this.colours.number(values[row], low, high));
  }

  mark() {
    const place = this.state.data.places[this.part("projection").value];
    const { treatment } = this.state;
    const has = treatment >= 0 && place.x[treatment] !== null;
    this.ring.data = has ? { x: [place.x[treatment]], y: [place.y[treatment]] } : { x: [], y: [] };
  }

  /** A point that was clicked is chosen; points that were framed filter the table. */
  onSelected() {
    const rows = this.source.selected.indices.map((point) => this.rows[point]);
    if (rows.length === 1) this.state.choose(rows[0]);
    if (rows.length > 1) this.state.set({ brush: new Set(rows) });
  }
}
