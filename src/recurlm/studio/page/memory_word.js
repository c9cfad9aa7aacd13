// One other word: two memories, how far apart they are after each token.
import { h, showError } from "./dom.js";
import { lane } from "./memory_lanes.js";
import { against, asker, inTerminal, labels, numbers, openRuns, python } from "./memory_shared.js";
import { numbered, t } from "./words.js";

const state = { word: "" }, answered = asker();

export function wordSection(around) {
  const start = () => ask(around);
  const word = h("input", { id: "word", value: state.word, autocomplete: "off",
    oninput: () => { state.word = word.value; }, onkeydown: (event) => { if (event.key === "Enter") start(); } });
  const replaced = h("span", { className: "run-name" });
  around.place.apart = h("div", { id: "apart" });
  around.place.word.replaceChildren(
    h("h2", {}, t("otherWord")), h("p", { className: "quiet prose" }, t("otherWordIs")),
    h("div", { className: "row" }, h("label", {}, h("span", {}, `${t("inPlaceOf")} `, replaced), word),
      against(around.names, "for-word"),
      h("button", { id: "compare", "data-label": t("compare"), onclick: start }, t("compare"))),
    around.place.apart);
  return { point: (index) => { replaced.textContent = `${index + 1} ${around.memory.tokens[index].name}`; } };
}

function ask(around) {
  if (!state.word.trim()) {
    showError(new Error(t("needWord")));
    document.getElementById("word").focus();
    return;
  }
  const instead = `${state.word.trim()}@${around.strip.at + 1}`;
  const question = async () => Promise.all((await openRuns()).map((model) => around.ask({ model, instead })));
  answered(question, (answers) => draw(around, answers, instead), document.getElementById("compare"));
}

// One run shows each of its layers; of two runs each shows its last layer.
function draw(around, answers, instead) {
  const [first] = answers, several = answers.length > 1, begin = Math.max(0, first.first - 1);
  if (answers.some((each) => each.tokens.join(" ") !== first.tokens.join(" "))) throw new Error(t("cutUnlike"));
  const own = (values) => values.slice(first.first ? 0 : 1); // without what is before the first token
  const names = labels(answers.map((each) => each.model));
  const states = several
    ? answers.map((each, index) => [names[index], own(each.layers.at(-1))])
    : first.layers.map((layer, index) => [numbered("layerNumber", index + 1), own(layer)]);
  const predictions = answers.map((each, index) => [several ? names[index] : "", own(each.prediction)]);
  const remarks = answers.flatMap((each) => each.remarks);
  around.place.apart.replaceChildren(
    ...remarks.map((remark) => h("p", { className: "small quiet" }, remark)),
    h("div", { className: "lanes" },
      apartLane(around.strip, t(several ? "lastLayerApart" : "statesApart"), states, begin),
      apartLane(around.strip, t("predictionsApart"), predictions, begin, several ? null : ({ ink }) => ink.quiet)),
    table(around.memory, begin, states, predictions),
    ...answers.map((each) => inTerminal(each.model, "--instead", instead)),
    python(first.model, "ReplacementAnswer", instead));
  around.show(begin);
}

function apartLane(strip, name, pairs, begin, color) {
  const high = Math.max(0.01, ...pairs.flatMap(([, values]) => values));
  const curves = pairs.map(([of, values], index) => ({
    name: of, values, color: color || ((shown) => shown.ink.curves[index]) }));
  const range = h("div", { className: "quiet" }, `0 … ${high.toFixed(2)}`);
  return lane(strip, { label: [name, range], curves, low: 0, high, begin, height: 64 });
}

function table(memory, begin, states, predictions) {
  const columns = [...states, ...predictions.map(([name, values]) => [`${name} ${t("predictions")}`.trim(), values])];
  const rows = columns[0][1].map((_, at) => [
    String(begin + at + 1), memory.tokens[begin + at].name, ...columns.map(([, values]) => values[at])]);
  return numbers([t("tokenNumber"), t("token"), ...columns.map(([name]) => name)], rows);
}
