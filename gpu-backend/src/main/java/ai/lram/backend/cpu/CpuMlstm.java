package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.backend.ops.MlstmOps;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.MlstmState;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.DoubleVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;

/**
 * The mLSTM cell, one (batch, head) pair at a time, chunk by chunk. Inside a chunk all products are those of {@link ChunkGemm}, from q, k and v
 * as they lie in memory to h and the gradients where they belong; what scales whole rows (1/sqrt(DHQK), 1/N, the weight of the old state) is
 * part of other factors, so that it takes no pass of its own. Cumulative gate sums and the stabiliser's recursion are fp64.
 *
 * <p>{@code saved} holds, per pair, the state before each chunk (matrix, normaliser, stabiliser) and the products of its queries and keys, then one
 * signed denominator per token: {@code B NH (ceil(S/L) (pad(DHQK DHHV) + pad(DHQK) + pad(1) + pad(L) (pad(L) + pad(1))) + S)} floats, where pad
 * rounds up to whole vectors.
 */
final class CpuMlstm implements MlstmOps {
    private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;
    private static final ValueLayout.OfDouble DOUBLE = ValueLayout.JAVA_DOUBLE_UNALIGNED;

    private final Workers workers;

    CpuMlstm(Workers workers) {
        this.workers = workers;
    }

    /** Longest window that is one chunk: beyond it the scratch of a pair outgrows the second-level cache. */
    private static final int WHOLE = 256;

    /**
     * Tokens per chunk: the spec's; else the whole window where its own products, S (DHQK + DHHV) multiply-adds a token, are fewer than the
     * 4 DHQK DHHV of reading and writing a state between chunks; else equal chunks, the longer the larger that state is.
     */
    static int chunk(MlstmDims d, MlstmSpec spec) {
        if (spec.chunk() > 0) {
            return Math.min(spec.chunk(), d.tokens());
        }
        long inside = (long) d.tokens() * (d.dimQk() + d.dimHv());
        if (d.tokens() <= WHOLE && inside <= 4L * d.dimQk() * d.dimHv()) {
            return d.tokens();
        }
        int longest = Math.clamp(3 * Math.max(d.dimQk(), d.dimHv()) / 4, 96, 192);
        int chunks = (d.tokens() + longest - 1) / longest;
        return (d.tokens() + chunks - 1) / chunks;
    }

    @Override
    public void gates(
            Stream s, Tensor q, Tensor k, Tensor v, Tensor wi, Tensor bi, Tensor wf, Tensor bf, Tensor i, Tensor f) {
        String kernel = "mlstm.gates";
        Check.that(
                bi != null && q != null && bi.size() > 0,
                "mlstm.gates: q or bi is missing",
                "null or empty",
                "pass q and bi");
        int heads = (int) bi.size();
        int rows = (int) (i == null ? 0 : i.size() / heads);
        long width = rows == 0 ? 0 : q.size() / rows;
        Check.f32(kernel, "q", q, rows * width);
        Check.f32(kernel, "k", k, rows * width);
        Check.f32(kernel, "v", v, rows * width);
        Check.f32(kernel, "wi", wi, heads * 3 * width);
        Check.f32(kernel, "wf", wf, heads * 3 * width);
        Check.f32(kernel, "bi", bi, heads);
        Check.f32(kernel, "bf", bf, heads);
        Check.f32(kernel, "i", i, (long) rows * heads);
        Check.f32(kernel, "f", f, (long) rows * heads);
        if (rows * width * heads < MlstmGates.INLINE) {
            MlstmGates.forward(q, k, v, wi, bi, wf, bf, i, f, (int) width, heads, 0, rows);
        } else {
            gatesParallel(q, k, v, wi, bi, wf, bf, i, f, (int) width, heads, rows);
        }
    }

    private void gatesParallel(
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor wi,
            Tensor bi,
            Tensor wf,
            Tensor bf,
            Tensor i,
            Tensor f,
            int width,
            int heads,
            int rows) {
        workers.forRange(
                rows, 64, (from, to) -> MlstmGates.forward(q, k, v, wi, bi, wf, bf, i, f, width, heads, from, to));
    }

    @Override
    public void gatesBackward(
            Stream s,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor wi,
            Tensor wf,
            Tensor di,
            Tensor df,
            Tensor dq,
            Tensor dk,
            Tensor dv,
            Tensor dwi,
            Tensor dbi,
            Tensor dwf,
            Tensor dbf) {
        String kernel = "mlstm.gatesBackward";
        Check.that(
                dbi != null && q != null && dbi.size() > 0,
                "mlstm.gatesBackward: q or dbi is missing",
                "null or empty",
                "pass q and dbi");
        int heads = (int) dbi.size();
        int rows = (int) (di == null ? 0 : di.size() / heads);
        int width = rows == 0 ? 0 : (int) (q.size() / rows);
        for (Tensor t : new Tensor[] {q, k, v, dq, dk, dv}) {
            Check.f32(kernel, "one of q, k, v and their gradients", t, (long) rows * width);
        }
        for (Tensor t : new Tensor[] {wi, wf, dwi, dwf}) {
            Check.f32(kernel, "one of wi, wf and their gradients", t, 3L * heads * width);
        }
        Check.f32(kernel, "dbi", dbi, heads);
        Check.f32(kernel, "dbf", dbf, heads);
        Check.f32(kernel, "di", di, (long) rows * heads);
        Check.f32(kernel, "df", df, (long) rows * heads);
        workers.forRange(rows, 64, (from, to) -> {
            MlstmGates.backwardInput(wi, wf, di, df, dq, width, heads, 0, from, to);
            MlstmGates.backwardInput(wi, wf, di, df, dk, width, heads, 1, from, to);
            MlstmGates.backwardInput(wi, wf, di, df, dv, width, heads, 2, from, to);
        });
        int blocks = (width + MlstmGates.BLOCK - 1) / MlstmGates.BLOCK;
        int pieces = Math.max(1, Math.min(blocks, workers.threads()));
        int columns = (blocks + pieces - 1) / pieces * MlstmGates.BLOCK;
        workers.forRange(3 * pieces, 1, (from, to) -> {
            for (int j = from; j < to; j++) {
                int part = j / pieces;
                Tensor x = part == 0 ? q : part == 1 ? k : v;
                int first = Math.min(width, j % pieces * columns);
                int last = Math.min(width, first + columns);
                MlstmGates.backwardWeight(x, di, df, dwi, dwf, width, heads, part, first, last, rows);
            }
        });
        MlstmGates.columnSums(di, heads, rows, dbi);
        MlstmGates.columnSums(df, heads, rows, dbf);
    }

