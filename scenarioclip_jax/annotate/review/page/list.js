// The list of photos: filters in memory, and only the rows that are seen are in the document.

import { by, element } from "./dom.js";

const HEIGHT = 46; // pixels of a row
const SPARE = 6; // rows beyond the edges
const MOST_LABELS = 400; // that are suggested
const DECISIONS = [
  ["", "Any decision"],
  ["none", "Not decided on"],
  ["not mine", "Not decided on by me"],
  ["keep", "Kept"],
  ["drop", "Dropped"],
  ["edit", "Edited"],
  ["differ", "Reviewers differ"],
];

export class List {
  // `open` shows a photo by its number.
  constructor(open) {
    this.photos = [];
    this.shown = []; // numbers of the photos that pass the filters
    this.places = new Map(); // of numbers in `shown`
    this.current = -1;
    this.open = open;
    by("list").addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(by("list"));
    for (const id of ["search", "label", "state", "decision", "reviewer", "order", "score"]) {
      by(id).addEventListener("input", () => this.filter());
    }
    by("filters").addEventListener("submit", (event) => event.preventDefault());
    by("clear").addEventListener("click", () => {
      by("filters").reset();
      this.filter();
    });
  }

  // Takes what /api/list says.
  fill({ labels, reasons, rows, reviewer }) {
    this.me = reviewer;
    const counts = new Map();
    this.photos = rows.map(([id, state, objects, relations, score, named, why]) => {
      const own = named.map((number) => labels[number]);
      for (const label of own) counts.set(label, (counts.get(label) ?? 0) + 1);
      const texts = why.map((number) => reasons[number]);
      return { id, find: id.toLowerCase(), state, objects, relations, score, labels: own, why: texts, said: [] };
    });
    const common = [...counts].sort((a, b) => b[1] - a[1]).slice(0, MOST_LABELS);
    by("labels").replaceChildren(...common.map(([value]) => element("option", { value })));
    const states = [...new Set(this.photos.map((each) => each.state))].sort();
    const options = [["", "Any state or failure"], ...states.map((each) => [`state:${each}`, capital(each)])];
    options.push(...reasons.toSorted().map((each) => [`why:${each}`, each.replaceAll("_", " ")]));
    choices("state", options);
    choices("decision", DECISIONS);
    this.reviewers([reviewer]);
  }

  reviewers(names) {
    choices("reviewer", [["", "Any reviewer"], ...names.map((name) => [name, name === this.me ? `${name} (me)` : name])]);
  }

  // Takes the rows of /api/changes.
  change(rows) {
    for (const [number, said, [state, objects, relations, score, labels]] of rows) {
      Object.assign(this.photos[number], { said, state, objects, relations, score, labels });
    }
    this.draw();
  }

  filter() {
    const find = by("search").value.trim().toLowerCase();
    const label = by("label").value.trim().toLowerCase();
    const [state, decision, reviewer] = ["state", "decision", "reviewer"].map((id) => by(id).value);
    const least = Number(by("score").value);
    by("score-told").textContent = least < 1 ? least.toFixed(2) : "any";
    const whole = new Set(this.photos.length ? [...by("labels").children].map((each) => each.value) : []).has(label);
    this.shown = [];
    this.photos.forEach((photo, number) => {
      if (find && !photo.find.includes(find)) return;
      // A class that was typed to its end is that class: "man" without "woman".
      if (label && !photo.labels.some((each) => (whole ? each === label : each.includes(label)))) return;
      if (state.startsWith("state:") && photo.state !== state.slice(6)) return;
      if (state.startsWith("why:") && !photo.why.includes(state.slice(4))) return;
      if (least < 1 && (photo.score === null || photo.score >= least)) return;
      if (!this.passes(photo.said, decision, reviewer)) return;
      this.shown.push(number);
    });
    if (by("order").value === "score") {
      const score = (number) => this.photos[number].score ?? 2;
      this.shown.sort((a, b) => score(a) - score(b) || a - b);
    }
    this.places = new Map(this.shown.map((number, place) => [number, place]));
    const all = this.photos.length.toLocaleString("en");
    const some = this.shown.length.toLocaleString("en");
    by("count").textContent = some === all ? `${all} photos` : `${some} of ${all} photos`;
    by("clear").hidden = some === all;
    by("rows").style.height = `${this.shown.length * HEIGHT}px`;
    this.draw();
    this.reveal();
  }

