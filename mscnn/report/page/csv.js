// Tables as CSV: RFC 4180, and text that a spreadsheet would compute gets an apostrophe in front, as csv_safe.py does.

const FORMULA = /(^|[;\t])('*)(?=[^\S\t\r\n]*[=+\-@＝＋－＠]|[\t\r\n])/g;

/** Return a value as a cell. */
function cell(value) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "number" ? String(value) : String(value).replace(FORMULA, "$1'$2");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Return rows of treatments as CSV with the columns of decisions.csv. */
function toCsv(data, rows) {
  const names = data.columns.map((column) => column.name);
  const lines = [names, ...rows.map((row) => names.map((name) => data.treatments[name][row]))];
  return lines.map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
}

/** Let the browser save a text as a file. */
function save(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  const link = make("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
