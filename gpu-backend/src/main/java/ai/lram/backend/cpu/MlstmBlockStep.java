package ai.lram.backend.cpu;

import ai.lram.backend.Tensor;
import ai.lram.backend.ops.Activation;
import ai.lram.backend.ops.MlstmBlockMemory;
import ai.lram.backend.ops.MlstmBlockState;
import ai.lram.backend.ops.MlstmBlockWeights;
import ai.lram.backend.ops.StepWeight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.AtomicLong;
import jdk.incubator.vector.FloatVector;

/**
 * An mLSTM block of the control step in five phases, each shared by all workers:
 *
 * <ol>
 *   <li>norm and up-projection, by rows of the weights; every worker normalises for itself
 *   <li>convolution, SiLU, q, k, v and what they add to the gates, by channels
 *   <li>gates, weights of ring and state in the answers, by session and head; with the next phase where its units are whole heads
 *   <li>fold and answer by session, head and block of value columns; who finishes a head's last block adds its norm, skip and gate
 *   <li>down-projection and residual, by rows of the weights
 * </ol>
 *
 * Filled in by one caller at a time, then only read. Allocates nothing once it has met the batch.
 */
final class MlstmBlockStep implements Workers.Phased {
    private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    private static final int UP = 0;
    private static final int MIX = 1;
    private static final int WEIGH = 2;
    private static final int CELL = 3;
    private static final int DOWN = 4;

    /** Floats of weights that a unit of a projection reads. */
    private static final int PROJECTION = 64 * 1024;

    /** Bytes of a matrix state of which several column blocks are made one after the other. */
    private static final long CACHED = 512 * 1024;

    /** Units of the cells that there should be for each thread: more where a fold takes long, since it comes to one head at a time. */
    private static final int UNITS_OF_THREAD = 4;

    private static final int SMALL_UNITS_OF_THREAD = 2;

    /** Bytes of a matrix state whose fold is short. */
    private static final long SMALL = 64 * 1024;

    /** Channels of a unit, at most and at least; the last may have fewer, a multiple of the lanes. */
    private static final int CHANNELS = 128;

    private static final int FEWEST_CHANNELS = 64;

    /** Units of channels below which they get fewer channels: an odd one among few leaves a thread waiting. */
    private static final int FEW_UNITS = 4;

    /** Calls of all instances: what a thread has normalised belongs to one of them. */
    private static final AtomicLong CALLS = new AtomicLong();

    private final MlstmStep cell = new MlstmStep();
    private final ConvStep conv = new ConvStep();
    private final PackedRows.Product upU = new PackedRows.Product();
    private final PackedRows.Product upZ = new PackedRows.Product();
    private final PackedRows.Product down = new PackedRows.Product();

    private MlstmBlockWeights w;
    private MlstmBlockMemory m;
    private Tensor counts;
    private MemorySegment x;
    private int batch;
    private int tokens;
    private int width;
    private int inner;
    private int heads;
    private int headDim;
    private int upRows;
    private int downRows;
    private int channels;
    private int cellColumns;
    private long call;

    /** What a (row, head) leaves from its weighing to its columns. */
    private StepScratch[] cells = new StepScratch[0];

    private AtomicIntegerArray columnsLeft = new AtomicIntegerArray(0);
    private MemorySegment gates = MemorySegment.NULL;

    /** Whether the phases can work on these sizes; other blocks are put together from kernels. */
    static boolean supports(MlstmBlockWeights w) {
        int head = w.inner() / w.heads();
        return HeadwiseLanes.SUPPORTED
                && w.q().dim(1) == HeadwiseLanes.BLOCK
                && w.k().dim(1) == HeadwiseLanes.BLOCK
                && w.v().dim(1) == HeadwiseLanes.BLOCK
                && head * w.heads() == w.inner()
                && head <= Staging.BLOCK
                && w.inner() % VectorMath.LANES == 0;
    }