  passes(said, decision, reviewer) {
    const own = reviewer ? said.filter(([name]) => name === reviewer) : said;
    if (decision === "none") return !own.length;
    if (decision === "not mine") return !said.some(([name]) => name === this.me);
    if (decision === "differ") return new Set(said.map(([, action]) => action)).size > 1;
    if (decision) return own[0]?.[1] === decision;
    return !reviewer || own.length > 0;
  }

  // The number of the photo `step` places further; if the current one is filtered out, the nearest.
  further(step) {
    const place = this.places.get(this.current);
    if (place !== undefined) return this.shown[place + step];
    const after = this.shown.findIndex((number) => number > this.current);
    if (step > 0) return this.shown[after];
    return after < 0 ? this.shown.at(-1) : this.shown[after - 1];
  }

  // The next photo with a scene that isn't decided on by me.
  undecided() {
    const place = this.places.get(this.current) ?? -1;
    const rest = [...this.shown.slice(place + 1), ...this.shown.slice(0, place + 1)];
    return rest.find((number) => {
      const { state, said } = this.photos[number];
      return state === "scene" && !said.some(([name]) => name === this.me);
    });
  }

  choose(number) {
    this.current = number;
    this.reveal();
    this.draw();
  }

  reveal() {
    const place = this.places.get(this.current);
    if (place === undefined) return;
    const list = by("list");
    const top = place * HEIGHT;
    const margin = Math.min(HEIGHT, list.clientHeight / 4);
    if (top - margin < list.scrollTop) list.scrollTop = top - margin;
    else if (top + HEIGHT + margin > list.scrollTop + list.clientHeight) {
      list.scrollTop = top + HEIGHT + margin - list.clientHeight;
    }
  }

  draw() {
    const list = by("list");
    const first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - SPARE);
    const last = Math.ceil((list.scrollTop + list.clientHeight) / HEIGHT) + SPARE;
    const rows = this.shown.slice(first, last).map((number, i) => this.row(number, first + i));
    by("rows").replaceChildren(...rows);
  }

  row(number, place) {
    const photo = this.photos[number];
    const latest = photo.said[0]?.[1];
    const here = number === this.current;
    const row = element(
      "div",
      {
        class: `row ${photo.state.replace(" ", "-")}`,
        role: "option",
        "aria-selected": String(here),
        "data-number": number,
        onclick: () => this.open(number),
      },
      element("span", { class: `mark ${latest ?? ""}`, title: latest ? told(photo.said) : "not decided on" }, SIGNS[latest] ?? ""),
      element("span", { class: "name" }, photo.id),
      element("span", { class: "facts" }, facts(photo)),
    );
    row.style.top = `${place * HEIGHT}px`;
    return row;
  }
}

export const SIGNS = { keep: "✓", drop: "✕", edit: "✎" };

export const PAST = { keep: "kept", drop: "dropped", edit: "edited" };

const told = (said) => said.map(([name, action]) => `${name}: ${PAST[action]}`).join(", ");

const capital = (text) => text[0].toUpperCase() + text.slice(1);

function facts({ state, objects, relations, score, why }) {
  if (state !== "scene") return `${state}${why.length ? `: ${why.join(", ").replaceAll("_", " ")}` : ""}`;
  const least = score === null ? "" : ` · ${score.toFixed(2)}`;
  return `${plural(objects, "object")} · ${plural(relations, "relation")}${least}`;
}

export const plural = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;

// Fills a select and keeps what was chosen.
function choices(id, options) {
  const before = by(id).value;
  by(id).replaceChildren(...options.map(([value, text]) => element("option", { value }, text)));
  if (options.some(([value]) => value === before)) by(id).value = before;
}
