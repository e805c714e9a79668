package ai.lram.cli.scenario;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.checkpoint.Checkpoint;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.bench.latency.Engines;
import ai.lram.bench.latency.Target;
import ai.lram.bench.subject.PolicyMemory;
import ai.lram.bench.subject.Shapes;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ModelsTest {
    @TempDir
    Path temp;

    @Test
    void aModelsMemoryGrowsWithItsSessions() {
        LramConfig config = LramConfig.of(XlstmConfig.mlstm(64, 2, 2));
        ModelCard card = Shapes.card(Shapes.vector("reach", 7, 3, 50));
        try (Backend backend = Backends.open("cpu", BackendOptions.threads(1));
                Lram model = new Lram(config)) {
            model.allocate(backend, false);
            model.parameters().initialize(1);
            Checkpoint.save(temp.resolve("m"), model, card, Optional.empty());
        }
        List<Target> targets = Models.targets(temp.resolve("m"), 1, Engines.of("cpu"));
        assertEquals(List.of("reach"), targets.stream().map(Target::name).toList());
        long one = targets.getFirst().bytes().apply(1);
        long many = targets.getFirst().bytes().apply(256);
        assertEquals(PolicyMemory.bytes(config, Float.BYTES, 256), many);
        assertTrue(many > 20 * one, "states outweigh the weights: " + one + " and " + many);
    }
}
