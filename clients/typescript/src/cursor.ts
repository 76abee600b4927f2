// The position of a reader, as text that readers in all languages understand.

import { invalidCursor } from "./localErrors.js";

export interface CursorFields {
  /** The sequence of the last processed event; default 0, before all events. */
  sequence?: number;
  /** Names the stored events; empty (default) if unknown. */
  logIncarnation?: string;
  /** The CRC-32 of the output up to `sequence`; undefined if unknown, and before any output. */
  checksum?: number | undefined;
}

const maxSequence = 2 ** 31 - 1;
const format = /^tg1\.(0|[1-9]\d{0,9})\.([0-9a-f]{8})?\.([A-Za-z0-9_-]{0,32})\.([A-Za-z0-9._~-]{1,128})$/;

/** What a client needs to go on exactly where another one left a generation. */
export class Cursor {
  readonly sequence: number;
  readonly logIncarnation: string;
  readonly checksum: number | undefined;

  constructor(
    readonly generationId: string,
    { sequence = 0, logIncarnation = "", checksum }: CursorFields = {},
  ) {
    this.sequence = sequence;
    this.logIncarnation = logIncarnation;
    this.checksum = checksum;
  }

  /** Reads what `toString` has written. Throws INVALID_CURSOR. */
  static parse(text: string): Cursor {
    const [, sequence = "", checksum, logIncarnation = "", generationId = ""] = format.exec(text) ?? [];
    if (!generationId || Number(sequence) > maxSequence) throw invalidCursor(text);
    return new Cursor(generationId, {
      sequence: Number(sequence),
      logIncarnation,
      checksum: checksum === undefined ? undefined : Number.parseInt(checksum, 16),
    });
  }

  /** One line: `tg1.SEQUENCE.CHECKSUM.INCARNATION.ID`. */
  toString(): string {
    const checksum = this.checksum === undefined ? "" : hex(this.checksum);
    return `tg1.${this.sequence}.${checksum}.${this.logIncarnation}.${this.generationId}`;
  }

  toJSON(): string {
    return this.toString();
  }
}

/** Writes a checksum as eight hexadecimal digits. */
export const hex = (checksum: number) => checksum.toString(16).padStart(8, "0");
