package ai.lram.bridge.grpc;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.bridge.v1.DescribeReply;
import ai.lram.bridge.v1.FallbackCount;
import ai.lram.bridge.v1.Latency;
import ai.lram.bridge.v1.OpenSession;
import ai.lram.bridge.v1.RefusalCount;
import ai.lram.bridge.v1.StatsReply;
import ai.lram.bridge.v1.Status;
import ai.lram.bridge.v1.Task;
import ai.lram.bridge.v1.Timing;
import ai.lram.runtime.Snapshot;
import ai.lram.runtime.protocol.ActionReply;
import ai.lram.runtime.protocol.EpisodeReport;
import ai.lram.runtime.protocol.FallbackCause;
import ai.lram.runtime.protocol.Observation;
import ai.lram.runtime.protocol.OpenRefusal;
import ai.lram.runtime.protocol.Refusal;
import ai.lram.runtime.protocol.RobotDescription;
import ai.lram.runtime.protocol.SessionSpec;
import ai.lram.runtime.protocol.StepTiming;
import ai.lram.runtime.session.SessionStats;
import ai.lram.runtime.stats.LatencySummary;
import java.util.OptionalDouble;

/** Between wire messages and the runtime's values, both ways. */
final class Wire {
    static final int PROTOCOL_VERSION = 1;

    /** No deadline lies further back than this: a miss is a miss. */
    private static final long LATEST_NS = -1_000_000_000L;

    private Wire() {}

    // ---- enums: same names, with the prefix the proto style asks for

    static ai.lram.bridge.v1.FallbackCause wire(FallbackCause cause) {
        return ai.lram.bridge.v1.FallbackCause.forNumber(cause.ordinal());
    }

    static FallbackCause cause(ai.lram.bridge.v1.FallbackCause cause) {
        return known(cause.getNumber(), FallbackCause.values());
    }

    static ai.lram.bridge.v1.Refusal wire(Refusal refusal) {
        return ai.lram.bridge.v1.Refusal.forNumber(refusal.ordinal());
    }

    static Refusal refusal(ai.lram.bridge.v1.Refusal refusal) {
        return known(refusal.getNumber(), Refusal.values());
    }

    static Status wire(ActionReply.Status status) {
        return Status.forNumber(status.ordinal() + 1);
    }

    static ai.lram.bridge.v1.Recording wire(EpisodeReport.Recording recording) {
        return ai.lram.bridge.v1.Recording.forNumber(recording.ordinal() + 1);
    }

    private static <E> E known(int number, E[] values) {
        if (number < 0 || number >= values.length) {
            throw new IllegalArgumentException("value " + number + " is not known to this version of the client");
        }
        return values[number];
    }

    // ---- server to client

    static DescribeReply description(ModelCard card, int maxMessageBytes) {
        DescribeReply.Builder reply = DescribeReply.newBuilder()
                .setProtocolVersion(PROTOCOL_VERSION)
                .setModelName(card.name())
                .setMaxMessageBytes(maxMessageBytes);
        card.tasks().forEach(task -> reply.addTasks(task(task)));
        return reply.build();
    }

    static Task task(TaskCard card) {
        Task.Builder task = Task.newBuilder()
                .setId(card.id())
                .setDomain(card.domain())
                .setRateHz(card.rateHz())
                .addAllImageShape(card.imageShape())
                .setDiscreteActions(card.discreteActions())
                .setRewardScale(card.rewardScale())
                .setImitation(card.imitation())
                .setTargetReturn(card.targetReturn())
                .setMaxEpisodeSteps(card.maxEpisodeSteps())
                .setFallback(
                        switch (card.fallback()) {
                            case HOLD -> ai.lram.bridge.v1.Fallback.FALLBACK_HOLD;
                            case SAFE -> ai.lram.bridge.v1.Fallback.FALLBACK_SAFE;
                        })
                .addAllSafeAction(card.safeAction());
        card.observation().forEach(f -> task.addObservationBuilder()
                .setName(f.name())
                .setUnit(f.unit())
                .setMin(f.min())
                .setMax(f.max()));
        card.action().forEach(f -> task.addActionBuilder()
                .setName(f.name())
                .setUnit(f.unit())
                .setLow(f.low())
                .setHigh(f.high())
                .setMaxRate(f.maxRate()));
        return task.build();
    }

