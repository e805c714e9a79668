package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.NativeFloats.load;
import static ai.lram.backend.cpu.NativeFloats.store;
import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.I;
import static ai.lram.backend.cpu.VectorMath.LANES;
import static ai.lram.backend.cpu.VectorMath.ONE;

import ai.lram.backend.DType;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.Activation;
import ai.lram.backend.ops.ElementwiseOps;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/** Pointwise loops. Up to {@link #INLINE} elements they run on the calling thread and allocate nothing. */
final class CpuElementwise implements ElementwiseOps {
    /** Largest number of elements that is not worth waking another thread for. */
    static final long INLINE = 32_768;

    /** Elements per unit of parallel work, a multiple of every vector length. */
    private static final int BLOCK = 4096;

    private static final int GRAIN = 4;

    /** Elements of the skip gate that are worked on together: ten pieces of so many share the first-level cache. */
    private static final int PIECE = 512;

    private static final VectorSpecies<Byte> BYTES = LANES >= 16 ? ByteVector.SPECIES_128 : ByteVector.SPECIES_64;

    private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;
    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    private final Workers workers;

    CpuElementwise(Workers workers) {
        this.workers = workers;
    }

    /** Elements {@code from} to {@code to}, the last excluded. */
    @FunctionalInterface
    private interface Loop {
        void run(long from, long to);
    }

    private static void split(Workers workers, long n, Loop loop) {
        int blocks = Math.toIntExact((n + BLOCK - 1) / BLOCK);
        workers.forRange(blocks, GRAIN, (from, to) -> loop.run((long) from * BLOCK, Math.min(n, (long) to * BLOCK)));
    }

    @Override
    public void activation(Stream s, Activation act, Tensor x, Tensor y) {
        long n = size("activation", y);
        Check.f32("activation", "x", x, n);
        Check.f32("activation", "y", y, n);
        activate(workers, act, x.segment(), y.segment(), n);
    }

    /** y = act(x) for {@code n} floats; y may be x. */
    static void activate(Workers workers, Activation act, MemorySegment x, MemorySegment y, long n) {
        if (n <= INLINE) {
            activationRange(act, x, y, 0, n);
        } else {
            activationSplit(workers, act, x, y, n);
        }
    }

    private static void activationSplit(Workers workers, Activation act, MemorySegment x, MemorySegment y, long n) {
        split(workers, n, (from, to) -> activationRange(act, x, y, from, to));
    }

    private static void activationRange(Activation act, MemorySegment x, MemorySegment y, long from, long to) {
        for (long at = from; at < to; at += BLOCK) {
            ActivationLoops.value(act, x, at, y, at, (int) Math.min(BLOCK, to - at));
        }
    }

    @Override
    public void activationBackward(Stream s, Activation act, Tensor x, Tensor dy, Tensor dx) {
        long n = size("activationBackward", dx);
        Check.f32("activationBackward", "x", x, n);
        Check.f32("activationBackward", "dy", dy, n);
        Check.f32("activationBackward", "dx", dx, n);
        if (n <= INLINE) {
            activationBackwardRange(act, x.segment(), dy.segment(), dx.segment(), 0, n);
        } else {
            activationBackwardSplit(workers, act, x.segment(), dy.segment(), dx.segment(), n);
        }
    }

    private static void activationBackwardSplit(
            Workers workers, Activation act, MemorySegment x, MemorySegment dy, MemorySegment dx, long n) {
        split(workers, n, (from, to) -> activationBackwardRange(act, x, dy, dx, from, to));
    }

    private static void activationBackwardRange(
            Activation act, MemorySegment x, MemorySegment dy, MemorySegment dx, long from, long to) {
        Staging staging = Staging.own();
        for (long at = from; at < to; at += Staging.BLOCK) {
            int n = (int) Math.min(Staging.BLOCK, to - at);
            ActivationLoops.slope(act, x, at, staging.block0, 0, n);
            multiply(staging.block0, dy, dx, at, n);
        }
    }

