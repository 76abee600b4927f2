// A live plot of tokens per second, made of the times at which the server had each token.

const WIDTH = 600;
const HEIGHT = 120;
const STEP = 250; // ms of one point

export class Plot {
  #path;
  #scale;
  #begin = 0;
  #counts = [];

  constructor(svg, scale) {
    this.#path = svg.querySelector("path");
    this.#scale = scale;
  }

  clear() {
    this.#counts = [];
    this.draw();
  }

  // Adds so many tokens, which the server had at a time in ms. Call `draw` after the last one.
  add(tokens, at) {
    if (this.#counts.length === 0) this.#begin = at;
    const step = Math.floor((at - this.#begin) / STEP);
    while (this.#counts.length <= step) this.#counts.push(0);
    this.#counts[step] += tokens;
  }

  // Tokens per second over the last second, or since the first token if that is shorter.
  get rate() {
    // The last step is not over yet.
    const last = this.#counts.slice(0, -1).slice(-1000 / STEP);
    const sum = last.reduce((all, count) => all + count, 0);
    return last.length === 0 ? null : (sum * 1000) / (last.length * STEP);
  }

  draw() {
    // All whole steps, and the current one only while it is the first.
    const counts = this.#counts.length > 1 ? this.#counts.slice(0, -1) : this.#counts;
    const top = Math.max(1, ...counts) * 1.1;
    const x = (index) => (index * WIDTH) / Math.max(1, counts.length - 1);
    const y = (count) => HEIGHT - (count * HEIGHT) / top;
    this.#path.setAttribute(
      "d",
      counts.map((count, index) => `${index ? "L" : "M"}${x(index).toFixed(1)} ${y(count).toFixed(1)}`).join(""),
    );
    this.#scale.textContent = counts.length ? `highest ${Math.round((Math.max(...counts) * 1000) / STEP)}` : "";
  }
}
