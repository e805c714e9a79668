package ai.lram.backend.contract;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.contract.MlstmSessions.Draw;
import ai.lram.backend.contract.MlstmSessions.Sizes;
import ai.lram.backend.ops.FoldSchedule;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.backend.ops.MlstmSlots;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.MlstmSpec.InputGate;
import ai.lram.backend.reference.ReferenceMlstm;
import ai.lram.backend.reference.ReferenceSlstm;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What every engine's control step must do: sessions in random slots answer like the whole sequence. */
public abstract class SessionContract extends KernelContract {
    private static final int L = MlstmSessions.L;

    private MlstmSlots pool(Sizes z) {
        return MlstmSessions.emptyPool(fx, DType.F32, z);
    }

    /** All tokens of one session since its reset. */
    private static final class History {
        final List<float[][]> tokens = new ArrayList<>();
        final List<float[]> answers = new ArrayList<>();

        float[] join(int part) {
            int width = tokens.get(0)[part].length;
            float[] all = new float[tokens.size() * width];
            for (int t = 0; t < tokens.size(); t++) {
                System.arraycopy(tokens.get(t)[part], 0, all, t * width, width);
            }
            return all;
        }
    }

    @ParameterizedTest(name = "{0} batch={1} NH={2} DHQK={3} DHHV={4} first={5} period={6} stagger={7} steps={8}")
    @CsvSource({
        "exp,1,2,16,16,3,3,1,350", "exp,3,2,16,24,20,7,2,350", "exp,8,3,7,33,12,12,4,120", "exp,1,4,64,64,48,24,8,350",
        "exp,3,1,32,80,200,9,1,120", "sig,3,2,16,16,10,6,2,120", "raw,1,2,20,16,9,5,3,120", "exp,2,2,1,1,5,4,1,60",
        "exp,9,4,40,24,14,9,3,60", "sig,9,2,24,40,30,21,2,60", "exp,1,1,64,160,60,30,1,60", "exp,12,4,12,192,9,6,2,16",
        "raw,12,4,40,128,21,18,4,20", "exp,13,4,16,132,12,7,2,16", "exp,1,1,256,256,21,15,1,16"
    })
    void sessionsAnswerLikeTheWholeSequence(
            String kind, int batch, int heads, int dq, int dv, int first, int period, int stagger, int steps) {
        FoldSchedule schedule = new FoldSchedule(first, period, stagger);
        Sizes z = new Sizes(batch + 3, heads, dq, dv, schedule.capacity() + fx.random.nextInt(3));
        MlstmSpec spec = MlstmSessions.spec(kind);
        MlstmSlots state = pool(z);
        History[] histories = new History[z.slots()];
        Arrays.setAll(histories, slot -> new History());
        int layer = fx.random.nextInt(5);
        for (int step = 0; step < steps; step++) {
            int[] slots = MlstmSessions.distinct(fx, z.slots(), batch);
            int[] counts = new int[batch];
            for (int b = 0; b < batch; b++) {
                boolean fresh = histories[slots[b]].tokens.isEmpty();
                counts[b] = fresh ? 2 : fx.random.nextInt(10) == 0 ? fx.random.nextInt(L + 1) : L;
            }
            step(spec, schedule, layer, state, z, slots, counts, histories);
            if (fx.random.nextInt(150) == 0) {
                int slot = fx.random.nextInt(z.slots());
                check(kind, histories[slot], z);
                fx.ops.session().mlstmReset(fx.stream, state, slot);
                histories[slot] = new History();
            }
        }
        for (History h : histories) {
            check(kind, h, z);
        }
    }

    private void step(
            MlstmSpec spec,
            FoldSchedule schedule,
            int layer,
            MlstmSlots state,
            Sizes z,
            int[] slots,
            int[] counts,
            History[] histories) {
        step(spec, schedule, layer, state, z, slots, counts, histories, (part, width) -> fx.normal(width, 1));
    }

