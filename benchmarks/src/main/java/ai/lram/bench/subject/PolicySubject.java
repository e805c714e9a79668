package ai.lram.bench.subject;

import ai.lram.agent.autodiff.Value;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.ActionCodec;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.policy.Policy;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.agent.policy.TaskCodec;
import ai.lram.backend.Backend;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/** A policy with made-up inputs. */
abstract class PolicySubject implements Subject {
    final TaskCard task;
    final Policy policy;
    final Inputs inputs;
    final PolicyBatch batch;
    private long at;

    PolicySubject(ModelCard card, Policy policy, long seed) {
        this.task = card.tasks().getFirst();
        this.policy = policy;
        inputs = new Inputs(task, seed);
        batch = new PolicyBatch(card, policy.maxBatch());
    }

    /** Starts episodes in slots 0 to {@code sessions} - 1. */
    final void reset(int sessions) {
        for (int slot = 0; slot < sessions; slot++) {
            policy.reset(slot, task);
        }
        batch.count = sessions;
        at = 0;
    }

    @Override
    public void begin(int sessions, int context) {
        reset(sessions);
        for (int i = 0; i < context; i++) {
            fill();
            step();
        }
    }

    /** As {@link #begin}, with episodes that begin a step apart: {@code context} steps lie behind the last one. */
    public final void beginApart(int sessions, int context) {
        reset(sessions);
        for (int i = 0; i < sessions + context; i++) {
            if (i < sessions) {
                policy.reset(i, task);
            }
            fill();
            step();
        }
    }

    /** Says that the sessions stand after {@code steps} steps. */
    final void standsAfter(long steps) {
        at = steps;
    }

    @Override
    public void fill() {
        for (int row = 0; row < batch.count; row++) {
            inputs.fill(batch, row, row, at);
        }
    }

    @Override
    public void step() {
        policy.step(batch);
        at++;
    }

    @Override
    public boolean usable() {
        boolean ok = true;
        for (int row = 0; row < batch.count; row++) {
            ok &= batch.status[row] == PolicyBatch.OK;
        }
        return ok;
    }

    /** Writes the inputs of session 0's first steps into a recorded pass over all of them. */
    final void sendInputs(
            Backend backend, LramConfig shape, int steps, Value states, Value returnsToGo, Value rewards) {
        TaskCodec codec = new TaskCodec(task, new ActionCodec(shape.discreteActions(), shape.bins()));
        float[] s = new float[steps * shape.stateDim()];
        float[] g = new float[steps];
        float[] r = new float[steps];
        PolicyBatch row = new PolicyBatch(policy.card(), 1);
        for (int t = 0; t < steps; t++) {
            inputs.fill(row, 0, 0, t);
            for (int i = 0; i < codec.observationSize(); i++) {
                s[t * shape.stateDim() + i] = codec.observation(i, row.observation[0][i]);
            }
            g[t] = codec.reward(row.returnToGo[0]);
            r[t] = codec.reward(inputs.reward(t));
        }
        send(backend, states, s);
        send(backend, returnsToGo, g);
        send(backend, rewards, r);
    }

    private static void send(Backend backend, Value to, float[] values) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment host = arena.allocate(4L * values.length, 64);
            MemorySegment.copy(values, 0, host, ValueLayout.JAVA_FLOAT, 0, values.length);
            backend.upload(backend.stream(), to.tensor(), host);
            backend.stream().synchronize();
        }
    }

    /** The first {@code width} numbers of each of {@code count} equal rows. */
    static float[][] rows(float[] all, int count, int width) {
        float[][] out = new float[count][];
        int stride = all.length / count;
        for (int i = 0; i < count; i++) {
            out[i] = Arrays.copyOfRange(all, i * stride, i * stride + width);
        }
        return out;
    }
}
