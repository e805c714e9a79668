package ai.lram.runtime.recording;

import java.util.Map;

/**
 * What the recorder did.
 *
 * @param episodes episodes on disk
 * @param frames steps in them
 * @param dropped episodes left out, by reason; reasons that did not occur are absent
 */
public record RecordingStats(long episodes, long frames, Map<DropReason, Long> dropped) {
    public RecordingStats {
        dropped = Map.copyOf(dropped);
    }
}
