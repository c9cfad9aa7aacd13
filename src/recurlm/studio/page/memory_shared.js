// What the questions about a memory have in common: the same in a terminal and in Python, a second run, numbers.
import { choice, command, field, h, post, quoted, runPath, shared, showError, working } from "./dom.js";
import { t } from "./words.js";

const MOST_ROWS = 200, LONGEST = 13;
const state = { against: "" };

export const pathOf = (model) => runPath(model, false);

// Short names that tell runs apart: without the words with which all of them begin.
export function labels(names) {
  const [first, ...others] = names;
  let end = 0;
  while (others.length && end < first.length && others.every((name) => name[end] === first[end])) end += 1;
  const start = first.slice(0, end).search(/[^-_. ]*$/);
  const short = (name) => (name.length > LONGEST ? `…${name.slice(1 - LONGEST)}` : name);
  return names.map((name) => short(name.slice(start)));
}

export const inTerminal = (model, ...options) => {
  const written = options.map((each) => quoted(String(each)));
  return command(["recurlm inspect", runPath(model), "text.txt", ...written].join(" "));
};

export function inPython(lines) {
  const text = ["from pathlib import Path", "", "import recurlm", ...lines].join("\n");
  return h("details", { className: "small" }, h("summary", {}, t("inPythonToo")), command(text, ""));
}

export function python(model, answer, ...more) {
  const given = ["text", ...more.map((each) => JSON.stringify(each))].join(", ");
  return inPython([
    `from recurlm.inspection.answers import ${answer}`, "",
    `model = recurlm.load(${JSON.stringify(pathOf(model))})`,
    'text = model.inspect(Path("text.txt").read_text("utf-8"))',
    `${answer}(${given}).to_json()`]);
}

// A function that draws the answer to a question, unless it was asked a later one meanwhile. A button, whose label
// is its `data-label`, says that the work goes on.
export function asker() {
  let turn = 0;
  return async (question, draw, button = null) => {
    turn += 1;
    const mine = turn;
    showError(null);
    const done = button ? working(button, button.dataset.label) : () => {};
    try {
      const answer = await question();
      if (mine === turn) draw(answer);
    } catch (error) { showError(error); } finally { done(); }
  };
}

// The shown run and the second one, where one is chosen, both opened.
export async function openRuns() {
  const runs = [shared.model, ...(state.against ? [state.against] : [])];
  for (const run of runs) await post(`/runs/${encodeURIComponent(run)}/open`);
  return runs;
}

export function against(names, className) {
  const others = names.filter((each) => each !== shared.model);
  if (!others.includes(state.against)) state.against = "";
  const take = (value) => {
    state.against = value;
    for (const each of document.querySelectorAll("select.against")) each.value = value;
  };
  const select = choice([["", t("nothing")], ...others.map((each) => [each, each])], state.against, take);
  select.className = `against ${className}`;
  return field(t("against"), select);
}

// rows: [[step, token, value…]]
export function numbers(heads, rows) {
  const shown = rows.slice(0, MOST_ROWS), number = { className: "number" };
  const some = shown.length < rows.length ? ` (${shown.length} ${t("of")} ${rows.length})` : "";
  const cell = (value) => h("td", number, typeof value === "number" ? value.toFixed(3) : value);
  const head = h("thead", {}, h("tr", {}, heads.map((each) => h("th", number, each))));
  const body = h("tbody", {}, shown.map((row) => h("tr", {}, row.map(cell))));
  const table = h("div", { className: "scroll" }, h("table", { className: "numbers" }, head, body));
  return h("details", { className: "small" }, h("summary", {}, t("numbers") + some), table);
}
