// The page: which photo is shown, what is decided on it, and what keys do.

import { get, photoAddress, post } from "./api.js";
import { by, element } from "./dom.js";
import { keyboard } from "./keys.js";
import { List, PAST } from "./list.js";
import { notice, toast } from "./messages.js";
import { Panel } from "./panel.js";
import { Draft } from "./scene.js";
import { Stage, movedBy } from "./stage.js";

const POLL = 4000; // milliseconds between looks at what others decided

const view = {
  me: "",
  detail: null, // what /api/scene says
  versions: [], // of the scene: {reviewer, scene, same}; the first is that of the stages
  shown: null, // one of them
  draft: null, // the scene that is drawn; null where there is none
  editing: false,
  chosen: null, // key of an object or relation
  pointed: null,
  problems: [],
  notes: [],
  removed: [],
  stale: [],
};
let version = 0; // of the decisions that the page knows
const made = []; // photos of this page's decisions, the last at the end
const fetched = new Map(); // scenes that were asked for in advance, by id

const list = new List((number) => run(() => open(number)));
const steps = {
  point: (key) => {
    if (key === view.pointed) return;
    view.pointed = key;
    panel.mark();
    drawStage();
  },
  choose: (key) => {
    view.chosen = key;
    panel.mark();
    drawStage();
  },
  step: () => view.draft.step(),
  changed: () => {
    drawStage();
    drawBar();
  },
  drawn: (box) => {
    const thing = view.draft.addObject(box);
    view.chosen = thing.key;
    return thing;
  },
  undrawn: (thing) => {
    view.draft.remove(thing.key);
    show();
  },
  dropped: (thing, fresh) => {
    show();
    if (fresh) panel.type(thing.key);
  },
  lost: () => notice("The photo's file can't be shown: it has changed, or can't be read."),
  draw: () => run(startBox),
  addCaption: () => {
    view.draft.step();
    view.draft.now.captions.push("");
    show();
    by("panel").querySelector("textarea:last-of-type").focus();
  },
  addRelation: () => run(addRelation),
  remove: (key) => remove(key),
  discard: () => discard(),
  version: (chosen) => {
    showVersion(chosen);
    show();
  },
};
const stage = new Stage(steps);
const panel = new Panel(steps);

// What is asked for by keys and buttons is done in turn, so that none is lost when they come fast.
let turn = Promise.resolve();
function run(action) {
  turn = turn.then(action).catch((error) => {
    if (!error.problems) console.error(error);
    toast(error.message, true);
  });
  return turn;
}

async function start() {
  const rows = await get("/api/list");
  view.me = rows.reviewer;
  document.title = `Review, ${rows.reviewer}`;
  list.fill(rows);
  take(await get("/api/changes", { since: 0 }));
  list.filter();
  const wanted = decodeURIComponent(location.hash.slice(1));
  const number = list.photos.findIndex((photo) => photo.id === wanted);
  await open(number >= 0 ? number : (list.shown[0] ?? -1));
  setInterval(() => run(look), POLL);
}

// Takes what /api/changes says.
function take({ version: now, rows, progress }) {
  version = now;
  list.change(rows);
  for (const [number] of rows) fetched.delete(list.photos[number].id);
  const { total, decided, reviewers, shared, alike, damaged } = progress;
  const told = (count) => count.toLocaleString("en");
  by("decided").textContent = `${told(decided)} of ${told(total)} decided`;
  by("share").value = total ? decided / total : 0;
  const percent = shared ? `${Math.round((100 * alike) / shared)}% agree on ${told(shared)} shared` : "";
  by("agreement").textContent = percent;
  const names = Object.entries(reviewers).map(([name, count]) => `${name} ${told(count)}`);
  by("by").textContent = names.join(" · ") + (damaged ? ` · ${damaged} damaged lines` : "");
  list.reviewers(Object.keys(reviewers));
}

// Looks at what others decided.
async function look() {
  if (document.hidden) return;
  const found = await get("/api/changes", { since: version });
  const here = list.photos[list.current]?.id;
  take(found);
  if (found.rows.length) list.filter();
  const touched = found.rows.some(([number]) => list.photos[number].id === here);
  if (touched && !view.editing) await load(here, view.shown?.same);
}

