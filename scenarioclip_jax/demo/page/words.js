// The words to choose from: lists that the server offers, and whatever is typed.
import { byId, make } from "/dom.js";

const KINDS = ["actions", "objects", "predicates"];
const PATIENCE = 400; // milliseconds without a key before words count
let waiting = 0;

export const wordsNow = () =>
  Object.fromEntries(KINDS.map((kind) => [kind, byId(kind).value.split("\n").map((text) => text.trim()).filter(Boolean)]));

// Begins with the first of the lists, and tells whenever words have changed.
export function openWords(lists, changed) {
  const take = (list) => {
    for (const kind of KINDS) byId(kind).value = (list[kind] ?? []).join("\n");
  };
  take(lists[0] ?? {});
  byId("words").open = !lists.length;
  byId("lists").hidden = !lists.length;
  for (const list of lists) {
    const button = make("button", { type: "button" }, list.name);
    button.addEventListener("click", () => { take(list); changed(); });
    byId("lists").append(button);
  }
  for (const kind of KINDS) {
    byId(kind).addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(changed, PATIENCE);
    });
  }
}
