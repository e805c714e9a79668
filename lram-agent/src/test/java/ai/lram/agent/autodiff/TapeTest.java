package ai.lram.agent.autodiff;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.testing.Allocations;
import ai.lram.agent.testing.TrainConfigs;
import ai.lram.agent.xlstm.CarriedState;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.agent.xlstm.XlstmStack;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.Activation;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.MlstmState;
import ai.lram.backend.ops.NormSpec;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class TapeTest {
    /** Central differences of fp32 kernels: rounding 1e-7 over a step of 0.02, against the largest gradient of the tensor. */
    private static final double TOLERANCE = 2e-3;

    private static final double H = 0.02;
    private static final int MOST_ELEMENTS = 150;

    private static Backend backend;

    @BeforeAll
    static void open() {
        backend = Backends.open("cpu", BackendOptions.threads(1));
    }

    @AfterAll
    static void close() {
        backend.close();
    }

    @FunctionalInterface
    private interface Recording {
        Value record(Tape tape, Value[] x, Parameter[] p);
    }

    /** Values for tensor {@code which} (inputs first, then parameters). */
    @FunctionalInterface
    private interface Filling {
        float at(int which, int element, Random random);
    }

    private static final Filling NORMAL = (which, i, r) -> (float) r.nextGaussian();

    /** Distinct multiples of 0.25 in random order, 0.125 away from zero: no kink or tie within a difference step. */
    private static Filling spread(int n) {
        List<Integer> order = new ArrayList<>();
        for (int i = 0; i < n; i++) {
            order.add(i - n / 2);
        }
        java.util.Collections.shuffle(order, new Random(3));
        return (which, i, r) -> which == 0 ? 0.25f * order.get(i) + 0.125f : (float) r.nextGaussian();
    }

    private static int[] shape(int... s) {
        return s;
    }

    private static void check(int[][] inputs, int[][] parameters, Recording recording) {
        check(NORMAL, inputs, parameters, recording, () -> {});
    }

    /** Compares every gradient of sum(w * y), w random, with fourth-order central differences of the replayed forward pass. */
    private static void check(
            Filling fill, int[][] inputs, int[][] parameters, Recording recording, Runnable beforeReplay) {
        Random random = new Random(11);
        try (ParameterSet set = new ParameterSet()) {
            Parameter[] p = new Parameter[parameters.length];
            for (int i = 0; i < p.length; i++) {
                p[i] = set.add("p" + i, false, Init.zeros(), parameters[i]);
            }
            set.add("spare", false, Init.zeros(), 1);
            set.allocate(backend, true);
            Tape plain = new Tape(backend, false);
            Value[] x = inputs(plain, inputs);
            Value y = plain.keep(recording.record(plain, x, p));
            Tape tape = new Tape(backend, true);
            Value[] dx = inputs(tape, inputs);
            Value z = tape.keep(recording.record(tape, dx, p));
            Value dz = tape.input("dy", DType.F32, z.shape());
            tape.backward(z, dz);
            Value[] grads = new Value[dx.length];
            for (int i = 0; i < dx.length; i++) {
                grads[i] = tape.keep(tape.gradient(dx[i]));
            }
            try (Plan forward = plain.plan("forward");
                    Plan both = tape.plan("both")) {
                float[] w = new float[Math.toIntExact(z.size())];
                for (int i = 0; i < w.length; i++) {
                    w[i] = (float) random.nextGaussian();
                }
                dz.tensor().copyFrom(w);
                List<Tensor> knobs = new ArrayList<>();
                for (Value v : x) {
                    knobs.add(v.tensor());
                }
                for (Parameter q : p) {
                    knobs.add(q.value());
                }
                for (int k = 0; k < knobs.size(); k++) {
                    for (int i = 0; i < knobs.get(k).size(); i++) {
                        knobs.get(k).set(i, fill.at(k, i, random));
                    }
                }
                for (int i = 0; i < x.length; i++) {
                    dx[i].tensor().copyFrom(x[i].tensor().toFloatArray());
                }
                beforeReplay.run();
                both.run();
                beforeReplay.run();
                forward.run();
                assertEquals(
                        Arrays.toString(y.tensor().toFloatArray()),
                        Arrays.toString(z.tensor().toFloatArray()),
                        "the differentiating tape computes the same values");
                for (int k = 0; k < knobs.size(); k++) {
                    Tensor gradient = k < x.length ? grads[k].tensor() : p[k - x.length].grad();
                    agree("tensor " + k, knobs.get(k), gradient.toFloatArray(), random, () -> {
                        beforeReplay.run();
                        forward.run();
                        double loss = 0;
                        for (int i = 0; i < w.length; i++) {
                            loss += (double) w[i] * y.tensor().get(i);
                        }
                        return loss;
                    });
                }
            }
        }
    }

    private static Value[] inputs(Tape tape, int[][] shapes) {
        Value[] x = new Value[shapes.length];
        for (int i = 0; i < x.length; i++) {
            x[i] = tape.differentiableInput("x" + i, shapes[i]);
        }
        return x;
    }

    private static void agree(
            String name, Tensor knob, float[] gradient, Random random, java.util.function.DoubleSupplier loss) {
        int n = gradient.length;
        double largest = 0;
        for (float g : gradient) {
            largest = Math.max(largest, Math.abs(g));
        }
        assertTrue(largest > 0, name + " has a gradient");
        for (int j = 0; j < Math.min(n, MOST_ELEMENTS); j++) {
            int i = n <= MOST_ELEMENTS ? j : random.nextInt(n);
            float at = knob.get(i);
            double[] f = new double[4];
            double[] step = {H, -H, 2 * H, -2 * H};
            for (int s = 0; s < 4; s++) {
                knob.set(i, (float) (at + step[s]));
                f[s] = loss.getAsDouble();
            }
            knob.set(i, at);
            double numeric = (8 * (f[0] - f[1]) - (f[2] - f[3])) / (12 * H);
            assertEquals(numeric, gradient[i], TOLERANCE * Math.max(0.5, largest), name + "[" + i + "] of " + largest);
        }
    }

    @Test
    void linearHasExactGradients() {
        check(
                new int[][] {shape(2, 3, 5)},
                new int[][] {shape(4, 5), shape(4)},
                (t, x, p) -> t.linear(x[0], p[0], p[1]));
        check(new int[][] {shape(3, 5)}, new int[][] {shape(7, 5)}, (t, x, p) -> t.linear(x[0], p[0].rows(2, 3), null));
    }

    @Test
    void headwiseHasExactGradients() {
        check(new int[][] {shape(2, 3, 8)}, new int[][] {shape(2, 4, 4)}, (t, x, p) -> t.headwise(x[0], p[0], null));
        check(
                new int[][] {shape(5, 6)},
                new int[][] {shape(2, 2, 3), shape(4)},
                (t, x, p) -> t.headwise(x[0], p[0], p[1]));
    }

    @Test
    void normsHaveExactGradients() {
        check(
                new int[][] {shape(3, 8)},
                new int[][] {shape(8), shape(8)},
                (t, x, p) -> t.norm(new NormSpec(1, 1e-5f, true, false), x[0], p[0], p[1]));
        check(
                new int[][] {shape(3, 8)},
                new int[][] {shape(8)},
                (t, x, p) -> t.norm(new NormSpec(2, 1e-5f, true, true), x[0], p[0], null));
        check(
                new int[][] {shape(3, 8)},
                new int[][] {shape(8)},
                (t, x, p) -> t.norm(new NormSpec(1, 1e-6f, false, false), x[0], p[0], null));
    }

    @Test
    void causalConvolutionHasExactGradientsWithAndWithoutHistory() {
        check(
                new int[][] {shape(2, 6, 3)},
                new int[][] {shape(3, 1, 4), shape(3)},
                (t, x, p) -> t.causalConv1d(x[0], p[0], p[1], null, null));
        try (TensorArena arena = backend.arena("history")) {
            Tensor history = normal(arena.f32(2, 3, 3), 5);
            check(
                    new int[][] {shape(2, 6, 3)},
                    new int[][] {shape(3, 1, 4), shape(3)},
                    (t, x, p) -> t.causalConv1d(x[0], p[0], p[1], t.external("history", history), null));
        }
    }

    @ParameterizedTest
    @EnumSource(
            value = Activation.class,
            names = {"SILU", "GELU", "SIGMOID", "TANH"})
    void smoothActivationsHaveExactGradients(Activation act) {
        check(new int[][] {shape(4, 5)}, new int[0][], (t, x, p) -> t.activation(act, x[0]));
        check(new int[][] {shape(4, 5), shape(4, 5)}, new int[0][], (t, x, p) -> t.gate(act, x[0], x[1]));
    }

    @Test
    void reluHasExactGradients() {
        check(
                spread(20),
                new int[][] {shape(4, 5)},
                new int[0][],
                (t, x, p) -> t.activation(Activation.RELU, x[0]),
                () -> {});
    }

    @Test
    void sumAndSkipGateHaveExactGradients() {
        check(new int[][] {shape(4, 5), shape(4, 5)}, new int[0][], (t, x, p) -> t.add(x[0], x[1]));
        check(
                new int[][] {shape(4, 6), shape(4, 6), shape(4, 6)},
                new int[][] {shape(6)},
                (t, x, p) -> t.skipGate(x[0], p[0], x[1], x[2]));
    }

    /** Keeps the gates moderate: the normaliser of an mLSTM makes differences useless where it almost vanishes. */
    private static final Filling TAME = (which, i, r) -> (float) (0.4 * r.nextGaussian());

    private static final int[][] QKV = {{2, 7, 8}, {2, 7, 8}, {2, 7, 8}};
    private static final int[][] GATES = {{2, 24}, {2}, {2, 24}, {2}};

    @Test
    void mlstmWithItsGatesHasExactGradients() {
        MlstmSpec spec = MlstmSpec.exponential().withChunk(3);
        check(
                TAME,
                QKV,
                GATES,
                (t, x, p) -> t.mlstm(
                        spec, 2, x[0], x[1], x[2], t.mlstmGates(x[0], x[1], x[2], p[0], p[1], p[2], p[3]), null),
                () -> {});
    }

    @Test
    void mlstmWithSigmoidGateHasExactGradients() {
        MlstmSpec spec = new MlstmSpec(MlstmSpec.InputGate.SIGMOID, true, 1e-6f, true, 4);
        check(
                TAME,
                QKV,
                GATES,
                (t, x, p) -> t.mlstm(
                        spec, 2, x[0], x[1], x[2], t.mlstmGates(x[0], x[1], x[2], p[0], p[1], p[2], p[3]), null),
                () -> {});
    }

    @Test
    void mlstmHasExactGradientsFromACarriedState() {
        try (TensorArena arena = backend.arena("carried")) {
            MlstmState state = new MlstmState(arena.f32(2, 2, 4, 4), arena.f32(2, 2, 4), arena.f32(2, 2));
            check(
                    TAME,
                    QKV,
                    GATES,
                    (t, x, p) -> t.mlstm(
                            MlstmSpec.exponential(),
                            2,
                            x[0],
                            x[1],
                            x[2],
                            t.mlstmGates(x[0], x[1], x[2], p[0], p[1], p[2], p[3]),
                            new Tape.CarriedMlstm(state)),
                    () -> {
                        normal(state.matC(), 1);
                        normal(state.vecN(), 2);
                        normal(state.scaM(), 3);
                    });
        }
    }

    @Test
    void gatesAloneDoNotAddIntoAGradientThatIsShared() {
        int[][] inputs = {{2, 7, 8}, {2, 7, 8}, {2, 7, 8}, {2, 7, 2}};
        check(inputs, new int[][] {{2, 24}, {2}, {2, 24}, {2}, {8, 2}}, (t, x, p) -> {
            Tape.Gates g = t.mlstmGates(x[0], x[1], x[2], p[0], p[1], p[2], p[3]);
            Value both = t.add(t.add(g.i(), t.gate(Activation.SIGMOID, g.f(), x[3])), x[3]);
            return t.add(t.add(x[0], x[1]), t.add(t.linear(both, p[4], null), x[2]));
        });
    }

    @Test
    void aSingleGateHasExactGradients() {
        check(new int[][] {{2, 7, 8}, {2, 7, 8}, {2, 7, 8}}, new int[][] {{2, 24}, {2}}, (t, x, p) -> t.mlstmGates(
                        x[0], x[1], x[2], p[0], p[1], p[0], p[1])
                .i());
    }

    @Test
    void gatesRefuseOneValueInTwoRoles() {
        try (ParameterSet set = new ParameterSet()) {
            Parameter w = set.add("w", true, Init.zeros(), 2, 24);
            Parameter b = set.add("b", true, Init.zeros(), 2);
            Tape tape = new Tape(backend, true);
            Value x = tape.differentiableInput("x", 2, 7, 8);
            Value v = tape.differentiableInput("v", 2, 7, 8);
            assertThrows(IllegalArgumentException.class, () -> tape.mlstmGates(x, x, v, w, b, w, b));
        }
    }

    @Test
    void slstmHasExactGradients() {
        int[][] x4 = {{2, 5, 6}, {2, 5, 6}, {2, 5, 6}, {2, 5, 6}};
        int[][] cell = {{2, 3, 4, 3}, {24}};
        check(TAME, x4, cell, (t, x, p) -> t.slstm(2, x[0], x[1], x[2], x[3], p[0], p[1], null), () -> {});
        try (TensorArena arena = backend.arena("carried")) {
            Tensor state = arena.f32(4, 2, 6);
            check(TAME, x4, cell, (t, x, p) -> t.slstm(2, x[0], x[1], x[2], x[3], p[0], p[1], state), () -> {
                normal(state, 1);
                for (int i = 0; i < 12; i++) {
                    state.set(24 + i, 1 + 0.1f * i);
                }
            });
        }
    }

    @Test
    void convolutionAndPoolingHaveExactGradients() {
        check(
                new int[][] {shape(2, 2, 5, 5)},
                new int[][] {shape(3, 2, 3, 3), shape(3)},
                (t, x, p) -> t.conv2d(x[0], p[0], p[1], 1, 1));
        check(
                spread(2 * 2 * 6 * 6),
                new int[][] {shape(2, 2, 6, 6)},
                new int[0][],
                (t, x, p) -> t.maxPool2d(x[0], 3, 2, 1),
                () -> {});
    }

    @Test
    void rearrangingTokensHasExactGradients() {
        check(new int[][] {shape(3, 4)}, new int[0][], (t, x, p) -> t.reshape(x[0], 2, 6));
        check(
                new int[][] {shape(2, 3, 4), shape(2, 3, 4), shape(2, 3, 4)},
                new int[0][],
                (t, x, p) -> t.interleave(x[0], x[1], x[2]));
        check(new int[][] {shape(2, 6, 4)}, new int[0][], (t, x, p) -> t.everyToken(x[0], 3, 1));
    }

    @Test
    void interleavedTokensComeBackByPosition() {
        Tape tape = new Tape(backend, false);
        Value[] x = inputs(tape, new int[][] {{2, 2, 1}, {2, 2, 1}, {2, 2, 1}});
        Value all = tape.keep(tape.interleave(x));
        Value second = tape.keep(tape.everyToken(all, 3, 1));
        try (Plan plan = tape.plan("tokens")) {
            x[0].tensor().copyFrom(new float[] {1, 2, 3, 4});
            x[1].tensor().copyFrom(new float[] {10, 20, 30, 40});
            x[2].tensor().copyFrom(new float[] {100, 200, 300, 400});
            plan.run();
            assertEquals(
                    "[1.0, 10.0, 100.0, 2.0, 20.0, 200.0, 3.0, 30.0, 300.0, 4.0, 40.0, 400.0]",
                    Arrays.toString(all.tensor().toFloatArray()));
            assertEquals(
                    "[10.0, 20.0, 30.0, 40.0]", Arrays.toString(second.tensor().toFloatArray()));
        }
    }

    @Test
    void causalAttentionHasExactGradients() {
        check(
                new int[][] {shape(2, 5, 6), shape(2, 5, 6), shape(2, 5, 6)},
                new int[0][],
                (t, x, p) -> t.causalAttention(2, x[0], x[1], x[2]));
    }

    @Test
    void aValueUsedSeveralTimesGetsTheSumOfItsGradients() {
        check(new int[][] {shape(3, 4)}, new int[][] {shape(4, 4)}, (t, x, p) -> {
            Value a = t.linear(x[0], p[0], null);
            Value b = t.add(a, t.add(x[0], x[0]));
            return t.add(t.gate(Activation.SILU, b, a), t.gate(Activation.TANH, x[0], x[0]));
        });
    }

    @Test
    void gradientsOfParametersAddUpOverReplays() {
        try (ParameterSet set = new ParameterSet()) {
            Parameter w = set.add("w", true, Init.zeros(), 2, 3);
            set.allocate(backend, true);
            Tape tape = new Tape(backend, true);
            Value x = tape.input("x", DType.F32, 1, 3);
            Value y = tape.linear(x, w, null);
            Value dy = tape.input("dy", DType.F32, 1, 2);
            tape.backward(y, dy);
            assertNull(tape.gradient(x), "a plain input needs no gradient");
            try (Plan plan = tape.plan("accumulate")) {
                x.tensor().copyFrom(new float[] {1, 2, 3});
                dy.tensor().copyFrom(new float[] {1, 10});
                plan.run();
                plan.run();
                assertEquals("[2.0, 4.0, 6.0, 20.0, 40.0, 60.0]", Arrays.toString(set.read(w.grad())));
            }
        }
    }

    @Test
    void bytesBecomeFloats() {
        Tape tape = new Tape(backend, false);
        Value x = tape.input("x", DType.U8, 4);
        Value y = tape.keep(tape.fromBytes(x, 1f / 255f));
        try (Plan plan = tape.plan("bytes")) {
            for (int i = 0; i < 4; i++) {
                x.tensor().segment().set(java.lang.foreign.ValueLayout.JAVA_BYTE, i, (byte) (85 * i));
            }
            plan.run();
            float[] got = y.tensor().toFloatArray();
            for (int i = 0; i < 4; i++) {
                assertEquals(i / 3f, got[i], 1e-7f);
            }
        }
    }

    /** A whole training pass over a mixed stack, state carried: the largest graph the model records. */
    private static final class StackPass implements AutoCloseable {
        final ParameterSet set = new ParameterSet();
        final Tape tape = new Tape(backend, true);
        final CarriedState carried;
        final Value x;
        final Plan plan;

        StackPass(XlstmConfig config, int batch, int tokens) {
            XlstmStack stack = new XlstmStack(config, MlstmSpec.exponential(), set, "");
            set.allocate(backend, true);
            set.initialize(3);
            carried = new CarriedState(backend, config, batch);
            x = tape.differentiableInput("x", batch, tokens, config.width());
            Value y = stack.forward(tape, x, carried).normed();
            Value dy = tape.input("dy", DType.F32, y.shape());
            tape.backward(y, dy);
            tape.keep(tape.gradient(x));
            plan = tape.plan("stack");
            normal(x.tensor(), 1);
            normal(dy.tensor(), 2);
        }

        @Override
        public void close() {
            plan.close();
            carried.close();
            set.close();
        }
    }

    @Test
    void valuesThatLiveAtTheSameTimeDoNotOverlapInMemory() {
        try (StackPass pass = new StackPass(TrainConfigs.MIXED, 2, 12)) {
            List<Value> placed =
                    pass.tape.values().stream().filter(v -> v.firstUse >= 0).toList();
            assertTrue(placed.size() > 50, placed.size() + " values");
            int reused = 0;
            for (int i = 0; i < placed.size(); i++) {
                Value a = placed.get(i);
                for (int j = 0; j < i; j++) {
                    Value b = placed.get(j);
                    boolean together = a.firstUse <= b.lastUse && b.firstUse <= a.lastUse;
                    boolean overlap = a.tensor().address()
                                    < b.tensor().address() + b.tensor().bytes()
                            && b.tensor().address()
                                    < a.tensor().address() + a.tensor().bytes();
                    assertTrue(!(together && overlap), a + " overlaps " + b);
                    reused += overlap ? 1 : 0;
                }
            }
            assertTrue(reused > 0, "memory is used again");
            long sum =
                    placed.stream().mapToLong(v -> v.size() * v.dtype().bytes()).sum();
            assertTrue(pass.plan.slabBytes() < 0.75 * sum, pass.plan.slabBytes() + " of " + sum + " bytes");
        }
    }

    @Test
    void replaysGiveTheSameNumbersFromTheSameState() {
        try (StackPass pass = new StackPass(TrainConfigs.MIXED, 2, 12)) {
            pass.set.grads();
            float[] first = gradientsOfFreshRun(pass);
            pass.plan.run();
            float[] again = gradientsOfFreshRun(pass);
            assertEquals(Arrays.toString(first), Arrays.toString(again));
        }
    }

    private static float[] gradientsOfFreshRun(StackPass pass) {
        backend.ops().elementwise().fill(backend.stream(), 0f, pass.set.grads());
        pass.carried.reset(0);
        pass.carried.reset(1);
        pass.plan.run();
        return pass.set.read(pass.set.grads());
    }

    @Test
    @Tag("allocation")
    void aReplayAllocatesLittleOnTheHeap() {
        try (StackPass pass = new StackPass(TrainConfigs.MIXED, 2, 12)) {
            // Training is not a control loop: compiled kernels may box a vector now and then, the tape itself allocates
            // nothing.
            long bytes = Allocations.besidesVectors(() -> {
                for (int i = 0; i < 100; i++) {
                    pass.plan.run();
                }
            });
            assertTrue(bytes <= 20_000_000, bytes + " bytes in 100 replays of " + pass.plan.kernels() + " kernels");
        }
    }

    @Test
    void profilesEveryKernel() {
        try (StackPass pass = new StackPass(XlstmConfig.mlstm(32, 1, 2), 1, 3)) {
            Profile profile = new Profile();
            pass.plan.run(profile);
            assertTrue(profile.nanos().get("mlstm") > 0);
            assertTrue(profile.table().contains("linear dw"), profile.table());
        }
    }

    @Test
    void refusesToGoOnAfterThePlanOrToDifferentiateUnasked() {
        Tape tape = new Tape(backend, false);
        Value x = tape.input("x", DType.F32, 2, 3);
        Value y = tape.activation(Activation.SILU, x);
        assertThrows(IllegalStateException.class, x::tensor, "no memory before the plan");
        assertThrows(IllegalStateException.class, () -> tape.backward(y, x));
        try (Plan plan = tape.plan("done")) {
            assertEquals(1, plan.kernels());
            assertThrows(IllegalStateException.class, () -> tape.activation(Activation.SILU, x));
        }
    }

    @Test
    void plansOfWhichOneRunsAtATimeShareTheirMemory() {
        List<Tape> tapes = new ArrayList<>();
        List<Value> inputs = new ArrayList<>();
        List<Value> outputs = new ArrayList<>();
        for (int n : new int[] {3, 70, 20}) {
            Tape tape = new Tape(backend, false);
            inputs.add(tape.input("x", DType.F32, n, 16));
            Value y = tape.add(inputs.getLast(), tape.activation(Activation.RELU, inputs.getLast()));
            outputs.add(tape.keep(y));
            tapes.add(tape);
        }
        try (TensorArena arena = backend.arena("shared")) {
            List<Plan> plans = Tape.plans(arena, tapes);
            long slab = plans.get(1).slabBytes();
            assertEquals(slab, arena.liveBytes(), "one slab");
            assertTrue(slab >= 3 * inputs.get(1).tensor().bytes(), "as large as the largest: " + slab);
            for (int i : new int[] {0, 1, 2, 1, 0}) {
                Tensor x = normal(inputs.get(i).tensor(), i);
                plans.get(i).run();
                Tensor y = outputs.get(i).tensor();
                for (int k = 0; k < y.size(); k++) {
                    assertEquals(x.get(k) + Math.max(0, x.get(k)), y.get(k), "plan " + i);
                }
            }
            assertThrows(IllegalStateException.class, () -> tapes.get(2).activation(Activation.SILU, inputs.get(2)));
            plans.getFirst().close();
            assertEquals(0, arena.liveBytes(), "closed with any of them");
        }
    }

    @Test
    void parametersRefuseDoubleNamesAndUseBeforeAllocation() {
        try (ParameterSet set = new ParameterSet()) {
            Parameter w = set.add("w", true, Init.zeros(), 2);
            assertThrows(IllegalArgumentException.class, () -> set.add("w", true, Init.zeros(), 2));
            assertThrows(IllegalStateException.class, w::value);
            set.allocate(backend, false);
            assertThrows(IllegalStateException.class, w::grad, "not allocated for training");
            assertThrows(IllegalStateException.class, () -> set.add("late", true, Init.zeros(), 2));
        }
    }

    private static Tensor normal(Tensor t, long seed) {
        Random r = new Random(seed);
        for (int i = 0; i < t.size(); i++) {
            t.set(i, (float) r.nextGaussian());
        }
        return t;
    }
}
