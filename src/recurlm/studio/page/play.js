// A prompt and its continuation, token by token; every other token is a way to go on, kept in a tree.
import { bars, idsOf, latest, nextToken } from "./distribution.js";
import {
  command, events, field, h, modelChoice, post, python, quoted, request, runPath, shared, share, showError,
  shownToken,
} from "./dom.js";
import { explained } from "./errors.js";
import * as sampling from "./sampling.js";
import { idsBefore, newChild, newRoot, tree, triedAt } from "./tree.js";
import { t } from "./words.js";

const TOKENS = [1, 2, 3, 5, 10, 15, 20, 30, 40, 50, 70, 100, 150, 200, 300];
const SEEDS = 2 ** 31;
const state = { prompt: "the", tokens: 30, seed: "", opened: null, roots: [], node: null, at: null, changed: true };
let place = null, abort = null;

export async function show(view, go, isCurrent) {
  const model = await modelChoice(changeModel);
  if (!isCurrent()) return;
  if (!model) {
    view.append(h("p", {}, t("noModel")), h("button", { className: "main", onclick: () => go("train") }, t("train")));
    return;
  }
  if (state.opened && state.opened.name !== shared.model) forget();
  place = {
    text: h("div", { className: "play", id: "continuation", role: "group", "aria-label": t("continuation") }),
    tree: h("section", { "aria-label": t("tried") }),
    aside: h("div", { className: "aside", id: "next" }),
    command: h("div"),
    options: h("div", { className: "sliders" }),
  };
  drawOptions();
  view.append(promptRow(model), place.options, h("div", { className: "three" }, place.tree, place.text, place.aside),
    place.command);
  drawAll();
}
export function hide() {
  if (abort) abort.abort();
}
export const focus = () => document.getElementById("prompt");

// Whether a key that was pressed outside of fields means something here.
export function key(event) {
  const { node, at } = state, step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!node || !node.drawn.length || !place.text.isConnected) return false;
  if (step) {
    const wanted = at === null ? (step > 0 ? 0 : node.drawn.length - 1) : at + step;
    if (node.drawn[wanted]) {
      choose(wanted);
      place.text.querySelectorAll("button.token")[wanted].focus();
    }
    return true;
  }
  if (event.key === "f" && at !== null) {
    fork(node, at);
    return true;
  }
  return false;
}
export function close() {
  if (place && state.at !== null) choose(null);
}

function forget() {
  Object.assign(state, { opened: null, roots: [], node: null, at: null, changed: true });
}
function changeModel() {
  if (abort) abort.abort();
  forget();
  drawAll();
}
function change() {
  state.changed = true;
  drawCommand();
  look();
}

function promptRow(model) {
  const prompt = h("input", {
    id: "prompt",
    value: state.prompt,
    spellcheck: false,
    autocomplete: "off",
    oninput: () => { state.prompt = prompt.value; change(); },
    onkeydown: (event) => { if (event.key === "Enter") write(); },
  });
  const button = h("button", { className: "main", id: "write", onclick: () => write() }, t("write"));
  return h("div", { className: "row" }, field(t("model"), model),
    h("label", { className: "grow" }, t("prompt"), prompt), button);
}

function drawOptions() {
  const seed = h("input", {
    value: state.seed,
    size: 8,
    placeholder: t("any"),
    inputMode: "numeric",
    oninput: () => { state.seed = seed.value.replace(/\D/g, "").slice(0, 9); change(); },
  });
  const count = sampling.slider(t("count"), TOKENS, state.tokens, (value) => { state.tokens = value; change(); });
  place.options.replaceChildren(...sampling.sliders(change), count, field(t("seed"), seed));
}

async function open() {
  const name = shared.model;
  if (!state.opened || state.opened.name !== name) {
    const { vocabulary, unit, names } = await post(`/runs/${encodeURIComponent(name)}/open`);
    state.opened = { name, unit, names, ids: new Map(vocabulary.map((token, id) => [token, id])) };
  }
  return state.opened;
}

// Continues the prompt, with a first token where one is given.
async function write(first = null) {
  await guarded(async () => {
    await open();
    const node = newRoot(state.prompt, await idsOf(shared.model, state.prompt));
    if (first) node.drawn.push(first);
    state.roots.push(node);
    await goOn(node, null);
  });
}

// Goes on from a place with a token of its own, or with the likeliest that was not tried there.
async function fork(node, at, chosen = null) {
  await guarded(async () => {
    const tried = triedAt(node, at);
    const { tokens } = chosen ? { tokens: [chosen] } : await nextToken(shared.model, idsBefore(node, at), {});
    const found = tokens.find(({ token }) => chosen || (!tried.has(token) && token !== "<unk>"));
    if (found) await goOn(newChild(node, at, found), at);
  });
}

async function guarded(work) {
  try {
    showError(null);
    await work();
  } catch (error) { showError(error); }
}

async function goOn(node, at) {
  if (abort) abort.abort();
  abort = new AbortController();
  const seed = state.seed ? Number(state.seed) : Math.floor(Math.random() * SEEDS);
  node.asked = { prompt: node.prompt, tokens: state.tokens, seed, options: sampling.asked() };
  Object.assign(state, { node, at, changed: false });
  const { signal } = abort, ids = idsBefore(node, node.drawn.length);
  drawAll();
  await spellPrompt(node, ids);
  await stream(node, ids, signal);
}

