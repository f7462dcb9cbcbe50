// The chosen treatment: its picture beside the control's of the same plate, channels on and off, and its numbers in words.

const PLANES = ["red", "green", "blue"];

class ViewerView {
  constructor(root, state) {
    Object.assign(this, { root, state, off: new Set() });
    this.part = (name) => root.querySelector(`[data-part="${name}"]`);
    this.part("previous").addEventListener("click", () => this.step(-1));
    this.part("next").addEventListener("click", () => this.step(1));
    this.part("brightness").addEventListener("input", (event) => this.part("pictures").style.setProperty("--brightness", event.target.value));
    this.part("viewer").addEventListener("keydown", (event) => this.onKey(event));
    this.offerChannels();
    state.listen((names) => { if (names.has("treatment") || names.has("plate")) this.draw(); });
    this.draw();
  }

  onKey(event) {
    if (event.target.matches("input")) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) {
      event.preventDefault();
      this.step(step);
    }
  }

  /** Go to the next treatment of the table as it is filtered and sorted. */
  step(by) {
    const { shown, treatment } = this.state;
    const place = shown.indexOf(treatment);
    const next = shown[place < 0 ? 0 : Math.max(0, Math.min(shown.length - 1, place + by))];
    if (next !== undefined) this.state.choose(next);
  }

  offerChannels() {
    const { pictures } = this.state.data;
    const channels = new Map();
    for (const planes of pictures.flatMap((each) => each.planes)) {
      planes.forEach((channel, plane) => { if (channel !== null && !channels.has(channel)) channels.set(channel, PLANES[plane]); });
    }
    this.part("picture-tools").hidden = !pictures.length;
    this.part("channels").replaceChildren(...[...channels].map(([channel, plane]) => {
      const box = make("input", { type: "checkbox", checked: true });
      box.addEventListener("change", () => {
        if (box.checked) this.off.delete(channel); else this.off.add(channel);
        this.draw();
      });
      return make("label", { class: `channel ${plane}` }, box, named(channel));
    }));
  }

  draw() {
    const { state } = this;
    const { treatment } = state;
    const isChosen = treatment >= 0;
    this.part("chosen").hidden = !isChosen;
    this.part("nothing").hidden = isChosen;
    if (!isChosen) return;
    this.part("title").replaceChildren(named(state.of(treatment, "Metadata_Compound")), dose(state.of(treatment, "Metadata_Concentration"), state.data.unit));
    const picture = state.picture(treatment);
    const control = picture && state.control(picture.plate);
    this.part("pictures").replaceChildren(...[this.framed(picture, "treated"), this.framed(control, state.data.control)].filter(Boolean));
    this.part("no-picture").hidden = Boolean(picture);
    this.part("facts").replaceChildren(...this.facts(treatment).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, ...value)]));
    this.drawAttribution(treatment);
  }

  /** Return a picture with its channels: each file is one layer, and a channel is taken out of it by multiplication. */
  framed(picture, what) {
    if (!picture) return null;
    const field = make("div", { class: "field-picture" });
    field.style.aspectRatio = `${picture.width} / ${picture.height}`;
    picture.files.forEach((file, number) => {
      const planes = picture.planes[number];
      const layer = make("div", { class: "layer" }, make("img", { src: file, alt: number ? "" : `field, ${what}` }));
      const mask = make("div", { class: "mask" });
      mask.style.backgroundColor = `rgb(${planes.map((channel) => (this.off.has(channel) ? 0 : 255)).join(",")})`;
      layer.append(mask);
      field.append(layer);
    });
    return make("figure", {}, field, make("figcaption", {}, `${what}: plate `, named(picture.plate), ` ${picture.well}, site ${picture.site}`));
  }

  /** Return [name, parts of its value] of all that is known of a treatment. */
  facts(treatment) {
    const { state } = this;
    const of = (column) => state.of(treatment, column);
    const has = (column) => of(column) !== null && of(column) !== "";
    const facts = [];
    if (has("Predicted_MOA")) facts.push(["predicted", [make("strong", {}, named(of("Predicted_MOA"))), has("Probability") ? `, probability ${of("Probability").toFixed(2)}` : "", has("Confidence") ? `, confidence ${of("Confidence").toFixed(2)}` : ""]]);
    facts.push(["known", has("Metadata_MOA") ? [named(of("Metadata_MOA")), of("Trained") === "True" ? "; what predicts was fitted to it" : ""] : ["not known"]]);
    if (has("Q_Value")) facts.push(["against control", [of("Active") === "True" ? make("strong", {}, "differs") : "not told apart", `, q ${digits(of("Q_Value"), 2)}`, has("Effect_Size") ? `, effect ${digits(of("Effect_Size"))}` : ""]]);
    if (has("None_Of_The_Known")) facts.push(["none of the known", [`p ${digits(of("None_Of_The_Known"), 2)}`, !state.data.tells_unlike ? ": too few known compounds to tell" : of("None_Of_The_Known") > NEAR ? ": it may be none of them" : ": near to a known one"]]);
    if (has("Nearest_Compound")) facts.push(["nearest known", [named(of("Nearest_Compound")), dose(of("Nearest_Concentration"), state.data.unit), has("Nearest_MOA") ? ", " : "", has("Nearest_MOA") ? named(of("Nearest_MOA")) : "", has("Similarity") ? `; similarity ${of("Similarity").toFixed(2)}` : ""]]);
    const doses = this.doses(treatment);
    if (doses.length > 1) facts.push(["doses", doses]);
    const wells = [has("Wells") ? counted(of("Wells"), "well") : "", has("Plates") ? counted(of("Plates"), "plate") : "", has("Fields") ? counted(of("Fields"), "field") : "", has("Flagged_Fields") && of("Flagged_Fields") ? `${of("Flagged_Fields")} flagged` : ""].filter(Boolean);
    if (wells.length) facts.push(["measured", [wells.join(", ")]]);
    return facts;
  }

  /** Return a button for each dose of the compound. */
  doses(treatment) {
    const { state } = this;
    const compound = state.of(treatment, "Metadata_Compound");
    const names = state.data.treatments.Metadata_Compound;
    const doses = state.data.treatments.Metadata_Concentration ?? names.map(() => null);
    return [...names.keys()].filter((row) => names[row] === compound).sort((one, other) => doses[one] - doses[other]).map((row) => {
      const button = make("button", { type: "button", class: "dose", "aria-pressed": row === treatment }, dose(doses[row], state.data.unit).trim() || "not given");
      button.addEventListener("click", () => state.choose(row));
      return button;
    });
  }

  /** Show the attribution of the treatment's example, where the page has one. */
  drawAttribution(treatment) {
    const compound = this.state.of(treatment, "Metadata_Compound");
    const of = this.state.of(treatment, "Metadata_Concentration");
    const example = [...document.querySelectorAll(".example[data-compound]")].find((each) => each.dataset.compound === compound
      && (each.dataset.dose === "" ? of === null : Number(each.dataset.dose) === of) && each.querySelector(".parts img"));
    this.part("attribution").hidden = !example;
    this.part("attribution-parts").replaceChildren(...(example ? [example.querySelector(".parts").cloneNode(true)] : []));
  }
}
