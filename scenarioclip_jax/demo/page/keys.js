// Boxes by keyboard: one is added, moved, sized or removed.
import { byId } from "/dom.js";
import { boxes, focusBox, focused, MOST_BOXES, photoSize, setBoxes, whereIs } from "/stage.js";

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const LEAST = 2; // pixels of the photo that a box has on each side

const tell = (text) => { byId("said").textContent = text; };

// Adds a box in the middle of the photo, and gives it the focus.
export function addBox() {
  const size = photoSize();
  if (!size || boxes.length >= MOST_BOXES) return;
  const index = boxes.length;
  setBoxes([...boxes, [...size.map((side) => side / 3), ...size.map((side) => (2 * side) / 3)]]);
  focusBox(index);
  tell(`box ${index} added`);
}

function remove(index) {
  setBoxes(boxes.filter((_, place) => place !== index));
  if (boxes.length) focusBox(Math.min(index, boxes.length - 1));
  else byId("stage").focus();
  tell(`box ${index} removed`);
}

const within = (value, least, most) => Math.min(Math.max(value, least), most);

// A hundredth of the photo's longer side a key: the box, or with shift its lower right corner.
function moved([x0, y0, x1, y1], [dx, dy], corner) {
  const [wide, high] = photoSize(), step = Math.max(1, Math.max(wide, high) / 100);
  if (corner) return [x0, y0, within(x1 + dx * step, x0 + LEAST, wide), within(y1 + dy * step, y0 + LEAST, high)];
  const x = within(dx * step, -x0, wide - x1), y = within(dy * step, -y0, high - y1);
  return [x0 + x, y0 + y, x1 + x, y1 + y];
}

byId("stage").addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const held = focused();
  if (held === null) {
    if (event.key === "Enter") addBox();
    return;
  }
  const index = Number(held), step = STEPS[event.key];
  if (step) {
    setBoxes(boxes.map((box, place) => (place === index ? moved(box, step, event.shiftKey) : box)), true);
    tell(`box ${index}: ${whereIs(boxes[index])}`);
  } else if (event.key === "Delete" || event.key === "Backspace") remove(index);
  else if (event.key === "Escape") byId("stage").focus();
  else return;
  event.preventDefault();
});
