// One other word: two memories, how far apart they are after each token.
import { h } from "./dom.js";
import { lane } from "./memory_lanes.js";
import { against, answered, inTerminal, numbers, openRuns, python } from "./memory_shared.js";
import { t } from "./words.js";

const state = { word: "" };

export function wordSection(around) {
  const word = h("input", { id: "word", value: state.word, autocomplete: "off", oninput: () => { state.word = word.value; },
    onkeydown: (event) => { if (event.key === "Enter") ask(around); } });
  const replaced = h("span", { className: "run-name" });
  around.place.apart = h("div", { id: "apart" });
  around.place.instead.replaceChildren(h("h2", {}, t("otherWord")), h("p", { className: "quiet prose" }, t("otherWordIs")),
    h("div", { className: "row" }, h("label", {}, h("span", {}, `${t("inPlaceOf")} `, replaced), word), against(around.names, "for-word"),
      h("button", { id: "compare", onclick: () => ask(around) }, t("compare"))), around.place.apart);
  return { point: (index) => { replaced.textContent = `${index + 1} ${around.memory.tokens[index].name}`; } };
}

function ask(around) {
  const instead = `${state.word.trim()}@${around.strip.at + 1}`;
  answered(async () => Promise.all((await openRuns()).map((model) => around.ask({ model, instead }))),
    (answers) => draw(around, answers, instead));
}

function draw(around, answers, instead) {
  const begin = answers[0].first - 1, several = answers.length > 1;
  const states = several ? answers.map((each) => [each.model, each.layers.at(-1)]) : answers[0].layers.map((layer, index) => [`${t("layer")} ${index + 1}`, layer]);
  const predictions = answers.map((each) => [several ? each.model : "", each.prediction]);
  const remarks = answers.flatMap((each) => each.remarks).map((remark) => h("p", { className: "small quiet" }, remark));
  around.place.apart.replaceChildren(...remarks,
    h("div", { className: "lanes" }, apart(around, t(several ? "lastLayerApart" : "statesApart"), states, begin),
      apart(around, t("predictionsApart"), predictions, begin, several ? null : ({ ink }) => ink.quiet)),
    table(answers, states, predictions), ...answers.map((each) => inTerminal(each.model, "--instead", instead)),
    python(answers[0].model, "ReplacementAnswer", instead));
  around.show(Math.max(0, begin));
}

function apart(around, label, curves, begin, color) {
  const high = Math.max(0.01, ...curves.flatMap(([, values]) => values));
  const colored = curves.map(([name, values], index) => ({ name, values, color: color || ((strip) => strip.colors[index]) }));
  return lane(around.strip, { label: [label, h("div", { className: "quiet" }, `0 … ${high.toFixed(2)}`)], curves: colored, low: 0, high, begin, height: 64 });
}

function table([{ tokens, first }], states, predictions) {
  const columns = [...states, ...predictions.map(([name, values]) => [`${name} ${t("predictions")}`.trim(), values])];
  const rows = tokens.map((token, index) => [String(first + index), token, ...columns.map(([, values]) => values[index])]);
  return numbers([t("tokenNumber"), t("token"), ...columns.map(([name]) => name)], rows);
}
