package io.tokengrpc.client;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.charset.StandardCharsets;
import java.util.Random;
import java.util.zip.CRC32;
import org.junit.jupiter.api.Test;

class ChecksumTest {
  @Test
  void theCheckValueOfTheStandard() {
    assertEquals(0xCBF43926, Checksum.update(0, "123456789"));
    assertEquals(7, Checksum.update(7, ""));
  }

  @Test
  void piecesHaveTheChecksumOfTheirWhole() {
    Random random = new Random(1);
    CRC32 whole = new CRC32();
    int pieces = 0;
    for (int count = 0; count < 200; count++) {
      String piece = random.ints(random.nextInt(20), 0, 0x20000).filter(point -> !isSurrogate(point))
          .collect(StringBuilder::new, StringBuilder::appendCodePoint, StringBuilder::append)
          .toString();
      whole.update(piece.getBytes(StandardCharsets.UTF_8));
      pieces = Checksum.update(pieces, piece);
      assertEquals((int) whole.getValue(), pieces);
    }
  }

  private static boolean isSurrogate(int point) {
    return point >= Character.MIN_SURROGATE && point <= Character.MAX_SURROGATE;
  }
}