    MlstmBlockStep with(
            MlstmBlockWeights weights,
            MlstmBlockState state,
            Tensor slots,
            Tensor counts,
            MlstmBlockMemory memory,
            Tensor x,
            int batch,
            int tokens,
            int threads) {
        w = weights;
        m = memory;
        this.counts = counts;
        this.x = x.segment();
        this.batch = batch;
        this.tokens = tokens;
        width = w.width();
        inner = w.inner();
        heads = w.heads();
        headDim = inner / heads;
        upRows = rowsOfUnit(width);
        downRows = rowsOfUnit(inner);
        channels = inner < FEW_UNITS * CHANNELS ? FEWEST_CHANNELS : CHANNELS;
        cellColumns = columnsOfUnit(headDim, batch * heads, threads);
        call = CALLS.incrementAndGet();
        int ring = state.slots().ringK().dim(2);
        cell.with(
                w.cell(),
                state.schedule(),
                state.layer(),
                state.slots(),
                slots,
                counts,
                m.q(),
                m.k(),
                m.v(),
                m.inputGate(),
                m.forgetGate(),
                m.h(),
                tokens,
                heads,
                headDim,
                headDim,
                ring);
        conv.with(
                slots,
                counts,
                m.u(),
                w.conv(),
                w.convBias(),
                state.history(),
                m.conv(),
                batch,
                tokens,
                inner,
                w.conv().dim(1));
        int rows = batch * tokens;
        fill(upU, w.upU(), rows, m.u());
        fill(upZ, w.upZ(), rows, m.z());
        fill(down, w.down(), rows, m.y());
        reserve(ring);
        return this;
    }

    private static int rowsOfUnit(int columns) {
        return Math.max(1, PROJECTION / columns / PackedRows.TILE) * PackedRows.TILE;
    }

    /**
     * Value columns of a unit: whole heads where there are enough for all threads, since a head's state is one stretch of memory; fewer columns
     * where there are not, or where a state would not stay cached from one block of columns to the next.
     */
    private static int columnsOfUnit(int headDim, int pairs, int threads) {
        int blocks = units(headDim, MlstmStep.BLOCK);
        long bytes = 4L * headDim * headDim;
        int parts = units((bytes <= SMALL ? SMALL_UNITS_OF_THREAD : UNITS_OF_THREAD) * threads, pairs);
        if (bytes > CACHED) {
            parts = blocks;
        }
        return units(blocks, Math.min(parts, blocks)) * MlstmStep.BLOCK;
    }

    private static void fill(PackedRows.Product p, StepWeight w, int rows, Tensor y) {
        if (w.packed() == null) {
            return;
        }
        p.m = rows;
        p.n = w.rows();
        p.k = w.columns();
        p.type = w.packed().data().dtype();
        p.w = w.packed().data().segment();
        p.scale = w.packed().scale() == null ? null : w.packed().scale().segment();
        p.bias = null;
        p.y = y.segment();
    }

    private void reserve(int ring) {
        int n = batch * heads;
        if (cells.length < n) {
            cells = new StepScratch[n];
            for (int i = 0; i < n; i++) {
                cells[i] = new StepScratch();
            }
            columnsLeft = new AtomicIntegerArray(n);
        }
        for (int i = 0; i < n; i++) {
            cells[i].reserve(tokens, ring, headDim, 0);
            columnsLeft.setPlain(i, units(headDim, cellColumns));
        }
        long floats = 2L * units(inner, channels) * batch * tokens * heads;
        if (gates.byteSize() < 4 * floats) {
            gates = Arena.ofAuto().allocate(4 * floats, 64);
        }
    }

    @Override
    public int phases() {
        return 5;
    }

    @Override
    public int units(int phase) {
        return switch (phase) {
            case UP -> 2 * units(inner, upRows);
            case MIX -> units(inner, channels);
            case WEIGH -> wholeHeads() ? 0 : batch * heads;
            case CELL -> batch * heads * units(headDim, cellColumns);
            default -> units(width, downRows);
        };
    }

