// The options of sampling as sliders. A slider at the value `off` leaves its option out.
import { h } from "./dom.js";
import { t } from "./words.js";

const steps = (low, high, step) =>
  Array.from({ length: Math.round((high - low) / step) + 1 }, (_, index) => Number((low + index * step).toFixed(2)));
const ALL = null;
const OPTIONS = [
  { key: "temperature", label: "temperature", values: steps(0, 2, 0.05), off: 1 },
  { key: "top_p", label: "topP", values: steps(0.05, 1, 0.05), off: 1 },
  { key: "top_k", label: "topK", values: [1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 70, 100, 200, 500, ALL], off: ALL },
  { key: "min_p", label: "minP", values: [0, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1], off: 0 },
  { key: "typical", label: "typical", values: steps(0.05, 1, 0.05), off: 1 },
  { key: "repetition_penalty", label: "penalty", values: steps(1, 2, 0.05), off: 1 },
];
const IN_PYTHON = ["temperature", "top_k", "top_p"]; // `generate` takes these itself
const chosen = Object.fromEntries(OPTIONS.map(({ key, off }) => [key, key === "temperature" ? 0.8 : off]));

// The options that are not off, as a request and as `SamplingOptions` name them.
export const asked = () =>
  Object.fromEntries(OPTIONS.filter(({ key, off }) => chosen[key] !== off).map(({ key }) => [key, chosen[key]]));

export const flags = (options) =>
  Object.entries(options).flatMap(([key, value]) => [`--${key.replaceAll("_", "-")}`, value]);

// Lines to import, and the keywords of `Model.generate`.
export function python(options) {
  const words = Object.entries(options).map(([key, value]) => `${key}=${value}`);
  if (Object.keys(options).every((key) => IN_PYTHON.includes(key))) return { imports: [], keywords: words };
  const imports = ["from recurlm.generation.sampling import SamplingOptions"];
  return { imports, keywords: [`options=SamplingOptions(${words.join(", ")})`] };
}

export function slider(label, values, value, onmove, told = String) {
  const figure = h("output", {}, told(value));
  const input = h("input", {
    type: "range",
    min: 0,
    max: values.length - 1,
    step: 1,
    value: Math.max(0, values.indexOf(value)),
    "aria-label": label,
    "aria-valuetext": told(value),
    oninput: () => {
      const moved = values[Number(input.value)];
      figure.textContent = told(moved);
      input.setAttribute("aria-valuetext", told(moved));
      onmove(moved);
    },
  });
  return h("label", { className: "slider" }, h("span", {}, label, figure), input);
}

export function sliders(onchange) {
  const told = (value) => (value === ALL ? t("all") : String(value));
  return OPTIONS.map(({ key, label, values }) => slider(t(label), values, chosen[key], (value) => {
    chosen[key] = value;
    onchange();
  }, told));
}

export function leaveOutAll() {
  for (const { key, off } of OPTIONS) chosen[key] = off;
}
