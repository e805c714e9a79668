package ai.lram.agent.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.ConfigException;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.ActionCodec;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.policy.TaskCodec;
import ai.lram.agent.testing.Stores;
import ai.lram.agent.testing.TrainConfigs;
import ai.lram.dataset.Episode;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.store.TrajectoryStore;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class BatchStreamTest {
    private static final int[] LENGTHS = {7, 20, 13, 1, 30};
    private static final TrainConfig CONFIG = TrainConfigs.of(TrainConfigs.MIXED, 3, 6, true, 10);

    @TempDir
    Path folder;

    /** A traceable store with its card and model configuration. */
    private final class Data implements AutoCloseable {
        final TrajectoryStore store;
        final int[] episodes = {0, 1, 2, 3, 4};
        final ModelCard card;
        final LramConfig config;
        final TaskCodec codec;

        Data() {
            TaskInfo task = Stores.linearTask("t", true);
            List<Episode> all = new ArrayList<>();
            for (int e = 0; e < LENGTHS.length; e++) {
                all.add(Stores.traceable(task, LENGTHS[e], e));
            }
            store = Stores.of(folder.resolve("s" + all.hashCode()), List.of(task), all);
            card = Trainer.card(store, "m", CONFIG, new int[][] {episodes}, Map.of());
            config = Trainer.modelConfig(card, CONFIG);
            codec = new TaskCodec(card.tasks().getFirst(), new ActionCodec(config.discreteActions(), config.bins()));
        }

        BatchStream stream(int batch, int steps, boolean carry, double noise, long seed) {
            return stream(batch, steps, carry, new BatchStream.Noise(noise, 0), seed);
        }

        BatchStream stream(int batch, int steps, boolean carry, BatchStream.Noise noise, long seed) {
            return new BatchStream(store, card, config, new int[][] {episodes}, batch, steps, carry, noise, seed);
        }

        /** Row of the store that step {@code bt} of the batch shows: 1000 * episode + t. */
        int source(BatchStream s, int bt) {
            TaskCard t = card.tasks().getFirst();
            double raw = s.states[bt * config.stateDim()]
                            * t.observation().getFirst().std()
                    + t.observation().getFirst().mean();
            return (int) Math.round(raw);
        }

        void verifyRow(BatchStream s, int bt, int source) {
            int e = source / 1000;
            int t = source % 1000;
            float reward = e + t;
            double togo = 0;
            for (int i = t; i < LENGTHS[e]; i++) {
                togo += e + i;
            }
            assertEquals(codec.reward(reward), s.rewards[bt], 1e-6, "the reward of the row's own action");
            assertEquals(codec.reward((float) togo), s.returns[bt], 1e-5, "return from this row on");
            float[] actions = {t % 64 / 64f, -t % 64 / 64f};
            for (int j = 0; j < 2; j++) {
                float x = codec.normalizeAction(j, actions[j], new float[3], 0);
                ActionCodec bins = new ActionCodec(config.discreteActions(), config.bins());
                int at = bt * config.actionDims() + j;
                assertEquals(bins.encode(x), s.targets[at], "the action of the same row");
                assertEquals(bins.position(x), s.positions[at], 1e-4);
                assertEquals(1, s.continuousMask[at]);
                assertEquals(0, s.discreteMask[at]);
            }
        }

        @Override
        public void close() {
            store.close();
        }
    }

    @Test
    void carriedRowsPlayTheirEpisodesToTheEnd() {
        try (Data d = new Data()) {
            int batch = 3;
            int steps = 6;
            BatchStream s = d.stream(batch, steps, true, 0, 1);
            int[] next = new int[batch];
            Set<Integer> lastRows = new HashSet<>();
            for (int k = 0; k < 60; k++) {
                s.next();
                int valid = 0;
                for (int row = 0; row < batch; row++) {
                    int bt = row * steps;
                    int source = d.source(s, bt);
                    int e = source / 1000;
                    int t = source % 1000;
                    if (s.fresh[row]) {
                        assertTrue(k == 0 || t == 0, "later episodes start at their first row");
                    } else {
                        assertEquals(next[row], source, "windows follow each other");
                    }
                    int n = Math.min(steps, LENGTHS[e] - t);
                    valid += n;
                    for (int i = 0; i < n; i++) {
                        assertEquals(source + i, d.source(s, bt + i));
                        d.verifyRow(s, bt + i, source + i);
                    }
                    for (int i = n; i < steps; i++) {
                        assertEquals(0, s.continuousMask[(bt + i) * d.config.actionDims()], "masked beyond the end");
                        assertEquals(0, s.rewards[bt + i]);
                    }
                    if (t + n == LENGTHS[e]) {
                        lastRows.add(e);
                        next[row] = -1;
                    } else {
                        next[row] = source + n;
                    }
                }
                assertEquals(valid, s.validSteps);
            }
            assertEquals(LENGTHS.length, lastRows.size(), "every episode's last transition is seen");
        }
    }

    @Test
    void windowsDrawnAnewCoverEveryRowAndAreAlwaysFresh() {
        try (Data d = new Data()) {
            BatchStream s = d.stream(4, 6, false, 0, 2);
            Set<Integer> seen = new HashSet<>();
            for (int k = 0; k < 300; k++) {
                s.next();
                for (int row = 0; row < 4; row++) {
                    assertTrue(s.fresh[row]);
                    for (int i = 0; i < 6; i++) {
                        int bt = row * 6 + i;
                        if (s.continuousMask[bt * d.config.actionDims()] == 1) {
                            int source = d.source(s, bt);
                            d.verifyRow(s, bt, source);
                            seen.add(source);
                        }
                    }
                }
            }
            assertEquals(Arrays.stream(LENGTHS).sum(), seen.size(), "all rows, the last transition included");
        }
    }

    @ParameterizedTest(name = "carry {0}")
    @ValueSource(booleans = {false, true})
    void theSameSeedGivesTheSameBatchesAlsoAfterRestore(boolean carry) {
        try (Data d = new Data()) {
            BatchStream a = d.stream(3, 6, carry, 0.1, 5);
            BatchStream b = d.stream(3, 6, carry, 0.1, 5);
            for (int k = 0; k < 5; k++) {
                a.next();
                b.next();
                assertSame(a, b);
            }
            long[] state = a.state();
            BatchStream later = d.stream(3, 6, carry, 0.1, 99);
            later.next();
            later.restore(state);
            for (int k = 0; k < 12; k++) {
                a.next();
                later.next();
                assertSame(a, later);
            }
            BatchStream other = d.stream(3, 6, carry, 0.1, 6);
            other.next();
            assertFalse(Arrays.equals(a.states, other.states), "another seed draws something else");
        }
    }

    private static void assertSame(BatchStream a, BatchStream b) {
        assertArrayEquals(a.states, b.states);
        assertArrayEquals(a.returns, b.returns);
        assertArrayEquals(a.rewards, b.rewards);
        assertArrayEquals(a.targets, b.targets);
        assertArrayEquals(a.positions, b.positions);
        assertArrayEquals(a.continuousMask, b.continuousMask);
        assertArrayEquals(a.fresh, b.fresh);
        assertEquals(a.validSteps, b.validSteps);
    }

    @Test
    void noiseTouchesObservationsOnly() {
        try (Data d = new Data()) {
            BatchStream clean = d.stream(3, 6, true, 0, 5);
            BatchStream noisy = d.stream(3, 6, true, 0.3, 5);
            double square = 0;
            int n = 0;
            for (int k = 0; k < 40; k++) {
                clean.next();
                noisy.next();
                assertArrayEquals(clean.targets, noisy.targets);
                assertArrayEquals(clean.returns, noisy.returns);
                for (int i = 0; i < clean.states.length; i++) {
                    boolean valid = clean.continuousMask[i / d.config.stateDim() * d.config.actionDims()] == 1;
                    double e = noisy.states[i] - clean.states[i];
                    assertTrue(valid || e == 0);
                    square += e * e;
                    n += valid ? 1 : 0;
                }
            }
            assertEquals(0.3, Math.sqrt(square / n), 0.03);
        }
    }

    @Test
    void returnNoiseShiftsWholeEpisodesAndSurvivesRestoring() {
        try (Data d = new Data()) {
            BatchStream clean = d.stream(3, 6, true, BatchStream.Noise.NONE, 5);
            BatchStream noisy = d.stream(3, 6, true, new BatchStream.Noise(0, 0.5), 5);
            BatchStream again = d.stream(3, 6, true, new BatchStream.Noise(0, 0.5), 99);
            float[] shift = new float[3];
            double square = 0;
            int episodes = 0;
            for (int k = 0; k < 200; k++) {
                if (k == 57) {
                    again.restore(noisy.state());
                }
                clean.next();
                noisy.next();
                assertArrayEquals(clean.states, noisy.states);
                for (int row = 0; row < 3; row++) {
                    float now = noisy.returns[row * 6] - clean.returns[row * 6];
                    if (clean.fresh[row]) {
                        shift[row] = now;
                        square += now * now;
                        episodes++;
                    }
                    for (int t = 0; t < 6; t++) {
                        int bt = row * 6 + t;
                        boolean valid = clean.continuousMask[bt * d.config.actionDims()] == 1;
                        assertEquals(valid ? shift[row] : 0, noisy.returns[bt] - clean.returns[bt], 1e-5);
                    }
                }
                if (k >= 57) {
                    again.next();
                    assertArrayEquals(noisy.returns, again.returns);
                }
            }
            assertTrue(episodes > 50, episodes + " episodes");
            assertEquals(0.5, Math.sqrt(square / episodes), 0.15);
        }
    }

    @Test
    void tasksTakeEqualSharesWhateverTheirSize() {
        TaskInfo small = Stores.linearTask("small", true);
        TaskInfo choice = Stores.choiceTask("choice");
        List<Episode> all = new ArrayList<>();
        for (int e = 0; e < 8; e++) {
            all.add(Stores.choice(choice, 40, e));
        }
        all.add(Stores.linear(small, 10, 1));
        try (TrajectoryStore store = Stores.of(folder.resolve("two"), List.of(small, choice), all)) {
            int[][] episodes = {store.episodesOf("small"), store.episodesOf("choice")};
            ModelCard card = Trainer.card(store, "m", CONFIG, episodes, Map.of());
            LramConfig config = Trainer.modelConfig(card, CONFIG);
            BatchStream s = new BatchStream(store, card, config, episodes, 4, 5, false, BatchStream.Noise.NONE, 1);
            int[] rows = new int[2];
            for (int k = 0; k < 50; k++) {
                s.next();
                for (int row = 0; row < 4; row++) {
                    int at = row * 5 * config.actionDims();
                    boolean discrete = s.discreteMask[at] == 1;
                    assertTrue(discrete ^ s.continuousMask[at] == 1);
                    rows[discrete ? 1 : 0]++;
                    if (discrete) {
                        assertTrue(s.targets[at] >= 0 && s.targets[at] < 3);
                        assertEquals(0, s.discreteMask[at + 1], "a choice uses the first dimension only");
                    }
                }
            }
            assertArrayEquals(new int[] {100, 100}, rows);
        }
    }

    @Test
    void refusesAStateOfAnotherBatchSize() {
        try (Data d = new Data()) {
            long[] state = d.stream(3, 6, true, 0, 5).state();
            ConfigException e = assertThrows(
                    ConfigException.class, () -> d.stream(4, 6, true, 0, 5).restore(state));
            assertTrue(e.getMessage().contains("batch of 4"), e.getMessage());
        }
    }
}
