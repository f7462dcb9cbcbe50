// The table of treatments: filters, order, pages of rows, and its download.

const ROWS = 50; // of a page, so that 10,000 treatments are as quick as ten

class TableView {
  constructor(root, state, colours) {
    Object.assign(this, { state, colours, filters: noFilters(), page: 0, order: null, isUp: true });
    this.part = (name) => root.querySelector(`[data-part="${name}"]`);
    this.body = this.part("rows");
    this.listenToFilters();
    this.part("first").addEventListener("click", () => this.turn(-Infinity));
    this.part("before").addEventListener("click", () => this.turn(-1));
    this.part("after").addEventListener("click", () => this.turn(1));
    this.part("download").addEventListener("click", () => save("treatments.csv", toCsv(state.data, state.shown)));
    this.body.addEventListener("click", (event) => this.onRow(event));
    this.body.addEventListener("keydown", (event) => this.onKey(event));
    this.headers = [...root.querySelectorAll("[data-column]")];
    for (const header of this.headers) header.querySelector("button").addEventListener("click", () => this.sort(header.dataset.column));
    state.listen((names) => {
      if (names.has("brush")) this.filter();
      if (names.has("treatment")) this.follow();
    });
    this.filter();
  }

  listenToFilters() {
    const of = this.state.data.treatments;
    const mechanisms = this.state.data.mechanisms.map((each) => [each.name, each.name]);
    fill(this.part("mechanism"), [["", "all mechanisms"], ...mechanisms]);
    const change = (name, read) => this.part(name).addEventListener("input", (event) => {
      this.filters[name] = read(event.target);
      this.filter();
    });
    change("text", (field) => field.value);
    change("mechanism", (field) => field.value);
    change("active", (field) => field.checked);
    change("unlike", (field) => field.checked);
    change("least", (field) => Number(field.value));
    const has = { mechanism: mechanisms.length, active: of.Active, unlike: of.None_Of_The_Known && this.state.data.tells_unlike, least: of.Confidence ?? of.Probability };
    for (const [name, values] of Object.entries(has)) if (!values) this.part(name).closest("label").hidden = true;
    this.part("reset").addEventListener("click", () => this.reset());
  }

  reset() {
    this.filters = noFilters();
    for (const name of ["text", "mechanism", "least"]) this.part(name).value = name === "least" ? "0" : "";
    for (const name of ["active", "unlike"]) this.part(name).checked = false;
    this.state.set({ brush: null });
    this.filter();
  }

  filter() {
    const { state } = this;
    const rows = passing(state, this.filters);
    const isLimited = rows.length < state.data.treatments.Metadata_Compound.length;
    this.page = 0;
    this.part("reset").hidden = !isLimited;
    this.part("least-shown").textContent = this.filters.least ? `at least ${this.filters.least.toFixed(2)}` : "any";
    state.set({ shown: this.order ? sorted(rows, state.data.treatments[this.order], this.isUp) : rows });
    this.draw();
  }

  /** Sort by a column: up, then down, then as the file was. */
  sort(column) {
    if (this.order !== column) [this.order, this.isUp] = [column, true];
    else if (this.isUp) this.isUp = false;
    else this.order = null;
    for (const header of this.headers) {
      header.setAttribute("aria-sort", header.dataset.column !== this.order ? "none" : this.isUp ? "ascending" : "descending");
    }
    this.filter();
  }

  turn(pages) {
    this.page = Math.max(0, Math.min(this.lastPage(), this.page + pages));
    this.draw();
  }

  lastPage() {
    return Math.max(0, Math.ceil(this.state.shown.length / ROWS) - 1);
  }

  draw() {
    const { state } = this;
    const rows = state.shown.slice(this.page * ROWS, (this.page + 1) * ROWS);
    this.body.replaceChildren(...rows.map((row) => this.row(row)));
    const [from, to] = [this.page * ROWS + 1, this.page * ROWS + rows.length];
    const total = state.data.treatments.Metadata_Compound.length;
    this.part("count").textContent = state.shown.length === total ? counted(total, "treatment") : `${state.shown.length.toLocaleString("en")} of ${counted(total, "treatment")}`;
    this.part("range").textContent = rows.length ? `${from} to ${to} of ${state.shown.length.toLocaleString("en")}` : "no treatment passes the filters";
    for (const [name, isThere] of [["first", this.page > 0], ["before", this.page > 0], ["after", this.page < this.lastPage()]]) this.part(name).disabled = !isThere;
    this.markChosen();
  }

  row(row) {
    const { data } = this.state;
    return make("tr", { "data-row": row }, ...data.columns.map((column) => {
      const value = data.treatments[column.name][row];
      if (column.name === "Metadata_Compound") return make("td", {}, make("button", { class: "pick", type: "button", tabindex: -1 }, named(value || "(no name)")));
      const screen = column.prints ? "" : " screen";
      if (column.kind === "mechanism") return make("td", {}, this.swatch(value), value ? named(value) : "");
      if (column.kind === "text") return make("td", { class: screen }, named(value));
      return make("td", { class: `n${screen}` }, shown(value, column.kind));
    }));
  }

  swatch(name) {
    if (!name) return null;
    const swatch = make("span", { class: "swatch", "aria-hidden": "true" }, SHAPES[this.colours.marker(name)]);
    swatch.style.color = this.colours.mechanism(name);
    return swatch;
  }

  /** Mark the chosen row; it, or the first one, is reached by the tab key. */
  markChosen() {
    const picks = [...this.body.querySelectorAll(".pick")];
    for (const pick of picks) {
      const isChosen = Number(pick.closest("tr").dataset.row) === this.state.treatment;
      pick.closest("tr").classList.toggle("chosen", isChosen);
      pick.setAttribute("aria-pressed", String(isChosen));
      pick.tabIndex = isChosen ? 0 : -1;
    }
    if (picks.length && !picks.some((pick) => pick.tabIndex === 0)) picks[0].tabIndex = 0;
  }

  /** Turn to the page of the chosen treatment. */
  follow() {
    const place = this.state.shown.indexOf(this.state.treatment);
    if (place >= 0 && Math.floor(place / ROWS) !== this.page) {
      this.page = Math.floor(place / ROWS);
      this.draw();
    } else this.markChosen();
  }

  onRow(event) {
    const row = event.target.closest("tr");
    if (row) this.state.choose(Number(row.dataset.row));
  }

  /** Arrow keys move from row to row; Home and End to the first and last of the page. */
  onKey(event) {
    const picks = [...this.body.querySelectorAll(".pick")];
    const here = picks.indexOf(event.target);
    const to = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: picks.length - 1 }[event.key];
    if (here < 0 || to === undefined) return;
    event.preventDefault();
    const next = picks[Math.max(0, Math.min(picks.length - 1, to))];
    picks[here].tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }
}