    /** y = block * x at {@code at}. */
    private static void multiply(MemorySegment block, MemorySegment x, MemorySegment y, long at, int n) {
        int i = 0;
        for (; i <= n - LANES; i += LANES) {
            store(load(block, i).mul(load(x, at + i)), y, at + i);
        }
        for (; i < n; i++) {
            y.set(FLOAT, (at + i) * 4, block.get(FLOAT, i * 4L) * x.get(FLOAT, (at + i) * 4));
        }
    }

    @Override
    public void add(Stream s, Tensor a, Tensor b, Tensor y) {
        long n = size("add", y);
        Check.f32("add", "a", a, n);
        Check.f32("add", "b", b, n);
        Check.f32("add", "y", y, n);
        if (n <= INLINE) {
            addRange(a.segment(), b.segment(), y.segment(), 0, n);
        } else {
            addSplit(workers, a.segment(), b.segment(), y.segment(), n);
        }
    }

    private static void addSplit(Workers workers, MemorySegment a, MemorySegment b, MemorySegment y, long n) {
        split(workers, n, (from, to) -> addRange(a, b, y, from, to));
    }

    private static void addRange(MemorySegment a, MemorySegment b, MemorySegment y, long from, long to) {
        long i = from;
        for (; i <= to - LANES; i += LANES) {
            store(load(a, i).add(load(b, i)), y, i);
        }
        for (; i < to; i++) {
            y.set(FLOAT, i * 4, a.get(FLOAT, i * 4) + b.get(FLOAT, i * 4));
        }
    }

    @Override
    public void axpy(Stream s, float alpha, Tensor x, Tensor y) {
        long n = size("axpy", y);
        Check.f32("axpy", "x", x, n);
        Check.f32("axpy", "y", y, n);
        if (n <= INLINE) {
            axpyRange(alpha, x.segment(), y.segment(), 0, n);
        } else {
            axpySplit(workers, alpha, x.segment(), y.segment(), n);
        }
    }

    private static void axpySplit(Workers workers, float alpha, MemorySegment x, MemorySegment y, long n) {
        split(workers, n, (from, to) -> axpyRange(alpha, x, y, from, to));
    }

    private static void axpyRange(float alpha, MemorySegment x, MemorySegment y, long from, long to) {
        long i = from;
        for (; i <= to - LANES; i += LANES) {
            store(load(x, i).fma(FloatVector.broadcast(F, alpha), load(y, i)), y, i);
        }
        for (; i < to; i++) {
            y.set(FLOAT, i * 4, Math.fma(alpha, x.get(FLOAT, i * 4), y.get(FLOAT, i * 4)));
        }
    }

    @Override
    public void scale(Stream s, float alpha, Tensor x, Tensor y) {
        long n = size("scale", y);
        Check.f32("scale", "x", x, n);
        Check.f32("scale", "y", y, n);
        if (n <= INLINE) {
            scaleRange(alpha, x.segment(), y.segment(), 0, n);
        } else {
            scaleSplit(workers, alpha, x.segment(), y.segment(), n);
        }
    }

    private static void scaleSplit(Workers workers, float alpha, MemorySegment x, MemorySegment y, long n) {
        split(workers, n, (from, to) -> scaleRange(alpha, x, y, from, to));
    }

    private static void scaleRange(float alpha, MemorySegment x, MemorySegment y, long from, long to) {
        long i = from;
        for (; i <= to - LANES; i += LANES) {
            store(load(x, i).mul(alpha), y, i);
        }
        for (; i < to; i++) {
            y.set(FLOAT, i * 4, alpha * x.get(FLOAT, i * 4));
        }
    }

