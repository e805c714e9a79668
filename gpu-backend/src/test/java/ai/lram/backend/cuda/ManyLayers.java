package ai.lram.backend.cuda;

import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.contract.Fixture;
import ai.lram.backend.contract.MlstmSessions;
import ai.lram.backend.contract.MlstmSessions.Sizes;
import ai.lram.backend.ops.FoldSchedule;
import ai.lram.backend.ops.MlstmBlockState;
import ai.lram.backend.ops.MlstmBlockWeights;
import ai.lram.backend.ops.MlstmLayer;
import ai.lram.backend.ops.MlstmSlots;
import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.NormSpec;
import ai.lram.backend.ops.StepWeight;

/** Blocks for tests of the kernels of many sessions. */
final class ManyLayers {
    private ManyLayers() {}

    /** The same numbers in every tensor of a shape. */
    static Tensor waves(Fixture fx, int... shape) {
        float[] x = new float[Math.toIntExact(Tensor.sizeOf(shape))];
        for (int i = 0; i < x.length; i++) {
            x[i] = (float) Math.sin(i + 1);
        }
        return fx.of(x, shape);
    }

    /** In bf16, and in fp16, too, if this is wanted. */
    static StepWeight weight(Fixture fx, boolean fp16, Tensor full) {
        return fp16
                ? StepWeight.copyTwice(full, fx.arena, fx.ops.matmul(), fx.stream)
                : StepWeight.copy(full, DType.BF16, fx.arena, fx.ops.matmul(), fx.stream);
    }

    /** With these large weights, and a slot for each session, empty, with a state in {@code type}; folds come after two environment steps. */
    static MlstmLayer layer(
            Fixture fx,
            DType type,
            int sessions,
            int width,
            int inner,
            int heads,
            int group,
            StepWeight upU,
            StepWeight upZ,
            StepWeight down) {
        Tensor block = waves(fx, inner / group, group, group);
        Tensor gate = fx.zeros(heads, 3 * inner);
        Tensor bias = fx.zeros(heads);
        Tensor channels = fx.zeros(inner);
        MlstmBlockWeights w = new MlstmBlockWeights(
                new NormSpec(1, 1e-5f, true, true),
                fx.zeros(width),
                upU,
                upZ,
                waves(fx, inner, 4),
                null,
                block,
                block,
                block,
                gate,
                bias,
                gate,
                bias,
                MlstmSpec.exponential(),
                new NormSpec(heads, 1e-5f, true, true),
                channels,
                channels,
                down);
        int d = inner / heads;
        FoldSchedule schedule = new FoldSchedule(6, 6, 1);
        MlstmSlots state = MlstmSessions.emptyPool(fx, type, new Sizes(sessions, heads, d, d, schedule.capacity()));
        return new MlstmLayer(w, new MlstmBlockState(state, fx.zeros(sessions, 3, inner), schedule, 0));
    }
}