    @Override
    public long savedFloats(MlstmDims dims, MlstmSpec spec) {
        Layout l = new Layout(dims, chunk(dims, spec));
        return (long) dims.batch() * dims.heads() * (l.chunks * l.savedFloats + dims.tokens());
    }

    @Override
    public long scratchFloats(MlstmDims dims, MlstmSpec spec) {
        return new Layout(dims, chunk(dims, spec)).scratchBytes / 4 * threads(dims);
    }

    private int threads(MlstmDims dims) {
        return Units.slots(workers, (long) dims.batch() * dims.heads());
    }

    @Override
    public void forward(
            Stream s,
            MlstmDims dims,
            MlstmSpec spec,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor i,
            Tensor f,
            MlstmState initial,
            Tensor h,
            MlstmState last,
            Tensor saved,
            Tensor scratch) {
        String kernel = "mlstm.forward";
        checkInputs(kernel, dims, spec, q, k, v, i, f, scratch);
        checkState(kernel, "initial", dims, initial);
        checkState(kernel, "last", dims, last);
        Check.f32(kernel, "h", h, values(dims));
        if (saved != null) {
            Check.f32(kernel, "saved", saved, savedFloats(dims, spec));
        }
        Job job = new Job(dims, spec, q, k, v, i, f, initial, h, saved, scratch);
        Units.run(workers, dims.batch() * dims.heads(), (pair, slot) -> job.worker(slot)
                .forward(pair, last));
    }

    @Override
    public void backward(
            Stream s,
            MlstmDims dims,
            MlstmSpec spec,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor i,
            Tensor f,
            MlstmState initial,
            Tensor h,
            Tensor saved,
            Tensor dh,
            MlstmState dLast,
            Tensor dq,
            Tensor dk,
            Tensor dv,
            Tensor di,
            Tensor df,
            MlstmState dInitial,
            Tensor scratch) {
        String kernel = "mlstm.backward";
        checkInputs(kernel, dims, spec, q, k, v, i, f, scratch);
        checkState(kernel, "initial", dims, initial);
        checkState(kernel, "dLast", dims, dLast);
        checkState(kernel, "dInitial", dims, dInitial);
        Check.f32(kernel, "h", h, values(dims));
        Check.f32(kernel, "saved", saved, savedFloats(dims, spec));
        Check.f32(kernel, "dh", dh, values(dims));
        Check.f32(kernel, "dq", dq, keys(dims));
        Check.f32(kernel, "dk", dk, keys(dims));
        Check.f32(kernel, "dv", dv, values(dims));
        Check.f32(kernel, "di", di, gates(dims));
        Check.f32(kernel, "df", df, gates(dims));
        Job job = new Job(dims, spec, q, k, v, i, f, initial, h, saved, scratch);
        Gradients g = new Gradients(
                dh.segment(), dq.segment(), dk.segment(), dv.segment(), di.segment(), df.segment(), dLast, dInitial);
        Units.run(workers, dims.batch() * dims.heads(), (pair, slot) -> job.worker(slot)
                .backward(pair, g));
    }

    private static long keys(MlstmDims d) {
        return gates(d) * d.dimQk();
    }

    private static long values(MlstmDims d) {
        return gates(d) * d.dimHv();
    }

    private static long gates(MlstmDims d) {
        return (long) d.batch() * d.tokens() * d.heads();
    }

    private void checkInputs(
            String kernel,
            MlstmDims dims,
            MlstmSpec spec,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor i,
            Tensor f,
            Tensor scratch) {
        Check.f32(kernel, "q", q, keys(dims));
        Check.f32(kernel, "k", k, keys(dims));
        Check.f32(kernel, "v", v, values(dims));
        Check.f32(kernel, "i", i, gates(dims));
        Check.f32(kernel, "f", f, gates(dims));
        long needed = scratchFloats(dims, spec);
        Check.that(
                scratch != null && scratch.isHost() && scratch.bytes() >= 4 * needed,
                kernel + ": scratch is " + scratch,
                dims + " needs " + needed + " floats in host memory",
                "allocate scratchFloats(dims, spec)");
    }

    private static void checkState(String kernel, String name, MlstmDims d, MlstmState state) {
        if (state != null) {
            long heads = (long) d.batch() * d.heads();
            Check.f32(kernel, name + ".matC", state.matC(), heads * d.dimQk() * d.dimHv());
            Check.f32(kernel, name + ".vecN", state.vecN(), heads * d.dimQk());
            Check.f32(kernel, name + ".scaM", state.scaM(), heads);
        }
    }

