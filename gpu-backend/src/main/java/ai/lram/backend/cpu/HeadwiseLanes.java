package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.NativeFloats.load;
import static ai.lram.backend.cpu.NativeFloats.store;
import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;
import static ai.lram.backend.cpu.VectorMath.ZERO;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorShuffle;

/**
 * Block-diagonal products with blocks of four on 16-lane vectors: four blocks side by side. With R_s x the vector whose lanes are rotated
 * by s within each block, y = sum over s = 0..3 of W_s * R_s x, where lane o of W_s is w[o, (o + s) mod 4] (w[(d + s) mod 4, d] for the
 * transposed product). The W_s are made from the weights as stored by four shuffles each: for few rows as they are needed, for many once.
 */
final class HeadwiseLanes {
    static final int BLOCK = 4;
    static final boolean SUPPORTED = LANES == 16;

    /** Rows up to which the weights are rearranged as they are needed. */
    private static final int ROWS = 16;

    /** Elements below which a call stays on its thread. */
    private static final long INLINE = 32_768;

    /** Blocks of one vector. */
    static final int GROUPS = 4;

    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    private static final VectorShuffle<Float> ROTATE_1 = rotate(1);
    private static final VectorShuffle<Float> ROTATE_2 = rotate(2);
    private static final VectorShuffle<Float> ROTATE_3 = rotate(3);
    private static final VectorShuffle<Float> PICK_0 = pick(0);
    private static final VectorShuffle<Float> PICK_1 = pick(1);
    private static final VectorShuffle<Float> PICK_2 = pick(2);
    private static final VectorShuffle<Float> PICK_3 = pick(3);
    private static final VectorShuffle<Float> PICK_T1 = pickTransposed(1);
    private static final VectorShuffle<Float> PICK_T2 = pickTransposed(2);
    private static final VectorShuffle<Float> PICK_T3 = pickTransposed(3);
    private static final VectorMask<Float> BLOCK_1 = block(1);
    private static final VectorMask<Float> BLOCK_2 = block(2);
    private static final VectorMask<Float> BLOCK_3 = block(3);

    private HeadwiseLanes() {}

    private static VectorShuffle<Float> rotate(int s) {
        return VectorShuffle.fromOp(F, l -> (l & ~3 | (l + s) & 3) % LANES);
    }

    private static VectorShuffle<Float> pick(int s) {
        return VectorShuffle.fromOp(F, l -> (4 * (l & 3) + ((l + s) & 3)) % LANES);
    }

    private static VectorShuffle<Float> pickTransposed(int s) {
        return VectorShuffle.fromOp(F, l -> (4 * ((l + s) & 3) + (l & 3)) % LANES);
    }

    private static VectorMask<Float> block(int g) {
        boolean[] lanes = new boolean[LANES];
        for (int l = 0; l < LANES; l++) {
            lanes[l] = l / BLOCK == g;
        }
        return VectorMask.fromArray(F, lanes, 0);
    }

    /** y = x times the blocks (their transposes where {@code transposed}) + bias, or y += that. */
    static void multiply(
            Workers workers,
            int groups,
            int m,
            MemorySegment x,
            MemorySegment w,
            boolean transposed,
            MemorySegment bias,
            boolean accumulate,
            MemorySegment y) {
        if (m <= ROWS) {
            rows(groups, x, w, transposed, bias, accumulate, y, 0, m);
        } else {
            split(workers, groups, m, x, w, transposed, bias, accumulate, y);
        }
    }

