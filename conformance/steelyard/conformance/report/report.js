"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const filters = { family: "", level: "", kind: "", outcome: "", search: "" };
  let order = { column: -1, down: false };

  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "onclick") made.addEventListener("click", value);
      else if (value !== null && value !== undefined) made.setAttribute(key, value);
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  };

  const RED = ["fail", "error", "fixed"];
  const isChosen = (technique, requirement) => {
    const about = technique.requirements[requirement.id];
    return (!filters.level || about.level === filters.level) && (!filters.kind || about.kind === filters.kind);
  };

  // What a cell says of the requirements that the filters leave: an outcome, its word, and how many fail.
  const outcome = (technique, cell) => {
    if (!cell) return { name: "none", word: "–", note: "", rank: -1 };
    const chosen = cell.requirements.filter((requirement) => isChosen(technique, requirement));
    const at = (statuses, must) => chosen.filter((requirement) =>
      statuses.includes(requirement.status) && (technique.requirements[requirement.id].level === "MUST") === must);
    const red = at(RED, true).length, known = at(["known"], true).length, minor = at([...RED, "known"], false).length;
    const judged = chosen.filter((requirement) => requirement.status !== "skip").length;
    const note = `${judged - red - known - minor} of ${judged} hold`;
    if (!judged) return { name: "none", word: "not judged", note: "", rank: 0 };
    if (red) return { name: "deviates", word: "✗ deviates", note, rank: 4 };
    if (known) return { name: "known", word: "◐ known", note, rank: 3 };
    if (minor) return { name: "minor", word: "△ minor", note, rank: 2 };
    return { name: "conforms", word: "✓ conforms", note, rank: 1 };
  };

  const rows = data.techniques.map((technique, index) => ({
    technique, index, cells: data.candidates.map((candidate) => candidate.cells[index]),
  }));

  const isShown = (row) => {
    const outcomes = row.cells.map((cell) => outcome(row.technique, cell)).filter((found) => found.rank > 0);
    const text = `${row.technique.id} ${row.technique.title}`.toLowerCase();
    const fails = outcomes.some((found) => found.rank > 1);
    return (!filters.family || row.technique.family === filters.family)
      && text.includes(filters.search.toLowerCase())
      && (!filters.outcome || (filters.outcome === "red" ? fails : outcomes.length > 0 && !fails))
      && outcomes.length > 0;
  };

  const compare = (one, other) => {
    if (order.column < 0) {
      const names = [one, other].map((row) => row.technique.id);
      return order.down ? names[1].localeCompare(names[0]) : one.index - other.index;
    }
    const ranks = [one, other].map((row) => outcome(row.technique, row.cells[order.column]).rank);
    return (order.down ? ranks[0] - ranks[1] : ranks[1] - ranks[0]) || one.index - other.index;
  };

  const sortBy = (column) => {
    order = { column, down: order.column === column && !order.down };
    render();
    byId("matrix").tHead.rows[0].cells[column + 1].querySelector("button").focus();
  };

  const heading = (column, label, note) => {
    const sorted = order.column === column ? (order.down ? "descending" : "ascending") : "none";
    const arrow = order.column === column ? (order.down ? " ↓" : " ↑") : "";
    return element("th", { scope: "col", "aria-sort": sorted },
      element("button", { type: "button", title: "Sort", onclick: () => sortBy(column) }, label + arrow),
      element("small", {}, note));
  };

  const render = () => {
    const table = byId("matrix");
    const shown = rows.filter(isShown).sort(compare);
    table.tHead.rows[0].replaceChildren(
      heading(-1, "Technique", "family"),
      ...data.candidates.map((candidate, column) =>
        heading(column, candidate.name, candidate.version + (candidate.complete ? "" : " (interrupted)"))));
    table.tBodies[0].replaceChildren(...shown.map((row) => element("tr", {},
      element("th", { scope: "row" }, name(row.technique), element("small", {}, row.technique.family)),
      ...row.cells.map((cell, column) => {
        const found = outcome(row.technique, cell);
        if (!cell) return element("td", { class: "none" }, "–");
        const label = `${row.technique.id}, ${data.candidates[column].name}: ${found.word.replace(/^\W+/, "")}`;
        return element("td", {}, element("button", {
          type: "button", class: found.name, "aria-label": `${label}, ${found.note}`, onclick: () => open(row, column),
        }, found.word, element("small", {}, found.note)));
      }))));
    byId("shown").textContent = `${shown.length} of ${rows.length} techniques`;
  };

  // A name may be broken after each of its words.
  const words = (id) => id.split(/(?<=_)/).flatMap((word) => [element("wbr"), word]).slice(1);

  const name = (technique) => data.docs
    ? element("a", { href: `${data.docs}/techniques/${technique.id}.html` }, ...words(technique.id))
    : element("span", {}, ...words(technique.id));

  const copyable = (text) => {
    const button = element("button", { type: "button", class: "copy" }, "Copy");
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
      } catch {  // a page opened from a file may not have a clipboard
        const area = element("textarea", {});
        area.value = text;
        button.after(area);
        area.select();
        document.execCommand("copy");
        area.remove();
      }
      button.textContent = "Copied";
    });
    return [element("pre", { tabindex: "0" }, text), button];
  };

  const detail = (technique, requirement) => {
    const about = technique.requirements[requirement.id];
    const failed = [...RED, "known"].includes(requirement.status);
    const parts = [element("summary", {},
      element("span", { class: `status ${requirement.status}` }, requirement.status), " ",
      element("strong", {}, requirement.id), ` ${about.level} · ${about.kind} · `, about.text)];
    const measured = requirement.bound_used === undefined ? "" : `, ${requirement.bound_used} of the bound used`;
    parts.push(element("p", { class: "meta" }, `${about.source}; ${requirement.checks} checks${measured}`));
    if (requirement.message) parts.push(element("pre", { tabindex: "0" }, requirement.message));
    if (requirement.explanation) parts.push(element("p", {}, `Looks like: ${requirement.explanation}`));
    if (requirement.reason) parts.push(element("p", {}, `Known: ${requirement.reason} `,
      requirement.url ? element("a", { href: requirement.url }, requirement.url) : null));
    if (requirement.replay) parts.push(element("p", {}, "Replay with the suite:"), ...copyable(requirement.replay));
    if (requirement.script) parts.push(element("p", {}, "Replay without it:"), ...copyable(requirement.script));
    return element("details", failed ? { open: "" } : {}, ...parts);
  };

  const SEVERITY = ["fail", "error", "fixed", "known", "warn", "skip", "pass"];
  const open = (row, column) => {
    const cell = row.cells[column], candidate = data.candidates[column];
    const severity = (requirement) => SEVERITY.indexOf(requirement.status);
    const chosen = cell.requirements.filter((requirement) => isChosen(row.technique, requirement))
      .sort((one, other) => severity(one) - severity(other));
    byId("detail-title").textContent = `${candidate.name} ${candidate.version}: ${row.technique.title}`;
    byId("detail-body").replaceChildren(
      element("p", { class: "meta" }, name(row.technique),
        ` · profile ${candidate.profile}, seed ${candidate.seed}`
        + (cell.dialect ? ` · judged in the dialect ${cell.dialect}` : "")),
      ...cell.departures.map((sentence) => element("p", {}, sentence)),
      ...chosen.map((requirement) => detail(row.technique, requirement)));
    byId("detail").showModal();
    history.replaceState(null, "", `#${candidate.name}/${row.technique.id}`);
  };

  for (const id of Object.keys(filters)) {
    for (const happening of ["input", "change"]) {  // a list may send either
      byId(id).addEventListener(happening, (event) => { filters[id] = event.target.value; render(); });
    }
  }
  document.querySelector(".filters").addEventListener("reset", () => {
    for (const id of Object.keys(filters)) filters[id] = "";
    order = { column: -1, down: false };
    render();
  });
  document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
  byId("close").addEventListener("click", () => byId("detail").close());
  byId("detail").addEventListener("close", () => history.replaceState(null, "", location.pathname + location.search));
  byId("detail").addEventListener("click", (event) => { if (event.target === byId("detail")) byId("detail").close(); });
  render();
  const [wanted, technique] = decodeURIComponent(location.hash.slice(1)).split("/");
  const column = data.candidates.findIndex((candidate) => candidate.name === wanted);
  const row = rows.find((candidate) => candidate.technique.id === technique);
  if (row && column >= 0 && row.cells[column]) open(row, column);
})();
