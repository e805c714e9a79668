package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.SlstmOps;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;

/**
 * The sLSTM scan. A unit of work is one head for {@link Panels#TILE} batch rows: their recurrent product is one narrow matrix product per
 * token, against recurrent weights packed once per call. {@code saved} holds, each (B, S, H): input factor, forget factor,
 * sigmoid(-f), sigmoid(o), tanh(z), c, n.
 */
final class CpuSlstm implements SlstmOps {
    private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;
    private static final int ROWS = 8;

    /** Tokens per product in the recurrent weights' gradient. */
    private static final int SPAN = 64;

    private static final int SAVED = 7;

    private final Workers workers;

    CpuSlstm(Workers workers) {
        this.workers = workers;
    }

    @Override
    public long savedFloats(int batch, int tokens, int heads, int headDim) {
        return (long) SAVED * batch * tokens * heads * headDim;
    }

    @Override
    public long scratchFloats(int batch, int tokens, int heads, int headDim) {
        long p = Panels.pad(headDim);
        return 4 * p * p * heads + workers.threads() * slotFloats((int) p);
    }

    private static long slotFloats(int p) {
        return (long) ROWS * p * 9 + (long) p * p + 2L * Panels.pad(SPAN) * p;
    }

    private static int units(int batch) {
        return (batch + ROWS - 1) / ROWS;
    }

    @Override
    public void forward(
            Stream s,
            int heads,
            Tensor xi,
            Tensor xf,
            Tensor xz,
            Tensor xo,
            Tensor r,
            Tensor bias,
            Tensor initial,
            Tensor y,
            Tensor last,
            Tensor saved,
            Tensor scratch) {
        String kernel = "slstm.forward";
        Job job = job(kernel, heads, y, r, initial, saved, scratch);
        long n = y.size();
        Check.f32(kernel, "xi", xi, n);
        Check.f32(kernel, "xf", xf, n);
        Check.f32(kernel, "xz", xz, n);
        Check.f32(kernel, "xo", xo, n);
        Check.f32(kernel, "bias", bias, 4L * job.width);
        Check.optional(kernel, "last", last, 4L * job.batch * job.width);
        workers.forRange(heads, 1, (from, to) -> {
            for (int h = from; h < to; h++) {
                job.packWeights(h, false);
            }
        });
        int blocks = units(job.batch);
        MemorySegment[] x = {xi.segment(), xf.segment(), xz.segment(), xo.segment()};
        Units.run(workers, heads * blocks, (unit, slot) -> new Scan(job, slot, unit / blocks, unit % blocks * ROWS)
                .forward(x, bias.segment(), last == null ? null : last.segment()));
    }

    @Override
    public void backward(
            Stream s,
            int heads,
            Tensor r,
            Tensor initial,
            Tensor y,
            Tensor saved,
            Tensor dy,
            Tensor dLast,
            Tensor dxi,
            Tensor dxf,
            Tensor dxz,
            Tensor dxo,
            Tensor dInitial,
            Tensor dr,
            Tensor dbias,
            Tensor scratch) {
        String kernel = "slstm.backward";
        Job job = job(kernel, heads, y, r, initial, saved, scratch);
        Check.that(saved != null, kernel + ": saved is missing", "null was passed", "pass what forward saved");
        long n = y.size();
        Check.f32(kernel, "dy", dy, n);
        Check.f32(kernel, "dxi", dxi, n);
        Check.f32(kernel, "dxf", dxf, n);
        Check.f32(kernel, "dxz", dxz, n);
        Check.f32(kernel, "dxo", dxo, n);
        Check.optional(kernel, "dLast", dLast, 4L * job.batch * job.width);
        Check.optional(kernel, "dInitial", dInitial, 4L * job.batch * job.width);
        Check.f32(kernel, "dr", dr, r.size());
        Check.f32(kernel, "dbias", dbias, 4L * job.width);
        workers.forRange(heads, 1, (from, to) -> {
            for (int h = from; h < to; h++) {
                job.packWeights(h, true);
            }
        });
        int blocks = units(job.batch);
        MemorySegment[] dx = {dxi.segment(), dxf.segment(), dxz.segment(), dxo.segment()};
        MemorySegment tail = dLast == null ? null : dLast.segment();
        MemorySegment head = dInitial == null ? null : dInitial.segment();
        Units.run(workers, heads * blocks, (unit, slot) -> new Scan(job, slot, unit / blocks, unit % blocks * ROWS)
                .backward(dy.segment(), tail, dx, head));
        Units.run(
                workers,
                heads * 4,
                (unit, slot) ->
                        job.weightGradients(slot, unit / 4, unit % 4, dx[unit % 4], dr.segment(), dbias.segment()));
    }

