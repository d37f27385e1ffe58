// Searches the album, and shows what is found with the places that counted.
import { picture, post } from "/api.js";
import { byId, draw, make } from "/dom.js";

let newest = 0;

export function openAlbum(say) {
  byId("album").hidden = false;
  byId("search").addEventListener("submit", async (event) => {
    event.preventDefault();
    const asked = ++newest, query = byId("query").value.trim(), without = byId("without").value.trim();
    if (!query) return;
    const parts = [{ text: query }, ...(without ? [{ text: without, wanted: false }] : [])];
    try {
      const { hits } = await post("/search", { parts, count: 24 });
      if (asked !== newest) return;
      byId("hits").replaceChildren(...hits.map(shown));
      say("");
    } catch (error) {
      if (asked === newest) say(error.message);
    }
  });
}

function shown(hit) {
  const [wide, high] = hit.size, path = hit.paths[0];
  const image = make("img", { alt: path, width: wide, height: high });
  image.style.height = "auto";
  picture(`/thumbnail?path=${encodeURIComponent(path)}`).then((address) => { image.src = address; }, () => {});
  const places = draw("svg", { viewBox: `0 0 ${wide} ${high}` });
  for (const match of hit.matches.filter((each) => each.wanted)) {
    for (const [x0, y0, x1, y1] of match.boxes) places.append(draw("rect", { x: x0, y: y0, width: x1 - x0, height: y1 - y0 }));
  }
  return make("figure", {}, make("div", {}, image, places), make("figcaption", {}, `${hit.score.toFixed(1)}  ${path}`));
}
