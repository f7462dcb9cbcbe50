// What is chosen in the views of a run.  A view changes it with set(), and draws itself again when it hears of a change.

class State {
  constructor(data) {
    this.data = data;
    this.treatment = -1;   // row of data.treatments; -1: none
    this.plate = this.firstPlate(); // number of data.plates.names
    this.brush = null;     // Set of treatments that were framed in the map; null: all
    this.shown = [];       // treatments that pass the filters, in the order of the table
    this.isShown = new Set();
    this.listeners = [];
  }

  /** Call a function now, and after each change, with the names of what changed. */
  listen(heard) {
    this.listeners.push(heard);
  }

  set(changes) {
    const names = new Set(Object.keys(changes).filter((name) => this[name] !== changes[name]));
    Object.assign(this, changes);
    if (names.has("shown")) this.isShown = new Set(this.shown);
    if (names.size) for (const heard of this.listeners) heard(names);
  }

  /** Return the first plate with a prediction; the first one where there is none. */
  firstPlate() {
    const { plate, predicted } = this.data.plates;
    const least = plate.reduce((one, other, well) => (predicted[well] ? Math.min(one, other) : one), Infinity);
    return Number.isFinite(least) ? least : 0;
  }

  /** Choose a treatment, and the plate of a well of it where the one that is shown has none. */
  choose(treatment) {
    const wells = this.data.plates;
    let plate = this.plate;
    if (treatment >= 0) {
      const has = wells.treatment.map((of, well) => (of === treatment ? wells.plate[well] : -1)).filter((of) => of >= 0);
      if (has.length && !has.includes(plate)) plate = has[0];
    }
    this.set({ treatment, plate });
  }

  /** Return an entry of a column of treatments; null where the table has no such column. */
  of(treatment, column) {
    const values = this.data.treatments[column];
    return values && treatment >= 0 ? values[treatment] : null;
  }

  /** Return the first picture of a treatment; of the control of a plate: see control(). */
  picture(treatment) {
    this.pictures ??= new Map([...this.data.pictures].reverse().filter((each) => each.treatment >= 0)
      .map((each) => [each.treatment, each]));
    return this.pictures.get(treatment) ?? null;
  }

  control(plate) {
    return this.data.pictures.find((each) => each.control && each.plate === plate) ?? null;
  }
}