    private record Gradients(
            MemorySegment dh,
            MemorySegment dq,
            MemorySegment dk,
            MemorySegment dv,
            MemorySegment di,
            MemorySegment df,
            MlstmState dLast,
            MlstmState dInitial) {}

    /** Sizes and the byte offsets of one thread's scratch. */
    private static final class Layout {
        final int length;
        final int chunks;

        /** Tokens of a chunk, rounded up to whole vectors. */
        final int lp;

        /** Elements from row to row of the chunk's own matrices. */
        final int square;

        /** Elements of a state's matrix and of its normaliser, rounded up to whole vectors. */
        final int matrix;

        final int vector;
        final long stateFloats;

        /** What backward needs of a chunk: the state before it and the products of its queries and keys. */
        final long savedFloats;

        final long logF;
        final long gateI;
        final long decays;
        final long writes;
        final long rowSums;
        final long colSums;
        final long running;
        final long sigF;
        final long sigI;
        final long rowHi;
        final long rowLo;
        final long colHi;
        final long colLo;
        final long inter;
        final long write;
        final long floor;
        final long inverse;
        final long den;
        final long dden;
        final long epsGrad;
        final long path;
        final long interDden;
        final long interInverse;
        final long ones;
        final long decayRow;
        final long matP;
        final long matW;
        final long state;
        final long gradC;
        final long gradN;
        final long scratchBytes;

        Layout(MlstmDims d, int length) {
            this.length = length;
            chunks = (d.tokens() + length - 1) / length;
            lp = whole(length);
            square = ChunkGemm.square(length);
            matrix = whole(Math.multiplyExact(d.dimQk(), d.dimHv()));
            vector = whole(d.dimQk());
            stateFloats = (long) matrix + vector + LANES;
            savedFloats = stateFloats + (long) lp * square;
            long at = 0;
            logF = at;
            at += 8L * lp;
            gateI = at;
            at += 8L * lp;
            decays = at;
            at += 8L * lp;
            writes = at;
            at += 8L * lp;
            rowSums = at;
            at += 8L * lp;
            colSums = at;
            at += 8L * lp;
            running = at;
            at += 8L * vector;
            sigF = at;
            at += 4L * lp;
            sigI = at;
            at += 4L * lp;
            rowHi = at;
            at += 4L * lp;
            rowLo = at;
            at += 4L * lp;
            colHi = at;
            at += 4L * lp;
            colLo = at;
            at += 4L * lp;
            inter = at;
            at += 4L * lp;
            write = at;
            at += 4L * lp;
            floor = at;
            at += 4L * lp;
            inverse = at;
            at += 4L * lp;
            den = at;
            at += 4L * lp;
            dden = at;
            at += 4L * lp;
            epsGrad = at;
            at += 4L * lp;
            path = at;
            at += 4L * lp;
            interDden = at;
            at += 4L * lp;
            interInverse = at;
            at += 4L * lp;
            ones = at;
            at += 4L * Math.max(lp, vector);
            decayRow = at;
            at += 4L * lp;
            matP = at;
            at += 4L * lp * square;
            matW = at;
            at += 4L * lp * square;
            state = at;
            at += 4 * stateFloats;
            gradC = at;
            at += 4L * matrix;
            gradN = at;
            at += 4L * vector;
            scratchBytes = (at + 63) / 64 * 64;
        }

        private static int whole(int n) {
            return Math.addExact(n, LANES - 1) / LANES * LANES;
        }
    }

    /** What all pairs of one call share. */
    private static final class Job {
        final MlstmDims dims;
        final MlstmSpec spec;
        final Layout layout;
        final MemorySegment q;
        final MemorySegment k;
        final MemorySegment v;
        final MemorySegment i;
        final MemorySegment f;
        final MemorySegment h;
        final MlstmState initial;
        final MemorySegment saved;
        final MemorySegment scratch;

        Job(
                MlstmDims dims,
                MlstmSpec spec,
                Tensor q,
                Tensor k,
                Tensor v,
                Tensor i,
                Tensor f,
                MlstmState initial,
                Tensor h,
                Tensor saved,
                Tensor scratch) {
            this.dims = dims;
            this.spec = spec;
            this.layout = new Layout(dims, chunk(dims, spec));
            this.q = q.segment();
            this.k = k.segment();
            this.v = v.segment();
            this.i = i.segment();
            this.f = f.segment();
            this.h = h.segment();
            this.initial = initial;
            this.saved = saved == null ? null : saved.segment();
            this.scratch = scratch.segment();
        }

        Worker worker(int slot) {
            return new Worker(this, scratch.asSlice(slot * layout.scratchBytes, layout.scratchBytes));
        }
    }

    /** One thread's work on one pair at a time. */
    private static final class Worker {
        private final Job job;
        private final Layout l;
        private final MemorySegment w;
        private final ChunkGemm gemm = new ChunkGemm();
        private final int dimQk;
        private final int dimHv;
        private final int tokens;
        private final int heads;
        private final float scale;
        private final boolean exponential;
        private final boolean normalize;
        private final boolean exact;
        private final float eps;

        private int batch;
        private int head;
        private int from;
        private int count;
        private float carryDecay;
        private float lastM;

        Worker(Job job, MemorySegment scratch) {
            this.job = job;
            this.l = job.layout;
            this.w = scratch;
            dimQk = job.dims.dimQk();
            dimHv = job.dims.dimHv();
            tokens = job.dims.tokens();
            heads = job.dims.heads();
            scale = (float) (1 / Math.sqrt(dimQk));
            exponential = job.spec.inputGate() == MlstmSpec.InputGate.EXPONENTIAL;
            normalize = job.spec.normalize();
            exact = job.spec.exactGradient() && normalize;
            eps = job.spec.eps();
            for (int t = 0; t < Math.max(l.lp, l.vector); t++) {
                w.set(FLOAT, l.ones + 4L * t, 1);
            }
        }