    /** Whether a unit of the cells is a head, which then weighs for itself: one phase less to wait for. */
    private boolean wholeHeads() {
        return cellColumns >= headDim;
    }

    private static int units(int rows, int each) {
        return (rows + each - 1) / each;
    }

    @Override
    public void run(int phase, int unit) {
        switch (phase) {
            case UP -> up(unit);
            case MIX -> mix(unit);
            case WEIGH -> weigh(unit);
            case CELL -> columns(unit);
            default -> down(unit);
        }
    }

    private void up(int unit) {
        StepScratch own = StepScratch.get();
        int rows = batch * tokens;
        MemorySegment normed = own.normed((long) rows * width);
        if (own.normedOf != call) {
            CpuNorm.forwardRows(w.norm(), width, x, w.normWeight().segment(), null, normed, null, null, 0, rows);
            own.normedOf = call;
        }
        int half = units(inner, upRows);
        if (unit < half) {
            project(w.upU(), upU, normed, m.u().segment(), unit * upRows, Math.min(inner, (unit + 1) * upRows));
        } else {
            int u = unit - half;
            project(w.upZ(), upZ, normed, m.z().segment(), u * upRows, Math.min(inner, (u + 1) * upRows));
        }
    }

    /** Weight rows {@code from} to {@code to}, of which the first is a multiple of {@link PackedRows#TILE}. */
    private void project(
            StepWeight weight, PackedRows.Product packed, MemorySegment in, MemorySegment out, int from, int to) {
        if (weight.packed() != null) {
            packed.multiply(in, from / PackedRows.TILE, (to + PackedRows.TILE - 1) / PackedRows.TILE);
            return;
        }
        int first = from / FewRows.BLOCK;
        int last = (to + FewRows.BLOCK - 1) / FewRows.BLOCK;
        int n = weight.rows();
        int k = weight.columns();
        FewRows.multiply(batch * tokens, n, k, in, 0, k, weight.full().segment(), 0, null, 0, out, 0, n, first, last);
    }

    private void mix(int unit) {
        int from = unit * channels;
        int to = Math.min(inner, from + channels);
        readAhead(from, to);
        conv.run(from / VectorMath.LANES, to / VectorMath.LANES);
        int rows = batch * tokens;
        MemorySegment convolved = m.conv().segment();
        MemorySegment c = m.c().segment();
        for (int r = 0; r < rows; r++) {
            long at = (long) r * inner + from;
            ActivationLoops.value(Activation.SILU, convolved, at, c, at, to - from);
        }
        int groups = inner / HeadwiseLanes.BLOCK;
        int first = from / HeadwiseLanes.BLOCK;
        int last = to / HeadwiseLanes.BLOCK;
        MemorySegment q = m.q().segment();
        MemorySegment k = m.k().segment();
        MemorySegment v = m.v().segment();
        HeadwiseLanes.someGroups(groups, rows, c, w.q().segment(), q, first, last);
        HeadwiseLanes.someGroups(groups, rows, c, w.k().segment(), k, first, last);
        HeadwiseLanes.someGroups(groups, rows, m.u().segment(), w.v().segment(), v, first, last);
        MlstmGates.partial(
                q,
                k,
                v,
                w.inputGate().segment(),
                w.forgetGate().segment(),
                rows,
                inner,
                heads,
                from,
                to,
                gates,
                unit * rows * heads * 2);
    }

    /** The weights of channels {@code from} to {@code to}: many short pieces, each of which would be waited for. */
    private void readAhead(int from, int to) {
        long pitch = 4L * inner;
        long bytes = 4L * (to - from);
        ReadAhead.touchRows(w.inputGate().segment(), 4L * from, 3 * heads, pitch, bytes);
        ReadAhead.touchRows(w.forgetGate().segment(), 4L * from, 3 * heads, pitch, bytes);
        long block = 4L * HeadwiseLanes.BLOCK;
        ReadAhead.touch(w.q().segment(), block * from, block * to);
        ReadAhead.touch(w.k().segment(), block * from, block * to);
        ReadAhead.touch(w.v().segment(), block * from, block * to);
        long taps = 4L * w.conv().dim(1);
        ReadAhead.touch(w.conv().segment(), taps * from, taps * to);
    }

