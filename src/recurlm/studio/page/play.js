// A prompt and its continuation, token by token; every alternative is a way to go on, kept in a tree.
import { command, events, field, guess, h, modelChoice, post, quoted, request, runPath, shared, share, showError } from "./dom.js";
import { t } from "./words.js";

const state = { prompt: "the", temperature: 0.8, topP: 1, tokens: 30, seed: "", model: null, vocabulary: null, ids: null, unit: "word", node: null, roots: [], at: null };
const ALTERNATIVES = 10;
let place = null, abort = null;

export async function show(view, go, isCurrent) {
  const model = await modelChoice(() => { state.roots = []; state.node = state.at = null; drawAll(); });
  if (!isCurrent()) return;
  if (!model) { view.append(h("p", {}, t("noModel")), h("button", { className: "main", onclick: () => go("train") }, t("train"))); return; }
  const prompt = h("input", { id: "prompt", value: state.prompt, spellcheck: false, autocomplete: "off", oninput: () => { state.prompt = prompt.value; drawCommand(); }, onkeydown: (event) => { if (event.key === "Enter") write(); } });
  const slider = (key, label, low, high, step) => {
    const shown = h("span", {}, `${label} ${state[key]}`);
    return h("label", {}, shown, h("input", { type: "range", min: low, max: high, step, value: state[key], "aria-label": label, oninput: (event) => { state[key] = Number(event.target.value); shown.textContent = `${label} ${state[key]}`; drawCommand(); drawAside(); } }));
  };
  const seed = h("input", { value: state.seed, size: 6, placeholder: t("any"), inputMode: "numeric", oninput: () => { state.seed = seed.value.replace(/\D/g, ""); drawCommand(); } });
  const first = h("div", { className: "row" }, field(t("model"), model), h("label", { className: "grow" }, t("prompt"), prompt), h("button", { className: "main", id: "write", onclick: () => write() }, t("write")));
  const second = h("div", { className: "row" }, slider("temperature", t("temperature"), 0, 2, 0.05), slider("topP", t("topP"), 0.05, 1, 0.05), slider("tokens", t("count"), 1, 200, 1), field(t("seed"), seed));
  place = { text: h("div", { className: "play", id: "continuation", "aria-live": "polite" }), tree: h("div"), aside: h("div", { className: "aside" }), command: h("div") };
  view.append(first, second, h("div", { className: "two" }, h("div", {}, place.text, place.command, place.tree), place.aside));
  drawAll();
}
export function hide() { if (abort) abort.abort(); }
export function focus() { return document.getElementById("prompt"); }

async function open() {
  if (state.model === shared.model && state.vocabulary) return;
  const found = await post(`/runs/${encodeURIComponent(shared.model)}/open`);
  Object.assign(state, { model: shared.model, vocabulary: found.vocabulary, ids: new Map(found.vocabulary.map((token, id) => [token, id])), unit: found.unit });
}

// a node: {before: ids read before, shownBefore: [token], drawn: [{token, id, text, probability, likeliest}], children, parent, first}
async function write(parent = null, at = 0, alternative = null) {
  try {
    showError(null);
    await open();
    const node = { children: [], drawn: [], parent, at };
    if (parent) {
      const kept = parent.drawn.slice(0, at);
      const replaced = { ...parent.drawn[at], token: alternative[0], id: state.ids.get(alternative[0]), probability: alternative[1] };
      node.label = alternative[0];
      node.prompt = parent.prompt;
      node.ids = parent.ids;
      node.drawn = [...kept, replaced];
      parent.children.push(node);
    } else {
      node.prompt = node.label = state.prompt;
      node.ids = (await post("/tokenize", { model: state.model, prompt: state.prompt })).tokens;
      state.roots.push(node);
    }
    state.node = node;
    state.at = null;
    drawAll();
    await stream(node);
  } catch (error) { showError(error); }
}

async function stream(node) {
  if (abort) abort.abort();
  abort = new AbortController();
  const body = { model: state.model, prompt: [...node.ids, ...node.drawn.map((each) => each.id)], max_tokens: state.tokens, temperature: state.temperature, top_p: state.topP, logprobs: ALTERNATIVES, stream: true };
  if (state.seed) body.seed = Number(state.seed);
  if (!body.prompt.length) body.prompt = "";
  for await (const { value } of events(await request("POST", "/v1/completions", body, abort.signal))) {
    if (value.error) throw new Error(value.error.message);
    const found = value.choices[0] && value.choices[0].logprobs;
    if (!found) continue;
    found.tokens.forEach((token, index) => node.drawn.push({ token, id: state.ids.get(token), probability: Math.exp(found.token_logprobs[index]),
      likeliest: Object.entries(found.top_logprobs[index] || {}).map(([word, logprob]) => [word, Math.exp(logprob)]).sort((a, b) => b[1] - a[1]) }));
    if (state.node === node) drawText();
  }
  drawTree();
}

const shownToken = (token) => (token === "<eos>" ? "↵" : token === " " ? "␣" : token);
function drawAll() { drawText(); drawTree(); drawAside(); drawCommand(); }

function drawText() {
  if (!place) return;
  const node = state.node;
  if (!node) { place.text.replaceChildren(); return; }
  const buttons = node.drawn.map((each, index) => h("button", { className: `token ${index === state.at ? "at" : ""}`, onclick: () => choose(index),
    onkeydown: (event) => { const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]; if (step && node.drawn[index + step]) { event.preventDefault(); choose(index + step); place.text.querySelectorAll("button.token")[index + step].focus(); } } },
    shownToken(each.token), h("i", {}, share(each.probability))));
  place.text.replaceChildren(h("span", { className: "token prompt" }, node.prompt, h("i", {}, " ")), ...buttons);
}
function choose(index) {
  state.at = index;
  for (const [number, button] of [...place.text.querySelectorAll("button.token")].entries()) button.classList.toggle("at", number === index);
  drawAside();
}

function drawAside() {
  const each = state.node && state.at !== null ? state.node.drawn[state.at] : null;
  if (!each) { place.aside.replaceChildren(h("p", { className: "quiet small" }, t("clickWord"))); return; }
  place.aside.replaceChildren(h("small", {}, t("alternatives")), ...each.likeliest.map(([word, probability]) => guess(shownToken(word), probability, {
    className: `guess ${word === each.token ? "here" : ""}`, onclick: () => write(state.node, state.at, [word, probability]) })));
}

function drawTree() {
  const item = (node) => h("li", {}, h("button", { "aria-current": node === state.node ? "true" : null, onclick: () => { state.node = node; state.at = null; drawAll(); } },
    `${shownToken(node.label)} ${node.drawn.slice(node.parent ? node.at + 1 : 0).slice(0, 8).map((each) => shownToken(each.token)).join(state.unit === "character" ? "" : " ")}`),
    ...(node.children.length ? [h("ul", {}, node.children.map(item))] : []));
  place.tree.replaceChildren(...(state.roots.length ? [h("h2", {}, t("tried")), h("ul", { className: "tree" }, state.roots.map(item))] : []));
}

function drawCommand() {
  const parts = ["recurlm generate", runPath(shared.model), "--prompt", quoted(state.prompt), "--tokens", state.tokens, "--temperature", state.temperature];
  if (state.topP < 1) parts.push("--top-p", state.topP);
  if (state.seed) parts.push("--seed", state.seed);
  place.command.replaceChildren(command(parts.join(" ")));
}
