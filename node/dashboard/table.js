// Tables as files for a spreadsheet.

/** Has the browser save rows of texts as CSV (RFC 4180). */
export function save(name, heads, rows) {
  const text = [heads, ...rows].map((row) => row.map(cell).join(",")).join("\r\n");
  const url = URL.createObjectURL(new Blob(["\uFEFF", text, "\r\n"], { type: "text/csv" }));
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** A spreadsheet would compute what begins like a formula, and anybody may name a device. Where a comma
 *  is in figures, cells begin behind semicolons. */
function cell(value) {
  const text = String(value ?? "");
  const harmless = typeof value === "number" ? text : text.replace(/(^|;)( *)(?=[=+\-@\t\r])/g, "$1$2'");
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}
