// Curves of perplexity on a logarithmic axis, as SVG.
import { figure } from "./dom.js";
import { t } from "./words.js";

const LEFT = 52, RIGHT = 150, TOP = 28, BOTTOM = 34;
const NARROW = 600, MOST_TICKS = 7, LABEL_HEIGHT = 17;
export const COLORS = ["var(--blue)", "var(--orange)", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "var(--ink)"];
const NS = "http://www.w3.org/2000/svg";

function svg(tag, attributes, text) {
  const element = document.createElementNS(NS, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// curves: [{label, color, points: [[x, y]…], thin, dots, dashed}]
export function chart(curves, options = {}) {
  const { height = 320, xlabel = t("steps"), ylabel = t("chart"), logarithmic = true, zero = false } = options;
  const width = Math.min(960, Math.max(340, document.getElementById("view").clientWidth));
  const isDrawn = ([, y]) => Number.isFinite(y) && (y > 0 || !logarithmic);
  const cleaned = curves.map((curve) => ({ ...curve, points: curve.points.filter(isDrawn) }));
  const shown = cleaned.filter((curve) => curve.points.length);
  const picture = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height + 10}`, role: "img" });
  const told = shown.map((curve) => `${curve.label} ${figure(curve.points.at(-1)[1])}`);
  picture.setAttribute("aria-label", `${ylabel}: ${told.join(", ")}`);
  if (!shown.length) return picture;
  const axes = scales(shown, { width, height, logarithmic, zero });
  picture.append(svg("text", { x: 0, y: 14 }, ylabel), ...grid(axes),
    svg("text", { x: width - RIGHT, y: height + 4, "text-anchor": "end" }, xlabel));
  for (const curve of shown) picture.append(...line(curve, axes));
  picture.append(...labels(shown, axes));
  return picture;
}

function scales(curves, { width, height, logarithmic, zero }) {
  const points = curves.flatMap((curve) => curve.points);
  const most = Math.max(1, ...points.map(([x]) => x));
  const scale = logarithmic ? Math.log : (y) => y;
  let low = zero ? 0 : Math.min(...points.map(([, y]) => scale(y)));
  let high = Math.max(...points.map(([, y]) => scale(y)));
  if (logarithmic) [low, high] = [low - 0.12, high + 0.05];
  if (high - low < 1e-9) high = low + 1;
  return {
    width, height, most, low, high, logarithmic,
    x: (value) => LEFT + (value / most) * (width - LEFT - RIGHT),
    y: (value) => TOP + (1 - (scale(value) - low) / (high - low)) * (height - TOP - BOTTOM),
  };
}

function grid({ width, height, most, low, high, logarithmic, x, y }) {
  const rows = logarithmic ? logTicks(Math.exp(low), Math.exp(high)) : linearTicks(low, high);
  const columns = linearTicks(0, most, width < NARROW ? 2 : 5);
  return [
    ...rows.flatMap((tick) => [
      svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }),
      svg("text", { x: LEFT - 8, y: y(tick) + 4, "text-anchor": "end" }, String(tick)),
    ]),
    ...columns.map((tick) =>
      svg("text", { x: x(tick), y: height - 12, "text-anchor": "middle" }, tick.toLocaleString("en"))),
  ];
}

function line(curve, { x, y }) {
  const drawn = curve.points.map(([a, b], index) => `${index ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`);
  const path = svg("path", {
    d: drawn.join(""),
    fill: "none",
    stroke: curve.color,
    "stroke-width": curve.thin ? 1.2 : 2,
    "stroke-linejoin": "round",
    opacity: curve.thin ? 0.6 : 1,
    ...(curve.dashed ? { "stroke-dasharray": "4 3" } : {}),
  });
  const dots = curve.dots || curve.points.length === 1 ? curve.points : [];
  return [path, ...dots.map(([a, b]) => svg("circle", { cx: x(a), cy: y(b), r: 3, fill: curve.color }))];
}

// The names of the curves with their last values, at the right, none upon another.
function labels(curves, { width, height, y }) {
  const named = curves.filter((curve) => curve.label).map((curve) => {
    const last = curve.points.at(-1)[1];
    return { at: y(last), text: `${curve.label} ${figure(last)}`, color: curve.color };
  });
  named.sort((a, b) => a.at - b.at).forEach((label, index) => {
    if (index) label.at = Math.max(label.at, named[index - 1].at + LABEL_HEIGHT);
  });
  named.reduceRight((below, label) => {
    label.at = Math.min(label.at, below);
    return label.at - LABEL_HEIGHT;
  }, height - BOTTOM);
  return named.map(({ at, text, color }) => {
    const label = svg("text", { x: width - RIGHT + 8, y: at + 4 }, text);
    label.style.fill = color;
    return label;
  });
}

function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    for (const digit of [1, 2, 5]) ticks.push(Number((digit * 10 ** power).toPrecision(1)));
  }
  const within = ticks.filter((tick) => tick >= low && tick <= high);
  return within.length > MOST_TICKS ? within.filter((tick) => /^0?\.?0*1/.test(String(tick))) : within;
}

function linearTicks(low, high, count = 5) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step / 1e6; tick += step) {
    ticks.push(Number(tick.toPrecision(10)));
  }
  return ticks;
}

export function trainingCurves(entries) {
  const logged = (event, key) =>
    entries.filter((entry) => entry.event === event && entry[key]).map((entry) => [entry.step, entry[key]]);
  const steps = logged("step", "perplexity");
  const training = steps.length > 1 ? steps : logged("epoch", "perplexity"); // a short text logs epochs alone
  return { training, validation: logged("epoch", "valid_perplexity") };
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
    return [
      { label: validation.length ? "" : name, color, points: training, thin: true },
      { label: name, color, points: validation, dots: true, dashed: index >= COLORS.length },
    ];
  }));
}
