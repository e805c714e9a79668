package ai.lram.cli.scenario;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.checkpoint.Checkpoint;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.policy.LramPolicy;
import ai.lram.agent.policy.Policy;
import ai.lram.agent.policy.PolicyBatch;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.backend.DType;
import ai.lram.bench.latency.Target;
import ai.lram.bench.subject.PolicyMemory;
import ai.lram.bridge.env.EnvironmentRegistry;
import ai.lram.cli.config.InputException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/** Finds checkpoints and turns them into policies. */
public final class Models {
    /** Folder of the checkpoint inside a training run's folder. */
    static final String MODEL = "model";

    private static final long WARM_UP_NS = 3_000_000_000L;
    /** Long enough for the first folds of the recurrent state. */
    private static final int WARM_UP_STEPS = 100;

    private Models() {}

    /** The checkpoint at {@code folder}, or of the training run there. @throws InputException if there is none */
    public static Path resolve(Path folder) {
        if (Checkpoint.exists(folder)) {
            return folder;
        }
        if (Checkpoint.exists(folder.resolve(MODEL))) {
            return folder.resolve(MODEL);
        }
        throw new InputException(
                "there is no model at " + folder,
                "neither it nor its folder " + MODEL + " holds " + Checkpoint.MODEL,
                "name the folder that lram train wrote (its --out), or a checkpoint");
    }

    /**
     * Loads a model onto an engine of its own. The calling thread owns the policy; closing it closes the engine too.
     *
     * @param slots sessions it can hold
     * @param maxBatch sessions per step
     */
    public static Policy open(Path model, String device, int threads, int slots, int maxBatch) {
        return open(model, device, threads, slots, maxBatch, DType.F32, DType.F32);
    }

    /** As {@link #open(Path, String, int, int, int)}, with the large matrices stored as {@code weights}, matrix states as {@code state}. */
    public static Policy open(
            Path model, String device, int threads, int slots, int maxBatch, DType weights, DType state) {
        Path folder = resolve(model);
        Backend backend = Backends.open(device, BackendOptions.threads(threads));
        Checkpoint.Loaded loaded = null;
        boolean kept = false;
        try {
            loaded = Checkpoint.load(folder, backend, false);
            LramPolicy policy = new LramPolicy(
                    loaded.model(),
                    loaded.card(),
                    LramPolicy.Options.of(slots, maxBatch).withWeights(weights).withState(state));
            kept = true;
            return new Owned(policy, loaded, backend);
        } finally {
            if (!kept) {
                if (loaded != null) {
                    loaded.close();
                }
                backend.close();
            }
        }
    }

    /**
     * As {@link #open(Path, String, int, int, int, DType, DType)}, and prepares steps of every number of rows, then steps the policy with made-up
     * observations until its code is compiled: a robot's first deadline is as short as its last. Takes about three
     * seconds, and what {@link Policy#warmUp} takes on a device.
     */
    public static Policy openWarm(
            Path model, String device, int threads, int slots, int maxBatch, DType weights, DType state) {
        return warm(open(model, device, threads, slots, maxBatch, weights, state), WARM_UP_NS);
    }

    /** A policy ready for its first deadline; closed if it cannot be made so. */
    static Policy warm(Policy policy, long ns) {
        boolean kept = false;
        try {
            policy.warmUp();
            step(policy, ns);
            kept = true;
            return policy;
        } finally {
            if (!kept) {
                policy.close();
            }
        }
    }

    /**
     * A model's tasks for a latency benchmark: those with an environment of this build are driven in it, others get made-up observations.
     *
     * @throws InputException if there is no model
     */
    public static List<Target> targets(Path model, int threads) {
        Path folder = resolve(model);
        LramConfig config = Checkpoint.readConfig(folder);
        List<Target> targets = new ArrayList<>();
        for (TaskCard task : Checkpoint.readCard(folder).tasks()) {
            targets.add(new Target(
                    task.id(),
                    task,
                    Optional.of(task.id()).filter(EnvironmentRegistry.ids()::contains),
                    sessions -> open(folder, "cpu", threads, sessions, sessions),
                    sessions -> PolicyMemory.bytes(config, Float.BYTES, sessions)));
        }
        return targets;
    }

    private static void step(Policy policy, long ns) {
        PolicyBatch batch = new PolicyBatch(policy.card(), policy.maxBatch());
        List<TaskCard> tasks = policy.card().tasks();
        long end = System.nanoTime() + ns;
        int size = 1;
        while (System.nanoTime() < end) {
            for (int row = 0; row < size; row++) {
                policy.reset(row, tasks.get(row % tasks.size()));
                batch.slot[row] = row;
            }
            batch.count = size;
            for (int step = 0; step < WARM_UP_STEPS && System.nanoTime() < end; step++) {
                Arrays.fill(batch.first, step == 0);
                policy.step(batch);
            }
            size = size == policy.maxBatch() ? 1 : Math.min(2 * size, policy.maxBatch());
        }
    }

    /** The task named, or the only one. @throws InputException if none is named and there are several */
    public static TaskCard task(ModelCard card, String id) {
        if (id != null) {
            return card.task(id);
        }
        if (card.tasks().size() > 1) {
            throw new InputException(
                    "no task was named",
                    "the model knows " + card.tasks().stream().map(TaskCard::id).toList(),
                    "add --task ID");
        }
        return card.tasks().getFirst();
    }

    /** A policy that owns everything below it. */
    private record Owned(LramPolicy policy, Checkpoint.Loaded loaded, Backend backend) implements Policy {
        @Override
        public ModelCard card() {
            return policy.card();
        }

        @Override
        public int slots() {
            return policy.slots();
        }

        @Override
        public int maxBatch() {
            return policy.maxBatch();
        }

        @Override
        public void reset(int slot, TaskCard task) {
            policy.reset(slot, task);
        }

        @Override
        public void step(PolicyBatch batch) {
            policy.step(batch);
        }

        @Override
        public void warmUp() {
            policy.warmUp();
        }

        @Override
        public long stateBytes() {
            return policy.stateBytes();
        }

        @Override
        public void saveState(int slot, MemorySegment target) {
            policy.saveState(slot, target);
        }

        @Override
        public void restoreState(int slot, MemorySegment source) {
            policy.restoreState(slot, source);
        }

        @Override
        public void close() {
            policy.close();
            loaded.close();
            backend.close();
        }
    }
}