    private static void split(
            Workers workers,
            int groups,
            int m,
            MemorySegment x,
            MemorySegment w,
            boolean transposed,
            MemorySegment bias,
            boolean accumulate,
            MemorySegment y) {
        int width = groups * BLOCK;
        int whole = groups / GROUPS * GROUPS;
        float[] turned = ThreadFloats.get(ThreadFloats.CALL, (BLOCK + 1) * width);
        turnAll(w, whole, transposed, bias, turned);
        int grain = (int) Math.max(2, INLINE / 2 / Math.max(1, width) / 2 * 2);
        workers.forRange((long) m * width <= INLINE ? 1 : (m + grain - 1) / grain, 1, (from, to) -> {
            int first = from * grain;
            int end = (long) m * width <= INLINE ? m : Math.min(m, to * grain);
            manyRows(turned, whole * BLOCK, width, x, accumulate, y, first, end);
            for (int g = whole; g < groups; g++) {
                for (int i = first; i < end; i++) {
                    oneBlock(x, w, g, transposed, bias, accumulate, y, (long) i * width + g * BLOCK);
                }
            }
        });
    }

    /** For each vector of columns its four W_s and what the products are added to. */
    private static void turnAll(MemorySegment w, int groups, boolean transposed, MemorySegment bias, float[] turned) {
        MemorySegment block = Staging.own().block0;
        for (int g = 0; g < groups; g += GROUPS) {
            if (transposed) {
                turnTransposed(w, (long) g * BLOCK * BLOCK, block);
            } else {
                turn(w, (long) g * BLOCK * BLOCK, block);
            }
            int at = g * BLOCK * (BLOCK + 1);
            for (int s = 0; s < BLOCK; s++) {
                load(block, (long) s * LANES).intoArray(turned, at + s * LANES);
            }
            if (bias == null) {
                ZERO.intoArray(turned, at + BLOCK * LANES);
            } else {
                load(bias, (long) g * BLOCK).intoArray(turned, at + BLOCK * LANES);
            }
        }
    }

    private static void manyRows(
            float[] turned,
            int columns,
            int width,
            MemorySegment x,
            boolean accumulate,
            MemorySegment y,
            int from,
            int to) {
        int r = from;
        for (; r + 1 < to; r += 2) {
            if (accumulate) {
                twoRowsAdded(turned, columns, x, y, (long) r * width, (long) (r + 1) * width);
            } else {
                twoRows(turned, columns, x, y, (long) r * width, (long) (r + 1) * width);
            }
        }
        if (r < to && accumulate) {
            oneRowAdded(turned, columns, x, y, (long) r * width);
        } else if (r < to) {
            oneRow(turned, columns, x, y, (long) r * width);
        }
    }

    private static void twoRows(
            float[] turned, int columns, MemorySegment x, MemorySegment y, long first, long second) {
        for (int j = 0; j < columns; j += LANES) {
            int t = j * (BLOCK + 1);
            FloatVector v = load(x, first + j);
            FloatVector u = load(x, second + j);
            FloatVector w = FloatVector.fromArray(F, turned, t);
            FloatVector start = FloatVector.fromArray(F, turned, t + BLOCK * LANES);
            FloatVector p = v.fma(w, start);
            FloatVector q = u.fma(w, start);
            w = FloatVector.fromArray(F, turned, t + LANES);
            p = v.rearrange(ROTATE_1).fma(w, p);
            q = u.rearrange(ROTATE_1).fma(w, q);
            w = FloatVector.fromArray(F, turned, t + 2 * LANES);
            p = v.rearrange(ROTATE_2).fma(w, p);
            q = u.rearrange(ROTATE_2).fma(w, q);
            w = FloatVector.fromArray(F, turned, t + 3 * LANES);
            store(v.rearrange(ROTATE_3).fma(w, p), y, first + j);
            store(u.rearrange(ROTATE_3).fma(w, q), y, second + j);
        }
    }