    static ai.lram.bridge.v1.ActionReply reply(ActionReply reply) {
        ai.lram.bridge.v1.ActionReply.Builder wire = ai.lram.bridge.v1.ActionReply.newBuilder()
                .setSequence(reply.sequence())
                .setStatus(wire(reply.status()))
                .setCause(wire(reply.cause()))
                .setRefusal(wire(reply.refusal()))
                .setDetail(reply.detail())
                .setClamped(reply.clamped())
                .setResetRequired(reply.resetRequired())
                .setTiming(Timing.newBuilder()
                        .setQueueNs(reply.timing().queueNs())
                        .setEncodeNs(reply.timing().encodeNs())
                        .setStepNs(reply.timing().stepNs())
                        .setTotalNs(reply.timing().totalNs()));
        for (float value : reply.action()) {
            wire.addAction(value);
        }
        return wire.build();
    }

    static ai.lram.bridge.v1.EpisodeReport report(EpisodeReport report) {
        return ai.lram.bridge.v1.EpisodeReport.newBuilder()
                .setEpisode(report.episode())
                .setSteps(report.steps())
                .setRewardSum(report.rewardSum())
                .setRecording(wire(report.recording()))
                .setDetail(report.detail())
                .build();
    }

    static StatsReply stats(Snapshot s) {
        StatsReply.Builder reply = StatsReply.newBuilder()
                .setHealthy(s.healthy())
                .setOpenSessions(s.openSessions())
                .setSessionsOpened(s.sessionsOpened())
                .setSessionsRefused(s.sessionsRefused())
                .setPolicyRestarts(s.policyRestarts())
                .setBatches(s.inference().batches())
                .setBatchedSteps(s.inference().rows())
                .setLargestBatch(s.inference().largestBatch())
                .setQueue(latency(s.inference().queue()))
                .setEncode(latency(s.inference().encode()))
                .setStep(latency(s.inference().step()))
                .setRecordedEpisodes(s.recording().episodes())
                .setRecordedFrames(s.recording().frames())
                .setDroppedEpisodes(s.recording().dropped().values().stream()
                        .mapToLong(Long::longValue)
                        .sum());
        s.sessions().forEach(session -> reply.addSessions(session(session)));
        return reply.build();
    }

    private static ai.lram.bridge.v1.SessionStats session(SessionStats s) {
        ai.lram.bridge.v1.SessionStats.Builder wire = ai.lram.bridge.v1.SessionStats.newBuilder()
                .setSessionId(s.id())
                .setRobot(s.robot())
                .setTaskId(s.task())
                .setSteps(s.steps())
                .setEpisodes(s.episodes())
                .setMissedDeadlines(s.missedDeadlines())
                .setClampedToBounds(s.clampedToBounds())
                .setClampedToRate(s.clampedToRate())
                .setFoldedLate(s.foldedLate())
                .setAlarms(s.alarms())
                .setQueue(latency(s.queue()))
                .setStep(latency(s.step()))
                .setTotal(latency(s.total()));
        s.fallbacks()
                .forEach((cause, count) -> wire.addFallbacks(
                        FallbackCount.newBuilder().setCause(wire(cause)).setCount(count)));
        s.refusals()
                .forEach((refusal, count) -> wire.addRefusals(
                        RefusalCount.newBuilder().setRefusal(wire(refusal)).setCount(count)));
        return wire.build();
    }

    private static Latency latency(LatencySummary l) {
        return Latency.newBuilder()
                .setCount(l.count())
                .setP50Ns(l.p50Ns())
                .setP99Ns(l.p99Ns())
                .setP999Ns(l.p999Ns())
                .setMaxNs(l.maxNs())
                .build();
    }

    static io.grpc.Status status(OpenRefusal refusal) {
        return switch (refusal) {
            case UNKNOWN_TASK -> io.grpc.Status.NOT_FOUND;
            case DESCRIPTION_MISMATCH, RECORDING_UNAVAILABLE -> io.grpc.Status.FAILED_PRECONDITION;
            case BAD_REQUEST -> io.grpc.Status.INVALID_ARGUMENT;
            case SESSION_LIMIT -> io.grpc.Status.RESOURCE_EXHAUSTED;
            case POLICY_DOWN, SHUTTING_DOWN -> io.grpc.Status.UNAVAILABLE;
        };
    }

