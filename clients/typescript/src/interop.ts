// The driver of tests/interop/README.md: one request on stdin, one call, one report on stdout.

import { readFileSync } from "node:fs";
import { json } from "node:stream/consumers";

import type { ChannelCredentials } from "@grpc/grpc-js";
import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import {
  FinishReason,
  type Generation,
  GenerationState,
  type Token,
  ToolSchema,
  type Usage,
  UsageSource,
} from "#stubs";

import { Code, credentials, type TokenStream, TokenStreamClient, TokenStreamError } from "./index.js";

interface Request {
  target: string;
  tls?: { ca_file: string; cert_file?: string; key_file?: string };
  call?: "stream" | "resume" | "get";
  generation_id?: string;
  cursor?: string;
  cancel_on_close?: boolean;
  patience_seconds?: number;
  prompt?: string;
  tools?: string[];
  timeout_seconds?: number;
  deadline_margin_seconds?: number;
  on_deadline?: "fail" | "partial";
  resumable?: boolean;
  stop_after_tokens?: number;
  detach_after_tokens?: number;
}

const report = {
  text: "",
  reasoning_text: "",
  refusal_text: "",
  tool_calls: [] as { id: string; function_name: string; arguments: string; opaque: string }[],
  token_count: 0,
  indexes_gapless: true,
  sequence: 0,
  cursor: "",
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
  report.cursor = stream.cursor.toString();
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

function takeError(error: TokenStreamError): void {
  const { advice, code, details, ended, generationId, lastSequence, message, reason } = error;
  report.error = {
    code: Code[code],
    reason,
    message: details,
    advice: advice ?? "",
    ended,
    generation_id: generationId,
    last_sequence: lastSequence,
    line: message,
  };
}

function openStream(client: TokenStreamClient, request: Request): TokenStream {
  const timeoutMs = request.timeout_seconds === undefined ? {} : { timeoutMs: request.timeout_seconds * 1_000 };
  if (request.call === "resume") {
    return client.resume(request.cursor ?? "", { cancelOnClose: request.cancel_on_close ?? false, ...timeoutMs });
  }
  const tools = (request.tools ?? []).map((name) => create(ToolSchema, { name }));
  const margin = request.deadline_margin_seconds;
  const limits = margin === undefined ? {} : { limits: { deadlineMargin: durationFromMs(margin * 1_000) } };
  const source = { input: { case: "prompt" as const, value: request.prompt ?? "hello" }, tools, ...limits };
  return client.stream(source, {
    generationId: request.generation_id ?? "",
    onDeadline: request.on_deadline ?? "fail",
    resumable: request.resumable ?? true,
    ...timeoutMs,
  });
}

async function read(stream: TokenStream, request: Request): Promise<void> {
  const { stop_after_tokens: stopAfter = Infinity, detach_after_tokens: detachAfter = Infinity } = request;
  for await (const { notice, tokens } of stream.messages()) {
    if (notice.case === "attached") report.notices.attached += 1;
    if (notice.case === "heartbeat") report.notices.heartbeat += 1;
    if (notice.case === "drainNotice") report.notices.drain_notice += 1;
    for (const token of tokens) {
      takeToken(token);
      if (report.token_count >= stopAfter) return;
    }
    if (report.token_count >= detachAfter) stream.detach();
  }
}

function createSsl({ ca_file: ca, cert_file: cert, key_file: key }: NonNullable<Request["tls"]>): ChannelCredentials {
  return cert && key
    ? credentials.createSsl(readFileSync(ca), readFileSync(key), readFileSync(cert))
    : credentials.createSsl(readFileSync(ca));
}

async function drive(request: Request): Promise<void> {
  const { patience_seconds: patience } = request;
  const policy = patience === undefined ? {} : { patienceMs: patience * 1_000 };
  const tls = request.tls === undefined ? {} : { credentials: createSsl(request.tls) };
  await using client = new TokenStreamClient(request.target, { policy, ...tls });
  try {
    if (request.call === "get") {
      takeGeneration(await client.get(request.generation_id ?? ""));
      return;
    }
    const stream = openStream(client, request);
    try {
      await read(stream, request);
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
