package ai.lram.backend.contract;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.DType;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import ai.lram.backend.contract.MlstmSessions.Draw;
import ai.lram.backend.contract.MlstmSessions.Sizes;
import ai.lram.backend.ops.FoldSchedule;
import ai.lram.backend.ops.MlstmSlots;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.MlstmSpec.InputGate;
import ai.lram.backend.reference.ReferenceMlstm;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * A control step whose matrix state, keys and values are bf16. The reference folds when the engine does, which the schedule bounds, in fp64, and rounds; where a sum lies
 * between two bf16 numbers so closely that an engine cannot tell, its choice of these two is taken over. What it keeps is of rounded keys and values,
 * what a step answers of those that this step brings. So answers are held to fp32's limit, and rings to the last bit.
 */
public abstract class NarrowStateContract extends KernelContract {
    private static final int L = MlstmSessions.L;

    /** Of the largest answer of a session. */
    private static final double ANSWERS = 5e-5;

    /** What a fold may lose of all that is added up: less than a hundredth of what rounding takes. */
    private static final double FOLDS = 0x1p-16;

    /** The same of the normaliser, in fp32. */
    private static final double NORMALISERS = 1e-6;

    /** Of a head, in fp64. */
    private static class State {
        double[] c;
        double[] n;
        double[] m;

        State(double[] c, double[] n, double[] m) {
            this.c = c;
            this.n = n;
            this.m = m;
        }

        /** The reference of one more token, from the state here, which stays as it is. */
        final ReferenceMlstm next(MlstmSpec spec, float[] q, float[] k, float[] v, float i, float f) {
            ReferenceMlstm r = new ReferenceMlstm(
                    1,
                    1,
                    1,
                    k.length,
                    v.length,
                    spec.inputGate() == InputGate.EXPONENTIAL,
                    spec.normalize(),
                    spec.eps());
            r.q = Fixture.doubles(q);
            r.k = Fixture.doubles(k);
            r.v = Fixture.doubles(v);
            r.i = new double[] {i};
            r.f = new double[] {f};
            r.c0 = c;
            r.n0 = n;
            r.m0 = m;
            r.step();
            return r;
        }

        final void become(ReferenceMlstm r) {
            c = r.c;
            n = r.n;
            m = r.m;
        }
    }

    /** A head of a session: the state as of its last token, of keys and values as the ring has them, and what the engine must hold of it. */
    private static final class Head extends State {
        final float[] keys;
        final float[] values;
        double addedC; // magnitudes of what went into c, at most
        double addedN;
        int held;
        boolean folded;

        Head(Sizes z) {
            super(new double[z.dimQk() * z.dimHv()], new double[z.dimQk()], new double[] {0});
            keys = new float[z.ring() * z.dimQk()];
            values = new float[z.ring() * z.dimHv()];
        }

        /** Goes on by a token as the ring has it. */
        void keep(MlstmSpec spec, float[] k, float[] v, float i, float f) {
            System.arraycopy(k, 0, keys, held * k.length, k.length);
            System.arraycopy(v, 0, values, held * v.length, v.length);
            held++;
            ReferenceMlstm r = next(spec, k, k, v, i, f);
            double forget = ReferenceMlstm.logSigmoid(r.f[0]);
            double input = r.exponential ? r.i[0] : ReferenceMlstm.logSigmoid(r.i[0]);
            double stays = Math.exp(forget + m[0] - r.m[0]);
            double key = Math.exp(input - r.m[0]) * Fixture.largest(r.k);
            addedC = stays * addedC + key * Fixture.largest(r.v);
            addedN = stays * addedN + key;
            become(r);
        }
    }

    /** Sessions on the engine beside their references. */
    private final class Sessions {
        final MlstmSpec spec;
        final FoldSchedule schedule;
        final int layer;
        final Sizes z;
        final MlstmSlots state;
        final Head[][] heads;
        final float[] stored; // C as the folds left it
        double worst;
        double[] largest;