    private static void twoRowsAdded(
            float[] turned, int columns, MemorySegment x, MemorySegment y, long first, long second) {
        for (int j = 0; j < columns; j += LANES) {
            int t = j * (BLOCK + 1);
            FloatVector v = load(x, first + j);
            FloatVector u = load(x, second + j);
            FloatVector w = FloatVector.fromArray(F, turned, t);
            FloatVector p = v.mul(w);
            FloatVector q = u.mul(w);
            w = FloatVector.fromArray(F, turned, t + LANES);
            p = v.rearrange(ROTATE_1).fma(w, p);
            q = u.rearrange(ROTATE_1).fma(w, q);
            w = FloatVector.fromArray(F, turned, t + 2 * LANES);
            p = v.rearrange(ROTATE_2).fma(w, p);
            q = u.rearrange(ROTATE_2).fma(w, q);
            w = FloatVector.fromArray(F, turned, t + 3 * LANES);
            store(load(y, first + j).add(v.rearrange(ROTATE_3).fma(w, p)), y, first + j);
            store(load(y, second + j).add(u.rearrange(ROTATE_3).fma(w, q)), y, second + j);
        }
    }

    private static void oneRow(float[] turned, int columns, MemorySegment x, MemorySegment y, long at) {
        for (int j = 0; j < columns; j += LANES) {
            int t = j * (BLOCK + 1);
            FloatVector v = load(x, at + j);
            FloatVector start = FloatVector.fromArray(F, turned, t + BLOCK * LANES);
            FloatVector p = v.fma(FloatVector.fromArray(F, turned, t), start);
            p = v.rearrange(ROTATE_1).fma(FloatVector.fromArray(F, turned, t + LANES), p);
            p = v.rearrange(ROTATE_2).fma(FloatVector.fromArray(F, turned, t + 2 * LANES), p);
            store(v.rearrange(ROTATE_3).fma(FloatVector.fromArray(F, turned, t + 3 * LANES), p), y, at + j);
        }
    }

    private static void oneRowAdded(float[] turned, int columns, MemorySegment x, MemorySegment y, long at) {
        for (int j = 0; j < columns; j += LANES) {
            int t = j * (BLOCK + 1);
            FloatVector v = load(x, at + j);
            FloatVector p = v.mul(FloatVector.fromArray(F, turned, t));
            p = v.rearrange(ROTATE_1).fma(FloatVector.fromArray(F, turned, t + LANES), p);
            p = v.rearrange(ROTATE_2).fma(FloatVector.fromArray(F, turned, t + 2 * LANES), p);
            p = v.rearrange(ROTATE_3).fma(FloatVector.fromArray(F, turned, t + 3 * LANES), p);
            store(load(y, at + j).add(p), y, at + j);
        }
    }

    /** Groups {@code first} to {@code last} of {@code m} rows without bias; both are multiples of {@link #GROUPS}. */
    static void someGroups(int groups, int m, MemorySegment x, MemorySegment w, MemorySegment y, int first, int last) {
        MemorySegment turned = Staging.own().block0;
        int width = groups * BLOCK;
        for (int g = first; g < last; g += GROUPS) {
            turn(w, (long) g * BLOCK * BLOCK, turned);
            fourBlocks(turned, x, ZERO, y, (long) g * BLOCK, width, m);
        }
    }

    private static void rows(
            int groups,
            MemorySegment x,
            MemorySegment w,
            boolean transposed,
            MemorySegment bias,
            boolean accumulate,
            MemorySegment y,
            int from,
            int to) {
        int width = groups * BLOCK;
        int whole = groups / GROUPS * GROUPS;
        MemorySegment turned = Staging.own().block0;
        for (int r = from; r < to; r += ROWS) {
            int end = Math.min(to, r + ROWS);
            for (int g = 0; g < whole; g += GROUPS) {
                if (transposed) {
                    turnTransposed(w, (long) g * BLOCK * BLOCK, turned);
                } else {
                    turn(w, (long) g * BLOCK * BLOCK, turned);
                }
                if (accumulate) {
                    fourBlocksAdded(turned, x, y, (long) r * width + g * BLOCK, width, end - r);
                } else if (bias != null) {
                    fourBlocks(
                            turned, x, load(bias, (long) g * BLOCK), y, (long) r * width + g * BLOCK, width, end - r);
                } else {
                    fourBlocks(turned, x, ZERO, y, (long) r * width + g * BLOCK, width, end - r);
                }
            }
            for (int g = whole; g < groups; g++) {
                for (int i = r; i < end; i++) {
                    oneBlock(x, w, g, transposed, bias, accumulate, y, (long) i * width + g * BLOCK);
                }
            }
        }
    }

