// The views, the keyboard, the language and the theme.
import { get, h, shared, showError } from "./dom.js";
import * as memory from "./memory.js";
import * as play from "./play.js";
import * as runs from "./runs.js";
import * as surprisal from "./surprisal.js";
import * as train from "./train.js";
import { language, setLanguage, t } from "./words.js";

const FIELDS = /^(INPUT|TEXTAREA|SELECT)$/;
const VIEWS = { runs, train, play, surprisal, memory };
let current = null, turn = 0;

async function go(name) {
  turn += 1;
  const mine = turn;
  if (current) VIEWS[current].hide();
  current = name;
  if (location.hash !== `#${name}`) history.replaceState(null, "", `#${name}`);
  const fresh = h("main", { id: "view" });
  document.getElementById("view").replaceWith(fresh);
  showError(null);
  drawHeader();
  try { await VIEWS[name].show(fresh, go, () => mine === turn); } catch (error) { showError(error); }
}

function drawHeader() {
  document.getElementById("views").replaceChildren(...Object.keys(VIEWS).map((name, index) => h("button", {
    onclick: () => go(name), title: String(index + 1), "aria-current": name === current ? "page" : null, id: `to-${name}` }, t(name))));
  document.getElementById("switches").replaceChildren(
    h("button", { onclick: theme, title: t("theme"), "aria-label": t("theme"), id: "theme" }, "◐"),
    h("button", { id: "language", lang: language === "zh" ? "en" : "zh", onclick: () => { setLanguage(language === "zh" ? "en" : "zh"); go(current); } }, language === "zh" ? "EN" : "中文"));
}

function theme() {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", dark ? "light" : "dark");
}
if (localStorage.getItem("theme")) document.documentElement.dataset.theme = localStorage.getItem("theme");

document.addEventListener("keydown", (event) => {
  if (!current) return;
  if (event.key === "Escape") {
    if (FIELDS.test(event.target.tagName)) event.target.blur();
    else if (VIEWS[current].close) VIEWS[current].close();
    return;
  }
  const { tagName, type } = event.target, isSlider = type === "range"; // arrow keys move a slider, and it takes no text
  const takesText = FIELDS.test(tagName) && !isSlider && type !== "checkbox";
  if (event.ctrlKey || event.metaKey || event.altKey || takesText) return;
  if (!isSlider && VIEWS[current].key && VIEWS[current].key(event)) {
    event.preventDefault();
    return;
  }
  const view = Object.keys(VIEWS)[Number(event.key) - 1];
  if (view) go(view);
  else if (event.key === "/") {
    const field = VIEWS[current].focus && VIEWS[current].focus();
    if (field) { event.preventDefault(); field.focus(); }
    else { event.preventDefault(); go("play").then(() => { const prompt = VIEWS.play.focus(); if (prompt) prompt.focus(); }); }
  }
});
window.addEventListener("hashchange", () => { const name = location.hash.slice(1); if (VIEWS[name] && name !== current) go(name); });

get("/choices").then(({ folder, is_run: isRun }) => {
  Object.assign(shared, { folder, isRun });
  document.getElementById("folder").textContent = `· ${folder}`;
  const name = location.hash.slice(1);
  go(VIEWS[name] ? name : "runs");
}).catch(showError);
