// Words and elements: all text of a table goes through textContent, and names into <bdi>, which isolates their direction.

const LETTERS = 48; // of a name; the whole name is its title

/** Return an element. attributes: false and null are left out; children: elements or text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Return a name, shortened where it is long. */
function named(text) {
  const letters = [...text];
  const isLong = letters.length > LETTERS;
  const shown = make("bdi", { title: isLong && text });
  shown.textContent = isLong ? letters.slice(0, LETTERS - 1).join("") + "…" : text;
  return shown;
}

/** Return a number in so many digits, without an exponent where it is of usual size. */
function digits(value, count = 3) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e-3 && size < 1e6 ? String(Number(value.toPrecision(count))) : value.toExponential(count - 2);
}

/** Return a cell of the table as text. */
function shown(value, kind) {
  if (value === null || value === undefined) return "–";
  if (kind === "share") return value.toFixed(2);
  if (kind === "count") return String(Math.round(value));
  if (kind === "p") return digits(value, 2);
  return kind === "number" ? digits(value, 4) : String(value);
}

/** Return a dose with its unit; nothing where it is not given. */
function dose(value, unit) {
  return value === null || value === undefined ? "" : ` ${digits(value, 4)} ${unit}`;
}

/** Return "1 well" or "2 wells". */
function counted(number, thing) {
  return `${number.toLocaleString("en")} ${thing}${number === 1 ? "" : "s"}`;
}

/** Fill a <select> with [value, text] pairs, the first one chosen. */
function fill(select, options) {
  select.replaceChildren(...options.map(([value, text]) => {
    const option = make("option", { value });
    option.textContent = [...text].slice(0, 80).join("");
    return option;
  }));
}
