package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/**
 * Causal softmax attention of one head of one sequence at a time, in tiles of queries by keys: the score matrix is
 * never whole, and forward the maximum and the sum of a row are carried from tile to tile. The head is copied to the
 * calling thread's scratch once, keys (and values, backward) transposed, so that every product reads whole vectors.
 *
 * @see "Dao 2023, FlashAttention-2, arXiv:2307.08691, Algorithms 1 and 2"
 */
final class Attention {
    private static final int QUERIES = 32;
    private static final int KEYS = 128;
    private static final int TILE = QUERIES * KEYS;

    private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

    private final int tokens;
    private final int heads;
    private final int dim;
    private final float scale;

    /** Tokens rounded up to whole vectors, which is at least to 4, and the head's width alike. */
    private final int paddedTokens;

    private final int paddedDim;

    Attention(int tokens, int heads, int dim) {
        this.tokens = tokens;
        this.heads = heads;
        this.dim = dim;
        scale = (float) (1 / Math.sqrt(dim));
        paddedTokens = roundUp(tokens, Math.max(4, LANES));
        paddedDim = roundUp(dim, LANES);
    }

    private static int roundUp(int n, int to) {
        return (n + to - 1) / to * to;
    }

    /** Floats of scratch that one head takes, the backward pass included. */
    static long scratch(long tokens, long dim) {
        return 2 * TILE + (8 * (tokens + 16) + 2 * QUERIES) * (dim + 16) + 4 * tokens;
    }

    private long rowOf(int b, int h, int t) {
        return 4 * (((long) b * tokens + t) * heads + h) * dim;
    }

    /** Copies a head's rows, scaled, and pads them with zeros to {@link #paddedTokens} by {@link #paddedDim}. */
    private void load(MemorySegment x, int b, int h, float factor, float[] to, int at) {
        for (int t = 0; t < tokens; t++) {
            int row = at + t * paddedDim;
            MemorySegment.copy(x, FLOAT, rowOf(b, h, t), to, row, dim);
            for (int d = 0; d < dim; d++) {
                to[row + d] *= factor;
            }
            Arrays.fill(to, row + dim, row + paddedDim, 0);
        }
        Arrays.fill(to, at + tokens * paddedDim, at + paddedTokens * paddedDim, 0);
    }

    /** From rows to columns: {@code to} becomes (dim, paddedTokens). */
    private void transpose(float[] m, int from, int to) {
        for (int t = 0; t < paddedTokens; t += 4) {
            int row = from + t * paddedDim;
            for (int d = 0; d < dim; d++) {
                int at = to + d * paddedTokens + t;
                m[at] = m[row + d];
                m[at + 1] = m[row + d + paddedDim];
                m[at + 2] = m[row + d + 2 * paddedDim];
                m[at + 3] = m[row + d + 3 * paddedDim];
            }
        }
    }

    private void save(float[] m, int at, float factor, MemorySegment x, int b, int h) {
        for (int t = 0; t < tokens; t++) {
            int row = at + t * paddedDim;
            for (int d = 0; d < dim; d++) {
                m[row + d] *= factor;
            }
            MemorySegment.copy(m, row, x, FLOAT, rowOf(b, h, t), dim);
        }
    }

    /** Heads {@code from .. to-1} of all sequences; {@code lse} may be null. */
    void forward(
            MemorySegment q, MemorySegment k, MemorySegment v, MemorySegment y, MemorySegment lse, int from, int to) {
        int head = paddedTokens * paddedDim;
        int queries = TILE;
        int keys = queries + head;
        int values = keys + paddedTokens * dim;
        int sums = values + head;
        float[] m = ThreadFloats.get(ThreadFloats.BODY, sums + QUERIES * paddedDim);
        double[] weight = new double[QUERIES];
        float[] max = new float[QUERIES];
        for (int unit = from; unit < to; unit++) {
            int b = unit / heads;
            int h = unit % heads;
            load(k, b, h, 1, m, values);
            transpose(m, values, keys);
            load(v, b, h, 1, m, values);
            load(q, b, h, scale, m, queries);
            for (int i0 = 0; i0 < tokens; i0 += QUERIES) {
                int rows = Math.min(QUERIES, tokens - i0);
                Arrays.fill(m, sums, sums + QUERIES * paddedDim, 0);
                Arrays.fill(weight, 0);
                Arrays.fill(max, Float.NEGATIVE_INFINITY);
                for (int j0 = 0; j0 < i0 + rows; j0 += KEYS) {
                    int n = Math.min(KEYS, i0 + rows - j0);
                    product(m, queries + i0 * paddedDim, keys + j0, 0, rows, n);
                    for (int r = 0; r < rows; r++) {
                        int visible = Math.min(n, i0 + r - j0 + 1);
                        if (visible > 0) {
                            softmaxRow(m, r * KEYS, visible, r, max, weight, sums + r * paddedDim);
                        }
                    }
                    weighValues(m, values + j0 * paddedDim, sums, rows, n, i0 - j0);
                }
                for (int r = 0; r < rows; r++) {
                    int row = sums + r * paddedDim;
                    float factor = (float) (1 / weight[r]);
                    for (int d = 0; d < dim; d++) {
                        m[row + d] *= factor;
                    }
                    MemorySegment.copy(m, row, y, FLOAT, rowOf(b, h, i0 + r), dim);
                    if (lse != null) {
                        lse.set(FLOAT, 4L * ((long) unit * tokens + i0 + r), (float) (max[r] + Math.log(weight[r])));
                    }
                }
            }
        }
    }

