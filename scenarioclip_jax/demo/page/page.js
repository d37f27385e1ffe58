// Photos come in, words are edited, and the newest answer of the model is shown.
import { base64, get, MOST, picture, post } from "/api.js";
import { openAlbum } from "/album.js";
import { byId, make } from "/dom.js";
import { forget, list } from "/lists.js";
import { boxes, drawGraph, onBoxes, setBoxes, show } from "/stage.js";

const KINDS = ["actions", "objects", "predicates"];
let photo = "", newest = 0, taken = 0, waiting = 0;

function say(text) {
  byId("message").textContent = text;
  byId("message").hidden = !text;
}

const wordsNow = () =>
  Object.fromEntries(KINDS.map((kind) => [kind, byId(kind).value.split("\n").map((text) => text.trim()).filter(Boolean)]));

async function describe() {
  byId("undo").disabled = byId("clear").disabled = !boxes.length;
  if (!photo) return;
  const asked = ++newest;
  byId("right").classList.add("waiting");
  try {
    const graph = await post("/describe", { photo, boxes, words: wordsNow() });
    if (asked !== newest) return; // an answer to an older question
    // A detector may have found boxes where none were drawn.
    if (!boxes.length && graph.objects.length) return setBoxes(graph.objects.map((each) => each.box));
    drawGraph(graph);
    list(graph);
    say("");
  } catch (error) {
    if (asked === newest) say(error.message);
  } finally {
    if (asked === newest) byId("right").classList.remove("waiting");
  }
}

async function take(file, given = []) {
  const asked = ++taken;
  try {
    if (file.size > MOST) {
      throw new Error(`${file.name || "the photo"} has ${(file.size / 2 ** 20).toFixed(0)} MiB; at most ${MOST >> 20} are taken`);
    }
    const address = URL.createObjectURL(file), content = await base64(file);
    if (asked !== taken) return; // a newer photo has come
    const before = photo;
    photo = content;
    await show(address, given).catch((error) => { photo = before; throw error; });
    forget(); // until the answer comes
    say("");
  } catch (error) {
    say(error.message);
  }
}

function takeFrom(files) {
  if (files?.[0]) take(files[0]);
}

for (const id of ["file", "camera"]) {
  byId(id).addEventListener("change", (event) => { takeFrom(event.target.files); event.target.value = ""; });
}
document.addEventListener("paste", (event) => takeFrom(event.clipboardData.files));
const stage = byId("stage");
document.addEventListener("dragover", (event) => { event.preventDefault(); stage.classList.add("over"); });
document.addEventListener("dragleave", () => stage.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  stage.classList.remove("over");
  takeFrom(event.dataTransfer.files);
});
byId("undo").addEventListener("click", () => setBoxes(boxes.slice(0, -1)));
byId("clear").addEventListener("click", () => setBoxes([]));
onBoxes(describe);
for (const kind of KINDS) {
  byId(kind).addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(describe, 400);
  });
}

try {
  const start = await get("/start");
  byId("model").textContent = start.model;
  for (const kind of KINDS) byId(kind).value = start.words[kind].join("\n");
  byId("words").open = !KINDS.some((kind) => start.words[kind].length);
  if (start.album) openAlbum(say);
  start.examples.forEach(async (given, number) => {
    const button = make("button", { "aria-label": `Example ${number + 1}` });
    byId("examples").append(button);
    const image = make("img", { alt: "", src: await picture(`/examples/${number}`) });
    button.append(image);
    button.addEventListener("click", async () => take(await (await fetch(image.src)).blob(), given));
  });
} catch (error) {
  say(error.message);
}