    private static void turn(MemorySegment w, long at, MemorySegment turned) {
        FloatVector a = load(w, at);
        FloatVector b = load(w, at + LANES);
        FloatVector c = load(w, at + 2 * LANES);
        FloatVector d = load(w, at + 3 * LANES);
        store(gather(a, b, c, d, PICK_0), turned, 0);
        store(gather(a, b, c, d, PICK_1), turned, LANES);
        store(gather(a, b, c, d, PICK_2), turned, 2 * LANES);
        store(gather(a, b, c, d, PICK_3), turned, 3 * LANES);
    }

    private static void turnTransposed(MemorySegment w, long at, MemorySegment turned) {
        FloatVector a = load(w, at);
        FloatVector b = load(w, at + LANES);
        FloatVector c = load(w, at + 2 * LANES);
        FloatVector d = load(w, at + 3 * LANES);
        store(gather(a, b, c, d, PICK_0), turned, 0);
        store(gather(a, b, c, d, PICK_T1), turned, LANES);
        store(gather(a, b, c, d, PICK_T2), turned, 2 * LANES);
        store(gather(a, b, c, d, PICK_T3), turned, 3 * LANES);
    }

    private static FloatVector gather(
            FloatVector a, FloatVector b, FloatVector c, FloatVector d, VectorShuffle<Float> pick) {
        return a.rearrange(pick)
                .blend(b.rearrange(pick), BLOCK_1)
                .blend(c.rearrange(pick), BLOCK_2)
                .blend(d.rearrange(pick), BLOCK_3);
    }

    private static void fourBlocks(
            MemorySegment turned, MemorySegment x, FloatVector first, MemorySegment y, long at, int width, int rows) {
        FloatVector w0 = load(turned, 0);
        FloatVector w1 = load(turned, LANES);
        FloatVector w2 = load(turned, 2 * LANES);
        FloatVector w3 = load(turned, 3 * LANES);
        for (int r = 0; r < rows; r++) {
            long i = at + (long) r * width;
            FloatVector v = load(x, i);
            FloatVector p = v.fma(w0, first);
            p = v.rearrange(ROTATE_1).fma(w1, p);
            p = v.rearrange(ROTATE_2).fma(w2, p);
            store(v.rearrange(ROTATE_3).fma(w3, p), y, i);
        }
    }

    private static void fourBlocksAdded(
            MemorySegment turned, MemorySegment x, MemorySegment y, long at, int width, int rows) {
        FloatVector w0 = load(turned, 0);
        FloatVector w1 = load(turned, LANES);
        FloatVector w2 = load(turned, 2 * LANES);
        FloatVector w3 = load(turned, 3 * LANES);
        for (int r = 0; r < rows; r++) {
            long i = at + (long) r * width;
            FloatVector v = load(x, i);
            FloatVector p = v.mul(w0);
            p = v.rearrange(ROTATE_1).fma(w1, p);
            p = v.rearrange(ROTATE_2).fma(w2, p);
            p = v.rearrange(ROTATE_3).fma(w3, p);
            store(load(y, i).add(p), y, i);
        }
    }

    private static void oneBlock(
            MemorySegment x,
            MemorySegment w,
            int g,
            boolean transposed,
            MemorySegment bias,
            boolean accumulate,
            MemorySegment y,
            long at) {
        long block = (long) g * BLOCK * BLOCK;
        for (int o = 0; o < BLOCK; o++) {
            float sum = bias == null ? 0 : bias.get(FLOAT, ((long) g * BLOCK + o) * 4);
            for (int s = 0; s < BLOCK; s++) {
                int d = (o + s) & 3;
                long element = transposed ? block + BLOCK * d + o : block + BLOCK * o + d;
                sum = Math.fma(x.get(FLOAT, (at + d) * 4), w.get(FLOAT, element * 4), sum);
            }
            y.set(FLOAT, (at + o) * 4, accumulate ? y.get(FLOAT, (at + o) * 4) + sum : sum);
        }
    }

