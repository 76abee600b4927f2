package io.tokengrpc.examples;

import io.tokengrpc.client.StreamOptions;
import io.tokengrpc.client.StreamOptions.OnDeadline;
import io.tokengrpc.client.TokenStream;
import io.tokengrpc.client.TokenStreamClient;
import io.tokengrpc.client.TokenStreamException;
import io.tokengrpc.tokenstreaming.v1.StreamTokensRequest;
import io.tokengrpc.tokenstreaming.v1.Token;
import io.tokengrpc.tokenstreaming.v1.Usage;
import java.time.Duration;
import java.util.Map;

/** Streams a story until the deadline. The deadline is a normal end: the partial text is kept and the usage is known. */
public final class DeadlineStory {
  private DeadlineStory() {}

  public static void main(String[] arguments) {
    Duration time = arguments.length > 0 ? time(arguments[0]) : Duration.ofSeconds(3);
    String subject = arguments.length > 1 ? arguments[1] : "a lighthouse keeper and the last ship of the year";
    String target = System.getenv().getOrDefault("TOKENGRPC_TARGET", "127.0.0.1:50051");

    var request = StreamTokensRequest.newBuilder().setPrompt("Tell a long story about " + subject + ".\n").build();
    var options = StreamOptions.DEFAULT.withTimeout(time, OnDeadline.PARTIAL);
    try (TokenStreamClient client = new TokenStreamClient(target);
        TokenStream story = client.stream(request, options)) {
      for (Token token : story) {
        System.out.print(token.getText());
        System.out.flush();
      }
      System.out.println();
      System.err.println(summary(story));
    } catch (TokenStreamException error) {
      System.out.println();
      System.err.println("error: " + error.getMessage());
      System.exit(1);
    }
  }

  private static Duration time(String seconds) {
    if (!seconds.matches("[0-9]*[1-9][0-9]*(\\.[0-9]+)?|0?\\.[0-9]*[1-9][0-9]*")) {
      System.err.println("usage: run [SECONDS [SUBJECT]]: " + seconds + " is not a positive number of seconds");
      System.exit(2);
    }
    return Duration.ofNanos((long) (Double.parseDouble(seconds) * 1e9));
  }

  private static String summary(TokenStream story) {
    Usage usage = story.usage();
    var duration = story.finish().orElseThrow().getTiming().getTotalDuration();
    String explanation =
        Map.of(
                "DEADLINE", "the deadline passed",
                "END", "the story is complete",
                "MAX_TOKENS", "the token limit was reached")
            .getOrDefault(story.finishReason(), "the engine stopped");
    return String.format(
        "%n%s (%s): %d tokens in, %d out, after %.2f s",
        story.finishReason(),
        explanation,
        usage.getInputTokenCount(),
        usage.getOutputTokenCount(),
        duration.getSeconds() + duration.getNanos() / 1e9);
  }
}
