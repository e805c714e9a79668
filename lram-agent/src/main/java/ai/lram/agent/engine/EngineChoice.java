package ai.lram.agent.engine;

import ai.lram.agent.policy.Policy;
import ai.lram.backend.BackendProvider;
import ai.lram.backend.Backends;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.LongSupplier;
import java.util.stream.Collectors;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Opens a policy ready to serve. With {@code device=auto}, where several engines can be used, it is opened on all of them, each is warmed up,
 * some hundred steps of the model itself are timed at a stated number of sessions, the fastest is kept and the others are closed. Which, why
 * and the medians are logged in one line. An engine that fails meanwhile is logged with its cause and left out.
 *
 * <p>Single thread: the one that will own the policy.
 */
public final class EngineChoice {
    /** The device that leaves the engine to us. */
    public static final String AUTO = "auto";

    private static final Logger LOG = LoggerFactory.getLogger(EngineChoice.class);

    /** Engines take turns this often, so that what disturbs the machine for a while disturbs both. */
    private static final int TURNS = 2;
    /**
     * How much is measured.
     *
     * @param warmUpNs of steps before anything is timed, on each engine; more while code is still being compiled
     * @param steps to be timed on each engine
     * @param longestNs of timed steps on each engine, and of those before that bring it into its steady state
     */
    public record Effort(long warmUpNs, int steps, long longestNs) {
        /** Three seconds at least, until code is compiled, then 200 steps or two seconds. */
        public static Effort usual() {
            return new Effort(3_000_000_000L, 200, 2_000_000_000L);
        }
    }

    /**
     * Sessions in a timed step.
     *
     * @param why that many, for the log, e.g. {@code all slots}
     */
    public record Sessions(int count, String why) {
        public Sessions {
            if (count < 1) {
                throw new IllegalArgumentException(
                        "engines are compared by steps of one session or more, got " + count);
            }
        }
    }

    /**
     * A policy ready to serve.
     *
     * @param reason its engine, and why that one
     */
    public record Chosen(Policy policy, String reason) {}

    private final List<BackendProvider> providers;
    private final Effort effort;
    private final LongSupplier nowNs;

    /** Among the engines of this build, by the system's clock. */
    public EngineChoice(Effort effort) {
        this(Backends.providers(), effort, System::nanoTime);
    }

    EngineChoice(List<BackendProvider> providers, Effort effort, LongSupplier nowNs) {
        this.providers = providers;
        this.effort = effort;
        this.nowNs = nowNs;
    }

    /** An open policy on its way. */
    private final class Trial {
        final String engine;
        final Policy policy;
        final Rehearsal rehearsal;
        final long[] ns = new long[Math.max(effort.steps, TURNS)];
        int taken;

        Trial(String engine, Policy policy) {
            this.engine = engine;
            this.policy = policy;
            rehearsal = new Rehearsal(policy, nowNs);
        }

        /** Brings the sessions to where their state has been folded: a young one costs less. */
        void settle(int sessions) {
            rehearsal.begin(sessions);
            long end = nowNs.getAsLong() + effort.longestNs;
            for (int i = 0; i < Rehearsal.EPISODE && nowNs.getAsLong() - end < 0; i++) {
                rehearsal.stepNs();
            }
        }

        /** A step at least: those of a large model with many sessions take seconds on a CPU. */
        void turn() {
            long end = nowNs.getAsLong() + effort.longestNs / TURNS;
            for (int i = 0; i < ns.length / TURNS && (i == 0 || nowNs.getAsLong() - end < 0); i++) {
                ns[taken++] = rehearsal.stepNs();
            }
        }

        double medianMs() {
            long[] sorted = Arrays.copyOf(ns, taken);
            Arrays.sort(sorted);
            return sorted[taken / 2] / 1e6;
        }

        String told() {
            return String.format(Locale.ROOT, "%s %.3f ms", engine, medianMs());
        }

        /** Whatever it answers, another engine may be at work. */
        void close() {
            try {
                policy.close();
            } catch (RuntimeException | LinkageError e) {
                LOG.warn("engine {} does not close", engine, e);
            }
        }
    }

    /** Engines that have failed, in order. */
    private static final class Failures {
        private final List<String> reasons = new ArrayList<>();
        private RuntimeException first;