    /** dw[g,o,d] += sum over rows of dy[4g + o] x[4g + d]. */
    static void weightGradient(
            Workers workers, int groups, int m, MemorySegment dy, MemorySegment x, MemorySegment dw) {
        int width = groups * BLOCK;
        int units = (groups + GROUPS - 1) / GROUPS;
        ColumnSums sums = new ColumnSums(m, BLOCK * units * LANES);
        sums.over(workers, (from, to, partial, at) -> outerProducts(width, from, to, dy, x, partial, at));
        int grain = (int) Math.max(1, INLINE / ((long) Math.max(1, m) * LANES));
        workers.forRange(units, grain, (from, to) -> {
            MemorySegment block = Staging.own().block0;
            for (int u = from; u < to; u++) {
                int g = u * GROUPS;
                for (int s = 0; s < BLOCK; s++) {
                    store(sums.total((u * BLOCK + s) * LANES), block, (long) s * LANES);
                }
                for (int l = 0; l < Math.min(GROUPS, groups - g) * BLOCK; l++) {
                    for (int s = 0; s < BLOCK; s++) {
                        long element = 4 * (((long) g * BLOCK + l) * BLOCK + (l + s & 3));
                        float sum = block.get(FLOAT, ((long) s * LANES + l) * 4);
                        dw.set(FLOAT, element, dw.get(FLOAT, element) + sum);
                    }
                }
            }
        });
    }

    /** Adds dy * R_s x of some rows, for s = 0..3 one vector after the other. */
    private static void outerProducts(
            int width, int from, int to, MemorySegment dy, MemorySegment x, float[] sums, int at) {
        int whole = width / LANES * LANES;
        int r = from;
        for (; r + 3 < to; r += 4) {
            outerFour((long) r * width, width, whole, dy, x, sums, at);
        }
        for (; r + 1 < to; r += 2) {
            outerTwo((long) r * width, (long) (r + 1) * width, whole, dy, x, sums, at);
        }
        if (r < to) {
            outerOne((long) r * width, whole, dy, x, sums, at);
        }
        if (whole < width) {
            VectorMask<Float> lanes = F.indexInRange(0, width - whole);
            for (r = from; r < to; r++) {
                outerLast((long) r * width + whole, lanes, dy, x, sums, at + whole * BLOCK);
            }
        }
    }

    private static void outerFour(
            long row, int pitch, int width, MemorySegment dy, MemorySegment x, float[] sums, int at) {
        long row1 = row + pitch;
        long row2 = row1 + pitch;
        long row3 = row2 + pitch;
        for (int j = 0; j < width; j += LANES) {
            int o = at + j * BLOCK;
            FloatVector d0 = load(dy, row + j);
            FloatVector d1 = load(dy, row1 + j);
            FloatVector d2 = load(dy, row2 + j);
            FloatVector d3 = load(dy, row3 + j);
            FloatVector x0 = load(x, row + j);
            FloatVector x1 = load(x, row1 + j);
            FloatVector x2 = load(x, row2 + j);
            FloatVector x3 = load(x, row3 + j);
            FloatVector p = d0.fma(x0, FloatVector.fromArray(F, sums, o));
            p = d1.fma(x1, p);
            p = d2.fma(x2, p);
            d3.fma(x3, p).intoArray(sums, o);
            p = d0.fma(x0.rearrange(ROTATE_1), FloatVector.fromArray(F, sums, o + LANES));
            p = d1.fma(x1.rearrange(ROTATE_1), p);
            p = d2.fma(x2.rearrange(ROTATE_1), p);
            d3.fma(x3.rearrange(ROTATE_1), p).intoArray(sums, o + LANES);
            p = d0.fma(x0.rearrange(ROTATE_2), FloatVector.fromArray(F, sums, o + 2 * LANES));
            p = d1.fma(x1.rearrange(ROTATE_2), p);
            p = d2.fma(x2.rearrange(ROTATE_2), p);
            d3.fma(x3.rearrange(ROTATE_2), p).intoArray(sums, o + 2 * LANES);
            p = d0.fma(x0.rearrange(ROTATE_3), FloatVector.fromArray(F, sums, o + 3 * LANES));
            p = d1.fma(x1.rearrange(ROTATE_3), p);
            p = d2.fma(x2.rearrange(ROTATE_3), p);
            d3.fma(x3.rearrange(ROTATE_3), p).intoArray(sums, o + 3 * LANES);
        }
    }

