// A heat map: a mark per token, the colour of its surprisal or of two models' difference.
import { h } from "./dom.js";

export const FULL = 16; // bits at which the ramp ends
const FULL_DIFFERENCE = 6;

export const bits = (logprob) => (logprob === null || logprob === undefined ? null : -logprob / Math.LN2);

// The lines of one score, each token beside that of the other score; null beside it where there is none.
export function paired([first, second]) {
  const beside = (line, at) => (second ? second.lines[line].tokens[at] : null);
  return first.lines.map((line, number) => line.tokens.map((token, at) => [token, beside(number, at)]));
}
export const areAlike = ([first, second]) =>
  first.lines.every((line, index) => line.tokens.length === second.lines[index].tokens.length);

function mixed(color, amount) {
  const share = Math.round(85 * Math.min(1, Math.max(0, amount)));
  return `color-mix(in oklab, var(${color}) ${share}%, transparent)`;
}

// The mark of a token; name: as it is shown · number: its place in the text.
export function mark(token, name, other, number) {
  const span = h("span", { "data-at": number, className: token.token === "<eos>" ? "end" : "" }, name);
  const value = bits(token.logprob), against = other && bits(other.logprob);
  if (value === null) return span;
  if (other === null) span.style.backgroundColor = mixed("--heat", value / FULL);
  else if (against !== null) {
    const color = value > against ? "--cold" : "--heat";
    span.style.backgroundColor = mixed(color, Math.abs(value - against) / FULL_DIFFERENCE);
  }
  return span;
}

const HEAD = ["line", "position", "token", "id", "logprob", "surprisal", "entropy", "rank", "oov"];
function cell(value) {
  if (value === null || value === undefined) return "NA";
  const text = String(value);
  return /["\t\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// The table of `recurlm score --format tsv --log-base 2`, with entropy and rank; logarithms are in bits.
export function table(scores) {
  const [first, second] = scores;
  const rows = [[...HEAD, ...(second ? [`surprisal_${second.model}`] : [])]];
  paired(scores).forEach((line, index) => line.forEach(([token, other], at) => {
    const value = bits(token.logprob), entropy = bits(token.entropy);
    rows.push([
      first.lines[index].line, at + 1, token.token, token.id, value === null ? null : -value, value,
      entropy === null ? null : -entropy, token.rank, Number(token.oov),
      ...(second ? [bits(other && other.logprob)] : []),
    ]);
  }));
  return rows.map((row) => `${row.map(cell).join("\t")}\n`).join("");
}
