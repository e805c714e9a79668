package ai.lram.runtime.inference;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.policy.PolicyBatch;

/**
 * One session's step, allocated once per session and handed back and forth: the session fills it and sends it to the
 * {@link InferenceActor}, which owns it until it calls {@code onDone}. At most one step of a session is under way.
 */
public final class StepRequest implements InferenceActor.Command {
    /** How a step ended. */
    public enum Outcome {
        /** The action can be used. */
        OK,
        /** The model's result was not finite. */
        NOT_FINITE,
        /** The policy failed; {@link StepRequest#failure} says how. */
        FAILED
    }

    /** Inputs and outputs: row 0 of a batch of one. */
    public final PolicyBatch row;

    private final Runnable onDone;

    /** State slot, as granted. */
    public int slot;
    /** Task the slot is bound to when {@link #reset} is set. */
    public TaskCard task;
    /** True to empty the slot's state first: this step starts an episode. */
    public boolean reset;
    /** When the observation arrived. */
    public long receivedNs;
    /** When the action must leave. */
    public long deadlineNs;

    /** When the batch with this step was started; 0 while it waits. The session reads it while the step is under way. */
    public volatile long startedNs;
    /** When the policy's step began. */
    public long encodedNs;
    /** When the policy's step ended. */
    public long finishedNs;

    public Outcome outcome = Outcome.OK;
    /** What failed, or empty. */
    public String failure = "";

    /**
     * @param card the model's card: sizes the row
     * @param onDone runs on the inference thread when the step has ended and must only hand over a message
     */
    public StepRequest(ModelCard card, Runnable onDone) {
        this.row = new PolicyBatch(card, 1);
        this.onDone = onDone;
    }

    void done() {
        onDone.run();
    }
}
