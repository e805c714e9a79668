package ai.lram.agent.policy;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import java.lang.foreign.MemorySegment;

/**
 * A policy that holds one recurrent session per slot and advances many of them in one step.
 *
 * <p>Threads: one thread owns a policy; every method is called from that thread. {@link #step} is real-time safe: it
 * allocates nothing, takes no lock, logs nothing. Slots are 0..{@link #slots()}-1; who hands them out is the caller's business.
 */
public interface Policy extends AutoCloseable {
    ModelCard card();

    /** Number of state slots. */
    int slots();

    /** Largest {@link PolicyBatch#count} accepted by {@link #step}. */
    int maxBatch();

    /** Binds a slot to a task and empties its state; to be called before the first step of every episode. */
    void reset(int slot, TaskCard task);

    /**
     * Advances the sessions of rows 0..count-1 by one environment step and writes their actions.
     *
     * <p>A row with {@link PolicyBatch#first} set has no previous reward (two tokens, else three). Inputs are raw units; the
     * policy normalises by the slot's task. {@link PolicyBatch#status} says per row whether the action can be used; a row
     * with a NaN or infinite result gets {@link PolicyBatch#NOT_FINITE} and other rows are not affected.
     *
     * @throws PolicyException if count exceeds {@link #maxBatch()}, or a slot is out of range, unbound or named twice; then no state has changed
     */
    void step(PolicyBatch batch);

    /** Prepares what the first steps of each number of rows would have to prepare, and changes no session. May take seconds. */
    default void warmUp() {}

    /** Size of one saved session state in bytes. */
    long stateBytes();

    /**
     * Copies a slot's state bit-exactly into {@code target}, at least {@link #stateBytes()} long.
     *
     * @throws PolicyException if it is shorter
     */
    void saveState(int slot, MemorySegment target);

    /**
     * Puts a state saved by {@link #saveState} of the same model into a slot that was {@link #reset} for the same task.
     *
     * @param source {@link #stateBytes()} long
     * @throws PolicyException if it has another size, or lengths that no state has; then nothing has changed
     */
    void restoreState(int slot, MemorySegment source);

    @Override
    void close();
}
