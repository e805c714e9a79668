package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;

/**
 * 2-D convolution as a product of weights (O, K) with columns, K = C k k, that are not always built. With stride 1 the
 * input is copied once into planes with their padding around them, and column (c, i, j) is plane c from offset i *
 * pitch + j on: nine products read the same memory. With larger strides the columns are written out (im2col).
 *
 * <p>Pixels are seen as {@code lines} of {@code width}: the output's rows with stride 1, one line of all its pixels otherwise. A block
 * is four outputs by four vectors of pixels. The gradient of the input is the convolution of the output gradient,
 * spread by the stride, with the mirrored kernel.
 */
final class Conv2d {
    /** Pixels of one image or several that are summed in fp32 before a sum of weight gradients goes on in fp64. */
    private static final int SPAN = 4096;

    /** Floats behind the planes that vectors may read and ignore, zero. */
    private static final int SLACK = 64;

    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;
    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED;
    private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;

    /**
     * Sizes of one convolution: {@code height}, {@code width} of the input, {@code outHeight}, {@code outWidth} of the
     * output.
     */
    record Shape(
            int images,
            int channels,
            int height,
            int width,
            int outputs,
            int kernel,
            int stride,
            int pad,
            int outHeight,
            int outWidth) {
        static Shape of(int images, int channels, int height, int width, int outputs, int kernel, int stride, int pad) {
            return new Shape(
                    images,
                    channels,
                    height,
                    width,
                    outputs,
                    kernel,
                    stride,
                    pad,
                    (height + 2 * pad - kernel) / stride + 1,
                    (width + 2 * pad - kernel) / stride + 1);
        }

        int taps() {
            return channels * kernel * kernel;
        }

        int pixels() {
            return outHeight * outWidth;
        }

        /** The convolution whose forward pass gives this one's input gradient; its padding is in the planes. */
        Shape mirrored() {
            return new Shape(images, outputs, height, width, channels, kernel, 1, kernel - 1 - pad, height, width);
        }

        long scratch() {
            return Math.max(new Conv2d(this).scratch(), new Conv2d(mirrored()).scratch());
        }
    }

    private final Shape shape;
    private final int taps;

    /**
     * Lines of pixels in the output of one image, their width, and the distance of their first columns in {@link
     * #planes}.
     */
    private final int lines;

    private final int width;
    private final int pitch;

    private final long plane;
    private final long image;

    /** Float offsets into scratch. */
    private final long weights;

    private final long bias;
    private final long offsets;
    private final long planes;

    /** Where dy lies if its lines are not whole vectors. */
    private final long gradients;

    Conv2d(Shape shape) {
        this.shape = shape;
        taps = shape.taps();
        if (shape.stride == 1) {
            lines = shape.outHeight;
            width = shape.outWidth;
            pitch = shape.outWidth + shape.kernel - 1;
            plane = (long) pitch * (shape.outHeight + shape.kernel - 1);
            image = plane * shape.channels;
        } else {
            lines = 1;
            width = shape.pixels();
            pitch = width;
            plane = (long) width * shape.kernel * shape.kernel;
            image = plane * shape.channels;
        }
        weights = 0;
        bias = weights + 4L * blocks() * taps;
        offsets = bias + 4L * blocks();
        planes = offsets + taps;
        gradients = planes + shape.images * image + SLACK;
    }

    private long scratch() {
        return gradients + (width % LANES == 0 ? 0 : (long) shape.images * shape.outputs * lines * lineOfGradients());
    }

    /** Blocks of four output channels: with the images, the units of {@link #product}. */
    int blocks() {
        return (shape.outputs + 3) / 4;
    }

    /** Blocks of four taps: the units of {@link #weightGradient}. */
    int tapBlocks() {
        return (taps + 3) / 4;
    }

    /** Planes to fill before a product: the units of {@link #fill}. */
    int planes() {
        return shape.images * shape.channels;
    }

