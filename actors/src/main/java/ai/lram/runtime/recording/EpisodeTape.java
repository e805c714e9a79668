package ai.lram.runtime.recording;

import ai.lram.agent.card.TaskCard;
import ai.lram.runtime.protocol.EpisodeReport;
import akka.actor.typed.ActorRef;
import java.util.Optional;

/**
 * Writes one session's episodes into chunks and passes full ones to the recorder. Single thread: the session's.
 *
 * <p>A step is complete when its reward is known, which is one step later; an incomplete last step is left out. If no chunk
 * is free the whole episode is dropped: a recording never waits, and never has gaps.
 */
public final class EpisodeTape {
    private final long session;
    private final TaskCard task;
    private final RecordingMemory memory;
    private final ActorRef<RecorderActor.Command> recorder;
    private final ActorRef<EpisodeReport> replyTo;
    private EpisodeChunk chunk;
    private long frames;
    private boolean running;
    private boolean overloaded;
    private boolean rewarded;
    private boolean shipped;

    public EpisodeTape(
            long session,
            TaskCard task,
            RecordingMemory memory,
            ActorRef<RecorderActor.Command> recorder,
            ActorRef<EpisodeReport> replyTo) {
        this.session = session;
        this.task = task;
        this.memory = memory;
        this.recorder = recorder;
        this.replyTo = replyTo;
    }

    /** Starts an episode; the one before must have ended. */
    public void begin() {
        frames = 0;
        running = true;
        overloaded = false;
        shipped = false;
        rewarded = true;
    }

    /** Adds a step: what was observed and what was sent. Nothing happens outside an episode. */
    public void frame(float[] observation, float[] action, long captureNs) {
        if (!running || overloaded || !makeRoom()) {
            return;
        }
        int at = chunk.frames++;
        System.arraycopy(observation, 0, chunk.observation, at * task.observationSize(), task.observationSize());
        System.arraycopy(action, 0, chunk.action, at * task.actionSize(), task.actionSize());
        chunk.captureNs[at] = captureNs;
        chunk.reward[at] = 0;
        rewarded = task.imitation();
        frames++;
    }

    /** Completes the step added last. */
    public void reward(float reward) {
        if (running && !overloaded && chunk != null && chunk.frames > 0) {
            chunk.reward[chunk.frames - 1] = task.imitation() ? 0 : reward;
            rewarded = true;
        }
    }

    private boolean makeRoom() {
        if (chunk != null && chunk.full()) {
            recorder.tell(new RecorderActor.Append(session, chunk));
            shipped = true;
            chunk = null;
        }
        if (chunk == null) {
            if (!memory.tryTake()) {
                overloaded = true;
                if (shipped) {
                    recorder.tell(new RecorderActor.Abandon(session));
                }
                return false;
            }
            chunk = new EpisodeChunk(task, memory.chunkFrames());
        }
        return true;
    }

    /**
     * Ends the episode.
     *
     * @param terminated true if the task ended it, false if it was cut off
     * @param report what to report once it is stored
     * @return the report of an episode that was dropped here, or empty if the recorder has it and will report
     */
    public Optional<EpisodeReport> end(boolean terminated, EpisodeReport report) {
        running = false;
        if (chunk != null && !rewarded) {
            chunk.frames--;
            frames--;
        }
        if (overloaded || frames == 0) {
            DropReason reason = overloaded ? DropReason.OVERLOAD : DropReason.EMPTY;
            memory.dropped(reason);
            if (chunk != null) {
                chunk = null;
                memory.giveBack(1);
            }
            return Optional.of(report.dropped(reason.explain()));
        }
        recorder.tell(new RecorderActor.Finish(session, task, chunk, terminated && rewarded, report, replyTo));
        chunk = null;
        return Optional.empty();
    }
}