// What to type as --prompt; drawn tokens may stand in it.
async function spellPrompt(node, ids) {
  const model = shared.model;
  node.asked.prompt = (await post("/detokenize", { model, tokens: ids })).prompt;
  const again = await post("/tokenize", { model, prompt: node.asked.prompt });
  node.asked.isExact = again.tokens.join() === ids.join();
  drawCommand();
}

async function stream(node, ids, signal) {
  const { tokens, seed, options } = node.asked, before = node.drawn.length;
  // an <eos> at the start of a prompt is the one after which every text begins
  const asked = { prompt: [0, ...ids], max_tokens: tokens, seed, ...options };
  const body = { model: shared.model, ...asked, logprobs: 0, stream: true };
  place.text.setAttribute("aria-busy", "true");
  try {
    for await (const { value } of events(await request("POST", "/v1/completions", body, signal))) {
      if (value.error) throw new Error(value.error.message);
      const found = value.choices[0] && value.choices[0].logprobs;
      if (found) found.tokens.forEach((token, index) => arrive(node, token, Math.exp(found.token_logprobs[index])));
    }
  } finally {
    node.asked.tokens = Math.max(1, node.drawn.length - before); // fewer where another text was begun meanwhile
    if (!signal.aborted) place.text.removeAttribute("aria-busy");
    drawTree();
  }
}
function arrive(node, token, probability) {
  node.drawn.push({ token, id: state.opened.ids.get(token), probability });
  if (state.node === node) place.text.append(...tokenButton(node.drawn.at(-1), node.drawn.length - 1));
}

function drawAll() {
  drawText();
  drawTree();
  drawCommand();
  look();
}

function tokenButton(each, index) {
  const word = shownToken(each.token, state.opened.names);
  const button = h("button", {
    className: `token ${index === state.at ? "at" : ""}`,
    "aria-label": `${word}, ${t("probability")} ${share(each.probability)}`,
    "aria-pressed": String(index === state.at),
    onclick: () => choose(index),
  }, word, h("i", {}, share(each.probability)));
  return each.token === "<eos>" ? [button, h("span", { className: "line-end" })] : [button];
}
function drawText() {
  const { node } = state;
  if (!node) {
    place.text.replaceChildren(h("p", { className: "quiet small" }, t("clickWord")));
    return;
  }
  const prompt = node.prompt ? [h("span", { className: "token prompt" }, node.prompt, h("i", {}, " "))] : [];
  place.text.replaceChildren(...prompt, ...node.drawn.flatMap(tokenButton));
}
function choose(at) {
  state.at = at;
  for (const [number, button] of [...place.text.querySelectorAll("button.token")].entries()) {
    button.classList.toggle("at", number === at);
    button.setAttribute("aria-pressed", String(number === at));
  }
  look();
}

// Draws the distribution of the chosen token, or of the one after the prompt.
const look = latest(async () => {
  const { node, at, prompt } = state, here = node && at !== null ? node.drawn[at] : null;
  const drawn = [];
  try {
    await open();
    const ids = here ? idsBefore(node, at) : await idsOf(shared.model, prompt);
    const found = await nextToken(shared.model, ids, sampling.asked());
    const goOnWith = (entry) => (here ? fork(node, at, entry) : write(entry));
    drawn.push(...bars(found, state.opened.names, here && here.token, goOnWith));
  } catch (error) { drawn.push(h("p", { className: "quiet small prose" }, explained(error))); }
  const title = here ? t("alternatives") : `${t("afterPrompt")} “${prompt}”`;
  const parts = [h("small", {}, title), ...drawn, resetButton(), h("p", { className: "quiet small" }, t("playKeys"))];
  place.aside.replaceChildren(...parts.filter(Boolean));
});

function resetButton() {
  const reset = () => {
    sampling.leaveOutAll();
    drawOptions();
    change();
  };
  if (!Object.keys(sampling.asked()).length) return null;
  return h("button", { className: "small", title: t("ownHelp"), id: "own", onclick: reset }, t("own"));
}

function drawTree() {
  const { unit, names } = state.opened || { unit: "word", names: {} };
  const chosen = (node) => {
    Object.assign(state, { node, at: null, changed: false });
    drawAll();
  };
  const spelled = { joined: unit === "word" ? " " : "", names };
  place.tree.replaceChildren(h("small", {}, t("tried")), tree(state.roots, state.node, spelled, chosen));
}

function drawCommand() {
  const current = { prompt: state.prompt, tokens: state.tokens, seed: state.seed, options: sampling.asked() };
  const asked = state.node && !state.changed ? state.node.asked : current;
  const { prompt, tokens, seed, options } = asked;
  const seeds = seed === "" ? [] : ["--seed", seed];
  const typed = ["recurlm generate", runPath(shared.model), "--prompt", quoted(prompt), "--tokens", tokens,
    ...sampling.flags(options), ...seeds].join(" ");
  const { imports, keywords } = sampling.python(options);
  const given = [JSON.stringify(prompt), `tokens=${tokens}`, ...keywords, ...(seed === "" ? [] : [`seed=${seed}`])];
  const lines = ["import recurlm", ...imports, `model = recurlm.load(${JSON.stringify(runPath(shared.model, false))})`,
    `print(model.generate(${given.join(", ")}))`];
  const note = asked.isExact === false ? [h("p", { className: "quiet small" }, t("notExact"))] : [];
  place.command.replaceChildren(command(typed), python(lines), ...note);
}
