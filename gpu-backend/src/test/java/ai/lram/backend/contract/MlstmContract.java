package ai.lram.backend.contract;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.DType;
import ai.lram.backend.Replay;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.MlstmSpec.InputGate;
import ai.lram.backend.ops.MlstmState;
import ai.lram.backend.reference.NumericGradient;
import ai.lram.backend.reference.ReferenceMlstm;
import java.util.Arrays;
import java.util.Random;
import java.util.function.ToDoubleFunction;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What every engine's mLSTM must do. */
public abstract class MlstmContract extends KernelContract {
    /** Sequences and their gradients; the denominators amplify rounding, so this is wider than for one product. */
    private static final double SEQUENCE = 1e-4;

    /**
     * With bf16 operands, against the fp64 reference of the rounded operands. The exponential gate's denominators may cancel, and then magnify
     * any rounding: the published kernels lose up to 2.7e-2 there and 2e-2 with the sigmoid gate.
     */
    private static final double BF16_EXPONENTIAL = 2e-2;

    private static final double BF16_SIGMOID = 1e-2;

    private static final MlstmSpec EXP = MlstmSpec.exponential();
    private static final MlstmSpec SIG = new MlstmSpec(InputGate.SIGMOID, true, 1e-6f, true, 0);
    private static final MlstmSpec RAW = new MlstmSpec(InputGate.SIGMOID, false, 1e-6f, true, 0);

    private static MlstmSpec spec(String name, boolean exact, int chunk) {
        MlstmSpec s = name.equals("exp") ? EXP : name.equals("sig") ? SIG : RAW;
        return new MlstmSpec(s.inputGate(), s.normalize(), s.eps(), exact, chunk);
    }

    private MlstmRun random(MlstmDims d, MlstmSpec spec, double gateScale) {
        return random(d, spec, DType.F32, true, gateScale);
    }

    private MlstmRun random(MlstmDims d, MlstmSpec spec, DType operands, boolean states, double gateScale) {
        int n = d.batch() * d.tokens() * d.heads();
        return new MlstmRun(
                fx,
                d,
                spec,
                operands,
                states,
                fx.normal(n * d.dimQk(), 1),
                fx.normal(n * d.dimQk(), 1),
                fx.normal(n * d.dimHv(), 1),
                fx.normal(n, gateScale),
                fx.normal(n, gateScale));
    }

    private MlstmState randomState(MlstmRun run, boolean withM) {
        MlstmDims d = run.dims;
        int n = d.batch() * d.heads();
        return run.state(
                fx.normal(n * d.dimQk() * d.dimHv(), 1),
                fx.normal(n * d.dimQk(), 1),
                withM ? fx.normal(n, 1) : new float[n]);
    }

