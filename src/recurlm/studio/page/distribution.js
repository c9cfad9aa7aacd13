// The next token's distribution as bars: the model's own above, what the options of sampling make of it below.
import { h, post, share, shownToken } from "./dom.js";
import { t } from "./words.js";

export const LIKELIEST = 12;

export const nextToken = (model, ids, options) =>
  post("/distribution", { model, prompt: ids, likeliest: LIKELIEST, ...options });

// The ids of a prompt. Throws where it has words that the model does not know.
export async function idsOf(model, prompt) {
  const { tokens, unknown } = await post("/tokenize", { model, prompt });
  const words = unknown.map((word) => `“${word}”`).join(", ");
  if (words) throw new Error(t("unknownWords").replace("{words}", words));
  return tokens;
}

// Runs some work; while it runs, further calls are kept back, and only the last of them is made up for.
export function latest(work) {
  let running = false, wanted = false;
  return async function again() {
    wanted = true;
    if (running) return;
    running = true;
    while (wanted) {
      wanted = false;
      await work();
    }
    running = false;
  };
}

function bar(kind, value, most) {
  const filled = h("b", { className: kind });
  filled.style.width = `${(100 * value) / most}%`;
  return h("span", { className: "bar" }, filled);
}

function row({ token, probability, drawn }, { most, names }, here, onpick) {
  const cut = drawn === 0;
  const word = shownToken(token, names);
  const after = cut ? t("neverDrawn") : `${t("drawn")} ${share(drawn)}`;
  const told = `${word}: ${t("modelSays")} ${share(probability)}, ${after}`;
  return h("button", {
    className: `guess next ${here ? "here" : ""} ${cut ? "cut" : ""}`,
    title: told,
    "aria-label": told,
    "aria-current": here ? "true" : null,
    onclick: onpick,
  },
  h("span", {}, word),
  h("span", { className: "bars" }, bar("own", probability, most), bar("drawn", drawn, most)),
  h("span", { className: "number quiet" }, share(probability)),
  h("span", { className: "number" }, cut ? "–" : share(drawn)));
}

// found: what `/distribution` answers; names: as `shownToken` takes them; current: the token that stands here, if any;
// onpick(entry) goes on with another
export function bars(found, names, current, onpick) {
  const most = Math.max(...found.tokens.map(({ probability, drawn }) => Math.max(probability, drawn)));
  const head = h("div", { className: "guess next quiet", "aria-hidden": "true" },
    h("span", {}, ""), h("span", {}, ""),
    h("span", { className: "number" }, t("modelSays")), h("span", { className: "number" }, t("drawn")));
  const counted = t("drawable")
    .replace("{some}", found.drawable.toLocaleString("en"))
    .replace("{all}", found.vocabulary.toLocaleString("en"));
  return [
    head,
    ...found.tokens.map((each) => row(each, { most, names }, each.token === current, () => onpick(each))),
    h("p", { className: "quiet small", role: "status" }, counted),
  ];
}
