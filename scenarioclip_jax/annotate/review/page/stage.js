// The photo with boxes, masks and relations, and what the mouse does to boxes.

import { by, colorOf, drawn } from "./dom.js";
import { sampled } from "./masks.js";

const MASK_SIDE = 900; // most pixels of a mask's side
const GRIP = 10; // pixels of a handle
const LEAST = 4; // pixels on the screen that a new box has to have
const MARGIN = 12; // pixels around the photo
const MOST_SCALE = 3;

export class Stage {
  // `does`: what the page does when boxes are pointed at, chosen, changed or drawn.
  constructor(does) {
    this.does = does;
    this.layers = { boxes: true, masks: true, relations: true };
    this.scene = null;
    this.size = [1, 1];
    this.drawing = false; // whether the next drag makes a box
    this.chosen = null;
    this.pointed = null;
    this.editing = false;
    this.bitmaps = new Map(); // of masks, by themselves
    this.overlay = by("overlay");
    new ResizeObserver(() => this.fit()).observe(by("stage"));
    this.overlay.addEventListener("pointerdown", (event) => this.press(event));
    this.overlay.addEventListener("pointermove", (event) => this.point(event));
    this.overlay.addEventListener("pointerleave", () => this.does.point(null));
    by("photo").addEventListener("error", () => this.does.lost());
  }

  // Shows a photo; `address` is "" where there is none.
  open(address, size) {
    const photo = by("photo");
    this.size = size;
    this.scene = null;
    this.bitmaps.clear();
    this.drawnMasks = null;
    by("frame").hidden = !address;
    if (photo.getAttribute("src") !== address) {
      photo.removeAttribute("src"); // rather nothing than the photo before
      if (address) photo.setAttribute("src", address);
    }
    this.fit();
  }

  fit() {
    const room = by("stage");
    const below = parseFloat(getComputedStyle(room).paddingBottom);
    const [width, height] = this.size;
    const [wide, tall] = [room.clientWidth - 2 * MARGIN, room.clientHeight - 2 * MARGIN - below];
    const scale = Math.min(wide / width, tall / height, MOST_SCALE);
    this.scale = Math.max(scale, 0.01);
    const frame = by("frame").style;
    frame.width = `${width * this.scale}px`;
    frame.height = `${height * this.scale}px`;
    this.draw();
  }

  // Draws `scene`: objects and relations with keys.
  show(scene, { editing, chosen, pointed }) {
    Object.assign(this, { scene, editing, chosen, pointed });
    this.draw();
  }

  draw() {
    this.overlay.replaceChildren();
    this.overlay.classList.toggle("editing", this.editing);
    this.overlay.classList.toggle("drawing", this.drawing);
    if (!this.scene) {
      by("masks").width = by("masks").height = 1; // which clears it
      this.drawnMasks = null;
      return;
    }
    this.drawMasks();
    const { objects, relations } = this.scene;
    const lit = this.lit();
    if (this.layers.boxes) {
      // The chosen one and those that are pointed at come last, on top.
      const order = objects.map((thing, number) => [thing, number]);
      order.sort(([a], [b]) => lit.has(a.key) - lit.has(b.key));
      for (const [thing, number] of order) this.drawBox(thing, colorOf(number), lit);
    }
    if (this.layers.relations) for (const each of relations) this.drawRelation(each, lit);
    if (this.editing && this.object(this.chosen)) this.drawGrips(this.object(this.chosen));
  }

  object(key) {
    return this.scene?.objects.find((thing) => thing.key === key);
  }

  // Keys of what stands out: what is pointed at or chosen, and the ends of a relation.
  lit() {
    const key = this.pointed ?? this.chosen;
    const relation = this.scene.relations.find((each) => each.key === key);
    if (relation) return new Set([key, relation.subject, relation.object]);
    return new Set(key === null ? [] : [key]);
  }

  drawBox(thing, color, lit) {
    const [x, y, right, bottom] = thing.box.map((side) => side * this.scale);
    const dim = lit.size && !lit.has(thing.key);
    const group = drawn("g", { class: dim ? "box dim" : "box", "data-key": thing.key });
    const place = { x, y, width: Math.max(0, right - x), height: Math.max(0, bottom - y), rx: 2 };
    group.append(drawn("rect", { ...place, class: "edge" }));
    group.append(drawn("rect", { ...place, class: "line", stroke: color }));
    const words = drawn("text", { x: x + 5, y: 0 }, thing.name || "…");
    const back = drawn("rect", { class: "tag", fill: color, x, height: 18, rx: 3 });
    group.append(back, words);
    this.overlay.append(group);
    const width = words.getComputedTextLength() + 10;
    const [wide] = this.size;
    const left = Math.max(0, Math.min(x - 1, wide * this.scale - width));
    const top = y >= 19 ? y - 19 : y + 1;
    back.setAttribute("width", width);
    back.setAttribute("x", left);
    back.setAttribute("y", top);
    words.setAttribute("x", left + 5);
    words.setAttribute("y", top + 13);
  }

