// The scene graph as lists; pointing at a line lights it and what belongs to it in the photo.
import { byId, COLORS, make } from "/dom.js";
import { light } from "/stage.js";

export const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`;

export const nameOf = (object) => object.name || "not in the model's view";

export function dotOf(index) {
  const dot = make("span", { class: "dot" });
  dot.style.background = COLORS[index % COLORS.length];
  return dot;
}

// Something with a bar for its score: a line, or a cell of a line.
export function scored(element, score, text, more = []) {
  element.classList.add("scored");
  element.setAttribute("tabindex", "0");
  element.append(make("span", { class: "share" }, percent(score)), ...more, make("span", {}, text));
  element.style.setProperty("--share", score);
  return element;
}

export function lights(element, objects, relations, before = () => {}) {
  const on = () => { before(); light(objects, relations); element.classList.add("lit"); };
  const off = () => { light([], []); element.classList.remove("lit"); };
  for (const name of ["pointerenter", "focus"]) element.addEventListener(name, on);
  for (const name of ["pointerleave", "blur"]) element.addEventListener(name, off);
  return element;
}

// The places of an object's relations.
export const relationsOf = (graph, index) =>
  graph.relations.flatMap((each, place) => (each.subject === index || each.object === index ? [place] : []));

export function filled(id, items) {
  byId(id).replaceChildren(...items);
  byId(id).previousElementSibling.hidden = !items.length;
}

export function showLists() {
  byId("empty").hidden = true;
  byId("graph").hidden = false;
}

export function list(graph) {
  showLists();
  const line = (score, text, more) => scored(make("li"), score, text, more);
  filled("found-actions", graph.actions.map((each) => line(each.score, each.text)));
  filled("found-objects", graph.objects.map((each, index) => {
    const item = line(each.score, nameOf(each), [dotOf(index), make("span", {}, `${index}`)]);
    const next = each.names[1];
    if (next) item.append(make("small", {}, `or ${next.text} ${percent(next.score)}`));
    return lights(item, [index], relationsOf(graph, index));
  }));
  filled("found-relations", graph.relations.map((each, index) =>
    lights(line(each.score, each.text), [each.subject, each.object], [index])));
}

export function forget() {
  byId("empty").hidden = false;
  byId("graph").hidden = true;
}
