// The page of live feeds: tiles, figures, plots and events, from one connection.

import { Connection, call } from "./connection.js";
import { addDialog, removeDialog } from "./dialogs.js";
import { STATES, clock, count, dress, fps, milliseconds } from "./format.js";
import { Plot, lineColour } from "./plot.js";
import { Tile } from "./tile.js";

const RATE = 12, FAST = 30; // tiles of one source per second: of many sources, and of one or two
const MOST_EVENTS = 200;
const find = (id) => document.getElementById(id);

const tiles = new Map(), onScreen = new Set();
let schemes = {}, samples = [], order = [], enlarged = null, ahead = 0, minutes = 10, lastEvent = 0;

const plots = [
  new Plot(find("plot-fps"), "Frames tracked per second, by source", (sample, name) => sample.sources[name]?.[0], fps),
  new Plot(find("plot-latency"), "95th percentile of the latency, by source", (sample, name) => sample.sources[name]?.[1], milliseconds),
];
const askToRemove = removeDialog(find("remove-dialog"));
addDialog(find("add-dialog"), [find("add"), document.querySelector("[data-add]")]);

const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    onScreen[isIntersecting ? "add" : "delete"](target.dataset.source);
  }
  showView();
}, { rootMargin: "100px" });
const sizes = new ResizeObserver(() => {
  for (const tile of tiles.values()) tile.draw();
  showView();
});
sizes.observe(find("tiles"));

const connection = new Connection({
  state(state) {
    const pill = find("connection"), text = { open: "Connected", lost: "Server lost" }[state];
    pill.dataset.state = state;
    if (pill.textContent !== text) pill.textContent = text;
    document.body.dataset.connection = state;
  },
  hello(message) {
    ({ schemes, samples, minutes } = message);
    find("sign-out").hidden = !message.signed_in;
    lastEvent = 0;
    find("events").replaceChildren();
    addEvents(message.events, false);
  },
  status({ status, events }) {
    ahead = status.at - Date.now() / 1000;
    showSources(status.sources);
    showTotals(status);
    takeSample(status);
    if (events) addEvents(events, true);
  },
  tile(header, image) {
    const drawn = () => connection.seen(header.tile);
    const tile = tiles.get(header.source);
    if (tile) tile.take(header, image, schemes[header.scheme] ?? [], drawn);
    else drawn();
  },
});
setInterval(() => {
  for (const tile of tiles.values()) tile.countDown(now());
}, 500);

const now = () => Date.now() / 1000 + ahead; // the clock of the server

function showSources(sources) {
  const names = sources.map((source) => source.name);
  for (const [name, tile] of tiles) {
    if (names.includes(name)) continue;
    observer.unobserve(tile.element);
    onScreen.delete(name);
    if (tile === enlarged) enlarge(tile);
    const hadFocus = tile.element.contains(document.activeElement);
    tile.element.remove();
    tiles.delete(name);
    if (hadFocus) find("sources").focus();
  }
  for (const source of sources) {
    if (!tiles.has(source.name)) addTile(source.name);
    tiles.get(source.name).setStatus(source, now());
  }
  find("empty").hidden = sources.length > 0;
  if (order.join() !== names.join()) {
    order = names;
    showLegend();
    showView();
  }
  showFigures(sources);
}

function addTile(name) {
  const tile = new Tile(name, find("tile"), {
    pause: ({ name, status }) => act(call("PATCH", `api/sources/${encodeURIComponent(name)}`, { paused: status.state !== "paused" })),
    remove: ({ name }) => askToRemove(name),
    enlarge,
  });
  tiles.set(name, tile);
  tile.draw(parts());
  find("tiles").append(tile.element);
  observer.observe(tile.element);
}

/** Show one tile alone, or all again. */
function enlarge(tile) {
  enlarged = tile === enlarged ? null : tile;
  find("tiles").classList.toggle("one", enlarged !== null);
  for (const each of tiles.values()) each.setEnlarged(each === enlarged);
  showView();
}

function showTotals({ sources }) {
  const isLive = sources.filter((source) => source.state === "live");
  const latencies = isLive.map((source) => source.latency?.p95 ?? null).filter((value) => value !== null);
  find("total-sources").textContent = `${isLive.length} of ${sources.length} live`;
  find("total-faces").textContent = count(isLive.reduce((sum, source) => sum + source.faces, 0));
  find("total-fps").textContent = fps(isLive.reduce((sum, source) => sum + source.fps, 0));
  find("total-latency").textContent = milliseconds(latencies.length ? Math.max(...latencies) : null);
}

function showFigures(sources) {
  const body = find("figures");
  while (body.rows.length > sources.length) body.deleteRow(-1);
  sources.forEach((source, place) => {
    const row = body.rows[place] ?? newRow(body);
    const { latency } = source, digits = (value) => (value == null ? "–" : value.toFixed(1));
    const values = [
      STATES[source.state], fps(source.fps), digits(latency?.p50), digits(latency?.p95), digits(latency?.p99),
      count(source.frames), count(source.dropped), count(source.reconnects), count(source.faces), count(source.identities),
    ];
    row.cells[0].firstChild.data = source.name;
    row.cells[0].lastChild.textContent = source.address;
    values.forEach((value, column) => {
      if (row.cells[column + 1].textContent !== value) row.cells[column + 1].textContent = value;
    });
  });
}

