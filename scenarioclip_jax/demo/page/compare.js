// The scene graphs of two models side by side: a line for each action, object or pair, with what differs.
import { byId, make } from "/dom.js";
import { dotOf, filled, lights, nameOf, relationsOf, scored, showLists } from "/lists.js";
import { drawGraph } from "/stage.js";

const APART = 0.05; // from this difference of two scores on, a line is marked
let graphs = [], drawn = 0, heads = [];

export function openCompare(names) {
  document.body.classList.add("comparing");
  byId("heads").hidden = false;
  heads = names.map((name, which) => {
    const head = make("button", { type: "button", title: "Draw this one on the photo" }, name);
    head.addEventListener("click", () => drawOne(which));
    return head;
  });
  byId("heads").append(...heads, make("span", { title: "In percentage points, second minus first" }, "Change"));
}

export function compare(found) {
  graphs = found;
  showLists();
  filled("found-actions", joined("actions", (each) => each.text).map(([, both]) => line(both, (each) => each.text)));
  filled("found-objects", graphs[0].objects.map((_, index) => {
    const both = graphs.map((graph) => graph.objects[index]);
    return line(both, nameOf, (which) => [[index], relationsOf(graphs[which], index)], [dotOf(index), make("span", {}, `${index}`)]);
  }));
  const pair = (each) => [each.subject, each.object].sort((a, b) => a - b).join();
  filled("found-relations", joined("relations", pair).map(([, both]) => line(both, (each) => each.text, (which) =>
    [[both[which].subject, both[which].object], [graphs[which].relations.indexOf(both[which])]])));
  drawOne(drawn);
}

function drawOne(which) {
  drawn = which;
  heads.forEach((head, index) => head.setAttribute("aria-pressed", `${index === which}`));
  drawGraph(graphs[which] ?? null);
}

// What both graphs have of a kind, by what it is about; the second's own comes last.
function joined(kind, about) {
  const found = new Map();
  graphs.forEach((graph, which) => {
    for (const each of graph[kind]) {
      if (!found.has(about(each))) found.set(about(each), [null, null]);
      found.get(about(each))[which] = each;
    }
  });
  return [...found];
}

function line(both, textOf, belongs = () => [[], []], marks = []) {
  const cells = both.map((each, which) => {
    if (!each) return make("span", { class: "cell none" }, "not among the best");
    const own = marks.map((mark) => mark.cloneNode(true));
    const cell = scored(make("div", { class: "cell" }), each.score, textOf(each), own);
    const other = () => { if (drawn !== which) drawOne(which); };
    return lights(cell, ...belongs(which), other);
  });
  const [a, b] = both, same = a && b && textOf(a) === textOf(b);
  const apart = a && b ? b.score - a.score : NaN;
  const row = make("li", { class: "pair" }, ...cells, make("span", { class: "apart" }, told(same, apart)));
  row.classList.toggle("differs", !same || Math.abs(apart) >= APART);
  return row;
}

function told(same, apart) {
  if (!same) return "differs";
  const points = Math.round(100 * apart);
  return points ? `${points > 0 ? "+" : "−"}${Math.abs(points)}` : "=";
}
