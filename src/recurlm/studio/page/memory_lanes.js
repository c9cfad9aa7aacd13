// Curves below the strip, in the columns of its tokens.
import { h } from "./dom.js";

// curves: [{name, values, color(strip)}], values of the tokens from `begin` on · low, high: what the height shows ·
// threshold: a dashed line · band: first and last token of a shaded span · side(at): what stands to the right.
export function lane(strip, { label, curves, low, high, begin = 0, threshold = null, band = null, height = 40, side }) {
  const canvas = h("canvas"), told = h("div", { className: "lane-side" });
  const y = (value) => height - 4 - ((Math.min(high, Math.max(low, value)) - low) / (high - low)) * (height - 8);
  strip.lanes.set(canvas, () => {
    const view = { ...strip.begin(canvas, height), height, y, begin };
    if (band) shade(strip, view, band);
    if (low <= 0) level(view, 0, [], strip.ink.line);
    if (threshold !== null) level(view, threshold, [3, 3], strip.ink.quiet);
    for (const curve of curves) drawCurve(strip, view, curve);
    told.replaceChildren(...(side ? [side] : pointed(strip, curves, begin)));
  });
  return h("div", { className: "lane curve" }, h("div", { className: "lane-label" }, label), canvas, told);
}

function pointed(strip, curves, begin) { // the values at the token that is pointed at, in the colors of the curves
  return curves.map(({ name, values, color }) => {
    const value = values[strip.at - begin], line = h("div", {}, `${name} ${value === undefined ? "–" : value.toFixed(3)}`);
    line.style.color = color(strip);
    return line;
  });
}

function shade(strip, { pen, left, height }, [first, last]) {
  const { starts } = strip.columns;
  pen.fillStyle = strip.ink.line;
  pen.fillRect(starts[first] - left, 0, starts[last + 1] - starts[first], height);
}

function level({ pen, width, y }, value, dashes, color) {
  pen.strokeStyle = color;
  pen.setLineDash(dashes);
  pen.beginPath();
  pen.moveTo(0, y(value));
  pen.lineTo(width, y(value));
  pen.stroke();
  pen.setLineDash([]);
}

function drawCurve(strip, { pen, left, first, last, y, begin }, { values, color }) {
  const x = (index) => strip.columns.middle(index) - left, end = Math.min(last + 1, begin + values.length - 1);
  pen.strokeStyle = pen.fillStyle = color(strip);
  pen.lineWidth = 1.75;
  pen.lineJoin = "round";
  pen.beginPath();
  for (let index = Math.max(begin, first - 1); index <= end; index += 1) pen.lineTo(x(index), y(values[index - begin]));
  pen.stroke();
  const own = values[strip.at - begin];
  if (own === undefined) return;
  pen.beginPath();
  pen.arc(x(strip.at), y(own), 3.5, 0, 2 * Math.PI);
  pen.fill();
}
