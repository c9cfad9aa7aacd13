// Small helpers: elements, requests, numbers, commands to copy.
import { explained, ServerError, UnreachableError } from "./errors.js";
import { t } from "./words.js";

export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && key !== "list") element[key] = value;
    else if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export async function request(method, path, body, signal) {
  const sent = body === undefined ? {} : {
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  };
  const answer = await reached(path, { method, signal, ...sent });
  if (answer.ok) return answer;
  let told = { message: `${answer.status} ${answer.statusText}` };
  try { told = (await answer.json()).error; } catch { /* no JSON: the status says it */ }
  throw new ServerError(answer.status, told);
}
async function reached(path, options) {
  try {
    const answer = await fetch(path, options);
    if (shown instanceof UnreachableError) showError(null);
    return answer;
  } catch (error) {
    throw error.name === "AbortError" ? error : new UnreachableError();
  }
}
export const get = async (path) => (await request("GET", path)).json();
export const post = async (path, body) => (await request("POST", path, body)).json();

// The events of an answer, as {kind, id, value}.
export async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const { event = "message", id, data = "[DONE]" } = fieldsOf(part);
      if (data !== "[DONE]") yield { kind: event, id: Number(id), value: JSON.parse(data) };
    }
  }
}
function fieldsOf(part) {
  const pairs = part.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]);
  return Object.fromEntries(pairs);
}

let shown = null;
export function showError(error) {
  const place = document.getElementById("error");
  shown = error;
  place.hidden = !error || error.name === "AbortError";
  place.textContent = error ? explained(error) : "";
}

// Says on a button that its work goes on, with the seconds once there are some; returns what ends that.
const timers = new WeakMap();
export function working(button, label) {
  const began = Date.now();
  const tell = () => {
    const seconds = Math.floor((Date.now() - began) / 1000);
    button.textContent = seconds > 1 ? `${t("computing")} ${seconds} s` : t("computing");
  };
  clearInterval(timers.get(button));
  const timer = setInterval(tell, 1000);
  timers.set(button, timer);
  tell();
  return () => {
    clearInterval(timer);
    if (timers.get(button) === timer) button.textContent = label;
  };
}

export function figure(value) {
  if (value === null || value === undefined) return "–";
  return value < 1000 ? value.toFixed(2) : value < 1e5 ? value.toFixed(0) : value.toExponential(1);
}
export function short(count) {
  if (count === null) return "";
  if (count >= 1e6) return `${(count / 1e6).toFixed(1)} M`;
  return count >= 1000 ? `${Math.round(count / 1000)} k` : String(count);
}
export function share(probability) {
  if (probability >= 0.995) return "1.0";
  if (probability >= 0.00995) return probability.toFixed(2).slice(1);
  return probability >= 0.001 ? probability.toFixed(3).slice(1) : "~0";
}
// A token as it is shown; names: those of byte pairs, as `/runs/NAME/open` tells them.
const NAMES = new Map([["<eos>", "↵"], [" ", "␣"]]);
export const shownToken = (token, names) => NAMES.get(token) || (Object.hasOwn(names, token) ? names[token] : token);
export const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`);

// A command, or lines of Python, with a button that copies them.
export function command(text, title = t("same")) {
  const copy = h("button", { className: "plain small", onclick: async () => {
    await navigator.clipboard.writeText(text);
    copy.textContent = t("copied");
    setTimeout(() => { copy.textContent = t("copy"); }, 1500);
  } }, t("copy"));
  return h("div", { className: "command small" }, h("span", {}, title), h("code", {}, words(text)), copy);
}
// Lines break between words, not after a hyphen of an option.
const words = (text) => text.split(/([ \n]+)/).map((part) => (part.trim() ? h("span", {}, part) : part));
export function python(lines) {
  const shown = command(lines.join("\n"), t("inPython"));
  shown.classList.add("python");
  return shown;
}

export const field = (label, control) => h("label", {}, label, control);

export function choice(options, chosen, onchange) {
  const select = h("select", { onchange: () => onchange && onchange(select.value) });
  for (const [value, label] of options) select.append(h("option", { value, selected: value === chosen }, label));
  return select;
}

export function guess(word, probability, properties = {}) {
  const bar = h("b");
  bar.style.width = `${Math.min(100, 100 * probability)}%`;
  return h(properties.onclick ? "button" : "div", { className: "guess", ...properties },
    h("span", {}, word),
    h("span", { className: "bar" }, bar),
    h("span", { className: "number quiet" }, share(probability)));
}

export async function models() {
  return (await get("/runs")).runs.filter((run) => run.has_model).map((run) => run.name);
}
export const shared = { model: null, text: "", folder: "runs", isRun: false };

// The path of a run as one types it where the studio was started; `forShell` quotes it.
export function runPath(name, forShell = true) {
  const path = shared.isRun ? shared.folder : `${shared.folder}/${name}`;
  return forShell ? quoted(path) : path;
}

export async function modelChoice(onchange) {
  const names = await models();
  if (!names.length) return null;
  if (!names.includes(shared.model)) [shared.model] = names;
  const change = (name) => {
    shared.model = name;
    if (onchange) onchange();
  };
  return choice(names.map((name) => [name, name]), shared.model, change);
}