    /** Floats of one plane. */
    long planeSize() {
        return plane;
    }

    /**
     * Lays w (O, C, k, k) and the bias (or null) out in blocks of four outputs, padded with zeros, and the offsets of
     * the taps.
     */
    void prepare(MemorySegment scratch, MemorySegment w, MemorySegment b) {
        for (int o = 0; o < 4 * blocks(); o++) {
            boolean real = o < shape.outputs;
            for (int k = 0; k < taps; k++) {
                setWeight(scratch, o, k, real ? w.get(FLOAT, 4L * ((long) o * taps + k)) : 0);
            }
            scratch.set(FLOAT, 4 * (bias + o), real && b != null ? b.get(FLOAT, 4L * o) : 0);
        }
        prepareOffsets(scratch);
    }

    /**
     * The same for the mirrored shape of a convolution with weights w (channels of this input, channels of this output,
     * k, k).
     */
    void prepareMirrored(MemorySegment scratch, MemorySegment w) {
        int area = shape.kernel * shape.kernel;
        for (int o = 0; o < 4 * blocks(); o++) {
            for (int c = 0; c < shape.channels; c++) {
                for (int k = 0; k < area; k++) {
                    long from = ((long) c * shape.outputs + o) * area + area - 1 - k;
                    setWeight(scratch, o, c * area + k, o < shape.outputs ? w.get(FLOAT, 4 * from) : 0);
                }
            }
            scratch.set(FLOAT, 4 * (bias + o), 0);
        }
        prepareOffsets(scratch);
    }

    private void setWeight(MemorySegment scratch, int o, int k, float v) {
        scratch.set(FLOAT, 4 * (weights + 4L * ((long) (o / 4) * taps + k) + o % 4), v);
    }

    private void prepareOffsets(MemorySegment scratch) {
        scratch.asSlice(4 * (gradients - SLACK), 4 * SLACK).fill((byte) 0);
        int area = shape.kernel * shape.kernel;
        for (int k = 0; k < taps; k++) {
            int c = k / area;
            int i = k % area / shape.kernel;
            int j = k % shape.kernel;
            long o = shape.stride == 1 ? c * plane + (long) i * pitch + j : (long) k * width;
            scratch.set(INT, 4 * (offsets + k), Math.toIntExact(4 * o));
        }
    }

    /** Fills planes {@code from .. to-1} of all images' channels from the input. */
    void fill(MemorySegment scratch, MemorySegment x, int from, int to) {
        long area = (long) shape.height * shape.width;
        for (int p = from; p < to; p++) {
            if (shape.stride == 1) {
                spread(scratch, p, x, 4 * p * area, shape.height, shape.width, 1, shape.pad);
            } else {
                columns(scratch, p, x, 4 * p * area);
            }
        }
    }

    /** Fills planes of a mirrored convolution from the gradient dy of a convolution of shape {@code of}. */
    void fillMirrored(MemorySegment scratch, MemorySegment dy, Shape of, int from, int to) {
        for (int p = from; p < to; p++) {
            spread(scratch, p, dy, 4L * p * of.pixels(), of.outHeight, of.outWidth, of.stride, shape.pad);
        }
    }

    /**
     * Plane {@code p} becomes zero but for source pixel (i, j) at (i * step + edge, j * step + edge), where that
     * exists.
     */
    private void spread(
            MemorySegment scratch, int p, MemorySegment source, long at, int height, int columns, int step, int edge) {
        long base = 4 * (planes + p * plane);
        scratch.asSlice(base, 4 * plane).fill((byte) 0);
        int rows = (int) (plane / pitch);
        for (int i = 0; i < height; i++) {
            int row = i * step + edge;
            if (row < 0 || row >= rows) {
                continue;
            }
            long line = base + 4L * row * pitch;
            if (step == 1 && edge >= 0 && columns + edge <= pitch) {
                copy(source, at + 4L * i * columns, scratch, line + 4L * edge, columns);
                continue;
            }
            for (int j = 0; j < columns; j++) {
                int column = j * step + edge;
                if (column >= 0 && column < pitch) {
                    scratch.set(FLOAT, line + 4L * column, source.get(FLOAT, at + 4L * ((long) i * columns + j)));
                }
            }
        }
    }

