package ai.lram.runtime.recording;

import ai.lram.agent.card.TaskCard;
import java.util.Optional;

/** Opens the sink of a task when its first episode is to be stored. Called on the recorder's thread; may block. */
@FunctionalInterface
public interface EpisodeSinkFactory {
    /** Why episodes of a task cannot be recorded, and what to do, or empty. Any thread; must not block. */
    default Optional<String> whyNot(TaskCard task) {
        return Optional.empty();
    }

    /** @throws RuntimeException if the sink cannot be opened; the episode is dropped and the next one tries again */
    EpisodeSink open(TaskCard task);
}
