package io.tokengrpc.client.interop;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.TlsChannelCredentials;
import io.tokengrpc.client.Cursor;
import io.tokengrpc.client.ResumeOptions;
import io.tokengrpc.client.ResumePolicy;
import io.tokengrpc.client.StreamOptions;
import io.tokengrpc.client.StreamOptions.OnDeadline;
import io.tokengrpc.client.TokenStream;
import io.tokengrpc.client.TokenStreamClient;
import io.tokengrpc.client.TokenStreamException;
import io.tokengrpc.tokenstreaming.v1.StreamTokensRequest;
import io.tokengrpc.tokenstreaming.v1.StreamTokensResponse;
import io.tokengrpc.tokenstreaming.v1.Token;
import io.tokengrpc.tokenstreaming.v1.Tool;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/** The driver of the Java client: one request on stdin, one call, one report on stdout (see tests/interop/README.md). */
public final class Driver {
  /** The request on stdin; the field names are those of the driver protocol. */
  private static final class Request {
    String target;
    Tls tls;
    String call = "stream";
    String generation_id = "";
    String cursor = "";
    boolean cancel_on_close;
    Double patience_seconds;
    String prompt = "hello";
    List<String> tools = List.of();
    Double timeout_seconds;
    Double deadline_margin_seconds;
    String on_deadline = "fail";
    boolean resumable = true;
    Integer stop_after_tokens;
    Integer detach_after_tokens;

    ChannelCredentials credentials() throws IOException {
      if (tls == null) {
        return InsecureChannelCredentials.create();
      }
      var files = TlsChannelCredentials.newBuilder().trustManager(new File(tls.ca_file));
      if (tls.cert_file != null) {
        files.keyManager(new File(tls.cert_file), new File(tls.key_file));
      }
      return files.build();
    }

    Duration timeout() {
      return duration(timeout_seconds);
    }

    ResumePolicy policy() {
      return ResumePolicy.DEFAULT.withPatience(duration(patience_seconds));
    }

    private static Duration duration(Double seconds) {
      return seconds == null ? null : Duration.ofNanos((long) (seconds * 1e9));
    }
  }

  /** Files in PEM form. */
  private static final class Tls {
    String ca_file;
    String cert_file;
    String key_file;
  }

  private Driver() {}

  public static void main(String[] arguments) throws IOException {
    Request request =
        new Gson().fromJson(new InputStreamReader(System.in, StandardCharsets.UTF_8), Request.class);
    Report report = new Report();
    var channel =
        TokenStreamClient.withDefaults(Grpc.newChannelBuilder(request.target, request.credentials())).build();
    try (TokenStreamClient client = new TokenStreamClient(channel, "", request.policy())) {
      if (request.call.equals("get")) {
        report.tell(client.get(request.generation_id));
      } else {
        read(open(client, request), request, report);
      }
    } catch (TokenStreamException error) {
      report.tell(error);
    }
    new PrintStream(System.out, true, StandardCharsets.UTF_8)
        .println(new GsonBuilder().serializeNulls().create().toJson(report));
  }

  private static TokenStream open(TokenStreamClient client, Request request) {
    if (request.call.equals("resume")) {
      var options = new ResumeOptions(request.timeout(), request.cancel_on_close);
      return client.resume(Cursor.parse(request.cursor), options);
    }
    var asked =
        StreamTokensRequest.newBuilder().setGenerationId(request.generation_id).setPrompt(request.prompt);
    if (request.deadline_margin_seconds != null) {
      Duration margin = Request.duration(request.deadline_margin_seconds);
      var limit = asked.getLimitsBuilder().getDeadlineMarginBuilder();
      limit.setSeconds(margin.toSeconds()).setNanos(margin.getNano());
    }
    request.tools.forEach(name -> asked.addTools(Tool.newBuilder().setName(name)));
    OnDeadline onDeadline = request.on_deadline.equals("partial") ? OnDeadline.PARTIAL : OnDeadline.FAIL;
    return client.stream(asked.build(), new StreamOptions(request.timeout(), onDeadline, request.resumable));
  }

  /** Reads until the end, or until the reader leaves. */
  private static void read(TokenStream stream, Request request, Report report) {
    try (stream) {
      Optional<StreamTokensResponse> message;
      while ((message = stream.nextMessage()).isPresent()) {
        report.notice(message.get());
        for (Token token : message.get().getTokensList()) {
          report.token(token);
          if (reached(request.stop_after_tokens, report)) {
            return;
          }
        }
        if (reached(request.detach_after_tokens, report)) {
          stream.detach();
          return;
        }
      }
    } finally {
      report.tell(stream);
    }
  }

  private static boolean reached(Integer tokens, Report report) {
    return tokens != null && report.token_count >= tokens;
  }
}
