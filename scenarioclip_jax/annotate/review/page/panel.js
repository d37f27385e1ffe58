// The texts beside the photo: action, captions, objects, relations, what was left out; as inputs while editing.

import { by, colorOf, element } from "./dom.js";
import { PAST, plural } from "./list.js";

export class Panel {
  // `does`: what the page does when something is pointed at, chosen, changed, added or removed.
  constructor(does) {
    this.does = does;
  }

  // Draws everything anew. `view` is what the page knows, see `page.js`.
  show(view) {
    this.view = view;
    const parts = [this.problems(), this.notes(), this.versions()];
    if (view.draft) {
      const { now } = view.draft;
      if (view.editing) parts.push(this.editedTexts(now), this.editedObjects(now), this.editedRelations(now));
      else parts.push(this.texts(now), this.objects(now), this.relations(now));
    }
    if (view.editing) parts.push(element("button", { type: "button", class: "add", onclick: () => this.does.discard() }, "Forget the changes"));
    parts.push(this.removed(), this.stale());
    const top = by("panel").scrollTop;
    by("panel").replaceChildren(...parts.filter(Boolean));
    by("panel").scrollTop = top;
    this.mark();
  }

  // Marks what is pointed at or chosen, without drawing anew what somebody may be typing in.
  mark() {
    for (const row of by("panel").querySelectorAll("[data-key]")) {
      const key = Number(row.dataset.key);
      row.classList.toggle("pointed", key === this.view.pointed);
      row.classList.toggle("chosen", key === this.view.chosen);
    }
  }

  // Puts the cursor into the input of an object's name, or a relation's predicate.
  type(key) {
    const input = by("panel").querySelector(`[data-key="${key}"] input`);
    input?.focus({ preventScroll: false });
    input?.select();
  }

  section(title, count, ...content) {
    const head = element("h2", {}, title, count === null ? "" : element("span", { class: "count" }, String(count)));
    return element("section", { class: `part-${title.toLowerCase().replaceAll(" ", "-")}` }, head, ...content);
  }

  row(key, kind, ...content) {
    return element(
      "li",
      {
        class: kind,
        "data-key": key,
        onmouseenter: () => this.does.point(key),
        onmouseleave: () => this.does.point(null),
        onclick: () => this.does.choose(key),
      },
      ...content,
    );
  }

  problems() {
    const { problems } = this.view;
    if (!problems.length) return null;
    const lines = problems.map(({ where, what }) => element("li", {}, where ? `${this.place(where)} ${what}` : what));
    return element("div", { class: "problems", role: "alert" }, element("strong", {}, "Not saved"), element("ul", {}, ...lines));
  }

  // "objects/2/box" in words.
  place(where) {
    const [kind, number, part] = where.split("/");
    const things = this.view.draft?.now[kind];
    if (number === undefined || !Array.isArray(things)) return `${kind}:`;
    const name = kind === "objects" ? things[number]?.name : kind === "relations" ? things[number]?.predicate : "";
    return `${kind.slice(0, -1)} ${Number(number) + 1}${name ? ` “${name}”` : ""}${part ? `, ${part}` : ""}:`;
  }

  notes() {
    const { notes } = this.view;
    if (!notes.length) return null;
    const lines = notes.map((note) => element("li", {}, note));
    return element("div", { class: "notes" }, element("strong", {}, "Saved. Left out, since it no longer fits:"), element("ul", {}, ...lines));
  }

  // Which scene is shown, where there are several: that of the stages, and those of reviewers.
  versions() {
    const { versions, shown, editing } = this.view;
    if (versions.length < 2 || editing) return null;
    const buttons = versions.map((version) =>
      element(
        "button",
        { type: "button", "aria-pressed": String(version === shown), onclick: () => this.does.version(version) },
        version.reviewer ? `edit of ${version.reviewer}` : "as made",
      ),
    );
    return element("div", { class: "versions", role: "group", "aria-label": "Version" }, ...buttons);
  }

  texts({ action, captions }) {
    if (!action && !captions.length) return null;
    const lines = captions.map((text) => element("p", { class: "caption" }, text));
    return this.section("Action", null, element("p", { class: "action" }, action || "none"), ...lines);
  }

  editedTexts(now) {
    const input = element("input", { value: now.action, placeholder: "what happens", "aria-label": "Action", list: "labels" });
    this.follow(input, (text) => (now.action = text));
    const captions = now.captions.map((caption, number) => {
      const area = element("textarea", { rows: 3, "aria-label": `Caption ${number + 1}` }, caption);
      this.follow(area, (text) => (now.captions[number] = text));
      return area;
    });
    return this.section("Action", null, input, ...captions, this.adder("Add a caption", "", () => this.does.addCaption()));
  }

  objects({ objects }) {
    const rows = objects.map((thing, number) =>
      this.row(
        thing.key,
        "object",
        swatch(number),
        element("span", { class: "name" }, thing.name),
        element("span", { class: "score" }, thing.score == null ? "" : thing.score.toFixed(2)),
      ),
    );
    return this.section("Objects", rows.length, element("ol", {}, ...rows));
  }

