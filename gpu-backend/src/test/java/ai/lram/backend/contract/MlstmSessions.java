package ai.lram.backend.contract;

import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.FoldSchedule;
import ai.lram.backend.ops.MlstmSlots;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.MlstmSpec.InputGate;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/** What contracts of the mLSTM's control step begin with: pools, drawn tokens, and the call itself. */
public final class MlstmSessions {
    /** Most tokens of a session in one step. */
    public static final int L = 3;

    private MlstmSessions() {}

    public record Sizes(int slots, int heads, int dimQk, int dimHv, int ring) {
        /** Of q, k, v, i and f, for one token of all heads. */
        int[] widths() {
            return new int[] {heads * dimQk, heads * dimQk, heads * dimHv, heads, heads};
        }
    }

    /** Draws part 0..4 (q, k, v, i, f) of one token of all heads. */
    public interface Draw {
        float[] token(int part, int width);
    }

    /** {@code exp}, {@code sig} and {@code raw}: the exponential gate, the sigmoid one, and that without a normaliser. */
    static MlstmSpec spec(String kind) {
        return kind.equals("exp")
                ? MlstmSpec.exponential()
                : new MlstmSpec(InputGate.SIGMOID, kind.equals("sig"), 1e-6f, true, 0);
    }

    /** Not reset: no number of it is one. Matrix state, keys and values are of {@code type}. */
    static MlstmSlots pool(Fixture fx, DType type, Sizes z) {
        int p = z.slots;
        int n = z.heads;
        return new MlstmSlots(
                fx.poisoned(type, p, n, z.dimQk, z.dimHv),
                fx.poisoned(p, n, z.dimQk),
                fx.poisoned(p, n),
                fx.poisoned(type, p, n, z.ring, z.dimQk),
                fx.poisoned(type, p, n, z.ring, z.dimHv),
                fx.poisoned(p, n, z.ring),
                fx.poisoned(p, n, z.ring),
                fx.ofInts(new int[p * n], p, n),
                fx.ofInts(new int[p * n], p, n));
    }

    /** With no token in any slot. */
    public static MlstmSlots emptyPool(Fixture fx, DType type, Sizes z) {
        MlstmSlots state = pool(fx, type, z);
        for (int slot = 0; slot < z.slots; slot++) {
            fx.ops.session().mlstmReset(fx.stream, state, slot);
        }
        return state;
    }

    public static int[] distinct(Fixture fx, int of, int n) {
        List<Integer> all = new ArrayList<>();
        for (int s = 0; s < of; s++) {
            all.add(s);
        }
        Collections.shuffle(all, fx.random);
        return all.stream().limit(n).mapToInt(s -> s).toArray();
    }

    /** Parts of (B, L) tokens: a row's new ones at its end, and no numbers before them. */
    public static float[][] inputs(Sizes z, int[] counts, Draw draw) {
        int[] widths = z.widths();
        float[][] in = new float[widths.length][];
        for (int part = 0; part < in.length; part++) {
            in[part] = new float[counts.length * L * widths[part]];
            Arrays.fill(in[part], Float.NaN);
        }
        for (int row = 0; row < counts.length; row++) {
            for (int t = L - counts[row]; t < L; t++) {
                for (int part = 0; part < in.length; part++) {
                    float[] token = draw.token(part, widths[part]);
                    System.arraycopy(token, 0, in[part], (row * L + t) * widths[part], widths[part]);
                }
            }
        }
        return in;
    }

    /** {@link ai.lram.backend.ops.SessionOps#mlstmStep}'s answers; what it does not write is no number. */
    public static float[] step(
            Fixture fx,
            MlstmSpec spec,
            FoldSchedule schedule,
            int layer,
            MlstmSlots state,
            Sizes z,
            int[] slots,
            int[] counts,
            float[][] in) {
        int b = slots.length;
        Tensor h = fx.poisoned(b, L, z.heads, z.dimHv);
        fx.ops
                .session()
                .mlstmStep(
                        fx.stream,
                        spec,
                        schedule,
                        layer,
                        state,
                        fx.ofInts(slots, b),
                        fx.ofInts(counts, b),
                        fx.of(in[0], b, L, z.heads, z.dimQk),
                        fx.of(in[1], b, L, z.heads, z.dimQk),
                        fx.of(in[2], b, L, z.heads, z.dimHv),
                        fx.of(in[3], b, L, z.heads),
                        fx.of(in[4], b, L, z.heads),
                        h);
        return fx.read(h);
    }
}