    @Override
    public void gate(Stream s, Activation act, Tensor g, Tensor u, Tensor y) {
        long n = size("gate", y);
        Check.f32("gate", "g", g, n);
        Check.f32("gate", "u", u, n);
        Check.f32("gate", "y", y, n);
        if (n <= INLINE) {
            gateRange(act, g.segment(), u.segment(), y.segment(), 0, n);
        } else {
            gateSplit(workers, act, g.segment(), u.segment(), y.segment(), n);
        }
    }

    private static void gateSplit(
            Workers workers, Activation act, MemorySegment g, MemorySegment u, MemorySegment y, long n) {
        split(workers, n, (from, to) -> gateRange(act, g, u, y, from, to));
    }

    private static void gateRange(
            Activation act, MemorySegment g, MemorySegment u, MemorySegment y, long from, long to) {
        Staging staging = Staging.own();
        for (long at = from; at < to; at += Staging.BLOCK) {
            int n = (int) Math.min(Staging.BLOCK, to - at);
            ActivationLoops.value(act, g, at, staging.block0, 0, n);
            multiply(staging.block0, u, y, at, n);
        }
    }

    @Override
    public void gateBackward(Stream s, Activation act, Tensor g, Tensor u, Tensor dy, Tensor dg, Tensor du) {
        long n = size("gateBackward", du);
        Check.f32("gateBackward", "g", g, n);
        Check.f32("gateBackward", "u", u, n);
        Check.f32("gateBackward", "dy", dy, n);
        Check.f32("gateBackward", "dg", dg, n);
        Check.f32("gateBackward", "du", du, n);
        if (n <= INLINE) {
            gateBackwardRange(act, g.segment(), u.segment(), dy.segment(), dg.segment(), du.segment(), 0, n);
        } else {
            gateBackwardSplit(workers, act, g.segment(), u.segment(), dy.segment(), dg.segment(), du.segment(), n);
        }
    }

    private static void gateBackwardSplit(
            Workers workers,
            Activation act,
            MemorySegment g,
            MemorySegment u,
            MemorySegment dy,
            MemorySegment dg,
            MemorySegment du,
            long n) {
        split(workers, n, (from, to) -> gateBackwardRange(act, g, u, dy, dg, du, from, to));
    }

    private static void gateBackwardRange(
            Activation act,
            MemorySegment g,
            MemorySegment u,
            MemorySegment dy,
            MemorySegment dg,
            MemorySegment du,
            long from,
            long to) {
        Staging staging = Staging.own();
        for (long at = from; at < to; at += Staging.BLOCK) {
            int n = (int) Math.min(Staging.BLOCK, to - at);
            ActivationLoops.both(act, g, at, staging.block0, 0, staging.block1, 0, n);
            gateBackwardBlock(staging.block0, staging.block1, u, dy, dg, du, at, n);
        }
    }

    private static void gateBackwardBlock(
            MemorySegment value,
            MemorySegment slope,
            MemorySegment u,
            MemorySegment dy,
            MemorySegment dg,
            MemorySegment du,
            long at,
            int n) {
        int i = 0;
        for (; i <= n - LANES; i += LANES) {
            FloatVector d = load(dy, at + i);
            FloatVector upstream = d.mul(load(u, at + i));
            store(d.mul(load(value, i)), du, at + i);
            store(upstream.mul(load(slope, i)), dg, at + i);
        }
        for (; i < n; i++) {
            float d = dy.get(FLOAT, (at + i) * 4);
            float upstream = d * u.get(FLOAT, (at + i) * 4);
            du.set(FLOAT, (at + i) * 4, d * value.get(FLOAT, i * 4L));
            dg.set(FLOAT, (at + i) * 4, upstream * slope.get(FLOAT, i * 4L));
        }
    }

    @Override
    public void skipGate(Stream s, Tensor h, Tensor skip, Tensor c, Tensor z, Tensor y) {
        long n = size("skipGate", y);
        int width = width("skipGate", skip, n);
        Check.f32("skipGate", "h", h, n);
        Check.f32("skipGate", "c", c, n);
        Check.f32("skipGate", "z", z, n);
        int rows = (int) (n / width);
        if (n <= INLINE) {
            skipGateRange(width, h.segment(), skip.segment(), c.segment(), z.segment(), y.segment(), 0, rows);
        } else {
            skipGateSplit(workers, rows, width, h.segment(), skip.segment(), c.segment(), z.segment(), y.segment());
        }
    }

