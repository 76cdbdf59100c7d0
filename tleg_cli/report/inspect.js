"use strict";
// Sorting, filtering, the choice of a basis, dark and light. Without it, the page shows the same values unsorted.

function sortBy(table, header) {
  const down = header.getAttribute("aria-sort") !== (header.cellIndex === 0 ? "ascending" : "descending");
  const order = header.cellIndex === 0 ? (down ? "ascending" : "descending") : down ? "descending" : "ascending";
  for (const other of table.querySelectorAll("thead th[aria-sort]")) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const rows = [...table.tBodies[0].rows].map((row) => [row, row.cells[header.cellIndex].dataset.by ?? ""]);
  rows.sort(([, one], [, other]) => compare(one, other, sign));
  table.tBodies[0].append(...rows.map(([row]) => row));
}

// missing values come last in both directions; numbers are compared as numbers, names with 2 before 10
function compare(one, other, sign) {
  if (one === "" || other === "") return (one === "") - (other === "");
  const difference = Number(one) - Number(other);
  return sign * (Number.isNaN(difference) ? one.localeCompare(other, "en", { numeric: true }) : difference);
}

function filter(section) {
  const words = section.querySelector(".filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  const rows = section.querySelectorAll(".tensors tbody tr");
  for (const row of rows) {
    const name = row.cells[0].dataset.by.toLowerCase();
    row.hidden = !words.every((word) => name.includes(word));
    shown += !row.hidden;
  }
  const text = shown === rows.length ? `${shown} tensors` : `${shown} of ${rows.length} tensors`;
  section.querySelector(".count").value = text;
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try { localStorage.setItem("tleg-theme", theme); } catch { /* a file:// page may not store anything */ }
}

function otherTheme() {
  setTheme(getComputedStyle(document.documentElement).colorScheme === "dark" ? "light" : "dark");
}

for (const table of document.querySelectorAll(".tensors")) {
  for (const button of table.querySelectorAll("thead button")) {
    button.addEventListener("click", () => sortBy(table, button.closest("th")));
  }
}
for (const input of document.querySelectorAll(".filter")) {
  input.addEventListener("input", () => filter(input.closest("section")));
}
for (const input of document.querySelectorAll(".bases input")) {
  input.addEventListener("change", () => {
    for (const heat of input.closest("section").querySelectorAll(".heat")) heat.hidden = heat.dataset.basis !== input.value;
  });
}
for (const button of document.querySelectorAll(".theme")) {
  button.hidden = false;
  button.addEventListener("click", otherTheme);
}
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input[type=search]");
  if (event.key === "Escape" && typing) {
    event.target.value = "";
    filter(event.target.closest("section"));
    event.target.blur();
  } else if (!typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    if (event.key === "/") {
      event.preventDefault();
      document.querySelector(".filter").focus();
    } else if (event.key === "t") otherTheme();
  }
});
let kept = null;
try { kept = localStorage.getItem("tleg-theme"); } catch { /* as above */ }
if (kept === "dark" || kept === "light") setTheme(kept);