    private Job job(String kernel, int heads, Tensor y, Tensor r, Tensor initial, Tensor saved, Tensor scratch) {
        Check.that(
                y != null && r != null && y.rank() == 3 && heads >= 1 && y.size() > 0 && y.dim(2) % heads == 0,
                kernel + ": y is " + y + " for " + heads + " heads",
                "y must be (B, S, H) with H a multiple of the heads, and r must be given",
                "pass the layer's own sizes");
        int width = y.dim(2);
        int dh = width / heads;
        Check.f32(kernel, "y", y, y.size());
        Check.f32(kernel, "r", r, 4L * dh * width);
        Check.optional(kernel, "initial", initial, 4L * y.dim(0) * width);
        Check.optional(kernel, "saved", saved, savedFloats(y.dim(0), y.dim(1), heads, dh));
        long needed = scratchFloats(y.dim(0), y.dim(1), heads, dh);
        Check.that(
                scratch != null && scratch.isHost() && scratch.bytes() >= 4 * needed,
                kernel + ": scratch is " + scratch,
                "these sizes need " + needed + " floats in host memory",
                "allocate scratchFloats(batch, tokens, heads, headDim)");
        return new Job(heads, y, r, initial, saved, scratch);
    }

    /** What all units of one call share. */
    private static final class Job {
        final int batch;
        final int tokens;
        final int heads;
        final int width;
        final int dh;
        final int pad;
        final MemorySegment r;
        final MemorySegment y;
        final MemorySegment initial;
        final MemorySegment saved;
        final MemorySegment scratch;

        Job(int heads, Tensor y, Tensor r, Tensor initial, Tensor saved, Tensor scratch) {
            this.heads = heads;
            batch = y.dim(0);
            tokens = y.dim(1);
            width = y.dim(2);
            dh = width / heads;
            pad = Panels.pad(dh);
            this.r = r.segment();
            this.y = y.segment();
            this.initial = initial == null ? null : initial.segment();
            this.saved = saved == null ? null : saved.segment();
            this.scratch = scratch.segment();
        }

        long weights(int head) {
            return 16L * pad * pad * head;
        }

        long slot(int slot) {
            return 16L * pad * pad * heads + 4 * slotFloats(pad) * slot;
        }

        /** Floats from token (b, t) of the head on. */
        long at(int b, int t, int head) {
            return (((long) b * tokens + t) * width + (long) head * dh) * 4;
        }

        /** Recurrent weights of a head as (DH_in x 4 DH_out), or transposed (4 DH_out x DH_in); each gate padded to whole panels. */
        void packWeights(int head, boolean transposed) {
            for (int g = 0; g < 4; g++) {
                long src = ((long) head * dh * 4 + g) * dh * 4;
                if (transposed) {
                    for (int o = 0; o < pad; o++) {
                        for (int d = 0; d < pad; d++) {
                            float v = o < dh && d < dh ? r.get(FLOAT, src + ((long) d * 4 * dh + o) * 4) : 0f;
                            scratch.set(FLOAT, Panels.at(weights(head), 4 * pad, g * pad + o, d), v);
                        }
                    }
                } else {
                    Panels.pack(r, src, 16L * dh, dh, dh, scratch, Panels.at(weights(head), pad, 0, g * pad), pad);
                }
            }
        }

