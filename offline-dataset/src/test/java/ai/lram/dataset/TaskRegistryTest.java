package ai.lram.dataset;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.junit.jupiter.api.Test;

class TaskRegistryTest {
    private final TaskRegistry registry = TaskRegistry.published();

    @Test
    void holds432TrainingAnd37HeldOutTasksOfSixDomains() {
        assertEquals(469, registry.tasks().size());
        assertEquals(432, registry.split(false).size());
        assertEquals(37, registry.split(true).size());
        assertEquals(
                List.of("metaworld", "dmcontrol", "procgen", "atari", "composuite", "mimicgen"), registry.domains());
        assertEquals(
                List.of(50, 16, 16, 46, 256, 85),
                registry.domains().stream().map(d -> registry.domain(d).size()).toList());
    }

    @Test
    void initialReturnsToGoAreThePublishedOnes() {
        assertEquals(9.525533, initial("metaworld/reach-v2"), 1e-6);
        assertEquals(4.5127, initial("dmcontrol/cheetah-run"), 1e-4);
        assertEquals(40, initial("procgen/bigfish"), 0);
        assertEquals(
                1.7,
                registry.domain("atari").stream()
                        .filter(task -> task.task().contains("Freeway"))
                        .findFirst()
                        .orElseThrow()
                        .initialReturnToGo()
                        .orElseThrow(),
                1e-12);
        for (RegisteredTask task : registry.domain("mimicgen")) {
            assertEquals(1, task.initialReturnToGo().orElseThrow(), 0, task.id());
        }
    }

    @Test
    void scoresAreNormalisedBetweenRandomAndReference() {
        RegisteredTask reach = registry.find("metaworld/reach-v2").orElseThrow();
        assertEquals(0, reach.dataNormalised(147.103).orElseThrow(), 1e-12);
        assertEquals(1, reach.dataNormalised(1905.1068).orElseThrow(), 1e-12);
        assertTrue(reach.humanNormalised(100).isEmpty());
    }

    @Test
    void gapsOfThePublishedReferencesStayGaps() {
        long unscored = registry.domain("atari").stream()
                .filter(task -> !task.heldOut() && task.humanNormalised(0).isEmpty())
                .count();
        assertEquals(2, unscored);
        assertTrue(registry.find("atari/none").isEmpty());
    }

    @Test
    void knowsObservationAndActionKinds() {
        RegisteredTask bigfish = registry.find("procgen/bigfish").orElseThrow();
        assertTrue(bigfish.image() && bigfish.discrete());
        RegisteredTask walker = registry.find("dmcontrol/walker-run").orElseThrow();
        assertEquals(204, walker.observationWidth().orElseThrow());
        assertFalse(walker.discrete() || walker.image() || walker.heldOut());
    }

    private double initial(String id) {
        return registry.find(id).orElseThrow().initialReturnToGo().orElseThrow();
    }
}
