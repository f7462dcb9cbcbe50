// Colours of mechanisms, of other groups and of numbers.

class Colours {
  constructor(data) {
    this.data = data;
    this.styles = new Map(data.mechanisms.map((each) => [each.name, each]));
  }

  mechanism(name) {
    return this.styles.get(name)?.colour ?? this.data.colours.unknown;
  }

  marker(name) {
    return this.styles.get(name)?.marker ?? "circle";
  }

  /** Return the colour of a number between two bounds; null where it is missing. */
  number(value, low, high) {
    if (value === null || value === undefined) return this.data.colours.unknown;
    const share = high > low ? (value - low) / (high - low) : 0.5;
    const steps = this.data.scale.length;
    return this.data.scale[Math.min(steps - 1, Math.max(0, Math.floor(share * steps)))];
  }
}

/** Return bounds of numbers that leave out the outermost 2 % of each side. */
function bounds(values) {
  const found = values.filter((value) => value !== null && value !== undefined).sort((one, other) => one - other);
  if (!found.length) return [0, 1];
  const at = (share) => found[Math.round(share * (found.length - 1))];
  return [at(0.02), at(0.98)];
}

/** Return entries by frequency. */
function frequent(values) {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].sort((one, other) => other[1] - one[1]);
}

const SHAPES = { circle: "●", square: "■", diamond: "◆", triangle: "▲", inverted_triangle: "▼", plus: "✚", hex: "⬢", star: "★" };
const NAMED = 14; // entries of a legend, at most

/** Fill a legend with groups: [[name, colour, marker or "", number], ...]. */
function legendOfGroups(legend, groups) {
  legend.replaceChildren(...groups.slice(0, NAMED).map(([name, colour, marker, number]) => {
    const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
    swatch.textContent = SHAPES[marker] ?? "■";
    swatch.style.color = colour;
    return make("span", { class: "entry" }, swatch, named(name), number === null ? "" : make("small", {}, ` ${number}`));
  }), ...(groups.length > NAMED ? [`and ${groups.length - NAMED} more`] : []));
}

/** Fill a legend with a scale of numbers. */
function legendOfNumbers(legend, colours, low, high, words) {
  const bar = make("span", { class: "bar", "aria-hidden": "true" });
  bar.style.background = `linear-gradient(to right, ${colours.data.scale.join(",")})`;
  legend.replaceChildren(make("span", { class: "entry" }, digits(low), bar, digits(high), words ? ` ${words}` : ""));
}