function newRow(body) {
  const row = body.insertRow(), head = document.createElement("th");
  head.scope = "row";
  head.append("", document.createElement("small"));
  row.append(head);
  for (let column = 0; column < 10; column++) row.insertCell();
  return row;
}

function takeSample(status) {
  const sample = { at: status.at, sources: {} };
  for (const { name, fps, latency } of status.sources) sample.sources[name] = [fps, latency?.p95 ?? null];
  if (!samples.length || status.at - samples.at(-1).at > 0.75) samples.push(sample);
  while (samples.length && samples[0].at < status.at - 60 * minutes) samples.shift();
  showPlots();
}

function showPlots() {
  const length = 60 * Number(document.querySelector('[name="minutes"]:checked').value);
  for (const plot of plots) plot.set(samples, order, length);
}

function showLegend() {
  find("legend").replaceChildren(...order.map((name, place) => {
    const item = document.createElement("li"), button = document.createElement("button"), line = document.createElement("i");
    line.style.setProperty("--colour", lineColour(place));
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    button.append(line, name);
    button.onclick = () => {
      const isChosen = button.getAttribute("aria-pressed") === "true";
      for (const other of find("legend").querySelectorAll("button")) other.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-pressed", String(!isChosen));
      for (const plot of plots) plot.chosen = isChosen ? null : name;
      showPlots();
    };
    item.append(button);
    return item;
  }));
}

function addEvents(events, isNews) {
  for (const event of events) {
    if (event.number <= lastEvent) continue;
    lastEvent = event.number;
    const item = document.createElement("li"), time = document.createElement("time");
    const name = document.createElement("b"), text = document.createElement("span");
    time.dateTime = new Date(1000 * event.at).toISOString();
    time.textContent = clock(event.at);
    name.textContent = event.source;
    text.textContent = STATES[event.state] + (event.reason ? `: ${event.reason}` : "");
    item.append(time, name, text);
    find("events").prepend(item);
    if (isNews) find("news").textContent = `${event.source}: ${text.textContent}`;
  }
  while (find("events").children.length > MOST_EVENTS) find("events").lastElementChild.remove();
}

/** Return what the tiles show. */
function parts() {
  const checked = (name) => document.querySelector(`[name="${name}"]`).checked;
  const image = document.querySelector('[name="image"]:checked').value;
  return { image, landmarks: checked("landmarks"), lines: checked("lines"), boxes: checked("boxes") };
}

/** Ask the server for the tiles on the screen, as large as they are. */
function showView() {
  const names = (enlarged ? [enlarged.name] : order).filter((name) => onScreen.has(name));
  const widths = names.map((name) => tiles.get(name)?.width ?? 0);
  connection.show({
    sources: names, width: Math.max(...widths, 160), rate: names.length > 2 ? RATE : FAST,
    images: parts().image !== "hidden",
  });
}

async function act(promise) {
  try {
    await promise;
  } catch (error) {
    find("news").textContent = error.message;
    alertUser(error.message);
  }
}

function alertUser(text) {
  const pill = find("connection"), before = pill.textContent;
  pill.textContent = text;
  setTimeout(() => { pill.textContent = before; }, 4000);
}

document.querySelector(".controls").addEventListener("change", ({ target }) => {
  if (target.name === "size") find("tiles").dataset.size = target.value;
  for (const tile of tiles.values()) tile.draw(parts());
  remember();
  showView();
});
for (const input of document.querySelectorAll('[name="minutes"]')) input.onchange = showPlots;
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && enlarged && !document.querySelector("dialog[open]")) enlarge(enlarged);
});

// What the tiles show and the colours are kept in this browser.
function remember() {
  const chosen = { ...parts(), size: document.querySelector('[name="size"]:checked').value };
  localStorage.setItem("nasion-view", JSON.stringify(chosen));
}

function recall() {
  let kept = {};
  try {
    kept = JSON.parse(localStorage.getItem("nasion-view")) ?? {};
  } catch { /* not ours */ }
  for (const name of ["image", "size"]) {
    const input = document.querySelector(`[name="${name}"][value="${CSS.escape(kept[name] ?? "")}"]`);
    if (input) input.checked = true;
  }
  for (const name of ["landmarks", "lines", "boxes"]) {
    if (typeof kept[name] === "boolean") document.querySelector(`[name="${name}"]`).checked = kept[name];
  }
  find("tiles").dataset.size = document.querySelector('[name="size"]:checked').value;
}

const THEMES = { auto: "Colours: as the system", light: "Colours: light", dark: "Colours: dark" };

function setTheme(theme) {
  document.documentElement.style.colorScheme = { auto: "light dark" }[theme] ?? theme;
  dress(find("theme"), theme, THEMES[theme]);
  localStorage.setItem("nasion-theme", theme);
}

find("theme").onclick = () => {
  const names = Object.keys(THEMES), place = names.indexOf(find("theme").dataset.icon);
  setTheme(names[(place + 1) % names.length]);
};
recall();
setTheme(localStorage.getItem("nasion-theme") in THEMES ? localStorage.getItem("nasion-theme") : "auto");