        Sessions(String kind, FoldSchedule schedule, int layer, Sizes z) {
            spec = MlstmSessions.spec(kind);
            this.schedule = schedule;
            this.layer = layer;
            this.z = z;
            state = MlstmSessions.pool(fx, DType.BF16, z);
            heads = new Head[z.slots()][z.heads()];
            stored = new float[z.slots() * z.heads() * z.dimQk() * z.dimHv()];
            largest = new double[z.slots()];
            for (int slot = 0; slot < z.slots(); slot++) {
                reset(slot);
            }
        }

        final void reset(int slot) {
            fx.ops.session().mlstmReset(fx.stream, state, slot);
            Arrays.setAll(heads[slot], h -> new Head(z));
            int size = stored.length / z.slots();
            Arrays.fill(stored, slot * size, (slot + 1) * size, 0);
            largest[slot] = 0;
        }

        private float[] step(int[] slots, int[] counts, Draw draw) {
            int b = slots.length;
            float[][] in = MlstmSessions.inputs(z, counts, draw);
            float[] got = MlstmSessions.step(fx, spec, schedule, layer, state, z, slots, counts, in);
            float[] c = fx.read(state.matC());
            float[] n = fx.read(state.vecN());
            float[] m = fx.read(state.scaM());
            float[] keys = fx.read(state.ringK());
            float[] values = fx.read(state.ringV());
            int[] lengths = fx.readInts(state.ringLength());
            for (int row = 0; row < b; row++) {
                for (int head = 0; head < z.heads(); head++) {
                    Head reference = heads[slots[row]][head];
                    int cell = slots[row] * z.heads() + head;
                    if (folds(reference, cell, counts[row], lengths[cell])) {
                        fold(reference, cell, c, n, m);
                    }
                    State answering = new State(reference.c, reference.n, reference.m);
                    for (int t = L - counts[row]; t < L; t++) {
                        compare(reference, answering, slots[row], ((row * L) + t) * z.heads() + head, in, got);
                    }
                    assertEquals(reference.held, lengths[cell], "ring");
                }
            }
            assertArrayEquals(stored, c, "C between folds; rerun with -Dlram.seed=" + fx.seed);
            for (int cell = 0; cell < lengths.length; cell++) {
                Head reference = heads[cell / z.heads()][cell % z.heads()];
                assertRing("keys", reference.keys, keys, z.dimQk(), cell, reference.held);
                assertRing("values", reference.values, values, z.dimHv(), cell, reference.held);
            }
            return got;
        }

        private void assertRing(String what, float[] want, float[] all, int width, int cell, int held) {
            int from = cell * z.ring() * width;
            assertArrayEquals(
                    Arrays.copyOf(want, held * width),
                    Arrays.copyOfRange(all, from, from + held * width),
                    what + " in the ring of cell " + cell + "; rerun with -Dlram.seed=" + fx.seed);
        }

        /** Whether the engine folded before the new tokens: when the schedule says so, for the first time in any of its phases. */
        private boolean folds(Head r, int cell, int count, int length) {
            if (count == 0 || r.held == 0) {
                return false;
            }
            int latest = r.folded ? schedule.period() : schedule.first();
            int soonest = r.folded ? latest : Math.max(L, latest - L * (schedule.stagger() - 1));
            boolean folds = length != r.held + count;
            int now = r.held + count;
            assertTrue(folds || now <= latest, () -> "cell " + cell + " holds " + now + " tokens of " + latest);
            assertTrue(!folds || now > soonest, () -> "cell " + cell + " folds " + now + " tokens of " + soonest);
            return folds;
        }

