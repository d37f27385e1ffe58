// The scene graph as lists; pointing at a line lights it and what belongs to it in the photo.
import { byId, COLORS, make } from "/dom.js";
import { light } from "/stage.js";

const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`;

function line(score, text, more = []) {
  const item = make("li", { tabindex: "0" }, make("span", { class: "share" }, percent(score)), ...more, make("span", {}, text));
  item.style.setProperty("--share", score);
  return item;
}

function lights(item, objects, relations) {
  const on = () => { light(objects, relations); item.classList.add("lit"); };
  const off = () => { light([], []); item.classList.remove("lit"); };
  for (const name of ["pointerenter", "focus"]) item.addEventListener(name, on);
  for (const name of ["pointerleave", "blur"]) item.addEventListener(name, off);
  return item;
}

const filled = (id, items) => {
  byId(id).replaceChildren(...items);
  byId(id).previousElementSibling.hidden = !items.length;
};

export function list(graph) {
  byId("empty").hidden = true;
  byId("graph").hidden = false;
  filled("found-actions", graph.actions.map((each) => line(each.score, each.text)));
  filled("found-objects", graph.objects.map((each, index) => {
    const dot = make("span", { class: "dot" });
    dot.style.background = COLORS[index % COLORS.length];
    const item = line(each.score, each.name || "not in the model's view", [dot, make("span", {}, `${index}`)]);
    const next = each.names[1];
    if (next) item.append(make("small", {}, `or ${next.text} ${percent(next.score)}`));
    const own = graph.relations.flatMap((r, i) => (r.subject === index || r.object === index ? [i] : []));
    return lights(item, [index], own);
  }));
  filled("found-relations", graph.relations.map((each, index) =>
    lights(line(each.score, each.text), [each.subject, each.object], [index])));
}

export function forget() {
  byId("empty").hidden = false;
  byId("graph").hidden = true;
}