        private void select(int pair) {
            batch = pair / heads;
            head = pair % heads;
        }

        private void selectChunk(int c) {
            from = c * l.length;
            count = Math.min(l.length, tokens - from);
        }

        /** Byte offset of the chunk's first token in a tensor of {@code width} floats per head. */
        private long token(int width) {
            return (((long) batch * tokens + from) * heads + head) * width * 4;
        }

        private long stride(int width) {
            return 4L * heads * width;
        }

        private long savedState(int pair, int c) {
            return ((long) pair * l.chunks + c) * l.savedFloats * 4;
        }

        private long savedScores(int pair, int c) {
            return savedState(pair, c) + 4 * l.stateFloats;
        }

        private long savedDen(int pair) {
            return ((long) job.dims.batch() * heads * l.chunks * l.savedFloats + (long) pair * tokens + from) * 4;
        }

        private long normaliserOf(long state) {
            return state + 4L * l.matrix;
        }

        private long stabiliserOf(long state) {
            return normaliserOf(state) + 4L * l.vector;
        }

        /** Element of the chunk's first token in a tensor of {@code width} floats per head. */
        private long row(int width) {
            return token(width) / 4;
        }

        private void load(int pair, MlstmState from, MemorySegment to, long at, boolean withM) {
            long floats = (long) dimQk * dimHv;
            MemorySegment.copy(from.matC().segment(), 4 * pair * floats, to, at, 4 * floats);
            MemorySegment.copy(from.vecN().segment(), 4L * pair * dimQk, to, normaliserOf(at), 4L * dimQk);
            if (withM) {
                to.set(FLOAT, stabiliserOf(at), exponential ? from.scaM().get(pair) : 0f);
            }
        }

        private void store(int pair, MemorySegment src, long at, long n, float m, MlstmState to) {
            long floats = (long) dimQk * dimHv;
            MemorySegment.copy(src, at, to.matC().segment(), 4 * pair * floats, 4 * floats);
            MemorySegment.copy(src, n, to.vecN().segment(), 4L * pair * dimQk, 4L * dimQk);
            to.scaM().set(pair, m);
        }

        void forward(int pair, MlstmState last) {
            select(pair);
            boolean keep = job.saved != null;
            MemorySegment mem = keep ? job.saved : w;
            long at = keep ? savedState(pair, 0) : l.state;
            boolean fresh = job.initial == null;
            if (fresh) {
                mem.set(FLOAT, stabiliserOf(at), 0f);
            } else {
                load(pair, job.initial, mem, at, true);
            }
            for (int d = 0; d < dimQk; d++) {
                w.set(DOUBLE, l.running + 8L * d, fresh ? 0 : mem.get(FLOAT, normaliserOf(at) + 4L * d));
            }
            for (int c = 0; c < l.chunks; c++) {
                selectChunk(c);
                boolean end = c == l.chunks - 1;
                prepareGates(mem.get(FLOAT, stabiliserOf(at)));
                answer(pair, c, mem, at, fresh);
                if (end && last == null) {
                    break;
                }
                MemorySegment to = end && keep ? w : mem;
                long next = !keep ? at : end ? l.state : savedState(pair, c + 1);
                advance(mem, at, fresh, to, next);
                mem = to;
                at = next;
                fresh = false;
            }
            if (last != null) {
                store(pair, mem, at, normaliserOf(at), mem.get(FLOAT, stabiliserOf(at)), last);
            }
        }

        /** Products of the chunk's queries, which stay packed, with its keys: the lower triangle of a matrix. */
        private void scores(MemorySegment to, long at) {
            gemm.left(job.q, row(dimQk), (long) heads * dimQk, count, dimQk);
            gemm.rightTransposed(job.k, row(dimQk), (long) heads * dimQk, count, dimQk);
            gemm.multiplyLower(w, l.ones / 4, to, at / 4, l.square);
        }

        /** h of the chunk; its values stay packed. */
        private void answer(int pair, int c, MemorySegment mem, long state, boolean fresh) {
            denominators();
            for (int t = 0; t < count; t++) {
                float inverse = 1;
                if (normalize) {
                    float den = Math.abs(w.get(FLOAT, l.den + 4L * t));
                    inverse = 1 / (Math.max(den, w.get(FLOAT, l.floor + 4L * t)) + eps);
                }
                w.set(FLOAT, l.inverse + 4L * t, inverse);
                w.set(FLOAT, l.interInverse + 4L * t, inverse * w.get(FLOAT, l.inter + 4L * t));
            }
            long out = row(dimHv);
            long pitch = (long) heads * dimHv;
            MemorySegment products = job.saved == null ? w : job.saved;
            long scores = job.saved == null ? l.matP : savedScores(pair, c);
            scores(products, scores);
            if (!fresh) {
                gemm.right(mem, state / 4, dimHv, dimQk, dimHv);
                gemm.multiply(false, w, l.interInverse / 4, job.h, out, pitch);
            }
            weigh(products, scores, w, l, count, scale);
            gemm.leftLower(w, l.matP / 4, l.square, count);
            gemm.right(job.v, row(dimHv), pitch, count, dimHv);
            gemm.multiply(!fresh, w, l.inverse / 4, job.h, out, pitch);
            if (job.saved != null) {
                MemorySegment.copy(w, l.den, job.saved, savedDen(pair), 4L * count);
            }
        }

