package ai.lram.agent.export;

import java.util.List;

/**
 * What an exported graph looks like.
 *
 * @param form one environment step or one token a call
 * @param weights number format of the large weight matrices
 * @param batch sessions per call, or {@link #ANY_BATCH} to leave the first dimension of every input open
 * @param tasks ids of the tasks to export, in the order of their indices; empty for all of the card
 */
public record OnnxOptions(Form form, Weights weights, int batch, List<String> tasks) {
    /** The first dimension of every input is open. */
    public static final int ANY_BATCH = 0;

    /** What one call of the graph advances by. */
    public enum Form {
        /** One environment step: the tokens r_{t-1}, s_t, g_t as one exact chunk, or s_t, g_t where an episode begins. */
        STEP,
        /** One token, whose kind is an input: the plain recurrence. */
        TOKEN
    }

    /** Number format of the projections and the head; everything else is fp32. */
    public enum Weights {
        FP32,
        /** One scale per output; activations are quantised as they come (DynamicQuantizeLinear, MatMulInteger). Not exact. */
        INT8
    }

    public OnnxOptions {
        tasks = List.copyOf(tasks);
        if (batch < 0) {
            throw new ExportException(
                    "a graph for batches of " + batch,
                    "a batch holds at least one session",
                    "give a number >= 1, or " + ANY_BATCH + " for any");
        }
        if (tasks.stream().distinct().count() < tasks.size()) {
            throw new ExportException("tasks " + tasks, "one is named twice", "name each task once");
        }
    }

    /** One environment step, fp32, any batch, all tasks. */
    public static OnnxOptions defaults() {
        return new OnnxOptions(Form.STEP, Weights.FP32, ANY_BATCH, List.of());
    }

    public OnnxOptions withForm(Form f) {
        return new OnnxOptions(f, weights, batch, tasks);
    }

    public OnnxOptions withWeights(Weights w) {
        return new OnnxOptions(form, w, batch, tasks);
    }

    public OnnxOptions withBatch(int b) {
        return new OnnxOptions(form, weights, b, tasks);
    }

    public OnnxOptions withTasks(List<String> ids) {
        return new OnnxOptions(form, weights, batch, ids);
    }
}