    private float[] step(
            MlstmSpec spec,
            FoldSchedule schedule,
            int layer,
            MlstmSlots state,
            Sizes z,
            int[] slots,
            int[] counts,
            History[] histories,
            Draw draw) {
        int b = slots.length;
        float[][] in = MlstmSessions.inputs(z, counts, draw);
        for (int row = 0; row < b; row++) {
            for (int t = L - counts[row]; t < L; t++) {
                float[][] token = new float[in.length][];
                for (int part = 0; part < in.length; part++) {
                    int width = in[part].length / (b * L);
                    token[part] = Arrays.copyOfRange(in[part], (row * L + t) * width, (row * L + t + 1) * width);
                }
                histories[slots[row]].tokens.add(token);
            }
        }
        float[] got = MlstmSessions.step(fx, spec, schedule, layer, state, z, slots, counts, in);
        int width = z.heads() * z.dimHv();
        for (int row = 0; row < b; row++) {
            for (int t = 0; t < L; t++) {
                float[] answer = Arrays.copyOfRange(got, (row * L + t) * width, (row * L + t + 1) * width);
                if (t >= L - counts[row]) {
                    histories[slots[row]].answers.add(answer);
                } else {
                    assertTrue(Float.isNaN(answer[0]), "a row beyond the count was written");
                }
            }
        }
        return got;
    }

    private static float[] nans(int n) {
        float[] a = new float[n];
        Arrays.fill(a, Float.NaN);
        return a;
    }

    private void check(String kind, History history, Sizes z) {
        int n = history.tokens.size();
        if (n == 0) {
            return;
        }
        MlstmSpec spec = MlstmSessions.spec(kind);
        float[] got = new float[n * z.heads() * z.dimHv()];
        for (int t = 0; t < n; t++) {
            System.arraycopy(history.answers.get(t), 0, got, t * z.heads() * z.dimHv(), z.heads() * z.dimHv());
        }
        ReferenceMlstm r = new ReferenceMlstm(
                1,
                n,
                z.heads(),
                z.dimQk(),
                z.dimHv(),
                spec.inputGate() == InputGate.EXPONENTIAL,
                spec.normalize(),
                spec.eps());
        r.q = Fixture.doubles(history.join(0));
        r.k = Fixture.doubles(history.join(1));
        r.v = Fixture.doubles(history.join(2));
        r.i = Fixture.doubles(history.join(3));
        r.f = Fixture.doubles(history.join(4));
        close("the fp64 step form", got, r.step().h);
        MlstmRun whole = new MlstmRun(
                fx,
                new MlstmDims(1, n, z.heads(), z.dimQk(), z.dimHv()),
                spec,
                history.join(0),
                history.join(1),
                history.join(2),
                history.join(3),
                history.join(4));
        whole.forward(false);
        close("MlstmOps.forward", got, Fixture.doubles(fx.read(whole.h)));
    }

    private void close(String what, float[] got, double[] want) {
        double e = Fixture.error(got, want);
        assertTrue(
                e <= 1e-4,
                "session against " + what + ": " + e + " after " + got.length + " values; rerun with -Dlram.seed="
                        + fx.seed);
    }

    /** Queries and keys are positive, so that no normaliser cancels to nothing. */
    @ParameterizedTest(name = "{0} DHQK={1} DHHV={2}")
    @CsvSource({"exp,16,24", "sig,20,16", "exp,7,5"})
    void gatesAtTheirLimitsAnswerLikeTheWholeSequence(String kind, int dq, int dv) {
        float[] gates = {-80, -30, 0, 30, 80};
        FoldSchedule schedule = new FoldSchedule(15, 9, 2);
        Sizes z = new Sizes(3, 2, dq, dv, schedule.capacity());
        MlstmSlots state = pool(z);
        History[] histories = {new History(), new History(), new History()};
        for (int step = 0; step < 40; step++) {
            step(
                    MlstmSessions.spec(kind),
                    schedule,
                    1,
                    state,
                    z,
                    new int[] {2, 0},
                    new int[] {3, 3},
                    histories,
                    (part, width) -> {
                        float[] token = fx.normal(width, 1);
                        for (int x = 0; x < width && part != 2; x++) {
                            token[x] = part > 2 ? gates[fx.random.nextInt(gates.length)] : 0.1f + Math.abs(token[x]);
                        }
                        return token;
                    });
        }
        check(kind, histories[0], z);
        check(kind, histories[2], z);
    }