    private static void copy(MemorySegment source, long at, MemorySegment target, long to, int n) {
        int i = 0;
        for (; i <= n - LANES; i += LANES) {
            FloatVector.fromMemorySegment(F, source, at + 4L * i, LE).intoMemorySegment(target, to + 4L * i, LE);
        }
        for (; i < n; i++) {
            target.set(FLOAT, to + 4L * i, source.get(FLOAT, at + 4L * i));
        }
    }

    /** Writes the k * k columns of one input plane out. */
    private void columns(MemorySegment scratch, int p, MemorySegment x, long at) {
        long to = 4 * (planes + p * plane);
        for (int i = 0; i < shape.kernel; i++) {
            for (int j = 0; j < shape.kernel; j++) {
                for (int oh = 0; oh < shape.outHeight; oh++) {
                    int row = oh * shape.stride + i - shape.pad;
                    for (int ow = 0; ow < shape.outWidth; ow++, to += 4) {
                        int column = ow * shape.stride + j - shape.pad;
                        boolean inside = row >= 0 && row < shape.height && column >= 0 && column < shape.width;
                        scratch.set(
                                FLOAT, to, inside ? x.get(FLOAT, at + 4L * ((long) row * shape.width + column)) : 0);
                    }
                }
            }
        }
    }

    /** y (N, O, pixels) for units {@code from .. to-1}, unit = image * blocks + block. */
    void product(MemorySegment scratch, MemorySegment y, int from, int to) {
        float[] block = ThreadFloats.get(ThreadFloats.BODY, 16 * LANES);
        for (int unit = from; unit < to; unit++) {
            int n = unit / blocks();
            int o = unit % blocks() * 4;
            long source = 4 * (planes + n * image);
            long target = 4 * ((long) n * shape.outputs + o) * shape.pixels();
            int count = Math.min(4, shape.outputs - o);
            int vectors = (width + LANES - 1) / LANES;
            int total = lines * vectors;
            for (int v = 0; v < total; v += 4) {
                tile(scratch, source, o, v, Math.min(v + 3, total - 1), vectors, block);
                for (int i = 0; i < 4 && v + i < total; i++) {
                    store(block, i, y, target, (v + i) / vectors, (v + i) % vectors * LANES, count);
                }
            }
        }
    }

    /**
     * The block of vectors first .. last of pixels; vector v covers columns from v % vectors * LANES on of line v /
     * vectors.
     */
    private void tile(MemorySegment scratch, long source, int o, int first, int last, int vectors, float[] block) {
        tile(
                scratch,
                4 * (weights + (long) o * taps),
                4 * (bias + o),
                4 * offsets,
                taps,
                source + column(first, vectors),
                source + column(Math.min(first + 1, last), vectors),
                source + column(Math.min(first + 2, last), vectors),
                source + column(Math.min(first + 3, last), vectors),
                block);
    }

    private long column(int vector, int vectors) {
        return 4L * ((long) (vector / vectors) * pitch + vector % vectors * LANES);
    }