        /** dr and dbias of one head and gate. */
        void weightGradients(int slot, int head, int gate, MemorySegment dx, MemorySegment dr, MemorySegment dbias) {
            long sum = slot(slot);
            long before = sum + 4L * pad * pad;
            long grads = before + 4L * Panels.pad(SPAN) * pad;
            int rows = Panels.pad(SPAN);
            scratch.asSlice(sum, 4L * pad * pad).fill((byte) 0);
            for (int b = 0; b < batch; b++) {
                for (int t = 1; t < tokens; t += SPAN) {
                    int n = Math.min(SPAN, tokens - t);
                    product(
                            y,
                            at(b, t - 1, head),
                            4L * width,
                            dx,
                            at(b, t, head),
                            4L * width,
                            n,
                            before,
                            grads,
                            rows,
                            sum);
                }
            }
            for (int b = 0; b < batch && initial != null; b += SPAN) {
                int n = Math.min(SPAN, batch - b);
                long from = ((long) b * width + (long) head * dh) * 4;
                product(
                        initial,
                        from,
                        4L * width,
                        dx,
                        at(b, 0, head),
                        4L * width * tokens,
                        n,
                        before,
                        grads,
                        rows,
                        sum);
            }
            for (int c = 0; c < dh; c += LANES) {
                VectorMask<Float> mask = F.indexInRange(c, dh);
                for (int d = 0; d < dh; d++) {
                    long o = ((((long) head * dh + d) * 4 + gate) * dh + c) * 4;
                    FloatVector.fromMemorySegment(F, dr, o, LE, mask)
                            .add(FloatVector.fromMemorySegment(F, scratch, Panels.at(sum, pad, d, c), LE))
                            .intoMemorySegment(dr, o, LE, mask);
                }
                FloatVector total = FloatVector.zero(F);
                for (int b = 0; b < batch; b++) {
                    FloatVector row = FloatVector.zero(F);
                    for (int t = 0; t < tokens; t++) {
                        row = row.add(FloatVector.fromMemorySegment(F, dx, at(b, t, head) + 4L * c, LE, mask));
                    }
                    total = total.add(row);
                }
                long o = ((long) gate * width + (long) head * dh + c) * 4;
                FloatVector.fromMemorySegment(F, dbias, o, LE, mask).add(total).intoMemorySegment(dbias, o, LE, mask);
            }
        }

        private void product(
                MemorySegment a,
                long ao,
                long aStride,
                MemorySegment b,
                long bo,
                long bStride,
                int n,
                long pa,
                long pb,
                int rows,
                long sum) {
            Panels.pack(a, ao, aStride, n, dh, scratch, pa, rows);
            Panels.pack(b, bo, bStride, n, dh, scratch, pb, rows);
            Panels.tn(pad, pad, n, scratch, pa, rows, scratch, pb, rows, scratch, sum, pad);
        }
    }

    /** One head for up to {@link #ROWS} batch rows, token after token. */
    private static final class Scan {
        private final Job job;
        private final MemorySegment w;
        private final int head;
        private final int row;
        private final int rows;
        private final int pad;
        private final long matY;
        private final long matC;
        private final long matN;
        private final long matM;
        private final long gates;
        private final long slopes;
        private final long plane;

        Scan(Job job, int slot, int head, int row) {
            this.job = job;
            w = job.scratch;
            this.head = head;
            this.row = row;
            rows = Math.min(ROWS, job.batch - row);
            pad = job.pad;
            long size = 4L * ROWS * pad;
            matY = job.slot(slot);
            matC = matY + size;
            matN = matC + size;
            matM = matN + size;
            gates = matM + size;
            slopes = gates + 4 * size;
            plane = 4L * job.batch * job.tokens * job.width;
        }

        private long state(int part) {
            return (((long) part * job.batch + row) * job.width + (long) head * job.dh) * 4;
        }

        private void loadState(MemorySegment from) {
            w.asSlice(matY, 16L * ROWS * pad).fill((byte) 0);
            for (int part = 0; part < 4 && from != null; part++) {
                for (int b = 0; b < rows; b++) {
                    for (int c = 0; c < job.dh; c += LANES) {
                        VectorMask<Float> mask = F.indexInRange(c, job.dh);
                        FloatVector.fromMemorySegment(F, from, state(part) + 4L * ((long) b * job.width + c), LE, mask)
                                .intoMemorySegment(w, Panels.at(matY + part * 4L * ROWS * pad, ROWS, b, c), LE);
                    }
                }
            }
        }

        private void storeState(MemorySegment to) {
            for (int part = 0; part < 4; part++) {
                Panels.unpack(w, matY + part * 4L * ROWS * pad, ROWS, rows, job.dh, to, state(part), 4L * job.width);
            }
        }