    private static void skipGateSplit(
            Workers workers,
            int rows,
            int width,
            MemorySegment h,
            MemorySegment skip,
            MemorySegment c,
            MemorySegment z,
            MemorySegment y) {
        workers.forRange(rows, rowGrain(width), (from, to) -> skipGateRange(width, h, skip, c, z, y, from, to));
    }

    private static void skipGateRange(
            int width,
            MemorySegment h,
            MemorySegment skip,
            MemorySegment c,
            MemorySegment z,
            MemorySegment y,
            int from,
            int to) {
        Staging staging = Staging.own();
        for (int r = from; r < to; r++) {
            for (int j = 0; j < width; j += PIECE) {
                int n = Math.min(PIECE, width - j);
                long at = (long) r * width + j;
                ActivationLoops.value(Activation.SILU, z, at, staging.block0, 0, n);
                skipGateBlock(h, skip, j, c, staging.block0, y, at, n);
            }
        }
    }

    static void skipGateBlock(
            MemorySegment h,
            MemorySegment skip,
            int j,
            MemorySegment c,
            MemorySegment gate,
            MemorySegment y,
            long at,
            int n) {
        int i = 0;
        for (; i <= n - LANES; i += LANES) {
            // Without load and store: see CpuNorm.
            FloatVector sum = FloatVector.fromMemorySegment(F, skip, (j + i) * 4L, LE)
                    .fma(
                            FloatVector.fromMemorySegment(F, c, (at + i) * 4, LE),
                            FloatVector.fromMemorySegment(F, h, (at + i) * 4, LE));
            sum.mul(FloatVector.fromMemorySegment(F, gate, i * 4L, LE)).intoMemorySegment(y, (at + i) * 4, LE);
        }
        for (; i < n; i++) {
            float sum = Math.fma(skip.get(FLOAT, (j + i) * 4L), c.get(FLOAT, (at + i) * 4), h.get(FLOAT, (at + i) * 4));
            y.set(FLOAT, (at + i) * 4, sum * gate.get(FLOAT, i * 4L));
        }
    }

    @Override
    public void skipGateBackward(
            Stream s,
            Tensor h,
            Tensor skip,
            Tensor c,
            Tensor z,
            Tensor dy,
            Tensor dh,
            Tensor dskip,
            Tensor dc,
            Tensor dz) {
        long n = size("skipGateBackward", dy);
        int width = width("skipGateBackward", skip, n);
        Check.f32("skipGateBackward", "h", h, n);
        Check.f32("skipGateBackward", "c", c, n);
        Check.f32("skipGateBackward", "z", z, n);
        Check.f32("skipGateBackward", "dh", dh, n);
        Check.f32("skipGateBackward", "dskip", dskip, width);
        Check.f32("skipGateBackward", "dc", dc, n);
        Check.f32("skipGateBackward", "dz", dz, n);
        skipGateBackwardSplit(
                workers,
                (int) (n / width),
                width,
                new MemorySegment[] {h.segment(), skip.segment(), c.segment(), z.segment(), dy.segment()},
                dh.segment(),
                dskip.segment(),
                dc.segment(),
                dz.segment());
    }