    @ParameterizedTest(name = "DHQK={0} DHHV={1}")
    @CsvSource({"16,24", "64,40", "7,9"})
    void theOrderOfABatchChangesNoBit(int dq, int dv) {
        FoldSchedule schedule = new FoldSchedule(9, 6, 2);
        Sizes z = new Sizes(5, 3, dq, dv, schedule.capacity());
        MlstmSlots[] states = {pool(z), pool(z)};
        int[][] slots = {{0, 1, 2, 3, 4}, {3, 1, 4, 0, 2}};
        for (int step = 0; step < 12; step++) {
            float[][] answers = new float[2][];
            float[][][] tokens = new float[5][L * 5][];
            int[] counts = {3, step % 4, 3, 2, 3};
            for (int order = 0; order < 2; order++) {
                History[] histories = new History[5];
                Arrays.setAll(histories, slot -> new History());
                int[] ordered =
                        Arrays.stream(slots[order]).map(slot -> counts[slot]).toArray();
                int o = order;
                int[] drawn = {0};
                List<Integer> rows = new ArrayList<>();
                for (int row = 0; row < 5; row++) {
                    for (int t = L - ordered[row]; t < L; t++) {
                        rows.add(slots[o][row] * L + t);
                    }
                }
                answers[order] = step(
                        MlstmSpec.exponential(),
                        schedule,
                        0,
                        states[order],
                        z,
                        slots[order],
                        ordered,
                        histories,
                        (part, width) -> {
                            int at = rows.get(drawn[0]++ / 5);
                            if (o == 0) {
                                tokens[part][at] = fx.normal(width, 1);
                            }
                            return tokens[part][at];
                        });
            }
            int row = answers[0].length / 5;
            for (int b = 0; b < 5; b++) {
                int slot = slots[1][b];
                assertArrayEquals(
                        Arrays.copyOfRange(answers[0], slot * row, (slot + 1) * row),
                        Arrays.copyOfRange(answers[1], b * row, (b + 1) * row),
                        "step " + step + ", slot " + slot + "; rerun with -Dlram.seed=" + fx.seed);
            }
        }
        assertArrayEquals(fx.read(states[0].matC()), fx.read(states[1].matC()));
        assertArrayEquals(fx.read(states[0].vecN()), fx.read(states[1].vecN()));
    }

    /** When a head folds may follow from anything but where its session is, and is never later than the schedule says. */
    @ParameterizedTest(name = "batch={0} NH={1} DHQK={2} DHHV={3}")
    @CsvSource({"12,2,16,24", "5,3,7,33", "1,2,64,64"})
    void aSessionFoldsAndAnswersAlikeInEverySlot(int batch, int heads, int dq, int dv) {
        FoldSchedule schedule = new FoldSchedule(30, 12, 6);
        Sizes z = new Sizes(batch + 4, heads, dq, dv, schedule.capacity());
        MlstmSpec spec = MlstmSpec.exponential();
        MlstmSlots[] states = {pool(z), pool(z)};
        int[][] slots = {MlstmSessions.distinct(fx, z.slots(), batch), MlstmSessions.distinct(fx, z.slots(), batch)};
        int[] counts = new int[batch];
        Arrays.fill(counts, L);
        int layer = fx.random.nextInt(5);
        for (int step = 0; step < 20; step++) {
            float[][] in = MlstmSessions.inputs(z, counts, (part, width) -> fx.normal(width, 1));
            float[] first = MlstmSessions.step(fx, spec, schedule, layer, states[0], z, slots[0], counts, in);
            float[] second = MlstmSessions.step(fx, spec, schedule, layer, states[1], z, slots[1], counts, in);
            assertArrayEquals(first, second, "step " + step + ", seed " + fx.seed);
            int[][] folded = {fx.readInts(states[0].folded()), fx.readInts(states[1].folded())};
            for (int row = 0; row < batch; row++) {
                for (int head = 0; head < heads; head++) {
                    int was = folded[0][slots[0][row] * heads + head];
                    assertEquals(was, folded[1][slots[1][row] * heads + head], "step " + step);
                    boolean late = L * (step + 1) > schedule.first();
                    assertTrue(was != 0 || !late, "step " + step + ", head " + head);
                }
            }
        }
    }

