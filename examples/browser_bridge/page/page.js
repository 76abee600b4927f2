// Starts a generation and shows it. The address of the page names it (#CURSOR), so a reload and a second tab read
// the same one. Reconnecting is the browser's: EventSource sends the id of the last event, which is a cursor.

import { Plot } from "./plot.js";

const at = (id) => document.getElementById(id);
const plot = new Plot(at("plot"), at("scale"));
let source = null;
let begin = null; // when this page asked for the generation, in ms
let tokens = 0;
let reconnects = 0;

function show(state, problem = "") {
  document.body.dataset.state = state;
  at("state").textContent = state;
  at("cut").disabled = state !== "streaming";
  at("problem").textContent = problem;
  at("problem").hidden = !problem;
}

function reset() {
  source?.close();
  plot.clear();
  tokens = reconnects = 0;
  at("text").textContent = "";
  at("first").textContent = at("rate").textContent = "–";
  at("tokens").textContent = at("reconnects").textContent = "0";
}

function read(cursor) {
  reset();
  show("connecting");
  source = new EventSource(`stream?cursor=${encodeURIComponent(cursor)}`);
  source.onopen = () => show("streaming");
  source.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if (tokens === 0 && begin !== null) showFirst(performance.now() - begin);
    for (const token of message.tokens) {
      tokens += token.count;
      plot.add(token.count, token.at);
    }
    at("text").append(message.text);
    at("tokens").textContent = tokens;
    plot.draw();
    if (plot.rate !== null) at("rate").textContent = plot.rate.toFixed(1);
  };
  source.onerror = () => {
    // A response that is no event stream ends it: the browser does not reconnect then.
    if (source.readyState === EventSource.CLOSED) return show("failed", "The bridge refused the stream.");
    at("reconnects").textContent = ++reconnects;
    show("reconnecting");
  };
  source.addEventListener("finished", (event) => {
    source.close();
    const end = JSON.parse(event.data);
    if (at("first").textContent === "–" && end.first_token_ms !== null) showFirst(end.first_token_ms);
    show("finished");
    at("tokens").textContent = end.output_tokens;
    at("state").append(` (${end.finish_reason})`);
  });
  source.addEventListener("failed", (event) => {
    source.close();
    const failure = JSON.parse(event.data);
    show("failed", `${failure.reason}: ${failure.message}`);
  });
}

function showFirst(ms) {
  at("first").textContent = `${Math.round(ms)} ms`;
}

async function start(prompt) {
  begin = performance.now();
  reset();
  show("starting");
  const response = await fetch("generations", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ prompt }),
  });
  const answer = await response.json();
  if (!response.ok) return show("failed", `${answer.reason}: ${answer.message}`);
  history.pushState(null, "", `#${answer.cursor}`);
  read(answer.cursor);
}

function readAddress() {
  begin = null;
  const cursor = decodeURIComponent(location.hash.slice(1));
  if (cursor) read(cursor);
}

at("start").addEventListener("submit", (event) => {
  event.preventDefault();
  start(new FormData(event.target).get("prompt")).catch((error) => show("failed", String(error)));
});
at("cut").addEventListener("click", () => {
  fetch(`cut?cursor=${encodeURIComponent(decodeURIComponent(location.hash.slice(1)))}`, { method: "POST" });
});
addEventListener("popstate", readAddress);
readAddress();
