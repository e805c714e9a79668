package ai.lram.bridge.rollout;

import ai.lram.agent.card.TaskCard;
import ai.lram.agent.policy.EpisodeReturn;
import ai.lram.agent.policy.Policy;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.bridge.env.Environment;
import ai.lram.bridge.env.EnvironmentRegistry;
import ai.lram.bridge.env.expert.ScriptedPolicy;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Runs policies in environments in closed loop, in the calling thread. */
public final class Rollout {
    /**
     * One episode for a learned policy.
     *
     * @param task as on the policy's model card; its id names the environment
     * @param seed start of the episode
     * @param targetReturn return asked for, raw units
     */
    public record Job(TaskCard task, long seed, double targetReturn) {}

    private Rollout() {}

    /** One episode of a scripted policy; environment and policy are reset with the same seed. */
    public static EpisodeResult run(Environment environment, ScriptedPolicy policy, long seed) {
        float[] observation = new float[environment.spec().observationSize()];
        float[] action = new float[environment.spec().actionSize()];
        environment.reset(seed, observation);
        policy.reset(seed);
        double total = 0;
        int length = 0;
        do {
            policy.act(observation, action);
            environment.step(action, observation);
            total += environment.reward();
            length++;
        } while (!environment.done());
        return new EpisodeResult(environment.spec().id(), seed, total, length, environment.terminated());
    }

    /** Episodes of a scripted policy with the seeds {@code firstSeed}, {@code firstSeed + 1}, ... */
    public static List<EpisodeResult> run(
            Environment environment, ScriptedPolicy policy, long firstSeed, int episodes) {
        List<EpisodeResult> results = new ArrayList<>(episodes);
        for (int i = 0; i < episodes; i++) {
            results.add(run(environment, policy, firstSeed + i));
        }
        return results;
    }

    /** Jobs for {@code episodes} consecutive seeds of one task. */
    public static List<Job> jobs(TaskCard task, long firstSeed, int episodes, double targetReturn) {
        List<Job> jobs = new ArrayList<>(episodes);
        for (int i = 0; i < episodes; i++) {
            jobs.add(new Job(task, firstSeed + i, targetReturn));
        }
        return jobs;
    }

    /**
     * Runs every job to its end, as many at a time as the policy has slots and rows for; tasks may be mixed. Uses
     * slots from 0 on and leaves them as they are after the last step.
     *
     * @return results in the order of the jobs
     * @throws ai.lram.bridge.env.EnvironmentException if a task is no environment of this build, or its card
     *     describes another one
     * @throws RolloutException if the policy's output is not finite
     */
    public static List<EpisodeResult> run(Policy policy, List<Job> jobs) {
        int width = Math.min(jobs.size(), Math.min(policy.slots(), policy.maxBatch()));
        if (width == 0) {
            return List.of();
        }
        EpisodeResult[] results = new EpisodeResult[jobs.size()];
        PolicyBatch batch = new PolicyBatch(policy.card(), width);
        List<Lane> active = new ArrayList<>(width);
        int next = 0;
        for (int slot = 0; slot < width; slot++) {
            Lane lane = new Lane(slot);
            lane.begin(policy, jobs.get(next), next++);
            active.add(lane);
        }
        while (!active.isEmpty()) {
            batch.count = active.size();
            for (int row = 0; row < active.size(); row++) {
                active.get(row).fill(batch, row);
            }
            policy.step(batch);
            for (int row = active.size() - 1; row >= 0; row--) {
                Lane lane = active.get(row);
                if (!lane.advance(batch, row)) {
                    continue;
                }
                results[lane.index] = lane.result();
                if (next < jobs.size()) {
                    lane.begin(policy, jobs.get(next), next++);
                } else {
                    active.remove(row);
                }
            }
        }
        return Arrays.asList(results);
    }

    /** One slot's episode under way. */
    private static final class Lane {
        private final int slot;
        private final Map<String, Environment> environments = new HashMap<>();
        private Environment environment;
        private Job job;
        private int index;
        private EpisodeReturn returns;
        private float[] observation;
        private float[] action;
        private double total;
        private int length;

        Lane(int slot) {
            this.slot = slot;
        }

        void begin(Policy policy, Job next, int jobIndex) {
            job = next;
            index = jobIndex;
            environment = environments.computeIfAbsent(job.task().id(), EnvironmentRegistry::create);
            environment.spec().requireMatches(job.task());
            observation = new float[environment.spec().observationSize()];
            action = new float[environment.spec().actionSize()];
            returns = new EpisodeReturn(job.task());
            returns.begin(job.targetReturn());
            total = 0;
            length = 0;
            environment.reset(job.seed(), observation);
            policy.reset(slot, job.task());
        }

        void fill(PolicyBatch batch, int row) {
            batch.slot[row] = slot;
            returns.fill(batch, row);
            System.arraycopy(observation, 0, batch.observation[row], 0, observation.length);
        }

        /** @return true if the episode is over */
        boolean advance(PolicyBatch batch, int row) {
            if (batch.status[row] != PolicyBatch.OK) {
                throw new RolloutException(
                        "the policy gave no action for " + job.task().id() + " at step " + length + " of seed "
                                + job.seed(),
                        "status " + batch.status[row] + ": its output is not finite",
                        "check the checkpoint and the observations' normalisation");
            }
            System.arraycopy(batch.action[row], 0, action, 0, action.length);
            environment.step(action, observation);
            returns.rewarded(environment.reward());
            total += environment.reward();
            length++;
            return environment.done();
        }

        EpisodeResult result() {
            return new EpisodeResult(job.task().id(), job.seed(), total, length, environment.terminated());
        }
    }
}