        void forward(MemorySegment[] x, MemorySegment bias, MemorySegment last) {
            loadState(job.initial);
            long size = (long) ROWS * pad;
            w.asSlice(gates, 16 * size).fill((byte) 0);
            for (int t = 0; t < job.tokens; t++) {
                boolean fresh = t == 0 && job.initial == null;
                if (!fresh) {
                    Panels.nn(ROWS, 4 * pad, job.dh, w, matY, ROWS, w, job.weights(head), pad, w, gates, ROWS);
                }
                for (int g = 0; g < 4; g++) {
                    addInputs(x[g], bias, g, t);
                }
                if (job.saved != null) {
                    SlstmCell.sigmoidOfMinus(w, gates + 4 * size, slopes, size);
                }
                SlstmCell.step(w, gates, size, matY, matC, matN, matM);
                copyOut(matY, job.y, 0, t);
                if (job.saved != null) {
                    copyOut(gates, job.saved, 0, t);
                    copyOut(gates + 4 * size, job.saved, 1, t);
                    copyOut(slopes, job.saved, 2, t);
                    copyOut(gates + 12 * size, job.saved, 3, t);
                    copyOut(gates + 8 * size, job.saved, 4, t);
                    copyOut(matC, job.saved, 5, t);
                    copyOut(matN, job.saved, 6, t);
                }
            }
            if (last != null) {
                storeState(last);
            }
        }

        /** The gate's raw value: recurrent part (already there; zero for a fresh state) + input + bias. */
        private void addInputs(MemorySegment x, MemorySegment bias, int gate, int t) {
            long plane = gates + 4L * gate * ROWS * pad;
            long step = 4L * job.tokens * job.width;
            for (int c = 0; c < job.dh; c += LANES) {
                long in = job.at(row, t, head) + 4L * c;
                long b0 = ((long) gate * job.width + (long) head * job.dh + c) * 4;
                if (c + LANES <= job.dh) {
                    addInput(
                            x,
                            in,
                            step,
                            FloatVector.fromMemorySegment(F, bias, b0, LE),
                            w,
                            Panels.at(plane, ROWS, 0, c),
                            rows);
                } else {
                    addInputTail(x, in, step, bias, b0, w, Panels.at(plane, ROWS, 0, c), rows, job.dh - c);
                }
            }
        }

        private static void addInput(
                MemorySegment x, long in, long step, FloatVector bias, MemorySegment w, long out, int rows) {
            for (int b = 0; b < rows; b++) {
                long o = out + 4L * Panels.WIDTH * b;
                FloatVector.fromMemorySegment(F, w, o, LE)
                        .add(FloatVector.fromMemorySegment(F, x, in + b * step, LE)
                                .add(bias))
                        .intoMemorySegment(w, o, LE);
            }
        }

        private static void addInputTail(
                MemorySegment x,
                long in,
                long step,
                MemorySegment bias,
                long b0,
                MemorySegment w,
                long out,
                int rows,
                int n) {
            for (int b = 0; b < rows; b++) {
                for (int j = 0; j < n; j++) {
                    long o = out + 4L * Panels.WIDTH * b + 4L * j;
                    w.set(
                            FLOAT,
                            o,
                            w.get(FLOAT, o) + (x.get(FLOAT, in + b * step + 4L * j) + bias.get(FLOAT, b0 + 4L * j)));
                }
            }
        }

        /** The rows' values of one token to plane {@code part} of a (.., B, S, H) tensor. */
        private void copyOut(long from, MemorySegment to, int part, int t) {
            Panels.unpack(
                    w, from, ROWS, rows, job.dh, to, part * plane + job.at(row, t, head), 4L * job.tokens * job.width);
        }

