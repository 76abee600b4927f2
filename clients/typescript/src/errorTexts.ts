/** clients/error_texts.json, which all languages share (a test compares them); `{cause}` is replaced. */
export const errorTexts = {
  CONNECTION_LOST: "the connection broke and could not be resumed ({cause}); resume with the cursor",
  "CONNECTION_LOST, not resumable": "the connection broke ({cause}); start again under a new id",
  GENERATION_LOST:
    "the connection broke and the server no longer has the remaining events ({cause}); start again under a new id",
  STREAM_GAP: "the stream has a gap ({cause}); start again under a new id",
  CHECKSUM_MISMATCH:
    "the output differs from what the server has sent before ({cause}); start again under a new id",
  INVALID_CURSOR: "{cause} is not a cursor; pass one as the stream gave it",
  NOT_RESUMABLE:
    "this stream cannot be left to another reader, because closing it stops the generation; open it as resumable",
  CLIENT_CLOSED: "this client has been closed; create another one",
  "stream ended without finished": "the stream ended before the generation finished",
  "server frozen": "the server did not answer a keepalive ping for 5 s",
  "server unreachable": "check that the server is running at this address",
  "certificate refused":
    "check the authority, names and dates of the server's certificate, and the authorities that this client trusts",
  "server without TLS":
    "the server does not speak TLS at this address: connect in plaintext, or check the port",
  "closed at once":
    "the server closed the connection: check that it is running, and whether it requires TLS or a client certificate",
} as const;
