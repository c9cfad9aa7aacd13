// The tree of continuations: a node per text, a child where another token was chosen.
import { h, shownToken } from "./dom.js";
import { t } from "./words.js";

const SHOWN = 8;

// ids: of the prompt · drawn: [{token, id, probability}] after it · at: place in `drawn` where it leaves its parent
export function newRoot(prompt, ids) {
  return { label: prompt, prompt, ids, drawn: [], children: [], parent: null, at: 0 };
}
export function newChild(node, at, token) {
  let parent = node;
  while (parent.parent && at <= parent.at) parent = parent.parent; // the branch that drew this place
  const drawn = [...parent.drawn.slice(0, at), token];
  const child = { label: token.token, prompt: parent.prompt, ids: parent.ids, drawn, children: [], parent, at };
  parent.children.push(child);
  return child;
}

export const idsBefore = (node, at) => [...node.ids, ...node.drawn.slice(0, at).map((each) => each.id)];

// The tokens that were tried at one place of a text, in any branch.
export function triedAt(node, at) {
  let root = node;
  while (root.parent) root = root.parent;
  const before = idsBefore(node, at).join();
  const found = new Set();
  const visit = (each) => {
    if (each.drawn.length > at && idsBefore(each, at).join() === before) found.add(each.drawn[at].token);
    each.children.forEach(visit);
  };
  visit(root);
  return found;
}

// joined: what stands between tokens · names: as `shownToken` takes them
export function tree(roots, current, { joined, names }, onchoose) {
  const shown = (token) => shownToken(token, names);
  const item = (node) => {
    const start = node.parent ? node.at + 1 : 0;
    const words = node.drawn.slice(start, start + SHOWN).map((each) => shown(each.token)).join(joined);
    const button = h("button", {
      "aria-current": node === current ? "true" : null,
      title: `${shown(node.label)}${joined}${words}`,
      onclick: () => onchoose(node),
    }, h("b", {}, shown(node.label) || "∅"), `${joined}${words}`);
    return h("li", {}, button, ...(node.children.length ? [h("ul", {}, node.children.map(item))] : []));
  };
  if (!roots.length) return h("p", { className: "quiet small" }, t("noTree"));
  return h("ul", { className: "tree" }, roots.map(item));
}