    @ParameterizedTest(name = "{0} B={1} S={2} NH={3} DHQK={4} DHHV={5} chunk={6} initial={7} exact={8}")
    @CsvSource({
        "exp,1,1,1,1,1,0,false,true",
        "exp,1,2,2,3,5,0,true,true",
        "exp,2,63,2,16,16,0,false,true",
        "exp,1,65,3,7,33,0,true,true",
        "exp,2,257,1,16,32,0,true,true",
        "exp,1,257,2,64,64,50,true,true",
        "exp,1,70,4,33,20,13,false,true",
        "exp,1,64,2,128,64,64,true,true",
        "exp,1,65,2,16,48,1,true,true",
        "exp,1,130,2,17,16,200,true,false",
        "exp,2,63,2,16,16,20,false,false",
        "sig,2,65,2,16,24,0,true,true",
        "sig,1,257,1,40,8,30,false,true",
        "sig,1,63,2,16,16,0,true,false",
        "raw,1,65,2,16,24,0,true,true",
        "raw,1,2,3,5,3,0,false,true",
        "raw,1,130,1,32,32,0,false,false"
    })
    void agreesWithTheReference(
            String kind, int b, int s, int nh, int dq, int dv, int chunk, boolean withInitial, boolean exact) {
        MlstmRun run = random(new MlstmDims(b, s, nh, dq, dv), spec(kind, exact, chunk), 1);
        if (withInitial) {
            run.initial = randomState(run, kind.equals("exp"));
        }
        run.last = run.poisonedState();
        run.dInitial = run.poisonedState();
        run.dLast = randomState(run, false);
        run.forward(true);
        ReferenceMlstm r = run.reference().step();
        fx.assertClose("h", r.h, run.h, SEQUENCE);
        fx.assertClose("matC", r.c, run.last.matC(), SEQUENCE);
        fx.assertClose("vecN", r.n, run.last.vecN(), SEQUENCE);
        fx.assertClose("scaM", r.m, run.last.scaM(), 1e-6);
        float[] dh = fx.normal(b * s * nh * dv, 1);
        run.backward(dh);
        r.gradients(
                Fixture.doubles(dh),
                Fixture.doubles(fx.read(run.dLast.matC())),
                Fixture.doubles(fx.read(run.dLast.vecN())),
                exact);
        double scale = 0.1 * Fixture.largest(r.gv);
        fx.assertClose("dq", r.gq, run.dq, SEQUENCE, scale);
        fx.assertClose("dk", r.gk, run.dk, SEQUENCE, scale);
        fx.assertClose("dv", r.gv, run.dv, SEQUENCE);
        fx.assertClose("di", r.gi, run.di, SEQUENCE, scale);
        fx.assertClose("df", r.gf, run.df, SEQUENCE, scale);
        fx.assertClose("dC0", r.gc0, run.dInitial.matC(), SEQUENCE);
        fx.assertClose("dn0", r.gn0, run.dInitial.vecN(), SEQUENCE);
        if (withInitial) {
            fx.assertClose("dm0", r.gm0, run.dInitial.scaM(), SEQUENCE);
        }
    }

    private void requireBf16() {
        Fixture.skipUnless(
                fx.ops.mlstm().takes(DType.BF16),
                "mLSTM in bf16: engine " + backend.name() + " takes F32 operands only");
    }

