// Train from the page: the command is shown, and the curve grows.
import { oneRun } from "./chart.js";
import { choice, command, field, get, h, post, quoted, shared, showError } from "./dom.js";
import { follow, unfollow } from "./live.js";
import { language, t } from "./words.js";

const form = { text: "", source: "text", name: "", recipe: "", unit: "", time: "2m" };
let choices = null, timer = null, place = null, following = null, stopping = false;

export async function show(view, go) {
  choices = choices || await get("/choices");
  place = { form: h("div"), progress: h("div", { id: "progress" }), go };
  view.append(place.progress, place.form);
  drawForm();
  following = null;
  await look();
  timer = setInterval(() => { if (!document.hidden) look().catch(showError); }, 1000);
}
export function hide() {
  clearInterval(timer);
  unfollow();
}
export function focus() { return document.getElementById("train-text"); }

export async function startDemo(go) {
  choices = choices || await get("/choices");
  Object.assign(form, { source: "", recipe: "demo", time: "1m", name: freeName("demo") });
  try { await post("/training", body()); showError(null); } catch (error) { showError(error); }
  go("train");
}

const freeName = (stem) => `${stem}-${new Date().toISOString().slice(5, 16).replace(/[-:]/g, "").replace("T", "-")}`;
function body() {
  const asked = { name: form.name || form.proposed };
  if (form.source === "text") asked.text = form.text; else if (form.source) asked.corpus = form.source;
  if (form.recipe) asked.recipe = form.recipe;
  if (form.unit) asked.unit = form.unit;
  if (form.time) asked.time_limit = form.time;
  return asked;
}
function typed() {
  const { name, text, corpus, recipe, unit, time_limit: time } = body();
  const parts = ["recurlm", "train"];
  if (text !== undefined) parts.push(`${choices.folder}/.texts/${name}.txt`); else if (corpus) parts.push(corpus);
  parts.push("--out", `${choices.folder}/${name}`);
  for (const [option, value] of [["--recipe", recipe], ["--unit", unit], ["--time-limit", time]]) if (value) parts.push(option, value);
  return parts.map(quoted).join(" ");
}

function drawForm() {
  const shown = h("div");
  const change = (key) => (value) => { form[key] = value; update(); };
  const input = (key, properties = {}) => h("input", { value: form[key], spellcheck: false, autocomplete: "off", oninput: (event) => change(key)(event.target.value), ...properties });
  const area = h("textarea", { id: "train-text", value: form.text, placeholder: t("pasteText"), "aria-label": t("text"), oninput: () => { form.text = area.value; } });
  area.addEventListener("dragover", (event) => { event.preventDefault(); area.classList.add("over"); });
  area.addEventListener("dragleave", () => area.classList.remove("over"));
  area.addEventListener("drop", async (event) => {
    event.preventDefault();
    area.classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (file) { area.value = form.text = await file.text(); name.value = form.name = file.name.replace(/\.[^.]*$/, "").replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^[.-]+/, ""); update(); }
  });
  form.proposed = form.proposed || freeName("text");
  const name = input("name", { placeholder: form.proposed });
  const corpora = [["text", t("yourText")], ...choices.corpora.map((each) => [each.name, `${each.name} (${t(each.at_hand)})`])];
  const recipes = [["", t("usual")], ...choices.recipes.map((each) => [each.name, each.name])];
  const about = h("p", { className: "quiet small prose" });
  const row = h("div", { className: "row" },
    field(t("corpus"), choice(corpora, form.source || "python-docs", change("source"))), field(t("name"), name), field(t("recipe"), choice(recipes, form.recipe, change("recipe"))),
    field(t("unit"), choice([["", t("recipes")], ["word", t("word")], ["character", t("character")], ["bpe", t("bpe")]], form.unit, change("unit"))),
    field(t("time"), input("time", { placeholder: t("noLimit"), size: 12 })), h("button", { className: "main", id: "start", onclick: start }, t("start")));
  const update = () => {
    area.hidden = form.source !== "text";
    const recipe = choices.recipes.find((each) => each.name === form.recipe), corpus = choices.corpora.find((each) => each.name === form.source);
    about.textContent = [corpus && corpus.description, recipe && recipe.description].filter(Boolean).join(" · ");
    shown.replaceChildren(command(typed()));
  };
  place.form.replaceChildren(row, area, about, shown);
  update();
}

async function start() {
  if (form.source === "text" && !form.text.trim()) { showError(new Error(t("needText"))); return; }
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
  if (!training.run) return;
  if (!place.curve || place.run !== training.command + language) drawProgress(training);
  place.update(training);
}

function drawProgress(training) {
  place.run = training.command + language;
  Object.assign(place, { curve: h("div"), state: h("strong"), left: h("span", { className: "quiet" }), samples: h("div", { className: "samples" }), log: h("pre", { className: "log" }), actions: h("span") });
  const title = h("div", { className: "row" }, h("span", { className: "run-name" }, training.run), place.state, place.left, place.actions);
  place.progress.replaceChildren(title, place.curve, place.samples, h("h2", {}, t("output")), place.log, command(training.command));
  place.update = update;
}

function update(training) {
  const writes = training.lines.filter((line) => line.startsWith("  it writes: ")).map((line) => line.slice(13));
  const begun = training.lines.some((line) => line.startsWith("epoch") || line.startsWith("time ") || line.startsWith("run "));
  if (training.exit_code !== null) stopping = false;
  const words = training.running ? (stopping ? t("stopping") : begun ? t("running") : t("preparing")) : training.exit_code === 0 ? t("ended") : training.exit_code === 75 ? t("stopped") : t("failed");
  place.state.textContent = words;
  place.state.className = training.running ? "alive" : "";
  const left = training.running && training.lines.map((line) => line.match(/left (\S+)/)).filter(Boolean).at(-1);
  place.left.textContent = left ? `${left[1]} ${t("left")}` : "";
  place.samples.replaceChildren(...(writes.length ? [h("h2", {}, t("writes")), ...writes.slice(-4).map((line) => h("p", {}, line))] : []));
  const atEnd = place.log.scrollTop + place.log.clientHeight >= place.log.scrollHeight - 4;
  const text = training.lines.join("\n");
  if (place.log.textContent !== text) { place.log.textContent = text; if (atEnd) place.log.scrollTop = place.log.scrollHeight; }
  const key = `${training.running} ${training.exit_code} ${stopping} ${language}`;
  if (place.actionsKey !== key) { place.actionsKey = key; place.actions.replaceChildren(...actions(training)); }
  const wanted = `${training.command} ${training.running}`;
  if (begun && following !== wanted) {
    if (following !== null) unfollow();
    following = wanted;
    follow(training.run, (entries) => place.curve.replaceChildren(oneRun(entries)));
  }
}

function actions(training) {
  if (training.running) return [h("button", { id: "stop", disabled: stopping, onclick: async () => { stopping = true; await post("/training/stop"); await look(); } }, t("stop"))];
  const found = [];
  if (training.exit_code === 75) found.push(h("button", { id: "go-on", onclick: async () => {
    try { await post("/training/resume", { name: training.run }); await look(); } catch (error) { showError(error); }
  } }, t("goOn")));
  if (training.exit_code === 0) {
    for (const [view, label] of [["surprisal", "lookAt"], ["play", "writeWith"]]) {
      found.push(h("button", { className: "small", onclick: () => { shared.model = training.run; place.go(view); } }, t(label)), " ");
    }
  }
  return found;
}
