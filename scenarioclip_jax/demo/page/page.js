// Photos come in, words are edited, and the newest answer of the model is shown.
import { base64, get, MOST, picture, post } from "/api.js";
import { openAlbum } from "/album.js";
import { compare, openCompare } from "/compare.js";
import { byId, make } from "/dom.js";
import { addBox } from "/keys.js";
import { forget, list } from "/lists.js";
import { boxes, drawGraph, MOST_BOXES, onBoxes, setBoxes, show } from "/stage.js";
import { openWords, wordsNow } from "/words.js";

const PATIENCE = 150; // milliseconds without a key before a box that is moved counts
let photo = "", newest = 0, taken = 0, waiting = 0, models = [null];

function say(text) {
  byId("message").textContent = text;
  byId("message").hidden = !text;
}

async function describe() {
  clearTimeout(waiting);
  byId("undo").disabled = byId("clear").disabled = !boxes.length;
  byId("add").disabled = !photo || boxes.length >= MOST_BOXES;
  if (!photo) return;
  const asked = ++newest;
  byId("right").classList.add("waiting");
  try {
    const question = { photo, boxes, words: wordsNow() };
    const graphs = await Promise.all(models.map((model) => post("/describe", { ...question, model })));
    if (asked !== newest) return; // an answer to an older question
    // A detector may have found boxes where none were drawn.
    if (!boxes.length && graphs[0].objects.length) return setBoxes(graphs[0].objects.map((each) => each.box));
    if (graphs.length > 1) compare(graphs);
    else {
      drawGraph(graphs[0]);
      list(graphs[0]);
    }
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
byId("add").addEventListener("click", addBox);
onBoxes((soon) => {
  newest += 1; // what is on its way is about other boxes
  clearTimeout(waiting);
  if (soon) waiting = setTimeout(describe, PATIENCE);
  else describe();
});

try {
  const start = await get("/start");
  models = start.models;
  byId("model").textContent = models.join(" and ");
  if (models.length > 1) openCompare(models);
  openWords(start.lists, describe);
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