    @ParameterizedTest(name = "{0} B={1} S={2} NH={3} DHQK={4} DHHV={5} chunk={6} initial={7} last={8} exact={9}")
    @CsvSource({
        // one chunk from the fresh state
        "exp,1,1,1,16,16,0,false,false,true",
        "exp,2,63,2,64,64,0,false,false,true",
        "exp,1,65,2,72,200,0,false,false,true",
        "exp,1,150,2,128,128,0,false,false,true",
        "exp,1,160,1,64,64,0,false,false,true",
        "exp,1,100,2,64,64,0,false,false,false",
        "sig,2,150,2,64,64,0,false,false,true",
        "raw,1,96,2,64,128,0,false,false,true",
        // several, or with states
        "exp,1,161,2,64,64,0,false,false,true",
        "exp,2,37,2,64,64,0,true,true,true",
        "exp,1,150,2,72,200,50,true,true,true",
        "exp,1,257,2,64,128,0,true,true,true",
        "exp,1,300,1,128,256,128,true,false,true",
        "exp,1,257,2,64,64,64,false,true,true",
        "exp,1,130,2,64,64,0,true,true,false",
        "exp,1,20,2,16,48,1,true,true,true",
        "sig,2,257,2,64,64,96,true,true,true",
        "sig,1,257,2,64,64,0,true,true,false",
        "raw,1,200,2,64,128,0,true,true,true",
        "sig,1,150,2,264,72,0,true,true,true",
        // head sizes that no vector fits
        "exp,1,70,2,33,20,0,false,false,true",
        "exp,1,70,2,33,20,13,true,true,true"
    })
    void bf16AgreesWithTheReferenceOfTheRoundedOperands(
            String kind,
            int b,
            int s,
            int nh,
            int dq,
            int dv,
            int chunk,
            boolean withInitial,
            boolean withLast,
            boolean exact) {
        requireBf16();
        double most = kind.equals("exp") ? BF16_EXPONENTIAL : BF16_SIGMOID;
        MlstmRun run = random(
                new MlstmDims(b, s, nh, dq, dv), spec(kind, exact, chunk), DType.BF16, withInitial || withLast, 1);
        if (withInitial) {
            run.initial = randomState(run, kind.equals("exp"));
            run.dInitial = run.poisonedState();
        }
        if (withLast) {
            run.last = run.poisonedState();
            run.dLast = randomState(run, false);
        }
        run.forward(true);
        ReferenceMlstm r = run.reference().step();
        fx.assertClose("h", r.h, run.h, most);
        if (withLast) {
            fx.assertClose("matC", r.c, run.last.matC(), most);
            fx.assertClose("vecN", r.n, run.last.vecN(), most);
            fx.assertClose("scaM", r.m, run.last.scaM(), 1e-6);
        }
        Tensor dh = run.gradient(fx.normal(b * s * nh * dv, 1));
        run.backward(dh);
        r.gradients(
                Fixture.doubles(fx.read(dh)),
                withLast ? Fixture.doubles(fx.read(run.dLast.matC())) : new double[r.c.length],
                withLast ? Fixture.doubles(fx.read(run.dLast.vecN())) : new double[r.n.length],
                exact);
        double scale = 0.1 * Fixture.largest(r.gv);
        fx.assertClose("dq", r.gq, run.dq, most, scale);
        fx.assertClose("dk", r.gk, run.dk, most, scale);
        fx.assertClose("dv", r.gv, run.dv, most);
        fx.assertClose("di", r.gi, run.di, most, scale);
        fx.assertClose("df", r.gf, run.df, most, scale);
        if (withInitial) {
            fx.assertClose("dC0", r.gc0, run.dInitial.matC(), most);
            fx.assertClose("dn0", r.gn0, run.dInitial.vecN(), most, scale);
            fx.assertClose("dm0", r.gm0, run.dInitial.scaM(), most, scale);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"exp", "sig", "raw"})
    void bf16OfExtremeGatesStaysFinite(String kind) {
        requireBf16();
        MlstmDims d = new MlstmDims(1, 200, 2, 64, 64);
        int n = d.tokens() * d.heads();
        float[] i = new float[n];
        float[] f = new float[n];
        for (int x = 0; x < n; x++) {
            i[x] = fx.random.nextBoolean() ? 80 : -80;
            f[x] = fx.random.nextBoolean() ? 80 : -80;
        }
        MlstmRun run = new MlstmRun(
                fx,
                d,
                spec(kind, true, 0),
                DType.BF16,
                true,
                fx.normal(n * 64, 1),
                fx.normal(n * 64, 1),
                fx.normal(n * 64, 1),
                i,
                f);
        run.last = run.poisonedState();
        run.forward(true);
        run.backward(fx.normal(n * 64, 1));
        for (Tensor t : new Tensor[] {
            run.h, run.last.matC(), run.last.vecN(), run.last.scaM(), run.dq, run.dk, run.dv, run.di, run.df
        }) {
            for (float x : fx.read(t)) {
                assertTrue(Float.isFinite(x), kind);
            }
        }
    }

    @ParameterizedTest(name = "S={0} states={1}")
    @CsvSource({"100,false", "300,false", "150,true"})
    void bf16RecordedGivesTheSameBits(int tokens, boolean states) {
        requireBf16();
        MlstmRun run = random(new MlstmDims(2, tokens, 2, 64, 64), EXP, DType.BF16, states, 1);
        if (states) {
            run.initial = randomState(run, true);
            run.last = run.poisonedState();
            run.dInitial = run.poisonedState();
        }
        Tensor dh = run.gradient(fx.normal(2 * tokens * 2 * 64, 1));
        run.forward(true).backward(dh);
        Tensor[] outputs = {run.h, run.dq, run.dk, run.dv, run.di, run.df};
        float[][] want = new float[outputs.length][];
        for (int x = 0; x < outputs.length; x++) {
            want[x] = fx.read(outputs[x]);
            assertFalse(Float.isNaN(want[x][0]));
        }
        try (Replay replay = fx.stream.record(() -> run.forward(true).backward(dh))) {
            for (int times = 0; times < 2; times++) {
                replay.run();
                fx.stream.synchronize();
                for (int x = 0; x < outputs.length; x++) {
                    assertArrayEquals(want[x], fx.read(outputs[x]));
                }
            }
        }
    }

