// A text as a heat map of surprisal, with the model's own guesses; two models, or their difference.
import { choice, command, field, guess, h, modelChoice, models, post, runPath, shared, showError } from "./dom.js";
import { t } from "./words.js";

const state = { second: "", unit: "word", scores: [], likeliest: 5, at: 0 };
const FULL = 16; // bits at which the ramp ends
let place = null;

export async function show(view, go, isCurrent) {
  const model = await modelChoice(() => { state.scores = []; });
  const names = await models();
  if (!isCurrent()) return;
  if (!model) { view.append(h("p", {}, t("noModel")), h("button", { className: "main", onclick: () => go("train") }, t("train"))); return; }
  const area = h("textarea", { id: "text", value: shared.text, placeholder: t("pasteText"), "aria-label": t("text"), oninput: () => { shared.text = area.value; } });
  area.addEventListener("drop", async (event) => { event.preventDefault(); const [file] = event.dataTransfer.files; if (file) area.value = shared.text = await file.text(); });
  area.addEventListener("dragover", (event) => event.preventDefault());
  area.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) compute(); });
  const others = [["", t("nothing")], ...names.map((name) => [name, name])];
  const row = h("div", { className: "row" }, field(t("model"), model), field(t("against"), choice(others, state.second, (value) => { state.second = value; })),
    field(t("by"), choice([["word", t("byWord")], ["token", t("byToken")]], state.unit, (value) => { state.unit = value; })),
    h("button", { className: "main", id: "show", onclick: compute }, t("show")));
  place = { map: h("div", { className: "heat", tabIndex: 0, role: "group", "aria-label": t("surprisalOf") }), aside: h("div", { className: "aside" }), foot: h("div"), head: h("div") };
  place.map.addEventListener("mouseover", (event) => { const found = event.target.closest("[data-at]"); if (found) point(Number(found.dataset.at)); });
  place.map.addEventListener("click", (event) => { const found = event.target.closest("[data-at]"); if (found) point(Number(found.dataset.at)); });
  place.map.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) { event.preventDefault(); point(state.at + step); }
  });
  view.append(row, area, place.head, h("div", { className: "two" }, place.map, place.aside), place.foot);
  draw();
}
export function hide() {}
export function focus() { return document.getElementById("text"); }

async function compute() {
  if (!shared.text.trim()) return;
  showError(null);
  place.head.replaceChildren(h("p", { className: "quiet" }, t("computing")));
  const lines = shared.text.replace(/\n+$/, "").split("\n").filter((line) => line.trim());
  try {
    const scores = [];
    for (const model of [shared.model, ...(state.second && state.second !== shared.model ? [state.second] : [])]) {
      await post(`/runs/${encodeURIComponent(model)}/open`);
      scores.push(await post("/score", { model, lines, unit: state.unit, predictions: true, likeliest: state.likeliest }));
    }
    state.scores = scores;
    state.at = 0;
  } catch (error) { showError(error); state.scores = []; }
  draw();
}

const bits = (logprob) => (logprob === null ? null : -logprob / Math.LN2);
function paired() {
  const [first, second] = state.scores;
  if (!second) return first.lines.map((line) => line.tokens.map((token) => [token, null]));
  const alike = first.lines.every((line, index) => line.tokens.length === second.lines[index].tokens.length);
  if (!alike) { showError(new Error(t("notAlike"))); return first.lines.map((line) => line.tokens.map((token) => [token, null])); }
  return first.lines.map((line, index) => line.tokens.map((token, at) => [token, second.lines[index].tokens[at]]));
}

