package ai.lram.bridge.rollout;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.bridge.env.EnvironmentRegistry;
import ai.lram.bridge.env.EnvironmentSpec;
import ai.lram.bridge.env.expert.Quality;
import ai.lram.dataset.Column;
import ai.lram.dataset.Episode;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.format.LeRobotReader;
import ai.lram.dataset.format.ReaderOptions;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class LeRobotEpisodeSinkTest {
    @TempDir
    Path folder;

    static List<String> ids() {
        return EnvironmentRegistry.ids();
    }

    @ParameterizedTest
    @MethodSource("ids")
    void generatedEpisodesAreReadBackExactly(String id) {
        EnvironmentSpec spec = EnvironmentRegistry.spec(id);
        List<float[]> observations = new ArrayList<>();
        List<float[]> actions = new ArrayList<>();
        List<float[]> rewards = new ArrayList<>();
        List<EpisodeResult> results;
        Path root;
        try (LeRobotEpisodeSink sink = LeRobotEpisodeSink.open(folder, spec)) {
            root = sink.root();
            results = new TrajectoryGenerator(id, Quality.MIXED).generate(0, 3, (task, length, o, a, r, terminated) -> {
                observations.add(Arrays.copyOf(o, length * spec.observationSize()));
                actions.add(Arrays.copyOf(a, length * spec.actionSize()));
                rewards.add(Arrays.copyOf(r, length));
                sink.episode(task, length, o, a, r, terminated);
            });
        }
        try (LeRobotReader reader = LeRobotReader.open(root, ReaderOptions.defaults())) {
            TaskInfo task = reader.tasks().getFirst();
            assertEquals(id, task.taskId());
            assertEquals("classic-control", task.domain());
            assertEquals(spec.rateHz(), task.rateHz());
            assertEquals(spec.discreteActions(), task.discreteActions());
            assertEquals(
                    spec.observation().getFirst().name(),
                    task.observation().orElseThrow().names().getFirst());
            for (int i = 0; i < 3; i++) {
                Episode episode = reader.next();
                assertArrayEquals(observations.get(i), episode.column(Column.OBSERVATION));
                assertArrayEquals(actions.get(i), episode.column(Column.ACTION));
                assertArrayEquals(rewards.get(i), episode.column(Column.REWARD));
                assertEquals(results.get(i).episodeReturn(), episode.episodeReturn(), 1e-9);
                float[] done = episode.column(Column.DONE);
                assertEquals(results.get(i).terminated() ? 1 : 0, done[done.length - 1]);
            }
            assertNull(reader.next());
        }
    }

    @Test
    void anEpisodeOfAnotherTaskIsRefused() {
        try (LeRobotEpisodeSink sink = LeRobotEpisodeSink.open(folder, EnvironmentRegistry.spec("pendulum"))) {
            TrajectoryGenerator generator = new TrajectoryGenerator("reacher", Quality.RANDOM);
            String message = assertThrows(RolloutException.class, () -> generator.generate(0, 1, sink))
                    .getMessage();
            assertTrue(message.contains("reacher") && message.contains("pendulum"), message);
        }
    }
}
