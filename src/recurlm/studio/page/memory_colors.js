// Colors for canvases, which do not read the style sheet: the ramp of values and the inks of lines.
import { COLORS } from "./chart.js";
import { h } from "./dom.js";

export const SHADES = 64;
const SIGNED = ["cell", "hidden", "candidate"];

function resolved(written) { // a color of the style sheet as the canvas takes it
  const probe = h("i");
  probe.style.color = written;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

function mixed(from, to, amount) {
  const parts = [from, to].map((color) => color.match(/[\d.]+/g).map(Number));
  return `rgb(${[0, 1, 2].map((each) => Math.round(parts[0][each] + amount * (parts[1][each] - parts[0][each])))})`;
}

export function ramp() { // from blue through paper to orange
  const paper = resolved("var(--paper)"), ends = { [-1]: resolved("var(--cold)"), 1: resolved("var(--heat)") };
  return Array.from({ length: 2 * SHADES + 1 }, (_, index) => {
    const amount = (index - SHADES) / SHADES;
    return mixed(paper, ends[Math.sign(amount) || 1], Math.abs(amount));
  });
}

// The colors of lines: by name, and those of curves in their order.
export function inks() {
  const named = ["ink", "quiet", "line", "blue"].map((name) => [name, resolved(`var(--${name})`)]);
  return { ...Object.fromEntries(named), curves: COLORS.map(resolved) };
}

// The values that get the end colors: gates go from 0 to 1, states as far as all but the strongest hundredth.
export function limits(part, layer) {
  if (!SIGNED.includes(part)) return [0, 1];
  const sizes = Float32Array.from(layer.values.flat(), Math.abs).sort();
  const most = Math.max(1, Math.ceil(2 * sizes[Math.floor(0.99 * (sizes.length - 1))]) / 2);
  return [-most, most];
}
