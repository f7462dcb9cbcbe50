// What stands beside the pointer: a treatment in words, with a small picture.

class Tip {
  constructor() {
    this.element = make("div", { class: "tip", hidden: true, role: "status" });
    document.body.append(this.element);
    document.addEventListener("pointermove", (event) => { this.x = event.clientX; this.y = event.clientY; });
  }

  /** Show lines beside the pointer; picture: of state.picture, or null. */
  show(lines, picture) {
    const image = picture ? make("img", { src: picture.files[0], alt: "" }) : null;
    this.element.replaceChildren(...(image ? [image] : []), ...lines);
    this.element.hidden = false;
    const { width, height } = this.element.getBoundingClientRect();
    const x = Math.min(this.x + 14, innerWidth - width - 4);
    const y = this.y + 14 + height > innerHeight ? this.y - height - 10 : this.y + 14;
    this.element.style.left = `${Math.max(4, x)}px`;
    this.element.style.top = `${Math.max(4, y)}px`;
  }

  hide() {
    this.element.hidden = true;
  }
}

/** Return lines on a treatment: compound and dose, known and predicted mechanism. */
function linesOf(state, treatment) {
  const known = state.of(treatment, "Metadata_MOA");
  const predicted = state.of(treatment, "Predicted_MOA");
  const [sure, how] = state.of(treatment, "Confidence") === null
    ? [state.of(treatment, "Probability"), "probability"] : [state.of(treatment, "Confidence"), "confidence"];
  const name = make("strong", {}, named(state.of(treatment, "Metadata_Compound")));
  const lines = [make("div", {}, name, dose(state.of(treatment, "Metadata_Concentration"), state.data.unit))];
  if (known) lines.push(make("div", {}, "known: ", named(known)));
  if (predicted) lines.push(make("div", {}, "predicted: ", named(predicted), sure === null ? "" : ` (${how} ${sure.toFixed(2)})`));
  return lines;
}