  editedObjects({ objects }) {
    const rows = objects.map((thing, number) => {
      const input = element("input", { value: thing.name, placeholder: "name", "aria-label": `Name of object ${number + 1}`, list: "labels" });
      this.follow(input, (text) => {
        thing.name = text;
        this.rename(thing);
      });
      return this.row(thing.key, "object", swatch(number), input, this.remover(thing.key, thing.name));
    });
    return this.section("Objects", rows.length, element("ol", {}, ...rows), this.adder("Draw a box", "n", () => this.does.draw()));
  }

  // Names in the choices of relations follow what is typed.
  rename(thing) {
    for (const option of by("panel").querySelectorAll(`option[value="${thing.key}"]`)) {
      option.textContent = this.called(thing.key);
    }
  }

  // The name of an object, with its number where others have the same.
  called(key) {
    const { objects } = this.view.draft.now;
    const number = objects.findIndex((thing) => thing.key === key);
    const { name } = objects[number];
    const alike = objects.filter((thing) => thing.name === name).length > 1;
    return `${name || "(no name)"}${alike ? ` (${number + 1})` : ""}`;
  }

  relations({ relations }) {
    const rows = relations.map((each) =>
      this.row(
        each.key,
        "relation",
        element(
          "p",
          {},
          element("span", { class: "end" }, this.called(each.subject)),
          ` ${each.predicate} `,
          element("span", { class: "end" }, this.called(each.object)),
        ),
        more(each),
      ),
    );
    return this.section("Relations", rows.length, element("ol", {}, ...rows));
  }

  editedRelations({ objects, relations }) {
    const rows = relations.map((each, number) => {
      const ends = ["subject", "object"].map((end) => {
        const options = objects.map(({ key }) => element("option", { value: key }, this.called(key)));
        const select = element("select", { "aria-label": `${end} of relation ${number + 1}` }, ...options);
        select.value = each[end];
        select.addEventListener("change", () => {
          this.does.step();
          each[end] = Number(select.value);
          this.does.changed();
        });
        return select;
      });
      const input = element("input", { value: each.predicate, placeholder: "predicate", "aria-label": `Predicate of relation ${number + 1}`, list: "labels" });
      this.follow(input, (text) => (each.predicate = text));
      return this.row(each.key, "relation", ends[0], input, ends[1], this.remover(each.key, "relation"));
    });
    const add = objects.length > 1 ? this.adder("Add a relation", "t", () => this.does.addRelation()) : null;
    return this.section("Relations", rows.length, element("ol", {}, ...rows), add);
  }

  // Writes what is typed into the scene; a step each time the cursor comes.
  follow(input, write) {
    let typed = false;
    input.addEventListener("focus", () => (typed = false));
    input.addEventListener("input", () => {
      if (!typed) this.does.step();
      typed = true;
      write(input.value);
      this.does.changed();
    });
  }

  adder(text, key, does) {
    const label = key ? element("kbd", {}, key) : null;
    return element("button", { type: "button", class: "add", onclick: does }, `+ ${text} `, label);
  }

  remover(key, name) {
    const click = (event) => {
      event.stopPropagation();
      this.does.remove(key);
    };
    return element("button", { type: "button", class: "remove", "aria-label": `Remove ${name}`, title: "Remove", onclick: click }, "×");
  }

  removed() {
    const { removed } = this.view;
    if (!removed.length) return null;
    const rows = removed.map(([name, detail]) =>
      element("li", {}, element("span", { class: "reason" }, name.replaceAll("_", " ")), ` ${detail}`),
    );
    return this.section(this.view.draft ? "Left out" : "No scene", rows.length, element("ul", {}, ...rows));
  }

  stale() {
    const { stale } = this.view;
    if (!stale.length) return null;
    const rows = stale.map(([name, action, at]) =>
      element("li", {}, `${PAST[action]} by ${name}, ${new Date(at * 1000).toLocaleString()}`),
    );
    const why = element("p", {}, "The scene was made anew since, so these don't count:");
    return this.section("Earlier decisions", rows.length, why, element("ul", {}, ...rows));
  }
}

function swatch(number) {
  const made = element("span", { class: "swatch" });
  made.style.background = colorOf(number);
  return made;
}

// Negatives and paraphrases of a relation, folded.
function more({ negatives = [], paraphrases = [] }) {
  if (!negatives.length && !paraphrases.length) return null;
  const told = [];
  if (paraphrases.length) told.push(plural(paraphrases.length, "paraphrase"));
  if (negatives.length) told.push(plural(negatives.length, "negative"));
  const rows = paraphrases.map((each) => element("li", {}, `also: ${Array.isArray(each) ? each.join(" ") : each}`));
  for (const each of negatives) {
    const kind = each[3] ? element("span", { class: "kind" }, each[3]) : null;
    rows.push(element("li", {}, `not: ${each.slice(0, 3).join(" ")} `, kind));
  }
  return element("details", {}, element("summary", {}, told.join(", ")), element("ul", {}, ...rows));
}
