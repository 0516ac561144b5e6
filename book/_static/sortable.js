/* Tables of class echo-sortable: a click on a heading sorts by its column, a second one the other way round. */
document.addEventListener("DOMContentLoaded", () => {
  const number = text => { const found = text.replace("\u2013", "").replace("\u2212", "-").match(/^\s*[-+]?\d[\d.,]*/); return found ? parseFloat(found[0].replace(/,/g, "")) : NaN; };
  for (const table of document.querySelectorAll("table.echo-sortable")) {
    const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach(other => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const text = row => row.cells[column].textContent.trim();
        const order = (a, b) => {
          const x = number(text(a)), y = number(text(b));
          if (isNaN(x) !== isNaN(y)) return isNaN(x) ? 1 : -1;  // cells without a number come last, either way
          const less = !isNaN(x) && x !== y ? x - y : text(a).localeCompare(text(b), undefined, {numeric: true});
          return down ? -less : less;
        };
        body.append(...[...body.rows].sort(order));
      });
    });
  }
});
