// A text as a heat map of surprisal, with the model's own guesses; two models, or their difference.
import {
  choice, command, field, guess, h, modelChoice, models, post, python, runPath, shared, showError, shownToken, working,
} from "./dom.js";
import { areAlike, bits, FULL, mark, paired, table } from "./heat.js";
import { t } from "./words.js";

const LIKELIEST = 5, LONG_TEXT = 1500;
const state = { second: "", unit: "word", scores: [], tokens: [], lines: [], at: 0 };
let place = null, turn = 0;

export async function show(view, go, isCurrent) {
  const model = await modelChoice(recompute), names = await models();
  if (!isCurrent()) return;
  if (!model) {
    view.append(h("p", {}, t("noModel")), h("button", { className: "main", onclick: () => go("train") }, t("train")));
    return;
  }
  if (state.scores.length && state.scores[0].model !== shared.model) state.scores = [];
  place = { map: heatMap(), aside: h("div", { className: "aside" }), head: h("div"), foot: h("div") };
  view.append(row(model, names), textArea(), place.head,
    h("div", { className: "two" }, place.map, place.aside), place.foot);
  draw();
}
export function hide() {}
export const focus = () => document.getElementById("text");

// Arrow keys walk through the tokens.
export function key(event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step || !state.scores.length || !state.tokens[state.at + step]) return false;
  point(state.at + step);
  state.tokens[state.at].span.scrollIntoView({ block: "nearest" });
  return true;
}

function row(model, names) {
  const others = [["", t("nothing")], ...names.map((name) => [name, name])];
  const units = [["word", t("byWord")], ["token", t("byToken")]];
  const change = (what) => (value) => {
    state[what] = value;
    recompute();
  };
  return h("div", { className: "row" },
    field(t("model"), model),
    field(t("against"), choice(others, state.second, change("second"))),
    field(t("by"), choice(units, state.unit, change("unit"))),
    h("button", { className: "main", id: "show", onclick: compute }, t("show")));
}

function textArea() {
  const area = h("textarea", {
    id: "text",
    value: shared.text,
    placeholder: t("pasteText"),
    "aria-label": t("text"),
    spellcheck: false,
    oninput: () => { shared.text = area.value; },
    ondragover: (event) => event.preventDefault(),
    ondrop: async (event) => {
      event.preventDefault();
      const [file] = event.dataTransfer.files;
      if (file) area.value = shared.text = await file.text();
    },
    onkeydown: (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) compute(); },
  });
  return area;
}

function heatMap() {
  const pointed = (event) => {
    const found = event.target.closest("[data-at]");
    if (found) point(Number(found.dataset.at));
  };
  return h("div", {
    className: "heat",
    tabIndex: 0,
    role: "group",
    "aria-label": t("surprisalOf"),
    onmouseover: pointed,
    onclick: pointed,
  });
}

function recompute() {
  if (state.scores.length) compute();
}

async function compute() {
  if (!shared.text.trim()) {
    showError(new Error(t("needTextHere")));
    focus().focus();
    return;
  }
  turn += 1;
  const mine = turn;
  showError(null);
  place.head.replaceChildren(h("p", { className: "quiet" }, t("computing")));
  const done = working(document.getElementById("show"), t("show"));
  const lines = shared.text.split("\n").filter((line) => line.trim());
  const asked = { lines, unit: state.unit, predictions: true, likeliest: LIKELIEST };
  try {
    const scores = [];
    for (const model of new Set([shared.model, state.second || shared.model])) {
      const { names } = await post(`/runs/${encodeURIComponent(model)}/open`);
      scores.push({ ...await post("/score", { model, ...asked }), names });
    }
    if (mine !== turn) return; // another text or model was asked for meanwhile
    if (scores[1] && !areAlike(scores)) {
      showError(new Error(t("notAlike")));
      scores.pop();
    }
    Object.assign(state, { scores, lines, at: 0 });
  } catch (error) {
    if (mine !== turn) return;
    showError(error);
    state.scores = [];
  } finally { done(); }
  draw();
}

function draw() {
  for (const part of [place.head, place.foot, place.map, place.aside]) part.replaceChildren();
  if (!state.scores.length) return;
  place.head.append(legend());
  state.tokens = [];
  for (const line of paired(state.scores)) place.map.append(h("p", {}, line.flatMap(([token, other]) => {
    const span = mark(token, shownToken(token.token, state.scores[0].names), other, state.tokens.length);
    state.tokens.push({ token, other, span });
    return [span, " "];
  })));
  drawFoot();
  point(0);
}

