// The server of frozenServer.test.ts, in a process of its own: starts a generation, and finishes it for who resumes.

import { end, finish, one, send, serve, started, two } from "./server.js";

const { target } = await serve({ after: () => undefined }, (call) =>
  "afterSequence" in call.request ? finish(two, end)(call) : send(started, one)(call),
);
console.log(target);