        /** The state after the chunk, whose values are packed. */
        private void advance(MemorySegment mem, long state, boolean fresh, MemorySegment to, long next) {
            float g = fresh ? 0 : carryDecay;
            if (g != 0) {
                ChunkRows.scale(mem, state / 4, g, to, next / 4, dimQk * dimHv);
            }
            gemm.leftTransposed(job.k, row(dimQk), (long) heads * dimQk, count, dimQk, w, l.write / 4);
            gemm.multiply(g != 0, w, l.ones / 4, to, next / 4, dimHv);
            long n = normaliserOf(next);
            for (int d = 0; d < dimQk; d++) {
                to.set(FLOAT, n + 4L * d, (float) w.get(DOUBLE, l.running + 8L * d));
            }
            to.set(FLOAT, stabiliserOf(next), lastM);
        }

        /**
         * From the chunk's gates and the stabiliser before it: the exponents of the decay matrix as pairs of floats (row + column), the
         * weight of the old state per token times q's scale ({@code inter}), of each token in the new state ({@code write}), exp(-m)
         * ({@code floor}).
         */
        private void prepareGates(float m0) {
            long g = token(1);
            long step = stride(1);
            int padded = l.lp;
            for (int t = 0; t < count; t++) {
                w.set(DOUBLE, l.logF + 8L * t, job.f.get(FLOAT, g + t * step));
                w.set(DOUBLE, l.gateI + 8L * t, job.i.get(FLOAT, g + t * step));
            }
            for (int t = count; t < padded; t++) {
                w.set(DOUBLE, l.logF + 8L * t, 0);
                w.set(DOUBLE, l.gateI + 8L * t, 0);
            }
            logSigmoids(padded);
            double b = 0;
            float m = m0;
            for (int t = 0; t < count; t++) {
                double lf = w.get(DOUBLE, l.logF + 8L * t);
                double i = w.get(DOUBLE, l.gateI + 8L * t);
                b += lf;
                double kept = lf + m;
                if (exponential) {
                    m = (float) Math.max(kept, i);
                    w.set(FLOAT, l.path + 4L * t, kept >= i ? 1 : 0);
                }
                w.set(DOUBLE, l.decays + 8L * t, kept - m);
                w.set(DOUBLE, l.writes + 8L * t, i - m);
                split(b - m, l.rowHi, l.rowLo, t);
                split(i - b, l.colHi, l.colLo, t);
                w.set(FLOAT, l.inter + 4L * t, (float) (b + m0 - m));
                w.set(FLOAT, l.floor + 4L * t, -m);
            }
            for (int t = 0; t < count; t++) {
                double col = (double) w.get(FLOAT, l.colHi + 4L * t) + w.get(FLOAT, l.colLo + 4L * t);
                w.set(FLOAT, l.write + 4L * t, (float) (b + col - m));
            }
            for (int t = count; t < padded; t++) {
                split(0, l.rowHi, l.rowLo, t);
                split(0, l.colHi, l.colLo, t);
                w.set(DOUBLE, l.decays + 8L * t, 0);
                w.set(DOUBLE, l.writes + 8L * t, 0);
                w.set(FLOAT, l.inter + 4L * t, 0);
                w.set(FLOAT, l.write + 4L * t, 0);
                w.set(FLOAT, l.floor + 4L * t, 0);
            }
            for (int t = 0; t < padded; t += LANES) {
                expInPlace(l.inter + 4L * t);
                scaleInPlace(l.inter + 4L * t);
                expInPlace(l.write + 4L * t);
                expInPlace(l.floor + 4L * t);
            }
            carryDecay = (float) Math.exp(b + m0 - m);
            lastM = m;
        }

        /** Forget gates, and input gates of the sigmoid kind, to their logarithms; the derivatives' factors beside them. */
        private void logSigmoids(int padded) {
            for (int t = 0; t < padded; t += DoubleMath.LANES) {
                DoubleVector f = DoubleMath.load(w, l.logF + 8L * t);
                DoubleMath.store(f.neg(), w, l.decays + 8L * t);
                DoubleMath.store(DoubleMath.logSigmoid(f), w, l.logF + 8L * t);
                if (!exponential) {
                    DoubleVector i = DoubleMath.load(w, l.gateI + 8L * t);
                    DoubleMath.store(i.neg(), w, l.writes + 8L * t);
                    DoubleMath.store(DoubleMath.logSigmoid(i), w, l.gateI + 8L * t);
                }
            }
            for (int t = 0; t < padded; t++) {
                w.set(FLOAT, l.sigF + 4L * t, (float) w.get(DOUBLE, l.decays + 8L * t));
                w.set(FLOAT, l.sigI + 4L * t, exponential ? 0 : (float) w.get(DOUBLE, l.writes + 8L * t));
            }
            for (int t = 0; t < padded; t += LANES) {
                sigmoidInPlace(l.sigF + 4L * t);
                if (!exponential) {
                    sigmoidInPlace(l.sigI + 4L * t);
                }
            }
        }

        private void sigmoidInPlace(long at) {
            NativeFloats.put(VectorMath.sigmoid(NativeFloats.at(w, at)), w, at);
        }