    @Test
    void operandsOfTwoTypesAreRefused() {
        MlstmDims d = new MlstmDims(1, 9, 2, 8, 8);
        MlstmRun run = random(d, EXP, 1);
        Tensor narrow = fx.poisoned(DType.BF16, 1, 9, 2, 8);
        Tensor[][] wrong = {
            {narrow, run.k, run.h}, {run.q, narrow, run.h}, {run.q, run.k, narrow}, {narrow, narrow, run.h}
        };
        for (Tensor[] w : wrong) {
            assertThrows(ShapeMismatchException.class, () -> fx.ops
                    .mlstm()
                    .forward(fx.stream, d, EXP, w[0], w[1], run.v, run.i, run.f, null, w[2], null, null, run.scratch));
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"exp", "sig", "raw"})
    void referenceFormsAgreeWithEachOther(String kind) {
        MlstmRun run = random(new MlstmDims(2, 37, 2, 5, 4), spec(kind, true, 0), 2);
        ReferenceMlstm r = run.reference().step();
        double[] h = r.h;
        double[] c = r.c;
        assertArrayEquals(h, r.parallel().h, 1e-9);
        for (int chunk : new int[] {1, 5, 37, 64}) {
            assertArrayEquals(h, r.chunkwise(chunk).h, 1e-9);
            assertArrayEquals(c, r.c, 1e-12);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"exp", "sig", "raw"})
    void referenceGradientsAreDerivatives(String kind) {
        MlstmRun run = random(new MlstmDims(1, 6, 2, 3, 2), spec(kind, true, 0), 1);
        run.initial = randomState(run, kind.equals("exp"));
        ReferenceMlstm r = run.reference();
        // A fixed draw: differences across the kinks of max and abs would be wrong, and a random draw may lie on one.
        Random fixed = new Random(7);
        for (double[] a : new double[][] {r.q, r.k, r.v, r.i, r.f, r.c0, r.n0}) {
            Arrays.setAll(a, x -> fixed.nextGaussian());
        }
        r.step();
        double[] dh = Fixture.doubles(fx.normal(r.h.length, 1));
        double[] dc = Fixture.doubles(fx.normal(r.c.length, 1));
        double[] dn = Fixture.doubles(fx.normal(r.n.length, 1));
        double[] m = r.m.clone();
        ToDoubleFunction<double[]> loss = ignored -> {
            r.step();
            double sum = 0;
            for (int x = 0; x < dh.length; x++) {
                sum += dh[x] * r.h[x];
            }
            for (int p = 0; p < m.length; p++) {
                double unit = Math.exp(r.m[p] - m[p]);
                int width = r.dq * r.dv;
                for (int x = 0; x < width; x++) {
                    sum += unit * dc[p * width + x] * r.c[p * width + x];
                }
                for (int x = 0; x < r.dq; x++) {
                    sum += unit * dn[p * r.dq + x] * r.n[p * r.dq + x];
                }
            }
            return sum;
        };
        r.gradients(dh, dc, dn, true);
        NumericGradient.assertAgrees("q", r.gq.clone(), NumericGradient.of(r.q, loss), 1e-5);
        NumericGradient.assertAgrees("k", r.gk.clone(), NumericGradient.of(r.k, loss), 1e-5);
        NumericGradient.assertAgrees("v", r.gv.clone(), NumericGradient.of(r.v, loss), 1e-5);
        NumericGradient.assertAgrees("i", r.gi.clone(), NumericGradient.of(r.i, loss), 1e-5);
        NumericGradient.assertAgrees("f", r.gf.clone(), NumericGradient.of(r.f, loss), 1e-5);
        NumericGradient.assertAgrees("C0", r.gc0.clone(), NumericGradient.of(r.c0, loss), 1e-5);
        NumericGradient.assertAgrees("n0", r.gn0.clone(), NumericGradient.of(r.n0, loss), 1e-5);
        if (kind.equals("exp")) {
            NumericGradient.assertAgrees("m0", r.gm0.clone(), NumericGradient.of(r.m0, loss), 1e-5);
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 31, 64, 65, 129})
    void aSequenceCutAnywhereEqualsTheWhole(int cut) {
        MlstmDims whole = new MlstmDims(1, 130, 2, 16, 24);
        MlstmRun run = random(whole, EXP, 1);
        run.last = run.poisonedState();
        run.forward(false);
        MlstmState middle = null;
        float[] h = new float[130 * 2 * 24];
        int from = 0;
        for (int n : new int[] {cut, 130 - cut}) {
            MlstmRun part = new MlstmRun(
                    fx,
                    new MlstmDims(1, n, 2, 16, 24),
                    EXP,
                    slice(run.q, from, n),
                    slice(run.k, from, n),
                    slice(run.v, from, n),
                    slice(run.i, from, n),
                    slice(run.f, from, n));
            part.initial = middle;
            part.last = part.poisonedState();
            part.forward(false);
            float[] got = fx.read(part.h);
            System.arraycopy(got, 0, h, from * 48, got.length);
            middle = part.last;
            from += n;
        }
        assertTrue(Fixture.error(h, Fixture.doubles(fx.read(run.h))) < 1e-5, "h");
        assertTrue(Fixture.error(fx.read(middle.matC()), Fixture.doubles(fx.read(run.last.matC()))) < 1e-5, "matC");
        assertTrue(Fixture.error(fx.read(middle.scaM()), Fixture.doubles(fx.read(run.last.scaM()))) < 1e-6, "scaM");
    }

