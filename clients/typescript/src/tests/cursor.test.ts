// Cursors as text, which all languages share.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { Cursor } from "../cursor.js";
import { Code } from "../errors.js";

describe("a cursor is what its text says", () => {
  const known: [text: string, cursor: Cursor][] = [
    [
      "tg1.57.9ae0daaf.k3Jq0wXb.chat-7",
      new Cursor("chat-7", { sequence: 57, checksum: 0x9ae0daaf, logIncarnation: "k3Jq0wXb" }),
    ],
    ["tg1.0...chat-7", new Cursor("chat-7")],
    ["tg1.2147483647.00000001..a.b~c_d", new Cursor("a.b~c_d", { sequence: 2_147_483_647, checksum: 1 })],
  ];
  for (const [text, cursor] of known) {
    test(text, () => {
      assert.deepEqual(Cursor.parse(text), cursor);
      assert.equal(String(cursor), text);
      assert.equal(JSON.stringify({ cursor }), `{"cursor":"${text}"}`);
    });
  }
});

describe("anything else is refused", () => {
  const refused = [
    "", "chat-7", "tg1", "tg1.0...", "tg2.0...chat-7", "tg1.-1...chat-7", "tg1.01...chat-7", "tg1.2147483648...chat-7",
    "tg1.57.9AE0DAAF..chat-7", "tg1.57.9ae0daa..chat-7", "tg1.57.9ae0daaf.k3Jq0wXb", "tg1.0...chat-7\n", " tg1.0...chat-7",
    "tg1.0...chat 7",
  ];
  for (const text of refused) {
    test(JSON.stringify(text), () => {
      assert.throws(() => Cursor.parse(text), { reason: "INVALID_CURSOR", code: Code.INVALID_ARGUMENT });
    });
  }
});