        /** The engine's state must be the reference's, rounded; it is taken over. */
        private void fold(Head r, int cell, float[] c, float[] n, float[] m) {
            double off = Math.abs(m[cell] - r.m[0]) / Math.max(1, Math.abs(r.m[0]));
            assertTrue(off < 1e-6, "stabiliser " + m[cell] + " for " + r.m[0]);
            double scale = Math.exp(r.m[0] - m[cell]);
            double lost = FOLDS * scale * r.addedC;
            for (int i = 0; i < r.c.length; i++) {
                int at = cell * r.c.length + i;
                double want = scale * r.c[i];
                double half = want == 0 ? 0 : Math.scalb(1.0, Math.getExponent(want) - 8);
                assertTrue(
                        Math.abs(c[at] - want) <= half + lost,
                        () -> "fold of cell " + cell + ": " + c[at] + " for " + want + ", half a unit is " + half
                                + "; rerun with -Dlram.seed=" + fx.seed);
                r.c[i] = c[at];
                stored[at] = c[at];
            }
            lost = NORMALISERS * scale * r.addedN;
            for (int d = 0; d < r.n.length; d++) {
                int at = cell * r.n.length + d;
                assertTrue(Math.abs(n[at] - scale * r.n[d]) <= lost, "normaliser " + n[at] + " for " + scale * r.n[d]);
                r.n[d] = n[at];
            }
            r.m[0] = m[cell];
            r.addedC = Fixture.largest(r.c);
            r.addedN = Fixture.largest(r.n);
            r.held = 0;
            r.folded = true;
        }

        /** One token, at {@code x} of (B, L, NH): what it answers as it comes, and what of it is kept. */
        private void compare(Head reference, State answering, int slot, int x, float[][] in, float[] got) {
            float[] q = Arrays.copyOfRange(in[0], x * z.dimQk(), (x + 1) * z.dimQk());
            float[] k = Arrays.copyOfRange(in[1], x * z.dimQk(), (x + 1) * z.dimQk());
            float[] v = Arrays.copyOfRange(in[2], x * z.dimHv(), (x + 1) * z.dimHv());
            ReferenceMlstm r = answering.next(spec, q, k, v, in[3][x], in[4][x]);
            answering.become(r);
            reference.keep(spec, Fixture.rounded(k), Fixture.rounded(v), in[3][x], in[4][x]);
            largest[slot] = Math.max(largest[slot], Fixture.largest(r.h));
            for (int e = 0; e < z.dimHv(); e++) {
                float answer = got[x * z.dimHv() + e];
                double error = Math.abs(answer - r.h[e]) / largest[slot];
                assertTrue(
                        r.h[e] == answer || error <= ANSWERS,
                        () -> "answer " + answer + " for the reference's: off by " + error
                                + " of the session's largest so far; rerun with -Dlram.seed=" + fx.seed);
                worst = Math.max(worst, r.h[e] == answer ? 0 : error);
            }
        }
    }

    @ParameterizedTest(name = "{0} batch={1} NH={2} DHQK={3} DHHV={4} first={5} period={6} stagger={7} steps={8}")
    @CsvSource({
        "exp,1,2,16,16,3,3,1,1000", "exp,3,2,16,24,20,7,2,150", "exp,64,1,8,12,12,9,3,20", "exp,3,2,7,33,12,12,4,60",
        "exp,1,1,32,32,60,39,1,150", "sig,3,2,16,16,10,6,2,80", "raw,1,2,20,16,9,5,3,80", "exp,2,2,1,1,5,4,1,40",
        "exp,1,1,64,160,60,30,1,50", "raw,9,4,40,128,21,18,4,16", "exp,1,1,256,256,21,15,1,14",
                "sig,2,1,520,20,12,9,1,10",
        "raw,1,1,268,8,30,15,2,16", "exp,66,4,8,256,42,36,1,18", "exp,60,2,24,8,9,6,2,8"
    })
    void foldsRoundOnceAndAnswersAreThoseOfTheRoundedState(
            String kind, int batch, int heads, int dq, int dv, int first, int period, int stagger, int steps) {
        FoldSchedule schedule = new FoldSchedule(first, period, stagger);
        Sizes z = new Sizes(batch + 2, heads, dq, dv, schedule.capacity() + fx.random.nextInt(3));
        Sessions s = new Sessions(kind, schedule, fx.random.nextInt(5), z);
        boolean[] begun = new boolean[z.slots()];
        for (int step = 0; step < steps; step++) {
            int[] slots = MlstmSessions.distinct(fx, z.slots(), batch);
            int[] counts = new int[batch];
            for (int b = 0; b < batch; b++) {
                boolean fresh = !begun[slots[b]];
                counts[b] = fresh ? 2 : fx.random.nextInt(10) == 0 ? fx.random.nextInt(L + 1) : L;
                begun[slots[b]] = true;
            }
            s.step(slots, counts, (part, width) -> fx.normal(width, 1));
            if (fx.random.nextInt(150) == 0) {
                int slot = fx.random.nextInt(z.slots());
                s.reset(slot);
                begun[slot] = false;
            }
        }
        System.out.printf("bf16 state, %s %dx%d: %.1e of the largest answer%n", kind, dq, dv, s.worst);
    }

