// Units that hold something over exactly a span, and the other places where they do.
import { h } from "./dom.js";
import { lane } from "./memory_lanes.js";
import { answered, inTerminal, python } from "./memory_shared.js";
import { t } from "./words.js";

export function spanSection(around) {
  const section = { choose: (chosen) => (chosen ? ask(around, chosen) : invite(around)) };
  invite(around);
  return section;
}

const head = () => h("h2", {}, t("holdSpan"));
const invite = ({ place }) => place.span.replaceChildren(head(), h("p", { className: "quiet prose" }, t("chooseSpan")));
const words = ({ memory }, from, to) => memory.tokens.slice(from - 1, to).map((token) => token.name).join(" ");
const numbered = (from, to) => (from === to ? `${from}` : `${from}–${to}`);

function ask(around, chosen) {
  const span = `${chosen[0] + 1}:${chosen[1] + 1}`, { part, model } = around.memory;
  answered(() => around.ask({ span, values: true, part }), (answer) => {
    around.place.span.replaceChildren(head(), ...found(around, answer, chosen),
      inTerminal(model, ...around.part, "--span", span), python(model, "SpanAnswer", span, part));
    around.strip.mark(around.strip.at, chosen, answer.places);
  });
}

function found(around, { units, places, span }, chosen) {
  const title = h("p", {}, h("span", { className: "quiet" }, `${numbered(span.from, span.to)}  `),
    h("span", { className: "run-name" }, words(around, span.from, span.to)));
  if (!units.length) return [title, h("p", { className: "quiet" }, t("noUnit"))];
  const most = Math.max(1, ...units.flatMap((unit) => unit.values.map(Math.abs)));
  const low = units.some((unit) => unit.values.some((value) => value < 0)) ? -most : 0;
  const lanes = units.map((unit) => unitLane(around.strip, unit, { band: chosen, low, high: most }));
  return [title, h("div", { className: "lanes", id: "units" }, lanes), ...elsewhere(around, places, units.length)];
}

function unitLane(strip, { layer, unit, side, threshold, margin, values }, options) {
  const level = threshold.toFixed(2).replace("-", "−");
  return lane(strip, { ...options, threshold, height: 34, label: `${t("layer")} ${layer} · ${unit}`,
    curves: [{ values, color: ({ ink }) => ink.blue }], side: `${t(side)} ${level}, ${t("margin")} ${margin.toFixed(2)}` });
}

function elsewhere(around, places, units) {
  if (!places.length) return [h("p", { className: "quiet" }, t("nowhereElse"))];
  const shown = ({ from, to }) => `${words(around, from, Math.min(to, from + 7))}${to > from + 7 ? " …" : ""}`;
  const buttons = places.map((each) => h("button", { className: "plain also", onclick: () => around.show(each.from - 1) },
    `${numbered(each.from, each.to)} `, h("span", { className: "run-name" }, shown(each)), ` ${each.units}/${units}`));
  return [h("p", { className: "quiet" }, t("alsoHere")), h("div", { className: "places" }, buttons)];
}
