package ai.lram.backend.cpu;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** Work arrays for session kernels, of a thread or of a cell; they grow to the largest size asked for and are then reused. */
final class StepScratch {
    private static final ThreadLocal<StepScratch> OF_THREAD = ThreadLocal.withInitial(StepScratch::new);

    /** Cumulative log forget gates up to and with each ring token. */
    double[] sums = new double[0];

    /** Log input gates of the ring tokens. */
    double[] inputs = new double[0];

    /** Normaliser at the newest token. */
    double[] normaliser = new double[0];

    /** Attention weights, tokens by ring length. */
    float[] weights = new float[0];

    /** Queries weighted for the matrix state, tokens by DHQK; sLSTM: raw gates. */
    float[] queries = new float[0];

    /** Products of queries with the ring's keys, as {@link #weights} lie. */
    MemorySegment dots = MemorySegment.NULL;

    /** Denominators per token. */
    float[] divisors = new float[0];

    /** Lane sums of a product with the normaliser. */
    final double[] lanes = new double[DoubleMath.LANES];

    /** What the ring's keys weigh in the normaliser. */
    double[] writes = new double[0];

    /** Ring keys weighted for a fold, as panels of {@link GemmTile}. */
    float[] foldKeys = new float[0];

    /** Native memory for one head's sLSTM cell. */
    MemorySegment cell = MemorySegment.NULL;

    /** Tokens that the running step of a cell folds, tokens then left in the ring, the old state's factor, whether there is a state to read. */
    int folding;

    int held;
    float keep;
    boolean hasState;

    /** The normalised input of a block, and of which of {@link MlstmBlockStep}'s calls; 0 for none. */
    MemorySegment normed = MemorySegment.NULL;

    long normedOf;

    StepScratch() {}

    static StepScratch get() {
        return OF_THREAD.get();
    }

    void reserveCell(long floats) {
        if (cell.byteSize() < 4 * floats) {
            cell = Arena.ofAuto().allocate(4 * floats, 64);
        }
    }

    /** At least {@code floats} of {@link #normed}. */
    MemorySegment normed(long floats) {
        if (normed.byteSize() < 4 * floats) {
            normed = Arena.ofAuto().allocate(4 * floats, 64);
            normedOf = 0;
        }
        return normed;
    }

    void reserve(int tokens, int ring, int dimQk, int raw) {
        int padded = (ring + 2 * VectorMath.LANES) / VectorMath.LANES * VectorMath.LANES;
        if (sums.length < padded) {
            sums = new double[padded];
            inputs = new double[padded];
            writes = new double[padded];
        }
        if (normaliser.length < dimQk) {
            normaliser = new double[dimQk];
        }
        if (weights.length < tokens * padded) {
            weights = new float[tokens * padded];
            dots = Arena.ofAuto().allocate(4L * tokens * padded, 64);
        }
        if (queries.length < Math.max(tokens * dimQk, raw)) {
            queries = new float[Math.max(tokens * dimQk, raw)];
        }
        if (divisors.length < tokens) {
            divisors = new float[tokens];
        }
        int panels = ring * (dimQk + GemmTile.HEIGHT) + VectorMath.LANES;
        if (foldKeys.length < panels) {
            foldKeys = new float[panels];
        }
    }
}
