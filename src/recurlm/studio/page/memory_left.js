// How long a word is remembered, on average over the text: one curve for each run.
import { chart, COLORS } from "./chart.js";
import { field, h } from "./dom.js";
import { against, asker, inPython, inTerminal, labels, numbers, openRuns, pathOf } from "./memory_shared.js";
import { numbered, t } from "./words.js";

const state = { steps: 20 }, answered = asker();

export function leftSection(around) {
  const start = () => ask(around);
  const steps = h("input", { id: "steps", type: "number", min: 1, max: 200, value: state.steps,
    oninput: () => { state.steps = Number(steps.value); },
    onkeydown: (event) => { if (event.key === "Enter") start(); } });
  around.place.curves = h("div", { id: "left" });
  around.place.left.replaceChildren(
    h("h2", {}, t("remembered")), h("p", { className: "quiet prose" }, t("rememberedIs")),
    h("div", { className: "row" }, field(t("furtherTokens"), steps), against(around.names, "for-left"),
      h("button", { id: "remember", "data-label": t("drawIt"), onclick: start }, t("drawIt"))),
    around.place.curves);
}

function ask(around) {
  const question = async () => {
    const [model, ...others] = await openRuns();
    return around.ask({ model, remembered: state.steps, with: others });
  };
  answered(question, (answer) => draw(around.place.curves, answer), document.getElementById("remember"));
}

// The distances as shares of the first one, since states of different models have different lengths.
const shares = (distances) => distances.map((distance) => (distances[0] > 0 ? distance / distances[0] : 0));

// One run shows each of its layers; of two runs each shows its last layer.
function draw(place, { models, steps }) {
  const [first, ...others] = models, several = others.length > 0;
  const names = labels(models.map((each) => each.name));
  const memories = several
    ? models.map((each, index) => [names[index], shares(each.layers.at(-1))])
    : first.layers.map((layer, index) => [numbered("layerNumber", index + 1), shares(layer)]);
  const predictions = models.map((each, index) => [names[index], each.prediction]);
  place.replaceChildren(
    picture(memories, t(several ? "shareLeftLast" : "shareLeft")), picture(predictions, t("predictionsApart")),
    table(memories, predictions, steps),
    inTerminal(first.name, "--remembered", steps, ...others.flatMap((each) => ["--with", pathOf(each.name)])),
    python(models, steps));
}

function picture(pairs, ylabel) {
  const curves = pairs.map(([name, values], index) => ({
    label: name, color: COLORS[index], points: values.map((value, step) => [step, value]) }));
  return chart(curves, { height: 220, xlabel: t("tokensSince"), ylabel, logarithmic: false, zero: true });
}

function table(memories, predictions, steps) {
  const columns = [...memories, ...predictions.map(([name, values]) => [`${name} ${t("predictions")}`, values])];
  const row = (step) => [String(step), ...columns.map(([, values]) => values[step])];
  const rows = Array.from({ length: steps + 1 }, (_, step) => row(step));
  return numbers([t("tokensSince"), ...columns.map(([name]) => name)], rows);
}

function python(models, steps) {
  const paths = models.map((each) => JSON.stringify(pathOf(each.name))).join(", ");
  return inPython([
    "from recurlm.inspection.answers import RemembranceAnswer", "",
    'text = Path("text.txt").read_text("utf-8")',
    `texts = [recurlm.load(path).inspect(text, name=path) for path in [${paths}]]`,
    `RemembranceAnswer(texts, ${steps}).to_json()`]);
}
