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
import jdk.incubator.vector.VectorOperators;

/**
 * The mLSTM cell, one (batch, head) pair at a time, chunk by chunk. Inside a chunk all products run over packed panels
 * ({@link Panels}); cumulative gate sums and the stabiliser's recursion are fp64.
 *
 * <p>{@code saved} holds, per pair, the state before each chunk (matrix, normaliser, stabiliser, all padded to panels) and then one
 * signed denominator per token: {@code B NH (ceil(S/L) (pad(DHQK) pad(DHHV) + pad(DHQK) + pad(1)) + S)} floats, where pad rounds up to
 * whole panels.
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
        workers.forRange(3 * blocks, 1, (from, to) -> {
            for (int j = from; j < to; j++) {
                int part = j / blocks;
                Tensor x = part == 0 ? q : part == 1 ? k : v;
                MlstmGates.backwardWeight(x, di, df, dwi, dwf, width, heads, part, j % blocks * MlstmGates.BLOCK, rows);
            }
        });
        MlstmGates.columnSums(di, heads, rows, dbi);
        MlstmGates.columnSums(df, heads, rows, dbf);
    }

    @Override
    public long savedFloats(MlstmDims dims, MlstmSpec spec) {
        Layout l = new Layout(dims, chunk(dims, spec));
        return (long) dims.batch() * dims.heads() * (l.chunks * l.stateFloats + dims.tokens());
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

    /** Padded sizes and the byte offsets of one thread's scratch. */
    private static final class Layout {
        final int length;
        final int chunks;
        final int lp;
        final int dq;
        final int dh;
        final long stateFloats;

        final long logF;
        final long gateI;
        final long sigF;
        final long sigI;
        final long rowHi;
        final long rowLo;
        final long colHi;
        final long colLo;
        final long inter;
        final long write;
        final long floor;
        final long divisor;
        final long den;
        final long dden;
        final long epsGrad;
        final long path;
        final long interDden;
        final long decayRow;
        final long decays;
        final long writes;
        final long rowSums;
        final long colSums;
        final long running;
        final long matQ;
        final long matK;
        final long matV;
        final long matH;
        final long keysT;
        final long valuesT;
        final long matP;
        final long matW;
        final long scaledK;
        final long scaledH;
        final long outQ;
        final long outK;
        final long outKt;
        final long outV;
        final long stateT;
        final long state;
        final long gradC;
        final long gradN;
        final long scratchBytes;

        Layout(MlstmDims d, int length) {
            this.length = length;
            chunks = (d.tokens() + length - 1) / length;
            lp = Panels.pad(length);
            dq = Panels.pad(d.dimQk());
            dh = Panels.pad(d.dimHv());
            stateFloats = (long) dq * dh + dq + Panels.WIDTH;
            long at = 0;
            logF = at;
            at += 8L * lp;
            gateI = at;
            at += 8L * lp;
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
            divisor = at;
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
            decayRow = at;
            at += 4L * lp;
            decays = at;
            at += 8L * lp;
            writes = at;
            at += 8L * lp;
            rowSums = at;
            at += 8L * lp;
            colSums = at;
            at += 8L * lp;
            running = at;
            at += 8L * dq;
            matQ = at;
            at += 4L * lp * dq;
            matK = at;
            at += 4L * lp * dq;
            matV = at;
            at += 4L * lp * dh;
            matH = at;
            at += 4L * lp * dh;
            keysT = at;
            at += 4L * lp * dq;
            valuesT = at;
            at += 4L * lp * dh;
            matP = at;
            at += 4L * lp * lp;
            matW = at;
            at += 4L * lp * lp;
            scaledK = at;
            at += 4L * lp * dq;
            scaledH = at;
            at += 4L * lp * dh;
            outQ = at;
            at += 4L * lp * dq;
            outK = at;
            at += 4L * lp * dq;
            outKt = at;
            at += 4L * lp * dq;
            outV = at;
            at += 4L * lp * dh;
            stateT = at;
            at += 4L * dq * dh;
            state = at;
            at += 4 * stateFloats;
            gradC = at;
            at += 4L * dq * dh;
            gradN = at;
            at += 4L * dq;
            scratchBytes = (at + 63) / 64 * 64;
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
            return ((long) pair * l.chunks + c) * l.stateFloats * 4;
        }

        private long savedDen(int pair) {
            return ((long) job.dims.batch() * heads * l.chunks * l.stateFloats + (long) pair * tokens + from) * 4;
        }

        private long normaliserOf(long state) {
            return state + 4L * l.dq * l.dh;
        }

        private long stabiliserOf(long state) {
            return normaliserOf(state) + 4L * l.dq;
        }

        private void load(int pair, MlstmState from, MemorySegment to, long at, boolean withM) {
            long n = normaliserOf(at);
            Panels.pack(from.matC().segment(), 4L * pair * dimQk * dimHv, 4L * dimHv, dimQk, dimHv, 1, to, at, l.dq);
            loadVector(from.vecN().segment(), 4L * pair * dimQk, to, n);
            if (withM) {
                to.set(FLOAT, stabiliserOf(at), exponential ? from.scaM().get(pair) : 0f);
            }
        }

        private void loadVector(MemorySegment src, long s, MemorySegment to, long at) {
            for (int c = 0; c < l.dq; c++) {
                to.set(FLOAT, at + 4L * c, c < dimQk ? src.get(FLOAT, s + 4L * c) : 0f);
            }
        }

        private void store(int pair, MemorySegment src, long at, long n, float m, MlstmState to) {
            Panels.unpack(src, at, l.dq, dimQk, dimHv, 1, to.matC().segment(), 4L * pair * dimQk * dimHv, 4L * dimHv);
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
            for (int d = 0; d < l.dq; d++) {
                w.set(DOUBLE, l.running + 8L * d, fresh ? 0 : mem.get(FLOAT, normaliserOf(at) + 4L * d));
            }
            for (int c = 0; c < l.chunks; c++) {
                selectChunk(c);
                boolean end = c == l.chunks - 1;
                prepareGates(mem.get(FLOAT, stabiliserOf(at)));
                packInputs();
                answer(pair, mem, at, fresh);
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

        private void packInputs() {
            Panels.pack(job.q, token(dimQk), stride(dimQk), count, dimQk, scale, w, l.matQ, l.lp);
            Panels.pack(job.k, token(dimQk), stride(dimQk), count, dimQk, 1, w, l.matK, l.lp);
            Panels.pack(job.v, token(dimHv), stride(dimHv), count, dimHv, 1, w, l.matV, l.lp);
            Panels.transpose(w, l.matK, l.lp, Panels.pad(count), l.dq, w, l.keysT, l.dq);
        }

        /** Scores of the chunk into matP, lower triangle. */
        private void scores() {
            PanelGemm.nn(count, count, dimQk, true, false, w, l.matQ, l.lp, w, l.keysT, l.dq, false, w, l.matP, l.lp);
        }

        private void answer(int pair, MemorySegment mem, long state, boolean fresh) {
            denominators(w, l, count);
            scores();
            weigh(w, l, count);
            PanelGemm.nn(count, l.dh, count, false, true, w, l.matP, l.lp, w, l.matV, l.lp, false, w, l.matH, l.lp);
            if (!fresh) {
                Panels.scaleRows(w, l.matQ, l.lp, count, l.dq, w, l.inter, w, l.scaledK, l.lp);
                PanelGemm.nn(
                        count, l.dh, dimQk, false, false, w, l.scaledK, l.lp, mem, state, l.dq, true, w, l.matH, l.lp);
            }
            if (normalize) {
                for (int t = 0; t < count; t++) {
                    float den = Math.abs(w.get(FLOAT, l.den + 4L * t));
                    w.set(FLOAT, l.divisor + 4L * t, Math.max(den, w.get(FLOAT, l.floor + 4L * t)) + eps);
                }
                Panels.divideRows(w, l.matH, l.lp, count, l.dh, w, l.divisor);
            }
            Panels.unpack(w, l.matH, l.lp, count, dimHv, 1, job.h, token(dimHv), stride(dimHv));
            if (job.saved != null) {
                MemorySegment.copy(w, l.den, job.saved, savedDen(pair), 4L * count);
            }
        }

        /** The state after the chunk. */
        private void advance(MemorySegment mem, long state, boolean fresh, MemorySegment to, long next) {
            float g = fresh ? 0 : carryDecay;
            Panels.scaleRows(w, l.matK, l.lp, count, l.dq, w, l.write, w, l.scaledK, l.lp);
            if (g != 0) {
                Panels.scale(mem, state, g, to, next, (long) l.dq * l.dh);
            }
            PanelGemm.tn(l.dq, l.dh, count, false, w, l.scaledK, l.lp, w, l.matV, l.lp, g != 0, to, next, l.dq);
            long n = normaliserOf(next);
            for (int d = 0; d < l.dq; d++) {
                to.set(FLOAT, n + 4L * d, (float) w.get(DOUBLE, l.running + 8L * d));
            }
            to.set(FLOAT, stabiliserOf(next), lastM);
        }

        /**
         * From the chunk's gates and the stabiliser before it: the exponents of the decay matrix as pairs of floats (row + column), the
         * weight of the old state per token ({@code inter}), of each token in the new state ({@code write}), exp(-m) ({@code floor}).
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
            VectorMath.sigmoid(FloatVector.fromMemorySegment(F, w, at, LE)).intoMemorySegment(w, at, LE);
        }

        /**
         * The normaliser token after token in fp64, and with it the denominators: they may cancel to a small part of their terms, and
         * h and all gradients then carry their relative error.
         */
        private static void denominators(MemorySegment w, Layout l, int count) {
            expDoubles(w, l.decays, count);
            expDoubles(w, l.writes, count);
            for (int t = 0; t < count; t++) {
                double den = 0;
                double keep = w.get(DOUBLE, l.decays + 8L * t);
                double write = w.get(DOUBLE, l.writes + 8L * t);
                for (int d = 0; d < l.dq; d += Panels.WIDTH) {
                    long at = Panels.at(0, l.lp, t, d);
                    den += advancePanel(w, l.running + 8L * d, keep, write, l.matK + at, l.matQ + at);
                }
                w.set(FLOAT, l.den + 4L * t, (float) den);
            }
        }

        private static void expDoubles(MemorySegment w, long at, int count) {
            for (int t = 0; t < count; t += DoubleMath.LANES) {
                DoubleMath.exp(DoubleVector.fromMemorySegment(DoubleMath.D, w, at + 8L * t, LE))
                        .intoMemorySegment(w, at + 8L * t, LE);
            }
        }

        /** One panel's width of n = keep n + write k. @return its part of q . n */
        private static double advancePanel(MemorySegment w, long n, double keep, double write, long key, long query) {
            DoubleVector g = DoubleVector.broadcast(DoubleMath.D, keep);
            DoubleVector in = DoubleVector.broadcast(DoubleMath.D, write);
            DoubleVector den = DoubleVector.zero(DoubleMath.D);
            for (long d = 0; d < Panels.WIDTH; d += DoubleMath.LANES) {
                DoubleVector k = (DoubleVector) FloatVector.fromMemorySegment(DoubleMath.NARROW, w, key + 4 * d, LE)
                        .convertShape(VectorOperators.F2D, DoubleMath.D, 0);
                DoubleVector q = (DoubleVector) FloatVector.fromMemorySegment(DoubleMath.NARROW, w, query + 4 * d, LE)
                        .convertShape(VectorOperators.F2D, DoubleMath.D, 0);
                DoubleVector x = DoubleVector.fromMemorySegment(DoubleMath.D, w, n + 8 * d, LE)
                        .mul(g);
                x = k.fma(in, x);
                x.intoMemorySegment(w, n + 8 * d, LE);
                den = q.fma(x, den);
            }
            return DoubleMath.sum(den);
        }

        private void expInPlace(long at) {
            VectorMath.exp(FloatVector.fromMemorySegment(F, w, at, LE)).intoMemorySegment(w, at, LE);
        }

        private void split(double x, long hi, long lo, int t) {
            float h = (float) x;
            w.set(FLOAT, hi + 4L * t, h);
            w.set(FLOAT, lo + 4L * t, (float) (x - h));
        }

        /** matP = scores times decay, zero above the diagonal. */
        private static void weigh(MemorySegment w, Layout l, int count) {
            for (int t = 0; t < count; t++) {
                int end = (t / Panels.WIDTH + 1) * Panels.WIDTH;
                decayRow(w, l, t, end);
                for (int s = 0; s < end; s += LANES) {
                    long at = Panels.at(l.matP, l.lp, t, s);
                    FloatVector.fromMemorySegment(F, w, at, LE)
                            .mul(FloatVector.fromMemorySegment(F, w, l.decayRow + 4L * s, LE))
                            .intoMemorySegment(w, at, LE);
                }
            }
        }

        /** Row t of the decay matrix, zero after its diagonal. */
        private static void decayRow(MemorySegment w, Layout l, int t, int end) {
            FloatVector hi = FloatVector.broadcast(F, w.get(FLOAT, l.rowHi + 4L * t));
            FloatVector lo = FloatVector.broadcast(F, w.get(FLOAT, l.rowLo + 4L * t));
            for (int s = 0; s < end; s += LANES) {
                FloatVector high = FloatVector.fromMemorySegment(F, w, l.colHi + 4L * s, LE)
                        .add(hi);
                FloatVector low = FloatVector.fromMemorySegment(F, w, l.colLo + 4L * s, LE)
                        .add(lo);
                VectorMath.exp(high.add(low)).intoMemorySegment(w, l.decayRow + 4L * s, LE);
            }
            for (int s = t + 1; s < end; s++) {
                w.set(FLOAT, l.decayRow + 4L * s, 0);
            }
        }

        /**
         * matP becomes P and matW (which holds dH~ v) W = (dP + dden) * decay. Row and column sums of P (dP + dden), the gates'
         * gradients inside the chunk, are fp64: the forget gates take differences of them over the whole sequence.
         */
        private static void weighBackward(MemorySegment w, Layout l, int count) {
            w.asSlice(l.colSums, 8L * l.lp).fill((byte) 0);
            for (int t = 0; t < count; t++) {
                int end = (t / Panels.WIDTH + 1) * Panels.WIDTH;
                decayRow(w, l, t, end);
                weighRow(w, l, t, end);
                w.set(DOUBLE, l.rowSums + 8L * t, sumRow(w, l, end));
            }
        }

        /** Row t of P and W; their product without the second decay, P (dP + dden), replaces the decay row. */
        private static void weighRow(MemorySegment w, Layout l, int t, int end) {
            FloatVector dden = FloatVector.broadcast(F, w.get(FLOAT, l.dden + 4L * t));
            for (int s = 0; s < end; s += LANES) {
                long at = Panels.at(l.matP, l.lp, t, s);
                long wt = at - l.matP + l.matW;
                FloatVector e = FloatVector.fromMemorySegment(F, w, l.decayRow + 4L * s, LE);
                FloatVector p = FloatVector.fromMemorySegment(F, w, at, LE).mul(e);
                FloatVector dp = FloatVector.fromMemorySegment(F, w, wt, LE).add(dden);
                p.intoMemorySegment(w, at, LE);
                dp.mul(e).intoMemorySegment(w, wt, LE);
                p.mul(dp).intoMemorySegment(w, l.decayRow + 4L * s, LE);
            }
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
            if (!noTail) {
                Panels.pack(
                        g.dLast.matC().segment(),
                        4L * pair * dimQk * dimHv,
                        4L * dimHv,
                        dimQk,
                        dimHv,
                        1,
                        w,
                        l.gradC,
                        l.dq);
                if (exact || !normalize && job.spec.exactGradient()) {
                    loadVector(g.dLast.vecN().segment(), 4L * pair * dimQk, w, l.gradN);
                } else {
                    w.asSlice(l.gradN, 4L * l.dq).fill((byte) 0);
                }
            } else {
                w.asSlice(l.gradN, 4L * l.dq).fill((byte) 0);
            }
            double suffix = 0;
            double stabiliserGrad = 0;
            MemorySegment mem = job.saved;
            for (int c = l.chunks - 1; c >= 0; c--) {
                selectChunk(c);
                long state = savedState(pair, c);
                boolean fresh = c == 0 && job.initial == null;
                prepareGates(mem.get(FLOAT, stabiliserOf(state)));
                packInputs();
                outputGradients(pair, g);
                Panels.transpose(w, l.matV, l.lp, Panels.pad(count), l.dh, w, l.valuesT, l.dh);
                scores();
                PanelGemm.nn(
                        count, count, dimHv, true, false, w, l.matH, l.lp, w, l.valuesT, l.dh, false, w, l.matW, l.lp);
                weighBackward(w, l, count);
                queryGradients(mem, state, fresh, g);
                valueGradients(noTail, g);
                double tail = keyGradients(noTail, g);
                if (c == l.chunks - 1 && !noTail && job.spec.exactGradient()) {
                    suffix = tail;
                    if (!fresh) {
                        suffix += carryDecay
                                * (Panels.dotAll(mem, state, w, l.gradC, (long) l.dq * l.dh)
                                        + Panels.dotAll(mem, normaliserOf(state), w, l.gradN, l.dq));
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
                    float keep = noTail ? 0 : carryDecay;
                    Panels.scaleRows(w, l.matQ, l.lp, count, l.dq, w, l.inter, w, l.scaledK, l.lp);
                    if (keep != 0) {
                        Panels.scale(w, l.gradC, keep, w, l.gradC, (long) l.dq * l.dh);
                    }
                    PanelGemm.tn(
                            l.dq, l.dh, count, false, w, l.scaledK, l.lp, w, l.matH, l.lp, keep != 0, w, l.gradC, l.dq);
                    Panels.addWeightedRows(w, l.matQ, l.lp, count, l.dq, w, l.interDden, carryDecay, w, l.gradN);
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
                        dm += Panels.dotAll(mem, state, w, l.gradC, (long) l.dq * l.dh)
                                + Panels.dotAll(mem, normaliserOf(state), w, l.gradN, l.dq);
                    }
                }
                store(pair, w, l.gradC, l.gradN, (float) dm, g.dInitial);
            }
        }

        /** matH = dh / N; the gradients of the denominator and, through eps, of the stabiliser. */
        private void outputGradients(int pair, Gradients g) {
            Panels.pack(g.dh, token(dimHv), stride(dimHv), count, dimHv, 1, w, l.matH, l.lp);
            if (!normalize) {
                for (int t = 0; t < count; t++) {
                    w.set(FLOAT, l.dden + 4L * t, 0);
                    w.set(FLOAT, l.interDden + 4L * t, 0);
                }
                return;
            }
            MemorySegment.copy(job.saved, savedDen(pair), w, l.den, 4L * count);
            long at = token(dimHv);
            for (int t = 0; t < count; t++) {
                float den = w.get(FLOAT, l.den + 4L * t);
                float floor = w.get(FLOAT, l.floor + 4L * t);
                float divisor = Math.max(Math.abs(den), floor) + eps;
                float dden = 0;
                float epsGrad = 0;
                if (exact) {
                    double along = dot(g.dh, job.h, at + t * stride(dimHv), dimHv) / (double) divisor;
                    dden = Math.abs(den) > floor ? (float) (-along * Math.signum(den)) : 0;
                    epsGrad = exponential ? (float) (-along * eps) : 0;
                }
                w.set(FLOAT, l.divisor + 4L * t, divisor);
                w.set(FLOAT, l.dden + 4L * t, dden);
                w.set(FLOAT, l.interDden + 4L * t, dden * w.get(FLOAT, l.inter + 4L * t));
                w.set(FLOAT, l.epsGrad + 4L * t, epsGrad);
            }
            Panels.divideRows(w, l.matH, l.lp, count, l.dh, w, l.divisor);
        }

        private static float dot(MemorySegment x, MemorySegment y, long at, int n) {
            FloatVector s = FloatVector.zero(F);
            int c = 0;
            for (; c + LANES <= n; c += LANES) {
                s = FloatVector.fromMemorySegment(F, x, at + 4L * c, LE)
                        .fma(FloatVector.fromMemorySegment(F, y, at + 4L * c, LE), s);
            }
            if (c < n) {
                VectorMask<Float> tail = F.indexInRange(c, n);
                s = FloatVector.fromMemorySegment(F, x, at + 4L * c, LE, tail)
                        .fma(FloatVector.fromMemorySegment(F, y, at + 4L * c, LE, tail), s);
            }
            return VectorMath.sum(s);
        }

        private void queryGradients(MemorySegment mem, long state, boolean fresh, Gradients g) {
            boolean add = false;
            if (!fresh) {
                Panels.scaleRows(w, l.matH, l.lp, count, l.dh, w, l.inter, w, l.scaledH, l.lp);
                Panels.transpose(mem, state, l.dq, l.dq, l.dh, w, l.stateT, l.dh);
                PanelGemm.nn(
                        count, l.dq, dimHv, false, false, w, l.scaledH, l.lp, w, l.stateT, l.dh, false, w, l.outQ,
                        l.lp);
                if (exact) {
                    Panels.addOuter(w, l.outQ, l.lp, count, l.dq, w, l.interDden, mem, normaliserOf(state));
                }
                addDots(l.matQ, l.outQ, l.rowSums);
                add = true;
            }
            PanelGemm.nn(count, l.dq, count, false, true, w, l.matW, l.lp, w, l.matK, l.lp, add, w, l.outQ, l.lp);
            Panels.unpack(w, l.outQ, l.lp, count, dimQk, scale, g.dq, token(dimQk), stride(dimQk));
        }

        /** Adds row-wise dot products of two key-sized matrices to {@code sums}. @return their total */
        private double addDots(long x, long y, long sums) {
            double total = 0;
            for (int t = 0; t < count; t++) {
                double dot = Panels.dotRow(w, x, l.lp, w, y, l.lp, t, l.dq);
                w.set(DOUBLE, sums + 8L * t, w.get(DOUBLE, sums + 8L * t) + dot);
                total += dot;
            }
            return total;
        }

        private void valueGradients(boolean noTail, Gradients g) {
            boolean add = false;
            if (!noTail) {
                Panels.scaleRows(w, l.matK, l.lp, count, l.dq, w, l.write, w, l.scaledK, l.lp);
                PanelGemm.nn(
                        count, l.dh, dimQk, false, false, w, l.scaledK, l.lp, w, l.gradC, l.dq, false, w, l.outV, l.lp);
                add = true;
            }
            PanelGemm.tn(count, l.dh, count, true, w, l.matP, l.lp, w, l.matH, l.lp, add, w, l.outV, l.lp);
            Panels.unpack(w, l.outV, l.lp, count, dimHv, 1, g.dv, token(dimHv), stride(dimHv));
        }

        /** @return sum over the chunk of k . dk as far as it comes through the state after the chunk */
        private double keyGradients(boolean noTail, Gradients g) {
            boolean add = false;
            double tail = 0;
            if (!noTail) {
                PanelGemm.nn(
                        l.dq,
                        Panels.pad(count),
                        dimHv,
                        false,
                        false,
                        w,
                        l.gradC,
                        l.dq,
                        w,
                        l.valuesT,
                        l.dh,
                        false,
                        w,
                        l.outKt,
                        l.dq);
                Panels.transpose(w, l.outKt, l.dq, l.dq, Panels.pad(count), w, l.outK, l.lp);
                Panels.scaleRows(w, l.outK, l.lp, count, l.dq, w, l.write, w, l.outK, l.lp);
                Panels.addOuter(w, l.outK, l.lp, count, l.dq, w, l.write, w, l.gradN);
                tail = addDots(l.matK, l.outK, l.colSums);
                add = true;
            }
            PanelGemm.tn(count, l.dq, count, true, w, l.matW, l.lp, w, l.matQ, l.lp, add, w, l.outK, l.lp);
            Panels.unpack(w, l.outK, l.lp, count, dimQk, 1, g.dk, token(dimQk), stride(dimQk));
            return tail;
        }
    }
}
