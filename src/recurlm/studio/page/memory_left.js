// How long a word is remembered, on average over the text: one curve for each run.
import { chart, COLORS } from "./chart.js";
import { field, h } from "./dom.js";
import { against, answered, inTerminal, numbers, openRuns, pathOf, pythonLines } from "./memory_shared.js";
import { t } from "./words.js";

const state = { steps: 20 };

export function leftSection(around) {
  const steps = h("input", { id: "steps", type: "number", min: 1, max: 200, value: state.steps, oninput: () => { state.steps = Number(steps.value); },
    onkeydown: (event) => { if (event.key === "Enter") ask(around); } });
  around.place.left = h("div", { id: "left" });
  around.place.remembered.replaceChildren(h("h2", {}, t("remembered")), h("p", { className: "quiet prose" }, t("rememberedIs")),
    h("div", { className: "row" }, field(t("furtherTokens"), steps), against(around.names, "for-left"),
      h("button", { id: "remember", onclick: () => ask(around) }, t("drawIt"))), around.place.left);
}

function ask(around) {
  answered(async () => {
    const [model, ...others] = await openRuns();
    return around.ask({ model, remembered: state.steps, with: others });
  }, (answer) => draw(around, answer));
}

// The distances as shares of the first one: states of different models have different lengths.
const shares = (distances) => distances.map((distance) => (distances[0] > 0 ? distance / distances[0] : 0));
const points = (values) => values.map((value, step) => [step, value]);

function draw(around, { models, steps }) {
  const several = models.length > 1, [first] = models;
  const memories = several ? models.map((each) => [each.name, shares(each.layers.at(-1))]) : first.layers.map((layer, index) => [`${t("layer")} ${index + 1}`, shares(layer)]);
  const predictions = models.map((each) => [each.name, each.prediction]);
  around.place.left.replaceChildren(
    picture(memories, t(several ? "shareLeftLast" : "shareLeft")), picture(predictions, t("predictionsApart")),
    table(memories, predictions, steps), inTerminal(first.name, "--remembered", steps, ...models.slice(1).flatMap((each) => ["--with", pathOf(each.name)])),
    inPython(models, steps));
}

function picture(curves, ylabel) {
  return chart(curves.map(([label, values], index) => ({ label, color: COLORS[index], points: points(values) })),
    { height: 220, xlabel: t("tokensSince"), ylabel, logarithmic: false, zero: true });
}

function table(memories, predictions, steps) {
  const columns = [...memories, ...predictions.map(([name, values]) => [`${name} ${t("predictions")}`, values])];
  const rows = Array.from({ length: steps + 1 }, (_, step) => [String(step), ...columns.map(([, values]) => values[step])]);
  return numbers([t("tokensSince"), ...columns.map(([name]) => name)], rows);
}

function inPython(models, steps) {
  const paths = models.map((each) => JSON.stringify(pathOf(each.name))).join(", ");
  return pythonLines(["from recurlm.inspection.answers import RemembranceAnswer", "", 'text = open("text.txt", encoding="utf-8").read()',
    `texts = [recurlm.load(path).inspect(text, name=path) for path in [${paths}]]`, `RemembranceAnswer(texts, ${steps}).to_json()`]);
}