    /** Queries and keys are positive, so that no normaliser cancels to nothing. */
    @ParameterizedTest(name = "{0} DHQK={1} DHHV={2} gates to {3}")
    @CsvSource({"exp,16,24,30", "sig,20,16,30", "exp,7,5,30", "exp,16,24,80"})
    void gatesAtTheirLimitsFoldAndAnswerAlike(String kind, int dq, int dv, float most) {
        float[] gates = {-most, -30, 0, 30, most};
        FoldSchedule schedule = new FoldSchedule(15, 9, 2);
        Sessions s = new Sessions(kind, schedule, 1, new Sizes(3, 2, dq, dv, schedule.capacity()));
        for (int step = 0; step < 40; step++) {
            s.step(new int[] {2, 0}, new int[] {3, 3}, (part, width) -> {
                float[] token = fx.normal(width, 1);
                for (int x = 0; x < width && part != 2; x++) {
                    token[x] = part > 2 ? gates[fx.random.nextInt(gates.length)] : 0.1f + Math.abs(token[x]);
                }
                return token;
            });
        }
        System.out.printf("bf16 state, %s gates to %.0f: %.1e of the largest answer%n", kind, most, s.worst);
    }

    @ParameterizedTest(name = "DHQK={0} DHHV={1}")
    @CsvSource({"16,24", "64,40", "7,9"})
    void theOrderOfABatchChangesNoBit(int dq, int dv) {
        FoldSchedule schedule = new FoldSchedule(9, 6, 2);
        Sizes z = new Sizes(5, 3, dq, dv, schedule.capacity());
        Sessions[] both = {new Sessions("exp", schedule, 0, z), new Sessions("exp", schedule, 0, z)};
        int[][] order = {{0, 1, 2, 3, 4}, {3, 1, 4, 0, 2}};
        for (int step = 0; step < 10; step++) {
            int[] counts = {3, step % 4, 3, 2, 3}; // by slot
            float[][][] tokens = new float[5][5 * L][];
            float[][] answers = new float[2][];
            for (int o = 0; o < 2; o++) {
                int[] slots = order[o];
                List<Integer> drawn = new ArrayList<>();
                for (int slot : slots) {
                    for (int t = L - counts[slot]; t < L; t++) {
                        drawn.add(slot * L + t);
                    }
                }
                int[] at = {0};
                answers[o] = both[o].step(
                        slots, Arrays.stream(slots).map(s -> counts[s]).toArray(), (part, width) -> {
                            int token = drawn.get(at[0]++ / 5);
                            if (tokens[part][token] == null) {
                                tokens[part][token] = fx.normal(width, 1);
                            }
                            return tokens[part][token];
                        });
            }
            int row = answers[0].length / 5;
            for (int b = 0; b < 5; b++) {
                int slot = order[1][b];
                assertArrayEquals(
                        Arrays.copyOfRange(answers[0], slot * row, (slot + 1) * row),
                        Arrays.copyOfRange(answers[1], b * row, (b + 1) * row),
                        "step " + step + ", slot " + slot + "; rerun with -Dlram.seed=" + fx.seed);
            }
        }
        assertArrayEquals(both[0].stored, both[1].stored);
    }