    /** The tile at {@code to} = rows of {@code a} times transposed columns of {@code b}. */
    private void product(float[] m, int a, int b, int to, int rows, int n) {
        int columns = roundUp(n, LANES);
        int padded = roundUp(rows, 4);
        for (int r = 0; r < padded; r++) {
            Arrays.fill(m, to + r * KEYS, to + r * KEYS + columns, 0);
        }
        RowProduct.add(m, a, paddedDim, 1, m, b, paddedTokens, m, to, KEYS, padded, dim, columns);
    }

    /**
     * Turns {@code n} scores into weights relative to the row's maximum so far, and rescales what was summed under an
     * earlier one.
     */
    private void softmaxRow(float[] m, int row, int n, int r, float[] max, double[] weight, int sum) {
        float high = Math.max(max[r], largest(m, row, n));
        if (high != max[r]) {
            float factor = (float) Math.exp((double) max[r] - high);
            weight[r] *= factor;
            for (int d = 0; d < paddedDim; d++) {
                m[sum + d] *= factor;
            }
            max[r] = high;
        }
        weight[r] += exponentiate(m, row, n, high);
    }

    /** The largest of {@code n} >= 1 elements, NaN if there is one. */
    static float largest(float[] m, int row, int n) {
        FloatVector high = FloatVector.broadcast(F, Float.NEGATIVE_INFINITY);
        int j = 0;
        for (; j <= n - LANES; j += LANES) {
            high = high.max(FloatVector.fromArray(F, m, row + j));
        }
        float max = high.reduceLanes(VectorOperators.MAX);
        for (; j < n; j++) {
            max = Math.max(max, m[row + j]);
        }
        return max;
    }

    /**
     * m[row .. row+n-1] = exp(m - high), the sum of which is returned. Up to the next whole vector more elements are
     * changed.
     */
    private static double exponentiate(float[] m, int row, int n, float high) {
        FloatVector sum = FloatVector.zero(F);
        int j = 0;
        for (; j <= n - LANES; j += LANES) {
            FloatVector e = VectorMath.exp(FloatVector.fromArray(F, m, row + j).sub(high));
            e.intoArray(m, row + j);
            sum = sum.add(e);
        }
        double total = VectorMath.sum(sum);
        if (j < n) {
            VectorMath.exp(FloatVector.fromArray(F, m, row + j).sub(high)).intoArray(m, row + j);
            for (; j < n; j++) {
                total += m[row + j];
            }
        }
        return total;
    }

    /**
     * Adds weights times values. Row r sees the first {@code diagonal} + r + 1 keys of the tile; what it does not see
     * is not touched, so that NaN in a token stays out of the past.
     */
    private void weighValues(float[] m, int values, int sums, int rows, int n, int diagonal) {
        for (int r = 0; r < rows; r += 4) {
            int common = Math.clamp(diagonal + r + 1L, 0, n);
            RowProduct.add(
                    m,
                    r * KEYS,
                    KEYS,
                    1,
                    m,
                    values,
                    paddedDim,
                    m,
                    sums + r * paddedDim,
                    paddedDim,
                    4,
                    common,
                    paddedDim);
            for (int i = r + 1; i < Math.min(rows, r + 4); i++) {
                int visible = Math.clamp(diagonal + i + 1L, 0, n);
                for (int j = common; j < visible; j++) {
                    addScaled(m, m[i * KEYS + j], values + j * paddedDim, sums + i * paddedDim, paddedDim);
                }
            }
        }
    }

