package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;

/**
 * 2-D convolution as a product of weights (O, K) with columns, K = C k k, that are not always built. With stride 1 the input is copied
 * once into planes with their padding around them, and column (c, i, j) is plane c from offset i * pitch + j on: nine products read the
 * same memory. With larger strides the columns are written out (im2col).
 *
 * <p>Pixels are seen as {@code lines} of {@code width}: the output's rows with stride 1, one line of all its pixels otherwise. A block
 * is four outputs by four vectors of pixels. The gradient of the input is the convolution of the output gradient, spread by the stride,
 * with the mirrored kernel.
 */
final class Conv2d {
    /** Pixels of one image or several that are summed in fp32 before a sum of weight gradients goes on in fp64. */
    private static final int SPAN = 4096;

    /** Floats behind the planes that vectors may read and ignore. */
    private static final int SLACK = 64;

    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;
    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED;
    private static final ByteOrder LE = ByteOrder.LITTLE_ENDIAN;

    /** Sizes of one convolution: {@code height}, {@code width} of the input, {@code outHeight}, {@code outWidth} of the output. */
    record Shape(
            int images, int channels, int height, int width, int outputs, int kernel, int stride, int pad, int outHeight, int outWidth) {
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

    /** Lines of pixels in the output of one image, their width, and the distance of their first columns in {@link #planes}. */
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
    }

