package ai.lram.bench.latency;

import ai.lram.runtime.protocol.StepTiming;

/** A session as its robot sees it. Single thread; {@link #act} blocks. */
public interface Robot extends AutoCloseable {
    /**
     * What came of an observation.
     *
     * @param action to execute
     * @param timing where the time went on the side of the runtime
     */
    record Reply(float[] action, StepTiming timing) {}

    /**
     * Sends an observation and waits for the policy's action.
     *
     * @throws ai.lram.bench.WrongAnswerException if anything else comes back
     */
    Reply act(float[] observation, byte[] image, float reward, boolean reset);

    @Override
    void close();
}