  drawRelation(relation, lit) {
    const ends = [relation.subject, relation.object].map((key) => this.object(key));
    if (!ends.every(Boolean) || ends[0] === ends[1]) return;
    const [a, middle] = ends.map(({ box }) => [
      ((box[0] + box[2]) / 2) * this.scale,
      ((box[1] + box[3]) / 2) * this.scale,
    ]);
    // Shortly before the middle, so that the heads of several arrows don't cover each other.
    const short = Math.max(0.5, 1 - 14 / (Math.hypot(middle[0] - a[0], middle[1] - a[1]) || 1));
    const b = [0, 1].map((i) => a[i] + (middle[i] - a[i]) * short);
    const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
    // Bent to the left of its way, so that there and back are two lines.
    const turn = [(a[0] + b[0]) / 2 + dy * 0.16, (a[1] + b[1]) / 2 - dx * 0.16];
    const dim = lit.size && !lit.has(relation.key);
    const group = drawn("g", { class: dim ? "relation dim" : "relation", "data-key": relation.key });
    const way = `M${a} Q${turn} ${b}`;
    const [ex, ey] = [b[0] - turn[0], b[1] - turn[1]];
    const far = Math.hypot(ex, ey) || 1;
    const [ux, uy] = [ex / far, ey / far];
    const base = [b[0] - ux * 10, b[1] - uy * 10];
    const head = `M${b} L${base[0] - uy * 5},${base[1] + ux * 5} L${base[0] + uy * 5},${base[1] - ux * 5} Z`;
    group.append(
      drawn("path", { d: way, class: "edge" }),
      drawn("path", { d: head, class: "edge" }),
      drawn("path", { d: way, class: "line" }),
      drawn("path", { d: head, class: "head" }),
      drawn("circle", { cx: a[0], cy: a[1], r: 3.5, class: "head" }),
    );
    // At 0.4 of the way, so that two arrows into one object keep their words apart.
    const at = [0, 1].map((i) => 0.36 * a[i] + 0.48 * turn[i] + 0.16 * b[i]);
    const words = drawn("text", { x: at[0], y: at[1] + 4 }, relation.predicate || "…");
    const back = drawn("rect", { class: "pill", y: at[1] - 9, height: 18, rx: 9 });
    group.append(back, words);
    this.overlay.append(group);
    const width = words.getComputedTextLength() + 14;
    back.setAttribute("width", width);
    back.setAttribute("x", at[0] - width / 2);
  }

  drawGrips(thing) {
    const [x0, y0, x1, y1] = thing.box.map((side) => side * this.scale);
    const [cx, cy] = [(x0 + x1) / 2, (y0 + y1) / 2];
    const places = { nw: [x0, y0], n: [cx, y0], ne: [x1, y0], e: [x1, cy] };
    Object.assign(places, { se: [x1, y1], s: [cx, y1], sw: [x0, y1], w: [x0, cy] });
    for (const [side, [x, y]] of Object.entries(places)) {
      const square = { x: x - GRIP / 2, y: y - GRIP / 2, width: GRIP, height: GRIP, rx: 2 };
      this.overlay.append(drawn("rect", { ...square, class: `grip ${side}`, "data-side": side }));
    }
  }

