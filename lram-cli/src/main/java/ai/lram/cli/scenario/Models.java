package ai.lram.cli.scenario;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.checkpoint.Checkpoint;
import ai.lram.agent.engine.EngineChoice;
import ai.lram.agent.engine.OwningPolicy;
import ai.lram.agent.lram.LramConfig;
import ai.lram.agent.policy.LramPolicy;
import ai.lram.agent.policy.Policy;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.backend.DType;
import ai.lram.bench.latency.Engines;
import ai.lram.bench.latency.Target;
import ai.lram.bench.subject.PolicyMemory;
import ai.lram.bridge.env.EnvironmentRegistry;
import ai.lram.cli.config.InputException;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Optional;

/** Finds checkpoints and turns them into policies. */
public final class Models {
    /** Folder of the checkpoint inside a training run's folder. */
    static final String MODEL = "model";

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

    /** As {@link #open(Path, String, int, int, int)}, with the large matrices stored as {@code weights}, the recurrent state as {@code state}. */
    public static Policy open(
            Path model, String device, int threads, int slots, int maxBatch, DType weights, DType state) {
        Path folder = resolve(model);
        Backend backend = Backends.open(device, BackendOptions.threads(threads));
        Deque<Runnable> beneath = new ArrayDeque<>();
        beneath.push(backend::close);
        boolean kept = false;
        try {
            Checkpoint.Loaded loaded = Checkpoint.load(folder, backend, false);
            beneath.push(loaded::close);
            LramPolicy policy = new LramPolicy(
                    loaded.model(),
                    loaded.card(),
                    LramPolicy.Options.of(slots, maxBatch).withWeights(weights).withState(state));
            kept = true;
            return new OwningPolicy(policy, List.copyOf(beneath));
        } finally {
            if (!kept) {
                OwningPolicy.closeAll(beneath.iterator());
            }
        }
    }

    /**
     * As {@link #open(Path, String, int, int, int, DType, DType)}, ready for a robot's first deadline. With {@code auto} on a machine with several
     * engines it is the one on which steps of this model are the fastest. Takes three seconds an engine, up to fifteen where the compilers
     * are not done by then, a few more to choose one, and
     * what {@link Policy#warmUp} takes on a device.
     *
     * @param timed sessions of the steps that engines are compared by
     */
    public static Policy openWarm(
            Path model,
            String device,
            int threads,
            int slots,
            int maxBatch,
            DType weights,
            DType state,
            EngineChoice.Sessions timed) {
        return new EngineChoice(EngineChoice.Effort.usual())
                .open(device, engine -> open(model, engine, threads, slots, maxBatch, weights, state), timed)
                .policy();
    }

    /**
     * A model's tasks for a latency benchmark: those with an environment of this build are driven in it, others get made-up observations.
     *
     * @throws InputException if there is no model
     */
    public static List<Target> targets(Path model, int threads, Engines engines) {
        Path folder = resolve(model);
        LramConfig config = Checkpoint.readConfig(folder);
        List<Target> targets = new ArrayList<>();
        for (TaskCard task : Checkpoint.readCard(folder).tasks()) {
            for (String engine : engines.names()) {
                targets.add(new Target(
                        task.id(),
                        engine,
                        task,
                        Optional.of(task.id()).filter(EnvironmentRegistry.ids()::contains),
                        (on, sessions) -> open(folder, on, threads, sessions, sessions),
                        sessions -> PolicyMemory.bytes(config, Float.BYTES, sessions)));
            }
        }
        return targets;
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
}
