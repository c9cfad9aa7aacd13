// Units × tokens as colors below the text. Only what is visible is drawn; further lanes share its columns and scroll.
import { COLORS } from "./chart.js";
import { h } from "./dom.js";
import { t } from "./words.js";

const BARS = 30, TEXT = 26, PAD = 7, NARROWEST = 15, SHADES = 64;
const FONT = '14px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", "Noto Sans Mono CJK SC", monospace';
const SIGNED = ["cell", "hidden", "candidate"];

// Where the columns of tokens lie: each is as wide as its token.
class Columns {
  constructor(names) {
    const measure = document.createElement("canvas").getContext("2d");
    measure.font = FONT;
    this.count = names.length;
    this.starts = [0];
    for (const name of names) {
      this.starts.push(this.starts.at(-1) + Math.max(NARROWEST, Math.ceil(measure.measureText(name).width) + 2 * PAD));
    }
  }
  get width() { return this.starts.at(-1); }
  middle(index) { return (this.starts[index] + this.starts[index + 1]) / 2; }
  at(x) { // the column at a place, the first or last one beyond the ends
    let low = 0, high = this.count - 1;
    while (low < high) {
      const half = (low + high + 1) >> 1;
      if (this.starts[half] <= x) low = half; else high = half - 1;
    }
    return low;
  }
}

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

function ramp() { // from blue through paper to orange
  const paper = resolved("var(--paper)"), ends = { [-1]: resolved("var(--cold)"), 1: resolved("var(--heat)") };
  return Array.from({ length: 2 * SHADES + 1 }, (_, index) => {
    const amount = (index - SHADES) / SHADES;
    return mixed(paper, ends[Math.sign(amount) || 1], Math.abs(amount));
  });
}

// The values that get the end colors: gates go from 0 to 1, states as far as all but the strongest hundredth.
function limits(part, layer) {
  if (!SIGNED.includes(part)) return [0, 1];
  const sizes = layer.values.flat().map(Math.abs).sort((a, b) => a - b);
  const most = Math.max(1, Math.ceil(2 * sizes[Math.floor(0.99 * (sizes.length - 1))]) / 2);
  return [-most, most];
}

export class Strip {
  // point(index), span([first, last] or null): what to do when a reader chooses a token or a span.
  constructor(choices) {
    this.choices = choices;
    this.lanes = new Map();
    this.label = h("div", { className: "lane-label" });
    this.legend = h("div", { className: "lane-side" });
    this.canvas = h("canvas");
    this.spacer = h("div", {}, this.canvas);
    this.scroller = h("div", { className: "strip", tabIndex: 0, role: "group", "aria-label": t("unitsTokens") }, this.spacer);
    this.element = h("div", { className: "lane" }, this.label, this.scroller, this.legend);
    this.listen();
  }

  show(memory) {
    this.memory = memory;
    [this.layer] = memory.layers;
    this.columns = new Columns(memory.tokens.map((token) => token.name));
    this.limits = limits(memory.part, this.layer);
    this.rows = this.layer.values[0].length;
    this.rowHeight = Math.min(14, Math.max(2, Math.round(290 / this.rows)));
    this.span = null;
    this.places = [];
    this.at = 0;
    this.spacer.style.width = `${this.columns.width}px`;
    this.scroller.scrollLeft = 0;
    this.tell();
    this.recolor();
  }

  tell() { // the labels left and right
    const { layer, cell, units } = this.layer, shown = `${this.rows} ${t(units ? "mostVaried" : "units")}`;
    const [low, high] = this.limits, ends = this.memory.part === "cell" ? ["≤ ", "≥ "] : ["", ""];
    const written = (value) => String(value).replace("-", "−");
    this.label.replaceChildren(h("div", { className: "bits" }, t("bits")),
      h("div", {}, `${t("layer")} ${layer} · ${cell}`), h("div", {}, shown));
    this.legend.replaceChildren(h("i", { className: "memory" }),
      h("span", {}, ends[1] + written(high)), h("span", {}, written((low + high) / 2)), h("span", {}, ends[0] + written(low)));
  }

  recolor() {
    if (!this.memory) return;
    this.shades = ramp();
    this.ink = Object.fromEntries(["ink", "quiet", "line", "blue"].map((name) => [name, resolved(`var(--${name})`)]));
    this.colors = COLORS.map(resolved);
    this.draw();
  }

  get height() { return BARS + TEXT + this.rows * this.rowHeight; }

  // A canvas of this height over the visible part, cleared, in CSS pixels; and the visible columns.
  begin(canvas, height) {
    const width = this.scroller.clientWidth, left = this.scroller.scrollLeft, scale = devicePixelRatio;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    return { pen, left, width, first: this.columns.at(left), last: this.columns.at(left + width) };
  }

