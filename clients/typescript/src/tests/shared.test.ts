// What all languages share is the same here.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { Cursor } from "../cursor.js";
import { Code, TokenStreamError } from "../errors.js";
import { errorTexts } from "../errorTexts.js";
import * as local from "../localErrors.js";
import { serviceConfig } from "../transport/serviceConfig.js";

const shared = (name: string) => readFile(new URL(`../../../${name}`, import.meta.url), "utf8");

test("the service config", async () => {
  assert.equal(serviceConfig, await shared("service_config.json"));
});

test("the texts of errors", async () => {
  assert.deepEqual(errorTexts, JSON.parse(await shared("error_texts.json")));
});

test("the cause of an error stands in its text, without its own advice", () => {
  const cause = new TokenStreamError("the log of $& is gone; start again", { code: Code.NOT_FOUND, reason: "X" });
  assert.equal(
    local.generationLost(cause).details,
    "the connection broke and the server no longer has the remaining events (the log of $& is gone); " +
      "start again under a new id",
  );
});

test("what follows a semicolon in a message of the gRPC library is no advice", () => {
  const cause = new TokenStreamError("reset; code 2", { code: Code.UNAVAILABLE });
  assert.equal(
    local.connectionLost(cause, false).details,
    "the connection broke (reset; code 2); start again under a new id",
  );
});

test("an error says in one line where to go on, or what to check", () => {
  const broken = new TokenStreamError("refused\n", { code: Code.UNAVAILABLE });
  assert.equal(broken.message, `UNAVAILABLE: refused; ${errorTexts["server unreachable"]}`);
  const told = { code: Code.UNAVAILABLE, reason: "CONNECTION_LOST", advice: "RESUME", cursor: new Cursor("chat-7") } as const;
  assert.equal(new TokenStreamError("reset", told).message, "CONNECTION_LOST: reset (cursor tg1.0...chat-7)");
});
