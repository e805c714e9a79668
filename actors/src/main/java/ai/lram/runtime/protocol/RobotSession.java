package ai.lram.runtime.protocol;

import ai.lram.agent.card.TaskCard;

/** An open session, as its connection sees it. Any thread; no method blocks. */
public interface RobotSession {
    /** Unique within the runtime. */
    long id();

    TaskCard task();

    /** How many observations may wait for an answer at once. */
    int window();

    /**
     * Hands an observation over; the answer comes to the listener.
     *
     * @return false if {@link #window()} observations are waiting already: nothing was handed over ({@link Refusal#BACKLOG})
     */
    boolean observe(Observation observation);

    /**
     * Ends the episode; the next observation must start a new one.
     *
     * @param reward reward of the last action
     * @param terminated true if the task ended it, false if it was cut off
     */
    void endEpisode(float reward, boolean terminated);

    /** Ends the session and frees its place. Calling it again does nothing. */
    void close();
}
