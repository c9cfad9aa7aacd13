// What a memory holds over a text: units and gates, what holds a span, two memories apart, how long a word stays.
import { choice, field, h, modelChoice, models, post, shared, showError, working } from "./dom.js";
import { leftSection } from "./memory_left.js";
import { inTerminal, python } from "./memory_shared.js";
import { spanSection } from "./memory_span.js";
import { Strip } from "./memory_strip.js";
import { wordSection } from "./memory_word.js";
import { t } from "./words.js";

const ROWS = [24, 48, 96];
const state = { layer: 0, part: "", varied: 48, memory: null, layers: [], text: "", names: [], at: 0, span: null };
const dark = matchMedia("(prefers-color-scheme: dark)");
export let strip = null;
let place = null, sections = null, watching = null, turn = 0;

export async function show(view, go, isCurrent) {
  const model = await modelChoice(otherModel);
  state.names = await models();
  if (!isCurrent()) return;
  if (!model) {
    const train = h("button", { className: "main", onclick: () => go("train") }, t("train"));
    view.append(h("p", {}, t("noModel")), train);
    return;
  }
  strip = new Strip({ point, hover, span: chooseSpan });
  place = places();
  const start = h("button", { className: "main", id: "show", onclick: compute }, t("show"));
  view.append(h("div", { className: "row" }, field(t("model"), model), place.controls, start),
    textArea(), place.invite, place.body);
  watch();
  if (state.memory && state.memory.model === shared.model) draw();
}

export function hide() {
  if (watching) watching.disconnect();
  dark.removeEventListener("change", recolor);
}
export function focus() { return document.getElementById("text"); }

// Arrow keys walk wherever the focus is; the strip hears its own keys first.
export function key(event) {
  const isStep = /^Arrow(Left|Right)$/.test(event.key);
  if (!state.memory || place.body.hidden || event.defaultPrevented || !isStep) return false;
  strip.key(event);
  return true;
}
export function close() {
  if (state.memory && state.span) chooseSpan(null);
}

function places() {
  const section = (name) => h("section", { id: `memory-${name}` });
  const made = { controls: h("div", { className: "row controls" }), command: h("div"),
    readout: h("p", { id: "readout", className: "small", "aria-live": "polite" }),
    span: section("span"), word: section("word"), left: section("left") };
  const shown = [strip.element, made.readout, made.command, made.span, made.word, made.left];
  const invite = h("p", { className: "quiet prose" }, t("memoryIs"));
  return { ...made, invite, body: h("div", { hidden: true }, shown) };
}

function textArea() {
  const take = (text) => { shared.text = text; };
  const area = h("textarea", { id: "text", className: "low", value: shared.text, placeholder: t("pasteText"),
    "aria-label": t("text"), oninput: () => take(area.value) });
  area.addEventListener("dragover", (event) => event.preventDefault());
  area.addEventListener("drop", async (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file) take(area.value = await file.text());
  });
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) compute();
  });
  return area;
}

const recolor = () => strip.recolor();
function watch() { // a canvas does not follow the style sheet by itself
  watching = new MutationObserver(recolor);
  watching.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  dark.addEventListener("change", recolor);
}

function otherModel() {
  Object.assign(state, { layer: 0, part: "" });
  if (state.memory) compute();
}

// The answer to a question about the text that is shown.
const ask = (fields) => post("/inspect", { model: shared.model, text: state.text, ...fields });

async function compute() {
  if (!shared.text.trim()) {
    showError(new Error(t("needTextHere")));
    focus().focus();
    return;
  }
  turn += 1;
  const mine = turn;
  showError(null);
  const done = working(document.getElementById("show"), t("show"));
  if (!state.memory || state.text !== shared.text || state.memory.model !== shared.model) {
    Object.assign(state, { text: shared.text, at: 0, span: null });
  }
  try {
    await post(`/runs/${encodeURIComponent(shared.model)}/open`);
    const part = state.part ? { part: state.part } : {};
    const layers = (await ask({ ...part, varied: 1 })).layers.map((each) => each.layer);
    if (mine !== turn) return; // another text, model or part was asked for meanwhile
    if (!layers.includes(state.layer)) state.layer = layers.at(-1);
    const memory = await ask({ ...part, layer: state.layer, ...(state.varied ? { varied: state.varied } : {}) });
    if (mine !== turn) return;
    Object.assign(state, { layers, memory });
    state.memory.whole = !state.varied || state.memory.layers[0].values[0].length < state.varied;
    draw();
  } catch (error) {
    if (mine !== turn) return;
    state.memory = null;
    place.body.hidden = true;
    place.invite.hidden = false;
    showError(error);
  } finally { done(); }
}

function draw() {
  const { memory, names } = state, part = state.part ? ["--part", memory.part] : [];
  place.body.hidden = false;
  place.invite.hidden = true;
  drawControls();
  strip.show(memory);
  place.command.replaceChildren(
    inTerminal(memory.model, ...part, "--out", "memory.html"), python(memory.model, "MemoryAnswer", memory.part));
  const around = { strip, memory, ask, place, part, names, show: (at) => { strip.reveal(at); point(at); } };
  sections = { span: spanSection(around), word: wordSection(around), left: leftSection(around) };
  strip.reveal(state.at);
  if (state.span) chooseSpan(state.span, state.at); // another part or layer may hold the same span
  else point(state.at);
}

function drawControls() {
  const set = (name, convert) => (value) => { state[name] = convert(value); compute(); };
  const layers = state.layers.map((layer) => [String(layer), String(layer)]);
  const parts = state.memory.parts.map((part) => [part, t(`part_${part}`)]);
  const rows = [...ROWS.map((count) => [String(count), `${count} ${t("mostVaried")}`]), ["0", t("allUnits")]];
  const named = (id, select) => field(t(id), Object.assign(select, { id: `choose-${id}` }));
  place.controls.replaceChildren(
    named("layer", choice(layers, String(state.layer), set("layer", Number))),
    named("part", choice(parts, state.memory.part, set("part", String))),
    named("units", choice(rows, String(state.varied), set("varied", Number))));
}

function point(at) {
  state.at = at;
  strip.mark(at, strip.span, strip.places);
  tell(at, null);
  sections.word.point(at);
}

function hover(found) {
  if (found) tell(found.index, found.row);
  else tell(strip.at, null);
}

// Says a token in numbers, with the unit of a row of colors or the strongest units.
function tell(index, row) {
  const token = state.memory.tokens[index], { layer, values, units } = strip.layer, own = values[index];
  const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
  const unit = (each) => `${layer}·${units ? units[each] : each + 1} ${signed(own[each])}`;
  const strongest = () => [...own.keys()].sort((a, b) => Math.abs(own[b]) - Math.abs(own[a])).slice(0, 3);
  const facts = [String(index + 1), h("b", { className: "run-name" }, token.name),
    `${token.surprisal.toFixed(1)} ${t("bits")}`, `${t("rank")} ${token.rank.toLocaleString("en")}`,
    ...(token.oov ? [t("unknown")] : []),
    row === null ? `${t("strongest")} ${strongest().map(unit).join(", ")}` : `${t("unitNumber")} ${unit(row)}`];
  const between = () => h("span", { className: "quiet" }, "  ·  ");
  place.readout.replaceChildren(...facts.flatMap((fact, order) => (order ? [between(), fact] : [fact])));
}

function chooseSpan(chosen, at = strip.at) {
  Object.assign(state, { at, span: chosen });
  strip.mark(at, chosen, []);
  tell(at, null);
  sections.word.point(at);
  sections.span.choose(chosen);
}