        /**
         * The normaliser token after token in fp64, and with it the denominators: they may cancel to a small part of their terms, and
         * h and all gradients then carry their relative error.
         */
        private void denominators() {
            expDoubles(w, l.decays, count);
            expDoubles(w, l.writes, count);
            long pitch = (long) heads * dimQk;
            long at = row(dimQk);
            for (int t = 0; t < count; t++) {
                double keep = w.get(DOUBLE, l.decays + 8L * t);
                double write = w.get(DOUBLE, l.writes + 8L * t);
                long o = at + t * pitch;
                double den = ChunkRows.advance(w, l.running / 8, keep, write, job.k, o, job.q, o, dimQk);
                w.set(FLOAT, l.den + 4L * t, (float) (den / Math.sqrt(dimQk)));
            }
        }

        private static void expDoubles(MemorySegment w, long at, int count) {
            for (int t = 0; t < count; t += DoubleMath.LANES) {
                DoubleMath.exp(DoubleVector.fromMemorySegment(DoubleMath.D, w, at + 8L * t, LE))
                        .intoMemorySegment(w, at + 8L * t, LE);
            }
        }

        private void scaleInPlace(long at) {
            NativeFloats.put(NativeFloats.at(w, at).mul(scale), w, at);
        }

        private void expInPlace(long at) {
            NativeFloats.put(VectorMath.exp(NativeFloats.at(w, at)), w, at);
        }

        private void split(double x, long hi, long lo, int t) {
            float h = (float) x;
            w.set(FLOAT, hi + 4L * t, h);
            w.set(FLOAT, lo + 4L * t, (float) (x - h));
        }

        /** matP = scores times decay and q's scale, zero above the diagonal. */
        private static void weigh(MemorySegment scores, long first, MemorySegment w, Layout l, int count, float scale) {
            for (int t = 0; t < count; t++) {
                int whole = (t + 1) / LANES * LANES;
                decayRow(w, l, t, scale);
                long row = l.matP + 4L * t * l.square;
                long from = first + 4L * t * l.square;
                for (int s = 0; s < whole; s += LANES) {
                    FloatVector e = NativeFloats.at(w, l.decayRow + 4L * s);
                    NativeFloats.put(NativeFloats.at(scores, from + 4L * s).mul(e), w, row + 4L * s);
                }
                for (int s = whole; s < ChunkGemm.filled(t, count); s += LANES) {
                    VectorMask<Float> lanes = VectorMath.first(Math.max(0, t + 1 - s));
                    FloatVector p = NativeFloats.at(scores, from + 4L * s).mul(NativeFloats.at(w, l.decayRow + 4L * s));
                    NativeFloats.put(VectorMath.ZERO.blend(p, lanes), w, row + 4L * s);
                }
            }
        }

        /** Row t of the decay matrix times q's scale, anything after its diagonal. */
        private static void decayRow(MemorySegment w, Layout l, int t, float scale) {
            FloatVector hi = FloatVector.broadcast(F, w.get(FLOAT, l.rowHi + 4L * t));
            FloatVector lo = FloatVector.broadcast(F, w.get(FLOAT, l.rowLo + 4L * t));
            FloatVector by = FloatVector.broadcast(F, scale);
            for (int s = 0; s <= t; s += LANES) {
                FloatVector high = NativeFloats.at(w, l.colHi + 4L * s).add(hi);
                FloatVector low = NativeFloats.at(w, l.colLo + 4L * s).add(lo);
                NativeFloats.put(VectorMath.exp(high.add(low)).mul(by), w, l.decayRow + 4L * s);
            }
        }

        /**
         * matP becomes P / N, P being the scores times decay, and matW, which holds the gradient dP, becomes W = (dP + dden) times decay and q's scale. Row and column sums
         * of P (dP + dden), the gates' gradients inside the chunk, are fp64: the forget gates take differences of them over the whole
         * sequence.
         */
        private static void weighBackward(
                MemorySegment scores, long first, MemorySegment w, Layout l, int count, float scale) {
            w.asSlice(l.colSums, 8L * l.lp).fill((byte) 0);
            for (int t = 0; t < count; t++) {
                int whole = (t + 1) / LANES * LANES;
                decayRow(w, l, t, scale);
                long row = first + 4L * t * l.square;
                weighRow(scores, row, w, l, t, whole);
                for (int s = whole; s < ChunkGemm.filled(t, count); s += LANES) {
                    weighEnd(scores, row, w, l, t, s, VectorMath.first(Math.max(0, t + 1 - s)));
                }
                w.set(DOUBLE, l.rowSums + 8L * t, sumRow(w, l, t + 1));
            }
        }

        /** Row t of P / N and W; the product P (dP + dden) replaces the decay row. */
        private static void weighRow(MemorySegment scores, long row, MemorySegment w, Layout l, int t, int end) {
            FloatVector dden = FloatVector.broadcast(F, w.get(FLOAT, l.dden + 4L * t));
            FloatVector inverse = FloatVector.broadcast(F, w.get(FLOAT, l.inverse + 4L * t));
            for (int s = 0; s < end; s += LANES) {
                long at = l.matP + 4L * ((long) t * l.square + s);
                long wt = at - l.matP + l.matW;
                FloatVector e = NativeFloats.at(w, l.decayRow + 4L * s);
                FloatVector p = NativeFloats.at(scores, row + 4L * s).mul(e);
                FloatVector dp = NativeFloats.at(w, wt).add(dden);
                NativeFloats.put(p.mul(inverse), w, at);
                NativeFloats.put(dp.mul(e), w, wt);
                NativeFloats.put(p.mul(dp), w, l.decayRow + 4L * s);
            }
        }