    private static void outerTwo(
            long first, long second, int width, MemorySegment dy, MemorySegment x, float[] sums, int at) {
        for (int j = 0; j < width; j += LANES) {
            int o = at + j * BLOCK;
            FloatVector d = load(dy, first + j);
            FloatVector e = load(dy, second + j);
            FloatVector v = load(x, first + j);
            FloatVector u = load(x, second + j);
            e.fma(u, d.fma(v, FloatVector.fromArray(F, sums, o))).intoArray(sums, o);
            FloatVector p = d.fma(v.rearrange(ROTATE_1), FloatVector.fromArray(F, sums, o + LANES));
            e.fma(u.rearrange(ROTATE_1), p).intoArray(sums, o + LANES);
            p = d.fma(v.rearrange(ROTATE_2), FloatVector.fromArray(F, sums, o + 2 * LANES));
            e.fma(u.rearrange(ROTATE_2), p).intoArray(sums, o + 2 * LANES);
            p = d.fma(v.rearrange(ROTATE_3), FloatVector.fromArray(F, sums, o + 3 * LANES));
            e.fma(u.rearrange(ROTATE_3), p).intoArray(sums, o + 3 * LANES);
        }
    }

    private static void outerOne(long row, int width, MemorySegment dy, MemorySegment x, float[] sums, int at) {
        for (int j = 0; j < width; j += LANES) {
            int o = at + j * BLOCK;
            FloatVector d = load(dy, row + j);
            FloatVector v = load(x, row + j);
            d.fma(v, FloatVector.fromArray(F, sums, o)).intoArray(sums, o);
            d.fma(v.rearrange(ROTATE_1), FloatVector.fromArray(F, sums, o + LANES))
                    .intoArray(sums, o + LANES);
            d.fma(v.rearrange(ROTATE_2), FloatVector.fromArray(F, sums, o + 2 * LANES))
                    .intoArray(sums, o + 2 * LANES);
            d.fma(v.rearrange(ROTATE_3), FloatVector.fromArray(F, sums, o + 3 * LANES))
                    .intoArray(sums, o + 3 * LANES);
        }
    }

    private static void outerLast(
            long at, VectorMask<Float> lanes, MemorySegment dy, MemorySegment x, float[] sums, int o) {
        FloatVector d = load(dy, at, lanes);
        FloatVector v = load(x, at, lanes);
        d.fma(v, FloatVector.fromArray(F, sums, o)).intoArray(sums, o);
        d.fma(v.rearrange(ROTATE_1), FloatVector.fromArray(F, sums, o + LANES)).intoArray(sums, o + LANES);
        d.fma(v.rearrange(ROTATE_2), FloatVector.fromArray(F, sums, o + 2 * LANES))
                .intoArray(sums, o + 2 * LANES);
        d.fma(v.rearrange(ROTATE_3), FloatVector.fromArray(F, sums, o + 3 * LANES))
                .intoArray(sums, o + 3 * LANES);
    }
}