    private static void skipGateBackwardSplit(
            Workers workers,
            int rows,
            int width,
            MemorySegment[] in,
            MemorySegment dh,
            MemorySegment dskip,
            MemorySegment dc,
            MemorySegment dz) {
        ColumnSums sums = new ColumnSums(rows, width);
        sums.over(workers, (from, to, partial, line) -> {
            Staging staging = Staging.own();
            for (int r = from; r < to; r++) {
                for (int j = 0; j < width; j += PIECE) {
                    int n = Math.min(PIECE, width - j);
                    long at = (long) r * width + j;
                    ActivationLoops.both(Activation.SILU, in[3], at, staging.block0, 0, staging.block1, 0, n);
                    skipGateBackwardBlock(staging, in[0], in[1], j, in[2], in[4], dh, dc, dz, at, n, partial, line + j);
                }
            }
        });
        sums.addTo(workers, 0, width, dskip);
    }

    /** Adds to the partial sums for the skip besides; every element's inputs are read before its gradients are written. */
    private static void skipGateBackwardBlock(
            Staging staging,
            MemorySegment h,
            MemorySegment skip,
            int j,
            MemorySegment c,
            MemorySegment dy,
            MemorySegment dh,
            MemorySegment dc,
            MemorySegment dz,
            long at,
            int n,
            float[] partial,
            int line) {
        MemorySegment value = staging.block0;
        MemorySegment slope = staging.block1;
        int i = 0;
        for (; i <= n - LANES; i += LANES) {
            FloatVector d = load(dy, at + i);
            FloatVector k = load(skip, j + i);
            FloatVector own = load(c, at + i);
            FloatVector sum = k.fma(own, load(h, at + i));
            FloatVector dSum = d.mul(load(value, i));
            dSum.fma(own, FloatVector.fromArray(F, partial, line + i)).intoArray(partial, line + i);
            store(dSum, dh, at + i);
            store(dSum.mul(k), dc, at + i);
            store(d.mul(sum).mul(load(slope, i)), dz, at + i);
        }
        for (; i < n; i++) {
            long byteAt = (at + i) * 4;
            float d = dy.get(FLOAT, byteAt);
            float k = skip.get(FLOAT, (j + i) * 4L);
            float own = c.get(FLOAT, byteAt);
            float sum = Math.fma(k, own, h.get(FLOAT, byteAt));
            float dSum = d * value.get(FLOAT, i * 4L);
            partial[line + i] = Math.fma(dSum, own, partial[line + i]);
            dh.set(FLOAT, byteAt, dSum);
            dc.set(FLOAT, byteAt, dSum * k);
            dz.set(FLOAT, byteAt, d * sum * slope.get(FLOAT, i * 4L));
        }
    }

    @Override
    public void softCap(Stream s, float cap, Tensor x, Tensor y) {
        long n = size("softCap", y);
        Check.f32("softCap", "x", x, n);
        Check.f32("softCap", "y", y, n);
        if (n <= INLINE) {
            softCapRange(cap, x.segment(), y.segment(), 0, n);
        } else {
            softCapSplit(workers, cap, x.segment(), y.segment(), n);
        }
    }

    private static void softCapSplit(Workers workers, float cap, MemorySegment x, MemorySegment y, long n) {
        split(workers, n, (from, to) -> softCapRange(cap, x, y, from, to));
    }

    private static void softCapRange(float cap, MemorySegment x, MemorySegment y, long from, long to) {
        long rest = (to - from) % LANES;
        long end = to - rest;
        softCapVectors(cap, x, y, from, end);
        if (rest != 0) { // through the same loop: an element's result does not depend on where it lies
            MemorySegment own = Staging.own().rest;
            MemorySegment.copy(x, 4 * end, own, 0, 4 * rest);
            softCapVectors(cap, own, own, 0, LANES);
            MemorySegment.copy(own, 0, y, 4 * end, 4 * rest);
        }
    }

    private static void softCapVectors(float cap, MemorySegment x, MemorySegment y, long from, long to) {
        for (long i = from; i < to; i += LANES) {
            store(VectorMath.tanh(load(x, i).div(cap)).mul(cap), y, i);
        }
    }