    @ParameterizedTest
    @ValueSource(strings = {"exp", "sig", "raw"})
    void gradientsPassedThroughTheStateEqualTheWhole(String kind) {
        MlstmSpec spec = spec(kind, true, 0);
        MlstmRun run = random(new MlstmDims(1, 130, 2, 16, 24), spec, 1);
        float[] dh = fx.normal(130 * 48, 1);
        run.forward(true).backward(dh);
        MlstmRun[] parts = new MlstmRun[2];
        int[] bounds = {0, 70, 130};
        MlstmState middle = null;
        for (int p = 0; p < 2; p++) {
            int n = bounds[p + 1] - bounds[p];
            parts[p] = new MlstmRun(
                    fx,
                    new MlstmDims(1, n, 2, 16, 24),
                    spec,
                    slice(run.q, bounds[p], n),
                    slice(run.k, bounds[p], n),
                    slice(run.v, bounds[p], n),
                    slice(run.i, bounds[p], n),
                    slice(run.f, bounds[p], n));
            parts[p].initial = middle;
            parts[p].last = parts[p].poisonedState();
            parts[p].forward(true);
            middle = parts[p].last;
        }
        MlstmState handed = parts[1].poisonedState();
        parts[1].dInitial = handed;
        parts[1].backward(Arrays.copyOfRange(dh, 70 * 48, 130 * 48));
        parts[0].dLast = handed;
        parts[0].backward(Arrays.copyOf(dh, 70 * 48));
        assertJoined("dq", run.dq, parts[0].dq, parts[1].dq);
        assertJoined("dk", run.dk, parts[0].dk, parts[1].dk);
        assertJoined("dv", run.dv, parts[0].dv, parts[1].dv);
        assertJoined("di", run.di, parts[0].di, parts[1].di);
        assertJoined("df", run.df, parts[0].df, parts[1].df);
    }

    private void assertJoined(String name, Tensor whole, Tensor first, Tensor second) {
        float[] a = fx.read(first);
        float[] b = fx.read(second);
        float[] joined = Arrays.copyOf(a, a.length + b.length);
        System.arraycopy(b, 0, joined, a.length, b.length);
        double e = Fixture.error(joined, Fixture.doubles(fx.read(whole)));
        assertTrue(e < SEQUENCE, name + ": " + e + "; rerun with -Dlram.seed=" + fx.seed);
    }

    private float[] slice(Tensor t, int from, int n) {
        float[] all = fx.read(t);
        int width = all.length / 130;
        return Arrays.copyOfRange(all, from * width, (from + n) * width);
    }

    @ParameterizedTest
    @ValueSource(strings = {"exp", "sig", "raw"})
    void thousandTokensStayWithinTolerance(String kind) {
        MlstmRun run = random(new MlstmDims(1, 1000, 2, 16, 16), spec(kind, true, 0), 1);
        run.forward(false);
        fx.assertClose("h against the step form", run.reference().step().h, run.h, 1e-4);
        fx.assertClose("h against the parallel form", run.reference().parallel().h, run.h, 1e-4);
    }