    /** block[4 i + j] = output j over the pixels from byte a, b, c or d (i = 0 .. 3) on. */
    private static void tile(
            MemorySegment m,
            long w,
            long bias,
            long offsets,
            long taps,
            long a,
            long b,
            long c,
            long d,
            float[] block) {
        FloatVector a0 = FloatVector.broadcast(F, m.get(FLOAT, bias));
        FloatVector a1 = FloatVector.broadcast(F, m.get(FLOAT, bias + 4));
        FloatVector a2 = FloatVector.broadcast(F, m.get(FLOAT, bias + 8));
        FloatVector a3 = FloatVector.broadcast(F, m.get(FLOAT, bias + 12));
        FloatVector b0 = a0;
        FloatVector b1 = a1;
        FloatVector b2 = a2;
        FloatVector b3 = a3;
        FloatVector c0 = a0;
        FloatVector c1 = a1;
        FloatVector c2 = a2;
        FloatVector c3 = a3;
        FloatVector d0 = a0;
        FloatVector d1 = a1;
        FloatVector d2 = a2;
        FloatVector d3 = a3;
        for (long k = 0; k < taps; k++) {
            long o = m.get(INT, offsets + 4 * k);
            FloatVector w0 = FloatVector.broadcast(F, m.get(FLOAT, w + 16 * k));
            FloatVector w1 = FloatVector.broadcast(F, m.get(FLOAT, w + 16 * k + 4));
            FloatVector w2 = FloatVector.broadcast(F, m.get(FLOAT, w + 16 * k + 8));
            FloatVector w3 = FloatVector.broadcast(F, m.get(FLOAT, w + 16 * k + 12));
            FloatVector x = FloatVector.fromMemorySegment(F, m, a + o, LE);
            a0 = x.fma(w0, a0);
            a1 = x.fma(w1, a1);
            a2 = x.fma(w2, a2);
            a3 = x.fma(w3, a3);
            x = FloatVector.fromMemorySegment(F, m, b + o, LE);
            b0 = x.fma(w0, b0);
            b1 = x.fma(w1, b1);
            b2 = x.fma(w2, b2);
            b3 = x.fma(w3, b3);
            x = FloatVector.fromMemorySegment(F, m, c + o, LE);
            c0 = x.fma(w0, c0);
            c1 = x.fma(w1, c1);
            c2 = x.fma(w2, c2);
            c3 = x.fma(w3, c3);
            x = FloatVector.fromMemorySegment(F, m, d + o, LE);
            d0 = x.fma(w0, d0);
            d1 = x.fma(w1, d1);
            d2 = x.fma(w2, d2);
            d3 = x.fma(w3, d3);
        }
        a0.intoArray(block, 0);
        a1.intoArray(block, LANES);
        a2.intoArray(block, 2 * LANES);
        a3.intoArray(block, 3 * LANES);
        b0.intoArray(block, 4 * LANES);
        b1.intoArray(block, 5 * LANES);
        b2.intoArray(block, 6 * LANES);
        b3.intoArray(block, 7 * LANES);
        c0.intoArray(block, 8 * LANES);
        c1.intoArray(block, 9 * LANES);
        c2.intoArray(block, 10 * LANES);
        c3.intoArray(block, 11 * LANES);
        d0.intoArray(block, 12 * LANES);
        d1.intoArray(block, 13 * LANES);
        d2.intoArray(block, 14 * LANES);
        d3.intoArray(block, 15 * LANES);
    }

    /** Stores the pixels of vector {@code i} of a block for its {@code count} outputs. */
    private void store(float[] block, int i, MemorySegment y, long target, int line, int column, int count) {
        long at = target + 4L * ((long) line * width + column);
        for (int j = 0; j < count; j++) {
            long to = at + 4L * j * shape.pixels();
            FloatVector v = FloatVector.fromArray(F, block, (4 * i + j) * LANES);
            if (width - column >= LANES) {
                v.intoMemorySegment(y, to, LE);
            } else {
                v.intoMemorySegment(y, to, LE, F.indexInRange(column, width));
            }
        }
    }