function scene(id) {
  if (!fetched.has(id)) {
    fetched.set(id, get("/api/scene", { id }));
    if (fetched.size > 30) fetched.delete(fetched.keys().next().value);
  }
  return fetched.get(id).catch((error) => {
    fetched.delete(id);
    throw error;
  });
}

// Shows a photo, after what was edited on the one before is saved.
async function open(number) {
  if (number === undefined || number < 0) {
    if (!list.photos.length) notice("There are no photos here yet.");
    return;
  }
  if (!(await leaveEditing())) return;
  const { id } = list.photos[number];
  document.body.classList.remove("listing");
  by("menu").setAttribute("aria-expanded", "false");
  list.choose(number);
  history.replaceState(null, "", `#${encodeURIComponent(id)}`);
  await load(id);
  for (const next of [list.further(1), list.further(-1)]) {
    if (next === undefined) continue;
    const ahead = list.photos[next];
    scene(ahead.id).then(
      ({ photo, width }) => width && (new Image().src = photoAddress(ahead.id, photo)),
      () => {},
    );
  }
}

// Loads a photo; shows the version with this digest, or else the reviewer's own, or the latest.
async function load(id, same) {
  const detail = await scene(id);
  const fresh = view.detail?.id !== id;
  Object.assign(view, { detail, problems: [], removed: detail.removed, stale: detail.stale });
  if (fresh) view.notes = [];
  const edits = detail.decisions.filter((each) => each.action === "edit");
  view.versions = [{ reviewer: "", scene: detail.scene, same: "" }];
  for (const edit of edits) {
    if (!view.versions.some((each) => each.same === edit.same)) view.versions.push(edit);
  }
  const own = detail.decisions.find((each) => each.reviewer === view.me) ?? detail.decisions[0];
  const wanted = same ?? (own?.action === "edit" ? own.same : "");
  showVersion(view.versions.find((each) => each.same === wanted) ?? view.versions[0]);
  if (fresh) {
    notice("");
    stage.open(detail.width ? photoAddress(id, detail.photo) : "", [detail.width || 4, detail.height || 3]);
    if (!detail.width) notice(detail.removed.map((each) => each.join(": ")).join("\n"));
    by("panel").scrollTop = 0;
  }
  show();
}

function showVersion(chosen) {
  view.shown = chosen;
  view.draft = chosen.scene ? new Draft(chosen.scene) : null;
  view.chosen = view.pointed = null;
}

function show() {
  drawBar();
  panel.show(view);
  drawStage();
}

function drawStage() {
  stage.show(view.draft?.now ?? null, view);
}

function drawBar() {
  const { detail, editing, draft } = view;
  by("photo-id").textContent = detail?.id ?? "";
  const said = (detail?.decisions ?? []).map(({ reviewer, action }) =>
    element("span", { class: `verdict ${action}` }, `${PAST[action]} by ${reviewer === view.me ? "me" : reviewer}`),
  );
  if (editing) said.unshift(element("span", { class: "verdict unsaved" }, draft.changed() ? "editing, not saved yet" : "editing"));
  by("verdicts").replaceChildren(...said);
  const own = detail?.decisions.find((each) => each.reviewer === view.me)?.action;
  for (const action of ["keep", "drop"]) by(action).setAttribute("aria-pressed", String(own === action));
  by("edit").setAttribute("aria-pressed", String(editing));
  by("edit").firstElementChild.textContent = editing ? "Save" : "Edit";
  for (const id of ["keep", "drop", "edit"]) by(id).disabled = !detail?.digest;
  document.body.classList.toggle("editing", editing);
}

async function send(action, values = {}) {
  const { id, digest } = view.detail;
  const answer = await post("/api/decide", { id, digest, action, since: version, ...values });
  take(answer);
  return answer;
}

// Keeps or drops the scene, and goes on.
async function decide(action) {
  if (!view.detail?.digest || !(await leaveEditing())) return;
  const { id, decisions } = view.detail;
  const own = decisions.find((each) => each.reviewer === view.me);
  // To keep what somebody edited is to edit it in the same way.
  const edit = action === "keep" && view.shown.same;
  const again = own && own.action === (edit ? "edit" : action) && (!edit || own.same === edit);
  if (!again) {
    await send(edit ? "edit" : action, edit ? { scene: view.draft.sent(), base: edit } : {});
    made.push(id);
    toast(`${id}: ${PAST[action]}`);
  }
  const next = list.further(1);
  if (next !== undefined) await open(next);
  else await load(id);
}

