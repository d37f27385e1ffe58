// Short messages.

import { by } from "./dom.js";

// Says on the photo why it can't be seen; "" for nothing.
export function notice(text) {
  by("notice").textContent = text;
  by("notice").hidden = !text;
}

let fading;
// Says something for some seconds; an error for longer.
export function toast(text, failed = false) {
  by("toast").textContent = text;
  by("toast").classList.toggle("error", failed);
  by("toast").hidden = false;
  clearTimeout(fading);
  fading = setTimeout(() => (by("toast").hidden = true), failed ? 12000 : 3500);
}
