package ai.lram.dataset.sample;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.dataset.Column;
import ai.lram.dataset.Episode;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.TestEpisodes;
import ai.lram.dataset.store.TrajectoryStore;
import ai.lram.dataset.store.TrajectoryStoreWriter;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SamplerTest {
    private static final TaskInfo BIG = TestEpisodes.task("big", 2, 1);
    private static final TaskInfo SMALL = TestEpisodes.task("small", 3, 1);

    @TempDir
    Path folder;

    private TrajectoryStore store;
    private int[] all;

    @BeforeEach
    void open() {
        try (TrajectoryStoreWriter writer = TrajectoryStoreWriter.create(folder.resolve("s"))) {
            writer.addTask(BIG);
            writer.addTask(SMALL);
            for (int i = 0; i < 40; i++) {
                writer.append(TestEpisodes.episode(BIG, 20 + 5 * (i % 4), i));
                if (i % 4 == 0) {
                    writer.append(TestEpisodes.episode(SMALL, 1 + i / 4, 100 + i));
                }
            }
            writer.commit();
        }
        store = TrajectoryStore.open(folder.resolve("s"));
        all = IntStream.range(0, store.episodeCount()).toArray();
    }

    @AfterEach
    void close() {
        store.close();
    }

    @Test
    void splitsAreStratifiedDisjointCompleteAndReproducible() {
        EpisodeSplit split = EpisodeSplit.random(store, 0.1, 7);
        assertEquals(4, count(split.heldOut(), "big"));
        assertEquals(1, count(split.heldOut(), "small"));
        assertEquals(
                50,
                IntStream.concat(Arrays.stream(split.training()), Arrays.stream(split.heldOut()))
                        .distinct()
                        .count());
        assertEquals(split, EpisodeSplit.random(store, 0.1, 7));
        assertNotEquals(split, EpisodeSplit.random(store, 0.1, 8));
        assertEquals(0, EpisodeSplit.random(store, 0, 7).heldOut().length);
        assertEquals(2, EpisodeSplit.random(store, 0.999, 7).training().length);
        assertThrows(IllegalArgumentException.class, () -> EpisodeSplit.random(store, 1, 7));
    }

    @Test
    void explicitSplitsHoldOutExactlyTheNamedEpisodes() {
        EpisodeSplit split = EpisodeSplit.explicit(store, 49, 3);
        assertArrayEquals(new int[] {3, 49}, split.heldOut());
        assertEquals(48, split.training().length);
        assertThrows(IllegalArgumentException.class, () -> EpisodeSplit.explicit(store, 3, 3));
        assertThrows(IllegalArgumentException.class, () -> EpisodeSplit.explicit(store, 50));
        assertThrows(IllegalArgumentException.class, () -> EpisodeSplit.explicit(store, all));
    }

    private long count(int[] episodes, String task) {
        return Arrays.stream(episodes)
                .filter(e -> store.episode(e).taskId().equals(task))
                .count();
    }

    @Test
    void statisticsSeeTheGivenEpisodesOnly() {
        int[] chosen = {0, 5};
        FeatureStatistics statistics = FeatureStatistics.of(store, "big", Column.OBSERVATION, chosen);
        double sum = 0;
        double squares = 0;
        double max = -1e9;
        int rows = 0;
        for (int e : chosen) {
            Episode episode = store.readEpisode(e);
            rows += episode.length();
            for (int i = 1; i < episode.length() * 2; i += 2) {
                float value = episode.column(Column.OBSERVATION)[i];
                sum += value;
                squares += (double) value * value;
                max = Math.max(max, value);
            }
        }
        assertEquals(rows, statistics.count());
        assertEquals(sum / rows, statistics.mean()[1], 1e-12);
        assertEquals(
                Math.sqrt(squares / rows - sum / rows * sum / rows), statistics.std()[1], 1e-12);
        assertEquals(max, statistics.max()[1]);
        assertTrue(statistics.min()[1] <= statistics.q01()[1]
                && statistics.q10()[1] < statistics.q50()[1]
                && statistics.q50()[1] < statistics.q90()[1]
                && statistics.q99()[1] <= statistics.max()[1]);
        FeatureStatistics others = FeatureStatistics.of(store, "big", Column.OBSERVATION, new int[] {2});
        assertNotEquals(statistics.mean()[1], others.mean()[1]);
        assertThrows(
                IllegalArgumentException.class,
                () -> FeatureStatistics.of(store, "big", Column.OBSERVATION, store.episodesOf("small")));
        assertThrows(IllegalArgumentException.class, () -> FeatureStatistics.of(store, "big", Column.IMAGE, all));
    }

    private Map<String, Integer> draw(WindowSampler sampler, int draws) {
        Map<String, Integer> ends = new HashMap<>();
        Window window = new Window();
        for (int i = 0; i < draws; i++) {
            sampler.next(window);
            assertTrue(
                    window.start() >= 0
                            && window.length() >= 1
                            && window.start() + window.length() <= store.length(window.episode()),
                    window.toString());
            ends.merge(window.episode() + ":" + (window.start() + window.length()), 1, Integer::sum);
        }
        return ends;
    }

    @Test
    void everyRowIsEquallyLikelyToEndAWindow() {
        int[] two = {0, 2};
        int rows = store.length(0) + store.length(2);
        int draws = rows * 400;
        Map<String, Integer> ends =
                draw(WindowSampler.builder(store, two).windowLength(8).seed(3).build(), draws);
        assertEquals(rows, ends.size());
        double chi = ends.values().stream()
                .mapToDouble(n -> (n - 400.0) * (n - 400.0) / 400)
                .sum();
        assertTrue(chi < rows + 5 * Math.sqrt(2.0 * rows), "chi-squared " + chi + " at " + rows + " cells");
    }

    @Test
    void theLastTransitionIsUnseenOnlyIfAskedFor() {
        int[] one = {0};
        int length = store.length(0);
        assertTrue(draw(WindowSampler.builder(store, one).build(), 2000).containsKey("0:" + length));
        Map<String, Integer> published = draw(
                WindowSampler.builder(store, one).lastTransitionUnseen(true).build(), 2000);
        assertEquals(length - 1, published.size());
        assertTrue(published.containsKey("0:1") && !published.containsKey("0:" + length));
        int single = store.episodesOf("small")[0];
        assertEquals(1, store.length(single));
        assertEquals(
                Map.of(single + ":1", 10),
                draw(
                        WindowSampler.builder(store, new int[] {single})
                                .lastTransitionUnseen(true)
                                .build(),
                        10));
    }

    @Test
    void windowsReachBackToTheWindowLengthOrTheStart() {
        WindowSampler sampler =
                WindowSampler.builder(store, all).windowLength(8).build();
        Window window = new Window();
        for (int i = 0; i < 2000; i++) {
            sampler.next(window);
            assertTrue(window.length() == 8 || window.start() == 0 && window.length() < 8, window.toString());
        }
    }

    @Test
    void fullLengthWindowsAreShorterOnlyWhereTheEpisodeIs() {
        WindowSampler sampler = WindowSampler.builder(store, all)
                .windowLength(8)
                .mode(WindowSampler.Mode.FULL_LENGTH)
                .build();
        Window window = new Window();
        for (int i = 0; i < 2000; i++) {
            sampler.next(window);
            assertEquals(Math.min(8, store.length(window.episode())), window.length());
        }
        int[] one = {0};
        assertEquals(
                store.length(0) - 7,
                draw(
                                WindowSampler.builder(store, one)
                                        .windowLength(8)
                                        .mode(WindowSampler.Mode.FULL_LENGTH)
                                        .build(),
                                3000)
                        .size());
    }

    @Test
    void wholeEpisodesAreWholeUpToTheWindowLength() {
        WindowSampler sampler = WindowSampler.builder(store, all)
                .windowLength(30)
                .mode(WindowSampler.Mode.WHOLE_EPISODE)
                .build();
        Window window = new Window();
        for (int i = 0; i < 2000; i++) {
            sampler.next(window);
            int length = store.length(window.episode());
            assertEquals(Math.min(30, length), window.length());
            assertTrue(length > 30 || window.start() == 0);
        }
    }

    @Test
    void mixingFollowsTurnsEqualSharesOrSize() {
        assertEquals(
                List.of("big", "small"),
                WindowSampler.builder(store, all).build().groupNames());
        assertEquals(500, smallShare(WindowSampler.Mixing.ROUND_ROBIN), 0);
        assertEquals(500, smallShare(WindowSampler.Mixing.UNIFORM), 80);
        double rows = store.rowCount("small") * 1000.0 / store.rowCount();
        assertEquals(rows, smallShare(WindowSampler.Mixing.PROPORTIONAL), 40);
        assertEquals(
                List.of("test"),
                WindowSampler.builder(store, all)
                        .groupBy(WindowSampler.GroupBy.DOMAIN)
                        .build()
                        .groupNames());
    }

    private int smallShare(WindowSampler.Mixing mixing) {
        WindowSampler sampler =
                WindowSampler.builder(store, all).mixing(mixing).seed(1).build();
        Window window = new Window();
        int small = 0;
        for (int i = 0; i < 1000; i++) {
            sampler.next(window);
            small += store.taskNumber(window.episode());
        }
        return small;
    }

    @Test
    void aRestoredSamplerDrawsWhatTheFirstWouldHaveDrawn() {
        for (WindowSampler.Mixing mixing : WindowSampler.Mixing.values()) {
            WindowSampler first =
                    WindowSampler.builder(store, all).mixing(mixing).seed(9).build();
            Window window = new Window();
            for (int i = 0; i < 37; i++) {
                first.next(window);
            }
            long[] state = first.state();
            WindowSampler resumed =
                    WindowSampler.builder(store, all).mixing(mixing).seed(1).build();
            resumed.restore(state);
            Window other = new Window();
            for (int i = 0; i < 100; i++) {
                first.next(window);
                resumed.next(other);
                assertEquals(window.toString(), other.toString());
            }
        }
    }

    @Test
    void statesOfOtherSettingsAreRefused() {
        long[] state = WindowSampler.builder(store, all).build().state();
        WindowSampler longer =
                WindowSampler.builder(store, all).windowLength(51).build();
        assertThrows(IllegalArgumentException.class, () -> longer.restore(state));
        WindowSampler fewer =
                WindowSampler.builder(store, Arrays.copyOf(all, 40)).build();
        assertThrows(IllegalArgumentException.class, () -> fewer.restore(state));
        WindowSampler same = WindowSampler.builder(store, all).build();
        assertThrows(IllegalArgumentException.class, () -> same.restore(new long[3]));
        same.restore(state);
        assertThrows(IllegalArgumentException.class, () -> WindowSampler.builder(store, new int[0])
                .build());
    }
}
