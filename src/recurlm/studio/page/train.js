// Train from the page: the command is shown, and the curve grows.
import { oneRun } from "./chart.js";
import { choice, command, field, get, h, post, python, quoted, shared, showError } from "./dom.js";
import { follow, unfollow } from "./live.js";
import { language, t } from "./words.js";

const PAUSE = 1000, STOPPED = 75, MOST_SAMPLES = 4;
const WRITES = "  it writes: ";
const form = { text: "", source: "text", name: "", recipe: "", unit: "", time: "2m" };
let choices = null, timer = null, place = null, following = null, stopping = false;

export async function show(view, go) {
  choices = choices || await get("/choices");
  const another = h("h2", { hidden: true }, t("another"));
  place = { form: h("div"), progress: h("div", { id: "progress" }), another, go };
  view.append(place.progress, another, place.form);
  drawForm();
  following = null;
  await look();
  timer = setInterval(() => { if (!document.hidden) look().catch(showError); }, PAUSE);
}
export function hide() {
  clearInterval(timer);
  unfollow();
}
export const focus = () => document.getElementById("train-text");

export async function startDemo(go) {
  choices = choices || await get("/choices");
  Object.assign(form, { source: "", recipe: "demo", time: "1m", name: freeName("demo") });
  try {
    await post("/training", body());
    showError(null);
  } catch (error) { showError(error); }
  Object.assign(form, { source: "text", recipe: "", time: "2m", name: "" });
  go("train");
}

function freeName(stem) {
  const [date, time] = new Date().toISOString().slice(5, 19).split("T");
  return `${stem}-${date.replace("-", "")}-${time.replaceAll(":", "")}`;
}

// What the form asks for, as the request has it.
function body() {
  const asked = { name: form.name || form.proposed };
  if (form.source === "text") asked.text = form.text;
  else if (form.source) asked.corpus = form.source;
  if (form.recipe) asked.recipe = form.recipe;
  if (form.unit) asked.unit = form.unit;
  if (form.time) asked.time_limit = form.time;
  return asked;
}

function drawCommands(shown) {
  const { name, text, corpus, recipe, unit, time_limit: time } = body();
  const from = text === undefined ? corpus : `${choices.folder}/.texts/${name}.txt`, out = `${choices.folder}/${name}`;
  const options = [["recipe", recipe], ["unit", unit], ["time-limit", time]].filter(([, value]) => value);
  const typed = ["recurlm", "train", ...(from ? [from] : []), "--out", out];
  for (const [option, value] of options) typed.push(`--${option}`, value);
  const given = [...(from ? [JSON.stringify(from)] : []), `out=${JSON.stringify(out)}`];
  for (const [option, value] of options) given.push(`${option.replace("-", "_")}=${JSON.stringify(value)}`);
  const note = text === undefined ? [] : [h("p", { className: "quiet small" }, t("keepsText"))];
  shown.replaceChildren(command(typed.map(quoted).join(" ")),
    python(["import recurlm", `run = recurlm.train(${given.join(", ")})`, "print(run)"]), ...note);
}

function drawForm() {
  const shown = h("div"), about = h("p", { className: "quiet small prose" });
  const change = (key) => (value) => {
    form[key] = value;
    update();
  };
  form.proposed = form.proposed || freeName("text");
  const name = input("name", change, { placeholder: form.proposed });
  const area = textArea((text, file) => {
    form.text = text;
    if (file) name.value = form.name = nameOf(file);
    update();
  });
  const update = () => {
    area.hidden = form.source !== "text";
    const found = [[choices.corpora, form.source], [choices.recipes, form.recipe]]
      .map(([list, chosen]) => list.find((each) => each.name === chosen));
    about.textContent = found.filter((each) => each && each.description).map((each) => each.description).join(" · ");
    drawCommands(shown);
  };
  place.form.replaceChildren(formRow(name, change), area, about, shown);
  update();
}

function formRow(name, change) {
  const corpora = choices.corpora.map((each) => [each.name, `${each.name} (${t(each.at_hand)})`]);
  const recipes = choices.recipes.map((each) => [each.name, each.name]);
  const units = [["", t("recipes")], ["word", t("word")], ["character", t("character")], ["bpe", t("bpe")]];
  return h("div", { className: "row" },
    field(t("corpus"), choice([["text", t("yourText")], ...corpora], form.source, change("source"))),
    field(t("name"), name),
    field(t("recipe"), choice([["", t("usual")], ...recipes], form.recipe, change("recipe"))),
    field(t("unit"), choice(units, form.unit, change("unit"))),
    field(t("time"), input("time", change, { placeholder: t("noLimit"), size: 9 })),
    h("button", { className: "main", id: "start", onclick: start }, t("start")));
}

function input(key, change, properties) {
  const changed = (event) => change(key)(event.target.value);
  return h("input", { value: form[key], spellcheck: false, autocomplete: "off", oninput: changed, ...properties });
}