function draw() {
  place.head.replaceChildren();
  place.foot.replaceChildren();
  place.map.replaceChildren();
  place.aside.replaceChildren();
  if (!state.scores.length) return;
  const [first, second] = state.scores;
  const legend = second ? [`${second.model}`, h("i", { className: "difference" }), first.model] : ["0", h("i", { className: "surprisal" }), `${FULL} ${t("bits")}`];
  const figures = state.scores.map((each) => `${each.model}: ${t("total")} ${each.perplexity === null ? "–" : each.perplexity.toFixed(1)}`).join(" · ");
  place.head.append(h("div", { className: "row" }, h("div", { className: "legend" }, ...legend), h("span", { className: "quiet small" }, figures)));
  state.tokens = [];
  for (const line of paired()) place.map.append(h("p", {}, line.flatMap(([token, other]) => [mark(token, other), " "])));
  const file = `${runPath(first.model)} text.txt${state.unit === "word" ? " --unit word" : ""} --log-base 2`;
  place.foot.append(h("div", { className: "row" }, h("button", { id: "download", onclick: download }, t("download"))), command(`recurlm score ${file} --format tsv`));
  point(0);
}

function mark(token, other) {
  const value = bits(token.logprob), against = other && bits(other.logprob);
  const span = h("span", { "data-at": state.tokens.length, className: token.token === "<eos>" ? "end" : "" }, token.token === "<eos>" ? "↵" : token.token);
  state.tokens.push({ token, other, span });
  if (other === null && value !== null) span.style.backgroundColor = mixed("--heat", value / FULL);
  if (other !== null && value !== null && against !== null) span.style.backgroundColor = mixed(value > against ? "--cold" : "--heat", Math.abs(value - against) / 6);
  return span;
}
const mixed = (color, amount) => `color-mix(in oklab, var(${color}) ${Math.round(85 * Math.min(1, Math.max(0, amount)))}%, transparent)`;

function point(at) {
  if (!state.tokens[at]) return;
  if (state.tokens[state.at]) state.tokens[state.at].span.classList.remove("at");
  state.at = at;
  const { token, other, span } = state.tokens[at];
  span.classList.add("at");
  if (document.activeElement === place.map) span.scrollIntoView({ block: "nearest" });
  const rows = [[t("surprisalOf"), token.logprob === null ? "–" : `${bits(token.logprob).toFixed(2)} ${t("bits")}`], [t("probability"), token.logprob === null ? "–" : Math.exp(token.logprob).toPrecision(2)]];
  if (token.entropy !== null && token.entropy !== undefined) rows.push([t("entropy"), `${bits(-token.entropy).toFixed(2)} ${t("bits")}`]);
  if (token.rank) rows.push([t("rank"), token.rank.toLocaleString("en")]);
  if (other && other.logprob !== null) rows.push([state.scores[1].model, `${bits(other.logprob).toFixed(2)} ${t("bits")}`], [t("difference"), `${(bits(token.logprob) - bits(other.logprob)).toFixed(2)} ${t("bits")}`]);
  place.aside.replaceChildren(h("strong", { className: "run-name" }, token.token === "<eos>" ? `↵ ${t("end")}` : token.token), ...(token.oov ? [h("p", { className: "quiet small" }, t("unknown"))] : []),
    h("dl", { "aria-live": "polite" }, rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    ...(token.likeliest && token.likeliest.length ? [h("small", {}, t("guesses")), ...token.likeliest.map((each) => guess(each.token === "<eos>" ? "↵" : each.token, Math.exp(each.logprob), { className: `guess ${each.token === token.token ? "here" : ""}` }))] : []),
    h("p", { className: "quiet small" }, t("hover")));
}

function download() {
  const lines = [["line", "position", "token", "id", "logprob", "surprisal", "entropy", "rank", "oov"]];
  const [first, second] = state.scores;
  if (second) lines[0].push(`surprisal_${second.model}`);
  const cell = (value) => (value === null || value === undefined ? "NA" : /["\t\n\r]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  first.lines.forEach((line, index) => line.tokens.forEach((token, at) => {
    const value = bits(token.logprob), row = [line.line, at + 1, token.token, token.id, value === null ? null : -value, value, token.entropy === null || token.entropy === undefined ? null : bits(-token.entropy), token.rank, Number(token.oov)];
    if (second) row.push(second.lines[index].tokens[at] ? bits(second.lines[index].tokens[at].logprob) : null);
    lines.push(row.map(cell));
  }));
  const address = URL.createObjectURL(new Blob([lines.map((line) => line.join("\t")).join("\n") + "\n"], { type: "text/tab-separated-values" }));
  h("a", { href: address, download: `${first.model}-surprisal.tsv` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
