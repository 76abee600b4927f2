// Assembles the messages of all calls of a generation: each event once, in order, without gaps. No I/O.

import { crc32 } from "node:zlib";

import { create } from "@bufbuild/protobuf";
import {
  type Finished,
  FinishReason,
  type Started,
  type StreamTokensResponse,
  type Token,
  type ToolCall,
  type ToolCallFragment,
  ToolCallSchema,
  type Usage,
} from "#stubs";

import { Cursor, hex } from "./cursor.js";
import { checksumMismatch, streamGap } from "./localErrors.js";

/** The received part of a generation; fields without data yet are empty. */
export class Answer {
  text = "";
  reasoningText = "";
  refusalText = "";
  /** Cumulative usage as of the last event. */
  usage: Usage | undefined;
  /** The model and engine that run the generation. */
  started: Started | undefined;
  /** How the generation ended. */
  finish: Finished | undefined;
  /** Whether any token or tool call has arrived. */
  hasOutput = false;
  readonly generationId: string;
  /** The sequence of the last event received. */
  sequence: number;
  readonly #calls = new Map<number, ToolCall>();
  // Whether the answer begins with the generation. Otherwise the next two may be unknown until a message has them.
  readonly #whole: boolean;
  #nextIndex: number | undefined;
  #checksum: number | undefined;
  #logIncarnation: string;

  /** `cursor` is the position after which the answer begins. */
  constructor({ generationId, sequence, checksum, logIncarnation }: Cursor) {
    this.generationId = generationId;
    this.sequence = sequence;
    this.#whole = sequence === 0;
    this.#nextIndex = this.#whole ? 0 : undefined;
    this.#checksum = this.#whole ? 0 : checksum;
    this.#logIncarnation = logIncarnation;
  }

  /** The position after the last event received, from which any client can resume. */
  get cursor(): Cursor {
    const { generationId, sequence } = this;
    const checksum = this.hasOutput || !this.#whole ? this.#checksum : undefined;
    return new Cursor(generationId, { sequence, logIncarnation: this.#logIncarnation, checksum });
  }

  /** Resets the cursor for a new start of the generation; valid only while no output has arrived. */
  restart(): void {
    this.sequence = this.#nextIndex = this.#checksum = 0;
    this.#logIncarnation = "";
    this.usage = this.started = undefined;
  }

  /**
   * The tool calls so far, in order; complete once the generation has finished. Send them back unchanged when the
   * conversation continues: an engine may require their `opaque`.
   */
  get toolCalls(): ToolCall[] {
    return [...this.#calls].sort(([a], [b]) => a - b).map(([, call]) => call);
  }

  /** The contract's name, such as `END` or `MAX_TOKENS`; an unknown reason's number; empty until the end. */
  get finishReason(): string {
    const reason = this.finish?.finishReason;
    return reason === undefined ? "" : (FinishReason[reason] ?? String(reason));
  }

  /**
   * Adds a message and returns whether it is new; notices always are. Throws STREAM_GAP if data is missing, and
   * CHECKSUM_MISMATCH if the output so far is not the server's; the message is then not added.
   */
  add(message: StreamTokensResponse): boolean {
    const { event, notice, sequence, tokens, toolCallFragments, usage } = message;
    if (notice.case === "attached") this.#logIncarnation = notice.value.logIncarnation || this.#logIncarnation;
    if (notice.case) return true;
    if (sequence <= this.sequence || this.finish) return false;
    if (event.case && sequence !== this.sequence + 1) throw streamGap(`event ${sequence} follows event ${this.sequence}`);
    const nextIndex = indexAfter(tokens, this.#nextIndex);
    this.#checksum = checkedSum(message, this.#checksum);
    this.#nextIndex = nextIndex;
    for (const { text, reasoningText, refusalText } of tokens) {
      this.text += text;
      this.reasoningText += reasoningText;
      this.refusalText += refusalText;
    }
    for (const fragment of toolCallFragments) this.#addFragment(fragment);
    this.hasOutput ||= tokens.length + toolCallFragments.length > 0;
    if (usage) this.usage = usage;
    if (event.case === "started") {
      this.started = event.value;
      this.#logIncarnation = event.value.logIncarnation || this.#logIncarnation;
    }
    if (event.case === "finished") this.finish = event.value;
    // This includes kinds of events that only a newer server knows.
    this.sequence = sequence;
    return true;
  }

  #addFragment({ callIndex, id, functionName, argumentsFragment, opaque }: ToolCallFragment): void {
    const call = this.#calls.get(callIndex) ?? create(ToolCallSchema);
    this.#calls.set(callIndex, call);
    call.id ||= id;
    call.functionName ||= functionName;
    call.arguments += argumentsFragment;
    if (opaque.length > 0) call.opaque = opaque;
  }
}

/** Returns the index that must follow the tokens. Throws STREAM_GAP if they do not follow each other. */
function indexAfter(tokens: Token[], expected: number | undefined): number | undefined {
  for (const { index, count } of tokens) {
    if (index !== (expected ?? index)) throw streamGap(`expected token ${expected}, received token ${index}`);
    expected = index + count;
  }
  return expected;
}

/**
 * Returns the checksum of all output up to the end of a message. `before` is that before the message; if it is
 * unknown, the server's counts. Throws CHECKSUM_MISMATCH if the server's is another one.
 */
function checkedSum(message: StreamTokensResponse, before: number | undefined): number | undefined {
  const { outputChecksum: theirs, sequence, tokens, toolCallFragments } = message;
  if (before === undefined) return theirs;
  let ours = before;
  for (const { text, reasoningText, refusalText } of tokens) {
    ours = sum(sum(sum(ours, text), reasoningText), refusalText);
  }
  for (const { id, functionName, argumentsFragment } of toolCallFragments) {
    ours = sum(sum(sum(ours, id), functionName), argumentsFragment);
  }
  if (theirs !== undefined && theirs !== ours) {
    throw checksumMismatch(`at sequence ${sequence}, the server's checksum is ${hex(theirs)}, this client's ${hex(ours)}`);
  }
  return ours;
}

const sum = (before: number, text: string) => (text ? crc32(text, before) : before);