// Takes back the last decision of this page, or with `here` that on this photo.
async function undo(here) {
  if (view.editing) {
    if (view.draft.back()) show();
    return;
  }
  const last = here ? view.detail.id : made.at(-1);
  const id = last ?? view.detail?.id;
  if (id !== view.detail?.id) await open(list.photos.findIndex((photo) => photo.id === id));
  const own = view.detail?.decisions.find((each) => each.reviewer === view.me);
  if (!here) made.pop();
  if (!own) {
    toast("You have decided nothing here.");
    return;
  }
  await send("undo");
  if (here && made.includes(id)) made.splice(made.lastIndexOf(id), 1);
  view.notes = [];
  toast(`${id}: no longer ${PAST[own.action]}`);
  await load(id);
}

async function edit() {
  if (view.editing) {
    await leaveEditing();
    return;
  }
  if (!view.detail?.digest) return;
  view.draft ??= new Draft(null);
  view.editing = true;
  view.notes = [];
  show();
}

// Saves what was edited; returns whether the page may go on.
async function leaveEditing() {
  if (!view.editing) return true;
  document.activeElement?.blur();
  stage.startDrawing(false);
  if (view.draft.changed()) {
    const { id } = view.detail;
    let answer;
    try {
      answer = await send("edit", { scene: view.draft.sent(), base: view.shown.same });
    } catch (error) {
      if (!error.problems) throw error;
      view.problems = error.problems;
      show();
      by("panel").scrollTop = 0;
      return false;
    }
    made.push(id);
    view.editing = false;
    await load(id);
    view.notes = answer.notes;
    toast(answer.notes.length ? `${id}: edited. Left out: ${answer.notes.join("; ")}` : `${id}: edited`);
  } else {
    view.editing = false;
    showVersion(view.shown);
  }
  view.problems = [];
  show();
  return true;
}

function discard() {
  if (!view.editing || !confirm("Forget what you changed on this photo?")) return;
  view.editing = false;
  view.problems = [];
  showVersion(view.shown);
  show();
}

async function startBox() {
  if (!view.editing) await edit();
  if (view.editing) stage.startDrawing(true);
}

async function addRelation() {
  if (!view.editing) await edit();
  const objects = view.draft?.now.objects ?? [];
  if (!view.editing || objects.length < 2) return;
  const subject = view.draft.object(view.chosen) ?? objects[0];
  const object = objects.find((thing) => thing !== subject);
  const relation = view.draft.addRelation(subject.key, object.key);
  view.chosen = relation.key;
  show();
  panel.type(relation.key);
}

function remove(key) {
  if (!view.editing || key === null) return;
  view.draft.remove(key);
  view.chosen = view.pointed = null;
  show();
}

// Moves the chosen box; returns whether there is one.
function nudge(dx, dy) {
  const thing = view.editing ? view.draft.object(view.chosen) : null;
  if (!thing) return false;
  view.draft.step();
  const { width, height } = view.detail;
  thing.box = movedBy(thing.box, dx, dy, width, height);
  steps.changed();
  return true;
}

function toggleLayer(name) {
  stage.layers[name] = !stage.layers[name];
  by(`layer-${name}`).setAttribute("aria-pressed", String(stage.layers[name]));
  stage.draw();
}

keyboard({
  next: () => run(() => open(list.further(1))),
  previous: () => run(() => open(list.further(-1))),
  undecided: () => run(() => open(list.undecided())),
  keep: () => run(() => decide("keep")),
  drop: () => run(() => decide("drop")),
  edit: () => run(edit),
  undo: () => run(() => undo(false)),
  undoHere: () => run(() => undo(true)),
  escape: () => (stage.drawing ? stage.startDrawing(false) : run(leaveEditing)),
  box: () => run(startBox),
  relation: () => run(addRelation),
  remove: () => remove(view.chosen),
  nudge,
  layer: toggleLayer,
  help: () => by("keys").showModal(),
});

by("menu").addEventListener("click", () => {
  const open = document.body.classList.toggle("listing");
  by("menu").setAttribute("aria-expanded", String(open));
});

window.addEventListener("beforeunload", (event) => {
  if (view.editing && view.draft.changed()) event.preventDefault();
});

run(start);