        void add(String engine, Throwable cause) {
            LOG.warn("engine {} is left out", engine, cause);
            reasons.add(engine + " failed: " + (cause.getMessage() == null ? cause : cause.getMessage()));
            if (first == null) {
                first = cause instanceof RuntimeException e ? e : new IllegalStateException(cause);
            } else {
                first.addSuppressed(cause);
            }
        }

        String told() {
            return reasons.isEmpty() ? "" : " (" + String.join("; ", reasons) + ")";
        }
    }

    /**
     * A warm policy.
     *
     * @param device {@code auto}, or the engine it must be
     * @param open opens the policy on the engine of a name, {@code auto} included
     * @param sessions of a timed step
     * @throws RuntimeException of the engine that was asked for, or of the first one where all fail; nothing stays open
     */
    public Chosen open(String device, Function<String, Policy> open, Sessions sessions) {
        if (!device.equals(AUTO)) {
            return new Chosen(warm(open.apply(device)), "engine " + device + ": it was asked for");
        }
        List<String> usable = new ArrayList<>();
        List<String> refusals = new ArrayList<>();
        for (BackendProvider p : providers) {
            Optional<String> why = p.whyUnavailable();
            if (why.isEmpty()) {
                usable.add(p.name());
            } else {
                refusals.add(p.name() + ": " + why.get());
            }
        }
        if (usable.size() < 2) {
            // Opening says why the others were refused, and throws where none can be used.
            Policy only = warm(open.apply(AUTO));
            return new Chosen(
                    only,
                    "engine " + String.join("", usable) + ": the only one here (refused: " + String.join("; ", refusals)
                            + ")");
        }
        Chosen chosen = measured(usable, open, sessions);
        LOG.info(chosen.reason);
        return chosen;
    }

    private Policy warm(Policy policy) {
        return Rehearsal.warm(policy, effort.warmUpNs);
    }

    private Chosen measured(List<String> engines, Function<String, Policy> open, Sessions sessions) {
        List<Trial> trials = new ArrayList<>();
        Failures failures = new Failures();
        Policy kept = null;
        try {
            for (String engine : engines) {
                open(engine, open, trials, failures);
            }
            // All of them before any is timed: code compiled for one engine is compiled anew when another one comes.
            each(trials, failures, t -> t.rehearsal.warm(effort.warmUpNs));
            if (trials.size() > 1) {
                each(trials, failures, t -> t.settle(sessions.count));
                for (int turn = 0; turn < TURNS; turn++) {
                    each(trials, failures, Trial::turn);
                }
            }
            if (trials.isEmpty()) {
                throw failures.first;
            }
            Trial best = trials.getFirst();
            for (Trial t : trials) {
                best = trials.size() > 1 && t.medianMs() < best.medianMs() ? t : best;
            }
            kept = best.policy;
            return new Chosen(kept, reason(best, trials, sessions) + failures.told());
        } finally {
            for (Trial t : trials) {
                if (t.policy != kept) {
                    t.close();
                }
            }
        }
    }

    private void open(String engine, Function<String, Policy> open, List<Trial> trials, Failures failures) {
        Policy policy;
        try {
            policy = open.apply(engine);
        } catch (RuntimeException | LinkageError e) {
            failures.add(engine, e);
            return;
        }
        trials.add(new Trial(engine, policy));
    }

    private static void each(List<Trial> trials, Failures failures, Consumer<Trial> work) {
        for (Trial t : List.copyOf(trials)) {
            try {
                work.accept(t);
            } catch (RuntimeException | LinkageError e) {
                trials.remove(t);
                failures.add(t.engine, e);
                t.close();
            }
        }
    }

    private static String reason(Trial best, List<Trial> trials, Sessions sessions) {
        if (trials.size() == 1) {
            return "engine " + best.engine + ": the only one left";
        }
        return "engine " + best.engine + ": the fastest for this model with " + sessions.count + " sessions in a step ("
                + sessions.why + "): "
                + trials.stream().map(Trial::told).collect(Collectors.joining(", ")) + ", medians of "
                + trials.stream().map(t -> String.valueOf(t.taken)).collect(Collectors.joining(" and ")) + " steps";
    }
}
