package io.tokengrpc.client;

import com.google.gson.Gson;
import com.google.gson.reflect.TypeToken;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.Reader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Map;

/** The JSON files that the clients of all languages share; the build copies them into the jar. */
final class SharedFiles {
  private SharedFiles() {}

  static <T> Map<String, T> read(String name, TypeToken<Map<String, T>> type) {
    try (Reader json =
        new InputStreamReader(SharedFiles.class.getResourceAsStream(name), StandardCharsets.UTF_8)) {
      return new Gson().fromJson(json, type);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }
}
