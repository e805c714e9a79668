package ai.lram.agent.policy;

import ai.lram.agent.lram.ActionCodec;
import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.SessionOps;
import ai.lram.backend.ops.StepChoice;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/**
 * What a control step answers: the engine chooses among the logits that each session's task allows ({@link SessionOps#decide}) and the host reads
 * two numbers for each action dimension, in host-visible memory. The logits stay with the engine until somebody asks for them.
 *
 * <p>One thread owns an instance. Reading decisions allocates nothing.
 */
public final class StepDecisions {
    private static final long NONE = -1;

    private final Backend backend;
    private final ActionCodec.Decoding decoding;
    private final int dims;
    private final int vocabulary;
    private final Tensor ranges;
    private final Tensor values;
    private final Tensor chosen;
    private final Tensor numbers;
    private final Tensor deviceLogits;
    private final MemorySegment range;
    /** What the engine knows of each slot: first and end of its range. */
    private final long[] bound;

    private final MemorySegment hostLogits;
    private final float[] logits;
    private int unread;

    /**
     * @param arena owns the engine's memory
     * @param host owns what is copied to and from it
     * @param dims action dimensions of a row
     */
    public StepDecisions(
            Backend backend,
            TensorArena arena,
            Arena host,
            ActionCodec bins,
            ActionCodec.Decoding decoding,
            int slots,
            int maxBatch,
            int dims) {
        this.backend = backend;
        this.decoding = decoding;
        this.dims = dims;
        vocabulary = bins.discrete() + bins.bins();
        ranges = arena.i32(slots, 2);
        values = arena.f32(vocabulary);
        chosen = arena.hostVisible(DType.I32, maxBatch, dims);
        numbers = arena.hostVisible(DType.F32, maxBatch, dims);
        deviceLogits = arena.f32(maxBatch, dims * vocabulary);
        range = host.allocate(ranges.bytes() / slots, 64);
        bound = new long[slots];
        Arrays.fill(bound, NONE);
        hostLogits = host.allocate(deviceLogits.bytes(), 64);
        logits = new float[Math.toIntExact(deviceLogits.size())];
        MemorySegment stands = host.allocate(values.bytes(), 64);
        for (int id = 0; id < vocabulary; id++) {
            stands.setAtIndex(ValueLayout.JAVA_FLOAT, id, bins.value(decoding, id));
        }
        backend.upload(backend.stream(), values, stands);
        backend.stream().synchronize();
    }

    /** Tells the engine what a slot's task allows; before the slot's next step. */
    public void bind(int slot, TaskCodec codec) {
        long wanted = (long) codec.firstChoice(decoding) << 32 | codec.endOfChoices();
        if (wanted == bound[slot]) {
            return; // most episodes are of the task before, and waiting here would hold up the robots beside this one
        }
        bound[slot] = NONE;
        range.setAtIndex(ValueLayout.JAVA_INT, 0, codec.firstChoice(decoding));
        range.setAtIndex(ValueLayout.JAVA_INT, 1, codec.endOfChoices());
        backend.upload(backend.stream(), ranges.slice(slot, 1), range);
        backend.stream().synchronize();
        bound[slot] = wanted;
    }

    /**
     * The memory as a batch of n rows uses it.
     *
     * @param slots (n) I32, where kernels read them
     */
    public Rows rows(int n, Tensor slots) {
        return new Rows(n, slots);
    }

    /** Logits per row. */
    public int perRow() {
        return dims * vocabulary;
    }

    /** Logits of the rows of the last step read, fetched if need be; the array is reused. */
    public float[] logits() {
        if (unread > 0) {
            Tensor read = deviceLogits.slice(0, unread);
            backend.download(backend.stream(), read, hostLogits.asSlice(0, read.bytes()));
            backend.stream().synchronize();
            MemorySegment.copy(hostLogits, ValueLayout.JAVA_FLOAT, 0, logits, 0, unread * perRow());
            unread = 0;
        }
        return logits;
    }

    /** Views for a batch of n rows. */
    public final class Rows {
        private final int n;
        private final Tensor working;
        private final StepChoice choice;
        private final MemorySegment hostChosen;
        private final MemorySegment hostNumbers;

        private Rows(int n, Tensor slots) {
            this.n = n;
            working = deviceLogits.slice(0, n);
            boolean mean = decoding == ActionCodec.Decoding.EXPECTATION;
            choice = new StepChoice(slots, ranges, values, mean, chosen.slice(0, n), numbers.slice(0, n));
            hostChosen = choice.chosen().segment();
            hostNumbers = choice.numbers().segment();
        }

        /** (n, {@link #perRow}) F32, for the step to write. */
        public Tensor logits() {
            return working;
        }

        public StepChoice choice() {
            return choice;
        }

        /** Writes the actions of every row of the batch; after the step has been waited for. */
        public void read(PolicyBatch batch, SlotBindings bindings) {
            for (int row = 0; row < n; row++) {
                TaskCodec codec = bindings.codec(batch.slot[row]);
                float[] action = batch.action[row];
                boolean finite = true;
                for (int i = 0; i < codec.actionSize(); i++) {
                    long unit = (long) row * dims + i;
                    int id = hostChosen.getAtIndex(ValueLayout.JAVA_INT, unit);
                    float number = hostNumbers.getAtIndex(ValueLayout.JAVA_FLOAT, unit);
                    action[i] = codec.action(i, id, number, batch.observation[row]);
                    finite &= Float.isFinite(action[i]);
                }
                batch.status[row] = finite ? PolicyBatch.OK : PolicyBatch.NOT_FINITE;
            }
            unread = n;
        }
    }
}