    @ParameterizedTest
    @ValueSource(strings = {"exp", "sig", "raw"})
    void gatesOfThirtyLoseNoMoreThanFourTimesAnFp32Step(String kind) {
        MlstmDims d = new MlstmDims(2, 200, 2, 16, 16);
        MlstmRun run = random(d, spec(kind, true, 0), 1);
        int n = d.batch() * d.tokens() * d.heads();
        float[] i = new float[n];
        float[] f = new float[n];
        for (int x = 0; x < n; x++) {
            i[x] = (float) (60 * fx.random.nextDouble() - 30);
            f[x] = (float) (60 * fx.random.nextDouble() - 30);
        }
        MlstmRun wide = new MlstmRun(fx, d, run.spec, fx.read(run.q), fx.read(run.k), fx.read(run.v), i, f);
        wide.forward(false);
        double[] want = wide.reference().step().h;
        double step = Fixture.error(fp32Step(wide), want);
        fx.assertClose("h", want, wide.h, Math.max(4 * step, 2e-6));
    }

    /** The published step in plain fp32 arithmetic: the yardstick for extreme gates. */
    private float[] fp32Step(MlstmRun run) {
        MlstmDims d = run.dims;
        boolean exp = run.spec.inputGate() == InputGate.EXPONENTIAL;
        float[] q = fx.read(run.q);
        float[] k = fx.read(run.k);
        float[] v = fx.read(run.v);
        float[] i = fx.read(run.i);
        float[] f = fx.read(run.f);
        float[] h = new float[v.length];
        float scale = (float) (1 / Math.sqrt(d.dimQk()));
        for (int p = 0; p < d.batch() * d.heads(); p++) {
            float[] c = new float[d.dimQk() * d.dimHv()];
            float[] n = new float[d.dimQk()];
            float m = 0;
            for (int t = 0; t < d.tokens(); t++) {
                int x = (p / d.heads() * d.tokens() + t) * d.heads() + p % d.heads();
                float lf = (float) ReferenceMlstm.logSigmoid(f[x]);
                float in = exp ? i[x] : (float) ReferenceMlstm.logSigmoid(i[x]);
                float next = exp ? Math.max(lf + m, in) : 0;
                float keep = (float) Math.exp(lf + m - next);
                float write = (float) Math.exp(in - next);
                m = next;
                float den = 0;
                float[] num = new float[d.dimHv()];
                for (int a = 0; a < d.dimQk(); a++) {
                    float ka = k[x * d.dimQk() + a];
                    float qa = q[x * d.dimQk() + a] * scale;
                    n[a] = keep * n[a] + write * ka;
                    den += qa * n[a];
                    for (int e = 0; e < d.dimHv(); e++) {
                        int at = a * d.dimHv() + e;
                        c[at] = keep * c[at] + write * ka * v[x * d.dimHv() + e];
                        num[e] += qa * c[at];
                    }
                }
                float div = run.spec.normalize()
                        ? Math.max(Math.abs(den), exp ? (float) Math.exp(-next) : 1) + run.spec.eps()
                        : 1;
                for (int e = 0; e < d.dimHv(); e++) {
                    h[x * d.dimHv() + e] = num[e] / div;
                }
            }
        }
        return h;
    }