        /** The same for the vector at s, of which only some lanes lie within the triangle; the others become zero. */
        private static void weighEnd(
                MemorySegment scores, long row, MemorySegment w, Layout l, int t, int s, VectorMask<Float> lanes) {
            long at = l.matP + 4L * ((long) t * l.square + s);
            long wt = at - l.matP + l.matW;
            FloatVector zero = FloatVector.zero(F);
            FloatVector e = NativeFloats.at(w, l.decayRow + 4L * s);
            FloatVector p = NativeFloats.at(scores, row + 4L * s).mul(e);
            FloatVector dp = NativeFloats.at(w, wt).add(w.get(FLOAT, l.dden + 4L * t));
            NativeFloats.put(zero.blend(p.mul(w.get(FLOAT, l.inverse + 4L * t)), lanes), w, at);
            NativeFloats.put(zero.blend(dp.mul(e), lanes), w, wt);
            NativeFloats.put(zero.blend(p.mul(dp), lanes), w, l.decayRow + 4L * s);
        }

        /** Adds the decay row's contents to the column sums. @return their sum */
        private static double sumRow(MemorySegment w, Layout l, int end) {
            DoubleVector row = DoubleVector.zero(DoubleMath.D);
            for (int s = 0; s < end; s += DoubleMath.LANES) {
                DoubleVector x = DoubleMath.widen(w, l.decayRow + 4L * s);
                row = row.add(x);
                DoubleVector.fromMemorySegment(DoubleMath.D, w, l.colSums + 8L * s, LE)
                        .add(x)
                        .intoMemorySegment(w, l.colSums + 8L * s, LE);
            }
            return DoubleMath.sum(row);
        }

        void backward(int pair, Gradients g) {
            select(pair);
            boolean noTail = g.dLast == null;
            w.asSlice(l.gradN, 4L * l.vector).fill((byte) 0);
            if (!noTail) {
                long floats = (long) dimQk * dimHv;
                MemorySegment.copy(g.dLast.matC().segment(), 4 * pair * floats, w, l.gradC, 4 * floats);
                if (exact || !normalize && job.spec.exactGradient()) {
                    MemorySegment.copy(g.dLast.vecN().segment(), 4L * pair * dimQk, w, l.gradN, 4L * dimQk);
                }
            }
            double suffix = 0;
            double stabiliserGrad = 0;
            MemorySegment mem = job.saved;
            for (int c = l.chunks - 1; c >= 0; c--) {
                selectChunk(c);
                long state = savedState(pair, c);
                boolean fresh = c == 0 && job.initial == null;
                prepareGates(mem.get(FLOAT, stabiliserOf(state)));
                outputGradients(pair, g);
                gemm.left(g.dh, row(dimHv), (long) heads * dimHv, count, dimHv);
                gemm.rightTransposed(job.v, row(dimHv), (long) heads * dimHv, count, dimHv);
                gemm.multiplyLower(w, l.inverse / 4, w, l.matW / 4, l.square);
                weighBackward(mem, savedScores(pair, c), w, l, count, scale);
                queryGradients(mem, state, fresh, g);
                double tail = keyGradients(noTail, g);
                valueGradients(noTail, g);
                if (c == l.chunks - 1 && !noTail && job.spec.exactGradient()) {
                    suffix = tail;
                    if (!fresh) {
                        suffix += carryDecay
                                * (ChunkRows.longDot(mem, state / 4, w, l.gradC / 4, dimQk * dimHv)
                                        + ChunkRows.longDot(mem, normaliserOf(state) / 4, w, l.gradN / 4, dimQk));
                    }
                }
                for (int t = count - 1; t >= 0; t--) {
                    double qdq = w.get(DOUBLE, l.rowSums + 8L * t);
                    double kdk = w.get(DOUBLE, l.colSums + 8L * t);
                    suffix += qdq - kdk;
                    double df = suffix;
                    double di = kdk;
                    if (exponential) {
                        stabiliserGrad += w.get(FLOAT, l.epsGrad + 4L * t);
                        if (w.get(FLOAT, l.path + 4L * t) != 0) {
                            df += stabiliserGrad;
                        } else {
                            di += stabiliserGrad;
                            stabiliserGrad = 0;
                        }
                    } else {
                        di *= w.get(FLOAT, l.sigI + 4L * t);
                    }
                    long at = token(1) + t * stride(1);
                    g.df.set(FLOAT, at, (float) (df * w.get(FLOAT, l.sigF + 4L * t)));
                    g.di.set(FLOAT, at, (float) di);
                }
                if (c > 0 || g.dInitial != null) {
                    stateGradients(noTail ? 0 : carryDecay);
                    noTail = false;
                }
            }
            if (g.dInitial != null) {
                boolean withNormaliser = job.spec.exactGradient();
                double dm = 0;
                if (withNormaliser && exponential) {
                    dm = stabiliserGrad;
                    if (job.initial != null) {
                        long state = savedState(pair, 0);
                        dm += ChunkRows.longDot(mem, state / 4, w, l.gradC / 4, dimQk * dimHv)
                                + ChunkRows.longDot(mem, normaliserOf(state) / 4, w, l.gradN / 4, dimQk);
                    }
                }
                store(pair, w, l.gradC, l.gradN, (float) dm, g.dInitial);
            }
        }

