// Prints an answer as it arrives, and resumes after a dropped connection: node reader.js HOST:PORT ID PROMPT
import { setTimeout } from "node:timers/promises";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const root = new URL("../../../", import.meta.url).pathname;
const contract = loader.loadSync("tokenstreaming/v1/token_stream.proto", {
  includeDirs: [`${root}protos`, `${root}third_party/googleapis`],
  keepCase: true,
  defaults: true, // absent fields are 0, "" and []
  enums: String,
  oneofs: true, // `message.event` is the name of the field that is set
});
const { TokenStream } = grpc.loadPackageDefinition(contract).tokenstreaming.v1;
const { CANCELLED, INTERNAL, UNAVAILABLE, UNKNOWN } = grpc.status;

const [target, id, prompt] = process.argv.slice(2);
const client = new TokenStream(target, grpc.credentials.createInsecure());
const recovery = { disconnect_action: "DISCONNECT_ACTION_DETACH" };
let sequence = 0; // of the last event that has been printed: the cursor

/** Reads what follows the cursor, to the end of the generation. Fails if the call ends before. */
async function read() {
  const stream =
    sequence === 0
      ? client.StreamTokens({ generation_id: id, prompt, recovery }) // with the same id, it attaches
      : client.ResumeTokens({ generation_id: id, after_sequence: sequence });
  for await (const message of stream) {
    for (const token of message.tokens) process.stdout.write(token.text);
    sequence = message.sequence;
    if (message.event === "finished") return message.finished;
  }
  throw Object.assign(new Error("the stream ended without its end"), { code: UNAVAILABLE });
}

let finished;
for (let attempt = 0; !finished; attempt++) {
  try {
    finished = await read();
  } catch (error) {
    if (![CANCELLED, INTERNAL, UNAVAILABLE, UNKNOWN].includes(error.code) || attempt === 10) throw error;
    await setTimeout(100 << Math.min(attempt, 4));
  }
}
process.stdout.write("\n");
client.close();
if (finished.status?.code) {
  console.error(finished.status.message);
  process.exitCode = 1;
}
