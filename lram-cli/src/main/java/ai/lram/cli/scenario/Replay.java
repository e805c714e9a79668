package ai.lram.cli.scenario;

import ai.lram.agent.baseline.EpisodeRows;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.policy.EpisodeReturn;
import ai.lram.agent.policy.Policy;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.bench.report.JsonReport;
import ai.lram.bridge.grpc.ControlClient;
import ai.lram.bridge.grpc.RobotConnection;
import ai.lram.bridge.grpc.RobotReply;
import ai.lram.bridge.grpc.SessionOptions;
import ai.lram.bridge.grpc.TaskDescription;
import ai.lram.cli.config.InputException;
import ai.lram.cli.progress.Progress;
import ai.lram.dataset.Column;
import ai.lram.dataset.TaskInfo;
import ai.lram.dataset.store.TrajectoryStore;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** Sends a recorded episode's observations through a live server, at the robot's rate, as if the robot stood there. */
public final class Replay {
    /** An action may take this long: what is asked here is whether the server computes what the offline evaluation does. */
    static final long DEADLINE_NS = 5_000_000_000L;

    private Replay() {}

    /**
     * What came back.
     *
     * @param episode store number
     * @param actions (rows, action width), as received
     * @param clampedRows rows whose action the server's safety stage changed
     * @param meanAbsoluteError against the recorded actions
     * @param overPeriod actions that took longer than a control period
     * @param log latencies and misses of the deadline of 5 s
     */
    public record Result(
            int episode,
            float[][] actions,
            boolean[] clampedRows,
            double meanAbsoluteError,
            long overPeriod,
            ControlLog log) {
        public ObjectNode json() {
            ObjectNode n = JsonReport.object();
            n.put("task", log.task());
            n.put("episode", episode);
            n.put("steps", actions.length);
            JsonReport.put(n, "mae", meanAbsoluteError);
            n.put("clamped", log.clamped());
            JsonReport.put(n, "p50Ms", log.latencyMs(50));
            JsonReport.put(n, "p99Ms", log.latencyMs(99));
            JsonReport.put(n, "p999Ms", log.latencyMs(99.9));
            JsonReport.put(n, "maxMs", log.maxMs());
            n.put("overPeriod", overPeriod);
            n.put("missed", log.missedTotal());
            ArrayNode rows = n.putArray("actions");
            for (float[] action : actions) {
                ArrayNode row = rows.addArray();
                for (float v : action) {
                    row.add(v);
                }
            }
            return n;
        }
    }

    /**
     * @param rateHz steps per second; 0 for the task's own
     * @throws InputException if the episode is not one of the server's tasks
     */
    public static Result run(
            ControlClient client,
            TrajectoryStore store,
            int episode,
            double rateHz,
            boolean record,
            Progress progress) {
        if (episode < 0 || episode >= store.episodeCount()) {
            throw new InputException(
                    "--episode " + episode,
                    store.folder() + " has episodes 0.." + (store.episodeCount() - 1),
                    "name one of these");
        }
        String taskId = store.episode(episode).taskId();
        TaskDescription task = client.describe().task(taskId);
        requireSame(store, task);
        EpisodeRows rows = EpisodeRows.read(store, episode);
        float[] rewards = rewards(store, episode);
        int n = rows.length();
        float[][] actions = new float[n][];
        boolean[] clamped = new boolean[n];
        long periodNs = SimulatedRobot.periodNs(rateHz > 0 ? rateHz : task.rateHz());
        ControlLog log = new ControlLog(taskId);
        SessionOptions plain = SessionOptions.of("replay/" + taskId, task);
        double error = 0;
        long over = 0;
        float[] observation = new float[rows.observationSize()];
        try (RobotConnection robot = client.open(record ? plain.recorded() : plain)) {
            ControlLoop loop = new ControlLoop(robot, log, System.nanoTime(), periodNs, DEADLINE_NS);
            for (int t = 0; t < n; t++) {
                System.arraycopy(rows.observations(), t * observation.length, observation, 0, observation.length);
                RobotReply reply = loop.step(observation, t == 0 ? 0 : rewards[t - 1], t == 0);
                actions[t] = reply.action();
                clamped[t] = reply.clamped();
                over += reply.roundTripNs() > periodNs ? 1 : 0;
                for (int i = 0; i < rows.actionSize(); i++) {
                    error += Math.abs((double) reply.action()[i] - rows.actions()[t * rows.actionSize() + i]);
                }
                progress.update((t + 1.0) / n, String.format(Locale.ROOT, "%.1f ms", reply.roundTripNs() / 1e6));
            }
            robot.endEpisode(rewards[n - 1], true).join();
        }
        return new Result(episode, actions, clamped, error / ((double) n * rows.actionSize()), over, log);
    }

    /** The actions of the same episode without a server, as the offline evaluation computes them. */
    public static float[][] offline(Policy policy, TaskCard task, TrajectoryStore store, int episode) {
        OpenLoop.requireSameWidths(store, task);
        EpisodeRows rows = EpisodeRows.read(store, episode);
        float[] rewards = rewards(store, episode);
        PolicyBatch batch = new PolicyBatch(policy.card(), 1);
        EpisodeReturn returns = new EpisodeReturn(task);
        float[][] actions = new float[rows.length()][];
        policy.reset(0, task);
        returns.begin(task.targetReturn());
        batch.count = 1;
        batch.slot[0] = 0;
        for (int t = 0; t < actions.length; t++) {
            if (t > 0) {
                returns.rewarded(rewards[t - 1]);
            }
            System.arraycopy(
                    rows.observations(), t * rows.observationSize(), batch.observation[0], 0, rows.observationSize());
            returns.fill(batch, 0);
            policy.step(batch);
            actions[t] = java.util.Arrays.copyOf(batch.action[0], rows.actionSize());
        }
        return actions;
    }

    /** Rows of two action sequences that are not bit for bit equal, rows that were clamped left out. */
    public static int differences(float[][] a, float[][] b, boolean[] leaveOut) {
        int n = 0;
        for (int t = 0; t < a.length; t++) {
            n += leaveOut[t] || java.util.Arrays.equals(a[t], b[t]) ? 0 : 1;
        }
        return n;
    }

    private static float[] rewards(TrajectoryStore store, int episode) {
        float[] r = new float[store.length(episode)];
        if (store.taskInfo(store.episode(episode).taskId()).hasRewards()) {
            store.readWindow(episode, 0, r.length, Column.REWARD, r, 0);
        }
        return r;
    }

    private static void requireSame(TrajectoryStore store, TaskDescription task) {
        TaskInfo info = store.taskInfo(task.id());
        Map<String, List<Integer>> widths = Map.of(
                "observations", List.of(info.observationWidth(), task.observationSize()),
                "actions", List.of(info.actionWidth(), task.actionSize()));
        widths.forEach((what, pair) -> {
            if (!pair.get(0).equals(pair.get(1))) {
                throw new InputException(
                        "task " + task.id() + " of " + store.folder() + " is not the server's",
                        "it has " + pair.get(0) + " " + what + ", the server's " + pair.get(1),
                        "name the store the model was trained on");
            }
        });
    }
}
