package ai.lram.runtime.recording;

import ai.lram.agent.card.TaskCard;
import ai.lram.dataset.Column;
import ai.lram.dataset.Episode;
import ai.lram.runtime.protocol.EpisodeReport;
import akka.actor.typed.ActorRef;
import akka.actor.typed.Behavior;
import akka.actor.typed.PostStop;
import akka.actor.typed.javadsl.AbstractBehavior;
import akka.actor.typed.javadsl.ActorContext;
import akka.actor.typed.javadsl.Behaviors;
import akka.actor.typed.javadsl.Receive;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Puts chunks together to episodes and stores them. The only actor that may block, on a thread of its own; what waits for it
 * is bounded by {@link RecordingMemory}, and a chunk's place is free again once its episode is stored or given up.
 */
public final class RecorderActor extends AbstractBehavior<RecorderActor.Command> {
    /** What the recorder is told; sessions speak to it through an {@link EpisodeTape}. */
    public sealed interface Command permits Append, Finish, Abandon, Stop {}

    record Append(long session, EpisodeChunk chunk) implements Command {}

    record Finish(
            long session,
            TaskCard task,
            EpisodeChunk chunk,
            boolean terminated,
            EpisodeReport report,
            ActorRef<EpisodeReport> replyTo)
            implements Command {}

    record Abandon(long session) implements Command {}

    /** Ends the recorder once everything before it is stored. */
    public enum Stop implements Command {
        INSTANCE
    }

    private final EpisodeSinkFactory factory;
    private final RecordingMemory memory;
    private final Map<String, EpisodeSink> sinks = new HashMap<>();
    private final Map<Long, List<EpisodeChunk>> open = new HashMap<>();

    public static Behavior<Command> create(EpisodeSinkFactory factory, RecordingMemory memory) {
        return Behaviors.setup(context -> new RecorderActor(context, factory, memory));
    }

    private RecorderActor(ActorContext<Command> context, EpisodeSinkFactory factory, RecordingMemory memory) {
        super(context);
        this.factory = factory;
        this.memory = memory;
    }

    @Override
    public Receive<Command> createReceive() {
        return newReceiveBuilder()
                .onMessage(Append.class, this::onAppend)
                .onMessage(Finish.class, this::onFinish)
                .onMessage(Abandon.class, this::onAbandon)
                .onMessage(Stop.class, stop -> Behaviors.stopped())
                .onSignal(PostStop.class, this::onPostStop)
                .build();
    }

    private Behavior<Command> onAppend(Append append) {
        open.computeIfAbsent(append.session(), id -> new ArrayList<>()).add(append.chunk());
        return this;
    }

    private Behavior<Command> onAbandon(Abandon abandon) {
        giveUp(abandon.session());
        return this;
    }

    private void giveUp(long session) {
        List<EpisodeChunk> chunks = open.remove(session);
        if (chunks != null) {
            memory.giveBack(chunks.size());
        }
    }

    private Behavior<Command> onFinish(Finish finish) {
        List<EpisodeChunk> chunks = open.computeIfAbsent(finish.session(), id -> new ArrayList<>());
        chunks.add(finish.chunk());
        Episode episode = assemble(finish.task(), chunks, finish.terminated());
        EpisodeReport report = finish.report();
        try {
            sinks.computeIfAbsent(finish.task().id(), id -> factory.open(finish.task()))
                    .store(episode);
            memory.stored(episode.length());
        } catch (RuntimeException failure) {
            memory.dropped(DropReason.SINK_FAILED);
            getContext()
                    .getLog()
                    .error(
                            "episode {} of session {} could not be recorded",
                            report.episode(),
                            finish.session(),
                            failure);
            close(sinks.remove(finish.task().id()));
            report = report.dropped(DropReason.SINK_FAILED.explain() + ": " + failure.getMessage());
        }
        giveUp(finish.session());
        finish.replyTo().tell(report);
        return this;
    }

    private static Episode assemble(TaskCard task, List<EpisodeChunk> chunks, boolean terminated) {
        int frames = chunks.stream().mapToInt(chunk -> chunk.frames).sum();
        int observationSize = task.observationSize();
        int actionSize = task.actionSize();
        float[] observation = new float[frames * observationSize];
        float[] action = new float[frames * actionSize];
        float[] reward = new float[frames];
        float[] done = new float[frames];
        float[] timestamp = new float[frames];
        long firstNs = chunks.getFirst().captureNs[0];
        int at = 0;
        for (EpisodeChunk chunk : chunks) {
            System.arraycopy(chunk.observation, 0, observation, at * observationSize, chunk.frames * observationSize);
            System.arraycopy(chunk.action, 0, action, at * actionSize, chunk.frames * actionSize);
            System.arraycopy(chunk.reward, 0, reward, at, chunk.frames);
            for (int i = 0; i < chunk.frames; i++) {
                timestamp[at + i] = (float) ((chunk.captureNs[i] - firstNs) * 1e-9);
            }
            at += chunk.frames;
        }
        done[frames - 1] = terminated ? 1 : 0;
        Episode.Builder builder = Episode.builder(task.id(), frames).instruction(task.id());
        if (observationSize > 0) {
            builder.column(Column.OBSERVATION, observation);
        }
        builder.column(Column.ACTION, action);
        if (!task.imitation()) {
            builder.column(Column.REWARD, reward);
        }
        return builder.column(Column.DONE, done)
                .column(Column.TIMESTAMP, timestamp)
                .build();
    }

    private Behavior<Command> onPostStop(PostStop signal) {
        sinks.values().forEach(this::close);
        return this;
    }

    private void close(EpisodeSink sink) {
        if (sink == null) {
            return;
        }
        try {
            sink.close();
        } catch (RuntimeException failure) {
            getContext().getLog().error("a recording could not be closed", failure);
        }
    }
}
