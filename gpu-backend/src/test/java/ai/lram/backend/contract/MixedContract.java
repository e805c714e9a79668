package ai.lram.backend.contract;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import ai.lram.backend.DType;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import ai.lram.backend.UnsupportedKernelException;
import ai.lram.backend.ops.Activation;
import ai.lram.backend.ops.MixedOps;
import ai.lram.backend.ops.MixedOps.BlockWeights;
import ai.lram.backend.ops.NormSpec;
import ai.lram.backend.reference.ReferenceCausalConv;
import ai.lram.backend.reference.ReferenceElementwise;
import ai.lram.backend.reference.ReferenceMatmul;
import ai.lram.backend.reference.ReferenceNorm;
import java.util.Arrays;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What every engine's kernels of mixed precision must do, against fp64 references over the inputs as bf16 rounds them. */
public abstract class MixedContract extends KernelContract {
    /** Of the largest value: a result rounded once, from intermediate results rounded once. */
    private static final double NARROW = 6e-3;

    /** fp32 sums of products of bf16 numbers. */
    private static final double WIDE = 1e-5;

    private MixedOps ops() {
        return fx.ops.mixed();
    }

    @BeforeEach
    void requireKernels() {
        assumeTrue(ops().supported(), "skipped: " + backend.name() + " has no kernels of mixed precision");
    }

    private static float[] rounded(float[] x) {
        double[] r = ReferenceMatmul.bf16(x);
        float[] y = new float[x.length];
        for (int i = 0; i < y.length; i++) {
            y[i] = x[i] == 0 ? 0 : (float) r[i];
        }
        return y;
    }

    /** N(0,1) scaled, as bf16 has it. */
    private float[] narrowNormal(int n, double scale) {
        return rounded(fx.normal(n, scale));
    }

    private Tensor narrow(float[] x, int... shape) {
        return fx.of(DType.BF16, x, shape);
    }

    private static double[] wide(float[] x) {
        return Fixture.doubles(x);
    }

