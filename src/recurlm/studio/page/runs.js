// The runs of the folder, compared in one picture; a running one is drawn live.
import { oneRun, severalRuns } from "./chart.js";
import { command, figure, get, h, quoted, runPath, shared, short, showError } from "./dom.js";
import { follow, unfollow, wholeRun } from "./live.js";
import { t } from "./words.js";
import { startDemo } from "./train.js";

let chosen = null, timer = null, place = null, listed = "", drawing = 0;
const kept = new Map();

export async function show(view, go) {
  place = { table: h("div"), picture: h("div"), commands: h("div") };
  view.append(place.table, place.picture, place.commands);
  listed = "";
  await look(go);
  timer = setInterval(() => { if (!document.hidden) look(go).catch(showError); }, 2000);
}
export function hide() {
  clearInterval(timer);
  unfollow();
}

async function look(go) {
  const { runs, problems } = await get("/runs");
  if (JSON.stringify(runs) === listed) return;
  listed = JSON.stringify(runs);
  if (!runs.length) { empty(go); return; }
  if (!chosen) chosen = new Set(runs.slice(0, 1).map((run) => run.name));
  for (const run of runs) if (run.state === "running" && !kept.has(run.name)) chosen.add(run.name);
  place.table.replaceChildren(h("div", { className: "scroll" }, table(runs)), h("p", { className: "quiet small" }, `${t("perplexityTable")} ${t("choose")}`), ...problems.map((line) => h("p", { className: "quiet small" }, line)));
  draw(runs).catch(showError);
}

function empty(go) {
  place.table.replaceChildren(h("p", {}, t("noRuns")), h("div", { className: "row" },
    h("button", { className: "main", onclick: () => startDemo(go) }, t("startDemo")), h("button", { onclick: () => go("train") }, t("ownText"))));
}

function table(runs) {
  const head = h("tr", {}, h("th", {}, ""), h("th", {}, t("run")), h("th", {}, t("model")), h("th", { className: "number wide" }, t("parameters")),
    h("th", { className: "number" }, t("valid")), h("th", { className: "number" }, t("test")), h("th", {}, t("state")), h("th", { className: "wide" }, t("began")));
  return h("table", {}, h("thead", {}, head), h("tbody", {}, runs.map((run) => row(run, runs))));
}
function row(run, runs) {
  const box = h("input", { type: "checkbox", checked: chosen.has(run.name), id: `run-${run.name}`, "aria-label": run.name, onchange: () => {
    if (box.checked) chosen.add(run.name); else chosen.delete(run.name);
    draw(runs).catch(showError);
  } });
  const state = h("td", { className: run.state === "running" ? "alive" : "" }, t(run.state));
  const began = run.created ? new Date(run.created).toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" }) : "";
  return h("tr", {}, h("td", {}, box), h("td", { className: "run-name" }, h("label", { htmlFor: box.id }, h("span", {}, run.name))), h("td", {}, run.model),
    h("td", { className: "number wide" }, short(run.parameters)), h("td", { className: "number" }, figure(run.valid_perplexity)),
    h("td", { className: "number" }, figure(run.test_perplexity)), state, h("td", { className: "quiet wide" }, began));
}

async function draw(runs) {
  const turn = (drawing += 1);
  const shown = runs.filter((run) => chosen.has(run.name));
  const alive = shown.find((run) => run.state === "running");
  for (const run of shown) if (run !== alive && (run.state === "running" || !kept.has(run.name) || kept.get(run.name).state !== run.state)) kept.set(run.name, { state: run.state, entries: await wholeRun(run.name) });
  if (turn !== drawing) return;
  const paint = () => {
    if (turn !== drawing) return;
    const drawn = shown.filter((run) => kept.has(run.name)).map((run) => [run.name, kept.get(run.name).entries]);
    place.picture.replaceChildren(...(drawn.length ? [drawn.length === 1 ? oneRun(drawn[0][1]) : severalRuns(drawn)] : []));
  };
  if (alive) follow(alive.name, (entries, ended) => { kept.set(alive.name, { state: ended || "running", entries }); paint(); });
  else unfollow();
  paint();
  const paths = shown.map((run) => runPath(run.name)).join(" ");
  place.commands.replaceChildren(...(shown.length ? [command(`recurlm plot ${paths}`)] : [command(`recurlm runs ${quoted(shared.folder)}`)]));
}