    private void weigh(int unit) {
        int row = unit / heads;
        int head = unit % heads;
        int n = counts.getInt(row);
        if (n == 0) {
            return;
        }
        int rows = batch * tokens;
        int parts = units(inner, channels);
        MemorySegment i = m.inputGate().segment();
        MemorySegment f = m.forgetGate().segment();
        float biasI = w.inputGateBias().get(head);
        float biasF = w.forgetGateBias().get(head);
        for (int t = tokens - n; t < tokens; t++) {
            int r = row * tokens + t;
            float sumI = biasI;
            float sumF = biasF;
            for (int part = 0; part < parts; part++) {
                long at = 8L * ((part * rows + r) * heads + head);
                sumI += gates.get(FLOAT, at);
                sumF += gates.get(FLOAT, at + 4);
            }
            i.set(FLOAT, 4L * ((long) r * heads + head), sumI);
            f.set(FLOAT, 4L * ((long) r * heads + head), sumF);
        }
        cell.prepare(cells[unit], row, head, n);
    }

    private void columns(int unit) {
        int blocks = units(headDim, cellColumns);
        int pair = unit / blocks;
        int row = pair / heads;
        int head = pair % heads;
        int n = counts.getInt(row);
        if (wholeHeads()) {
            weigh(pair);
        }
        if (n > 0) {
            int from = unit % blocks * cellColumns;
            cell.columns(cells[pair], row, head, n, from, Math.min(headDim, from + cellColumns));
        }
        if (columnsLeft.decrementAndGet(pair) == 0) {
            finish(pair, row, head, n);
        }
    }

    private void finish(int pair, int row, int head, int n) {
        if (n > 0) {
            cell.commit(cells[pair], row, head, n);
        }
        MemorySegment gate = Staging.own().block0;
        MemorySegment h = m.h().segment();
        MemorySegment mixed = m.mixed().segment();
        int j = head * headDim;
        for (int t = 0; t < tokens; t++) {
            long at = ((long) row * tokens + t) * inner + j;
            if (t < tokens - n) {
                // No answer was written for it; what stands there may be anything.
                mixed.asSlice(4 * at, 4L * headDim).fill((byte) 0);
                continue;
            }
            CpuNorm.group(w.headNorm(), h, at, headDim, w.headNormWeight().segment(), j, mixed);
            ActivationLoops.value(Activation.SILU, m.z().segment(), at, gate, 0, headDim);
            CpuElementwise.skipGateBlock(mixed, w.skip().segment(), j, m.c().segment(), gate, mixed, at, headDim);
        }
    }

    private void down(int unit) {
        int from = unit * downRows;
        int to = Math.min(width, from + downRows);
        MemorySegment y = m.y().segment();
        project(w.down(), down, m.mixed().segment(), y, from, to);
        for (int r = 0; r < batch * tokens; r++) {
            long at = (long) r * width;
            add(y, x, at + from, at + to);
        }
    }

    private static void add(MemorySegment y, MemorySegment x, long from, long to) {
        long at = from;
        for (; at <= to - VectorMath.LANES; at += VectorMath.LANES) {
            FloatVector.fromMemorySegment(VectorMath.F, x, 4 * at, LE)
                    .add(FloatVector.fromMemorySegment(VectorMath.F, y, 4 * at, LE))
                    .intoMemorySegment(x, 4 * at, LE);
        }
        for (; at < to; at++) {
            x.set(FLOAT, 4 * at, x.get(FLOAT, 4 * at) + y.get(FLOAT, 4 * at));
        }
    }
}
