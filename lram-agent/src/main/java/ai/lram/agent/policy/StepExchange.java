package ai.lram.agent.policy;

import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.SessionOps;
import ai.lram.backend.ops.StepInput;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/**
 * What a control step takes from the host: one contiguous block in host-visible memory. On a device engine most kernels work on a copy in its
 * own memory, since memory of the host is read across the bus at every access: a step begins with {@link SessionOps#embed} from
 * {@link Rows#written} to {@link Rows#input} and ends as {@link StepDecisions} says. A host engine's kernels use the block itself.
 *
 * <p>One thread owns an instance. Filling allocates nothing.
 */
public final class StepExchange {
    /** Of a row's tokens. */
    public static final int REWARD = 0;

    public static final int STATE = 1;
    public static final int RETURN = 2;

    private final int stateDim;
    private final float[] state;
    private final Tensor hostIn;
    private final Tensor in;

    /**
     * @param arena owns the memory
     * @param stateDim width of the state token's input
     */
    public StepExchange(TensorArena arena, int maxBatch, int stateDim) {
        this.stateDim = stateDim;
        state = new float[stateDim];
        int floats = StepInput.floats(maxBatch, widths(stateDim));
        hostIn = arena.hostVisible(DType.F32, floats);
        in = hostIn.isHost() ? hostIn : arena.f32(floats);
    }

    /** Of the vectors that a step's tokens are made of, in their order: reward, state, return-to-go. */
    private static int[] widths(int stateDim) {
        return new int[] {1, stateDim, 1};
    }

    /** The blocks as a batch of n rows uses them. */
    public Rows rows(int n) {
        return new Rows(n);
    }

    /** Views for a batch of n rows. */
    public final class Rows {
        private final int n;
        private final StepInput written;
        private final StepInput input;
        private final MemorySegment hostStates;
        private final MemorySegment hostReturns;
        private final MemorySegment hostRewards;
        private final MemorySegment hostSlots;
        private final MemorySegment hostCounts;

        private Rows(int n) {
            this.n = n;
            written = StepInput.in(hostIn, n, widths(stateDim));
            input = in == hostIn ? written : StepInput.in(in, n, widths(stateDim));
            hostRewards = written.vectors().get(REWARD).segment();
            hostStates = written.vectors().get(STATE).segment();
            hostReturns = written.vectors().get(RETURN).segment();
            hostSlots = written.slots().segment();
            hostCounts = written.counts().segment();
        }

        /** Where the host writes. */
        public StepInput written() {
            return written;
        }

        /** Where kernels read what {@link SessionOps#embed} has brought there. */
        public StepInput input() {
            return input;
        }

        /**
         * Writes a batch of n rows as its slots' tasks encode it.
         *
         * @param tokens of a row that is not its episode's first, which has one less
         */
        public void fill(PolicyBatch batch, SlotBindings bindings, int tokens, boolean zeroRewards) {
            for (int row = 0; row < n; row++) {
                TaskCodec codec = bindings.codec(batch.slot[row]);
                // By rows, since numbers one by one take three times as long.
                codec.observations(batch.observation[row], state);
                Arrays.fill(state, codec.observationSize(), stateDim, 0f);
                long at = (long) row * stateDim * Float.BYTES;
                MemorySegment.copy(state, 0, hostStates, ValueLayout.JAVA_FLOAT, at, stateDim);
                hostReturns.setAtIndex(ValueLayout.JAVA_FLOAT, row, codec.reward(batch.returnToGo[row]));
                float reward = batch.first[row] || zeroRewards ? 0f : codec.reward(batch.reward[row]);
                hostRewards.setAtIndex(ValueLayout.JAVA_FLOAT, row, reward);
                hostSlots.setAtIndex(ValueLayout.JAVA_INT, row, batch.slot[row]);
                hostCounts.setAtIndex(ValueLayout.JAVA_INT, row, batch.first[row] ? tokens - 1 : tokens);
            }
        }

        /** Writes rows that bring no token and so change no state, for slots 0..n-1. */
        void fillIdle() {
            hostStates.fill((byte) 0);
            hostReturns.fill((byte) 0);
            hostRewards.fill((byte) 0);
            hostCounts.fill((byte) 0);
            for (int row = 0; row < n; row++) {
                hostSlots.setAtIndex(ValueLayout.JAVA_INT, row, row);
            }
        }
    }
}
