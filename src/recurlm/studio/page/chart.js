// Curves of perplexity on a logarithmic axis, as SVG.
import { figure } from "./dom.js";
import { t } from "./words.js";

const LEFT = 52, RIGHT = 150, TOP = 28, BOTTOM = 34;
export const COLORS = ["var(--blue)", "var(--orange)", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "var(--ink)"];
const NS = "http://www.w3.org/2000/svg";

function svg(tag, attributes, text) {
  const element = document.createElementNS(NS, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// curves: [{label, color, points: [[x, y]…], thin, dots}]
export function chart(curves, { height = 320, xlabel = t("steps"), ylabel = t("chart"), logarithmic = true, zero = false } = {}) {
  const WIDTH = Math.min(960, Math.max(340, document.getElementById("view").clientWidth));
  const shown = curves.map((curve) => ({ ...curve, points: curve.points.filter(([, y]) => Number.isFinite(y) && (y > 0 || !logarithmic)) })).filter((curve) => curve.points.length);
  const picture = svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${height + 10}`, role: "img" });
  const points = shown.flatMap((curve) => curve.points);
  picture.setAttribute("aria-label", `${ylabel}: ${shown.map((curve) => `${curve.label} ${figure(curve.points.at(-1)[1])}`).join(", ")}`);
  if (!points.length) return picture;
  const most = Math.max(1, ...points.map(([x]) => x));
  const scale = logarithmic ? Math.log : (y) => y;
  let low = zero ? 0 : Math.min(...points.map(([, y]) => scale(y))), high = Math.max(...points.map(([, y]) => scale(y)));
  if (logarithmic) { low -= 0.12; high += 0.05; }
  if (high - low < 1e-9) high = low + 1;
  const x = (value) => LEFT + (value / most) * (WIDTH - LEFT - RIGHT);
  const y = (value) => TOP + (1 - (scale(value) - low) / (high - low)) * (height - TOP - BOTTOM);
  picture.append(svg("text", { x: 0, y: 14 }, ylabel));
  for (const tick of logarithmic ? logTicks(Math.exp(low), Math.exp(high)) : linearTicks(low, high)) {
    picture.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(tick), y2: y(tick) }));
    picture.append(svg("text", { x: LEFT - 8, y: y(tick) + 4, "text-anchor": "end" }, String(tick)));
  }
  for (const tick of linearTicks(0, most, WIDTH < 600 ? 2 : 5)) {
    picture.append(svg("text", { x: x(tick), y: height - 12, "text-anchor": "middle" }, tick.toLocaleString("en")));
  }
  picture.append(svg("text", { x: WIDTH - RIGHT, y: height + 4, "text-anchor": "end" }, xlabel));
  const labels = [];
  for (const curve of shown) {
    const path = curve.points.map(([a, b], index) => `${index ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
    picture.append(svg("path", { d: path, fill: "none", stroke: curve.color, "stroke-width": curve.thin ? 1.2 : 2, "stroke-linejoin": "round", opacity: curve.thin ? 0.6 : 1, ...(curve.dashed ? { "stroke-dasharray": "4 3" } : {}) }));
    if (curve.dots) for (const [a, b] of curve.points) picture.append(svg("circle", { cx: x(a), cy: y(b), r: 3, fill: curve.color }));
    if (curve.label) labels.push({ at: y(curve.points.at(-1)[1]), text: `${curve.label} ${figure(curve.points.at(-1)[1])}`, color: curve.color });
  }
  labels.sort((a, b) => a.at - b.at).forEach((label, index) => { if (index) label.at = Math.max(label.at, labels[index - 1].at + 17); });
  for (const label of labels) {
    const text = svg("text", { x: WIDTH - RIGHT + 8, y: label.at + 4 }, label.text);
    text.style.fill = label.color;
    picture.append(text);
  }
  return picture;
}

function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    for (const digit of [1, 2, 5]) ticks.push(Number((digit * 10 ** power).toPrecision(1)));
  }
  const within = ticks.filter((tick) => tick >= low && tick <= high);
  return within.length > 7 ? within.filter((tick) => /^0?\.?0*1/.test(String(tick))) : within;
}

function linearTicks(low, high, count = 5) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step / 1e6; tick += step) ticks.push(Number(tick.toPrecision(10)));
  return ticks;
}

export function trainingCurves(entries) {
  const logged = (event) => entries.filter((entry) => entry.event === event && entry.perplexity).map((entry) => [entry.step, entry.perplexity]);
  const steps = logged("step"), training = steps.length > 1 ? steps : logged("epoch"); // a short text logs epochs alone
  const validation = entries.filter((entry) => entry.event === "epoch" && entry.valid_perplexity).map((entry) => [entry.step, entry.valid_perplexity]);
  return { training, validation };
}
export function oneRun(entries) {
  const { training, validation } = trainingCurves(entries);
  return chart([
    { label: t("training"), color: "var(--blue)", points: training },
    { label: t("validation"), color: "var(--orange)", points: validation, dots: true },
  ]);
}
export function severalRuns(runs) {
  return chart(runs.flatMap(([name, entries], index) => {
    const { training, validation } = trainingCurves(entries), color = COLORS[index % COLORS.length];
    return [{ label: validation.length ? "" : name, color, points: training, thin: true }, { label: name, color, points: validation, dots: true, dashed: index >= COLORS.length }];
  }));
}
