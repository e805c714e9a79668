package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;
import static ai.lram.backend.cpu.VectorMath.ZERO;
import static ai.lram.backend.cpu.VectorMath.load;
import static ai.lram.backend.cpu.VectorMath.store;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorShuffle;

/**
 * Block-diagonal products with blocks of four on 16-lane vectors: four blocks side by side. With R_s x the vector whose lanes are rotated
 * by s within each block, y = sum over s = 0..3 of W_s * R_s x, where lane o of W_s is w[o, (o + s) mod 4] (w[(d + s) mod 4, d] for the
 * transposed product). The W_s are made from the weights as stored by four shuffles each, once for {@link #ROWS} rows.
 */
final class HeadwiseLanes {
    static final int BLOCK = 4;
    static final boolean SUPPORTED = LANES == 16;

    /** Rows that share one rearrangement of the weights. */
    private static final int ROWS = 16;

    /** Rows summed on their own before they join a weight gradient. */
    private static final int SUM_ROWS = 64;

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
        if ((long) m * groups * BLOCK <= INLINE) {
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
        int pieces = (m + ROWS - 1) / ROWS;
        int grain = (int) Math.max(1, INLINE / 2 / ((long) ROWS * groups * BLOCK));
        workers.forRange(
                pieces,
                grain,
                (from, to) -> rows(groups, x, w, transposed, bias, accumulate, y, from * ROWS, Math.min(m, to * ROWS)));
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
        int units = (groups + GROUPS - 1) / GROUPS;
        int grain = (int) Math.max(1, INLINE / ((long) Math.max(1, m) * LANES));
        workers.forRange(units, grain, (from, to) -> {
            MemorySegment sums = Staging.own().block0;
            for (int u = from; u < to; u++) {
                int g = u * GROUPS;
                int count = Math.min(GROUPS, groups - g);
                outerProducts(m, groups * BLOCK, (long) g * BLOCK, count, dy, x, sums);
                for (int l = 0; l < count * BLOCK; l++) {
                    for (int s = 0; s < BLOCK; s++) {
                        long element = ((long) g * BLOCK + l) * BLOCK + (l + s & 3);
                        dw.set(
                                FLOAT,
                                element * 4,
                                dw.get(FLOAT, element * 4) + sums.get(FLOAT, ((long) s * LANES + l) * 4));
                    }
                }
            }
        });
    }

    /** Sums over rows of dy * R_s x for s = 0..3. */
    private static void outerProducts(
            int m, int width, long column, int count, MemorySegment dy, MemorySegment x, MemorySegment sums) {
        VectorMask<Float> lanes = F.indexInRange(0, count * BLOCK);
        FloatVector t0 = FloatVector.zero(F);
        FloatVector t1 = FloatVector.zero(F);
        FloatVector t2 = FloatVector.zero(F);
        FloatVector t3 = FloatVector.zero(F);
        for (int r = 0; r < m; r += SUM_ROWS) {
            FloatVector p0 = FloatVector.zero(F);
            FloatVector p1 = FloatVector.zero(F);
            FloatVector p2 = FloatVector.zero(F);
            FloatVector p3 = FloatVector.zero(F);
            for (int i = r; i < Math.min(m, r + SUM_ROWS); i++) {
                long at = (long) i * width + column;
                FloatVector d = load(dy, at, lanes);
                FloatVector v = load(x, at, lanes);
                p0 = d.fma(v, p0);
                p1 = d.fma(v.rearrange(ROTATE_1), p1);
                p2 = d.fma(v.rearrange(ROTATE_2), p2);
                p3 = d.fma(v.rearrange(ROTATE_3), p3);
            }
            t0 = t0.add(p0);
            t1 = t1.add(p1);
            t2 = t2.add(p2);
            t3 = t3.add(p3);
        }
        store(t0, sums, 0);
        store(t1, sums, LANES);
        store(t2, sums, 2 * LANES);
        store(t3, sums, 3 * LANES);
    }
}
