// The photo with boxes that are dragged on it, and the scene graph that is drawn over it.
import { byId, COLORS, draw, make } from "/dom.js";

const stage = byId("stage");
const LEAST = 4; // pixels of the screen that a box has on each side
export const MOST_BOXES = 100;
let image = null, layer = null, graph = null, start = null, marked = null;
export let boxes = [];
let changed = () => {};

export const onBoxes = (told) => { changed = told; };

// `soon`: more changes may follow at once, as while a key is held.
export function setBoxes(given, soon = false) {
  boxes = given;
  graph = null;
  redraw();
  changed(soon);
}

// Width and height of the photo in its own pixels; null while there is none.
export const photoSize = () => (image ? [image.naturalWidth, image.naturalHeight] : null);

// The place of the box that has the focus; null if none has.
export const focused = () => document.activeElement?.closest?.("#stage g[data-object]")?.dataset.object ?? null;

export const focusBox = (index) => layer?.querySelector(`g[data-object="${index}"]`)?.focus({ preventScroll: true });

export function show(address, given) {
  return new Promise((done, failed) => {
    const next = make("img", { alt: "Your photo", draggable: "false" });
    next.onload = () => {
      image = next;
      layer = draw("svg", { role: "group", "aria-label": "Boxes" });
      stage.replaceChildren(image, layer);
      stage.classList.add("full");
      setBoxes(given);
      done();
    };
    next.onerror = () => failed(new Error("this browser can't show that file as a picture (few can show HEIC); send a JPEG or PNG"));
    next.src = address;
  });
}

export function drawGraph(found) {
  if (found && found.objects.length !== boxes.length) return; // of other boxes
  graph = found;
  redraw();
}

// Lights what belongs together: an object with its relations, or a relation with its ends.
export function light(objects, relations) {
  if (!layer) return;
  const some = objects.length + relations.length > 0;
  layer.classList.toggle("some", some);
  for (const group of layer.querySelectorAll("g")) {
    const { object, relation } = group.dataset;
    group.classList.toggle("lit", objects.includes(Number(object ?? -1)) || relations.includes(Number(relation ?? -1)));
  }
}

function place() {
  const { naturalWidth: wide, naturalHeight: high } = image;
  const scale = Math.min(image.clientWidth / wide, image.clientHeight / high);
  return { wide, high, scale, left: (image.clientWidth - wide * scale) / 2, top: (image.clientHeight - high * scale) / 2 };
}

function redraw() {
  if (!layer) return;
  const { wide, high, scale, left, top } = place();
  layer.setAttribute("viewBox", `0 0 ${wide} ${high}`);
  Object.assign(layer.style, { width: `${wide * scale}px`, height: `${high * scale}px`, left: `${left}px`, top: `${top}px` });
  const size = 13 / (scale || 1);
  const held = focused(); // boxes are made anew, the focus stays
  layer.replaceChildren(arrowhead());
  (graph?.relations ?? []).slice(0, 5).forEach((each, index) => layer.append(arrow(each, index, size)));
  boxes.forEach((box, index) => layer.append(marking(box, index, size, high)));
  if (marked) layer.append(rectangle(marked, { class: "drawn" }));
  if (held !== null) focusBox(held);
}

const rectangle = ([x0, y0, x1, y1], more) => draw("rect", { x: x0, y: y0, width: x1 - x0, height: y1 - y0, ...more });

function marking(box, index, size, high) {
  const named = graph?.objects[index]?.name;
  const below = box[1] < 1.3 * size;
  const text = draw("text", { x: box[0] + 0.2 * size, y: below ? Math.min(box[3], high) - 0.4 * size : box[1] - 0.35 * size, "font-size": size });
  text.textContent = named ? `${index} ${named}` : `${index}`;
  const label = `${index}${named ? `, ${named}` : ""}: ${whereIs(box)}`;
  const focusable = { tabindex: 0, role: "button", "aria-roledescription": "box", "aria-label": label, "aria-describedby": "keys" };
  return draw("g", { "data-object": index, ...focusable }, rectangle(box, { stroke: COLORS[index % COLORS.length] }), text);
}

export const whereIs = (box) => {
  const [x0, y0, x1, y1] = box.map(Math.round);
  return `${x0}, ${y0} to ${x1}, ${y1}`;
};

const middle = ([x0, y0, x1, y1]) => [(x0 + x1) / 2, (y0 + y1) / 2];

function arrow(relation, index, size) {
  const [ax, ay] = middle(boxes[relation.subject]), [bx, by] = middle(boxes[relation.object]);
  // Bent, so that two relations of one pair don't lie on each other.
  const cx = (ax + bx) / 2 + (by - ay) * 0.15, cy = (ay + by) / 2 - (bx - ax) * 0.15;
  const text = draw("text", { x: (ax + 2 * cx + bx) / 4, y: (ay + 2 * cy + by) / 4, "font-size": 0.9 * size, "text-anchor": "middle" });
  text.textContent = relation.predicate;
  const d = `M${ax} ${ay}Q${cx} ${cy} ${bx} ${by}`;
  const under = draw("path", { d, class: "under" }), line = draw("path", { d, "marker-end": "url(#head)" });
  return draw("g", { "data-relation": index, "aria-hidden": "true" }, under, line, text);
}

const arrowhead = () =>
  draw("defs", {}, draw("marker", { id: "head", viewBox: "0 0 10 10", refX: 9, refY: 5, markerWidth: 7, markerHeight: 7, orient: "auto" },
    draw("polygon", { points: "0 0 10 5 0 10", fill: "#fff", stroke: "#000", "stroke-width": 0.6 })));

function at(event) {
  const { wide, high, scale } = place();
  const corner = layer.getBoundingClientRect();
  const inside = (value, most) => Math.min(Math.max(value, 0), most);
  return [inside((event.clientX - corner.left) / scale, wide), inside((event.clientY - corner.top) / scale, high)];
}

const between = ([ax, ay], [bx, by]) => [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];

stage.addEventListener("pointerdown", (event) => {
  if (!image || event.button || boxes.length >= MOST_BOXES) return;
  stage.setPointerCapture(event.pointerId);
  start = at(event);
});
stage.addEventListener("pointermove", (event) => {
  if (!start) return;
  marked = between(start, at(event));
  redraw();
});
stage.addEventListener("pointerup", (event) => {
  if (!start) return;
  const box = between(start, at(event)), { scale } = place();
  start = marked = null;
  if ((box[2] - box[0]) * scale >= LEAST && (box[3] - box[1]) * scale >= LEAST) setBoxes([...boxes, box]);
  else redraw();
});
stage.addEventListener("pointercancel", () => { start = marked = null; redraw(); });
new ResizeObserver(redraw).observe(stage);
