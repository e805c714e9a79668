package ai.lram.bridge.grpc;

import ai.lram.runtime.protocol.FallbackCause;
import ai.lram.runtime.protocol.Refusal;
import ai.lram.runtime.protocol.StepTiming;

/**
 * What came of one observation, as the robot sees it. There always is an action to execute.
 *
 * @param sequence the observation's number
 * @param outcome where the action comes from
 * @param cause why the server sent its fallback; {@link FallbackCause#NONE} otherwise
 * @param refusal why the observation was refused; {@link Refusal#NONE} otherwise
 * @param detail what, why and fix of a refusal; empty otherwise
 * @param action the action, raw units, owned by the receiver
 * @param clamped true if the server's safety stage changed the action
 * @param resetRequired true if the session's state is lost: start a new episode with the next observation
 * @param timing where the time went on the server; zero without a reply
 * @param roundTripNs from sending until the reply was there, or until it was given up
 */
public record RobotReply(
        long sequence,
        Outcome outcome,
        FallbackCause cause,
        Refusal refusal,
        String detail,
        float[] action,
        boolean clamped,
        boolean resetRequired,
        StepTiming timing,
        long roundTripNs) {
    /** Where an action comes from. */
    public enum Outcome {
        /** The policy. */
        OK,
        /** The server's fallback. */
        FALLBACK,
        /** The observation was refused; the action is the client's own fallback, as the task declares it. */
        REFUSED,
        /** No reply came in time; the action is the client's own fallback, as the task declares it. */
        NO_REPLY
    }
}
