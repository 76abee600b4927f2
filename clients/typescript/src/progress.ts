import { type Finished, FinishReason, type Started, type ToolCall, type Usage } from "@tokengrpc/tokenstreaming-v1";

import { Assembler } from "./assembler.js";

/** What is known of a generation, while its stream is read and afterwards; what is not known yet is empty. */
export abstract class Progress {
  protected assembler: Assembler;

  constructor(after: number) {
    this.assembler = new Assembler(after);
  }

  /** The answer so far. */
  get text(): string {
    return this.assembler.text;
  }

  /** The model's reasoning so far. */
  get reasoningText(): string {
    return this.assembler.reasoningText;
  }

  /** The model's refusal so far. */
  get refusalText(): string {
    return this.assembler.refusalText;
  }

  /** The tool calls so far, in order; whole once the generation has finished. */
  get toolCalls(): ToolCall[] {
    return this.assembler.toolCalls;
  }

  /** Cumulative usage as of the last event; undefined before the first. */
  get usage(): Usage | undefined {
    return this.assembler.usage;
  }

  /** The last event that arrived: the cursor for resuming. */
  get sequence(): number {
    return this.assembler.sequence;
  }

  /** Which model and engine run it; undefined until an engine has accepted. */
  get started(): Started | undefined {
    return this.assembler.started;
  }

  /** How the generation ended; undefined until it has. */
  get finish(): Finished | undefined {
    return this.assembler.finish;
  }

  /** As the contract names it: `END`, `MAX_TOKENS`, …; its number when only the server knows it. */
  get finishReason(): string {
    const reason = this.finish?.finishReason;
    return reason === undefined ? "" : (FinishReason[reason] ?? String(reason));
  }
}
