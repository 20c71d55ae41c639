"use strict";
document.documentElement.classList.add("js");
const valueOf = (row, column) => {
  const text = row.cells[column].dataset.value;
  return text === "" || isNaN(text) ? text : Number(text);
};
const compare = (a, b) =>
  typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
const sortBy = (table, heading) => {
  const body = table.tBodies[0], column = heading.cellIndex;
  const direction = heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  const sign = direction === "ascending" ? 1 : -1;
  const rows = [...body.rows].map((row) => [valueOf(row, column), row]);
  rows.sort(([a], [b]) => (a === "") - (b === "") || sign * compare(a, b));
  body.append(...rows.map(([, row]) => row));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", direction);
};
for (const table of document.querySelectorAll("table.sortable")) {
  for (const heading of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sortBy(table, heading));
  }
}
const MOST_ROWS = 10;
for (const table of document.querySelectorAll("table.sortable")) {
  const count = table.tBodies[0].rows.length;
  if (count <= MOST_ROWS + 2) continue;
  const button = document.createElement("button");
  const fold = (folded) => {
    table.classList.toggle("folded", folded);
    button.setAttribute("aria-expanded", String(!folded));
    button.textContent = folded ? `Show all ${count} rows` : `Show the first ${MOST_ROWS} rows`;
  };
  button.type = "button";
  button.className = "unfold";
  button.addEventListener("click", () => fold(!table.classList.contains("folded")));
  fold(true);
  (table.closest(".scroll") ?? table).after(button);
}
for (const command of document.querySelectorAll("pre.command")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    let copied = true;
    try {
      await navigator.clipboard.writeText(command.textContent);
    } catch {
      getSelection().selectAllChildren(command);
      copied = document.execCommand("copy");
    }
    button.textContent = copied ? "Copied" : "Selected: copy it by hand";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  command.after(button);
}
const contents = document.querySelector(".contents"), narrow = matchMedia("(max-width: 48rem)");
const fitContents = () => { contents.open = !narrow.matches; };
fitContents();
narrow.addEventListener("change", fitContents);
contents.addEventListener("click", (event) => {
  if (narrow.matches && event.target.closest("a")) contents.open = false;
});
const isTooWide = (box) => box.scrollWidth > box.clientWidth + 1;
const fit = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const table = target.querySelector("table:not(.board)");
    table?.classList.remove("stacked");
    table?.classList.toggle("stacked", isTooWide(target));
    target.classList.toggle("more", isTooWide(target));
  }
});
for (const scroll of document.querySelectorAll(".scroll")) {
  const table = scroll.querySelector("table"), heads = [...table.tHead.rows[0].cells];
  for (const row of table.tBodies[0].rows)
    [...row.cells].forEach((cell, column) => { cell.dataset.label = heads[column].textContent.trim(); });
  fit.observe(scroll);
}
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const closed of opened) closed.open = true;
});
addEventListener("afterprint", () => { for (const closed of opened) closed.open = false; });
