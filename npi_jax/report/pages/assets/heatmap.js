// The heat map of alignment: a slider over steps, a group of weights, and up to two variants side by side.
(() => {
  const source = document.getElementById("heat-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const group = document.getElementById("heat-group");
  const step = document.getElementById("heat-step");
  const said = document.getElementById("heat-said");
  const place = new Map(data.pairs.map(([i, j], number) => [i + "," + j, number]));
  const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const stops = data.colors.map(([at, hex]) => [at, channels(hex)]);

  function make(tag, parent, attributes = {}, text = "") {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    parent.append(element);
    return element;
  }

  function options(select, names, chosen) {
    names.forEach((name, number) => make("option", select, { value: number }, name));
    select.value = String(chosen);
  }

  function color(value) {
    const at = Math.max(-1, Math.min(1, value));
    const above = Math.max(1, stops.findIndex(([stop]) => at <= stop));
    const [low, from] = stops[above - 1];
    const [high, to] = stops[above];
    return from.map((channel, k) => Math.round(channel + ((at - low) / (high - low)) * (to[k] - channel)));
  }

  // Relative luminance, WCAG 2: black or white, whichever reads better.
  function ink(rgb) {
    const [r, g, b] = rgb.map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000000" : "#ffffff";
  }

  function short(value) {
    const text = Math.abs(value).toFixed(2);
    if (!Number(text)) return "0";
    return (value < 0 ? "−" : "") + (text.startsWith("0.") ? text.slice(1) : text);
  }

  const now = () => Number(step.value);
  const stepName = () => "step " + data.steps[now()].toLocaleString("en-US");

  function build(number) {
    const box = make("div", document.getElementById("heat-maps"), { class: "map" });
    const label = make("label", box, {}, "Variant ");
    const select = make("select", label, { id: "heat-variant-" + number });
    options(select, data.variants, number);
    const table = make("table", box, { class: "heat", role: "grid", id: "heat-table-" + number });
    const head = make("tr", make("thead", table), { role: "row" });
    make("td", head, { role: "presentation" });
    for (const task of data.tasks) make("th", head, { scope: "col", role: "columnheader", title: task.name }, task.short);
    const body = make("tbody", table);
    const cells = data.tasks.map((task, i) => {
      const row = make("tr", body, { role: "row" });
      make("th", row, { scope: "row", role: "rowheader", title: task.name }, task.short);
      return data.tasks.map((_, j) => make("td", row, { role: "gridcell", tabindex: i || j ? -1 : 0 }));
    });
    const map = { select, table, cells };
    cells.forEach((row, i) => row.forEach((cell, j) => {
      cell.addEventListener("mouseenter", () => tell(map, i, j));
      cell.addEventListener("focus", () => visit(map, i, j));
      cell.addEventListener("keydown", (event) => move(event, map, i, j));
    }));
    select.addEventListener("change", draw);
    return map;
  }

  function describe(map, i, j) {
    const variant = Number(map.select.value);
    const at = [variant, Number(group.value), now()];
    const pick = (nested) => at.reduce((inner, k) => inner[k], nested);
    const pair = place.get(Math.min(i, j) + "," + Math.max(i, j));
    const raw = pick(data.values)[pair];
    const seeds = data.seeds[variant];
    const few = pick(data.few)[pair];
    const reason = data.reasons[pick(data.why)[pair]];
    const value = raw === null ? null : raw / data.scale;
    const of = few === undefined ? (seeds === 1 ? "one seed" : "all " + seeds + " seeds") : few + " of " + seeds + " seeds";
    const because = reason === undefined ? "" : "; excluded: " + reason;
    const unsaid = few === undefined ? "no value" : "hidden by noise";
    const what = value === null ? unsaid : short(value) + ", from " + of;
    return { value, few: few !== undefined, pale: few !== undefined && 2 * few < seeds, what: what + because };
  }

  function tell(map, i, j) {
    const pair = i === j ? data.tasks[i].name + " with itself" : data.tasks[i].name + " and " + data.tasks[j].name;
    const where = data.variants[Number(map.select.value)] + ", " + data.groups[Number(group.value)] + " weights, " + stepName();
    said.textContent = pair + ": " + describe(map, i, j).what + " (" + where + ").";
    map.described = [i, j];
    for (const other of maps) if (other !== map) other.described = null;
  }

  function visit(map, i, j) {
    for (const row of map.cells) for (const cell of row) cell.tabIndex = -1;
    map.cells[i][j].tabIndex = 0;
    tell(map, i, j);
  }

  function move(event, map, i, j) {
    const last = data.tasks.length - 1;
    const to = {
      ArrowUp: [i - 1, j], ArrowDown: [i + 1, j], ArrowLeft: [i, j - 1], ArrowRight: [i, j + 1], Home: [i, 0], End: [i, last],
    }[event.key];
    if (!to || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const bound = (at) => Math.max(0, Math.min(last, at));
    map.cells[bound(to[0])][bound(to[1])].focus();
  }

  function draw() {
    const name = stepName();
    document.getElementById("heat-now").textContent = name;
    step.setAttribute("aria-valuetext", name);
    for (const map of maps) {
      map.table.setAttribute("aria-label", "Alignment, " + data.variants[Number(map.select.value)] + ", " + name);
      map.cells.forEach((row, i) => row.forEach((cell, j) => {
        const { value, few, pale, what } = describe(map, i, j);
        cell.textContent = value === null ? "" : short(value);
        cell.className = value === null ? "nan" : few ? "few" : "";
        const rgb = value === null ? null : color(pale ? data.pale * value : value);
        cell.style.backgroundColor = rgb ? "rgb(" + rgb.join(",") + ")" : "";
        cell.style.color = rgb ? ink(rgb) : "";
        cell.setAttribute("aria-label", data.tasks[i].name + " and " + data.tasks[j].name + ": " + what);
      }));
      if (map.described) tell(map, ...map.described);
    }
  }

  options(group, data.groups, 0);
  step.max = String(data.steps.length - 1);
  step.value = step.max;
  const maps = data.variants.slice(0, 2).map((_, number) => build(number));
  group.addEventListener("change", draw);
  step.addEventListener("input", draw);
  const ramp = data.colors.map(([at, hex]) => hex + " " + 50 * (at + 1) + "%");
  document.getElementById("heat-ramp").style.background = "linear-gradient(to right, " + ramp.join(", ") + ")";
  draw();
  // Only now: whatever fails above leaves the figure that needs no script.
  document.documentElement.classList.add("js");
})();
