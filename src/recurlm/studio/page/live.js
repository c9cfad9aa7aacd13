// The one event stream of this tab: follows the metrics of a run, and rests while the tab is hidden.
// A browser opens six connections to one address, for all its tabs together. So at most four tabs hold a stream;
// a further one asks again and again.
import { events, request } from "./dom.js";

const STREAMS = ["recurlm-stream-1", "recurlm-stream-2", "recurlm-stream-3", "recurlm-stream-4"];
const PAUSE = 2000;
let followed = null, stop = null;

export function follow(name, listener) {
  if (followed && followed.name === name) {
    followed.listener = listener;
    listener(followed.entries, followed.ended);
    return;
  }
  unfollow();
  followed = { name, listener, entries: [], line: 0, ended: null };
  if (!document.hidden) open();
}
export function unfollow() {
  close();
  followed = null;
}

function close() {
  if (stop) stop();
  stop = null;
}
function open() {
  const run = followed, ending = new AbortController();
  stop = () => ending.abort();
  keepUp(run, ending.signal);
}

async function keepUp(run, signal) {
  while (!signal.aborted && !run.ended) {
    try {
      await inTurn(STREAMS, run, signal);
    } catch { /* the run may not exist yet, or the studio is away: try again */ }
    await new Promise((resolve) => { setTimeout(resolve, PAUSE); });
  }
}

// Streams under the first lock that no other tab holds; asks once where there is none.
async function inTurn([name, ...others], run, signal) {
  if (signal.aborted) return;
  if (name === undefined) {
    await ask(run, signal);
    return;
  }
  const isDone = await navigator.locks.request(name, { ifAvailable: true }, async (lock) => {
    if (lock) await streaming(run, signal);
    return lock !== null;
  });
  if (!isDone) await inTurn(others, run, signal);
}

function streaming(run, signal) {
  const source = new EventSource(address(run));
  return new Promise((resolve) => {
    const end = () => { source.close(); resolve(); };
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
    source.onmessage = (event) => take(run, Number(event.lastEventId), JSON.parse(event.data));
    source.onerror = () => { if (source.readyState === EventSource.CLOSED) end(); };
    source.addEventListener("reset", () => restart(run));
    source.addEventListener("end", (event) => { end(); finish(run, JSON.parse(event.data).state); });
  });
}

async function ask(run, signal) {
  for await (const { kind, id, value } of events(await request("GET", `${address(run)}&follow=false`))) {
    if (signal.aborted) return;
    if (kind === "message") take(run, id, value);
    else if (kind === "reset") restart(run);
    else if (value.state !== "running") finish(run, value.state);
  }
}

const address = (run) => `/runs/${encodeURIComponent(run.name)}/metrics?after=${run.line}`;
function take(run, line, entry) {
  run.line = line;
  run.entries.push(entry);
  run.listener(run.entries, null);
}
function restart(run) {
  run.entries = [];
  run.line = 0;
}
function finish(run, state) {
  run.ended = state;
  run.listener(run.entries, run.ended);
}

document.addEventListener("visibilitychange", () => {
  if (!followed || followed.ended) return;
  if (document.hidden) close();
  else if (!stop) open();
});

export async function wholeRun(name) {
  const entries = [];
  const answer = await request("GET", `/runs/${encodeURIComponent(name)}/metrics?follow=false`);
  for await (const event of events(answer)) if (event.kind === "message") entries.push(event.value);
  return entries;
}