    /**
     * dw (O, taps) += dy times columns, for blocks {@code from .. to-1} of four taps. Needs {@link #fill} and {@link
     * #fillGradients}.
     */
    void weightGradient(MemorySegment scratch, MemorySegment dy, MemorySegment dw, int from, int to) {
        int count = Math.min(4 * to, taps) - 4 * from;
        double[] sums = new double[4 * blocks() * 4 * (to - from)];
        float[] block = ThreadFloats.get(ThreadFloats.BODY, 16 * LANES);
        boolean padded = width % LANES != 0;
        MemorySegment y = padded ? scratch : dy;
        long start = padded ? 4 * gradients : 0;
        int group = Math.max(1, SPAN / Math.max(1, shape.pixels()));
        for (int n = 0; n < shape.images; n += group) {
            int images = Math.min(group, shape.images - n);
            for (int b = 0; b < to - from; b++) {
                for (int o = 0; o < shape.outputs; o += 4) {
                    weightTile(scratch, y, start, n, images, o, 4 * (from + b), block);
                    for (int i = 0; i < 16; i++) {
                        sums[(o + i / 4) * 4 * (to - from) + 4 * b + i % 4] +=
                                VectorMath.sum(FloatVector.fromArray(F, block, i * LANES));
                    }
                }
            }
        }
        for (int o = 0; o < shape.outputs; o++) {
            for (int k = 0; k < count; k++) {
                long at = 4 * ((long) o * taps + 4 * from + k);
                dw.set(FLOAT, at, dw.get(FLOAT, at) + (float) sums[o * 4 * (to - from) + k]);
            }
        }
    }

    private void weightTile(
            MemorySegment scratch, MemorySegment y, long start, int n, int images, int o, int k, float[] block) {
        long channel = 4L * lines * lineOfGradients();
        long first = start + (long) n * shape.outputs * channel;
        weightTile(
                scratch,
                4 * (planes + n * image) + tap(scratch, k),
                4 * (planes + n * image) + tap(scratch, k + 1),
                4 * (planes + n * image) + tap(scratch, k + 2),
                4 * (planes + n * image) + tap(scratch, k + 3),
                4 * image,
                4L * pitch,
                y,
                first + o * channel,
                first + Math.min(o + 1, shape.outputs - 1) * channel,
                first + Math.min(o + 2, shape.outputs - 1) * channel,
                first + Math.min(o + 3, shape.outputs - 1) * channel,
                shape.outputs * channel,
                images,
                lines,
                lineOfGradients(),
                block);
    }

    /** Width of a line of dy, whole vectors. */
    private int lineOfGradients() {
        return (width + LANES - 1) / LANES * LANES;
    }

    /**
     * Copies planes {@code from .. to-1} of dy behind the input's planes, lines padded with zeros to whole vectors, if
     * they are not.
     */
    void fillGradients(MemorySegment scratch, MemorySegment dy, int from, int to) {
        if (width % LANES == 0) {
            return;
        }
        int line = lineOfGradients();
        for (long i = (long) from * lines; i < (long) to * lines; i++) {
            long at = 4 * (gradients + i * line);
            scratch.asSlice(at, 4L * line).fill((byte) 0);
            copy(dy, 4 * i * width, scratch, at, width);
        }
    }

    /** Byte offset of a tap's column, that of the last one for taps beyond. */
    private long tap(MemorySegment scratch, int k) {
        return scratch.get(INT, 4 * (offsets + Math.min(k, taps - 1)));
    }