  draw() {
    if (!this.memory || !this.scroller.isConnected) return;
    const view = this.begin(this.canvas, this.height);
    this.drawText(view);
    this.drawValues(view);
    for (const place of this.places) this.frame(view, place.from - 1, place.to - 1, this.ink.quiet, 1);
    if (this.span) this.frame(view, ...this.span, this.ink.ink, 2);
    for (const [canvas, draw] of this.lanes) {
      if (canvas.isConnected) draw(); else this.lanes.delete(canvas);
    }
  }

  drawText({ pen, left, first, last }) {
    pen.font = FONT;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    for (let index = first; index <= last; index += 1) {
      const token = this.memory.tokens[index], x = this.columns.middle(index) - left;
      const [start, end] = [this.columns.starts[index] - left, this.columns.starts[index + 1] - left];
      const bar = Math.min(1, token.surprisal / 16) * (BARS - 4);
      pen.fillStyle = this.ink.line;
      pen.fillRect(start + 1, BARS - bar, end - start - 2, bar);
      pen.fillStyle = token.oov ? this.ink.quiet : this.ink.ink;
      pen.fillText(token.name, x, BARS + TEXT / 2 + 1);
      if (index === this.at) {
        pen.fillStyle = this.ink.blue;
        pen.fillRect(start + 1, BARS + TEXT - 3, end - start - 2, 3);
      }
    }
  }

  drawValues({ pen, left, first, last }) {
    const [low, high] = this.limits, top = BARS + TEXT;
    for (let index = first; index <= last; index += 1) {
      const start = Math.round(this.columns.starts[index] - left), end = Math.round(this.columns.starts[index + 1] - left);
      const values = this.layer.values[index];
      for (let row = 0; row < values.length; row += 1) {
        const amount = Math.min(1, Math.max(0, (values[row] - low) / (high - low)));
        pen.fillStyle = this.shades[Math.round(amount * 2 * SHADES)];
        pen.fillRect(start, top + row * this.rowHeight, end - start, this.rowHeight);
      }
    }
  }

  frame({ pen, left }, first, last, color, width) {
    pen.strokeStyle = color;
    pen.lineWidth = width;
    const start = this.columns.starts[first] - left, end = this.columns.starts[last + 1] - left;
    pen.strokeRect(start + width / 2, BARS + 1, end - start - width, this.height - BARS - 2);
  }

  mark(at, span, places = []) {
    Object.assign(this, { at, span, places });
    this.draw();
  }

  reveal(index) {
    const start = this.columns.starts[index], end = this.columns.starts[index + 1], { clientWidth, scrollLeft } = this.scroller;
    const margin = Math.min(120, clientWidth / 4);
    if (start < scrollLeft + margin) this.scroller.scrollLeft = start - margin;
    else if (end > scrollLeft + clientWidth - margin) this.scroller.scrollLeft = end - clientWidth + margin;
  }

  listen() {
    this.scroller.addEventListener("scroll", () => requestAnimationFrame(() => this.draw()));
    new ResizeObserver(() => this.draw()).observe(this.scroller);
    this.canvas.addEventListener("pointerdown", (event) => this.press(event));
    this.canvas.addEventListener("pointermove", (event) => this.move(event));
    this.canvas.addEventListener("pointerup", () => this.release());
    this.canvas.addEventListener("dblclick", (event) => this.choices.span([this.under(event), this.under(event)]));
    this.canvas.addEventListener("pointerleave", () => this.choices.hover(null));
    this.scroller.addEventListener("keydown", (event) => this.key(event));
  }

  under(event) { return this.columns.at(event.offsetX + this.scroller.scrollLeft); }

  press(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pressed = this.under(event);
    this.dragged = null;
    this.choices.point(this.pressed);
  }

  move(event) {
    const index = this.under(event), row = Math.floor((event.offsetY - BARS - TEXT) / this.rowHeight);
    if (this.pressed === undefined) { this.choices.hover({ index, row: row >= 0 && row < this.rows ? row : null }); return; }
    if (event.offsetX < 0 || event.offsetX > this.scroller.clientWidth) this.reveal(index);
    if (index === this.pressed && !this.dragged) return;
    this.dragged = [Math.min(this.pressed, index), Math.max(this.pressed, index)];
    this.mark(index, this.dragged);
  }

  release() {
    if (this.dragged) this.choices.span(this.dragged);
    this.pressed = undefined;
  }

  key(event) {
    if (event.key === "Escape") { this.choices.span(null); return; }
    const last = this.columns.count - 1, step = { ArrowLeft: -1, ArrowRight: 1, Home: -last, End: last }[event.key];
    if (event.key === " ") { event.preventDefault(); this.choices.span([this.at, this.at]); return; }
    if (!step) return;
    event.preventDefault();
    const to = Math.min(last, Math.max(0, this.at + step));
    this.anchor = event.shiftKey ? this.anchor ?? this.at : undefined;
    this.reveal(to);
    if (event.shiftKey) this.choices.span([Math.min(this.anchor, to), Math.max(this.anchor, to)], to);
    else this.choices.point(to);
  }
}
