package ai.lram.agent.train;

/** Watches a run; called on the training thread, between updates. */
public interface TrainingListener {
    /** After every update. */
    void updated(TrainingMetrics metrics);

    /** When a checkpoint is due; the trainer's parameters and {@link Trainer#snapshot} belong together at this moment. */
    default void checkpointDue(Trainer trainer) {}
}
