package ai.lram.cli.scenario;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.checkpoint.Checkpoint;
import ai.lram.agent.lram.Lram;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.policy.Policy;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.bench.latency.Target;
import ai.lram.bench.subject.PolicyMemory;
import ai.lram.bench.subject.Shapes;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ModelsTest {
    @TempDir
    Path temp;

    /** Notes what it is asked, and fails where it is told to. */
    private static final class Noting implements Policy {
        private final ModelCard card = Shapes.card(Shapes.vector("reach", 7, 3, 50));
        final List<String> asked = new ArrayList<>();
        String failing = "";

        private void note(String what) {
            if (asked.isEmpty() || !asked.getLast().equals(what)) {
                asked.add(what);
            }
            if (what.equals(failing)) {
                throw new IllegalStateException(what);
            }
        }

        @Override
        public ModelCard card() {
            return card;
        }

        @Override
        public int slots() {
            return 5;
        }

        @Override
        public int maxBatch() {
            return 3;
        }

        @Override
        public void reset(int slot, TaskCard task) {
            assertEquals(card.tasks().getFirst(), task);
        }

        @Override
        public void step(PolicyBatch batch) {
            note("step of " + batch.count);
        }

        @Override
        public void warmUp() {
            note("warm-up");
        }

        @Override
        public long stateBytes() {
            return 0;
        }

        @Override
        public void saveState(int slot, MemorySegment target) {
            note("save");
        }

        @Override
        public void restoreState(int slot, MemorySegment source) {
            note("restore");
        }

        @Override
        public void close() {
            note("close");
        }
    }

    @Test
    void aPolicyIsPreparedAndSteppedBeforeItIsHandedOut() {
        Noting policy = new Noting();
        assertSame(policy, Models.warm(policy, 200_000_000));
        assertEquals(
                List.of("warm-up", "step of 1", "step of 2", "step of 3", "step of 1"), policy.asked.subList(0, 5));
        assertFalse(policy.asked.contains("close"));
    }

    @ParameterizedTest
    @ValueSource(strings = {"warm-up", "step of 2"})
    void aPolicyThatCannotBePreparedIsClosed(String failing) {
        Noting policy = new Noting();
        policy.failing = failing;
        assertThrows(IllegalStateException.class, () -> Models.warm(policy, 200_000_000));
        assertEquals("close", policy.asked.getLast());
    }

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
        List<Target> targets = Models.targets(temp.resolve("m"), 1);
        assertEquals(List.of("reach"), targets.stream().map(Target::name).toList());
        long one = targets.getFirst().bytes().apply(1);
        long many = targets.getFirst().bytes().apply(256);
        assertEquals(PolicyMemory.bytes(config, Float.BYTES, 256), many);
        assertTrue(many > 20 * one, "states outweigh the weights: " + one + " and " + many);
    }
}
