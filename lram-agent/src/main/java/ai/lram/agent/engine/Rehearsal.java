package ai.lram.agent.engine;

import ai.lram.agent.card.TaskCard;
import ai.lram.agent.policy.Policy;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.agent.policy.PolicyException;
import java.lang.management.CompilationMXBean;
import java.lang.management.ManagementFactory;
import java.util.Arrays;
import java.util.List;
import java.util.function.LongSupplier;

/**
 * Steps a policy with made-up observations before robots come. The slots it uses hold episodes of its own afterwards, which a session's first
 * step resets as it resets any. Single thread: the policy's owner.
 */
public final class Rehearsal {
    /** Steps of an episode: long enough for the first folds of the recurrent state in the published sizes (408M: some 25 steps). */
    static final int EPISODE = 200;

    /** A warm-up is looked at so often; it ends after a part in which the compilers had nearly nothing to do. */
    private static final int PARTS = 3;
    /** Of a part's time. */
    private static final double NEARLY_NOTHING = 0.15;
    /** A warm-up takes at most so many times what it was meant to take. */
    private static final int LONGEST = 5;

    private final Policy policy;
    private final LongSupplier nowNs;
    private final LongSupplier compiledMs;
    private final PolicyBatch batch;
    private boolean first;

    Rehearsal(Policy policy, LongSupplier nowNs) {
        this(policy, nowNs, compilers());
    }

    /** @param compiledMs how long code has been compiled in this process */
    Rehearsal(Policy policy, LongSupplier nowNs, LongSupplier compiledMs) {
        this.policy = policy;
        this.nowNs = nowNs;
        this.compiledMs = compiledMs;
        batch = new PolicyBatch(policy.card(), policy.maxBatch());
    }

    private static LongSupplier compilers() {
        CompilationMXBean compilers = ManagementFactory.getCompilationMXBean();
        return compilers != null && compilers.isCompilationTimeMonitoringSupported()
                ? compilers::getTotalCompilationTime
                : () -> 0;
    }

    /**
     * Prepares steps of every number of rows, then steps the policy until its code is compiled: a robot's first deadline is as short as its
     * last. Closes the policy if that fails.
     *
     * @param ns for so long at least, and up to five times as long on a machine whose compilers have not finished by then
     * @return the policy
     */
    public static Policy warm(Policy policy, long ns) {
        boolean kept = false;
        try {
            new Rehearsal(policy, System::nanoTime).warm(ns);
            kept = true;
            return policy;
        } finally {
            if (!kept) {
                policy.close();
            }
        }
    }

    /** {@link Policy#warmUp}, then episodes of one session, of two, of four and so on, again and again. */
    void warm(long ns) {
        policy.warmUp();
        long begin = nowNs.getAsLong();
        long partEnd = begin + ns / PARTS;
        long compiled = compiledMs.getAsLong();
        boolean quiet = false;
        int rows = 1;
        int step = 0;
        for (long now = begin; now - begin < (quiet ? ns : LONGEST * ns); now = nowNs.getAsLong()) {
            if (step == 0) {
                begin(rows);
                rows = rows == policy.maxBatch() ? 1 : Math.min(2 * rows, policy.maxBatch());
            }
            step();
            step = (step + 1) % EPISODE;
            if (nowNs.getAsLong() - partEnd >= 0) {
                long sofar = compiledMs.getAsLong();
                quiet = 1e6 * (sofar - compiled) <= NEARLY_NOTHING * ns / PARTS;
                compiled = sofar;
                partEnd = nowNs.getAsLong() + ns / PARTS;
            }
        }
    }

    /** Starts episodes in slots 0 to {@code rows} - 1, of the card's tasks in turn. */
    void begin(int rows) {
        List<TaskCard> tasks = policy.card().tasks();
        for (int row = 0; row < rows; row++) {
            policy.reset(row, tasks.get(row % tasks.size()));
            batch.slot[row] = row;
        }
        batch.count = rows;
        first = true;
    }

    /** Takes a step with all of them. */
    void step() {
        Arrays.fill(batch.first, first);
        first = false;
        policy.step(batch);
    }

    /**
     * The same; says how many nanoseconds it took.
     *
     * @throws PolicyException if an answer is not finite
     */
    long stepNs() {
        long begin = nowNs.getAsLong();
        step();
        long ns = nowNs.getAsLong() - begin;
        for (int row = 0; row < batch.count; row++) {
            if (batch.status[row] != PolicyBatch.OK) {
                throw new PolicyException(
                        "a rehearsed step of " + batch.count + " sessions gave an answer that is not finite",
                        "row " + row + " has status " + batch.status[row],
                        "do not trust this engine; run lram test on this machine");
            }
        }
        return ns;
    }
}
