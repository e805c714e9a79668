package ai.lram.bench.subject;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.export.OnnxExport;
import ai.lram.agent.export.OnnxOptions;
import ai.lram.agent.export.OnnxOptions.Weights;
import ai.lram.agent.export.OnnxPort;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.policy.LramPolicy;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.bench.TemporaryFolder;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** The model that {@link LramSubject} steps, as ONNX files in a temporary folder, with its fp32 step's answers to check them by. */
public final class ExportedModel implements AutoCloseable {
    private final TemporaryFolder folder;
    private final Map<Weights, OnnxExport.Summary> files = new EnumMap<>(Weights.class);
    private final ModelSize size;
    private final ModelCard card;
    private long parameters;
    private float[][] answers;

    private ExportedModel(TemporaryFolder folder, ModelSize size, ModelCard card) {
        this.folder = folder;
        this.size = size;
        this.card = card;
    }

    /** Draws the model, exports its step of one session in every format and answers the first steps itself. */
    public static ExportedModel write(ModelSize size, ModelCard card, List<Weights> formats) {
        ExportedModel exported = new ExportedModel(TemporaryFolder.create("the exported model"), size, card);
        try {
            exported.make(formats);
            return exported;
        } catch (RuntimeException | Error e) {
            try {
                exported.close();
            } catch (RuntimeException left) {
                e.addSuppressed(left);
            }
            throw e;
        }
    }

    private void make(List<Weights> formats) {
        try (Backend backend = Backends.open("cpu", BackendOptions.threads(1));
                Lram model = new Lram(LramSubject.config(size, card))) {
            LramSubject.draw(model, backend);
            parameters = model.parameters().count();
            for (Weights format : formats) {
                Path file = folder.path().resolve(key(format) + ".onnx");
                OnnxOptions options = OnnxOptions.defaults().withBatch(1).withWeights(format);
                files.put(format, OnnxExport.write(file, model, card, options));
            }
            try (LramPolicy policy = new LramPolicy(model, card, LramPolicy.Options.of(1, 1))) {
                answers = LramSubject.answers(policy, card, size);
            }
        }
    }

    /** Bytes that {@link #write} puts into the temporary folder, about. */
    public static long fileBytes(ModelSize size, ModelCard card, List<Weights> formats) {
        long parameters = LramSubject.parameters(size, card);
        return formats.stream().mapToLong(f -> bytes(f) * parameters).sum();
    }

    /** As case names have it: {@code fp32} or {@code int8}. */
    public static String key(Weights format) {
        return format.name().toLowerCase(Locale.ROOT);
    }

    static int bytes(Weights format) {
        return format == Weights.INT8 ? Byte.BYTES : Float.BYTES;
    }

    Path file(Weights format) {
        return files.get(format).file();
    }

    List<OnnxPort> outputs(Weights format) {
        return new ArrayList<>(files.get(format).outputs());
    }

    ModelSize size() {
        return size;
    }

    ModelCard card() {
        return card;
    }

    long parameters() {
        return parameters;
    }

    /** Logits of our fp32 step by step, under the inputs of {@link LramSubject#INPUT_SEED}. */
    float[][] answers() {
        return answers;
    }

    /** Deletes the files. */
    @Override
    public void close() {
        folder.close();
    }
}