    private long scratch() {
        return planes + shape.images * image + SLACK;
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

    /** Lays w (O, C, k, k) and the bias (or null) out in blocks of four outputs, padded with zeros, and the offsets of the taps. */
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

    /** The same for the mirrored shape of a convolution with weights w (channels of this input, channels of this output, k, k). */
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

    /** Plane {@code p} becomes zero but for source pixel (i, j) at (i * step + edge, j * step + edge), where that exists. */
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
                        scratch.set(FLOAT, to, inside ? x.get(FLOAT, at + 4L * ((long) row * shape.width + column)) : 0);
                    }
                }
            }
        }
    }

    /** y (N, O, pixels) for units {@code from .. to-1}, unit = image * blocks + block. */
    void product(MemorySegment scratch, MemorySegment y, int from, int to) {
        for (int unit = from; unit < to; unit++) {
            int n = unit / blocks();
            int o = unit % blocks() * 4;
            long source = 4 * (planes + n * image);
            long target = 4 * ((long) n * shape.outputs + o) * shape.pixels();
            int count = Math.min(4, shape.outputs - o);
            int vectors = (width + LANES - 1) / LANES;
            int total = lines * vectors;
            for (int v = 0; v < total; v += 4) {
                tile(scratch, source, y, target, o, count, v, Math.min(v + 3, total - 1), vectors);
            }
        }
    }

    /** The block of vectors first .. last of pixels; vector v covers columns from v % vectors * LANES on of line v / vectors. */
    private void tile(
            MemorySegment scratch, long source, MemorySegment y, long target, int o, int count, int first, int last, int vectors) {
        int va = first;
        int vb = Math.min(first + 1, last);
        int vc = Math.min(first + 2, last);
        int vd = Math.min(first + 3, last);
        int ca = va % vectors * LANES;
        int cb = vb % vectors * LANES;
        int cc = vc % vectors * LANES;
        int cd = vd % vectors * LANES;
        long ya = 4L * ((long) (va / vectors) * width + ca);
        long yb = 4L * ((long) (vb / vectors) * width + cb);
        long yc = 4L * ((long) (vc / vectors) * width + cc);
        long yd = 4L * ((long) (vd / vectors) * width + cd);
        tile(
                scratch,
                4 * (weights + (long) o * taps),
                4 * (bias + o),
                4 * offsets,
                taps,
                source + 4L * ((long) (va / vectors) * pitch + ca),
                source + 4L * ((long) (vb / vectors) * pitch + cb),
                source + 4L * ((long) (vc / vectors) * pitch + cc),
                source + 4L * ((long) (vd / vectors) * pitch + cd),
                y,
                target,
                4L * shape.pixels(),
                count,
                ya,
                width - ca,
                yb,
                vb == va ? 0 : width - cb,
                yc,
                vc == vb ? 0 : width - cc,
                yd,
                vd == vc ? 0 : width - cd);
    }

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
            MemorySegment y,
            long target,
            long row,
            int count,
            long ya,
            int na,
            long yb,
            int nb,
            long yc,
            int nc,
            long yd,
            int nd) {
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
        store(a0, a1, a2, a3, y, target + ya, row, count, na);
        store(b0, b1, b2, b3, y, target + yb, row, count, nb);
        store(c0, c1, c2, c3, y, target + yc, row, count, nc);
        store(d0, d1, d2, d3, y, target + yd, row, count, nd);
    }

    /** Stores the first {@code n} lanes (all, if there are more) of the first {@code count} vectors, {@code row} bytes apart. */
    private static void store(
            FloatVector v0, FloatVector v1, FloatVector v2, FloatVector v3, MemorySegment y, long at, long row, int count, int n) {
        if (n <= 0) {
            return;
        }
        if (n >= LANES && count == 4) {
            v0.intoMemorySegment(y, at, LE);
            v1.intoMemorySegment(y, at + row, LE);
            v2.intoMemorySegment(y, at + 2 * row, LE);
            v3.intoMemorySegment(y, at + 3 * row, LE);
            return;
        }
        VectorMask<Float> mask = F.indexInRange(0, n);
        v0.intoMemorySegment(y, at, LE, mask);
        if (count > 1) {
            v1.intoMemorySegment(y, at + row, LE, mask);
        }
        if (count > 2) {
            v2.intoMemorySegment(y, at + 2 * row, LE, mask);
        }
        if (count > 3) {
            v3.intoMemorySegment(y, at + 3 * row, LE, mask);
        }
    }

    /** dw (O, taps) += dy times columns, for blocks {@code from .. to-1} of four taps. Needs {@link #fill}. */
    void weightGradient(MemorySegment scratch, MemorySegment dy, MemorySegment dw, int from, int to) {
        int count = Math.min(4 * to, taps) - 4 * from;
        double[] sums = new double[4 * blocks() * 4 * (to - from)];
        int group = Math.max(1, SPAN / Math.max(1, shape.pixels()));
        for (int n = 0; n < shape.images; n += group) {
            int images = Math.min(group, shape.images - n);
            for (int b = 0; b < to - from; b++) {
                for (int o = 0; o < shape.outputs; o += 4) {
                    weightTile(scratch, dy, n, images, o, 4 * (from + b), sums, o * 4 * (to - from) + 4 * b, 4 * (to - from));
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
            MemorySegment scratch, MemorySegment dy, int n, int images, int o, int k, double[] sums, int at, int row) {
        long pixels = 4L * shape.pixels();
        long y = n * shape.outputs * pixels;
        weightTile(
                scratch,
                4 * (planes + n * image) + tap(scratch, k),
                4 * (planes + n * image) + tap(scratch, k + 1),
                4 * (planes + n * image) + tap(scratch, k + 2),
                4 * (planes + n * image) + tap(scratch, k + 3),
                4 * image,
                4L * pitch,
                dy,
                y + o * pixels,
                y + Math.min(o + 1, shape.outputs - 1) * pixels,
                y + Math.min(o + 2, shape.outputs - 1) * pixels,
                y + Math.min(o + 3, shape.outputs - 1) * pixels,
                shape.outputs * pixels,
                4L * width,
                images,
                lines,
                width,
                sums,
                at,
                row);
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
            long lineY,
            int images,
            int lines,
            int width,
            double[] sums,
            int at,
            int row) {
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
        int whole = width - width % LANES;
        VectorMask<Float> tail = F.indexInRange(whole, width);
        long steps = (long) images * lines * ((width + LANES - 1) / LANES);
        int column = 0;
        int line = 0;
        long xo = 0;
        long yo = 0;
        for (long i = 0; i < steps; i++) {
            FloatVector a;
            FloatVector b;
            FloatVector c;
            FloatVector d;
            FloatVector v;
            if (column < whole) {
                a = FloatVector.fromMemorySegment(F, x, x0 + xo, LE);
                b = FloatVector.fromMemorySegment(F, x, x1 + xo, LE);
                c = FloatVector.fromMemorySegment(F, x, x2 + xo, LE);
                d = FloatVector.fromMemorySegment(F, x, x3 + xo, LE);
                v = FloatVector.fromMemorySegment(F, y, y0 + yo, LE);
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
            } else {
                a = FloatVector.fromMemorySegment(F, x, x0 + xo, LE, tail);
                b = FloatVector.fromMemorySegment(F, x, x1 + xo, LE, tail);
                c = FloatVector.fromMemorySegment(F, x, x2 + xo, LE, tail);
                d = FloatVector.fromMemorySegment(F, x, x3 + xo, LE, tail);
                v = FloatVector.fromMemorySegment(F, y, y0 + yo, LE, tail);
                s00 = v.fma(a, s00);
                s01 = v.fma(b, s01);
                s02 = v.fma(c, s02);
                s03 = v.fma(d, s03);
                v = FloatVector.fromMemorySegment(F, y, y1 + yo, LE, tail);
                s10 = v.fma(a, s10);
                s11 = v.fma(b, s11);
                s12 = v.fma(c, s12);
                s13 = v.fma(d, s13);
                v = FloatVector.fromMemorySegment(F, y, y2 + yo, LE, tail);
                s20 = v.fma(a, s20);
                s21 = v.fma(b, s21);
                s22 = v.fma(c, s22);
                s23 = v.fma(d, s23);
                v = FloatVector.fromMemorySegment(F, y, y3 + yo, LE, tail);
                s30 = v.fma(a, s30);
                s31 = v.fma(b, s31);
                s32 = v.fma(c, s32);
                s33 = v.fma(d, s33);
            }
            column += LANES;
            xo += 4L * LANES;
            yo += 4L * LANES;
            if (column >= width) {
                xo += lineX - 4L * column;
                yo += lineY - 4L * column;
                column = 0;
                if (++line == lines) {
                    xo += imageX - lines * lineX;
                    yo += imageY - lines * lineY;
                    line = 0;
                }
            }
        }
        add(sums, at, s00, s01, s02, s03);
        add(sums, at + row, s10, s11, s12, s13);
        add(sums, at + 2 * row, s20, s21, s22, s23);
        add(sums, at + 3 * row, s30, s31, s32, s33);
    }

    private static void add(double[] sums, int at, FloatVector a, FloatVector b, FloatVector c, FloatVector d) {
        sums[at] += VectorMath.sum(a);
        sums[at + 1] += VectorMath.sum(b);
        sums[at + 2] += VectorMath.sum(c);
        sums[at + 3] += VectorMath.sum(d);
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