    @ParameterizedTest
    @ValueSource(strings = {"exp", "sig", "raw"})
    void gatesOfEightyStayFinite(String kind) {
        MlstmDims d = new MlstmDims(1, 150, 2, 16, 16);
        MlstmRun base = random(d, spec(kind, true, 0), 1);
        int n = d.tokens() * d.heads();
        float[] i = new float[n];
        float[] f = new float[n];
        for (int x = 0; x < n; x++) {
            i[x] = fx.random.nextBoolean() ? 80 : -80;
            f[x] = fx.random.nextBoolean() ? 80 : -80;
        }
        MlstmRun run = new MlstmRun(fx, d, base.spec, fx.read(base.q), fx.read(base.k), fx.read(base.v), i, f);
        run.last = run.poisonedState();
        run.forward(true);
        run.backward(fx.normal(n * 16, 1));
        for (Tensor t : new Tensor[] {
            run.h, run.last.matC(), run.last.vecN(), run.last.scaM(), run.dq, run.dk, run.dv, run.di, run.df
        }) {
            backend.requireFinite(fx.stream, kind, t);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"exp", "sig", "raw"})
    void zeroInputGivesZero(String kind) {
        MlstmDims d = new MlstmDims(1, 70, 2, 8, 8);
        int n = 140;
        MlstmRun run = new MlstmRun(
                fx,
                d,
                spec(kind, true, 0),
                new float[n * 8],
                new float[n * 8],
                new float[n * 8],
                new float[n],
                new float[n]);
        run.forward(true);
        run.backward(fx.normal(n * 8, 1));
        for (Tensor t : new Tensor[] {run.h, run.dq, run.dk, run.dv, run.di, run.df}) {
            for (float x : fx.read(t)) {
                assertEquals(0, x);
            }
        }
    }

    @Test
    void nanStaysInItsBatchRowAndHead() {
        MlstmDims d = new MlstmDims(2, 70, 2, 8, 8);
        MlstmRun clean = random(d, EXP, 1);
        float[] k = fx.read(clean.k);
        k[((0 * 70 + 20) * 2 + 1) * 8 + 3] = Float.NaN;
        MlstmRun run =
                new MlstmRun(fx, d, EXP, fx.read(clean.q), k, fx.read(clean.v), fx.read(clean.i), fx.read(clean.f));
        clean.forward(false);
        run.forward(true);
        run.backward(fx.normal(2 * 70 * 2 * 8, 1));
        float[] want = fx.read(clean.h);
        float[] got = fx.read(run.h);
        float[] dv = fx.read(run.dv);
        boolean seen = false;
        for (int x = 0; x < got.length; x++) {
            int head = x / 8 % 2;
            int row = x / (70 * 16);
            if (row == 0 && head == 1) {
                seen |= Float.isNaN(got[x]);
            } else {
                assertEquals(want[x], got[x]);
                assertTrue(Float.isFinite(dv[x]));
            }
        }
        assertTrue(seen, "the NaN is lost");
    }

    @Test
    void noGradientThroughTheNormaliserMeansZeroForItsState() {
        MlstmRun run = random(new MlstmDims(1, 20, 1, 4, 4), spec("exp", false, 8), 1);
        run.initial = randomState(run, true);
        run.dInitial = run.poisonedState();
        run.forward(true);
        run.backward(fx.normal(80, 1));
        assertArrayEquals(new float[4], fx.read(run.dInitial.vecN()));
        assertArrayEquals(new float[1], fx.read(run.dInitial.scaM()));
    }

    @Test
    void wrongSizesAreRefusedAndNothingIsWritten() {
        MlstmRun run = random(new MlstmDims(1, 9, 2, 4, 6), EXP, 1);
        MlstmDims longer = new MlstmDims(1, 10, 2, 4, 6);
        assertRefused(
                () -> fx.ops
                        .mlstm()
                        .forward(
                                fx.stream,
                                longer,
                                EXP,
                                run.q,
                                run.k,
                                run.v,
                                run.i,
                                run.f,
                                null,
                                run.h,
                                null,
                                null,
                                run.scratch),
                run.h);
        assertRefused(
                () -> fx.ops
                        .mlstm()
                        .forward(
                                fx.stream,
                                run.dims,
                                EXP,
                                run.q,
                                run.k,
                                run.v,
                                run.i,
                                run.f,
                                null,
                                run.h,
                                null,
                                null,
                                fx.zeros(1)),
                run.h);
    }

