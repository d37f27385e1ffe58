// What keys and buttons do.

import { by } from "./dom.js";

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const LAYERS = { b: "boxes", m: "masks", r: "relations" };

// Binds the keys and buttons of the page to `does`.
export function keyboard(does) {
  const keys = {
    j: does.next,
    k: does.previous,
    J: does.undecided,
    " ": does.keep,
    x: does.drop,
    e: does.edit,
    u: does.undo,
    U: does.undoHere,
    n: does.box,
    t: does.relation,
    "?": does.help,
    Escape: does.escape,
    Delete: does.remove,
    Backspace: does.remove,
    "/": () => by("search").focus(),
  };
  for (const [key, layer] of Object.entries(LAYERS)) {
    keys[key] = () => does.layer(layer);
    by(`layer-${layer}`).addEventListener("click", () => does.layer(layer));
  }
  const buttons = { next: "next", previous: "previous", keep: "keep", drop: "drop", edit: "edit", undo: "undo", help: "help" };
  for (const [id, name] of Object.entries(buttons)) {
    by(id).addEventListener("click", (event) => {
      event.currentTarget.blur(); // else the space bar would press it again
      does[name]();
    });
  }
  document.addEventListener("keydown", (event) => {
    if (by("keys").open) return;
    const typing = event.target.matches?.("input, textarea, select");
    if (typing) {
      const ends = event.key === "Enter" && !event.target.matches("textarea");
      if (ends || event.key === "Escape") event.target.blur();
      return;
    }
    if ((event.ctrlKey || event.metaKey) && event.key === "z") {
      event.preventDefault();
      does.undo();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = ARROWS[event.key];
    if (arrow) {
      const far = event.shiftKey ? 10 : 1;
      const moved = does.nudge(arrow[0] * far, arrow[1] * far);
      if (!moved && arrow[1]) (arrow[1] > 0 ? does.next : does.previous)();
      event.preventDefault();
      return;
    }
    const focused = event.target.matches?.("button, summary, a");
    if (focused && (event.key === " " || event.key === "Enter")) return; // presses what has the focus
    const action = keys[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
