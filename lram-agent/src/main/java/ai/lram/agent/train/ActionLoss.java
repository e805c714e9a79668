package ai.lram.agent.train;

import ai.lram.agent.autodiff.ParameterSet;
import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.autodiff.Value;
import ai.lram.agent.card.ModelCard;
import ai.lram.agent.card.TaskCard;
import ai.lram.agent.lram.LramConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * The loss over action tokens: cross-entropy against a soft or one-hot bin for continuous tasks, one-hot ids for discrete ones, both
 * weighted by their share of tasks. Recorded on a tape, fed from a {@link BatchStream}.
 */
public final class ActionLoss {
    private final Value targets;
    private final Value positions;
    private final Value continuousMask;
    private final Value discreteMask;
    private final Value continuousStats;
    private final Value discreteStats;
    private final double continuousShare;
    private final Value gradient;

    /** Mean cross-entropy and share of entries whose most likely id is the target, weighted by the share of tasks. */
    public record Result(double loss, double accuracy) {}

    /**
     * Records the loss.
     *
     * @param logits any shape of {@code entries * vocabulary} elements, action dimensions innermost before the vocabulary
     * @param entries rows of logits: windows times steps times action dimensions
     * @param binSigma deviation of the soft target in bins, 0 for one-hot
     * @param differentiate record the gradient of the logits too
     */
    public ActionLoss(
            Tape tape,
            LramConfig config,
            ModelCard card,
            Value logits,
            int entries,
            double binSigma,
            boolean differentiate) {
        long discreteTasks = card.tasks().stream().filter(TaskCard::discrete).count();
        continuousShare = 1 - (double) discreteTasks / card.tasks().size();
        targets = tape.input("targets", DType.I32, entries);
        positions = tape.input("positions", DType.F32, entries);
        continuousMask = tape.input("continuous mask", DType.F32, entries);
        discreteMask = tape.input("discrete mask", DType.F32, entries);
        continuousStats = tape.keep(tape.buffer("continuous stats", DType.F32, 3));
        discreteStats = tape.keep(tape.buffer("discrete stats", DType.F32, 3));
        Value d1 = continuousShare > 0 ? record(tape, config, logits, entries, binSigma, true, differentiate) : null;
        Value d2 = discreteTasks > 0 ? record(tape, config, logits, entries, 0, false, differentiate) : null;
        gradient = d1 == null ? d2 : d2 == null ? d1 : sum(tape, d1, d2);
    }

    private Value record(
            Tape tape,
            LramConfig c,
            Value logits,
            int entries,
            double sigma,
            boolean continuous,
            boolean differentiate) {
        int vocabulary = c.vocabulary();
        Value d = differentiate ? tape.buffer("d logits", DType.F32, entries, vocabulary) : null;
        float share = (float) (continuous ? continuousShare : 1 - continuousShare);
        Value mask = continuous ? continuousMask : discreteMask;
        Value stats = continuous ? continuousStats : discreteStats;
        tape.record(
                "loss",
                (o, s) -> {
                    Tensor l = logits.tensor().reshape(entries, vocabulary);
                    Tensor dl = d == null ? null : d.tensor();
                    if (sigma > 0) {
                        o.loss()
                                .crossEntropySoftBins(
                                        s,
                                        l,
                                        positions.tensor(),
                                        mask.tensor(),
                                        c.discreteActions(),
                                        c.bins(),
                                        (float) sigma,
                                        share,
                                        dl,
                                        stats.tensor());
                    } else {
                        o.loss().crossEntropy(s, l, targets.tensor(), mask.tensor(), share, dl, stats.tensor());
                    }
                },
                logits,
                targets,
                positions,
                mask,
                stats,
                d);
        return d;
    }

    private static Value sum(Tape tape, Value a, Value b) {
        Value sum = tape.buffer("d logits", DType.F32, a.shape());
        tape.record("add", (o, s) -> o.elementwise().add(s, a.tensor(), b.tensor(), sum.tensor()), a, b, sum);
        return sum;
    }

    /** Gradient of the logits, to start {@link Tape#backward} with; null where none was asked for. */
    public Value gradient() {
        return gradient;
    }

    /** Sends a batch's targets; {@code staging} holds at least four bytes per entry. */
    public void upload(Backend backend, BatchStream from, MemorySegment staging) {
        floats(backend, positions, from.positions, staging);
        floats(backend, continuousMask, from.continuousMask, staging);
        floats(backend, discreteMask, from.discreteMask, staging);
        MemorySegment.copy(from.targets, 0, staging, ValueLayout.JAVA_INT, 0, from.targets.length);
        send(backend, targets, 4L * from.targets.length, staging);
    }

    /** Sends floats to an input and waits, so that the staging memory can be used again. */
    public static void floats(Backend backend, Value v, float[] a, MemorySegment staging) {
        MemorySegment.copy(a, 0, staging, ValueLayout.JAVA_FLOAT, 0, a.length);
        send(backend, v, 4L * a.length, staging);
    }

    /** Sends the first bytes of the staging memory to an input and waits. */
    static void send(Backend backend, Value v, long bytes, MemorySegment staging) {
        backend.upload(backend.stream(), v.tensor(), staging.asSlice(0, bytes));
        backend.stream().synchronize();
    }

    /** Of the last replay. */
    public Result result(ParameterSet parameters) {
        double loss = 0;
        double accuracy = 0;
        if (continuousShare > 0) {
            float[] s = parameters.read(continuousStats.tensor());
            loss += continuousShare * s[0];
            accuracy += continuousShare * s[2];
        }
        if (continuousShare < 1) {
            float[] s = parameters.read(discreteStats.tensor());
            loss += (1 - continuousShare) * s[0];
            accuracy += (1 - continuousShare) * s[2];
        }
        return new Result(loss, accuracy);
    }
}
