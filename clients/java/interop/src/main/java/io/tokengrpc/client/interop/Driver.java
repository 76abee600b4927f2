package io.tokengrpc.client.interop;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import io.tokengrpc.client.StreamOptions;
import io.tokengrpc.client.StreamOptions.OnDeadline;
import io.tokengrpc.client.TokenStream;
import io.tokengrpc.client.TokenStreamClient;
import io.tokengrpc.client.TokenStreamException;
import io.tokengrpc.tokenstreaming.v1.StreamTokensRequest;
import io.tokengrpc.tokenstreaming.v1.StreamTokensResponse;
import io.tokengrpc.tokenstreaming.v1.Token;
import io.tokengrpc.tokenstreaming.v1.Tool;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/** The driver of the Java client: one request on stdin, one call, one report on stdout (see tests/interop/README.md). */
public final class Driver {
  /** What is asked; the names are the protocol's. */
  private static final class Request {
    String target;
    String call = "stream";
    String generation_id = "";
    int after_sequence;
    String prompt = "hello";
    List<String> tools = List.of();
    Double timeout_seconds;
    String on_deadline = "fail";
    boolean resumable = true;
    Integer stop_after_tokens;

    Duration timeout() {
      return timeout_seconds == null ? null : Duration.ofNanos((long) (timeout_seconds * 1e9));
    }
  }

  private Driver() {}

  public static void main(String[] arguments) {
    Request request =
        new Gson().fromJson(new InputStreamReader(System.in, StandardCharsets.UTF_8), Request.class);
    Report report = new Report();
    try (TokenStreamClient client = new TokenStreamClient(request.target)) {
      if (request.call.equals("get")) {
        report.tell(client.get(request.generation_id));
      } else {
        read(open(client, request), request.stop_after_tokens, report);
      }
    } catch (TokenStreamException error) {
      report.tell(error.failure());
    }
    new PrintStream(System.out, true, StandardCharsets.UTF_8)
        .println(new GsonBuilder().serializeNulls().create().toJson(report));
  }

  private static TokenStream open(TokenStreamClient client, Request request) {
    if (request.call.equals("resume")) {
      return client.resume(request.generation_id, request.after_sequence, request.timeout());
    }
    var asked =
        StreamTokensRequest.newBuilder().setGenerationId(request.generation_id).setPrompt(request.prompt);
    request.tools.forEach(name -> asked.addTools(Tool.newBuilder().setName(name)));
    OnDeadline onDeadline = request.on_deadline.equals("partial") ? OnDeadline.PARTIAL : OnDeadline.FAIL;
    return client.stream(asked.build(), new StreamOptions(request.timeout(), onDeadline, request.resumable));
  }

  /** Reads until the end, or until the user has had enough. */
  private static void read(TokenStream stream, Integer stopAfter, Report report) {
    try (stream) {
      Optional<StreamTokensResponse> message;
      while ((message = stream.nextMessage()).isPresent()) {
        report.notice(message.get());
        for (Token token : message.get().getTokensList()) {
          report.token(token);
          if (stopAfter != null && report.token_count >= stopAfter) {
            return;
          }
        }
      }
    } finally {
      report.tell(stream);
    }
  }
}