  drawMasks() {
    const lit = this.lit();
    // While a box is dragged, most of what masks depend on stays.
    const boxes = this.scene.objects.map(({ key, box, mask }) => [key, lit.size > 1 || mask ? box : ""]);
    const state = JSON.stringify([boxes, [...lit], this.layers.masks, this.size]);
    if (state === this.drawnMasks) return;
    this.drawnMasks = state;
    const canvas = by("masks");
    const small = Math.min(1, MASK_SIDE / Math.max(...this.size));
    const [width, height] = this.size.map((side) => Math.max(1, Math.round(side * small)));
    Object.assign(canvas, { width, height });
    if (!this.layers.masks) return;
    const image = new ImageData(width, height);
    // Where a relation is pointed at, all but its region is dark.
    const region = lit.size > 1 ? new Uint8Array(width * height) : null;
    this.scene.objects.forEach((thing, number) => {
      const inside = this.bitmap(thing, width, height);
      if (!inside) return;
      if (region && lit.has(thing.key)) for (let i = 0; i < inside.length; i++) region[i] |= inside[i];
      if (region) return;
      const color = [1, 3, 5].map((at) => parseInt(colorOf(number).slice(at, at + 2), 16));
      const alpha = !lit.size || this.editing ? 80 : lit.has(thing.key) ? 130 : 20;
      for (let i = 0; i < inside.length; i++) {
        if (inside[i] && alpha >= image.data[4 * i + 3]) {
          image.data.set(color, 4 * i);
          image.data[4 * i + 3] = alpha;
        }
      }
    });
    if (region) for (let i = 0; i < region.length; i++) image.data[4 * i + 3] = region[i] ? 0 : 165;
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  // The mask of an object; where it has none, and the region of a relation needs one, its box.
  bitmap(thing, width, height) {
    if (thing.mask && thing.masked === String(thing.box)) {
      if (!this.bitmaps.has(thing.key)) {
        this.bitmaps.set(thing.key, sampled(thing.mask, width, height));
      }
      return this.bitmaps.get(thing.key);
    }
    if (this.lit().size < 2) return null;
    const pixels = new Uint8Array(width * height);
    const [sx, sy] = [width / this.size[0], height / this.size[1]];
    const [x0, y0, x1, y1] = thing.box.map((side, i) => Math.round(side * (i % 2 ? sy : sx)));
    for (let y = Math.max(0, y0); y < Math.min(height, y1); y++) {
      pixels.fill(1, y * width + Math.max(0, x0), y * width + Math.min(width, x1));
    }
    return pixels;
  }

  startDrawing(on) {
    this.drawing = on;
    this.overlay.classList.toggle("drawing", on);
  }

  position(event) {
    const place = this.overlay.getBoundingClientRect();
    return [event.clientX - place.left, event.clientY - place.top].map((at) => at / this.scale);
  }

  // The smallest box at a point, so that what lies in front of something larger can be reached.
  at([x, y]) {
    const inside = this.scene.objects.filter(
      ({ box }) => x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3],
    );
    const area = ({ box }) => (box[2] - box[0]) * (box[3] - box[1]);
    return inside.sort((a, b) => area(a) - area(b))[0];
  }

  keyAt(event) {
    const group = event.target.closest?.("[data-key]");
    const relation = group?.classList.contains("relation");
    if (relation) return Number(group.dataset.key);
    return this.at(this.position(event))?.key ?? null;
  }

  point(event) {
    if (event.buttons || !this.scene) return;
    this.does.point(this.keyAt(event));
  }

  press(event) {
    if (event.button !== 0 || !this.scene) return;
    event.preventDefault();
    document.activeElement?.blur();
    const from = this.position(event);
    const side = event.target.dataset?.side;
    if (this.drawing) {
      this.drag(event, this.does.drawn([...from, ...from]), "se", from, true);
      return;
    }
    const key = side ? this.chosen : this.keyAt(event);
    const again = key === this.chosen;
    this.does.choose(key);
    const thing = this.object(key);
    if (this.editing && thing && (side || again)) this.drag(event, thing, side ?? "", from, false);
  }

  drag(event, thing, side, from, fresh) {
    const before = [...thing.box];
    const [wide, tall] = this.size;
    const within = (value, most) => Math.min(Math.max(value, 0), most);
    let begun = fresh;
    this.overlay.setPointerCapture(event.pointerId);
    const move = (moved) => {
      const to = this.position(moved);
      const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
      if (!begun && Math.hypot(dx, dy) * this.scale < 3) return; // a click
      if (!begun) this.does.step();
      begun = true;
      thing.box = fresh
        ? [from[0], from[1], to[0], to[1]]
        : side
          ? resized(before, side, dx, dy)
          : movedBy(before, dx, dy, wide, tall);
      thing.box = upright(thing.box).map((at, i) => within(at, i % 2 ? tall : wide));
      this.does.changed();
    };
    const end = () => {
      this.overlay.removeEventListener("pointermove", move);
      this.overlay.removeEventListener("pointerup", end);
      this.overlay.removeEventListener("pointercancel", end);
      this.startDrawing(false);
      const [x0, y0, x1, y1] = thing.box.map((at) => at * this.scale);
      if (fresh && (x1 - x0 < LEAST || y1 - y0 < LEAST)) this.does.undrawn(thing);
      else if (begun) this.does.dropped(thing, fresh);
    };
    this.overlay.addEventListener("pointermove", move);
    this.overlay.addEventListener("pointerup", end);
    this.overlay.addEventListener("pointercancel", end);
  }
}

const upright = ([x0, y0, x1, y1]) => [
  Math.min(x0, x1),
  Math.min(y0, y1),
  Math.max(x0, x1),
  Math.max(y0, y1),
];

const resized = ([x0, y0, x1, y1], side, dx, dy) => [
  side.includes("w") ? x0 + dx : x0,
  side.includes("n") ? y0 + dy : y0,
  side.includes("e") ? x1 + dx : x1,
  side.includes("s") ? y1 + dy : y1,
];

// Moves a box as a whole; at the photo's edge it stops and keeps its size.
export function movedBy([x0, y0, x1, y1], dx, dy, wide, tall) {
  const x = Math.min(Math.max(dx, -x0), wide - x1);
  const y = Math.min(Math.max(dy, -y0), tall - y1);
  return [x0 + x, y0 + y, x1 + x, y1 + y];
}