    @Test
    void nanStaysInItsSession() {
        Sizes z = new Sizes(3, 2, 8, 8, 12);
        FoldSchedule schedule = new FoldSchedule(6, 6, 1);
        MlstmSlots state = pool(z);
        History[] histories = {new History(), new History(), new History()};
        for (int step = 0; step < 6; step++) {
            int n = z.heads() * z.dimQk();
            float[] q = fx.normal(3 * L * n, 1);
            float[] k = fx.normal(3 * L * n, 1);
            if (step == 2) {
                k[L * n + 2] = Float.NaN;
            }
            Tensor h = fx.poisoned(3, L, 2, 8);
            fx.ops
                    .session()
                    .mlstmStep(
                            fx.stream,
                            MlstmSpec.exponential(),
                            schedule,
                            0,
                            state,
                            fx.ofInts(new int[] {2, 1, 0}, 3),
                            fx.ofInts(new int[] {3, 3, 3}, 3),
                            fx.of(q, 3, L, 2, 8),
                            fx.of(k, 3, L, 2, 8),
                            fx.of(fx.normal(3 * L * n, 1), 3, L, 2, 8),
                            fx.of(fx.normal(3 * L * 2, 1), 3, L, 2),
                            fx.of(fx.normal(3 * L * 2, 1), 3, L, 2),
                            h);
            float[] got = fx.read(h);
            boolean seen = false;
            for (int x = 0; x < got.length; x++) {
                if (x / (L * n) == 1) {
                    seen |= Float.isNaN(got[x]);
                } else {
                    assertTrue(Float.isFinite(got[x]), "step " + step);
                }
            }
            assertEquals(step >= 2, seen, "NaN of step 2 seen at step " + step);
        }
        fx.ops.session().mlstmReset(fx.stream, state, 1);
        step(MlstmSpec.exponential(), schedule, 0, state, z, new int[] {1}, new int[] {2}, histories);
        check("exp", histories[1], z);
    }

    @Test
    void impossibleCallsAreRefusedAndChangeNothing() {
        Sizes z = new Sizes(2, 1, 4, 4, 6);
        MlstmSlots state = pool(z);
        FoldSchedule schedule = new FoldSchedule(6, 6, 1);
        Tensor qk = fx.of(fx.normal(2 * L * 4, 1), 2, L, 1, 4);
        Tensor g = fx.of(fx.normal(2 * L, 1), 2, L, 1);
        Tensor h = fx.poisoned(2, L, 1, 4);
        int[][] bad = {{0, 0, 3, 3}, {0, 2, 3, 3}, {0, 1, 3, 4}, {-1, 1, 3, 3}, {0, 1, -1, 3}};
        for (int[] c : bad) {
            assertRefused(
                    () -> fx.ops
                            .session()
                            .mlstmStep(
                                    fx.stream,
                                    MlstmSpec.exponential(),
                                    schedule,
                                    0,
                                    state,
                                    fx.ofInts(new int[] {c[0], c[1]}, 2),
                                    fx.ofInts(new int[] {c[2], c[3]}, 2),
                                    qk,
                                    qk,
                                    qk,
                                    g,
                                    g,
                                    h),
                    h,
                    state.ringK(),
                    state.matC());
        }
        assertRefused(
                () -> fx.ops
                        .session()
                        .mlstmStep(
                                fx.stream,
                                MlstmSpec.exponential(),
                                new FoldSchedule(7, 6, 1),
                                0,
                                state,
                                fx.ofInts(new int[] {0, 1}, 2),
                                fx.ofInts(new int[] {3, 3}, 2),
                                qk,
                                qk,
                                qk,
                                g,
                                g,
                                h),
                h,
                state.ringK(),
                state.matC());
        assertRefused(() -> fx.ops.session().mlstmReset(fx.stream, state, 2), state.matC());
    }