        /** matY, matC and matN carry the state's gradient. */
        void backward(MemorySegment dy, MemorySegment dLast, MemorySegment[] dx, MemorySegment dInitial) {
            loadState(dLast);
            w.asSlice(gates, 16L * ROWS * pad).fill((byte) 0);
            for (int t = job.tokens - 1; t >= 0; t--) {
                for (int b = 0; b < rows; b++) {
                    long at = job.at(row + b, t, head);
                    for (int c = 0; c < job.dh; c += LANES) {
                        cellBackward(dy, dx, at + 4L * c, t, b, c, F.indexInRange(c, job.dh));
                    }
                }
                if (t > 0 || dInitial != null) {
                    Panels.nn(ROWS, pad, 4 * pad, w, gates, ROWS, w, job.weights(head), 4 * pad, w, matY, ROWS);
                }
            }
            if (dInitial != null) {
                for (int b = 0; b < rows; b++) {
                    for (int c = 0; c < job.dh; c += LANES) {
                        long o = Panels.at(0, ROWS, b, c);
                        FloatVector m = FloatVector.zero(F);
                        if (job.initial != null) {
                            VectorMask<Float> mask = F.indexInRange(c, job.dh);
                            long at = 4L * ((long) b * job.width + c);
                            m = FloatVector.fromMemorySegment(F, w, matC + o, LE)
                                    .mul(FloatVector.fromMemorySegment(F, job.initial, state(1) + at, LE, mask))
                                    .add(FloatVector.fromMemorySegment(F, w, matN + o, LE)
                                            .mul(FloatVector.fromMemorySegment(
                                                    F, job.initial, state(2) + at, LE, mask)));
                        }
                        m.intoMemorySegment(w, matM + o, LE);
                    }
                }
                storeState(dInitial);
            }
        }

        private FloatVector saved(int part, long at, VectorMask<Float> mask) {
            return FloatVector.fromMemorySegment(F, job.saved, at + part * plane, LE, mask);
        }

        /** c (part 5) or n (part 6) before token t. */
        private FloatVector before(int part, long at, int t, int b, int c, VectorMask<Float> mask) {
            if (t > 0) {
                return saved(part, at - 4L * job.width, mask);
            }
            if (job.initial == null) {
                return FloatVector.zero(F);
            }
            return FloatVector.fromMemorySegment(
                    F, job.initial, state(part - 4) + 4L * ((long) b * job.width + c), LE, mask);
        }

        private void cellBackward(
                MemorySegment dyAll, MemorySegment[] dx, long at, int t, int b, int c, VectorMask<Float> mask) {
            long o = Panels.at(0, ROWS, b, c);
            FloatVector dy = FloatVector.fromMemorySegment(F, dyAll, at, LE, mask)
                    .add(FloatVector.fromMemorySegment(F, w, matY + o, LE));
            FloatVector write = saved(0, at, mask);
            FloatVector keep = saved(1, at, mask);
            FloatVector out = saved(3, at, mask);
            FloatVector z = saved(4, at, mask);
            FloatVector y = FloatVector.fromMemorySegment(F, job.y, at, LE, mask);
            FloatVector u = dy.div(saved(6, at, mask).blend(1f, mask.not()));
            FloatVector dc = FloatVector.fromMemorySegment(F, w, matC + o, LE).add(u.mul(out));
            FloatVector dn = FloatVector.fromMemorySegment(F, w, matN + o, LE).sub(u.mul(y));
            FloatVector di = write.mul(z.mul(dc).add(dn));
            FloatVector df = keep.mul(dc.mul(before(5, at, t, b, c, mask)).add(dn.mul(before(6, at, t, b, c, mask))))
                    .mul(saved(2, at, mask));
            FloatVector dz = dc.mul(write).mul(FloatVector.broadcast(F, 1f).sub(z.mul(z)));
            FloatVector dOut = FloatVector.broadcast(F, 1f).sub(out).mul(y).mul(dy);
            keep.mul(dc).intoMemorySegment(w, matC + o, LE);
            keep.mul(dn).intoMemorySegment(w, matN + o, LE);
            put(di, dx[0], 0, at, b, c, mask);
            put(df, dx[1], 1, at, b, c, mask);
            put(dz, dx[2], 2, at, b, c, mask);
            put(dOut, dx[3], 3, at, b, c, mask);
        }

        private void put(FloatVector g, MemorySegment dx, int gate, long at, int b, int c, VectorMask<Float> mask) {
            g.intoMemorySegment(dx, at, LE, mask);
            g.blend(0f, mask.not()).intoMemorySegment(w, Panels.at(gates, ROWS, b, gate * pad + c), LE);
        }
    }
}
