package io.tokengrpc.client;

import io.tokengrpc.tokenstreaming.v1.FinishReason;
import io.tokengrpc.tokenstreaming.v1.Finished;
import io.tokengrpc.tokenstreaming.v1.StreamTokensResponse;
import io.tokengrpc.tokenstreaming.v1.Token;
import io.tokengrpc.tokenstreaming.v1.ToolCall;
import io.tokengrpc.tokenstreaming.v1.Usage;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ThreadLocalRandom;

/**
 * The tokens of one generation, each once, in order, over as many connections as necessary. A stream can be read once, by one
 * thread; any thread may close or detach it.
 *
 * <p>Closing the stream early, or interrupting the reading thread, stops the generation on the server, unless the stream comes
 * from {@code resume}, or {@link #detach} was called. Write {@code try (var stream = client.stream(…))}: if a stream is
 * neither read to its end nor closed, its generation keeps running.
 *
 * <p>{@link #hasNext}, {@link #next} and {@link #nextMessage} throw {@link TokenStreamException}; the data received
 * before it stays readable.
 */
public final class TokenStream implements Iterator<Token>, Iterable<Token>, AutoCloseable {
  private final TokenStreamClient client;
  private final Plan plan;
  private final Session session;
  private final Calls calls;
  private Iterator<Token> arrived = Collections.emptyIterator();
  private boolean over;

  /** Created by {@link TokenStreamClient}; the call itself is made when reading begins. */
  TokenStream(TokenStreamClient client, Plan plan) {
    this.client = client;
    this.plan = plan;
    session = new Session(plan, client.policy(), System::nanoTime, () -> ThreadLocalRandom.current().nextDouble());
    calls = new Calls(client, plan, session, () -> client.opened(this));
  }

  /** Returns the stream itself, for use in a {@code for} loop. */
  @Override
  public Iterator<Token> iterator() {
    return this;
  }

  /** Waits for the next token; returns false after a normal end. */
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

  /** Waits for the next new message, including notices; returns empty after a normal end. */
  public Optional<StreamTokensResponse> nextMessage() {
    if (over) {
      return Optional.empty();
    }
    try {
      Optional<StreamTokensResponse> message = calls.read();
      over = message.isEmpty();
      if (over) {
        close();
      }
      return message;
    } catch (InterruptedException interrupt) {
      over = true;
      close();
      Thread.currentThread().interrupt();
      throw session.stopped("the thread that read the stream was interrupted");
    } catch (RuntimeException | Error failure) {
      over = true;
      // Thrown at once: the deadline may have passed, and the server may not answer.
      end();
      if (failure instanceof TokenStreamException && session.detached()) {
        return Optional.empty();
      }
      throw failure;
    }
  }

  /**
   * Ends the stream. Also cancels the generation if it may still run, except for streams of {@code resume} without
   * {@code cancelOnClose}, and after {@link #detach}.
   */
  @Override
  public void close() {
    end().join();
  }

  /** Ends the stream. The result completes when the generation is cancelled, if it may still run. */
  private CompletableFuture<Void> end() {
    if (!calls.hangUp()) {
      return CompletableFuture.completedFuture(null);
    }
    client.closed(this);
    return session.abandoned() ? client.leave(plan.generationId()) : CompletableFuture.completedFuture(null);
  }

  /**
   * Leaves the generation to another reader: ends the stream without stopping the generation, which then waits for a reader for
   * its {@code detach_ttl}. Reading ends normally, after the tokens that had arrived in the last message.
   *
   * @return the cursor from which {@link TokenStreamClient#resume(Cursor)} goes on, in any client of any language
   * @throws TokenStreamException with the reason {@code NOT_RESUMABLE}, and without any effect, if the stream is not resumable
   */
  public Cursor detach() {
    Cursor cursor = session.detach();
    close();
    return cursor;
  }

  /** Returns the generation's id: the caller's own, or a random one. */
  public String generationId() {
    return plan.generationId();
  }

  /** Returns the position after the last message received, also after an error: another reader can go on from there. */
  public Cursor cursor() {
    return session.cursor();
  }

  /** Returns the sequence of the last event received; 0 before the first event. */
  public int sequence() {
    return session.answer().sequence;
  }

  /** Returns the text so far. */
  public String text() {
    return session.answer().text.toString();
  }

  /** Returns the reasoning so far. */
  public String reasoningText() {
    return session.answer().reasoningText.toString();
  }

  /** Returns the refusal so far. */
  public String refusalText() {
    return session.answer().refusalText.toString();
  }

  /**
   * Returns the tool calls so far, in order; complete once the generation has finished. Send them back unchanged when the
   * conversation continues: an engine may require their {@code opaque}.
   */
  public List<ToolCall> toolCalls() {
    return session.answer().toolCalls();
  }

  /** Returns the cumulative usage as of the last event. */
  public Usage usage() {
    return session.answer().usage;
  }

  /** Returns how the generation ended, including its timing; empty until it has ended. */
  public Optional<Finished> finish() {
    return Optional.ofNullable(session.answer().finish);
  }

  /**
   * Returns {@code END}, {@code MAX_TOKENS}, …, or an unknown reason's number. Empty as long as {@code finished} has not
   * arrived, so also after a lost connection or an early close.
   */
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

  /** Returns the number of calls after the first one. */
  public int resumes() {
    return session.resumes();
  }
}
