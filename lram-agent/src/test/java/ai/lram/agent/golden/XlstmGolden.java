package ai.lram.agent.golden;

import ai.lram.agent.autodiff.ParameterSet;
import ai.lram.agent.autodiff.Plan;
import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.autodiff.Value;
import ai.lram.agent.xlstm.CarriedState;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.agent.xlstm.XlstmStack;
import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.golden.GoldenReport;
import ai.lram.backend.golden.Safetensors;
import ai.lram.backend.ops.MlstmSpec;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Blocks and a mixed stack of the original xLSTM package: outputs, states step by step, every gradient. */
@Tag("golden")
abstract class XlstmGolden {
    private static final String BLOCK = "blocks.0.";

    protected abstract Backend openBackend();

    @ParameterizedTest
    @ValueSource(strings = {"mlstm_block", "slstm_block"})
    void aBlockAndItsGradientsAgree(String name) {
        Safetensors file = Safetensors.open("xlstm/" + name);
        int[] shape = file.shape("x");
        boolean slstm = name.startsWith("slstm");
        int heads = slstm
                ? file.shape("param.xlstm.fgate.weight")[0]
                : file.shape("param.xlstm.mlstm_cell.igate.weight")[0];
        XlstmConfig config = new XlstmConfig(shape[2], 1, heads, slstm ? List.of(0) : List.of());
        try (Backend backend = openBackend();
                ParameterSet set = new ParameterSet();
                GoldenReport report = new GoldenReport(file, backend.name())) {
            XlstmStack stack = new XlstmStack(config, MlstmSpec.exponential(), set, "");
            set.allocate(backend, true);
            GoldenParameters.load(file, "param.", set, BLOCK);
            Tape tape = new Tape(backend, true);
            Value x = tape.differentiableInput("x", shape);
            Value y = tape.keep(stack.forward(tape, x, null).blocks().getFirst());
            Value dy = tape.input("dy", DType.F32, shape);
            tape.backward(y, dy);
            Value dx = tape.keep(tape.gradient(x));
            try (Plan plan = tape.plan("block")) {
                set.write(x.tensor(), file.f32("x"));
                set.write(dy.tensor(), file.f32("dOut"));
                backend.ops().elementwise().fill(backend.stream(), 0f, set.grads());
                plan.run();
                report.compare("y", set.read(y.tensor()));
                report.compare("dx", set.read(dx.tensor()));
                GoldenParameters.compareGradients(file, report, set, BLOCK);
            }
        }
    }

    @Test
    void aMixedStackAgreesInOnePassAndTokenByToken() {
        Safetensors file = Safetensors.open("xlstm/stack_1_1");
        int[] shape = file.shape("x");
        int b = shape[0];
        int tokens = shape[1];
        int d = shape[2];
        int heads = file.shape("param.blocks.0.xlstm.mlstm_cell.igate.weight")[0];
        XlstmConfig config = new XlstmConfig(d, 2, heads, List.of(1));
        try (Backend backend = openBackend();
                ParameterSet set = new ParameterSet();
                CarriedState carried = new CarriedState(backend, config, b);
                GoldenReport report = new GoldenReport(file, backend.name())) {
            XlstmStack stack = new XlstmStack(config, MlstmSpec.exponential(), set, "");
            set.allocate(backend, false);
            GoldenParameters.load(file, "param.", set, "");
            float[] all = file.f32("x");

            Tape whole = new Tape(backend, false);
            Value x = whole.input("x", DType.F32, shape);
            Value y = whole.keep(stack.forward(whole, x, null).normed());
            try (Plan plan = whole.plan("whole")) {
                set.write(x.tensor(), all);
                plan.run();
                report.compare("y_full", set.read(y.tensor()));
            }

            Tape single = new Tape(backend, false);
            Value x1 = single.input("x", DType.F32, b, 1, d);
            Value y1 = single.keep(stack.forward(single, x1, carried).normed());
            float[] stepped = new float[all.length];
            try (Plan plan = single.plan("step")) {
                for (int t = 0; t < tokens; t++) {
                    float[] token = new float[b * d];
                    for (int row = 0; row < b; row++) {
                        System.arraycopy(all, (row * tokens + t) * d, token, row * d, d);
                    }
                    set.write(x1.tensor(), token);
                    plan.run();
                    float[] out = set.read(y1.tensor());
                    for (int row = 0; row < b; row++) {
                        System.arraycopy(out, row * d, stepped, (row * tokens + t) * d, d);
                    }
                }
            }
            report.compare("y_step", stepped);
            List<Tensor> state = carried.tensors();
            report.compare("state_mlstm_conv", withOldest(set.read(state.get(0)), file.f32("state_mlstm_conv"), b));
            double scale = 1 / Math.sqrt(config.headDim());
            report.compare("state_mlstm_C", scaled(set.read(state.get(1)), scale));
            report.compare("state_mlstm_n", scaled(set.read(state.get(2)), scale));
            report.compare("state_mlstm_m", set.read(state.get(3)));
            report.compare("state_slstm_conv", withOldest(set.read(state.get(4)), file.f32("state_slstm_conv"), b));
            report.compare("state_slstm", set.read(state.get(5)));
        }
    }

    /** The original package scales k, not q. */
    static float[] scaled(float[] a, double by) {
        float[] out = new float[a.length];
        for (int i = 0; i < a.length; i++) {
            out[i] = (float) (a[i] * by);
        }
        return out;
    }

    /** Ours holds the last three inputs, the published one also a fourth that no later step reads: taken from there. */
    static float[] withOldest(float[] three, float[] four, int batch) {
        float[] out = four.clone();
        int per = four.length / batch;
        for (int b = 0; b < batch; b++) {
            System.arraycopy(three, b * per / 4 * 3, out, b * per + per / 4, per / 4 * 3);
        }
        return out;
    }
}
