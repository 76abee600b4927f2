// Glue between two libraries: protobuf-es provides messages and descriptors, grpc-js transports bytes.

import { type DescMessage, type DescMethod, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import type { CallOptions, Client, ClientReadableStream, Metadata, MethodDefinition } from "@grpc/grpc-js";

/** A method of a service descriptor, with the types of its messages. */
export type Method<I extends DescMessage, O extends DescMessage> = DescMethod & { input: I; output: O };

/** Converts a method to the definition that grpc-js clients and servers require. */
export function methodDefinition<I extends DescMessage, O extends DescMessage>(
  method: Method<I, O>,
): MethodDefinition<MessageShape<I>, MessageShape<O>> {
  const kind = method.methodKind;
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: kind === "client_streaming" || kind === "bidi_streaming",
    responseStream: kind === "server_streaming" || kind === "bidi_streaming",
    ...codec(method.input, "request"),
    ...codec(method.output, "response"),
  };
}

/** Makes a unary call. Rejects with grpc-js's ServiceError. */
export function unary<I extends DescMessage, O extends DescMessage>(
  client: Client,
  method: Method<I, O>,
  request: MessageShape<I>,
  metadata: Metadata,
  options: CallOptions,
): Promise<MessageShape<O>> {
  const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadata, options, (error, answer) =>
      answer === undefined ? reject(error) : resolve(answer),
    );
  });
}

/** Makes a server-streaming call. */
export function serverStream<I extends DescMessage, O extends DescMessage>(
  client: Client,
  method: Method<I, O>,
  request: MessageShape<I>,
  metadata: Metadata,
  options: CallOptions,
): ClientReadableStream<MessageShape<O>> {
  const { path, requestSerialize, responseDeserialize } = methodDefinition(method);
  return client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, metadata, options);
}

function codec<D extends DescMessage, N extends "request" | "response">(desc: D, name: N) {
  return {
    [`${name}Serialize`]: (message: MessageShape<D>) => Buffer.from(toBinary(desc, message)),
    [`${name}Deserialize`]: (bytes: Buffer) => fromBinary(desc, bytes),
  } as { [K in `${N}Serialize`]: (message: MessageShape<D>) => Buffer } & {
    [K in `${N}Deserialize`]: (bytes: Buffer) => MessageShape<D>;
  };
}
