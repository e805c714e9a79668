package ai.lram.bench.latency;

import ai.lram.bench.Latencies;
import akka.actor.typed.ActorRef;
import akka.actor.typed.ActorSystem;
import akka.actor.typed.Behavior;
import akka.actor.typed.DispatcherSelector;
import akka.actor.typed.javadsl.Behaviors;
import com.typesafe.config.ConfigFactory;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;

/** What a message costs between two actors on the runtime's own session and inference threads. One caller. */
final class Hops implements AutoCloseable {
    private static final long PATIENCE_SECONDS = 60;
    /** Long enough for both threads to sleep. */
    private static final long PAUSE_NS = 2_000_000;

    private static final String SETTINGS =
            """
            akka.jvm-exit-on-fatal-error = off
            akka.coordinated-shutdown.run-by-jvm-shutdown-hook = off
            akka.loglevel = WARNING
            akka.logger-startup-timeout = 60s
            """;

    /** The one message: goes from actor to actor {@code left} times. */
    private static final class Ball {
        final CompletableFuture<Void> done = new CompletableFuture<>();
        final Latencies latencies;
        final ActorRef<Ball> near;
        final ActorRef<Ball> far;
        int left;
        boolean towardsFar = true;
        long sentNs;

        Ball(Latencies latencies, int left, ActorRef<Ball> near, ActorRef<Ball> far) {
            this.latencies = latencies;
            this.left = left;
            this.near = near;
            this.far = far;
        }

        void send() {
            sentNs = System.nanoTime();
            (towardsFar ? far : near).tell(this);
        }
    }

    private final ActorSystem<Void> system;
    private final ActorRef<Ball> near;
    private final ActorRef<Ball> far;

    Hops() {
        CompletableFuture<ActorRef<Ball>> nearRef = new CompletableFuture<>();
        CompletableFuture<ActorRef<Ball>> farRef = new CompletableFuture<>();
        system = ActorSystem.create(
                Behaviors.<Void>setup(context -> {
                    nearRef.complete(context.spawn(player(), "near", on("session")));
                    farRef.complete(context.spawn(player(), "far", on("inference")));
                    return Behaviors.empty();
                }),
                "lram-bench-hops",
                ConfigFactory.parseString(SETTINGS).withFallback(ConfigFactory.load()));
        near = nearRef.orTimeout(PATIENCE_SECONDS, TimeUnit.SECONDS).join();
        far = farRef.orTimeout(PATIENCE_SECONDS, TimeUnit.SECONDS).join();
    }

    private static DispatcherSelector on(String thread) {
        return DispatcherSelector.fromConfig("lram.runtime." + thread + "-dispatcher");
    }

    private static Behavior<Ball> player() {
        return Behaviors.receiveMessage(ball -> {
            ball.latencies.record(System.nanoTime() - ball.sentNs);
            ball.towardsFar = !ball.towardsFar;
            if (--ball.left > 0) {
                ball.send();
            } else {
                ball.done.complete(null);
            }
            return Behaviors.same();
        });
    }

    private void play(Latencies latencies, int times) {
        Ball ball = new Ball(latencies, times, near, far);
        ball.send();
        ball.done.orTimeout(PATIENCE_SECONDS, TimeUnit.SECONDS).join();
    }

    /** Hops back and forth without a pause: the threads spin between them. */
    Latencies busy(int times, int repetitions) {
        Latencies latencies = new Latencies(times, repetitions);
        play(latencies, times);
        return latencies;
    }

    /** Hops to an actor whose thread sleeps. */
    Latencies idle(int times, int repetitions) {
        Latencies latencies = new Latencies(times, repetitions);
        for (int i = 0; i < times; i++) {
            LockSupport.parkNanos(PAUSE_NS);
            play(latencies, 1);
        }
        return latencies;
    }

    @Override
    public void close() {
        system.terminate();
        system.getWhenTerminated()
                .toCompletableFuture()
                .orTimeout(PATIENCE_SECONDS, TimeUnit.SECONDS)
                .join();
    }
}
