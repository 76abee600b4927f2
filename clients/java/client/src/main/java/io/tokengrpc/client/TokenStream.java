package io.tokengrpc.client;

import io.grpc.StatusException;
import io.grpc.stub.BlockingClientCall;
import io.tokengrpc.tokenstreaming.v1.FinishReason;
import io.tokengrpc.tokenstreaming.v1.Finished;
import io.tokengrpc.tokenstreaming.v1.StreamTokensResponse;
import io.tokengrpc.tokenstreaming.v1.Token;
import io.tokengrpc.tokenstreaming.v1.ToolCall;
import io.tokengrpc.tokenstreaming.v1.Usage;
import java.time.Duration;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.ThreadLocalRandom;

/**
 * The tokens of one generation, each once, in order, over however many connections that takes. Read once, by one thread; any
 * thread may close it.
 *
 * <p>Leaving it early, with {@link #close} or by interrupting the thread that reads, stops the generation on the server, unless
 * the stream only reads what another call started. Write {@code try (var stream = client.stream(…))}: a stream that is neither
 * read to its end nor closed leaves its generation running.
 *
 * <p>{@link #hasNext}, {@link #next} and {@link #nextMessage} throw {@link TokenStreamException}; what had arrived stays
 * readable.
 */
public final class TokenStream implements Iterator<Token>, Iterable<Token>, AutoCloseable {
  /** For the trailers of a generation that has finished: they say nothing new, but its server is done when they come. */
  private static final Duration TRAILERS_TIMEOUT = Duration.ofSeconds(1);

  private final TokenStreamClient client;
  private final Plan plan;
  private final Session session;
  private final CountDownLatch closed = new CountDownLatch(1);
  private BlockingClientCall<?, StreamTokensResponse> call;
  private boolean resuming;
  private Optional<Duration> wait = Optional.of(Duration.ZERO);
  private Iterator<Token> arrived = Collections.emptyIterator();
  private boolean over;

  /** Made by {@link TokenStreamClient}; the call itself is made when reading begins. */
  TokenStream(TokenStreamClient client, Plan plan) {
    this.client = client;
    this.plan = plan;
    session = new Session(plan, client.policy(), System::nanoTime, () -> ThreadLocalRandom.current().nextDouble());
  }

  /** The stream itself, for a {@code for} loop. */
  @Override
  public Iterator<Token> iterator() {
    return this;
  }

  /** Waits for the next token; false after a good end. */
  @Override
  public boolean hasNext() {
    while (!arrived.hasNext()) {
      Optional<StreamTokensResponse> message = nextMessage();
      if (message.isEmpty()) {
        return false;
      }
      arrived = message.get().getTokensList().iterator();
    }
    return true;
  }

  @Override
  public Token next() {
    if (!hasNext()) {
      throw new NoSuchElementException();
    }
    return arrived.next();
  }

  /** Waits for the next message, notices included, without what had arrived before; empty after a good end. */
  public Optional<StreamTokensResponse> nextMessage() {
    if (over) {
      return Optional.empty();
    }
    try {
      Optional<StreamTokensResponse> message = read();
      over = message.isEmpty();
      if (over) {
        close();
      }
      return message;
    } catch (InterruptedException interrupt) {
      over = true;
      close();
      Thread.currentThread().interrupt();
      throw session.left("the thread that read the stream was interrupted");
    } catch (RuntimeException | Error failure) {
      over = true;
      close();
      throw failure;
    }
  }

  /** Ends the stream and, when its generation still runs and is this stream's own, the generation. */
  @Override
  public void close() {
    synchronized (this) {
      if (isClosed()) {
        return;
      }
      closed.countDown();
      hangUp();
    }
    client.closed(this);
    if (session.abandoned()) {
      client.leave(plan.generationId());
    }
  }

  public String generationId() {
    return plan.generationId();
  }

  /** The last event that arrived: the cursor for resuming; 0 before the first. */
  public int sequence() {
    return session.answer().sequence;
  }

  /** The answer so far. */
  public String text() {
    return session.answer().text.toString();
  }

  public String reasoningText() {
    return session.answer().reasoningText.toString();
  }

  public String refusalText() {
    return session.answer().refusalText.toString();
  }

  /**
   * The tool calls so far, in order; complete once the generation has finished. Send them back unchanged when the
   * conversation continues: an engine may require their {@code opaque}.
   */
  public List<ToolCall> toolCalls() {
    return session.answer().toolCalls();
  }

  /** Cumulative, as of the last event. */
  public Usage usage() {
    return session.answer().usage;
  }

  /** How the generation ended, its timing included; empty until it has. */
  public Optional<Finished> finish() {
    return Optional.ofNullable(session.answer().finish);
  }

  /** {@code END}, {@code MAX_TOKENS}, …; the number of one that is unknown here; empty until the generation has ended. */
  public String finishReason() {
    Finished finish = session.answer().finish;
    if (finish == null) {
      return "";
    }
    FinishReason reason = finish.getFinishReason();
    return reason == FinishReason.UNRECOGNIZED
        ? String.valueOf(finish.getFinishReasonValue())
        : reason.name().substring("FINISH_REASON_".length());
  }

  /** How often the client called again after its first call. */
  public int resumes() {
    return session.resumes();
  }

  private Optional<StreamTokensResponse> read() throws InterruptedException {
    while (wait.isPresent()) {
      if (session.finished()) {
        awaitTrailers();
        wait = session.callEnded(resuming, null);
        continue;
      }
      if (call == null) {
        open(wait.get());
      }
      StreamTokensResponse message = null;
      Failure failure = null;
      try {
        message = call.read();
      } catch (StatusException error) {
        failure = Failure.of(error);
      }
      if (message == null && isClosed()) {
        throw closedWhileRead();
      } else if (message == null) {
        call = null;
        wait = session.callEnded(resuming, failure);
      } else if (session.received(message)) {
        return Optional.of(message);
      }
    }
    return Optional.empty();
  }

  private void open(Duration delay) throws InterruptedException {
    if (closed.await(delay.toNanos(), TimeUnit.NANOSECONDS)) {
      throw closedWhileRead();
    }
    session.calling();
    if (session.resumes() > 0) {
      client.connectAnew();
    }
    resuming = session.resuming();
    // Together, so that a close in between does not miss the call.
    synchronized (this) {
      if (isClosed()) {
        throw closedWhileRead();
      }
      client.opened(this);
      call =
          resuming
              ? client.read(plan.generationId(), session.answer().sequence, session.timeLeft())
              : client.start(plan.request(), session.timeLeft());
    }
  }

  private void awaitTrailers() throws InterruptedException {
    try {
      call.read(TRAILERS_TIMEOUT.toMillis(), TimeUnit.MILLISECONDS);
    } catch (StatusException | TimeoutException sameAsFinished) {
      // `finished` has said it.
    }
  }

  private boolean isClosed() {
    return closed.getCount() == 0;
  }

  private void hangUp() {
    if (call != null) {
      call.cancel("the reader left", null);
    }
  }

  private TokenStreamException closedWhileRead() {
    return session.left("the stream was closed while it was read");
  }
}
