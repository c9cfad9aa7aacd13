// Units that hold something over exactly a span, and the other places where they do.
import { h } from "./dom.js";
import { lane } from "./memory_lanes.js";
import { asker, inTerminal, python } from "./memory_shared.js";
import { numbered, t } from "./words.js";

const LONGEST_PLACE = 8, answered = asker();

export function spanSection(around) {
  invite(around);
  return { choose: (chosen) => (chosen ? ask(around, chosen) : invite(around)) };
}

const head = () => h("h2", {}, t("holdSpan"));
const invite = ({ place }) => place.span.replaceChildren(head(), h("p", { className: "quiet prose" }, t("chooseSpan")));
const words = ({ memory }, from, to) => memory.tokens.slice(from - 1, to).map((token) => token.name).join(" ");
const range = (from, to) => (from === to ? `${from}` : `${from}–${to}`);

function ask(around, chosen) {
  const span = `${chosen[0] + 1}:${chosen[1] + 1}`, { part, model } = around.memory;
  answered(() => around.ask({ span, values: true, part }), (answer) => {
    around.place.span.replaceChildren(head(), ...found(around, answer, chosen),
      inTerminal(model, ...around.part, "--span", span), python(model, "SpanAnswer", span, part));
    around.strip.mark(around.strip.at, chosen, answer.places);
  });
}

function found(around, { units, places, span }, chosen) {
  const title = h("p", {}, h("span", { className: "quiet" }, `${range(span.from, span.to)} `),
    h("span", { className: "run-name" }, words(around, span.from, span.to)));
  if (!units.length) return [title, h("p", { className: "quiet" }, t("noUnit"))];
  const lanes = units.map((unit) => unitLane(around.strip, unit, chosen));
  return [title, h("div", { className: "lanes", id: "units" }, lanes), ...elsewhere(around, places, units.length)];
}

function unitLane(strip, { layer, unit, side, threshold, margin, values }, band) {
  const low = Math.min(...values), high = Math.max(...values), level = threshold.toFixed(2).replace("-", "−");
  const told = [`${t(side)} ${level}`, `${t("margin")} ${margin.toFixed(2)}`];
  const curves = [{ values, color: ({ ink }) => ink.blue }];
  const label = `${numbered("layerNumber", layer)} · ${unit}`;
  return lane(strip, { label, curves, low, high, band, threshold, told });
}

function elsewhere(around, places, units) {
  if (!places.length) return [h("p", { className: "quiet" }, t("nowhereElse"))];
  const button = ({ from, to, units: held }) => {
    const end = Math.min(to, from + LONGEST_PLACE - 1);
    const shown = h("span", { className: "run-name" }, words(around, from, end), end < to ? " …" : "");
    const look = () => around.show(from - 1);
    const place = `${range(from, to)} `;
    return h("button", { className: "plain also", onclick: look }, place, shown, ` ${held}/${units}`);
  };
  return [h("p", { className: "quiet" }, t("alsoHere")), h("div", { className: "places" }, places.map(button))];
}