function legend() {
  const [first, second] = state.scores;
  const ramp = second
    ? [second.model, h("i", { className: "difference" }), first.model]
    : ["0", h("i", { className: "surprisal" }), `${FULL} ${t("bits")}`];
  const perplexity = (each) => `${t("total")} ${each.perplexity === null ? "–" : each.perplexity.toFixed(1)}`;
  const figures = state.scores.map((each) => `${each.model}: ${perplexity(each)}`).join(" · ");
  return h("div", { className: "row" },
    h("div", { className: "legend" }, ...ramp), h("span", { className: "quiet small" }, figures));
}

function drawFoot() {
  const isLong = state.lines.join("\n").length > LONG_TEXT;
  const save = h("button", { onclick: () => saveFile("text.txt", `${state.lines.join("\n")}\n`) }, t("saveText"));
  const download = h("button", { id: "download", onclick: () => {
    saveFile(`${state.scores[0].model}-surprisal.tsv`, table(state.scores));
  } }, t("download"));
  place.foot.append(h("div", { className: "row" }, download, ...(isLong ? [save] : [])),
    ...state.scores.map(({ model }) => command(typed(model, isLong))), python(inPython(isLong)));
}

// The command that prints the table; a short text stands in it.
function typed(model, isLong) {
  const unit = state.unit === "word" ? " --unit word" : "";
  const start = `recurlm score ${runPath(model)}${isLong ? " text.txt" : ""}${unit} --log-base 2 --format tsv`;
  let end = "END";
  while (state.lines.includes(end)) end += "_";
  return isLong ? start : [`${start} <<'${end}'`, ...state.lines, end].join("\n");
}
function inPython(isLong) {
  const lines = isLong ? 'open("text.txt", encoding="utf-8").read().splitlines()'
    : `[${state.lines.map((line) => JSON.stringify(line)).join(", ")}]`;
  return [
    "import recurlm",
    `model = recurlm.load(${JSON.stringify(runPath(state.scores[0].model, false))})`,
    `options = recurlm.ScoringOptions(unit="${state.unit}", predictions=True)`,
    `print(*(token for line in model.score(${lines}, options=options) for token in line.tokens), sep="\\n")`,
  ];
}

// Shows what the models say of one token.
function point(at) {
  if (!state.tokens[at]) return;
  if (state.tokens[state.at]) state.tokens[state.at].span.classList.remove("at");
  state.at = at;
  const { token, other, span } = state.tokens[at];
  span.classList.add("at");
  const name = shownToken(token.token, state.scores[0].names), isEnd = token.token === "<eos>";
  const figures = rows(token, other).flatMap(([label, value]) => [h("dt", {}, label), h("dd", {}, value)]);
  place.aside.replaceChildren(h("strong", { className: "run-name" }, isEnd ? `${name} ${t("end")}` : name),
    ...(token.oov ? [h("p", { className: "quiet small" }, t("unknown"))] : []),
    h("dl", { "aria-live": "polite" }, figures), ...guesses(token), h("p", { className: "quiet small" }, t("hover")));
}

function rows(token, other) {
  const inBits = (value) => (value === null ? "–" : `${value.toFixed(2)} ${t("bits")}`);
  const own = bits(token.logprob), entropy = bits(token.entropy);
  const found = [[t("surprisalOf"), inBits(own)]];
  if (own !== null) found.push([t("probability"), Math.exp(token.logprob).toPrecision(2)]);
  if (entropy !== null) found.push([t("entropy"), inBits(-entropy)]);
  if (token.rank) found.push([t("rank"), token.rank.toLocaleString("en")]);
  const against = other && bits(other.logprob);
  if (against !== null) found.push([state.scores[1].model, inBits(against)]);
  if (against !== null && own !== null) found.push([t("difference"), inBits(own - against)]);
  return found;
}

function guesses({ token, likeliest }) {
  if (!likeliest || !likeliest.length) return [];
  const shown = likeliest.map((each) => guess(shownToken(each.token, state.scores[0].names), Math.exp(each.logprob), {
    className: `guess ${each.token === token ? "here" : ""}`,
  }));
  return [h("small", {}, t("guesses")), ...shown];
}

function saveFile(name, content) {
  const address = URL.createObjectURL(new Blob([content], { type: "text/plain;charset=utf-8" }));
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