    @Override
    public void softCapBackward(Stream s, float cap, Tensor y, Tensor dy, Tensor dx) {
        long n = size("softCapBackward", dx);
        Check.f32("softCapBackward", "y", y, n);
        Check.f32("softCapBackward", "dy", dy, n);
        Check.f32("softCapBackward", "dx", dx, n);
        if (n <= INLINE) {
            softCapBackwardRange(cap, y.segment(), dy.segment(), dx.segment(), 0, n);
        } else {
            softCapBackwardSplit(workers, cap, y.segment(), dy.segment(), dx.segment(), n);
        }
    }

    private static void softCapBackwardSplit(
            Workers workers, float cap, MemorySegment y, MemorySegment dy, MemorySegment dx, long n) {
        split(workers, n, (from, to) -> softCapBackwardRange(cap, y, dy, dx, from, to));
    }

    private static void softCapBackwardRange(
            float cap, MemorySegment y, MemorySegment dy, MemorySegment dx, long from, long to) {
        long i = from;
        for (; i <= to - LANES; i += LANES) {
            FloatVector t = load(y, i).div(cap);
            store(load(dy, i).mul(ONE.sub(t.mul(t))), dx, i);
        }
        for (; i < to; i++) {
            float t = y.get(FLOAT, i * 4) / cap;
            dx.set(FLOAT, i * 4, dy.get(FLOAT, i * 4) * (1 - t * t));
        }
    }

    @Override
    public void fill(Stream s, float value, Tensor y) {
        long n = size("fill", y);
        Check.f32("fill", "y", y, n);
        if (n <= INLINE) {
            fillRange(value, y.segment(), 0, n);
        } else {
            fillSplit(workers, value, y.segment(), n);
        }
    }

    private static void fillSplit(Workers workers, float value, MemorySegment y, long n) {
        split(workers, n, (from, to) -> fillRange(value, y, from, to));
    }

    private static void fillRange(float value, MemorySegment y, long from, long to) {
        long i = from;
        for (; i <= to - LANES; i += LANES) {
            store(FloatVector.broadcast(F, value), y, i);
        }
        for (; i < to; i++) {
            y.set(FLOAT, i * 4, value);
        }
    }

    @Override
    public void copyRows(
            Stream s,
            int rows,
            int cols,
            Tensor src,
            long srcOffset,
            long srcStride,
            Tensor dst,
            long dstOffset,
            long dstStride,
            boolean accumulate) {
        requireRows("src", src, rows, cols, srcOffset, srcStride);
        requireRows("dst", dst, rows, cols, dstOffset, dstStride);
        if ((long) rows * cols <= INLINE) {
            copyRowsRange(
                    cols,
                    src.segment(),
                    srcOffset,
                    srcStride,
                    dst.segment(),
                    dstOffset,
                    dstStride,
                    accumulate,
                    0,
                    rows);
        } else {
            copyRowsSplit(
                    workers,
                    rows,
                    cols,
                    src.segment(),
                    srcOffset,
                    srcStride,
                    dst.segment(),
                    dstOffset,
                    dstStride,
                    accumulate);
        }
    }

    private static void requireRows(String name, Tensor t, int rows, int cols, long offset, long stride) {
        Check.f32("copyRows", name, t, t == null ? 0 : t.size());
        boolean fits = rows >= 0 && cols >= 0 && offset >= 0 && stride >= 0;
        if (fits && rows > 0 && cols > 0) {
            long room = t.size() - cols - offset;
            fits = room >= 0 && (rows == 1 || stride <= room / (rows - 1));
        }
        if (!fits) {
            throw new ShapeMismatchException(
                    "copyRows: " + name + " is " + t,
                    rows + " rows of " + cols + " at offset " + offset + " with stride " + stride
                            + " do not lie within it",
                    "pass counts, offsets and strides >= 0 that stay inside the tensor");
        }
    }

    private static void copyRowsSplit(
            Workers workers,
            int rows,
            int cols,
            MemorySegment src,
            long srcOffset,
            long srcStride,
            MemorySegment dst,
            long dstOffset,
            long dstStride,
            boolean accumulate) {
        workers.forRange(
                rows,
                rowGrain(cols),
                (from, to) -> copyRowsRange(
                        cols, src, srcOffset, srcStride, dst, dstOffset, dstStride, accumulate, from, to));
    }

