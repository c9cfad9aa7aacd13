// What a memory holds over a text: units and gates, what holds a span, two memories apart, how long a word stays.
import { choice, field, h, modelChoice, models, post, shared, showError } from "./dom.js";
import { leftSection } from "./memory_left.js";
import { inTerminal, python } from "./memory_shared.js";
import { spanSection } from "./memory_span.js";
import { Strip } from "./memory_strip.js";
import { wordSection } from "./memory_word.js";
import { t } from "./words.js";

const ROWS = [24, 48, 96];
const state = { layer: 0, part: "", varied: 48, memory: null, layers: [], parts: [], asked: null };
let place = null, strip = null, sections = null, watching = null;

export async function show(view, go, isCurrent) {
  const model = await modelChoice(() => { Object.assign(state, { layer: 0, part: "" }); if (state.memory) compute(); });
  const names = await models();
  if (!isCurrent()) return;
  if (!model) {
    view.append(h("p", {}, t("noModel")), h("button", { className: "main", onclick: () => go("train") }, t("train")));
    return;
  }
  const parts = ["controls", "command", "span", "instead", "remembered"];
  place = Object.fromEntries(parts.map((name) => [name, h("section", { id: `memory-${name}` })]));
  place.readout = h("p", { id: "readout", className: "small", "aria-live": "polite" });
  place.body = h("div", { hidden: true });
  strip = new Strip({ point, span: chooseSpan, hover });
  place.body.append(strip.element, place.readout, place.command, place.span, place.instead, place.remembered);
  place.row = h("div", { className: "row" }, field(t("model"), model), place.controls,
    h("button", { className: "main", id: "show", onclick: compute }, t("show")));
  view.append(place.row, textArea(), place.body);
  state.names = names;
  watch();
  if (state.memory && state.memory.model === shared.model) drawMemory();
}

export function hide() {
  if (watching) watching.disconnect();
  matchMedia("(prefers-color-scheme: dark)").removeEventListener("change", recolor);
}
export function focus() { return document.getElementById("text"); }

function textArea() {
  const area = h("textarea", { id: "text", className: "low", value: shared.text, placeholder: t("pasteText"), "aria-label": t("text"),
    oninput: () => { shared.text = area.value; } });
  area.addEventListener("dragover", (event) => event.preventDefault());
  area.addEventListener("drop", async (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file) area.value = shared.text = await file.text();
  });
  area.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) compute(); });
  return area;
}

const recolor = () => strip.recolor();
function watch() { // the canvas does not follow the style sheet by itself
  watching = new MutationObserver(recolor);
  watching.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolor);
}

// The answer to a question about the shown text.
const ask = (fields) => post("/inspect", { model: shared.model, text: state.asked, ...fields });

async function compute() {
  if (!shared.text.trim()) { focus().focus(); return; }
  showError(null);
  place.readout.textContent = t("computing");
  state.asked = shared.text;
  try {
    await post(`/runs/${encodeURIComponent(shared.model)}/open`);
    const layers = (await ask({ varied: 1 })).layers.map((each) => each.layer);
    if (!layers.includes(state.layer)) state.layer = layers.at(-1);
    state.layers = layers;
    const chosen = { layer: state.layer, ...(state.part ? { part: state.part } : {}), ...(state.varied ? { varied: state.varied } : {}) };
    state.memory = await ask(chosen);
    state.parts = state.memory.parts;
    drawMemory();
  } catch (error) { state.memory = null; place.body.hidden = true; showError(error); }
}

function drawMemory() {
  const { memory } = state;
  place.body.hidden = false;
  drawControls();
  strip.show(memory);
  const part = state.part ? ["--part", memory.part] : [];
  place.command.replaceChildren(
    inTerminal(memory.model, ...part, "--out", "memory.html"), python(memory.model, "MemoryAnswer", memory.part));
  const around = { strip, memory, ask, place, part, names: state.names, show: (at) => { strip.reveal(at); point(at); } };
  sections = { span: spanSection(around), word: wordSection(around) };
  leftSection(around);
  point(0);
}

function drawControls() {
  const set = (name, convert = String) => (value) => { state[name] = convert(value); compute(); };
  const layers = state.layers.map((layer) => [String(layer), String(layer)]);
  const parts = state.parts.map((part) => [part, t(`part_${part}`)]);
  const rows = [...ROWS.map((count) => [String(count), `${count} ${t("mostVaried")}`]), ["0", t("allUnits")]];
  place.controls.className = "row controls";
  place.controls.replaceChildren(
    field(t("layer"), choice(layers, String(state.layer), set("layer", Number))),
    field(t("part"), choice(parts, state.memory.part, set("part"))),
    field(t("units"), choice(rows, String(state.varied), set("varied", Number))));
}

function point(at) {
  strip.mark(at, strip.span, strip.places);
  hover({ index: at, row: null });
  sections.word.point(at);
}

function hover(found) {
  const { index, row } = found || { index: strip.at, row: null }, token = state.memory.tokens[index];
  const { layer, values, units } = strip.layer, number = (each) => (units ? units[each] : each + 1);
  const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
  const facts = [`${index + 1}`, h("b", { className: "run-name" }, token.name), `${token.surprisal.toFixed(1)} ${t("bits")}`, `${t("rank")} ${token.rank.toLocaleString("en")}`];
  if (token.oov) facts.push(t("unknown"));
  const strongest = row !== null ? [row] : [...values[index].keys()].sort((a, b) => Math.abs(values[index][b]) - Math.abs(values[index][a])).slice(0, 3);
  facts.push(`${t(row === null ? "strongest" : "unitNumber")} ${strongest.map((each) => `${layer}·${number(each)} ${signed(values[index][each])}`).join(", ")}`);
  place.readout.replaceChildren(...facts.flatMap((fact, order) => (order ? [h("span", { className: "quiet" }, "  ·  "), fact] : [fact])));
}

function chooseSpan(chosen, at = strip.at) {
  strip.mark(at, chosen, []);
  hover({ index: at, row: null });
  sections.word.point(at);
  sections.span.choose(chosen);
}