    @ParameterizedTest(name = "C={0} K={1} bias={2}")
    @CsvSource({"16,4,true", "33,4,false", "70,4,true", "20,3,true", "5,1,false", "64,2,true"})
    void convolutionStepsEqualTheSequence(int channels, int taps, boolean withBias) {
        int sessions = 4;
        Tensor w = fx.of(fx.normal(channels * taps, 1), channels, taps);
        Tensor bias = withBias ? fx.of(fx.normal(channels, 1), channels) : null;
        Tensor history = fx.zeros(sessions, taps - 1, channels);
        List<List<float[]>> inputs = new ArrayList<>();
        List<List<float[]>> outputs = new ArrayList<>();
        for (int s = 0; s < sessions; s++) {
            inputs.add(new ArrayList<>());
            outputs.add(new ArrayList<>());
        }
        for (int step = 0; step < 12; step++) {
            int[] slots = MlstmSessions.distinct(fx, sessions, 3);
            int[] counts = {fx.random.nextInt(4), 3, 2};
            float[] x = nans(3 * L * channels);
            for (int b = 0; b < 3; b++) {
                for (int t = L - counts[b]; t < L; t++) {
                    float[] token = fx.normal(channels, 1);
                    System.arraycopy(token, 0, x, (b * L + t) * channels, channels);
                    inputs.get(slots[b]).add(token);
                }
            }
            Tensor y = fx.poisoned(3, L, channels);
            fx.ops
                    .session()
                    .causalConv1dStep(
                            fx.stream,
                            fx.ofInts(slots, 3),
                            fx.ofInts(counts, 3),
                            fx.of(x, 3, L, channels),
                            w,
                            bias,
                            history,
                            y);
            float[] got = fx.read(y);
            for (int b = 0; b < 3; b++) {
                for (int t = L - counts[b]; t < L; t++) {
                    outputs.get(slots[b])
                            .add(Arrays.copyOfRange(got, (b * L + t) * channels, (b * L + t + 1) * channels));
                }
            }
        }
        float[] fw = fx.read(w);
        float[] fb = bias == null ? new float[channels] : fx.read(bias);
        for (int s = 0; s < sessions; s++) {
            int n = inputs.get(s).size();
            double[] want = new double[n * channels];
            float[] got = new float[n * channels];
            for (int t = 0; t < n; t++) {
                for (int c = 0; c < channels; c++) {
                    want[t * channels + c] = fb[c];
                    got[t * channels + c] = outputs.get(s).get(t)[c];
                    for (int j = 0; j < taps; j++) {
                        int u = t + j - taps + 1;
                        want[t * channels + c] += u < 0
                                ? 0
                                : (double) fw[c * taps + j] * inputs.get(s).get(u)[c];
                    }
                }
            }
            assertTrue(
                    n == 0 || Fixture.error(got, want) <= TOLERANCE,
                    "session " + s + "; rerun with -Dlram.seed=" + fx.seed);
        }
    }

