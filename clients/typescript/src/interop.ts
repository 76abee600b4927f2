// The driver of tests/interop/README.md: one request on stdin, one call, one report on stdout.

import { json } from "node:stream/consumers";

import { create } from "@bufbuild/protobuf";
import {
  FinishReason,
  type Generation,
  GenerationState,
  type Token,
  ToolSchema,
  type Usage,
  UsageSource,
} from "@tokengrpc/tokenstreaming-v1";

import { Code, type TokenStream, TokenStreamClient, TokenStreamError } from "./index.js";

interface Request {
  target: string;
  call?: "stream" | "resume" | "get";
  generation_id?: string;
  after_sequence?: number;
  prompt?: string;
  tools?: string[];
  timeout_seconds?: number;
  on_deadline?: "fail" | "partial";
  resumable?: boolean;
  stop_after_tokens?: number;
}

const report = {
  text: "",
  reasoning_text: "",
  refusal_text: "",
  tool_calls: [] as { id: string; function_name: string; arguments: string; opaque: string }[],
  token_count: 0,
  indexes_gapless: true,
  sequence: 0,
  usage: null as { input: number; output: number; reasoning: number; source: string } | null,
  finish_reason: "",
  state: "",
  error: null as Record<string, unknown> | null,
  resumes: 0,
  notices: { attached: 0, heartbeat: 0, drain_notice: 0 },
};

let nextIndex: number | undefined;

function takeToken({ index, count, text, reasoningText, refusalText }: Token): void {
  report.indexes_gapless &&= nextIndex === undefined || index === nextIndex;
  nextIndex = index + count;
  report.token_count += count;
  report.text += text;
  report.reasoning_text += reasoningText;
  report.refusal_text += refusalText;
}

function takeUsage(usage: Usage | undefined): void {
  report.usage = usage
    ? {
        input: usage.inputTokenCount,
        output: usage.outputTokenCount,
        reasoning: usage.reasoningTokenCount,
        source: UsageSource[usage.source] ?? String(usage.source),
      }
    : null;
}

function takeStream(stream: TokenStream): void {
  report.sequence = stream.sequence;
  report.finish_reason = stream.finishReason;
  report.resumes = stream.resumes;
  report.tool_calls = stream.toolCalls.map((call) => ({
    id: call.id,
    function_name: call.functionName,
    arguments: call.arguments,
    opaque: Buffer.from(call.opaque).toString("base64"),
  }));
  takeUsage(stream.usage);
}

function takeGeneration({ finished, lastSequence, state, usage }: Generation): void {
  report.state = GenerationState[state] ?? String(state);
  report.sequence = lastSequence;
  takeUsage(usage);
  if (finished) report.finish_reason = FinishReason[finished.finishReason] ?? String(finished.finishReason);
}

function takeError({ advice, code, ended, generationId, lastSequence, reason }: TokenStreamError): void {
  report.error = {
    code: Code[code],
    reason,
    advice: advice ?? "",
    ended,
    generation_id: generationId,
    last_sequence: lastSequence,
  };
}

function openStream(client: TokenStreamClient, request: Request): TokenStream {
  const timeoutMs = request.timeout_seconds === undefined ? {} : { timeoutMs: request.timeout_seconds * 1_000 };
  if (request.call === "resume") {
    return client.resume(request.generation_id ?? "", { after: request.after_sequence ?? 0, ...timeoutMs });
  }
  const tools = (request.tools ?? []).map((name) => create(ToolSchema, { name }));
  const source = { input: { case: "prompt" as const, value: request.prompt ?? "hello" }, tools };
  return client.stream(source, {
    generationId: request.generation_id ?? "",
    onDeadline: request.on_deadline ?? "fail",
    resumable: request.resumable ?? true,
    ...timeoutMs,
  });
}

async function read(stream: TokenStream, stopAfter: number): Promise<void> {
  for await (const { notice, tokens } of stream.messages()) {
    if (notice.case === "attached") report.notices.attached += 1;
    if (notice.case === "heartbeat") report.notices.heartbeat += 1;
    if (notice.case === "drainNotice") report.notices.drain_notice += 1;
    for (const token of tokens) {
      takeToken(token);
      if (report.token_count >= stopAfter) return;
    }
  }
}

async function drive(request: Request): Promise<void> {
  await using client = new TokenStreamClient(request.target);
  try {
    if (request.call === "get") {
      takeGeneration(await client.get(request.generation_id ?? ""));
      return;
    }
    const stream = openStream(client, request);
    try {
      await read(stream, request.stop_after_tokens ?? Infinity);
    } finally {
      takeStream(stream);
    }
  } catch (error) {
    if (!(error instanceof TokenStreamError)) throw error;
    takeError(error);
  }
}

await drive((await json(process.stdin)) as Request);
console.log(JSON.stringify(report));
