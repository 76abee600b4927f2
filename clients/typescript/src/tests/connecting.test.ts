// A machine that accepts connections, where no server answers on them.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { test } from "node:test";

import { Code } from "../index.js";
import { connect, read } from "./server.js";

test("a stream fails when nobody answers, and ends at once when it is closed", async (context) => {
  const silent = createServer();
  const connected = once(silent, "connection");
  context.after(() => silent.close());
  await once(silent.listen(0, "127.0.0.1"), "listening");
  const { port } = silent.address() as AddressInfo;
  const client = connect(context, `127.0.0.1:${port}`, { policy: { patienceMs: 0 } });
  context.after(async () => ((await connected) as [{ destroy(): void }])[0].destroy());

  const ends: string[] = [];
  const left = client.stream("hello");
  const reading = [
    assert.rejects(read(client.stream("hello")), {
      code: Code.UNAVAILABLE,
      details: "no connection could be established within 5 s",
    }).then(() => ends.push("failed")),
    assert.rejects(read(left), { reason: "CANCELLED" }).then(() => ends.push("closed")),
  ];
  await connected;
  await left.close();
  await Promise.all(reading);
  assert.deepEqual(ends, ["closed", "failed"]);
});
