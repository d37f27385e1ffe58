// Masks as COCO writes them: run lengths column by column, of 0 and 1 in turn, as numbers or as text.

// The runs in a text: numbers of five bits a character, from the third on as a difference to the run two before.
function runsOf(counts) {
  if (Array.isArray(counts)) return counts;
  const runs = [];
  for (let at = 0; at < counts.length; ) {
    let value = 0;
    let shift = 0;
    let code;
    do {
      code = counts.charCodeAt(at++) - 48;
      value |= (code & 31) << shift;
      shift += 5;
    } while (code & 32 && at < counts.length);
    if (code & 16 && shift < 32) value |= -1 << shift;
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
  }
  return runs;
}

// A mask in the size it is shown in, as 0 and 1 for each pixel, row by row.
export function sampled(mask, width, height) {
  const [tall, wide] = mask.size;
  const runs = runsOf(mask.counts);
  const pixels = new Uint8Array(width * height);
  let run = 0;
  let start = 0; // of the run
  let end = runs[0] ?? 0;
  for (let x = 0; x < width; x++) {
    const top = Math.floor(((x + 0.5) * wide) / width) * tall; // first pixel of the column
    while (run < runs.length && end <= top) {
      start = end;
      end += runs[++run] ?? 0;
    }
    let [at, from, to] = [run, start, end];
    while (at < runs.length && from < top + tall) {
      if (at % 2) {
        const first = (Math.max(from, top) - top) * (height / tall);
        const last = (Math.min(to, top + tall) - top) * (height / tall);
        for (let y = Math.ceil(first - 0.5); y < Math.ceil(last - 0.5); y++) {
          pixels[y * width + x] = 1;
        }
      }
      from = to;
      to += runs[++at] ?? 0;
    }
  }
  return pixels;
}
