// The one event stream of this tab: follows the metrics of a run, and rests while the tab is hidden.
import { events, request } from "./dom.js";

let source = null, followed = null;

export function follow(name, listener) {
  if (followed && followed.name === name) { followed.listener = listener; listener(followed.entries, followed.ended); return; }
  unfollow();
  followed = { name, listener, entries: [], line: 0, ended: null };
  open();
}
export function unfollow() {
  close();
  followed = null;
}
function close() {
  if (source) source.close();
  source = null;
}
function open() {
  const run = followed;
  source = new EventSource(`/runs/${encodeURIComponent(run.name)}/metrics?after=${run.line}`);
  source.onmessage = (event) => { run.line = Number(event.lastEventId); run.entries.push(JSON.parse(event.data)); run.listener(run.entries, null); };
  source.addEventListener("reset", () => { run.entries = []; run.line = 0; });
  source.addEventListener("end", (event) => { run.ended = JSON.parse(event.data).state; close(); run.listener(run.entries, run.ended); });
}
document.addEventListener("visibilitychange", () => {
  if (!followed || followed.ended) return;
  if (document.hidden) close();
  else if (!source) open();
});

export async function wholeRun(name) {
  const entries = [];
  for await (const event of events(await request("GET", `/runs/${encodeURIComponent(name)}/metrics?follow=false`))) {
    if (event.kind === "message") entries.push(event.value);
  }
  return entries;
}
