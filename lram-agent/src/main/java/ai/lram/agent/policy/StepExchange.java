package ai.lram.agent.policy;

import ai.lram.agent.lram.ActionCodec;
import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * What a control step takes from the host and gives back: one contiguous block in, one out, in host-visible memory. On a device engine kernels
 * work on copies in its own memory, since memory of the host is read across the bus at every access; few logits are written straight to the host.
 * {@link Rows#queueIn} and {@link Rows#queueOut} are a kernel each, if any, and may be recorded. A host engine's kernels use the blocks
 * themselves.
 *
 * <p>One thread owns an instance. Filling and reading allocate nothing.
 */
public final class StepExchange {
    /** Parts of a block begin at multiples of this. */
    private static final int ALIGNMENT = 64;
    /** Logits up to which a kernel of their own costs more than to send each across the bus by itself. */
    private static final int FEW = 2048;

    private final Backend backend;
    private final int stateDim;
    private final int headRows;
    private final Tensor hostIn;
    private final Tensor hostOut;
    private final Tensor in;
    private final Tensor deviceOut;
    private final float[] logits;

    /**
     * @param arena owns the memory
     * @param stateDim width of the state token's input
     * @param headRows logits per row
     */
    public StepExchange(Backend backend, TensorArena arena, int maxBatch, int stateDim, int headRows) {
        this.backend = backend;
        this.stateDim = stateDim;
        this.headRows = headRows;
        int inFloats = Math.toIntExact(new Layout(maxBatch, stateDim).bytes() / Float.BYTES);
        int outFloats = Math.multiplyExact(maxBatch, headRows);
        hostIn = arena.hostVisible(DType.F32, inFloats);
        hostOut = arena.hostVisible(DType.F32, outFloats);
        in = hostIn.isHost() ? hostIn : arena.f32(inFloats);
        deviceOut = hostOut.isHost() || outFloats <= FEW ? hostOut : arena.f32(outFloats);
        logits = new float[outFloats];
    }

    /** Where the parts of a batch of n rows lie in the block. */
    private record Layout(int n, int stateDim) {
        private static long padded(long bytes) {
            return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        }

        private long column(int i) {
            return padded((long) Float.BYTES * n * stateDim) + i * padded((long) Float.BYTES * n);
        }

        long returns() {
            return column(0);
        }

        long rewards() {
            return column(1);
        }

        long slots() {
            return column(2);
        }

        long counts() {
            return column(3);
        }

        long bytes() {
            return column(4);
        }
    }

    /** The blocks as a batch of n rows uses them. */
    public Rows rows(int n) {
        return new Rows(n);
    }

    /** Logits of a row of the last step read; the array is reused. */
    public float[] logits() {
        return logits;
    }

    /** Views for a batch of n rows. */
    public final class Rows {
        private final int n;
        private final int inFloats;
        private final Tensor out;
        private final Tensor states;
        private final Tensor returns;
        private final Tensor rewards;
        private final Tensor slots;
        private final Tensor counts;
        private final Tensor logitRows;
        private final MemorySegment hostStates;
        private final MemorySegment hostReturns;
        private final MemorySegment hostRewards;
        private final MemorySegment hostSlots;
        private final MemorySegment hostCounts;
        private final MemorySegment hostLogits;

        private Rows(int n) {
            this.n = n;
            Layout at = new Layout(n, stateDim);
            inFloats = Math.toIntExact(at.bytes() / Float.BYTES);
            states = in.carve(DType.F32, 0, n, stateDim);
            returns = in.carve(DType.F32, at.returns(), n, 1);
            rewards = in.carve(DType.F32, at.rewards(), n, 1);
            slots = in.carve(DType.I32, at.slots(), n);
            counts = in.carve(DType.I32, at.counts(), n);
            out = n * headRows <= FEW ? hostOut : deviceOut;
            logitRows = out.carve(DType.F32, 0, n, headRows);
            MemorySegment host = hostIn.segment();
            hostStates = host.asSlice(0, states.bytes());
            hostReturns = host.asSlice(at.returns(), returns.bytes());
            hostRewards = host.asSlice(at.rewards(), rewards.bytes());
            hostSlots = host.asSlice(at.slots(), slots.bytes());
            hostCounts = host.asSlice(at.counts(), counts.bytes());
            hostLogits = hostOut.segment().asSlice(0, logitRows.bytes());
        }

        /** Of the states, (n, stateDim) F32. */
        public Tensor states() {
            return states;
        }

        /** (n, 1) F32. */
        public Tensor returns() {
            return returns;
        }

        /** (n, 1) F32. */
        public Tensor rewards() {
            return rewards;
        }

        /** (n) I32. */
        public Tensor slots() {
            return slots;
        }

        /** (n) I32, tokens of each row. */
        public Tensor counts() {
            return counts;
        }

        /** (n, headRows) F32, for the step to write. */
        public Tensor logitRows() {
            return logitRows;
        }

        /**
         * Writes a batch of n rows as its slots' tasks encode it.
         *
         * @param tokens of a row that is not its episode's first, which has one less
         */
        public void fill(PolicyBatch batch, SlotBindings bindings, int tokens, boolean zeroRewards) {
            for (int row = 0; row < n; row++) {
                TaskCodec codec = bindings.codec(batch.slot[row]);
                float[] raw = batch.observation[row];
                int size = codec.observationSize();
                long base = (long) row * stateDim;
                for (int i = 0; i < size; i++) {
                    hostStates.setAtIndex(ValueLayout.JAVA_FLOAT, base + i, codec.observation(i, raw[i]));
                }
                for (int i = size; i < stateDim; i++) {
                    hostStates.setAtIndex(ValueLayout.JAVA_FLOAT, base + i, 0f);
                }
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

        /** Queues the way of the inputs to where kernels read them. */
        public void queueIn(Stream stream) {
            move(stream, inFloats, hostIn, in);
        }

        /** Queues the way of the logits to where the host reads them. */
        public void queueOut(Stream stream) {
            move(stream, n * headRows, out, hostOut);
        }

        private void move(Stream stream, int floats, Tensor from, Tensor to) {
            if (from != to) {
                backend.ops().elementwise().copyRows(stream, 1, floats, from, 0, floats, to, 0, floats, false);
            }
        }

        /** Takes the logits and decodes every row of the batch; after the step has been waited for. */
        public void decode(PolicyBatch batch, SlotBindings bindings, ActionCodec.Decoding decoding) {
            MemorySegment.copy(hostLogits, ValueLayout.JAVA_FLOAT, 0, logits, 0, n * headRows);
            for (int row = 0; row < n; row++) {
                batch.status[row] =
                        bindings.codec(batch.slot[row]).decodeChecked(decoding, logits, row * headRows, batch, row);
            }
        }
    }
}
