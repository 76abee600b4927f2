// Shows the progress of a stream as one line on stderr, without disturbing the text on stdout.

import type { TokenStream } from "@tokengrpc/client";
import { UsageSource } from "@tokengrpc/client/stubs";

const intervalMs = 100;

/** Progress line of a stream. It is updated until `stop()` is called; the last line stays. */
export class Progress {
  readonly #begin = performance.now();
  readonly #timer: NodeJS.Timeout | undefined;
  #firstTokenMs: number | undefined;

  constructor(readonly stream: TokenStream) {
    // If stdout is a terminal, redrawing a line would break up the text, so the progress goes to the terminal's
    // title. If stderr is a file or a pipe, only the last line is written.
    if (process.stderr.isTTY) this.#timer = setInterval(() => this.#draw(), intervalMs);
  }

  /** Records the arrival of a token. */
  token(): void {
    this.#firstTokenMs ??= this.#elapsedMs;
  }

  stop(): void {
    clearInterval(this.#timer);
    const clear = process.stderr.isTTY ? "\r\x1b[2K" : "";
    process.stderr.write(`${clear}${this.#line}\n`);
  }

  get #elapsedMs(): number {
    return performance.now() - this.#begin;
  }

  #draw(): void {
    process.stderr.write(process.stdout.isTTY ? `\x1b]0;${this.#line}\x07` : `\r\x1b[2K${this.#line}`);
  }

  get #line(): string {
    const { finishReason, resumes, usage } = this.stream;
    const first = this.#firstTokenMs;
    const output = usage?.outputTokenCount ?? 0;
    const facts = [usage ? `${usage.inputTokenCount} tokens read, ${output} written` : "waiting for the engine"];
    facts.push(`${(this.#elapsedMs / 1_000).toFixed(1)} s`);
    if (first !== undefined) {
      facts.push(`first token after ${first.toFixed(0)} ms`);
      const rate = (output - 1) / ((this.#elapsedMs - first) / 1_000);
      if (output > 1) facts.push(`${rate.toFixed(0)} tokens/s`);
    }
    if (resumes > 0) facts.push(`resumed ${resumes} times`);
    if (finishReason) facts.push(finishReason, `counted by ${UsageSource[usage?.source ?? 0]}`);
    return facts.join(" · ");
  }
}