// A name that may be a run's, from that of a file.
const nameOf = (file) =>
  file.name.replace(/\.[^.]*$/, "").replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^[.-]+/, "");

function textArea(onchange) {
  const area = h("textarea", {
    id: "train-text",
    value: form.text,
    placeholder: t("pasteText"),
    "aria-label": t("text"),
    spellcheck: false,
    oninput: () => onchange(area.value, null),
    ondragover: (event) => {
      event.preventDefault();
      area.classList.add("over");
    },
    ondragleave: () => area.classList.remove("over"),
    ondrop: async (event) => {
      event.preventDefault();
      area.classList.remove("over");
      const [file] = event.dataTransfer.files;
      if (!file) return;
      area.value = await file.text();
      onchange(area.value, file);
    },
  });
  return area;
}

async function start() {
  if (form.source === "text" && !form.text.trim()) {
    showError(new Error(t("needText")));
    return;
  }
  try {
    await post("/training", body());
    showError(null);
    form.proposed = null;
    form.name = "";
    stopping = false;
    await look();
    drawForm();
  } catch (error) { showError(error); }
}

async function look() {
  const training = await get("/training");
  place.form.hidden = training.running;
  place.another.hidden = training.running || !training.run;
  if (!training.run) return;
  if (place.run !== training.command + language) drawProgress(training);
  update(training);
}

function drawProgress(training) {
  Object.assign(place, {
    run: training.command + language,
    curve: h("div"),
    state: h("strong", { role: "status" }),
    left: h("span", { className: "quiet" }),
    samples: h("div", { className: "samples" }),
    log: h("pre", { className: "log", tabIndex: 0, "aria-label": t("output") }),
    actions: h("span"),
    actionsKey: null,
  });
  const name = h("span", { className: "run-name" }, training.run);
  const title = h("div", { className: "row status" }, name, place.state, place.left, place.actions);
  place.progress.replaceChildren(title, place.curve, place.samples, h("h2", {}, t("output")), place.log,
    command(training.command));
}

const hasBegun = ({ lines }) => lines.some((line) => /^(epoch|done) /.test(line));

function stateOf(training) {
  if (training.running) return stopping ? t("stopping") : hasBegun(training) ? t("running") : t("preparing");
  if (training.exit_code === 0) return t("ended");
  if (training.exit_code === STOPPED) return t("stopped");
  return t(training.stop_asked && !hasBegun(training) ? "stoppedEarly" : "failed");
}

function update(training) {
  if (training.exit_code !== null) stopping = false;
  place.state.textContent = stateOf(training);
  place.state.className = training.running ? "alive" : "";
  const left = training.running && training.lines.map((line) => line.match(/left (\S+)/)).filter(Boolean).at(-1);
  place.left.textContent = left ? `${left[1]} ${t("left")}` : "";
  updateSamples(training.lines.filter((line) => line.startsWith(WRITES)).map((line) => line.slice(WRITES.length)));
  updateLog(training.lines.join("\n"));
  const key = `${training.running} ${training.exit_code} ${stopping}`;
  if (place.actionsKey !== key) place.actions.replaceChildren(...actions(training));
  place.actionsKey = key;
  const wanted = `${training.command} ${training.running}`;
  if (hasBegun(training) && following !== wanted) {
    if (following !== null) unfollow();
    following = wanted;
    follow(training.run, (entries) => place.curve.replaceChildren(oneRun(entries)));
  }
}
function updateSamples(writes) {
  const shown = writes.slice(-MOST_SAMPLES).map((line) => h("p", {}, line));
  place.samples.replaceChildren(...(shown.length ? [h("h2", {}, t("writes")), ...shown] : []));
}
function updateLog(text) {
  if (place.log.textContent === text) return;
  const isAtEnd = place.log.scrollTop + place.log.clientHeight >= place.log.scrollHeight - 4;
  place.log.textContent = text;
  if (isAtEnd) place.log.scrollTop = place.log.scrollHeight;
}

function actions(training) {
  if (training.running) {
    return [h("button", { id: "stop", disabled: stopping, onclick: stop }, t("stop"))];
  }
  if (training.exit_code === STOPPED) {
    return [h("button", { id: "go-on", onclick: () => goOn(training.run) }, t("goOn"))];
  }
  if (training.exit_code !== 0) return [];
  return [["surprisal", "lookAt"], ["play", "writeWith"]].flatMap(([view, label]) => [h("button", {
    className: "small",
    onclick: () => {
      shared.model = training.run;
      place.go(view);
    },
  }, t(label)), " "]);
}
async function stop() {
  stopping = true;
  try {
    await post("/training/stop");
    await look();
  } catch (error) { showError(error); }
}
async function goOn(name) {
  try {
    await post("/training/resume", { name });
    await look();
  } catch (error) { showError(error); }
}
