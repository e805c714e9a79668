package ai.lram.agent.lram;

/**
 * Between continuous actions in [-1, 1] and token ids. Ids 0..discrete-1 are discrete actions, bin j of a continuous one is
 * discrete + j. Bin width w = 2/bins; arithmetic in float32 as published: a value just below an edge rounds into the upper bin.
 *
 * @param discrete number of discrete ids
 * @param bins number of bins
 */
public record ActionCodec(int discrete, int bins) {
    /** How a row of logits becomes a number. */
    public enum Decoding {
        /** Mean of the bin centres under the softmax over the bins. */
        EXPECTATION,
        /** Centre of the most likely bin. */
        CENTRE,
        /** Published quirk: lower edge of the most likely of all ids; discrete ids decode to -1 and +1 cannot be reached. */
        LOWER_EDGE
    }

    public float width() {
        return 2f / bins;
    }

    /** Token id of x: discrete + clamp(trunc((x + 1) / w), 0, bins - 1). */
    public int encode(float x) {
        int bin = (int) ((x + 1f) / width());
        return discrete + Math.max(0, Math.min(bins - 1, bin));
    }

    /** Position of x on the axis of ids, clamped to the bins, discrete..discrete + bins: the soft loss's target. */
    public float position(float x) {
        return discrete + Math.max(0f, Math.min(bins, (x + 1f) / width()));
    }

    /** Lower edge of an id's bin; ids below {@code discrete} give -1. */
    public float lowerEdge(int id) {
        return Math.max(id - discrete, 0) * width() - 1f;
    }

    public float centre(int id) {
        return lowerEdge(id) + 0.5f * width();
    }

    /** What an id stands for where a most likely one is decoded, or a mean is taken. */
    public float value(Decoding how, int id) {
        return how == Decoding.LOWER_EDGE ? lowerEdge(id) : centre(id);
    }

    /** Decodes one action dimension from {@code logits[offset .. offset + discrete + bins - 1]}. No allocation. */
    public float decode(Decoding how, float[] logits, int offset) {
        return switch (how) {
            case EXPECTATION -> expectation(logits, offset + discrete);
            case CENTRE -> centre(discrete + argmax(logits, offset + discrete, bins));
            case LOWER_EDGE -> lowerEdge(argmax(logits, offset, discrete + bins));
        };
    }

    /** Most likely of the first {@code count} discrete ids. */
    public int decodeDiscrete(float[] logits, int offset, int count) {
        return argmax(logits, offset, count);
    }

    private float expectation(float[] logits, int from) {
        float max = Float.NEGATIVE_INFINITY;
        for (int i = 0; i < bins; i++) {
            max = Math.max(max, logits[from + i]);
        }
        double sum = 0;
        double mean = 0;
        for (int i = 0; i < bins; i++) {
            double p = Math.exp(logits[from + i] - max);
            sum += p;
            mean += p * (i + 0.5);
        }
        return (float) (mean / sum * width() - 1);
    }

    private static int argmax(float[] logits, int from, int n) {
        int best = 0;
        for (int i = 1; i < n; i++) {
            if (logits[from + i] > logits[from + best]) {
                best = i;
            }
        }
        return best;
    }
}
