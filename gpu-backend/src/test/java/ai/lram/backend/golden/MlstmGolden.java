package ai.lram.backend.golden;

import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.Backend;
import ai.lram.backend.contract.Fixture;
import ai.lram.backend.contract.MlstmRun;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.MlstmSpec.InputGate;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The mLSTM against the published implementations: every output and gradient the files hold. */
@Tag("golden")
public abstract class MlstmGolden {
    protected abstract Backend openBackend();

    @ParameterizedTest
    @ValueSource(strings = {"mlstm_s64", "mlstm_s257", "mlstm_extreme_s64"})
    void agreesWithThePublishedKernels(String name) {
        Safetensors file = Safetensors.open("xlstm/" + name);
        try (Backend backend = openBackend();
                Fixture fx = new Fixture(backend);
                GoldenReport report = new GoldenReport(file, backend.name())) {
            for (String variant :
                    new String[] {"exp", "exp_init", "sig_norm", "sig_norm_init", "sig_raw", "sig_raw_init"}) {
                if (file.has(variant + "_h")) {
                    for (boolean exact : new boolean[] {true, false}) {
                        for (int chunk : new int[] {0, 24}) {
                            run(fx, file, report, variant, exact, chunk);
                        }
                    }
                }
            }
        }
    }

    private static void run(
            Fixture fx, Safetensors file, GoldenReport report, String variant, boolean exact, int chunk) {
        int[] keys = file.shape("k");
        int[] values = file.shape("v");
        MlstmDims dims = new MlstmDims(keys[0], keys[2], keys[1], keys[3], values[3]);
        InputGate gate = variant.startsWith("exp") ? InputGate.EXPONENTIAL : InputGate.SIGMOID;
        float eps = file.metadata("eps") == null ? 1e-6f : Float.parseFloat(file.metadata("eps"));
        MlstmSpec spec = new MlstmSpec(gate, !variant.startsWith("sig_raw"), eps, exact, chunk);
        MlstmRun run = new MlstmRun(
                fx,
                dims,
                spec,
                tokenMajor(file, "q", dims),
                tokenMajor(file, "k", dims),
                tokenMajor(file, "v", dims),
                tokenMajor(file, "i", dims),
                tokenMajor(file, "f", dims));
        boolean init = variant.endsWith("_init");
        if (init) {
            float[] m = file.has("m0") && gate == InputGate.EXPONENTIAL
                    ? file.f32("m0")
                    : new float[dims.batch() * dims.heads()];
            run.initial = run.state(file.f32("C0"), file.f32("n0"), m);
            run.dInitial = run.poisonedState();
        }
        run.last = run.poisonedState();
        run.forward(true);
        compare(report, file, variant + "_h", fx.read(run.h), dims);
        compareIfHeld(report, file, variant + "_C", fx.read(run.last.matC()));
        compareIfHeld(report, file, variant + "_n", fx.read(run.last.vecN()));
        compareIfHeld(report, file, variant + "_m", fx.read(run.last.scaM()));
        gradients(run, report, file, variant, exact ? "_ag" : "_cb", spec);
        String tail = "_cb_dClast";
        if (!exact && file.has(variant + "_dq" + tail)) {
            run.dLast = run.state(
                    file.f32("dClast"),
                    new float[dims.batch() * dims.heads() * dims.dimQk()],
                    new float[dims.batch() * dims.heads()]);
            gradients(run, report, file, variant, tail, spec);
        }
    }

    private static void gradients(
            MlstmRun run, GoldenReport report, Safetensors file, String variant, String suffix, MlstmSpec spec) {
        if (!file.has(variant + "_dq" + suffix)) {
            return;
        }
        Fixture fx = run.fx;
        run.backward(tokenMajor(file, "dOut", run.dims));
        compare(report, file, variant + "_dq" + suffix, fx.read(run.dq), run.dims);
        compare(report, file, variant + "_dk" + suffix, fx.read(run.dk), run.dims);
        compare(report, file, variant + "_dv" + suffix, fx.read(run.dv), run.dims);
        compare(report, file, variant + "_di" + suffix, fx.read(run.di), run.dims);
        compare(report, file, variant + "_df" + suffix, fx.read(run.df), run.dims);
        if (run.dInitial != null) {
            assertTrue(file.has(variant + "_dC0" + suffix), variant + " has no gradient of its initial state");
            compareIfHeld(report, file, variant + "_dC0" + suffix, fx.read(run.dInitial.matC()));
            compareIfHeld(report, file, variant + "_dn0" + suffix, fx.read(run.dInitial.vecN()));
            compareIfHeld(report, file, variant + "_dm0" + suffix, fx.read(run.dInitial.scaM()));
        }
    }

    private static void compareIfHeld(GoldenReport report, Safetensors file, String tensor, float[] got) {
        if (file.has(tensor)) {
            report.compare(tensor, got);
        }
    }

    private static void compare(GoldenReport report, Safetensors file, String tensor, float[] got, MlstmDims d) {
        report.compare(tensor, swap(got, d.batch(), d.tokens(), d.heads()));
    }

    private static float[] tokenMajor(Safetensors file, String tensor, MlstmDims d) {
        return swap(file.f32(tensor), d.batch(), d.heads(), d.tokens());
    }

    /** (B, X, Y, rest) to (B, Y, X, rest). */
    static float[] swap(float[] a, int b, int x, int y) {
        int width = a.length / (b * x * y);
        float[] out = new float[a.length];
        for (int n = 0; n < b; n++) {
            for (int p = 0; p < x; p++) {
                for (int r = 0; r < y; r++) {
                    System.arraycopy(a, ((n * x + p) * y + r) * width, out, ((n * y + r) * x + p) * width, width);
                }
            }
        }
        return out;
    }
}