    // ---- client to server

    static SessionSpec spec(OpenSession open) {
        ai.lram.bridge.v1.RobotDescription d = open.getDescription();
        RobotDescription description = new RobotDescription(
                d.getRateHz(),
                d.getObservationList().stream()
                        .map(q -> new RobotDescription.Quantity(q.getName(), q.getUnit()))
                        .toList(),
                d.getImageShapeList(),
                d.getActionList().stream()
                        .map(q -> new RobotDescription.LimitedQuantity(
                                q.getName(),
                                q.getUnit(),
                                q.hasLow() ? q.getLow() : Double.NEGATIVE_INFINITY,
                                q.hasHigh() ? q.getHigh() : Double.POSITIVE_INFINITY))
                        .toList(),
                d.getDiscreteActions());
        return new SessionSpec(
                open.getRobot(),
                open.getTaskId(),
                description,
                open.hasTargetReturn() ? OptionalDouble.of(open.getTargetReturn()) : OptionalDouble.empty(),
                open.getRecord());
    }

    static Observation observation(ai.lram.bridge.v1.Observation o, long receivedNs) {
        float[] vector = new float[o.getVectorCount()];
        for (int i = 0; i < vector.length; i++) {
            vector[i] = o.getVector(i);
        }
        return new Observation(
                o.getSequence(),
                o.getCaptureTimeNs(),
                receivedNs,
                budgetNs(o),
                vector,
                o.getImage().getData().toByteArray(),
                o.getReward(),
                o.getReset());
    }

    /** Time left when the observation arrived, from differences of the robot's own stamps only. */
    private static long budgetNs(ai.lram.bridge.v1.Observation o) {
        long budgetNs =
                switch (o.getDeadlineCase()) {
                    case WITHIN_RECEIPT_NS -> o.getWithinReceiptNs();
                    case WITHIN_CAPTURE_NS ->
                        o.getWithinCaptureNs() - Math.max(0, o.getSendTimeNs() - o.getCaptureTimeNs());
                    case DEADLINE_NOT_SET -> Observation.ONE_PERIOD;
                };
        return budgetNs == Observation.ONE_PERIOD
                        && o.getDeadlineCase() != ai.lram.bridge.v1.Observation.DeadlineCase.DEADLINE_NOT_SET
                ? Long.MAX_VALUE - 1
                : Math.max(LATEST_NS, budgetNs);
    }

    static OpenSession open(SessionOptions options) {
        RobotDescription robot = options.description();
        ai.lram.bridge.v1.RobotDescription.Builder description = ai.lram.bridge.v1.RobotDescription.newBuilder()
                .setRateHz(robot.rateHz())
                .addAllImageShape(robot.imageShape())
                .setDiscreteActions(robot.discreteActions());
        robot.observation()
                .forEach(q ->
                        description.addObservationBuilder().setName(q.name()).setUnit(q.unit()));
        robot.action().forEach(q -> description
                .addActionBuilder()
                .setName(q.name())
                .setUnit(q.unit())
                .setLow(q.low())
                .setHigh(q.high()));
        OpenSession.Builder open = OpenSession.newBuilder()
                .setProtocolVersion(PROTOCOL_VERSION)
                .setRobot(options.robot())
                .setTaskId(options.task())
                .setDescription(description)
                .setRecord(options.record());
        options.targetReturn().ifPresent(open::setTargetReturn);
        return open.build();
    }

    static StepTiming timing(Timing t) {
        return new StepTiming(t.getQueueNs(), t.getEncodeNs(), t.getStepNs(), t.getTotalNs());
    }

    static EpisodeReport report(ai.lram.bridge.v1.EpisodeReport r) {
        return new EpisodeReport(
                r.getEpisode(),
                r.getSteps(),
                r.getRewardSum(),
                known(r.getRecordingValue() - 1, EpisodeReport.Recording.values()),
                r.getDetail());
    }
}
