// Tile of one source: its newest image with the faces drawn over it, its state and its figures.

import { colourOf, drawFaces } from "./drawing.js";
import { STATES, count, dress, fps, milliseconds, nextAttempt } from "./format.js";

const DIMMED = 0.3; // opacity of a dimmed image
const SPOKEN = 3000; // milliseconds between two descriptions of the image for screen readers

const TITLES = {
  connecting: "Connecting", stalled: "No new images", reconnecting: "Connection lost", paused: "Paused", ended: "Ended",
};

export class Tile {
  #canvas; #context; #parts = {}; #frame = null; #image = null; #decoding = false; #next = null; #spoken = 0;

  /** Build the element; `on` has the functions `pause`, `enlarge` and `remove`, called with the tile. */
  constructor(name, template, on) {
    this.name = name;
    this.status = null;
    this.element = template.content.firstElementChild.cloneNode(true);
    this.element.dataset.source = name;
    this.#canvas = this.element.querySelector("canvas");
    this.#context = this.#canvas.getContext("2d");
    this.#find("h2").textContent = name;
    this.#find("h2").id = `source-${name}`;
    this.element.setAttribute("aria-labelledby", `source-${name}`);
    for (const button of this.element.querySelectorAll("[data-do]")) {
      button.onclick = () => on[button.dataset.do](this);
    }
    dress(this.#button("remove"), "remove", `Remove ${name}`);
    this.setEnlarged(false);
    this.#describe("no image yet");
  }

  /** Width of the image in pixels of the screen. */
  get width() {
    return Math.round(this.#canvas.clientWidth * devicePixelRatio);
  }

  setEnlarged(isEnlarged) {
    this.element.classList.toggle("enlarged", isEnlarged);
    this.#button("enlarge").setAttribute("aria-pressed", isEnlarged);
    dress(this.#button("enlarge"), isEnlarged ? "shrink" : "enlarge", `${isEnlarged ? "Shrink" : "Enlarge"} ${this.name}`);
  }

  /** Show the status of the source; `now` is the time of the server in Unix seconds. */
  setStatus(status, now) {
    const isNew = this.status?.state !== status.state || this.status?.reason !== status.reason;
    this.status = status;
    const state = this.#find(".state");
    state.dataset.state = this.element.dataset.state = status.state;
    state.textContent = STATES[status.state];
    this.#find("h2").title = status.address;
    const isPaused = status.state === "paused";
    dress(this.#button("pause"), isPaused ? "resume" : "pause", `${isPaused ? "Resume" : "Pause"} ${this.name}`);
    this.#button("pause").disabled = status.state === "ended";
    const notice = this.#find(".notice");
    notice.hidden = status.state === "live";
    const isFirst = status.state === "reconnecting" && status.frames === 0;
    notice.querySelector("strong").textContent = isFirst ? "Cannot connect" : TITLES[status.state] ?? "";
    notice.querySelector(".reason").textContent = status.reason;
    this.countDown(now);
    if (status.width) this.#find(".view").style.aspectRatio = `${status.width} / ${status.height}`;
    const { latency } = status;
    const figures = {
      fps: fps(status.fps), p50: milliseconds(latency?.p50), p95: milliseconds(latency?.p95),
      p99: milliseconds(latency?.p99), dropped: count(status.dropped), reconnects: count(status.reconnects),
    };
    for (const [name, text] of Object.entries(figures)) this.#find(`[data-figure="${name}"]`).textContent = text;
    if (status.state !== "live") this.#showFaces([]);
    if (isNew && status.state !== "live") this.#describe(STATES[status.state].toLowerCase());
  }

  /** Show the seconds until the next attempt to connect. */
  countDown(now) {
    if (this.status) this.#find(".next").textContent = nextAttempt(this.status.next_attempt, now);
  }

  /** Take a frame; `drawn` is called once it is shown. Of frames that come too fast, the newest wins. */
  async take(header, blob, lines, drawn) {
    this.#next = { header, blob, lines, drawn };
    if (this.#decoding) return;
    this.#decoding = true;
    try {
      while (this.#next) {
        const frame = this.#next;
        this.#next = null;
        const image = frame.blob && (await createImageBitmap(frame.blob).catch(() => null));
        this.#image?.close();
        this.#image = image;
        this.#frame = frame;
        await new Promise(requestAnimationFrame); // stops in a hidden tab, and the server with it
        this.draw();
        this.#showFaces(frame.header.faces);
        frame.drawn();
      }
    } finally {
      this.#decoding = false;
    }
  }

  /** Draw the newest frame again if `parts` have changed. */
  draw(parts = this.#parts) {
    this.#parts = parts;
    if (!this.#frame) return;
    const { header, lines } = this.#frame;
    const ratio = devicePixelRatio, box = this.#canvas.getBoundingClientRect();
    const fit = Math.min(box.width / header.width, box.height / header.height) || 0.5;
    const width = Math.max(Math.round(header.width * fit * ratio), 1);
    const height = Math.max(Math.round(header.height * fit * ratio), 1);
    if (this.#canvas.width !== width || this.#canvas.height !== height) Object.assign(this.#canvas, { width, height });
    const context = this.#context;
    context.globalAlpha = 1;
    context.fillStyle = "#0a0d12";
    context.fillRect(0, 0, width, height);
    if (this.#image && parts.image !== "hidden") {
      context.globalAlpha = parts.image === "dimmed" ? DIMMED : 1;
      context.drawImage(this.#image, 0, 0, width, height);
      context.globalAlpha = 1;
    }
    drawFaces(context, header.faces, { scale: width / header.width, ratio, lines, parts });
    this.element.dataset.frame = header.frame;
  }

  #showFaces(faces) {
    const list = this.#find(".faces");
    const key = faces.map((face) => face.id).join() || "none";
    if (list.dataset.key !== key) {
      list.dataset.key = key;
      list.replaceChildren(...(faces.length ? faces.map(chip) : [none()]));
    }
    faces.forEach((face, place) => {
      list.children[place].lastChild.data = ` ${Math.round(100 * face.score)} %`;
    });
    if (faces.length && performance.now() - this.#spoken > SPOKEN) {
      this.#describe(faces.length === 1 ? "1 face" : `${faces.length} faces`);
    }
  }

  #describe(text) {
    this.#spoken = performance.now();
    this.#canvas.setAttribute("aria-label", `Image of ${this.name}: ${text}`);
  }

  #button(name) {
    return this.#find(`[data-do="${name}"]`);
  }

  #find(selector) {
    return this.element.querySelector(selector);
  }
}

function chip(face) {
  const item = document.createElement("li"), dot = document.createElement("i"), name = document.createElement("b");
  dot.style.setProperty("--colour", colourOf(face.id));
  name.textContent = `Face ${face.id}`;
  item.append(dot, name, "");
  return item;
}

function none() {
  const item = document.createElement("li");
  item.className = "none";
  item.append("No faces", "");
  return item;
}
