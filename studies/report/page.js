"use strict";

// Charts in the colours of the theme, legends that show and hide lines, and tables that sort.
(() => {
  const root = document.documentElement;
  const charts = [...document.querySelectorAll(".chart")];
  const dark = new Map(Object.entries(JSON.parse(document.getElementById("dark").textContent)));
  const darkSystem = matchMedia("(prefers-color-scheme: dark)");
  const onPaper = matchMedia("print");
  const touch = matchMedia("(pointer: coarse)");
  const config = { displayModeBar: false, responsive: true, scrollZoom: false, showTips: false, doubleClick: "reset" };

  const paper = 680; // pixels that a row of charts is drawn for on paper, where CSS fits it to the page
  let printing = onPaper.matches;

  function isDark() {
    if (printing) return false;
    return root.dataset.theme ? root.dataset.theme === "dark" : darkSystem.matches;
  }

  // Groups of traces that the legend of a chart has hidden.
  function hiddenOf(chart) {
    const off = chart.closest("section").querySelectorAll('.legend [aria-pressed="false"]');
    return new Set(
      [...off]
        .filter((button) => button.closest(".legend").parentElement.contains(chart))
        .map((button) => button.dataset.group),
    );
  }

  function draw(chart) {
    const themed = isDark() ? (_, value) => dark.get(value) ?? value : undefined;
    const { data, layout } = JSON.parse(chart.nextElementSibling.textContent, themed);
    const hidden = hiddenOf(chart);
    for (const trace of data) trace.visible = !hidden.has(trace.legendgroup);
    layout.dragmode = touch.matches ? false : "zoom"; // a finger scrolls the page
    layout.height = parseFloat(chart.style.height);
    if (printing) layout.width = chart.closest(".panels") ? paper / 2 : paper;
    const drawn = Plotly.react(chart, data, layout, config);
    scale(chart, layout.width, layout.height);
    return drawn;
  }

  // With a width of its own, a drawing is a picture that CSS gives the width of its place.
  function scale(chart, width, height) {
    chart.style.setProperty("--shape", width ? `${width} / ${height}` : "auto");
    for (const svg of chart.querySelectorAll(".main-svg")) {
      if (width) svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      else svg.removeAttribute("viewBox");
    }
  }

  // All at once, as the browser takes what is there when this is done.
  function print(now) {
    if (printing === now) return;
    printing = now;
    for (const chart of charts) draw(chart);
  }

  // One after the other, so that the page answers while there are many.
  async function drawAll() {
    for (const chart of charts) {
      await draw(chart);
      await new Promise((done) => setTimeout(done));
    }
    root.dataset.drawn = isDark() ? "dark" : "light";
  }

  function toggle(button) {
    const shown = button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-pressed", String(!shown));
    const within = button.closest(".legend").parentElement;
    charts.filter((chart) => within.contains(chart)).forEach(draw);
  }

  function compare(one, two) {
    const numbers = [Number(one), Number(two)];
    return numbers.some(Number.isNaN) ? one.localeCompare(two) : numbers[0] - numbers[1];
  }

  // The best come first, and last after another click. Cells without a value stay last.
  function sort(table, head) {
    const first = "down" in head.dataset ? "descending" : "ascending";
    const ascending = (head.getAttribute("aria-sort") === first) === (first === "descending");
    const body = table.tBodies[0];
    const valueOf = (row) => row.cells[head.cellIndex].dataset.value;
    const rows = [...body.rows];
    const known = rows.filter((row) => valueOf(row) !== undefined);
    known.sort((one, two) => (ascending ? 1 : -1) * compare(valueOf(one), valueOf(two)));
    body.append(...known, ...rows.filter((row) => valueOf(row) === undefined));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const direction = ascending ? "ascending" : "descending";
    document.getElementById("told").textContent = `Sorted by ${head.textContent}, ${direction}`;
  }

  // What one page leaves to the next, where the browser allows it.
  function remembered(text) {
    try {
      if (text) sessionStorage.setItem("live", text);
      return sessionStorage.getItem("live");
    } catch {
      return null;
    }
  }

  // While a study runs: returns what looks for new pages, unless somebody reads others or says no.
  function follow(live) {
    const [drawn, every] = [1000 * live.dataset.drawn, 1000 * live.dataset.every];
    const again = document.getElementById("again");
    const opened = [...document.querySelectorAll("details")];
    const kept = JSON.parse(remembered() ?? "{}");
    again.checked = kept.again ?? true;
    theme.value = root.dataset.theme = kept.theme ?? "";
    for (const [number, one] of opened.entries()) one.open = kept.open?.includes(number) ?? false;
    function keep() {
      const open = [...opened.keys()].filter((number) => opened[number].open);
      remembered(JSON.stringify({ again: again.checked, theme: theme.value, open }));
    }
    function tell() {
      const minutes = Math.floor((Date.now() - drawn) / 60000);
      const late = Date.now() - drawn > 10 * every && minutes > 0;
      const stopped = late ? ` ${minutes} min ago. It may have stopped, or is busy with long programs` : "";
      document.getElementById("fresh").textContent = `Drawn at ${new Date(drawn).toLocaleTimeString()}${stopped}.`;
    }
    addEventListener("pagehide", keep);
    tell();
    return () => {
      setInterval(() => {
        tell();
        if (again.checked && !document.hidden && !printing) location.reload();
      }, every);
    };
  }

  for (const button of document.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => toggle(button));
  }
  for (const table of document.querySelectorAll(".sortable")) {
    for (const head of table.tHead.rows[0].cells) {
      head.firstElementChild.addEventListener("click", () => sort(table, head));
    }
  }
  const theme = document.getElementById("theme");
  theme.addEventListener("change", () => {
    root.dataset.theme = theme.value;
    drawAll();
  });
  for (const hidden of document.querySelectorAll(".theme, .hint")) hidden.hidden = false;
  const live = document.getElementById("live");
  const look = live ? follow(live) : () => {};
  darkSystem.addEventListener("change", drawAll);
  onPaper.addEventListener("change", () => print(onPaper.matches));
  addEventListener("beforeprint", () => print(true));
  addEventListener("afterprint", () => print(false));
  drawAll().then(look);
})();
