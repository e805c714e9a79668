package ai.lram.backend.golden;

import ai.lram.backend.Backend;
import ai.lram.backend.Tensor;
import ai.lram.backend.contract.Fixture;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The sLSTM against the published vanilla backend. */
@Tag("golden")
public abstract class SlstmGolden {
    protected abstract Backend openBackend();

    @ParameterizedTest
    @ValueSource(strings = {"plain", "init", "extreme"})
    void agreesWithThePublishedCell(String variant) {
        Safetensors file = Safetensors.open("xlstm/slstm_cell");
        int[] y = file.shape("dOut");
        int b = y[0];
        int nh = y[1];
        int s = y[2];
        int dh = y[3];
        int width = nh * dh;
        try (Backend backend = openBackend();
                Fixture fx = new Fixture(backend);
                GoldenReport report = new GoldenReport(file, backend.name())) {
            float[] x = file.f32(variant.equals("extreme") ? "x_extreme" : "x");
            Tensor[] in = new Tensor[4];
            Tensor[] dx = new Tensor[4];
            for (int g = 0; g < 4; g++) {
                float[] part = new float[b * s * width];
                for (int m = 0; m < b * s; m++) {
                    System.arraycopy(x, (m * 4 + g) * width, part, m * width, width);
                }
                in[g] = fx.of(part, b, s, width);
                dx[g] = fx.poisoned(b, s, width);
            }
            Tensor r = fx.of(file.f32("recurrent_ext"), nh, dh, 4, dh);
            Tensor bias = fx.of(file.f32("param._bias_"), 4, width);
            Tensor initial = variant.equals("init") ? fx.of(file.f32("state0"), 4, b, width) : null;
            Tensor dInitial = initial == null ? null : fx.poisoned(4, b, width);
            Tensor out = fx.poisoned(b, s, width);
            Tensor last = fx.poisoned(4, b, width);
            Tensor saved = fx.poisoned(Math.toIntExact(fx.ops.slstm().savedFloats(b, s, nh, dh)));
            Tensor scratch = fx.poisoned(Math.toIntExact(fx.ops.slstm().scratchFloats(b, s, nh, dh)));
            fx.ops
                    .slstm()
                    .forward(fx.stream, nh, in[0], in[1], in[2], in[3], r, bias, initial, out, last, saved, scratch);
            report.compare(variant + "_y", MlstmGolden.swap(fx.read(out), b, s, nh));
            report.compare(variant + "_state_last", fx.read(last));
            Tensor dy = fx.of(MlstmGolden.swap(file.f32("dOut"), b, nh, s), b, s, width);
            Tensor dr = fx.zeros(nh, dh, 4, dh);
            Tensor dbias = fx.zeros(4, width);
            fx.ops
                    .slstm()
                    .backward(
                            fx.stream, nh, r, initial, out, saved, dy, null, dx[0], dx[1], dx[2], dx[3], dInitial, dr,
                            dbias, scratch);
            float[] joined = new float[x.length];
            for (int g = 0; g < 4; g++) {
                float[] part = fx.read(dx[g]);
                for (int m = 0; m < b * s; m++) {
                    System.arraycopy(part, m * width, joined, (m * 4 + g) * width, width);
                }
            }
            report.compare(variant + "_dx", joined);
            report.compare(variant + "_d_bias_", fx.read(dbias));
            report.compare(variant + "_d_recurrent_kernel_", vanilla(fx.read(dr), nh, dh));
            if (dInitial != null) {
                report.compare(variant + "_dstate0", fx.read(dInitial));
            }
        }
    }

    /** (NH, DH_in, 4, DH_out) to the vanilla layout (NH, 4 DH_out, DH_in). */
    private static float[] vanilla(float[] r, int nh, int dh) {
        float[] out = new float[r.length];
        for (int h = 0; h < nh; h++) {
            for (int d = 0; d < dh; d++) {
                for (int go = 0; go < 4 * dh; go++) {
                    out[(h * 4 * dh + go) * dh + d] = r[(h * dh + d) * 4 * dh + go];
                }
            }
        }
        return out;
    }
}