        /** 1 / N; the gradients of the denominator and, through eps, of the stabiliser. */
        private void outputGradients(int pair, Gradients g) {
            if (!normalize) {
                for (int t = 0; t < count; t++) {
                    w.set(FLOAT, l.inverse + 4L * t, 1);
                    w.set(FLOAT, l.interInverse + 4L * t, w.get(FLOAT, l.inter + 4L * t));
                    w.set(FLOAT, l.dden + 4L * t, 0);
                    w.set(FLOAT, l.interDden + 4L * t, 0);
                }
                return;
            }
            MemorySegment.copy(job.saved, savedDen(pair), w, l.den, 4L * count);
            long at = row(dimHv);
            for (int t = 0; t < count; t++) {
                float den = w.get(FLOAT, l.den + 4L * t);
                float floor = w.get(FLOAT, l.floor + 4L * t);
                float divisor = Math.max(Math.abs(den), floor) + eps;
                float dden = 0;
                float epsGrad = 0;
                if (exact) {
                    long o = at + (long) t * heads * dimHv;
                    double along = ChunkRows.dot(g.dh, o, job.h, o, dimHv) / (double) divisor;
                    dden = Math.abs(den) > floor ? (float) (-along * Math.signum(den)) : 0;
                    epsGrad = exponential ? (float) (-along * eps) : 0;
                }
                float inter = w.get(FLOAT, l.inter + 4L * t);
                w.set(FLOAT, l.inverse + 4L * t, 1 / divisor);
                w.set(FLOAT, l.interInverse + 4L * t, inter / divisor);
                w.set(FLOAT, l.dden + 4L * t, dden);
                w.set(FLOAT, l.interDden + 4L * t, dden * inter);
                w.set(FLOAT, l.epsGrad + 4L * t, epsGrad);
            }
        }

        /** dq; the chunk's output gradients are packed to begin with. */
        private void queryGradients(MemorySegment mem, long state, boolean fresh, Gradients g) {
            long at = row(dimQk);
            long pitch = (long) heads * dimQk;
            if (!fresh) {
                gemm.rightTransposed(mem, state / 4, dimHv, dimQk, dimHv);
                gemm.multiply(false, w, l.interInverse / 4, g.dq, at, pitch);
                if (exact) {
                    addOuter(l.interDden, mem, normaliserOf(state), g.dq);
                }
                addDots(job.q, g.dq, l.rowSums);
            }
            gemm.leftLower(w, l.matW / 4, l.square, count);
            gemm.right(job.k, at, pitch, count, dimQk);
            gemm.multiply(!fresh, w, l.ones / 4, g.dq, at, pitch);
        }

        /** Adds factor[t] vec to each row t of a tensor of keys. */
        private void addOuter(long factor, MemorySegment vec, long at, MemorySegment keys) {
            long o = row(dimQk);
            for (int t = 0; t < count; t++, o += (long) heads * dimQk) {
                ChunkRows.addScaled(vec, at / 4, w.get(FLOAT, factor + 4L * t), keys, o, dimQk);
            }
        }

        /** Adds row-wise dot products of two tensors of keys to {@code sums}. @return their total */
        private double addDots(MemorySegment x, MemorySegment y, long sums) {
            double total = 0;
            long o = row(dimQk);
            for (int t = 0; t < count; t++, o += (long) heads * dimQk) {
                double dot = ChunkRows.dot(x, o, y, o, dimQk);
                w.set(DOUBLE, sums + 8L * t, w.get(DOUBLE, sums + 8L * t) + dot);
                total += dot;
            }
            return total;
        }

        /** @return sum over the chunk of k . dk as far as it comes through the state after the chunk */
        private double keyGradients(boolean noTail, Gradients g) {
            long at = row(dimQk);
            long pitch = (long) heads * dimQk;
            double tail = 0;
            if (!noTail) {
                gemm.left(job.v, row(dimHv), (long) heads * dimHv, count, dimHv);
                gemm.rightTransposed(w, l.gradC / 4, dimHv, dimQk, dimHv);
                gemm.multiply(false, w, l.write / 4, g.dk, at, pitch);
                addOuter(l.write, w, l.gradN, g.dk);
                tail = addDots(job.k, g.dk, l.colSums);
            }
            gemm.leftUpper(w, l.matW / 4, l.square, count);
            gemm.right(job.q, at, pitch, count, dimQk);
            gemm.multiply(!noTail, w, l.ones / 4, g.dk, at, pitch);
            return tail;
        }

        /** dv; leaves the chunk's output gradients packed. */
        private void valueGradients(boolean noTail, Gradients g) {
            long at = row(dimHv);
            long pitch = (long) heads * dimHv;
            if (!noTail) {
                gemm.left(job.k, row(dimQk), (long) heads * dimQk, count, dimQk);
                gemm.right(w, l.gradC / 4, dimHv, dimQk, dimHv);
                gemm.multiply(false, w, l.write / 4, g.dv, at, pitch);
            }
            gemm.leftUpper(w, l.matP / 4, l.square, count);
            gemm.right(g.dh, at, pitch, count, dimHv);
            gemm.multiply(!noTail, w, l.ones / 4, g.dv, at, pitch);
        }

        /** Gradients of the state before the chunk, of which {@code keep} times the later ones; the output gradients are packed. */
        private void stateGradients(float keep) {
            if (keep != 0) {
                ChunkRows.scale(w, l.gradC / 4, keep, w, l.gradC / 4, dimQk * dimHv);
            }
            long at = row(dimQk);
            long pitch = (long) heads * dimQk;
            gemm.leftTransposed(job.q, at, pitch, count, dimQk, w, l.interInverse / 4);
            gemm.multiply(keep != 0, w, l.ones / 4, w, l.gradC / 4, dimHv);
            ChunkRows.scale(w, l.gradN / 4, carryDecay, w, l.gradN / 4, dimQk);
            for (int t = 0; t < count; t++) {
                float by = w.get(FLOAT, l.interDden + 4L * t);
                ChunkRows.addScaled(job.q, at + t * pitch, by, w, l.gradN / 4, dimQk);
            }
        }
    }
}
