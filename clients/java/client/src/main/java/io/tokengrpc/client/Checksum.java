package io.tokengrpc.client;

import java.nio.charset.StandardCharsets;

/** CRC-32 (IEEE) that continues from any value, unlike {@link java.util.zip.CRC32}. */
final class Checksum {
  private static final int REVERSED_POLYNOMIAL = 0xEDB88320;
  private static final int[] TABLE = table();

  private Checksum() {}

  /** Returns the checksum of all text before and of {@code text}, in UTF-8. */
  static int update(int before, String text) {
    int register = ~before;
    for (byte octet : text.getBytes(StandardCharsets.UTF_8)) {
      register = TABLE[(register ^ octet) & 0xFF] ^ (register >>> 8);
    }
    return ~register;
  }

  private static int[] table() {
    int[] table = new int[256];
    for (int octet = 0; octet < 256; octet++) {
      int register = octet;
      for (int bit = 0; bit < 8; bit++) {
        register = (register >>> 1) ^ (REVERSED_POLYNOMIAL & -(register & 1));
      }
      table[octet] = register;
    }
    return table;
  }
}
