package ai.lram.runtime;

import ai.lram.runtime.inference.InferenceStats;
import ai.lram.runtime.recording.RecordingStats;
import ai.lram.runtime.session.SessionStats;
import java.util.List;

/**
 * What the runtime has done so far.
 *
 * @param healthy true while a policy is running
 * @param openSessions sessions open now
 * @param sessionsOpened sessions opened since the start
 * @param sessionsRefused sessions refused since the start
 * @param policyRestarts how often the policy was made anew
 * @param inference the inference thread
 * @param recording the recorder
 * @param sessions open sessions, then the ones closed last, at most {@link #CLOSED_KEPT}
 */
public record Snapshot(
        boolean healthy,
        int openSessions,
        long sessionsOpened,
        long sessionsRefused,
        long policyRestarts,
        InferenceStats inference,
        RecordingStats recording,
        List<SessionStats> sessions) {
    /** How many closed sessions are remembered. */
    public static final int CLOSED_KEPT = 64;

    public Snapshot {
        sessions = List.copyOf(sessions);
    }
}
