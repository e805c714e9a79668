package ai.lram.runtime.protocol;

/**
 * Where one step's time went, in nanoseconds of the server's clock.
 *
 * @param queueNs from receipt until the batch that holds the step was started
 * @param encodeNs copying inputs into the batch and resetting slots
 * @param stepNs the policy's step; 0 if it had not ended when the reply was sent
 * @param totalNs from receipt until the reply was handed over
 */
public record StepTiming(long queueNs, long encodeNs, long stepNs, long totalNs) {
    public static final StepTiming ZERO = new StepTiming(0, 0, 0, 0);
}
