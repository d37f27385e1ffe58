// Makes elements. Texts are only ever texts: nothing here, or elsewhere in the page, reads markup.

const SVG = "http://www.w3.org/2000/svg";

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "value") made.value = value;
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const element = (tag, attributes = {}, ...children) =>
  filled(document.createElement(tag), attributes, children);

export const drawn = (tag, attributes = {}, ...children) =>
  filled(document.createElementNS(SVG, tag), attributes, children);

export const by = (id) => document.getElementById(id);

// Distinct for most people with color blindness, too, and light enough for dark words on them.
const COLORS = ["#ffb000", "#5bc0f8", "#3ddc97", "#f7e463", "#ff8a5c", "#e39af0", "#a3b8ff", "#c8f169"];

export const colorOf = (number) => COLORS[number % COLORS.length];