    private static void weightTile(
            MemorySegment x,
            long x0,
            long x1,
            long x2,
            long x3,
            long imageX,
            long lineX,
            MemorySegment y,
            long y0,
            long y1,
            long y2,
            long y3,
            long imageY,
            int images,
            int lines,
            int width,
            float[] block) {
        FloatVector s00 = FloatVector.zero(F);
        FloatVector s01 = s00;
        FloatVector s02 = s00;
        FloatVector s03 = s00;
        FloatVector s10 = s00;
        FloatVector s11 = s00;
        FloatVector s12 = s00;
        FloatVector s13 = s00;
        FloatVector s20 = s00;
        FloatVector s21 = s00;
        FloatVector s22 = s00;
        FloatVector s23 = s00;
        FloatVector s30 = s00;
        FloatVector s31 = s00;
        FloatVector s32 = s00;
        FloatVector s33 = s00;
        long steps = (long) images * lines * (width / LANES);
        int column = 0;
        int line = 0;
        long xo = 0;
        long yo = 0;
        for (long i = 0; i < steps; i++) {
            FloatVector a = FloatVector.fromMemorySegment(F, x, x0 + xo, LE);
            FloatVector b = FloatVector.fromMemorySegment(F, x, x1 + xo, LE);
            FloatVector c = FloatVector.fromMemorySegment(F, x, x2 + xo, LE);
            FloatVector d = FloatVector.fromMemorySegment(F, x, x3 + xo, LE);
            FloatVector v = FloatVector.fromMemorySegment(F, y, y0 + yo, LE);
            s00 = v.fma(a, s00);
            s01 = v.fma(b, s01);
            s02 = v.fma(c, s02);
            s03 = v.fma(d, s03);
            v = FloatVector.fromMemorySegment(F, y, y1 + yo, LE);
            s10 = v.fma(a, s10);
            s11 = v.fma(b, s11);
            s12 = v.fma(c, s12);
            s13 = v.fma(d, s13);
            v = FloatVector.fromMemorySegment(F, y, y2 + yo, LE);
            s20 = v.fma(a, s20);
            s21 = v.fma(b, s21);
            s22 = v.fma(c, s22);
            s23 = v.fma(d, s23);
            v = FloatVector.fromMemorySegment(F, y, y3 + yo, LE);
            s30 = v.fma(a, s30);
            s31 = v.fma(b, s31);
            s32 = v.fma(c, s32);
            s33 = v.fma(d, s33);
            column += LANES;
            xo += 4L * LANES;
            yo += 4L * LANES;
            if (column == width) {
                xo += lineX - 4L * column;
                column = 0;
                if (++line == lines) {
                    xo += imageX - lines * lineX;
                    yo += imageY - 4L * lines * width;
                    line = 0;
                }
            }
        }
        s00.intoArray(block, 0);
        s01.intoArray(block, LANES);
        s02.intoArray(block, 2 * LANES);
        s03.intoArray(block, 3 * LANES);
        s10.intoArray(block, 4 * LANES);
        s11.intoArray(block, 5 * LANES);
        s12.intoArray(block, 6 * LANES);
        s13.intoArray(block, 7 * LANES);
        s20.intoArray(block, 8 * LANES);
        s21.intoArray(block, 9 * LANES);
        s22.intoArray(block, 10 * LANES);
        s23.intoArray(block, 11 * LANES);
        s30.intoArray(block, 12 * LANES);
        s31.intoArray(block, 13 * LANES);
        s32.intoArray(block, 14 * LANES);
        s33.intoArray(block, 15 * LANES);
    }

    /** dbias += sums of dy over images and pixels, for outputs {@code from .. to-1}. */
    void biasGradient(MemorySegment dy, MemorySegment dbias, int from, int to) {
        int pixels = shape.pixels();
        for (int o = from; o < to; o++) {
            double sum = 0;
            for (int n = 0; n < shape.images; n++) {
                sum += sum(dy, 4L * ((long) n * shape.outputs + o) * pixels, pixels);
            }
            dbias.set(FLOAT, 4L * o, dbias.get(FLOAT, 4L * o) + (float) sum);
        }
    }

    private static double sum(MemorySegment x, long at, int n) {
        double sum = 0;
        for (int start = 0; start < n; start += 32 * LANES) {
            int end = Math.min(n, start + 32 * LANES);
            FloatVector a = FloatVector.zero(F);
            int i = start;
            for (; i <= end - LANES; i += LANES) {
                a = a.add(FloatVector.fromMemorySegment(F, x, at + 4L * i, LE));
            }
            sum += VectorMath.sum(a);
            for (; i < end; i++) {
                sum += x.get(FLOAT, at + 4L * i);
            }
        }
        return sum;
    }
}
