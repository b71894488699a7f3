// Plot of the last minutes: one line for each source, with the values under the pointer.

const SPACE = 34, BOTTOM = 20; // pixels for the numbers
const SVG = "http://www.w3.org/2000/svg";
const COLOURS = ["#2f7de1", "#e8710a", "#12a150", "#c2368f", "#8a63d2", "#00a3a3", "#c9a400", "#d64545", "#6b8e23", "#8d6e63"];

/** Return the colour of the source at a place in the list. */
export const lineColour = (place) => COLOURS[place % COLOURS.length];

export class Plot {
  #box; #svg; #tip; #value; #show; #samples = []; #names = []; #seconds = 60; #pointer = null;

  /** Build the plot in `box`; `value` returns the number of a sample's source, `show` writes it. */
  constructor(box, title, value, show) {
    Object.assign(this, { chosen: null });
    this.#box = box;
    this.#value = value;
    this.#show = show;
    this.#svg = element("svg", { role: "img", "aria-label": title });
    this.#tip = document.createElement("div");
    this.#tip.className = "tip";
    this.#tip.hidden = true;
    box.append(this.#svg, this.#tip);
    box.onpointermove = (event) => this.#point(event.clientX);
    box.onpointerleave = () => this.#point(null);
    new ResizeObserver(() => this.#draw()).observe(box);
  }

  /** Draw the samples of the last `seconds` of the sources `names`. */
  set(samples, names, seconds) {
    this.#samples = samples;
    this.#names = names;
    this.#seconds = seconds;
    this.#draw();
  }

  #point(x) {
    this.#pointer = x;
    this.#draw();
  }

  #draw() {
    const { width, height } = this.#box.getBoundingClientRect();
    if (!width) return;
    const end = this.#samples.at(-1)?.at ?? 0, begin = end - this.#seconds;
    const shown = this.#samples.filter((sample) => sample.at >= begin);
    const values = shown.flatMap((sample) => this.#names.map((name) => this.#value(sample, name) ?? 0));
    const step = stepOf(Math.max(...values, 1)), top = Math.max(Math.ceil(Math.max(...values, 1) / step), 1) * step;
    const place = (at) => SPACE + ((at - begin) / this.#seconds) * (width - SPACE - 4);
    const level = (value) => height - BOTTOM - (value / top) * (height - BOTTOM - 8);
    const parts = [];
    for (let value = 0; value <= top + step / 2; value += step) {
      parts.push(element("line", { class: "grid", x1: SPACE, x2: width, y1: level(value), y2: level(value) }));
      parts.push(text(SPACE - 6, level(value) + 4, "end", String(+value.toFixed(3))));
    }
    for (const share of [0, 0.5, 1]) {
      const ago = this.#seconds * (1 - share);
      parts.push(text(place(end - ago), height - 4, ["start", "middle", "end"][2 * share], ago ? `−${ago >= 60 ? `${ago / 60} min` : `${ago} s`}` : "now"));
    }
    this.#names.forEach((name, number) => {
      for (const run of this.#runs(shown, name)) {
        const points = run.map(([at, value]) => `${place(at).toFixed(1)},${level(value).toFixed(1)}`).join(" ");
        const line = element("polyline", { points: run.length > 1 ? points : `${points} ${points}` });
        line.style.stroke = lineColour(number);
        line.classList.toggle("shown", name === this.chosen);
        parts.push(line);
      }
    });
    this.#box.classList.toggle("one", this.chosen !== null);
    parts.push(...this.#cursor(shown, place, height));
    this.#svg.replaceChildren(...parts);
  }

  /** Yield the runs of samples in which a source has values. */
  *#runs(samples, name) {
    let run = [];
    for (const sample of samples) {
      const value = this.#value(sample, name);
      if (value == null || (run.length && sample.at - run.at(-1)[0] > 3)) {
        if (run.length) yield run;
        run = [];
      }
      if (value != null) run.push([sample.at, value]);
    }
    if (run.length) yield run;
  }

  #cursor(samples, place, height) {
    this.#tip.hidden = this.#pointer === null || !samples.length;
    if (this.#tip.hidden) return [];
    const left = this.#box.getBoundingClientRect().left;
    const near = samples.reduce((a, b) => (Math.abs(place(b.at) + left - this.#pointer) < Math.abs(place(a.at) + left - this.#pointer) ? b : a));
    const x = place(near.at);
    const rows = this.#names.filter((name) => this.#value(near, name) != null);
    this.#tip.replaceChildren(
      ...[new Date(1000 * near.at).toLocaleTimeString("en-GB"), ...rows.map((name) => `${name}: ${this.#show(this.#value(near, name))}`)].map((line) => {
        const row = document.createElement("div");
        row.textContent = line;
        return row;
      }),
    );
    const isRight = x > this.#box.clientWidth / 2;
    this.#tip.style.left = isRight ? "auto" : `${x + 10}px`;
    this.#tip.style.right = isRight ? `${this.#box.clientWidth - x + 10}px` : "auto";
    return [element("line", { class: "cursor", x1: x, x2: x, y1: 0, y2: height - BOTTOM })];
  }
}

/** Return a round step with at most five of them up to `most`. */
function stepOf(most) {
  const unit = 10 ** Math.floor(Math.log10(most / 4));
  return [1, 2, 2.5, 5, 10].map((factor) => factor * unit).find((step) => most / step <= 4.5);
}

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function text(x, y, anchor, content) {
  const made = element("text", { x, y, "text-anchor": anchor });
  made.textContent = content;
  return made;
}
