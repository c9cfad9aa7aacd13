// Curves below the strip, in the columns of its tokens.
import { h } from "./dom.js";

// curves: [{name, values, color(strip)}], values of the tokens from `begin` on · low, high: what the height shows ·
// threshold: a dashed line · band: first and last token of a shaded span · told: lines to the right; without them the
// values at the token that is pointed at.
export function lane(strip, { label, told, height = 40, ...look }) {
  const canvas = h("canvas", { "aria-hidden": "true" }), lines = (told || []).map((line) => h("div", {}, line));
  const side = h("div", { className: "lane-side" }, lines);
  strip.lanes.set(canvas, () => {
    drawLane(strip, { ...strip.begin(canvas, height), begin: 0, height, ...look });
    if (!told) side.replaceChildren(...pointed(strip, look));
  });
  return h("div", { className: "lane curve" }, h("div", { className: "lane-label" }, label), canvas, side);
}

function drawLane(strip, look) {
  const { height, low, high, band, threshold, curves } = look, inner = height - 8;
  const y = (value) => height - 4 - ((value - low) / (high - low || 1)) * inner;
  if (band) shade(strip, look, band);
  if (low <= 0) level(look, y(0), [], strip.ink.line);
  if (threshold !== undefined) level(look, y(threshold), [3, 3], strip.ink.quiet);
  for (const curve of curves) drawCurve(strip, { ...look, y }, curve);
}

function pointed(strip, { curves, begin = 0 }) { // in the colors of the curves
  return curves.map(({ name, values, color }) => {
    const value = values[strip.at - begin];
    const line = h("div", {}, `${name} ${value === undefined ? "–" : value.toFixed(3)}`);
    line.style.color = color(strip);
    return line;
  });
}

function shade(strip, { pen, left, height }, [first, last]) {
  const { starts } = strip.columns;
  pen.globalAlpha = 0.5;
  pen.fillStyle = strip.ink.line;
  pen.fillRect(starts[first] - left, 0, starts[last + 1] - starts[first], height);
  pen.globalAlpha = 1;
}

function level({ pen, width }, y, dashes, color) {
  pen.strokeStyle = color;
  pen.setLineDash(dashes);
  pen.beginPath();
  pen.moveTo(0, y);
  pen.lineTo(width, y);
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
