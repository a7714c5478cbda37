for (const table of document.querySelectorAll("table.sorted")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, place) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => row.cells[place].dataset.value ?? row.cells[place].textContent;
      const order = (one, other) => {
        const [a, b] = [value(one), value(other)];
        const [x, y] = [Number(a.replaceAll(",", "")), Number(b.replaceAll(",", ""))];
        return Number.isNaN(x) || Number.isNaN(y) ? b.localeCompare(a) : y - x;
      };
      const rows = [...table.tBodies[0].rows].sort(order);
      table.tBodies[0].append(...(down ? rows : rows.reverse()));
    });
  });
}