    @Test
    void resetEmptiesOneSlotOnly() {
        Sizes z = new Sizes(2, 1, 4, 4, 6);
        Sessions s = new Sessions("exp", new FoldSchedule(3, 3, 1), 0, z);
        for (int n = 0; n < 4; n++) {
            s.step(new int[] {0, 1}, new int[] {3, 3}, (part, width) -> fx.normal(width, 1));
        }
        List<Tensor> parts = List.of(s.state.matC(), s.state.ringK(), s.state.ringV());
        List<float[]> before = parts.stream().map(fx::read).toList();
        s.reset(0);
        for (int part = 0; part < parts.size(); part++) {
            float[] was = before.get(part);
            float[] after = fx.read(parts.get(part));
            int half = was.length / 2;
            assertTrue(was[0] != 0 && was[half] != 0, "both have folded, and hold tokens");
            assertArrayEquals(new float[half], Arrays.copyOf(after, half));
            assertArrayEquals(Arrays.copyOfRange(was, half, 2 * half), Arrays.copyOfRange(after, half, 2 * half));
        }
        s.step(new int[] {1, 0}, new int[] {3, 2}, (part, width) -> fx.normal(width, 1));
    }

    @Test
    void aStateOfAnotherTypeIsRefused() {
        MlstmSlots good = MlstmSessions.pool(fx, DType.BF16, new Sizes(1, 1, 4, 4, 6));
        refuse(good, fx.ofInts(new int[16], 1, 1, 4, 4), good.ringK(), good.ringV());
    }

    /** One of matrix state, keys and values is of another type than the other two. */
    @ParameterizedTest(name = "matC={0} ringK={1} ringV={2}")
    @CsvSource({"BF16,F32,F32", "F32,BF16,BF16", "BF16,F32,BF16", "BF16,BF16,F32", "F32,F32,BF16", "F32,BF16,F32"})
    void aRingOfAnotherTypeThanTheMatrixStateIsRefused(DType matrix, DType keys, DType values) {
        MlstmSlots good = MlstmSessions.pool(fx, DType.BF16, new Sizes(1, 1, 4, 4, 6));
        MlstmSlots mixed = refuse(
                good, fx.poisoned(matrix, 1, 1, 4, 4), fx.poisoned(keys, 1, 1, 6, 4), fx.poisoned(values, 1, 1, 6, 4));
        String message = assertThrows(
                        ShapeMismatchException.class, () -> fx.ops.session().mlstmReset(fx.stream, mixed, 0))
                .getMessage();
        assertTrue(message.contains("matC is " + matrix) && message.contains("all in F32, or all in BF16"), message);
        assertTrue(Float.isNaN(fx.read(mixed.matC())[0]));
    }

    /** With these parts in place of the good ones. @return the state that was refused */
    private MlstmSlots refuse(MlstmSlots good, Tensor matrix, Tensor keys, Tensor values) {
        MlstmSlots bad = new MlstmSlots(
                matrix,
                good.vecN(),
                good.scaM(),
                keys,
                values,
                good.ringI(),
                good.ringF(),
                good.ringLength(),
                good.folded());
        Tensor qkv = fx.of(fx.normal(L * 4, 1), 1, L, 1, 4);
        Tensor gates = fx.of(fx.normal(L, 1), 1, L, 1);
        Tensor h = fx.poisoned(1, L, 1, 4);
        assertRefused(
                () -> fx.ops
                        .session()
                        .mlstmStep(
                                fx.stream,
                                MlstmSpec.exponential(),
                                new FoldSchedule(6, 6, 1),
                                0,
                                bad,
                                fx.ofInts(new int[1], 1),
                                fx.ofInts(new int[] {3}, 1),
                                qkv,
                                qkv,
                                qkv,
                                gates,
                                gates,
                                h),
                h,
                keys,
                values);
        return bad;
    }
}
