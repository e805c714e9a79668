package ai.lram.agent.checkpoint;

import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.backend.Backend;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/**
 * Import of a state dict of the published agent, stored as one safetensors file. Both layouts of sLSTM cells are understood. Tables and heads
 * that never train are taken where they fit and ignored otherwise: no action depends on them.
 */
public final class PublishedCheckpoint {
    private static final Set<String> NEVER_TRAINED = Set.of(
            "embed_timestep.weight",
            "embed_action_disc.weight",
            "predict_state.weight",
            "predict_state.bias",
            "predict_return.weight",
            "predict_return.bias",
            "predict_reward.weight",
            "predict_reward.bias");

    private PublishedCheckpoint() {}

    /** The model, and the file's tensors that it does not use. Owns the model. */
    public record Imported(Lram model, List<String> ignored) implements AutoCloseable {
        @Override
        public void close() {
            model.close();
        }
    }

    /**
     * @param config the shape the weights were trained with, e.g. {@link LramConfig#published}
     * @throws CheckpointReadException if the file cannot be opened
     * @throws CorruptCheckpointException if the file contradicts itself or holds NaN or infinite weights
     * @throws IncompatibleCheckpointException if a tensor that an action depends on is missing or has another shape
     */
    public static Imported load(Path safetensors, LramConfig config, Backend backend, boolean training) {
        try (Safetensors file = Safetensors.open(safetensors)) {
            Lram model = new Lram(config);
            boolean kept = false;
            try {
                List<Parameter> present = new ArrayList<>();
                List<String> ignored = new ArrayList<>(file.names());
                for (Parameter p : model.parameters().all()) {
                    boolean optional = NEVER_TRAINED.contains(p.name());
                    if (optional
                            && !(file.contains(p.name())
                                    && ParameterReader.fits(
                                            p, file.tensor(p.name()).shape()))) {
                        continue;
                    }
                    ParameterReader.require(file, "", p);
                    present.add(p);
                    ignored.remove(p.name());
                }
                model.allocate(backend, training);
                for (Parameter p : present) {
                    model.parameters().write(p.value(), ParameterReader.read(file, "", p));
                }
                kept = true;
                return new Imported(model, List.copyOf(ignored));
            } finally {
                if (!kept) {
                    model.close();
                }
            }
        }
    }
}
