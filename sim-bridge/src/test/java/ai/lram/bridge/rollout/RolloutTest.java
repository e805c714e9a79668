package ai.lram.bridge.rollout;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.Fallback;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.policy.Policy;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.bridge.env.EnvironmentRegistry;
import ai.lram.bridge.env.EnvironmentSpec;
import ai.lram.bridge.env.InvalidBufferException;
import ai.lram.bridge.env.UnknownEnvironmentException;
import ai.lram.bridge.env.expert.Experts;
import ai.lram.bridge.env.expert.ScriptedPolicy;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class RolloutTest {
    @Test
    void batchedPolicyGivesTheScriptedReturnsInTheOrderOfTheJobs() {
        ModelCard card = card();
        List<Rollout.Job> jobs = new ArrayList<>();
        for (int seed = 0; seed < 4; seed++) {
            for (TaskCard task : card.tasks()) {
                jobs.add(new Rollout.Job(task, seed, 100));
            }
        }
        List<EpisodeResult> results;
        try (ExpertPolicy policy = new ExpertPolicy(card, 7, 5)) {
            results = Rollout.run(policy, jobs);
            assertEquals(5, policy.widest, "rows used at once");
            assertEquals(jobs.size(), policy.firsts, "one first step per episode");
        }
        assertEquals(jobs.size(), results.size());
        for (int i = 0; i < jobs.size(); i++) {
            Rollout.Job job = jobs.get(i);
            assertEquals(
                    Rollout.run(
                            EnvironmentRegistry.create(job.task().id()),
                            Experts.of(job.task().id()),
                            job.seed()),
                    results.get(i));
        }
    }

    @Test
    void returnToGoFallsByTheRewards() {
        ModelCard card = card();
        TaskCard task = card.task("pendulum");
        try (ExpertPolicy policy = new ExpertPolicy(card, 1, 1)) {
            EpisodeResult result =
                    Rollout.run(policy, Rollout.jobs(task, 8, 1, -150)).getFirst();
            assertEquals(-150 - policy.rewardsSeen, policy.lastReturnToGo, 1e-2);
            assertEquals(result.episodeReturn(), policy.rewardsSeen, 20, "all but the last reward");
        }
    }

    @Test
    void nothingToDoGivesNoResults() {
        try (ExpertPolicy policy = new ExpertPolicy(card(), 2, 2)) {
            assertEquals(List.of(), Rollout.run(policy, List.of()));
        }
    }

    @Test
    void outputThatIsNotFiniteStopsTheRun() {
        ModelCard card = card();
        try (ExpertPolicy policy = new ExpertPolicy(card, 2, 2)) {
            policy.failAt = 5;
            List<Rollout.Job> jobs = Rollout.jobs(card.task("reacher"), 3, 1, 900);
            String message = assertThrows(RolloutException.class, () -> Rollout.run(policy, jobs))
                    .getMessage();
            assertTrue(message.contains("reacher at step 5 of seed 3"), message);
        }
    }

    @Test
    void cardOfAnotherRobotIsRefused() {
        TaskCard task = card().task("reacher");
        TaskCard wrong = new TaskCard(
                "pendulum",
                task.domain(),
                task.rateHz(),
                task.observation(),
                List.of(),
                task.action(),
                0,
                1,
                false,
                0,
                10,
                Fallback.SAFE,
                List.of(0.0, 0.0));
        TaskCard unknown = new TaskCard(
                "walker",
                task.domain(),
                task.rateHz(),
                task.observation(),
                List.of(),
                task.action(),
                0,
                1,
                false,
                0,
                10,
                Fallback.SAFE,
                List.of(0.0, 0.0));
        try (ExpertPolicy policy = new ExpertPolicy(card(), 1, 1)) {
            assertThrows(InvalidBufferException.class, () -> Rollout.run(policy, Rollout.jobs(wrong, 0, 1, 0)));
            assertThrows(UnknownEnvironmentException.class, () -> Rollout.run(policy, Rollout.jobs(unknown, 0, 1, 0)));
        }
    }

    @Test
    void scoresAreClippedFractionsOfTheExpert() {
        assertEquals(0.5, NormalizedScore.of(50, 0, 100));
        assertEquals(0, NormalizedScore.of(-20, -10, 100));
        assertEquals(1, NormalizedScore.of(120, -10, 100));
        assertThrows(RolloutException.class, () -> NormalizedScore.of(1, 5, 5));
        assertThrows(RolloutException.class, () -> NormalizedScore.of(Double.NaN, 0, 1));
    }

    @Test
    void referencesSeparateRandomFromExpert() {
        for (String id : EnvironmentRegistry.ids()) {
            ReferenceReturns reference = ReferenceReturns.measure(id, EnvironmentRegistry.FIRST_EVALUATION_SEED, 10);
            assertEquals(0, reference.score(reference.random()));
            assertEquals(1, reference.score(reference.expert()));
            assertTrue(reference.expertStd() >= 0 && reference.randomStd() > 0, reference.toString());
        }
    }

    @Test
    void meanAndDeviationAreOverEpisodes() {
        List<EpisodeResult> two =
                List.of(new EpisodeResult("x", 0, 1, 1, false), new EpisodeResult("x", 1, 5, 1, false));
        assertEquals(3, EpisodeResult.meanReturn(two));
        assertEquals(2, EpisodeResult.stdReturn(two));
    }

    private static ModelCard card() {
        List<TaskCard> tasks = EnvironmentRegistry.ids().stream()
                .map(id -> {
                    EnvironmentSpec spec = EnvironmentRegistry.spec(id);
                    double[] std = new double[spec.observationSize()];
                    Arrays.fill(std, 1);
                    return spec.toTaskCard(new double[std.length], std, 1, 0, Fallback.SAFE);
                })
                .toList();
        return new ModelCard(ModelCard.FORMAT_VERSION, "experts", tasks, Map.of());
    }

    /** Experts behind the contract of a learned policy. */
    private static final class ExpertPolicy implements Policy {
        private final ModelCard card;
        private final int maxBatch;
        private final TaskCard[] bound;
        private final ScriptedPolicy[] experts;
        private int widest;
        private int firsts;
        private int steps;
        private int failAt = -1;
        private double lastReturnToGo;
        private double rewardsSeen;

        ExpertPolicy(ModelCard card, int slots, int maxBatch) {
            this.card = card;
            this.maxBatch = maxBatch;
            bound = new TaskCard[slots];
            experts = new ScriptedPolicy[slots];
        }

        @Override
        public ModelCard card() {
            return card;
        }

        @Override
        public int slots() {
            return bound.length;
        }

        @Override
        public int maxBatch() {
            return maxBatch;
        }

        @Override
        public void reset(int slot, TaskCard task) {
            bound[slot] = task;
            experts[slot] = Experts.of(task.id());
        }

        @Override
        public void step(PolicyBatch batch) {
            widest = Math.max(widest, batch.count);
            for (int row = 0; row < batch.count; row++) {
                TaskCard task = bound[batch.slot[row]];
                float[] action = new float[task.actionSize()];
                experts[batch.slot[row]].act(Arrays.copyOf(batch.observation[row], task.observationSize()), action);
                System.arraycopy(action, 0, batch.action[row], 0, action.length);
                batch.status[row] = steps == failAt ? PolicyBatch.NOT_FINITE : PolicyBatch.OK;
                firsts += batch.first[row] ? 1 : 0;
                rewardsSeen += batch.first[row] ? 0 : batch.reward[row];
                lastReturnToGo = batch.returnToGo[row];
            }
            steps++;
        }

        @Override
        public long stateBytes() {
            return 0;
        }

        @Override
        public void saveState(int slot, MemorySegment target) {
            throw new UnsupportedOperationException("experts have no state");
        }

        @Override
        public void restoreState(int slot, MemorySegment source) {
            throw new UnsupportedOperationException("experts have no state");
        }

        @Override
        public void close() {
            Arrays.fill(experts, null);
        }
    }
}