    private static void copyRowsRange(
            int cols,
            MemorySegment src,
            long srcOffset,
            long srcStride,
            MemorySegment dst,
            long dstOffset,
            long dstStride,
            boolean accumulate,
            int from,
            int to) {
        for (int r = from; r < to; r++) {
            long a = srcOffset + r * srcStride;
            long b = dstOffset + r * dstStride;
            if (accumulate) {
                addRow(cols, src, a, dst, b);
            } else {
                copyRow(cols, src, a, dst, b);
            }
        }
    }

    private static void copyRow(int cols, MemorySegment src, long a, MemorySegment dst, long b) {
        int j = 0;
        for (; j <= cols - LANES; j += LANES) {
            store(load(src, a + j), dst, b + j);
        }
        for (; j < cols; j++) {
            dst.set(FLOAT, (b + j) * 4, src.get(FLOAT, (a + j) * 4));
        }
    }

    private static void addRow(int cols, MemorySegment src, long a, MemorySegment dst, long b) {
        int j = 0;
        for (; j <= cols - LANES; j += LANES) {
            store(load(dst, b + j).add(load(src, a + j)), dst, b + j);
        }
        for (; j < cols; j++) {
            float sum = dst.get(FLOAT, (b + j) * 4) + src.get(FLOAT, (a + j) * 4);
            dst.set(FLOAT, (b + j) * 4, sum);
        }
    }

    @Override
    public void fromBytes(Stream s, Tensor x, float factor, Tensor y) {
        long n = size("fromBytes", y);
        Check.size("fromBytes", "x", x, DType.U8, n);
        if (n <= INLINE) {
            fromBytesRange(x.segment(), factor, y.segment(), 0, n);
        } else {
            fromBytesSplit(workers, x.segment(), factor, y.segment(), n);
        }
    }

    private static void fromBytesSplit(Workers workers, MemorySegment x, float factor, MemorySegment y, long n) {
        split(workers, n, (from, to) -> fromBytesRange(x, factor, y, from, to));
    }

    private static void fromBytesRange(MemorySegment x, float factor, MemorySegment y, long from, long to) {
        long i = from;
        if (LANES >= 8) {
            for (; i <= to - BYTES.length(); i += LANES) {
                ByteVector b = ByteVector.fromMemorySegment(BYTES, x, i, ByteOrder.LITTLE_ENDIAN);
                FloatVector v = (FloatVector)
                        b.convertShape(VectorOperators.ZERO_EXTEND_B2I, I, 0).convertShape(VectorOperators.I2F, F, 0);
                store(v.mul(factor), y, i);
            }
        }
        for (; i < to; i++) {
            y.set(FLOAT, i * 4, (x.get(ValueLayout.JAVA_BYTE, i) & 0xff) * factor);
        }
    }

    private static long size(String kernel, Tensor t) {
        if (t == null) {
            throw new ShapeMismatchException(kernel + ": the output is missing", "null was passed", "pass a tensor");
        }
        Check.f32(kernel, "output", t, t.size());
        return t.size();
    }

    private static int width(String kernel, Tensor perColumn, long n) {
        long width = size(kernel, perColumn);
        Check.f32(kernel, "skip", perColumn, width);
        if (!(width > 0 && width <= Integer.MAX_VALUE && n % width == 0)) {
            throw new ShapeMismatchException(
                    kernel + ": " + n + " elements in rows as long as skip " + perColumn,
                    "the size is no multiple of the row length",
                    "pass skip with one element per column");
        }
        return (int) width;
    }

    /** Rows per piece of parallel work. */
    private static int rowGrain(int width) {
        return Math.max(1, BLOCK * GRAIN / Math.max(1, width));
    }
}
