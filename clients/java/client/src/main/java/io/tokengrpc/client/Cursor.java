package io.tokengrpc.client;

import java.util.OptionalInt;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A reader's position in a generation. With it, a client in any language goes on exactly where another one left.
 *
 * @param generationId the generation
 * @param sequence the last event that the reader has processed; 0 for none
 * @param logIncarnation the name of the stored events; empty if unknown
 * @param checksum CRC-32 of the output so far; empty if unknown or before any output
 */
public record Cursor(String generationId, int sequence, String logIncarnation, OptionalInt checksum) {
  private static final Pattern TEXT =
      Pattern.compile("tg1\\.(0|[1-9][0-9]{0,9})\\.([0-9a-f]{8})?\\.([A-Za-z0-9_-]{0,32})\\.([A-Za-z0-9._~-]{1,128})");

  /** Creates the cursor after an event of a generation of which nothing else is known. */
  public Cursor(String generationId, int sequence) {
    this(generationId, sequence, "", OptionalInt.empty());
  }

  /**
   * Reads the text of a cursor, in the form that {@link #toString} returns.
   *
   * @throws TokenStreamException with the reason {@code INVALID_CURSOR} if it is anything else
   */
  public static Cursor parse(String text) {
    Matcher parts = TEXT.matcher(text);
    if (!parts.matches() || Long.parseLong(parts.group(1)) > Integer.MAX_VALUE) {
      throw new TokenStreamException(LocalErrors.invalidCursor(text));
    }
    String digits = parts.group(2);
    var checksum = digits == null ? OptionalInt.empty() : OptionalInt.of(Integer.parseUnsignedInt(digits, 16));
    return new Cursor(parts.group(4), Integer.parseInt(parts.group(1)), parts.group(3), checksum);
  }

  /** Returns the cursor in one line without spaces, such as {@code tg1.57.9ae0daaf.k3Jq0wXb.chat-7}. */
  @Override
  public String toString() {
    String digits = checksum.isPresent() ? String.format("%08x", checksum.getAsInt()) : "";
    return "tg1." + sequence + "." + digits + "." + logIncarnation + "." + generationId;
  }
}
