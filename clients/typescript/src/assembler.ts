// Puts the messages of a generation's streams together: each event once, in order, without gaps. No I/O.

import { create } from "@bufbuild/protobuf";
import {
  type Finished,
  type Started,
  type StreamTokensResponse,
  type ToolCall,
  type ToolCallFragment,
  ToolCallSchema,
  type Usage,
} from "@tokengrpc/tokenstreaming-v1";

import { Code, TokenStreamError } from "./errors.js";

export class Assembler {
  text = "";
  reasoningText = "";
  refusalText = "";
  usage: Usage | undefined;
  started: Started | undefined;
  finish: Finished | undefined;
  /** Whether any token or tool call has arrived. */
  hasOutput = false;
  readonly #calls = new Map<number, ToolCall>();
  #nextIndex: number | undefined;

  /** Starts after a sequence: 0, or where an earlier reader stopped. */
  constructor(public sequence = 0) {
    this.#nextIndex = sequence === 0 ? 0 : undefined;
  }

  get toolCalls(): ToolCall[] {
    return [...this.#calls].sort(([a], [b]) => a - b).map(([, call]) => call);
  }

  /**
   * Takes a message in; whether it holds anything new, a notice included. Tokens that had arrived before are
   * removed from it. Throws STREAM_GAP when something is missing before it.
   */
  add(message: StreamTokensResponse): boolean {
    const { event, notice, sequence } = message;
    if (notice.case) return true;
    if (sequence <= this.sequence || this.finish) return false;
    if (event.case && sequence !== this.sequence + 1) {
      throw gap(`event ${sequence} came after event ${this.sequence}`);
    }
    this.#addTokens(message);
    for (const fragment of message.toolCallFragments) this.#addFragment(fragment);
    if (message.usage) this.usage = message.usage;
    if (event.case === "started") this.started = event.value;
    if (event.case === "finished") this.finish = event.value;
    // An event that only a newer server knows has been processed, too.
    this.sequence = sequence;
    return true;
  }

  #addTokens(message: StreamTokensResponse): void {
    let expected = this.#nextIndex;
    if (expected !== undefined) {
      const fresh = message.tokens.findIndex((token) => token.index >= expected!);
      message.tokens.splice(0, fresh < 0 ? message.tokens.length : fresh);
    }
    for (const token of message.tokens) {
      if (expected !== undefined && token.index !== expected) {
        throw gap(`token ${token.index} came where token ${expected} was due`);
      }
      expected = token.index + token.count;
      this.text += token.text;
      this.reasoningText += token.reasoningText;
      this.refusalText += token.refusalText;
      this.hasOutput = true;
    }
    this.#nextIndex = expected;
  }

  #addFragment({ callIndex, id, functionName, argumentsFragment }: ToolCallFragment): void {
    const call = this.#calls.get(callIndex) ?? create(ToolCallSchema);
    this.#calls.set(callIndex, call);
    call.id ||= id;
    call.functionName ||= functionName;
    call.arguments += argumentsFragment;
    this.hasOutput = true;
  }
}

function gap(what: string): TokenStreamError {
  return new TokenStreamError(`the stream has a gap (${what})`, { code: Code.DATA_LOSS, reason: "STREAM_GAP" });
}
