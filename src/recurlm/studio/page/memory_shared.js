// What the questions about a memory have in common: the same in a terminal and in Python, a second run, numbers.
import { choice, command, field, h, post, quoted, runPath, shared, showError } from "./dom.js";
import { t } from "./words.js";

const MOST_ROWS = 200;
const state = { against: "", turn: 0 };

export const inTerminal = (model, ...options) =>
  command(["recurlm inspect", runPath(model), "text.txt", ...options.map((each) => quoted(String(each)))].join(" "));

export const pathOf = (model) => (shared.folder.split("/").pop() === model ? shared.folder : `${shared.folder}/${model}`);

export function python(model, answer, ...more) {
  return pythonLines([`from recurlm.inspection.answers import ${answer}`, "", `model = recurlm.load(${JSON.stringify(pathOf(model))})`,
    'text = model.inspect(open("text.txt", encoding="utf-8").read())',
    `${answer}(${["text", ...more.map((each) => JSON.stringify(each))].join(", ")}).to_json()`]);
}

export const pythonLines = (lines) => h("details", { className: "small" }, h("summary", {}, t("inPython")),
  command(["import recurlm", ...lines].join("\n"), ""));

// Draws the answer to a question, unless a later one was asked meanwhile.
export async function answered(question, draw) {
  state.turn += 1;
  const mine = state.turn;
  showError(null);
  try {
    const answer = await question();
    if (mine === state.turn) draw(answer);
  } catch (error) { showError(error); }
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
  const select = choice([["", t("nothing")], ...others.map((each) => [each, each])], state.against, (value) => {
    state.against = value;
    for (const each of document.querySelectorAll("select.against")) each.value = value;
  });
  select.className = `against ${className}`;
  return field(t("against"), select);
}

// rows: [[step, token, value…]]
export function numbers(heads, rows) {
  const shown = rows.slice(0, MOST_ROWS), cell = (value) => (typeof value === "number" ? value.toFixed(3) : value);
  const summary = shown.length < rows.length ? `${t("numbers")} (${shown.length} ${t("of")} ${rows.length})` : t("numbers");
  return h("details", { className: "small" }, h("summary", {}, summary), h("div", { className: "scroll" }, h("table", { className: "numbers" },
    h("thead", {}, h("tr", {}, heads.map((head) => h("th", { className: "number" }, head)))),
    h("tbody", {}, shown.map((row) => h("tr", {}, row.map((value) => h("td", { className: "number" }, cell(value)))))))));
}
