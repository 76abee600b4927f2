package io.tokengrpc.client;

import io.tokengrpc.tokenstreaming.v1.Token;
import java.util.concurrent.Executor;
import java.util.concurrent.Flow;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * An adapter from a stream to a {@link Flow.Publisher} with one subscriber, for use with reactive libraries.
 *
 * <p>Back pressure reaches the server: without demand, at most one message is read ahead. Cancelling the subscription
 * closes the stream, which stops the generation unless the stream comes from {@code resume}. To leave the generation to
 * another reader, call {@link TokenStream#detach} instead: the subscriber receives the tokens that had arrived, then
 * {@code onComplete}.
 */
public final class TokenPublisher implements Flow.Publisher<Token> {
  private final TokenStream stream;
  private final Executor executor;
  private final AtomicBoolean subscribed = new AtomicBoolean();

  /**
   * @param executor runs the blocking read loop in one thread, from subscription to end, and closes the stream in another
   *     thread if the subscription is cancelled
   */
  public TokenPublisher(TokenStream stream, Executor executor) {
    this.stream = stream;
    this.executor = executor;
  }

  @Override
  public void subscribe(Flow.Subscriber<? super Token> subscriber) {
    Reading reading = new Reading(subscriber);
    subscriber.onSubscribe(reading);
    if (subscribed.compareAndSet(false, true)) {
      executor.execute(reading);
    } else {
      subscriber.onError(new IllegalStateException("a stream is read once: open another one for another subscriber"));
    }
  }

  private final class Reading implements Flow.Subscription, Runnable {
    private final Flow.Subscriber<? super Token> subscriber;
    private long demand;
    private boolean misused;
    private boolean cancelled;

    Reading(Flow.Subscriber<? super Token> subscriber) {
      this.subscriber = subscriber;
    }

    @Override
    public synchronized void request(long count) {
      misused |= count <= 0;
      demand = demand + count < 0 ? Long.MAX_VALUE : demand + count;
      notifyAll();
    }

    @Override
    public void cancel() {
      synchronized (this) {
        if (cancelled) {
          return;
        }
        cancelled = true;
        notifyAll();
      }
      // On the executor, because close() waits for the server and cancel() must not block.
      executor.execute(stream::close);
    }

    @Override
    public void run() {
      try (stream) {
        while (stream.hasNext()) {
          if (!awaitDemand()) {
            return;
          }
          subscriber.onNext(stream.next());
        }
        if (!isCancelled()) {
          subscriber.onComplete();
        }
      } catch (TokenStreamException | IllegalArgumentException | InterruptedException failure) {
        if (!isCancelled()) {
          subscriber.onError(failure);
        }
      }
    }

    /** Waits for demand; returns false if the subscription is cancelled. */
    private synchronized boolean awaitDemand() throws InterruptedException {
      while (demand == 0 && !misused && !cancelled) {
        wait();
      }
      if (misused) {
        throw new IllegalArgumentException("request() takes a positive number");
      }
      demand--;
      return !cancelled;
    }

    private synchronized boolean isCancelled() {
      return cancelled;
    }
  }
}
