package ai.lram.runtime.recording;

/** Why an episode was not recorded. */
public enum DropReason {
    /** All recording memory was in use: the disk is too slow, or the episode too long. */
    OVERLOAD(
            "all recording memory was in use; the disk is too slow, or the episode longer than recording.chunks allows"),
    /** It could not be written. */
    SINK_FAILED("it could not be written"),
    /** No step of it was complete. */
    EMPTY("none of its steps was complete");

    private final String explanation;

    DropReason(String explanation) {
        this.explanation = explanation;
    }

    String explain() {
        return explanation;
    }
}
