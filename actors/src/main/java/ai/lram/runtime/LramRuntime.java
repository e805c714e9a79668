package ai.lram.runtime;

import ai.lram.agent.card.ModelCard;
import ai.lram.runtime.protocol.SessionListener;
import ai.lram.runtime.protocol.SessionSpec;
import ai.lram.runtime.recording.EpisodeSinkFactory;
import ai.lram.runtime.recording.RecordingMemory;
import ai.lram.runtime.time.MonotonicClock;
import ai.lram.runtime.time.PauseMeter;
import ai.lram.runtime.time.ThreadWakeTimer;
import ai.lram.runtime.time.WakeTimer;
import akka.actor.typed.ActorSystem;
import com.typesafe.config.Config;
import com.typesafe.config.ConfigFactory;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Consumer;

/**
 * The control runtime around one policy: opens robot sessions, batches their steps on the policy's thread, records them.
 *
 * <p>Threads: every method may be called from any thread. {@link #openSession} and {@link #stats} do not block;
 * {@link #start} and {@link #close} do.
 */
public final class LramRuntime implements AutoCloseable {
    private static final Duration ANSWER_TIMEOUT = Duration.ofSeconds(30);

    /**
     * What the runtime takes from its surroundings.
     *
     * @param clock monotonic time
     * @param timer alarms on that clock
     * @param pauses how long the process was stopped
     */
    public record Environment(MonotonicClock clock, WakeTimer timer, PauseMeter pauses) {
        /** The JVM's clock, collectors and a timer thread. */
        public static Environment system() {
            MonotonicClock clock = MonotonicClock.system();
            return new Environment(clock, new ThreadWakeTimer("lram-deadlines", clock), PauseMeter.ofCollectors());
        }
    }

    private final ActorSystem<RuntimeGuardian.Command> system;
    private final Environment environment;
    private final RuntimeMeters meters;
    private final ModelCard card;
    private volatile boolean closed;

    private LramRuntime(
            ActorSystem<RuntimeGuardian.Command> system,
            Environment environment,
            RuntimeMeters meters,
            ModelCard card) {
        this.system = system;
        this.environment = environment;
        this.meters = meters;
        this.card = card;
    }

    /** Starts with the settings on the class path and without recording. */
    public static LramRuntime start(PolicyFactory factory) {
        return start(factory, RuntimeSettings.load(), Optional.empty(), Environment.system());
    }

    /**
     * Starts the runtime and waits until the policy is loaded. The environment's timer belongs to the runtime afterwards.
     *
     * @param recording where recorded episodes go; empty to refuse sessions that ask for it
     * @throws RuntimeStartException if the policy cannot be made in time; nothing keeps running
     */
    public static LramRuntime start(
            PolicyFactory factory,
            RuntimeSettings settings,
            Optional<EpisodeSinkFactory> recording,
            Environment environment) {
        RuntimeMeters meters =
                new RuntimeMeters(new RecordingMemory(settings.recordingChunks(), settings.recordingChunkFrames()));
        CompletableFuture<ModelCard> started = new CompletableFuture<>();
        ActorSystem<RuntimeGuardian.Command> system = ActorSystem.create(
                RuntimeGuardian.create(settings, environment, factory, recording, meters, started),
                "lram-runtime",
                akkaConfig());
        try {
            ModelCard card = started.get(settings.startTimeout().toNanos(), TimeUnit.NANOSECONDS);
            return new LramRuntime(system, environment, meters, card);
        } catch (ExecutionException failure) {
            abandon(system, environment);
            Throwable cause = failure.getCause();
            throw new RuntimeStartException(
                    "the runtime did not start",
                    String.valueOf(cause.getMessage()),
                    "correct the model or its settings",
                    cause);
        } catch (TimeoutException slow) {
            abandon(system, environment);
            throw new RuntimeStartException(
                    "the runtime did not start",
                    "the policy was not loaded within "
                            + settings.startTimeout().toMillis() + " ms",
                    "raise lram.runtime.start-timeout, or look at what the policy waits for",
                    slow);
        } catch (InterruptedException interrupted) {
            abandon(system, environment);
            Thread.currentThread().interrupt();
            throw new RuntimeStartException(
                    "the runtime did not start", "the thread was interrupted", "start it again", interrupted);
        }
    }

    private static void abandon(ActorSystem<RuntimeGuardian.Command> system, Environment environment) {
        system.terminate();
        environment.timer().close();
    }

    /** Akka's settings where a library inside somebody else's process needs others than Akka's defaults. */
    private static Config akkaConfig() {
        return ConfigFactory.parseString(
                        """
                        akka.jvm-exit-on-fatal-error = off
                        akka.coordinated-shutdown.run-by-jvm-shutdown-hook = off
                        akka.actor.default-dispatcher.fork-join-executor.parallelism-min = 1
                        akka.actor.default-dispatcher.fork-join-executor.parallelism-max = 2
                        akka.log-dead-letters-during-shutdown = off
                        akka.loglevel = WARNING
                        akka.logger-startup-timeout = 60s
                        """)
                .withFallback(ConfigFactory.load());
    }

    /** What the policy is for. */
    public ModelCard card() {
        return card;
    }

    /**
     * Opens a session; the outcome comes to the listener.
     *
     * @throws RuntimeClosedException if the runtime was closed
     */
    public void openSession(SessionSpec spec, SessionListener listener) {
        if (closed) {
            throw new RuntimeClosedException(
                    "no session can be opened", "the runtime was closed", "start a new runtime", null);
        }
        system.tell(new RuntimeGuardian.Open(spec, listener));
    }

    /** True while a policy runs. */
    public boolean healthy() {
        return meters.healthy();
    }

    /** Tells {@code listener} whether a policy runs, now and at every change; it must not block. */
    public void onHealth(Consumer<Boolean> listener) {
        meters.onHealth(listener);
    }

    /** The clock of {@link ai.lram.runtime.protocol.Observation#receivedNs}. */
    public MonotonicClock clock() {
        return environment.clock();
    }

    /**
     * Lets sessions, steps and latencies be counted from nothing, as after a rehearsal. Blocks until they are.
     *
     * @throws IllegalStateException if a session is open, or the runtime does not answer
     */
    public void forgetStats() {
        CompletableFuture<Void> done = new CompletableFuture<>();
        system.tell(new RuntimeGuardian.ForgetStats(done));
        try {
            done.get(ANSWER_TIMEOUT.toNanos(), TimeUnit.NANOSECONDS);
        } catch (ExecutionException failure) {
            throw new IllegalStateException(failure.getCause().getMessage(), failure);
        } catch (TimeoutException stuck) {
            throw new IllegalStateException("the runtime did not answer within " + ANSWER_TIMEOUT, stuck);
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("the thread was interrupted", interrupted);
        }
    }

    /** Counts and latencies so far. */
    public Snapshot stats() {
        return meters.snapshot();
    }

    /** Closes all sessions, stores what was recorded, closes the policy on its thread. Calling it again does nothing. */
    @Override
    public void close() {
        if (closed) {
            return;
        }
        closed = true;
        system.tell(RuntimeGuardian.Shutdown.INSTANCE);
        try {
            system.getWhenTerminated().toCompletableFuture().get(ANSWER_TIMEOUT.toNanos(), TimeUnit.NANOSECONDS);
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
            system.terminate();
        } catch (ExecutionException | TimeoutException stuck) {
            system.log().error("the runtime did not stop within {}: terminating its threads", ANSWER_TIMEOUT, stuck);
            system.terminate();
        }
        environment.timer().close();
    }
}