    private static void addScaled(float[] m, float factor, int from, int to, int n) {
        for (int d = 0; d < n; d += LANES) {
            FloatVector.fromArray(F, m, from + d)
                    .fma(FloatVector.broadcast(F, factor), FloatVector.fromArray(F, m, to + d))
                    .intoArray(m, to + d);
        }
    }

    /** Gradients of heads {@code from .. to-1}. */
    void backward(
            MemorySegment q,
            MemorySegment k,
            MemorySegment v,
            MemorySegment y,
            MemorySegment lse,
            MemorySegment dy,
            MemorySegment dq,
            MemorySegment dk,
            MemorySegment dv,
            int from,
            int to) {
        int head = paddedTokens * paddedDim;
        int queries = 2 * TILE;
        int keys = queries + head;
        int keyColumns = keys + head;
        int valueColumns = keyColumns + paddedTokens * dim;
        int gradient = valueColumns + paddedTokens * dim;
        int dQueries = gradient + head;
        int dKeys = dQueries + head;
        int dValues = dKeys + head;
        int delta = dValues + head;
        float[] m = ThreadFloats.get(ThreadFloats.BODY, delta + tokens);
        for (int unit = from; unit < to; unit++) {
            int b = unit / heads;
            int h = unit % heads;
            load(v, b, h, 1, m, keys);
            transpose(m, keys, valueColumns);
            load(k, b, h, 1, m, keys);
            transpose(m, keys, keyColumns);
            load(q, b, h, scale, m, queries);
            load(y, b, h, 1, m, dQueries);
            load(dy, b, h, 1, m, gradient);
            for (int t = 0; t < tokens; t++) {
                double dot = 0;
                for (int d = 0; d < dim; d++) {
                    dot += (double) m[dQueries + t * paddedDim + d] * m[gradient + t * paddedDim + d];
                }
                m[delta + t] = (float) dot;
            }
            Arrays.fill(m, dQueries, delta, 0);
            for (int i0 = 0; i0 < tokens; i0 += QUERIES) {
                int rows = Math.min(QUERIES, tokens - i0);
                for (int j0 = 0; j0 < i0 + rows; j0 += KEYS) {
                    int n = Math.min(KEYS, i0 + rows - j0);
                    product(m, queries + i0 * paddedDim, keyColumns + j0, 0, rows, n);
                    product(m, gradient + i0 * paddedDim, valueColumns + j0, TILE, rows, n);
                    for (int r = 0; r < rows; r++) {
                        float norm = lse.get(FLOAT, 4L * ((long) unit * tokens + i0 + r));
                        scoreGradient(
                                m,
                                r * KEYS,
                                Math.clamp(i0 + r - j0 + 1L, 0, n),
                                roundUp(n, LANES),
                                norm,
                                m[delta + i0 + r]);
                    }
                    int columns = roundUp(n, 4);
                    int row = i0 * paddedDim;
                    int column = j0 * paddedDim;
                    RowProduct.add(
                            m,
                            0,
                            1,
                            KEYS,
                            m,
                            gradient + row,
                            paddedDim,
                            m,
                            dValues + column,
                            paddedDim,
                            columns,
                            rows,
                            paddedDim);
                    RowProduct.add(
                            m,
                            TILE,
                            1,
                            KEYS,
                            m,
                            queries + row,
                            paddedDim,
                            m,
                            dKeys + column,
                            paddedDim,
                            columns,
                            rows,
                            paddedDim);
                    RowProduct.add(
                            m,
                            TILE,
                            KEYS,
                            1,
                            m,
                            keys + column,
                            paddedDim,
                            m,
                            dQueries + row,
                            paddedDim,
                            roundUp(rows, 4),
                            n,
                            paddedDim);
                }
            }
            save(m, dQueries, scale, dq, b, h);
            save(m, dKeys, 1, dk, b, h);
            save(m, dValues, 1, dv, b, h);
        }
    }

    /**
     * From scores and, a tile further on, the gradients of the weights to weights and the gradients of scores; 0 for
     * unseen keys.
     */
    private static void scoreGradient(float[] m, int row, int visible, int columns, float norm, float delta) {
        for (int j = 0; j < visible; j += LANES) {
            FloatVector p = VectorMath.exp(FloatVector.fromArray(F, m, row + j).sub(norm));
            p.intoArray(m, row + j);
            FloatVector.fromArray(F, m, TILE + row + j).sub(delta).mul(p).intoArray(m, TILE + row + j);
        }
        Arrays.fill(m, row + visible, row + columns, 0);
        Arrays.fill(m, TILE + row + visible, TILE + row + columns, 0);
    }
}
