// Puts the messages of a generation's calls together: each event once, in order, without gaps. No I/O.

import { create } from "@bufbuild/protobuf";
import {
  type Finished,
  FinishReason,
  type Started,
  type StreamTokensResponse,
  type ToolCall,
  ToolCallSchema,
  type Usage,
} from "@tokengrpc/tokenstreaming-v1";

import { Code, TokenStreamError } from "./errors.js";

/** What has arrived of a generation; what is not known yet is empty. */
export class Answer {
  text = "";
  reasoningText = "";
  refusalText = "";
  /** Cumulative usage as of the last event. */
  usage: Usage | undefined;
  /** Which model and engine run it. */
  started: Started | undefined;
  /** How it ended. */
  finish: Finished | undefined;
  /** Whether any token or tool call has arrived. */
  hasOutput = false;
  readonly #calls = new Map<number, ToolCall>();
  #nextIndex: number | undefined;

  /** `sequence` is the last event that arrived: the cursor for resuming. */
  constructor(public sequence = 0) {
    this.#nextIndex = sequence === 0 ? 0 : undefined;
  }

  /** Begins anew, when no output has come. */
  restart(): void {
    this.sequence = this.#nextIndex = 0;
    this.usage = this.started = undefined;
  }

  /**
   * The tool calls so far, in order; complete once the generation has finished. Send them back unchanged when the
   * conversation continues: an engine may require their `opaque`.
   */
  get toolCalls(): ToolCall[] {
    return [...this.#calls].sort(([a], [b]) => a - b).map(([, call]) => call);
  }

  /** As the contract names it: `END`, `MAX_TOKENS`, …; its number when only the server knows it. */
  get finishReason(): string {
    const reason = this.finish?.finishReason;
    return reason === undefined ? "" : (FinishReason[reason] ?? String(reason));
  }

  /** Takes a message in; whether it is new, as notices always are. Throws STREAM_GAP when something is missing before it. */
  add({ event, notice, sequence, tokens, toolCallFragments, usage }: StreamTokensResponse): boolean {
    if (notice.case) return true;
    if (sequence <= this.sequence || this.finish) return false;
    if (event.case && sequence !== this.sequence + 1) throw gap(`event ${sequence} came after event ${this.sequence}`);
    for (const token of tokens) {
      const due = this.#nextIndex ?? token.index;
      if (token.index !== due) throw gap(`token ${token.index} came where token ${due} was due`);
      this.#nextIndex = token.index + token.count;
      this.text += token.text;
      this.reasoningText += token.reasoningText;
      this.refusalText += token.refusalText;
    }
    for (const { callIndex, id, functionName, argumentsFragment, opaque } of toolCallFragments) {
      const call = this.#calls.get(callIndex) ?? create(ToolCallSchema);
      this.#calls.set(callIndex, call);
      call.id ||= id;
      call.functionName ||= functionName;
      call.arguments += argumentsFragment;
      if (opaque.length > 0) call.opaque = opaque;
    }
    this.hasOutput ||= tokens.length + toolCallFragments.length > 0;
    if (usage) this.usage = usage;
    if (event.case === "started") this.started = event.value;
    if (event.case === "finished") this.finish = event.value;
    // An event that only a newer server knows has been processed, too.
    this.sequence = sequence;
    return true;
  }
}

function gap(what: string): TokenStreamError {
  return new TokenStreamError(`the stream has a gap (${what})`, { code: Code.DATA_LOSS, reason: "STREAM_GAP" });
}
