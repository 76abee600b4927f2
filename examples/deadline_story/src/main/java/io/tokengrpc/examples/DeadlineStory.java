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

/** Tells a story until the time is over, and ends with what there is: the deadline is no error, and the bill is known. */
public final class DeadlineStory {
  private DeadlineStory() {}

  public static void main(String[] arguments) {
    Duration time = arguments.length > 0 ? time(arguments[0]) : Duration.ofSeconds(3);
    String about = arguments.length > 1 ? arguments[1] : "a lighthouse keeper and the last ship of the year";
    String target = System.getenv().getOrDefault("TOKENGRPC_TARGET", "127.0.0.1:50051");

    var request = StreamTokensRequest.newBuilder().setPrompt("Tell a long story about " + about + ".\n").build();
    var options = StreamOptions.DEFAULT.withTimeout(time, OnDeadline.PARTIAL);
    try (TokenStreamClient client = new TokenStreamClient(target);
        TokenStream story = client.stream(request, options)) {
      for (Token token : story) {
        System.out.print(token.getText());
        System.out.flush();
      }
      System.out.println();
      System.err.println(ending(story));
    } catch (TokenStreamException error) {
      System.out.println();
      System.err.println("error: " + error.getMessage());
      System.exit(1);
    }
  }

  private static Duration time(String seconds) {
    if (!seconds.matches("[0-9]*[1-9][0-9]*(\\.[0-9]+)?|0?\\.[0-9]*[1-9][0-9]*")) {
      System.err.println("usage: run [SECONDS [ABOUT]]: " + seconds + " is no positive number of seconds");
      System.exit(2);
    }
    return Duration.ofNanos((long) (Double.parseDouble(seconds) * 1e9));
  }

  private static String ending(TokenStream story) {
    Usage usage = story.usage();
    var took = story.finish().orElseThrow().getTiming().getTotalDuration();
    String why =
        Map.of("DEADLINE", "the time was over", "END", "the story was", "MAX_TOKENS", "it was long enough")
            .getOrDefault(story.finishReason(), "the engine stopped");
    return String.format(
        "%n%s (%s): %d tokens in, %d out, after %.2f s",
        story.finishReason(),
        why,
        usage.getInputTokenCount(),
        usage.getOutputTokenCount(),
        took.getSeconds() + took.getNanos() / 1e9);
  }
}
