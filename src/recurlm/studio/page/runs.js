// The runs of the folder, compared in one picture; a running one is drawn live.
import { oneRun, severalRuns } from "./chart.js";
import { command, figure, get, h, python, quoted, runPath, shared, short, showError } from "./dom.js";
import { follow, unfollow, wholeRun } from "./live.js";
import { t } from "./words.js";
import { startDemo } from "./train.js";

const PAUSE = 2000;
let chosen = null, timer = null, place = null, listed = "", drawing = 0;
const kept = new Map(); // run → {state, entries}

export async function show(view, go) {
  place = { table: h("div"), picture: h("div"), commands: h("div") };
  view.append(place.table, place.picture, place.commands);
  listed = "";
  await look(go);
  timer = setInterval(() => { if (!document.hidden) look(go).catch(showError); }, PAUSE);
}
export function hide() {
  clearInterval(timer);
  unfollow();
}

async function look(go) {
  const { runs, problems } = await get("/runs");
  if (JSON.stringify(runs) === listed) return;
  listed = JSON.stringify(runs);
  if (!runs.length) {
    drawEmpty(go);
    return;
  }
  if (!chosen) chosen = new Set(runs.slice(0, 1).map((run) => run.name));
  for (const run of runs) if (run.state === "running" && !kept.has(run.name)) chosen.add(run.name);
  const note = [t("perplexityTable"), ...(areAlike(runs) ? [] : [t("sameToken")]), t("choose")].join(" ");
  const notes = [note, ...problems].map((line) => h("p", { className: "quiet small" }, line));
  place.table.replaceChildren(h("div", { className: "scroll" }, table(runs)), ...notes);
  draw(runs).catch(showError);
}

function drawEmpty(go) {
  place.table.replaceChildren(h("p", {}, t("noRuns")), h("div", { className: "row" },
    h("button", { className: "main", onclick: () => startDemo(go) }, t("startDemo")),
    h("button", { onclick: () => go("train") }, t("ownText"))));
  place.commands.replaceChildren(command(`recurlm train --recipe demo --out ${runPath("demo")} --time-limit 1m`));
}

function table(runs) {
  const column = (text, className = "") => h("th", { className, scope: "col" }, text);
  const head = h("tr", {}, column(""), column(t("run")), column(t("model")), column(t("parameters"), "number wide"),
    column(t("token")), column(t("valid"), "number"), column(t("test"), "number"), column(t("state")),
    column(t("began"), "wide"));
  return h("table", {}, h("thead", {}, head), h("tbody", {}, runs.map((run) => row(run, runs))));
}

function row(run, runs) {
  const box = h("input", {
    type: "checkbox",
    checked: chosen.has(run.name),
    id: `run-${run.name}`,
    "aria-label": run.name,
    onchange: () => {
      if (box.checked) chosen.add(run.name);
      else chosen.delete(run.name);
      draw(runs).catch(showError);
    },
  });
  const cell = (className, ...content) => h("td", { className }, ...content);
  return h("tr", {},
    cell("", box),
    cell("run-name", h("label", { htmlFor: box.id }, h("span", {}, run.name))),
    cell("", run.model),
    cell("number wide", short(run.parameters)),
    cell("", t(`of_${run.unit}`)),
    cell("number", figure(run.valid_perplexity)),
    cell("number", figure(run.test_perplexity)),
    cell(run.state === "running" ? "alive" : "", t(run.state)),
    cell("quiet wide", began(run)));
}
function began(run) {
  const form = { dateStyle: "medium", timeStyle: "short" };
  return run.created ? new Date(run.created).toLocaleString(document.documentElement.lang, form) : "";
}

async function draw(runs) {
  const turn = (drawing += 1);
  const shown = runs.filter((run) => chosen.has(run.name));
  const alive = shown.find((run) => run.state === "running");
  drawCommands(shown.map((run) => run.name));
  for (const run of shown) if (run !== alive) await read(run);
  if (turn !== drawing) return;
  const paint = () => { if (turn === drawing) drawPicture(shown); };
  if (alive) {
    follow(alive.name, (entries, ended) => {
      kept.set(alive.name, { state: ended || "running", entries });
      paint();
    });
  } else unfollow();
  paint();
}
async function read(run) {
  const known = kept.get(run.name);
  if (known && known.state === run.state && run.state !== "running") return;
  kept.set(run.name, { state: run.state, entries: await wholeRun(run.name) });
}
const areAlike = (runs) => new Set(runs.map((run) => run.unit)).size < 2;
function drawPicture(shown) {
  const drawn = shown.filter((run) => kept.has(run.name)).map((run) => [run.name, kept.get(run.name).entries]);
  const picture = drawn.length === 1 ? oneRun(drawn[0][1]) : severalRuns(drawn);
  const warning = areAlike(shown) ? [] : [h("p", { id: "unlike", role: "status" }, t("unlikeUnits"))];
  place.picture.replaceChildren(...warning, ...(drawn.length ? [picture] : []));
}

function drawCommands(names) {
  const list = command(`recurlm runs ${quoted(shared.folder)}`, t("table"));
  if (!names.length) {
    place.commands.replaceChildren(list);
    return;
  }
  const open = names.map((name) => `recurlm.open_run(${JSON.stringify(runPath(name, false))})`);
  const lines = ["import recurlm", `runs = [${open.join(", ")}]`, 'runs[0].plot(*runs[1:], out="runs.svg")'];
  const plot = command(`recurlm plot ${names.map((name) => runPath(name)).join(" ")} --out runs.svg`, t("picture"));
  place.commands.replaceChildren(list, plot, python(lines));
}
