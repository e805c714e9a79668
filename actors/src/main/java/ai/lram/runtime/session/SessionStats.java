package ai.lram.runtime.session;

import ai.lram.runtime.protocol.FallbackCause;
import ai.lram.runtime.protocol.Refusal;
import ai.lram.runtime.stats.LatencySummary;
import java.util.Map;

/**
 * What a session has done so far.
 *
 * @param id the session's number
 * @param robot the name it gave
 * @param task its task
 * @param steps observations that advanced the state
 * @param episodes episodes begun
 * @param fallbacks fallback actions sent, by cause; causes that did not occur are absent
 * @param refusals observations refused, by reason
 * @param clampedToBounds actions changed to stay within bounds
 * @param clampedToRate actions changed to stay within rate limits
 * @param foldedLate results that came after their deadline and advanced the state all the same
 * @param alarms actions the safety stage refused
 * @param queue from receipt until the step's batch started
 * @param step the policy's step
 * @param total from receipt until the reply was handed over
 */
public record SessionStats(
        long id,
        String robot,
        String task,
        long steps,
        long episodes,
        Map<FallbackCause, Long> fallbacks,
        Map<Refusal, Long> refusals,
        long clampedToBounds,
        long clampedToRate,
        long foldedLate,
        long alarms,
        LatencySummary queue,
        LatencySummary step,
        LatencySummary total) {
    public SessionStats {
        fallbacks = Map.copyOf(fallbacks);
        refusals = Map.copyOf(refusals);
    }

    /** Deadlines missed, for whatever cause. */
    public long missedDeadlines() {
        return fallbacks.entrySet().stream()
                .filter(e -> e.getKey().missedDeadline())
                .mapToLong(Map.Entry::getValue)
                .sum();
    }
}