    private static double[] sum(double[] a, float[] b) {
        double[] s = a.clone();
        for (int i = 0; i < s.length; i++) {
            s[i] += b[i];
        }
        return s;
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 3, 4, 1023, 70_001})
    void castsRoundToTheNearest(int n) {
        float[] x = fx.normal(n, 3);
        x[0] = Float.NaN;
        if (n > 10) {
            x[1] = Float.POSITIVE_INFINITY;
            x[2] = Float.NEGATIVE_INFINITY;
            x[3] = 1 + 0x1p-8f; // ties go to the even neighbour
            x[4] = 1 + 3 * 0x1p-8f;
            x[5] = -0f;
            x[6] = Float.MAX_VALUE;
        }
        Tensor y = fx.poisoned(DType.BF16, n);
        ops().narrow(fx.stream, fx.of(x, n), y);
        Tensor z = fx.poisoned(n);
        ops().widen(fx.stream, y, z);
        float[] got = fx.read(z);
        assertArrayEquals(fx.read(y), got);
        assertTrue(Float.isNaN(got[0]));
        for (int i = 1; i < n; i++) {
            float want = n > 10 && (i == 1 || i == 2 || i == 5)
                    ? x[i]
                    : n > 10 && i == 6 ? Float.POSITIVE_INFINITY : rounded(new float[] {x[i]})[0];
            assertEquals(want, got[i], "element " + i + " of " + x[i]);
        }
    }

    @Test
    void sumsAreRoundedOnce() {
        float[] a = narrowNormal(1027, 1);
        float[] b = narrowNormal(1027, 2);
        Tensor y = fx.poisoned(DType.BF16, 1027);
        ops().add(fx.stream, narrow(a, 1027), narrow(b, 1027), y);
        float[] want = new float[1027];
        for (int i = 0; i < want.length; i++) {
            want[i] = a[i] + b[i];
        }
        assertArrayEquals(rounded(want), fx.read(y));
    }

    @ParameterizedTest(name = "M={0} N={1} K={2}")
    @CsvSource({"1,8,8", "3,16,8", "33,24,40", "70,8,136"})
    void productsAgreeWithTheReference(int m, int n, int k) {
        float[] x = narrowNormal(m * k, 1);
        float[] w = narrowNormal(n * k, 1);
        float[] bias = fx.normal(n, 1);
        float[] residual = fx.normal(m * n, 1);
        float[] dy = narrowNormal(m * n, 1);
        float[] dw0 = fx.normal(n * k, 1);
        Tensor tx = narrow(x, m, k);
        Tensor tw = narrow(w, n, k);
        double[] plain = ReferenceMatmul.linear(m, n, k, wide(x), wide(w), null);
        Tensor y = fx.poisoned(DType.BF16, m, n);
        ops().linear(fx.stream, tx, tw, null, null, y);
        fx.assertClose("y", plain, y, NARROW);
        Tensor y32 = fx.poisoned(m, n);
        ops().linear(fx.stream, tx, tw, fx.of(bias, n), fx.of(residual, m, n), y32);
        fx.assertClose(
                "y + bias + residual",
                sum(ReferenceMatmul.linear(m, n, k, wide(x), wide(w), wide(bias)), residual),
                y32,
                WIDE);
        double[] wantDx = ReferenceMatmul.linearBackwardInput(m, n, k, wide(dy), wide(w));
        Tensor tdy = narrow(dy, m, n);
        Tensor dx = fx.poisoned(DType.BF16, m, k);
        ops().linearBackwardInput(fx.stream, tdy, tw, dx);
        fx.assertClose("dx", wantDx, dx, NARROW);
        Tensor dx32 = fx.poisoned(m, k);
        ops().linearBackwardInput(fx.stream, tdy, tw, dx32);
        fx.assertClose("dx in fp32", wantDx, dx32, WIDE);
        Tensor dw = fx.of(dw0, n, k);
        ops().linearBackwardWeight(fx.stream, tdy, tx, dw);
        fx.assertClose("dw", sum(ReferenceMatmul.linearBackwardWeight(m, n, k, wide(dy), wide(x)), dw0), dw, WIDE);
        Tensor db = fx.of(bias, n);
        ops().addColumns(fx.stream, fx.of(residual, m, n), db);
        fx.assertClose("dbias", sum(ReferenceMatmul.columnSums(m, n, wide(residual)), bias), db, WIDE);
    }

    @ParameterizedTest(name = "M={0} N={1} centred={2} residual={3}")
    @CsvSource({
        "1,4,true,true",
        "3,128,true,true",
        "17,132,false,false",
        "5,512,true,false",
        "9,768,false,true",
        "30,1024,true,true",
        "7,1280,true,true",
        "2,1536,true,true",
        "2200,32,true,true"
    })
    void normsAgreeWithTheReference(int rows, int width, boolean centred, boolean residual) {
        NormSpec spec = new NormSpec(1, 1e-5f, centred, residual);
        float[] x = fx.normal(rows * width, 1);
        for (int i = 0; i < x.length; i++) {
            x[i] += 0.5f;
        }
        float[] w = fx.normal(width, 1);
        float[] b = fx.normal(width, 1);
        float[] dy = narrowNormal(rows * width, 1);
        float[] past = fx.normal(rows * width, 1);
        float[] dw0 = fx.normal(width, 1);
        ReferenceNorm.Result want = ReferenceNorm.forward(spec, wide(x), wide(w), wide(b));
        Tensor tx = fx.of(x, rows, width);
        Tensor tw = fx.of(w, width);
        Tensor y = fx.poisoned(DType.BF16, rows, width);
        Tensor mean = fx.poisoned(rows);
        Tensor rstd = fx.poisoned(rows);
        ops().norm(fx.stream, spec, tx, tw, fx.of(b, width), y, mean, rstd);
        fx.assertClose("y", want.y(), y, NARROW);
        fx.assertClose("rstd", want.rstd(), rstd, WIDE);
        if (centred) {
            fx.assertClose("mean", want.mean(), mean, WIDE);
        }
        ReferenceNorm.Gradient grad = ReferenceNorm.backward(spec, wide(dy), wide(x), wide(w));
        Tensor dx = fx.poisoned(rows, width);
        Tensor narrowDx = fx.poisoned(DType.BF16, rows, width);
        Tensor dw = fx.of(dw0, width);
        Tensor db = fx.of(dw0, width);
        Tensor tdy = narrow(dy, rows, width);
        ops().normBackward(fx.stream, spec, tdy, tx, tw, mean, rstd, fx.of(past, rows, width), dx, narrowDx, dw, db);
        fx.assertClose("dx", sum(grad.dx(), past), dx, WIDE);
        assertArrayEquals(rounded(fx.read(dx)), fx.read(narrowDx), "the copy");
        fx.assertClose("dweight", sum(grad.dweight(), dw0), dw, WIDE);
        fx.assertClose("dbias", sum(grad.dbias(), dw0), db, WIDE);
        Tensor alone = fx.poisoned(rows, width);
        ops().normBackward(fx.stream, spec, tdy, tx, tw, mean, rstd, null, alone, null, dw, null);
        fx.assertClose("dx alone", grad.dx(), alone, WIDE);
    }

    /** Columns {@code from .. from + n - 1} of rows of {@code width}. */
    private static float[] columns(float[] x, int width, int from, int n) {
        float[] y = new float[x.length / width * n];
        for (int r = 0; r < x.length / width; r++) {
            System.arraycopy(x, r * width + from, y, r * n, n);
        }
        return y;
    }

    @ParameterizedTest(name = "M={0} I={1} NH={2}")
    @CsvSource({"1,8,1", "5,32,4", "33,64,2", "7,1024,4", "3,1280,2", "4,768,1", "2,2048,2", "300,24,3"})
    void headNormSkipAndGateAgreeWithTheReference(int rows, int inner, int heads) {
        NormSpec spec = new NormSpec(heads, 1e-5f, true, true);
        float[] h = narrowNormal(rows * inner, 1);
        float[] c = narrowNormal(rows * inner, 1);
        float[] uz = narrowNormal(rows * 2 * inner, 1);
        float[] z = columns(uz, 2 * inner, inner, inner);
        float[] dy = narrowNormal(rows * inner, 1);
        float[] w = fx.normal(inner, 0.5);
        float[] skip = fx.normal(inner, 1);
        float[] d0 = fx.normal(inner, 1);
        ReferenceNorm.Result normed = ReferenceNorm.forward(spec, wide(h), wide(w), null);
        Tensor th = narrow(h, rows, inner);
        Tensor tc = narrow(c, rows, inner);
        Tensor tuz = narrow(uz, rows, 2 * inner);
        Tensor tw = fx.of(w, inner);
        Tensor ts = fx.of(skip, inner);
        Tensor y = fx.poisoned(DType.BF16, rows, inner);
        Tensor mean = fx.poisoned(rows, heads);
        Tensor rstd = fx.poisoned(rows, heads);
        ops().headGate(fx.stream, spec, th, tc, tuz, tw, ts, y, mean, rstd);
        fx.assertClose("y", ReferenceElementwise.skipGate(normed.y(), wide(skip), wide(c), wide(z)), y, NARROW);
        double[][] gate = ReferenceElementwise.skipGateBackward(normed.y(), wide(skip), wide(c), wide(z), wide(dy));
        ReferenceNorm.Gradient norm = ReferenceNorm.backward(spec, gate[0], wide(h), wide(w));
        Tensor dh = fx.poisoned(DType.BF16, rows, inner);
        Tensor dc = fx.poisoned(DType.BF16, rows, inner);
        float[] marked = new float[rows * 2 * inner];
        Arrays.fill(marked, 5);
        Tensor duz = narrow(marked, rows, 2 * inner);
        Tensor dw = fx.of(d0, inner);
        Tensor dskip = fx.of(d0, inner);
        ops().headGateBackward(
                        fx.stream,
                        spec,
                        th,
                        tc,
                        tuz,
                        tw,
                        ts,
                        mean,
                        rstd,
                        narrow(dy, rows, inner),
                        dh,
                        dc,
                        duz,
                        dw,
                        dskip);
        fx.assertClose("dh", norm.dx(), dh, NARROW);
        fx.assertClose("dc", gate[2], dc, NARROW);
        float[] both = fx.read(duz);
        assertClose("dz", gate[3], columns(both, 2 * inner, inner, inner), NARROW);
        float[] first = columns(both, 2 * inner, 0, inner);
        for (float v : first) {
            assertEquals(5, v, "u's half is left alone");
        }
        fx.assertClose("dweight", sum(norm.dweight(), d0), dw, WIDE);
        fx.assertClose("dskip", sum(gate[1], d0), dskip, WIDE);
    }

    private void assertClose(String name, double[] want, float[] got, double tolerance) {
        double e = Fixture.error(got, want);
        assertTrue(e <= tolerance, name + ": error " + e + "; rerun with -Dlram.seed=" + fx.seed);
    }

    /** Weights of the middle of a block, and their tensors. */
    private final class Weights {
        final int inner;
        final int heads;
        final float[][] values;

        Weights(int inner, int heads) {
            this.inner = inner;
            this.heads = heads;
            values = new float[][] {
                fx.normal(4 * inner, 0.5),
                fx.normal(inner, 0.3),
                fx.normal(4 * inner, 0.7),
                fx.normal(4 * inner, 0.7),
                fx.normal(4 * inner, 0.7),
                fx.normal(3 * heads * inner, 0.2),
                fx.normal(heads, 1),
                fx.normal(3 * heads * inner, 0.2),
                fx.normal(heads, 1)
            };
        }

        BlockWeights tensors() {
            int g = inner / 4;
            return new BlockWeights(
                    fx.of(values[0], inner, 1, 4),
                    fx.of(values[1], inner),
                    fx.of(values[2], g, 4, 4),
                    fx.of(values[3], g, 4, 4),
                    fx.of(values[4], g, 4, 4),
                    fx.of(values[5], heads, 3 * inner),
                    fx.of(values[6], heads),
                    fx.of(values[7], heads, 3 * inner),
                    fx.of(values[8], heads));
        }
    }

    @ParameterizedTest(name = "B={0} S={1} I={2} NH={3} history={4}")
    @CsvSource({
        "1,1,8,1,false",
        "2,9,32,4,false",
        "3,2,64,2,true",
        "2,37,264,1,true",
        "1,5,1024,4,false",
        "2,3,24,3,true",
        "40,4,16,2,false"
    })
    void convolutionMapsAndGatesAgreeWithTheReference(int batch, int tokens, int inner, int heads, boolean carried) {
        int rows = batch * tokens;
        Weights w = new Weights(inner, heads);
        float[] uz = narrowNormal(rows * 2 * inner, 1);
        double[] u = wide(columns(uz, 2 * inner, 0, inner));
        float[] history = carried ? fx.normal(batch * 3 * inner, 1) : null;
        double[] past = carried ? wide(history) : null;
        ReferenceCausalConv conv = new ReferenceCausalConv(batch, tokens, inner, 4);
        double[] before = conv.forward(u, wide(w.values[0]), wide(w.values[1]), past);
        double[] c = new double[before.length];
        for (int i = 0; i < c.length; i++) {
            c[i] = ReferenceElementwise.value(Activation.SILU, before[i]);
        }
        int g = inner / 4;
        double[] q = ReferenceMatmul.headwise(rows, g, 4, 4, c, wide(w.values[2]), null);
        double[] k = ReferenceMatmul.headwise(rows, g, 4, 4, c, wide(w.values[3]), null);
        double[] v = ReferenceMatmul.headwise(rows, g, 4, 4, u, wide(w.values[4]), null);
        double[] qkv = new double[rows * 3 * inner];
        for (int r = 0; r < rows; r++) {
            System.arraycopy(q, r * inner, qkv, r * 3 * inner, inner);
            System.arraycopy(k, r * inner, qkv, (r * 3 + 1) * inner, inner);
            System.arraycopy(v, r * inner, qkv, (r * 3 + 2) * inner, inner);
        }
        BlockWeights weights = w.tensors();
        Tensor tuz = narrow(uz, batch, tokens, 2 * inner);
        Tensor th = carried ? fx.of(history, batch, 3, inner) : null;
        Tensor tc = fx.poisoned(DType.BF16, batch, tokens, inner);
        Tensor tq = fx.poisoned(DType.BF16, batch, tokens, inner);
        Tensor tk = fx.poisoned(DType.BF16, batch, tokens, inner);
        Tensor tv = fx.poisoned(DType.BF16, batch, tokens, inner);
        Tensor ti = fx.poisoned(batch, tokens, heads);
        Tensor tf = fx.poisoned(batch, tokens, heads);
        ops().convQkv(fx.stream, tuz, weights, th, tc, tq, tk, tv, ti, tf);
        fx.assertClose("c", c, tc, NARROW);
        fx.assertClose("q", q, tq, NARROW);
        fx.assertClose("k", k, tk, NARROW);
        fx.assertClose("v", v, tv, NARROW);
        fx.assertClose(
                "i",
                ReferenceMatmul.linear(rows, heads, 3 * inner, qkv, wide(w.values[5]), wide(w.values[6])),
                ti,
                NARROW);
        fx.assertClose(
                "f",
                ReferenceMatmul.linear(rows, heads, 3 * inner, qkv, wide(w.values[7]), wide(w.values[8])),
                tf,
                NARROW);

        float[] dq = narrowNormal(rows * inner, 1);
        float[] dk = narrowNormal(rows * inner, 1);
        float[] dv = narrowNormal(rows * inner, 1);
        float[] dc = narrowNormal(rows * inner, 1);
        float[] di = fx.normal(rows * heads, 1);
        float[] df = fx.normal(rows * heads, 1);
        double[] gates = ReferenceMatmul.linearBackwardInput(rows, heads, 3 * inner, wide(di), wide(w.values[5]));
        double[] forget = ReferenceMatmul.linearBackwardInput(rows, heads, 3 * inner, wide(df), wide(w.values[7]));
        double[][] all = {wide(dq), wide(dk), wide(dv)};
        for (int part = 0; part < 3; part++) {
            for (int r = 0; r < rows; r++) {
                for (int j = 0; j < inner; j++) {
                    int at = (r * 3 + part) * inner + j;
                    all[part][r * inner + j] += gates[at] + forget[at];
                }
            }
        }
        double[] wantDc = sum(ReferenceMatmul.headwiseBackwardInput(rows, g, 4, 4, all[0], wide(w.values[2])), dc);
        double[] fromK = ReferenceMatmul.headwiseBackwardInput(rows, g, 4, 4, all[1], wide(w.values[3]));
        double[] fromV = ReferenceMatmul.headwiseBackwardInput(rows, g, 4, 4, all[2], wide(w.values[4]));
        for (int i = 0; i < wantDc.length; i++) {
            wantDc[i] = (wantDc[i] + fromK[i]) * ReferenceElementwise.slope(Activation.SILU, before[i]);
        }
        ReferenceCausalConv.Gradients back = conv.backward(wantDc, u, wide(w.values[0]), past);
        double[] du = back.dx();
        for (int i = 0; i < du.length; i++) {
            du[i] += fromV[i];
        }
        Weights start = new Weights(inner, heads);
        BlockWeights dw = start.tensors();
        float[] marked = new float[rows * 2 * inner];
        Arrays.fill(marked, 5);
        Tensor duz = narrow(marked, batch, tokens, 2 * inner);
        ops().convQkvBackward(
                        fx.stream,
                        tuz,
                        weights,
                        th,
                        tq,
                        tk,
                        tv,
                        narrow(dq, batch, tokens, inner),
                        narrow(dk, batch, tokens, inner),
                        narrow(dv, batch, tokens, inner),
                        fx.of(di, batch, tokens, heads),
                        fx.of(df, batch, tokens, heads),
                        narrow(dc, batch, tokens, inner),
                        duz,
                        dw);
        float[] both = fx.read(duz);
        assertClose("du", du, columns(both, 2 * inner, 0, inner), NARROW);
        for (float x : columns(both, 2 * inner, inner, inner)) {
            assertEquals(5, x, "z's half is left alone");
        }
        fx.assertClose("d conv", sum(back.dw(), start.values[0]), dw.conv(), WIDE);
        fx.assertClose("d conv bias", sum(back.dbias(), start.values[1]), dw.convBias(), WIDE);
        fx.assertClose(
                "d q",
                sum(ReferenceMatmul.headwiseBackwardWeight(rows, g, 4, 4, all[0], c), start.values[2]),
                dw.q(),
                NARROW);
        fx.assertClose(
                "d k",
                sum(ReferenceMatmul.headwiseBackwardWeight(rows, g, 4, 4, all[1], c), start.values[3]),
                dw.k(),
                NARROW);
        fx.assertClose(
                "d v",
                sum(ReferenceMatmul.headwiseBackwardWeight(rows, g, 4, 4, all[2], u), start.values[4]),
                dw.v(),
                WIDE);
        fx.assertClose(
                "d input gate",
                sum(ReferenceMatmul.linearBackwardWeight(rows, heads, 3 * inner, wide(di), qkv), start.values[5]),
                dw.inputGate(),
                NARROW);
        fx.assertClose(
                "d forget gate",
                sum(ReferenceMatmul.linearBackwardWeight(rows, heads, 3 * inner, wide(df), qkv), start.values[7]),
                dw.forgetGate(),
                NARROW);
        fx.assertClose(
                "d input bias",
                sum(ReferenceMatmul.columnSums(rows, heads, wide(di)), start.values[6]),
                dw.inputGateBias(),
                WIDE);
        fx.assertClose(
                "d forget bias",
                sum(ReferenceMatmul.columnSums(rows, heads, wide(df)), start.values[8]),
                dw.forgetGateBias(),
                WIDE);
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 7})
    void historyHoldsTheLastThreeInputs(int tokens) {
        int inner = 12;
        float[] uz = narrowNormal(2 * tokens * 2 * inner, 1);
        float[] history = fx.normal(2 * 3 * inner, 1);
        Tensor th = fx.of(history, 2, 3, inner);
        ops().carryHistory(fx.stream, narrow(uz, 2, tokens, 2 * inner), th);
        float[] want = new float[2 * 3 * inner];
        for (int b = 0; b < 2; b++) {
            for (int t = 0; t < 3; t++) {
                int from = tokens - 3 + t;
                for (int j = 0; j < inner; j++) {
                    want[(b * 3 + t) * inner + j] = from >= 0
                            ? uz[((b * tokens + from) * 2) * inner + j]
                            : history[(b * 3 + t + tokens) * inner + j];
                }
            }
        }
        assertArrayEquals(want, fx.read(th));
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 6, 4099})
    void theOptimiserCopiesWhatItWrites(int n) {
        float[] param = fx.normal(n, 1);
        float[] grad = fx.normal(n, 1);
        Tensor hyper = fx.of(new float[] {1e-2f, 0.9f, 0.99f, 1e-8f, 0.1f, 0.1f, 0.01f, 1}, 8);
        Tensor squares = fx.of(new float[] {9}, 1);
        Tensor p = fx.of(param, n);
        Tensor q = fx.of(param, n);
        Tensor copy = fx.poisoned(DType.BF16, n);
        ops().adamW(fx.stream, hyper, squares, true, p, fx.of(grad, n), fx.zeros(n), fx.zeros(n), copy);
        fx.ops.optimizer().adamW(fx.stream, hyper, squares, true, q, fx.of(grad, n), fx.zeros(n), fx.zeros(n));
        assertArrayEquals(fx.read(q), fx.read(p));
        assertArrayEquals(rounded(fx.read(p)), fx.read(copy));
    }

    @Test
    void whatDoesNotFitIsRefused() {
        assertFalse(ops().normFits(6));
        assertFalse(ops().normFits(4096));
        assertTrue(ops().normFits(512));
        assertFalse(ops().blockFits(64, 8));
        assertFalse(ops().blockFits(36, 4));
        assertTrue(ops().blockFits(2560, 4));
        NormSpec spec = new NormSpec(1, 1e-5f, true, true);
        assertThrows(UnsupportedKernelException.class, () -> ops().norm(
                        fx.stream,
                        spec,
                        fx.zeros(2, 6),
                        fx.zeros(6),
                        null,
                        fx.poisoned(DType.BF16, 2, 6),
                        fx.zeros(2),
                        fx.zeros(2)));
        assertThrows(UnsupportedKernelException.class, () -> ops().linear(
                        fx.stream,
                        fx.poisoned(DType.BF16, 2, 6),
                        fx.poisoned(DType.BF16, 8, 6),
                        null,
                        null,
                        fx.poisoned(DType.BF16, 2, 8)));
        Tensor y = fx.zeros(2, 8);
        assertThrows(ShapeMismatchException.class, () -> ops().linear(
                        fx.stream, fx.zeros(2, 8), fx.poisoned(DType.BF16, 8, 8), null, null, y));
        assertThrows(ShapeMismatchException.class, () -> ops().narrow(fx.stream, y, fx.poisoned(DType.BF16, 15)));
    }
}