    @ParameterizedTest(name = "NH={0} DH={1}")
    @CsvSource({"1,1", "2,5", "4,16", "2,40", "2,64"})
    void slstmStepsEqualTheSequence(int heads, int dh) {
        int width = heads * dh;
        int sessions = 3;
        Tensor r = fx.of(fx.normal(width * 4 * dh, 0.5 / Math.sqrt(dh)), heads, dh, 4, dh);
        Tensor bias = fx.of(fx.normal(4 * width, 0.5), 4, width);
        Tensor state = fx.zeros(sessions, 4, width);
        List<List<float[][]>> inputs = new ArrayList<>();
        List<List<float[]>> outputs = new ArrayList<>();
        for (int s = 0; s < sessions; s++) {
            inputs.add(new ArrayList<>());
            outputs.add(new ArrayList<>());
        }
        for (int step = 0; step < 30; step++) {
            int[] slots = MlstmSessions.distinct(fx, sessions, 2);
            int[] counts = {fx.random.nextInt(4), 3};
            float[][] x = {nans(2 * L * width), nans(2 * L * width), nans(2 * L * width), nans(2 * L * width)};
            for (int b = 0; b < 2; b++) {
                for (int t = L - counts[b]; t < L; t++) {
                    float[][] token = new float[4][];
                    for (int g = 0; g < 4; g++) {
                        token[g] = fx.normal(width, 1);
                        System.arraycopy(token[g], 0, x[g], (b * L + t) * width, width);
                    }
                    inputs.get(slots[b]).add(token);
                }
            }
            Tensor y = fx.poisoned(2, L, width);
            fx.ops
                    .session()
                    .slstmStep(
                            fx.stream,
                            heads,
                            fx.ofInts(slots, 2),
                            fx.ofInts(counts, 2),
                            fx.of(x[0], 2, L, width),
                            fx.of(x[1], 2, L, width),
                            fx.of(x[2], 2, L, width),
                            fx.of(x[3], 2, L, width),
                            r,
                            bias,
                            state,
                            y);
            float[] got = fx.read(y);
            for (int b = 0; b < 2; b++) {
                for (int t = L - counts[b]; t < L; t++) {
                    outputs.get(slots[b]).add(Arrays.copyOfRange(got, (b * L + t) * width, (b * L + t + 1) * width));
                }
            }
        }
        for (int s = 0; s < sessions; s++) {
            int n = inputs.get(s).size();
            ReferenceSlstm ref = new ReferenceSlstm(1, n, heads, dh);
            ref.x = new double[4][n * width];
            float[] got = new float[n * width];
            for (int t = 0; t < n; t++) {
                for (int u = 0; u < width; u++) {
                    got[t * width + u] = outputs.get(s).get(t)[u];
                    for (int g = 0; g < 4; g++) {
                        ref.x[g][t * width + u] = inputs.get(s).get(t)[g][u];
                    }
                }
            }
            ref.r = Fixture.doubles(fx.read(r));
            ref.bias = Fixture.doubles(fx.read(bias));
            assertTrue(
                    Fixture.error(got, ref.forward().y) <= 2e-6,
                    "session " + s + "; rerun with -Dlram.seed=" + fx.seed);
            float[] last = new float[4 * width];
            System.arraycopy(fx.read(state), s * 4 * width, last, 0, 4 * width);
            assertTrue(Fixture.error(last, ref.last) <= 2e-6, "state " + s + "; rerun with -Dlram.seed=" + fx.seed);
        }
    }

    @Test
    void resetEmptiesOneSlotOnly() {
        Sizes z = new Sizes(2, 1, 4, 4, 6);
        MlstmSlots state = pool(z);
        FoldSchedule schedule = new FoldSchedule(3, 3, 1);
        History[] histories = {new History(), new History()};
        for (int n = 0; n < 5; n++) {
            step(MlstmSpec.exponential(), schedule, 0, state, z, new int[] {0, 1}, new int[] {3, 3}, histories);
        }
        float[] c = fx.read(state.matC());
        int held = fx.readInts(state.ringLength())[1];
        fx.ops.session().mlstmReset(fx.stream, state, 0);
        float[] after = fx.read(state.matC());
        assertArrayEquals(new float[16], Arrays.copyOf(after, 16));
        assertArrayEquals(Arrays.copyOfRange(c, 16, 32), Arrays.copyOfRange(after, 16, 32));
        assertArrayEquals(new int[] {0, held}, fx.readInts(state.ringLength()));
        assertArrayEquals(new int[] {0, 1}, fx.readInts(state.folded()));
    }
}
