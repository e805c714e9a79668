package ai.lram.agent.vision;

import ai.lram.agent.autodiff.Init;
import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.autodiff.ParameterSet;
import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.autodiff.Value;
import ai.lram.backend.ops.Activation;
import java.util.List;

/**
 * The IMPALA residual CNN: three stages (16, 32, 32 channels) of conv 3x3, max-pool 3x3 stride 2 and two residual units, then ReLU,
 * a linear layer to D and ReLU. Input uint8 (N, 3, 64, 64), divided by 255.
 *
 * @see "Espeholt et al. 2018, IMPALA, arXiv:1802.01561, Fig. 3"
 */
public final class ImpalaCnn {
    public static final int CHANNELS = 3;
    public static final int SIZE = 64;
    /** Of one image: channels, height, width. */
    public static final List<Integer> SHAPE = List.of(CHANNELS, SIZE, SIZE);
    /** What a byte of an image is multiplied by. */
    public static final float PIXEL = 1f / 255f;

    private static final int[] STAGES = {16, 32, 32};
    private static final int FLAT = 32 * 8 * 8;

    private record Conv(Parameter weight, Parameter bias) {}

    private record Stage(Conv conv, Conv[][] residual) {}

    private final Stage[] stages = new Stage[STAGES.length];
    private final Parameter linear;
    private final Parameter linearBias;

    /** Declares the parameters under {@code prefix}, e.g. {@code embed_image.}. */
    public ImpalaCnn(int width, ParameterSet set, String prefix) {
        int in = CHANNELS;
        for (int i = 0; i < STAGES.length; i++) {
            int out = STAGES[i];
            String p = prefix + "cnn." + i + ".";
            Conv conv = conv(set, p + "conv", in, out);
            Conv[][] residual = new Conv[2][2];
            for (int r = 0; r < 2; r++) {
                for (int j = 0; j < 2; j++) {
                    residual[r][j] = conv(set, p + "residual_" + r + ".conv_" + j, out, out);
                }
            }
            stages[i] = new Stage(conv, residual);
            in = out;
        }
        linear = set.add(prefix + "linear.0.weight", true, Init.normal(0.02), width, FLAT);
        linearBias = set.add(prefix + "linear.0.bias", false, Init.zeros(), width);
    }

    private static Conv conv(ParameterSet set, String name, int in, int out) {
        Init kaiming = Init.uniform(1 / Math.sqrt(in * 9.0));
        return new Conv(
                set.add(name + ".weight", true, kaiming, out, in, 3, 3), set.add(name + ".bias", false, kaiming, out));
    }

    /** Records the encoder over images (N, 3, 64, 64) U8: (N, D), not negative. */
    public Value forward(Tape tape, Value images) {
        return encode(tape, tape.fromBytes(images, PIXEL));
    }

    /** The same behind the first step: pixels (N, 3, 64, 64) F32, each a byte times {@link #PIXEL}. */
    public Value encode(Tape tape, Value pixels) {
        Value x = pixels;
        for (Stage s : stages) {
            x = tape.maxPool2d(apply(tape, x, s.conv()), 3, 2, 1);
            for (Conv[] r : s.residual()) {
                Value y = apply(tape, tape.activation(Activation.RELU, x), r[0]);
                x = tape.add(x, apply(tape, tape.activation(Activation.RELU, y), r[1]));
            }
        }
        Value flat = tape.reshape(tape.activation(Activation.RELU, x), x.dim(0), FLAT);
        return tape.activation(Activation.RELU, tape.linear(flat, linear, linearBias));
    }

    private static Value apply(Tape tape, Value x, Conv c) {
        return tape.conv2d(x, c.weight(), c.bias(), 1, 1);
    }
}
