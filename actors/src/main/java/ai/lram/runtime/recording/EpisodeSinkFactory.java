package ai.lram.runtime.recording;

import ai.lram.agent.card.TaskCard;

/** Opens the sink of a task when its first episode is to be stored. Called on the recorder's thread; may block. */
@FunctionalInterface
public interface EpisodeSinkFactory {
    /** @throws RuntimeException if the sink cannot be opened; the episode is dropped and the next one tries again */
    EpisodeSink open(TaskCard task);
}
