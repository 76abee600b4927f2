// Summarises a file: tokens to stdout as they arrive, progress and usage to stderr. See README.md.

import { readFile } from "node:fs/promises";
import { resolve } from "node:path";

import { type Source, TokenStreamClient, TokenStreamError } from "@tokengrpc/client";
import { Role } from "@tokengrpc/client/stubs";

import { Progress } from "./progress.js";

const target = process.env["TOKENGRPC_TARGET"] ?? "127.0.0.1:50051";

/** A complete request, because a conversation has no shorthand. */
function summaryOf(text: string): Source {
  const messages = [
    { role: Role.SYSTEM, text: "Summarise what the user sends in one short paragraph." },
    { role: Role.USER, text },
  ];
  return { input: { case: "conversation", value: { messages } }, maxOutputTokenCount: 200 };
}

async function summarize(path: string): Promise<void> {
  const text = await readFile(path, "utf8");
  // Ctrl-C cancels the generation on the server, too, so that no unread tokens are billed.
  const interrupted = new AbortController();
  process.once("SIGINT", () => interrupted.abort());

  await using client = new TokenStreamClient(target);
  await using stream = client.stream(summaryOf(text), { signal: interrupted.signal });
  const progress = new Progress(stream);
  try {
    for await (const token of stream) {
      progress.token();
      process.stdout.write(token.text);
    }
  } catch (error) {
    if (!interrupted.signal.aborted) throw error;
    process.exitCode = 130;
  } finally {
    if (stream.text) process.stdout.write("\n");
    progress.stop();
  }
}

const [file] = process.argv.slice(2);
if (file === undefined) {
  console.error("usage: npm run summarize -- FILE");
  process.exitCode = 2;
} else {
  try {
    // npm runs scripts in the package's folder; the file name is relative to the user's directory.
    await summarize(resolve(process.env["INIT_CWD"] ?? "", file));
  } catch (error) {
    if (!(error instanceof TokenStreamError) && !(error instanceof Error && "syscall" in error)) throw error;
    console.error(`error: ${error.message}`);
    process.exitCode = 1;
  }
}
