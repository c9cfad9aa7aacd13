// Units × tokens as colors below the text. Only what is visible is drawn; further lanes share its columns and scroll.
import { h } from "./dom.js";
import { inks, limits, ramp, SHADES } from "./memory_colors.js";
import { numbered, t } from "./words.js";

const BARS = 30, TEXT = 26, PAD = 7, NARROWEST = 15, LONGEST = 24, MOST_BITS = 16;
const FONT = '14px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", "Noto Sans Mono CJK SC", monospace';

const shortened = (name) => (name.length > LONGEST ? `${name.slice(0, LONGEST - 1)}…` : name);

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

export class Strip {
  // What to do when a reader chooses: point(index), span([first, last] or null), hover({index, row} or null).
  constructor(choices) {
    this.choices = choices;
    this.lanes = new Map();
    this.label = h("div", { className: "lane-label" });
    this.legend = h("div", { className: "lane-side" });
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.spacer = h("div", {}, this.canvas);
    const named = { role: "group", "aria-label": t("unitsTokens") };
    this.scroller = h("div", { className: "strip", tabIndex: 0, ...named }, this.spacer);
    this.element = h("div", { className: "lane" }, this.label, this.scroller, this.legend);
    this.listen();
  }

  show(memory) {
    this.memory = memory;
    [this.layer] = memory.layers;
    this.columns = new Columns(memory.tokens.map((token) => shortened(token.name)));
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
    const { layer, cell } = this.layer, shown = `${this.rows} ${t(this.memory.whole ? "units" : "mostVaried")}`;
    const [low, high] = this.limits, ends = this.memory.part === "cell" ? ["≤ ", "≥ "] : ["", ""];
    const written = (value) => String(value).replace("-", "−");
    this.label.replaceChildren(h("div", { className: "bits" }, t("bits")),
      h("div", {}, `${numbered("layerNumber", layer)} · ${cell}`), h("div", {}, shown));
    const numbers = [ends[1] + written(high), written((low + high) / 2), ends[0] + written(low)];
    this.legend.replaceChildren(h("i", { className: "memory" }), ...numbers.map((number) => h("span", {}, number)));
  }

  recolor() {
    if (!this.memory) return;
    this.shades = ramp();
    this.ink = inks();
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
    Object.assign(pen, { font: FONT, textAlign: "center", textBaseline: "middle" });
    for (let index = first; index <= last; index += 1) {
      const { surprisal, oov, name } = this.memory.tokens[index];
      const start = this.columns.starts[index] - left + 1, width = this.columns.starts[index + 1] - left - start - 1;
      const bar = Math.min(1, surprisal / MOST_BITS) * (BARS - 4);
      pen.fillStyle = this.ink.line;
      pen.fillRect(start, BARS - bar, width, bar);
      pen.fillStyle = oov ? this.ink.quiet : this.ink.ink;
      pen.fillText(shortened(name), this.columns.middle(index) - left, BARS + TEXT / 2 + 1);
      if (index !== this.at) continue;
      pen.fillStyle = this.ink.blue;
      pen.fillRect(start, BARS + TEXT - 3, width, 3);
    }
  }

  drawValues({ pen, left, first, last }) {
    const [low, high] = this.limits, top = BARS + TEXT;
    for (let index = first; index <= last; index += 1) {
      const [start, end] = [0, 1].map((side) => Math.round(this.columns.starts[index + side] - left));
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
    const { clientWidth, scrollLeft } = this.scroller, start = this.columns.starts[index];
    const end = this.columns.starts[index + 1];
    const margin = Math.min(120, clientWidth / 4);
    if (start < scrollLeft + margin) this.scroller.scrollLeft = start - margin;
    else if (end > scrollLeft + clientWidth - margin) this.scroller.scrollLeft = end - clientWidth + margin;
  }

  listen() {
    this.scroller.addEventListener("scroll", () => requestAnimationFrame(() => this.draw()));
    new ResizeObserver(() => this.draw()).observe(this.scroller);
    this.canvas.addEventListener("pointerdown", (event) => this.press(event));
    this.canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const kind of ["pointerup", "pointercancel"]) this.canvas.addEventListener(kind, () => this.release());
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
    if (this.pressed === undefined) {
      this.choices.hover({ index, row: row >= 0 && row < this.rows ? row : null });
      return;
    }
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