    @ParameterizedTest(name = "M={0} I={1} NH={2}")
    @CsvSource({"1,8,1", "3,33,2", "5,64,4", "130,100,3", "300,256,4"})
    void gatesAgreeWithTheReference(int rows, int width, int heads) {
        float[][] x = {fx.normal(rows * width, 1), fx.normal(rows * width, 1), fx.normal(rows * width, 1)};
        float[] wi = fx.normal(heads * 3 * width, 0.1);
        float[] wf = fx.normal(heads * 3 * width, 0.1);
        float[] bi = fx.normal(heads, 1);
        float[] bf = fx.normal(heads, 1);
        Tensor q = fx.of(x[0], rows, width);
        Tensor k = fx.of(x[1], rows, width);
        Tensor v = fx.of(x[2], rows, width);
        Tensor twi = fx.of(wi, heads, 3 * width);
        Tensor twf = fx.of(wf, heads, 3 * width);
        Tensor i = fx.poisoned(rows, heads);
        Tensor f = fx.poisoned(rows, heads);
        fx.ops.mlstm().gates(fx.stream, q, k, v, twi, fx.of(bi, heads), twf, fx.of(bf, heads), i, f);
        float[] di = fx.normal(rows * heads, 1);
        float[] df = fx.normal(rows * heads, 1);
        float[] start = fx.normal(rows * width, 1);
        float[] startW = fx.normal(heads * 3 * width, 1);
        float[] startB = fx.normal(heads, 1);
        double[] wantI = new double[rows * heads];
        double[] wantF = new double[rows * heads];
        double[][] dx = {Fixture.doubles(start), Fixture.doubles(start), Fixture.doubles(start)};
        double[] dwi = Fixture.doubles(startW);
        double[] dwf = Fixture.doubles(startW);
        double[] dbi = Fixture.doubles(startB);
        double[] dbf = Fixture.doubles(startB);
        for (int m = 0; m < rows; m++) {
            for (int h = 0; h < heads; h++) {
                int g = m * heads + h;
                wantI[g] = bi[h];
                wantF[g] = bf[h];
                dbi[h] += di[g];
                dbf[h] += df[g];
                for (int c = 0; c < 3 * width; c++) {
                    float in = x[c / width][m * width + c % width];
                    int at = h * 3 * width + c;
                    wantI[g] += (double) wi[at] * in;
                    wantF[g] += (double) wf[at] * in;
                    dwi[at] += (double) di[g] * in;
                    dwf[at] += (double) df[g] * in;
                    dx[c / width][m * width + c % width] += (double) di[g] * wi[at] + (double) df[g] * wf[at];
                }
            }
        }
        fx.assertClose("i", wantI, i, TOLERANCE);
        fx.assertClose("f", wantF, f, TOLERANCE);
        Tensor dq = fx.of(start, rows, width);
        Tensor dk = fx.of(start, rows, width);
        Tensor dv = fx.of(start, rows, width);
        Tensor gwi = fx.of(startW, heads, 3 * width);
        Tensor gwf = fx.of(startW, heads, 3 * width);
        Tensor gbi = fx.of(startB, heads);
        Tensor gbf = fx.of(startB, heads);
        fx.ops
                .mlstm()
                .gatesBackward(
                        fx.stream,
                        q,
                        k,
                        v,
                        twi,
                        twf,
                        fx.of(di, rows, heads),
                        fx.of(df, rows, heads),
                        dq,
                        dk,
                        dv,
                        gwi,
                        gbi,
                        gwf,
                        gbf);
        fx.assertClose("dq", dx[0], dq, TOLERANCE);
        fx.assertClose("dk", dx[1], dk, TOLERANCE);
        fx.assertClose("dv", dx[2], dv, TOLERANCE);
        fx.assertClose("dwi", dwi, gwi, TOLERANCE);
        fx.assertClose("dwf", dwf, gwf, TOLERANCE);
        fx.assertClose("dbi", dbi, gbi, TOLERANCE);
        fx.assertClose("dbf", dbf, gbf, TOLERANCE);
    }

    @Test
    void aSecondRunGivesTheSameBits() {
        MlstmRun run = random(new MlstmDims(2, 100, 3, 16, 20), EXP, 1);
        float[] dh = fx.normal(2 * 100 * 3 * 20, 1);
        run.forward(true).backward(dh);
        float[] h = fx.read(run.h);
        float[] dk = fx.read(run.dk);
        float[] df = fx.read(run.df);
        run.forward(true).backward(dh);
        assertArrayEquals(h, fx.read(run.h));
        assertArrayEquals(dk, fx.read(run.dk));
        assertArrayEquals(df, fx.read(run.df));
        assertFalse(Float.isNaN(h[0]));
    }
}
