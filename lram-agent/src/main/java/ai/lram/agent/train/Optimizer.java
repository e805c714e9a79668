package ai.lram.agent.train;

import ai.lram.agent.autodiff.Parameter;
import ai.lram.agent.autodiff.ParameterSet;
import ai.lram.backend.Backend;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.ops.Ops;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.HashSet;
import java.util.Set;

/**
 * Global-norm clipping and AdamW over a whole parameter set. All numbers that change per step go through one small tensor.
 *
 * <p>With {@code skipUntouched} a parameter is left alone, weight decay included, until its first gradient: the published behaviour, for
 * parity only, since it looks at every gradient on the host.
 */
public final class Optimizer implements AutoCloseable {
    private final ParameterSet set;
    private final Backend backend;
    private final double beta1;
    private final double beta2;
    private final double weightDecay;
    private final double clipNorm;
    private final boolean skipUntouched;
    private final TensorArena arena;
    private final Tensor hyper;
    private final Tensor sumSquares;
    private final Arena host = Arena.ofShared();
    private final MemorySegment hostHyper = host.allocate(32, 64);
    private final MemorySegment hostSum = host.allocate(4, 64);
    private final Set<Parameter> touched = new HashSet<>();
    private long steps;

    public Optimizer(
            ParameterSet set, double beta1, double beta2, double weightDecay, double clipNorm, boolean skipUntouched) {
        this.set = set;
        this.backend = set.backend();
        this.beta1 = beta1;
        this.beta2 = beta2;
        this.weightDecay = weightDecay;
        this.clipNorm = clipNorm;
        this.skipUntouched = skipUntouched;
        arena = backend.arena("optimizer");
        hyper = arena.f32(8);
        sumSquares = arena.f32(1);
    }

    /** Updates done; set on resume. */
    public long steps() {
        return steps;
    }

    public void restoreSteps(long done) {
        steps = done;
    }

    /** Queues zeroing of all gradients. */
    public void zeroGrad() {
        backend.ops().elementwise().fill(backend.stream(), 0f, set.grads());
    }

    /** Global norm of the gradients; waits for the device. */
    public double gradientNorm() {
        queueNorm();
        queueNormDownload();
        backend.stream().synchronize();
        return downloadedNorm();
    }

    /** Queues the sum of squares of all gradients. */
    public void queueNorm() {
        Stream s = backend.stream();
        backend.ops().elementwise().fill(s, 0f, sumSquares);
        backend.ops().optimizer().sumSquares(s, set.grads(), sumSquares);
    }

    /** Queues the download of the last {@link #queueNorm}. */
    public void queueNormDownload() {
        backend.download(backend.stream(), sumSquares, hostSum);
    }

    /** The norm whose download was queued, once the stream has been waited for. */
    public double downloadedNorm() {
        return Math.sqrt(hostSum.get(ValueLayout.JAVA_FLOAT, 0));
    }

    /** One update with the gradients as they are; {@link #gradientNorm} must have been called for them. */
    public void step(double learningRate) {
        prepare(learningRate);
        queueStep();
    }

    /** Counts an update and sends its numbers to the device. The stream must have been waited for since the last one. */
    public void prepare(double learningRate) {
        steps++;
        float[] h = {
            (float) learningRate,
            (float) beta1,
            (float) beta2,
            1e-8f,
            (float) weightDecay,
            // Of the rounded betas, as the kernel sees them: 1 - 0.999f is off by 1.3e-5, and must be so on both sides.
            (float) (1 - Math.pow((float) beta1, steps)),
            (float) (1 - Math.pow((float) beta2, steps)),
            (float) clipNorm
        };
        MemorySegment.copy(h, 0, hostHyper, ValueLayout.JAVA_FLOAT, 0, h.length);
        backend.upload(backend.stream(), hyper, hostHyper);
    }

    /**
     * Queues the update with the numbers of the last {@link #prepare} and the norm of the last {@link #queueNorm}: the same kernels every
     * time, so that they can be part of a recording. Nothing changes where the norm is not finite.
     */
    public void queueStep() {
        Stream s = backend.stream();
        Ops o = backend.ops();
        if (skipUntouched) {
            for (Parameter p : set.all()) {
                if (touched.contains(p) || touches(p)) {
                    touched.add(p);
                    o.optimizer()
                            .adamW(
                                    s,
                                    hyper,
                                    sumSquares,
                                    p.decay(),
                                    p.value(),
                                    p.grad(),
                                    p.firstMoment(),
                                    p.secondMoment());
                }
            }
            return;
        }
        int split = set.decayedFloats();
        int n = Math.toIntExact(set.values().size());
        update(o, s, true, 0, split);
        update(o, s, false, split, n - split);
    }

    private boolean touches(Parameter p) {
        for (float v : set.read(p.grad())) {
            if (v != 0) {
                return true;
            }
        }
        return false;
    }

    private void update(Ops o, Stream s, boolean decay, int from, int count) {
        if (count == 0) {
            return;
        }
        Tensor value = set.values().slice(from, count);
        Tensor grad = set.grads().slice(from, count);
        Tensor first = set.firstMoments().slice(from, count);
        Tensor second = set.secondMoments().slice(from, count);
        if (set.narrow() == null) {
            o.optimizer().adamW(s, hyper, sumSquares, decay, value, grad, first, second);
        } else {
            o.mixed()
                    .adamW(
                            s,
                            hyper,
                            sumSquares,
                            decay,
                            value,
                            grad,
                            first,
                            second,
                            set.narrow().slice(from, count));
        }
    }

    @Override
    public void close() {
        arena.close();
        host.close();
    }
}
